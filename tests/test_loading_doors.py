"""
Which ports the data sockets get.
"""

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from piman.loading.doors import DataSockets, PortRange
from piman.testing.udp import MemoryDatagramReactor
from piman.udp import UDPService, udp_service


class DataSocketsTests(SynchronousTestCase):
    """A few sockets out of the allowed ports."""

    def setUp(self) -> None:
        """A reactor in memory."""
        self.reactor = MemoryDatagramReactor()

    def sockets(self, ports: PortRange | None) -> DataSockets:
        """Four sockets."""

        def service(port: int, protocol: Any) -> UDPService:
            return udp_service(self.reactor, port, protocol, plain=True)

        return DataSockets([DatagramProtocol() for _ in range(4)], ports, service)

    def take(self, *ports: int) -> None:
        """Another program has these ports."""
        for port in ports:
            self.reactor.listenUDP(port, DatagramProtocol())

    def test_long_range(self) -> None:
        """Of a range of 1000 ports four are opened, the lowest."""
        sockets = self.sockets((50_000, 50_999))
        sockets.privilegedStartService()
        sockets.startService()
        self.assertEqual(sockets.port_numbers, (50_000, 50_001, 50_002, 50_003))
        self.assertEqual(len(self.reactor.ports), 4)

    def test_any_port(self) -> None:
        """Without a range the system chooses four."""
        sockets = self.sockets(None)
        sockets.startService()
        self.assertEqual(len(set(sockets.port_numbers)), 4)

    def test_taken_ports_are_passed_over(self) -> None:
        """Ports of other programs are left to them."""
        self.take(50_000, 50_002, 50_003)
        sockets = self.sockets((50_000, 50_999))
        sockets.privilegedStartService()
        self.assertEqual(sockets.port_numbers, (50_001, 50_004, 50_005, 50_006))

    def test_short_range(self) -> None:
        """A range of two ports makes two sockets."""
        sockets = self.sockets((50_000, 50_001))
        sockets.privilegedStartService()
        self.assertEqual(sockets.port_numbers, (50_000, 50_001))

    def test_too_few(self) -> None:
        """With one free port the start fails with the range, the number and the last reason, and lets that port go."""
        self.take(50_000, 50_002)
        sockets = self.sockets((50_000, 50_002))
        refusal = self.assertRaises(CannotListenError, sockets.privilegedStartService)
        self.assertEqual(
            str(refusal),
            "Couldn't listen on 0.0.0.0:50000-50002: "
            "transfers need 2 free UDP ports (tftp.data_ports) and 1 can be had; "
            "the last refusal: another program has this UDP port (ss -ulpn 'sport = :50002' shows which).",
        )
        self.assertEqual([port.listening for port in self.reactor.ports], [True, True, False])

    def test_tried_again(self) -> None:
        """A start that failed for want of ports succeeds once they are free."""
        self.take(50_000, 50_002)
        sockets = self.sockets((50_000, 50_002))
        self.assertRaises(CannotListenError, sockets.startService)
        self.reactor.ports[0].stopListening()
        sockets.startService()
        self.assertEqual(sockets.port_numbers, (50_000, 50_001))
