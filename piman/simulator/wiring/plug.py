# -*- test-case-name: tests.test_simulator_wiring_plug -*-
"""
The end of a cable that a switch watches: it learns a board by the first frame that comes from there.
"""

from collections.abc import Callable
from ipaddress import IPv4Address

from piman.simulator.wiring.surroundings import Address, Deliver, Network, Socket, Stream


class Plug:
    """
    A network behind a port of a switch.

    :param heard: called for each DHCP message, the first thing that any program of a board says; what else the board
        sends says nothing new.
    """

    def __init__(self, network: Network, heard: Callable[[], None]) -> None:
        self._network = network
        self._heard = heard

    def dhcp(self, deliver: Deliver, address: IPv4Address | None = None) -> Socket:
        """The network's, heard with each message."""
        return _HeardSocket(self._network.dhcp(deliver, address), self._heard)

    def udp(self, address: IPv4Address, port: int, deliver: Deliver) -> Socket:
        """
        The network's.

        :raises OSError: when it cannot be had.
        """
        return self._network.udp(address, port, deliver)

    def connect(self, address: IPv4Address, peer: Address, deliver: Deliver) -> Stream:
        """The network's."""
        return self._network.connect(address, peer, deliver)


class _HeardSocket:
    def __init__(self, socket: Socket, heard: Callable[[], None]) -> None:
        self._socket = socket
        self._heard = heard

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram."""
        self._heard()
        self._socket.send(data, destination)

    def close(self) -> None:
        """Nothing more arrives."""
        self._socket.close()
