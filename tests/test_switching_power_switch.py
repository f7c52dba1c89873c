"""
A PoE switch on top of an agent: orders that are read back, what is found out once, where a board is.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.interfaces import (
    AmbiguousPort,
    NoSuchPort,
    PowerFailed,
    PowerNotObeyed,
    PowerRefused,
    PowerUnreachable,
)
from piman.fleet.model import MACAddress, PowerBudget
from piman.switching import mib
from piman.switching.power_switch import READ_BACK, Agents, SNMPPowerSwitch
from piman.switching.session import SwitchBusy, SwitchRefused, SwitchTimeout, nonsense
from piman.testing.power import MemoryAgent

A, B = MACAddress.parse("b8:27:eb:00:00:01"), MACAddress.parse("dc:a6:32:00:00:02")
ADMIN, STATUS = mib.PSE_PORT_ADMIN_ENABLE, mib.PSE_PORT_DETECTION_STATUS


def standard_switch() -> MemoryAgent:
    """Four ports that deliver, interfaces of the same numbers, a budget; board A on port 3."""
    values: dict[tuple[int, ...], Any] = {mib.SYS_OBJECT_ID: (*mib.ENTERPRISES, 11)}
    for port in range(1, 5):
        values[*ADMIN, 1, port] = 1
        values[*STATUS, 1, port] = 3
        values[*mib.PSE_PORT_CLASS, 1, port] = 1
        values[*mib.IF_NAME, port] = f"ge{port}".encode()
        values[*mib.IF_TYPE, port] = 6
        values[*mib.IF_OPER_STATUS, port] = 1
        values[*mib.BASE_PORT_IF_INDEX, port] = port
    values[*mib.MAIN_PSE_POWER, 1] = 60
    values[*mib.MAIN_PSE_OPER_STATUS, 1] = 1
    values[*mib.MAIN_PSE_CONSUMPTION, 1] = 16
    values[*mib.FDB_PORT, *A.octets] = 3
    values[*mib.FDB_STATUS, *A.octets] = 3
    return MemoryAgent(values)


class SwitchCase(SynchronousTestCase):
    """A switch of a MemoryAgent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.agent = standard_switch()
        self.lookup = self.agent
        self.vlan_lookup: MemoryAgent | None = None

    def make(self) -> SNMPPowerSwitch:
        """The switch under test."""
        agents = Agents(control=self.agent, lookup=self.lookup, vlan_lookup=self.vlan_lookup)
        return SNMPPowerSwitch(self.clock, "rack-a", lambda: agents)

    def patiently(self, deferred: "Deferred[Any]") -> "Deferred[Any]":
        """Let all pauses of an order pass."""
        self.clock.pump([0.0, *READ_BACK, *READ_BACK])
        return deferred

    def failure(self, deferred: "Deferred[Any]", kind: type[PowerFailed]) -> PowerFailed:
        """How it failed."""
        found = self.failureResultOf(self.patiently(deferred), kind).value
        assert isinstance(found, PowerFailed)
        self.assertIn("rack-a", found.reason)
        self.assertTrue(found.remedy)
        return found


