# -*- test-case-name: tests.test_loading_doors -*-
"""
The data sockets: a few, on the first free ports of those that are allowed.

A firewall's range may have thousands of ports; more than a few sockets bring nothing, because a transfer is told by its
client.  Fewer than two are too few: a client's next transfer must not use the socket of its last one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

from twisted.application.service import MultiService
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol

from piman.udp import UDPService

FEWEST = 2

PortRange = tuple[int, int]
"""The first and the last port."""


class DataSockets(MultiService):
    """
    Binds protocols to ports, the first protocol to the lowest free port.

    :param protocols: one for each socket that there should be.
    :param ports: the allowed ones; None: any.
    :param service: makes the service of a port and a protocol.
    """

    def __init__(
        self,
        protocols: Iterable[DatagramProtocol],
        ports: PortRange | None,
        service: Callable[[int, DatagramProtocol], UDPService],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self._protocols = tuple(protocols)
        self._ports = ports
        self._service = service

    @property
    def port_numbers(self) -> tuple[int, ...]:
        """The ports that are bound."""
        return tuple(service.port_number for service in self)

    def privilegedStartService(self) -> None:
        """
        Bind the ports while we may.

        :raises CannotListenError: when fewer than two can be had, with the reason of the last refusal.
        """
        if not self.services:
            self._bind()
        super().privilegedStartService()  # type: ignore[no-untyped-call,unused-ignore]

    def startService(self) -> None:
        """Serve; the ports are chosen now if they were not before."""
        if not self.services:
            self._bind()
        super().startService()  # type: ignore[no-untyped-call,unused-ignore]

    def _bind(self) -> None:
        unbound, refusal = deque(self._protocols), None
        for port in self._candidates():
            service = self._service(port, unbound[0])
            try:
                service.privilegedStartService()
            except CannotListenError as reason:
                refusal = reason
                continue
            self.addService(service)
            unbound.popleft()
            if not unbound:
                return
        count = len(self.services)
        if refusal is not None and count < FEWEST:
            self._let_go()
            raise _too_few(count, self._ports, refusal) from refusal

    def _let_go(self) -> None:
        for service in tuple(self):
            service.stopService()
            self.removeService(service)

    def _candidates(self) -> Iterator[int]:
        if self._ports is None:
            return repeat(0, len(self._protocols))
        first, last = self._ports
        return iter(range(first, last + 1))


def _too_few(count: int, ports: PortRange | None, refusal: CannotListenError) -> CannotListenError:
    """One line for the operator."""
    shown = "any port" if ports is None else f"{ports[0]}-{ports[1]}"
    text = f"transfers need {FEWEST} free UDP ports (tftp.data_ports) and {count} can be had; the last refusal: "
    return CannotListenError(refusal.interface, shown, text + str(refusal.socketError))
