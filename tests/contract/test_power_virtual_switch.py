"""
A PoE switch by SNMP keeps the contract of every power switch before a virtual switch, over loopback sockets.
"""

from ipaddress import IPv4Address
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from piman.fleet.interfaces import PowerNotObeyed
from piman.fleet.model import MACAddress, SwitchPort
from piman.fleet.operations.power import PowerDesk, PowerPolicy, StillDelivering
from piman.simulator.switch import Listening, SwitchFaults, VirtualSwitch, listen
from piman.simulator.wiring.snmp_agent import Operation
from piman.snmp import Engines
from piman.switching.agent import RemoteAgent, Target
from piman.switching.power_switch import Agents, SNMPPowerSwitch
from piman.switching.session import Community
from piman.testing.power_contract import PowerSwitchMixin

ADDRESS = IPv4Address("127.77.255.1")
MAC = MACAddress.parse("b8:27:eb:12:34:56")


class Lamp:
    """What hangs on a port."""

    is_lit = False

    def power_on(self) -> None:
        """Power comes."""
        self.is_lit = True

    def power_off(self) -> None:
        """Power goes."""
        self.is_lit = False


class VirtualSwitchTests(PowerSwitchMixin, TestCase):
    """48 ports, a board on each; another that is silent."""

    def setUp(self) -> None:
        """The manager's side."""
        self.engines = Engines(reactor)
        self.addCleanup(self.engines.close)

    def serve(self, **options: Any) -> Listening:
        """Make a virtual switch and let it answer."""
        self.lamps = {number: Lamp() for number in range(1, 49)}
        self.switch = VirtualSwitch(reactor, self.lamps, detect_seconds=0.0, **options)
        for number in self.lamps:
            self.switch.plug(number)
        listening = listen(reactor, self.switch, ADDRESS, 0)
        self.addCleanup(listening.port.stopListening)
        self.addCleanup(self.switch.close)
        return listening

    def ask(self, listening: Listening, version: str = "2c", retries: tuple[float, ...] = (5.0,)) -> SNMPPowerSwitch:
        """The manager's switch for it."""
        target = Target(ADDRESS, listening.port.getHost().port)

        def agent(community: str) -> RemoteAgent:
            return RemoteAgent(self.engines.exchange, target, Community(community, version), retries=retries)

        agents = Agents(control=agent("private@1"), lookup=agent("public@1"))
        return SNMPPowerSwitch(reactor, "rack-a", lambda: agents, read_back=(0.0,))

    async def make(self) -> SNMPPowerSwitch:
        """With power on all ports, and a board learned on port 3."""
        listening = self.serve()
        await deferLater(reactor, 0.05)
        self.switch.hear(3, MAC.octets)
        return self.ask(listening)

    def unreachable(self) -> SNMPPowerSwitch:
        """One that is silent."""
        return self.ask(self.serve(faults=SwitchFaults(is_silent=True)), retries=(0.05, 0.1))

    async def test_power(self) -> None:
        """An order cuts and gives real power, and reading tells it."""
        switch = await self.make()
        await switch.turn_off(7)
        self.assertFalse(self.lamps[7].is_lit)
        found = await switch.read(7)
        self.assertEqual((found.state, found.link_up, found.name), ("disabled", False, "ge7"))
        await switch.turn_on(7)
        await deferLater(reactor, 0.05)
        self.assertTrue(self.lamps[7].is_lit)
        self.assertEqual((await switch.read(7)).state, "delivering")

    async def test_located(self) -> None:
        """A board is found by what the switch has learned, though interfaces are numbered otherwise than ports."""
        self.assertEqual(await (await self.make()).locate(MAC), 3)

    async def test_version_1(self) -> None:
        """It speaks version 1 as well: orders, walks, lookups."""
        await self.make()
        switch = self.ask(self.serve(), version="1")
        await switch.turn_off(1)
        self.assertEqual([each.admin_on for each in await switch.ports()], [False] + [True] * 47)
        self.assertIsNone(await switch.locate(MAC))

    async def test_budget_of_boards(self) -> None:
        """The budget counts what the boards draw; without enough of it ports are at fault."""
        listening = self.serve(watts=100.0)
        await deferLater(reactor, 0.05)
        switch = self.ask(listening)
        budget = await switch.budget()
        assert budget is not None
        self.assertEqual((budget.total_watts, budget.used_watts), (100.0, 100.0))
        states = [each.state for each in await switch.ports()]
        self.assertEqual((states.count("delivering"), states.count("fault")), (20, 28))

    async def test_deaf(self) -> None:
        """A deaf port accepts the order and is found out."""
        switch = self.ask(self.serve(faults=SwitchFaults(deaf=frozenset({1}))))
        await self.assertFailure(switch.turn_off(1), PowerNotObeyed)

    async def test_stuck_and_lying(self) -> None:
        """A port that goes on delivering, and one that only says so, are not taken for dark; the lamps know better."""
        listening = self.serve(faults=SwitchFaults(stuck=frozenset({1}), lying=frozenset({2})))
        await deferLater(reactor, 0.05)
        desk = PowerDesk(reactor, {ADDRESS: self.ask(listening)}, PowerPolicy(looks=(0.0, 0.0)))
        for port in (1, 2):
            await self.assertFailure(
                Deferred.fromCoroutine(desk.take_away(SwitchPort(ADDRESS, port))), StillDelivering
            )
        self.assertEqual([self.lamps[port].is_lit for port in (1, 2)], [True, False])

    async def test_slow(self) -> None:
        """An agent that takes its time is waited for, within the schedule."""
        listening = self.serve(faults=SwitchFaults(slow_seconds=0.1))
        self.assertTrue((await self.ask(listening).read(1)).admin_on)

    async def test_requests_for_a_walk(self) -> None:
        """48 ports cost at most ceil(48 / 25) + 1 requests a column."""
        listening = self.serve()
        switch = self.ask(listening)
        await switch.read(1)
        before = listening.agent.asked[Operation.BULK]
        await switch.ports()
        columns = 4  # admin, status, class, link
        self.assertLessEqual(listening.agent.asked[Operation.BULK] - before, columns * 3)