class OrderTests(SwitchCase):
    """Orders."""

    def test_obeyed(self) -> None:
        """An order is written once and done when the switch shows it."""
        self.assertIsNone(self.successResultOf(self.patiently(self.make().turn_off(2))))
        self.assertEqual(self.agent.sets, [((*ADMIN, 1, 2), 2)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """A switch that obeys a second later is waited for."""
        self.agent.obeys = False
        done = self.make().turn_off(2)
        self.clock.advance(0)
        self.assertNoResult(done)
        self.agent.values[*ADMIN, 1, 2] = 2
        self.clock.advance(0.5)
        self.successResultOf(done)

    def test_not_obeyed(self) -> None:
        """One that accepts and does nothing fails in bounded time, port and order named."""
        self.agent.obeys = False
        found = self.failure(self.make().turn_off(2), PowerNotObeyed)
        self.assertIn("port 2", found.reason)
        self.assertIn("off", found.reason)
        self.assertTrue(found.may_retry)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_such_port(self) -> None:
        """A port that is not there is refused, and nothing is written."""
        for call in (self.make().turn_on, self.make().turn_off, self.make().read):
            self.assertIn("9", self.failure(call(9), NoSuchPort).reason)
        self.assertEqual(self.agent.sets, [])

    def test_failures(self) -> None:
        """Each failure of SNMP is a failure of power: retry, retry, give up."""
        for fault, kind, may_retry in (
            (SwitchTimeout("it does not answer", "Look."), PowerUnreachable, True),
            (SwitchBusy("it is busy", "Wait."), PowerRefused, True),
            (SwitchRefused("it will not", "Ask."), PowerRefused, False),
        ):
            self.agent.faults = {ADMIN: fault}
            found = self.failure(self.make().turn_on(1), kind)
            self.assertEqual(found.may_retry, may_retry)
            self.assertIn(fault.reason, found.reason)

    def test_nothing_done(self) -> None:
        """An order that was never sent, or was refused, has changed nothing; of any other failure nobody can tell."""
        self.agent.faults = {ADMIN: SwitchTimeout("it does not answer", "Look.")}
        self.assertTrue(self.failure(self.make().turn_off(1), PowerUnreachable).nothing_done)
        self.agent.faults = {}
        self.assertTrue(self.failure(self.make().turn_off(9), NoSuchPort).nothing_done)
        for fault, kind, nothing_done in (
            (SwitchRefused("we may only read there", "Ask.", "notWritable"), PowerRefused, True),
            (SwitchRefused("the key is wrong", "Ask.", "wrongDigest"), PowerRefused, True),
            (nonsense("no answer to what was asked"), PowerRefused, False),
            (SwitchBusy("it could not do it, nor undo it", "Wait."), PowerRefused, False),
            (SwitchTimeout("it does not answer", "Look."), PowerUnreachable, False),
        ):
            self.agent.set_fault = fault
            found = self.failure(self.make().turn_off(1), kind)
            self.assertEqual(found.nothing_done, nothing_done, fault)
            self.assertIn(fault.reason, found.reason)
        self.agent.set_fault, self.agent.obeys = None, False
        self.assertFalse(self.failure(self.make().turn_off(1), PowerNotObeyed).nothing_done)

    def test_wrong_type(self) -> None:
        """Text where a number belongs is refused."""
        self.agent.values[*ADMIN, 1, 1] = b"on"
        self.assertIn("not a number", self.failure(self.make().turn_on(1), PowerRefused).reason)

    def test_no_agents(self) -> None:
        """Credentials that cannot be had fail each call, not the making of the switch."""

        def broken() -> Agents:
            raise PowerRefused("switch rack-a: no key file", "Write one.")

        switch = SNMPPowerSwitch(self.clock, "rack-a", broken)
        for call in (switch.turn_on(1), switch.ports(), switch.budget(), switch.learned()):
            self.failure(call, PowerRefused)


class ReadTests(SwitchCase):
    """Reading."""

    def test_port(self) -> None:
        """State, class, link and the interface's name."""
        found = self.successResultOf(self.make().read(2))
        self.assertEqual((found.state, found.power_class, found.link_up, found.name), ("delivering", 0, True, "ge2"))

    def test_ports(self) -> None:
        """All ports, each as reading it alone shows it."""
        switch = self.make()
        self.agent.values[*mib.IF_OPER_STATUS, 4] = 2
        found = self.successResultOf(switch.ports())
        self.assertEqual(found, [self.successResultOf(switch.read(port)) for port in range(1, 5)])
        self.assertEqual([each.link_up for each in found], [True, True, True, False])

    def test_once(self) -> None:
        """Kind and interfaces are found out once: the next reading walks nothing."""
        switch = self.make()
        self.successResultOf(switch.read(2))
        walked = len(self.agent.walks)
        self.successResultOf(switch.read(3))
        self.assertEqual(len(self.agent.walks), walked)

    def test_no_interfaces(self) -> None:
        """A switch that hides its interfaces still shows its power."""
        self.agent.faults = {mib.oid("1.3.6.1.2.1.31"): SwitchRefused("hidden")}
        found = self.successResultOf(self.make().read(2))
        self.assertEqual((found.state, found.name), ("delivering", ""))

    def test_replaced(self) -> None:
        """When a port is gone, kind and interfaces are found out again: the switch may be another one."""
        switch = self.make()
        self.successResultOf(switch.read(2))
        self.agent.values = {mib.SYS_OBJECT_ID: (*mib.ENTERPRISES, mib.TPLINK), (*mib.TPLINK_PORT_STATUS, 2): 1}
        self.failure(switch.read(2), NoSuchPort)
        self.assertTrue(self.successResultOf(switch.read(2)).admin_on)

    def test_budget(self) -> None:
        """The group's budget; TP-Link's switches are not asked."""
        self.assertEqual(
            self.successResultOf(self.make().budget()), PowerBudget(total_watts=60, used_watts=16, state="on")
        )
        self.agent.values = {mib.SYS_OBJECT_ID: (*mib.ENTERPRISES, mib.TPLINK), (*mib.TPLINK_PORT_STATUS, 2): 1}
        self.assertIsNone(self.successResultOf(self.make().budget()))


class LocateTests(SwitchCase):
    """Where a board is."""

    def test_found(self) -> None:
        """A board alone on its port is there; one that was never seen is nowhere."""
        switch = self.make()
        self.assertEqual(self.successResultOf(switch.locate(A)), 3)
        self.assertIsNone(self.successResultOf(switch.locate(B)))

    def test_uplink(self) -> None:
        """A board among others fails, and the port is named."""
        self.agent.values[*mib.FDB_PORT, *B.octets] = 3
        found = self.failure(self.make().locate(A), AmbiguousPort)
        assert isinstance(found, AmbiguousPort)
        self.assertEqual(found.ports, (3,))

    def test_uplink_and_port(self) -> None:
        """A board that is alone on one port and among others on another VLAN's uplink is on the first."""
        self.agent.values.update(
            {
                (*mib.Q_FDB_PORT, 4, *A.octets): 3,
                (*mib.Q_FDB_PORT, 5, *A.octets): 1,
                (*mib.Q_FDB_PORT, 5, *B.octets): 1,
            }
        )
        self.assertEqual(self.successResultOf(self.make().locate(A)), 3)

    def test_lookup_credentials(self) -> None:
        """The bridge's tables are read with the credentials for the lookup."""
        self.lookup = MemoryAgent({mib.SYS_OBJECT_ID: (1,), (*mib.FDB_PORT, *A.octets): 2})
        self.assertEqual(self.successResultOf(self.make().locate(A)), 2)

    def test_silent_lookup(self) -> None:
        """To a community that it does not know a switch is silent: the credentials for power are used then."""
        self.lookup = MemoryAgent(faults={(1,): SwitchTimeout("silent")})
        self.assertEqual(self.successResultOf(self.make().locate(A)), 3)

    def test_cisco(self) -> None:
        """Only a Cisco switch is asked with the VLAN in the credentials."""
        self.lookup = self.agent
        self.vlan_lookup = MemoryAgent({mib.SYS_OBJECT_ID: (1,), (*mib.FDB_PORT, *A.octets): 4})
        self.assertEqual(self.successResultOf(self.make().locate(A)), 3)
        self.agent.values[mib.SYS_OBJECT_ID] = (*mib.ENTERPRISES, mib.CISCO, 1, 1208)
        self.assertEqual(self.successResultOf(self.make().locate(A)), 4)
