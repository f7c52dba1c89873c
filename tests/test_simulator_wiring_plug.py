"""
The end of a cable that a switch watches.
"""

from ipaddress import IPv4Address

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.wiring.plug import Plug
from tests.simulator_support import BenchNetwork

ADDRESS = IPv4Address("172.30.4.13")


class PlugTests(SynchronousTestCase):
    """A network behind a plug."""

    def setUp(self) -> None:
        """Count how often something is heard."""
        self.network = BenchNetwork(Clock())
        self.heard = 0
        self.plug = Plug(self.network, self._hear)

    def _hear(self) -> None:
        self.heard += 1

    def test_first_word(self) -> None:
        """A board is heard when it sends, not when it gets ready to; what it sends passes."""
        socket = self.plug.dhcp(lambda event: None)
        self.assertEqual(self.heard, 0)
        socket.send(b"DISCOVER", ("255.255.255.255", 67))
        self.assertEqual(self.heard, 1)
        self.assertEqual(self.network.sockets[0].sent, [(b"DISCOVER", ("255.255.255.255", 67))])
        socket.close()
        self.assertFalse(self.network.sockets[0].is_open)

    def test_the_rest(self) -> None:
        """Other sockets and streams are the network's own."""
        self.assertIs(self.plug.udp(ADDRESS, 5_000, lambda event: None), self.network.sockets[0])
        stream = self.plug.connect(ADDRESS, ("172.30.4.1", 3333), lambda event: None)
        self.assertIs(stream, self.network.streams[0])
