# -*- test-case-name: tests.test_simulator_running_switch_room -*-
"""
The PoE switches of a virtual rack, what hangs on them, and who gives power where there are none.
"""

from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import maybeDeferred

from piman.simulator.pi import Pi
from piman.simulator.running.plan import VLAN, Place
from piman.simulator.switch import Listening, Outlet, Powered, VirtualSwitch, listen
from piman.simulator.wiring.plug import Plug
from piman.simulator.wiring.snmp_agent import AgentProtocol
from piman.simulator.wiring.surroundings import Network


class SwitchRoom:
    """
    The switches on which boards have their places; none when no place has one.

    :ivar switches: by address.
    """

    def __init__(self, reactor: Any, places: Sequence[Place]) -> None:
        addresses = sorted({place.switch for place in places if place.switch is not None})
        self.switches: dict[IPv4Address, VirtualSwitch] = {each: VirtualSwitch(reactor, {}) for each in addresses}
        self._reactor = reactor
        self._listening: list[Listening] = []

    def watched(self, place: Place, network: Network) -> Network:
        """The board's network, with its switch listening."""
        if place.switch is None:
            return network
        switch = self.switches[place.switch]
        return Plug(network, partial(switch.hear, place.port, place.board.mac))

    def hand(self, place: Place, pi: Pi) -> Powered:
        """Hang the board on its port; who can give it power and take it: its cable, or the board itself."""
        if place.switch is None:
            return pi
        switch = self.switches[place.switch]
        switch.ports[place.port].board = pi
        return Outlet(switch, place.port)

    # The agents

    def listen(self, port: int) -> None:
        """
        All answer, each at its address, on the same port.

        :raises twisted.internet.error.CannotListenError: when somebody else does.
        """
        for address, switch in self.switches.items():
            self._listening.append(listen(self._reactor, switch, address, port, vlan=VLAN))

    async def close(self) -> None:
        """Cut all power, answer no more."""
        for switch in self.switches.values():
            switch.close()
        listening, self._listening = self._listening, []
        for each in listening:
            await maybeDeferred(each.port.stopListening)

    @property
    def agents(self) -> list[AgentProtocol]:
        """Those that listen now, in the order of :attr:`switches`."""
        return [each.agent for each in self._listening]

    @property
    def requests(self) -> int:
        """How many requests the agents have answered, those that listen now."""
        return sum(sum(agent.asked.values()) for agent in self.agents)

    @property
    def orders(self) -> int:
        """How many orders took effect."""
        return sum(switch.orders for switch in self.switches.values())
