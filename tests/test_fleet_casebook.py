"""
The evidence that is gathered: which events are kept, within which bounds, and what the switch says.
"""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet import events
from piman.fleet.casebook import EVENTS_OF_NODE, READING_SECONDS, Casebook, thinned
from piman.fleet.diagnosis import Fault, Verdict
from piman.fleet.eventlog import EventLog
from piman.fleet.events import Event, Recorded
from piman.fleet.interfaces import IEventObserver, IPowerSwitch, PowerUnreachable
from piman.fleet.model import MACAddress, Node, Phase, Slot, Stage, SwitchPort
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.contract import Explanation
from piman.testing.power import MemoryPowerSwitch
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC, any_event

SWITCH = IPv4Address("172.30.4.250")
PORT = SwitchPort(SWITCH, 3)
NODE = Node(mac=MAC, address=ADDRESS, hostname="pi13", port=PORT)
POWERED = events.PowerGiven(mac=MAC, port=str(PORT), operation="1")


def offered(mac: MACAddress = MAC) -> Event:
    """A DISCOVER of the firmware was answered."""
    return events.AddressOffered(mac=mac, address=ADDRESS, stage=Stage.EEPROM, model="4B")


class CasebookTestCase(SynchronousTestCase):
    """A registry, a log, a switch and a casebook."""

    bounds: dict[str, int] = {}

    def setUp(self) -> None:
        """All of them, empty."""
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.registry = NodeRegistry([NODE])
        self.switch = MemoryPowerSwitch()
        self.switches: dict[IPv4Address, IPowerSwitch] = {SWITCH: self.switch}
        self.casebook = self.new_casebook()
        self.log = EventLog(self.clock, [self.registry, self.casebook])

    def new_casebook(self) -> Casebook:
        """A casebook of the registry."""
        return Casebook(self.clock, nodes=self.registry, switches=lambda: self.switches, **self.bounds)

    def tell(self, *told: Event, every: float = 1.0) -> None:
        """Let these happen, one after the other."""
        for event in told:
            self.log.emit(event)
            self.clock.advance(every)

    def look(self, mac: MACAddress = MAC) -> Verdict:
        """Ask the switch and say."""
        found: Verdict = self.successResultOf(Deferred.fromCoroutine(self.casebook.look(mac)))
        return found


class EventTests(CasebookTestCase):
    """Which events are kept."""

    bounds = {"events_of_node": 8, "events": 20}

    def kinds(self, mac: MACAddress = MAC) -> list[str]:
        """What is remembered."""
        return [type(recorded.event).__name__ for recorded in self.casebook.events_of(mac)]

    def test_interface(self) -> None:
        """It is an observer of the log."""
        verifyObject(IEventObserver, self.casebook)

    def test_durable_events_of_nodes(self) -> None:
        """Events of no node, and those that nobody stores, are not kept."""
        self.tell(
            events.ManagerStarted(version="2"), events.ClockSet(mac=MAC), POWERED, offered(OTHER_MAC), offered()
        )
        self.assertEqual(self.kinds(), ["PowerGiven", "AddressOffered"])
        self.assertEqual(self.kinds(OTHER_MAC), ["AddressOffered"])

    def test_unknown_installer(self) -> None:
        """An installer that nobody knows counts for the node whose address it has."""
        self.tell(
            events.InstallerUnknown(address=ADDRESS, reason="x"),
            events.InstallerUnknown(address=IPv4Address("172.30.4.99"), reason="x"),
        )
        self.assertEqual(self.kinds(), ["InstallerUnknown"])

    def test_bound_of_a_node(self) -> None:
        """What repeats itself gives way, but never the first of it nor what happened once."""
        self.tell(POWERED, *[offered()] * 50)
        kept = self.casebook.events_of(MAC)
        self.assertEqual(len(kept), 8)
        self.assertEqual(self.kinds(), ["PowerGiven"] + ["AddressOffered"] * 7)
        self.assertEqual([recorded.id for recorded in kept], [1, 2, 46, 47, 48, 49, 50, 51])

    def test_bound_in_all(self) -> None:
        """The node that has been quiet for longest is forgotten first."""
        macs = [MACAddress(bytes((2, 0, 0, 0, 0, number))) for number in range(5)]
        for _ in range(4):
            self.tell(*(offered(mac) for mac in macs))
        self.tell(offered(macs[0]))
        self.assertEqual([len(self.casebook.events_of(mac)) for mac in macs], [5, 0, 4, 4, 4])

    def test_recall(self) -> None:
        """A new process takes the events of the old one and says the same."""
        self.tell(POWERED, *[offered()] * 3, every=30.0)
        before = self.casebook.why(MAC)
        self.assertIs(before.fault, Fault.OFFER_IGNORED)
        after = self.new_casebook()
        after.recall(self.casebook.events_of(MAC))
        self.assertEqual(after.why(MAC), before)

    def test_recall_late(self) -> None:
        """History that is read while events happen goes before them, and nothing is kept twice."""
        self.tell(POWERED, *[offered()] * 2)
        old = self.casebook.events_of(MAC)
        casebook = self.new_casebook()
        self.log.add_observer(casebook)
        self.tell(offered(), offered(OTHER_MAC))
        casebook.recall([*old, *casebook.events_of(MAC)])
        self.assertEqual([recorded.id for recorded in casebook.events_of(MAC)], [1, 2, 3, 4])
        self.assertEqual(len(casebook.events_of(OTHER_MAC)), 1)

    @given(st.lists(any_event(mac=st.just(MAC)), min_size=1, max_size=40))
    def test_thinned(self, told: list[Event]) -> None:
        """One less, in order; the newest stays, and the last of each class that is left."""
        tail = [Recorded(id=n, time=n, event=event) for n, event in enumerate(told, start=1)]
        left = thinned(tail)
        self.assertEqual(len(left), len(tail) - 1)
        [gone] = [recorded for recorded in tail if recorded not in left]
        self.assertEqual(left, [recorded for recorded in tail if recorded is not gone])
        same = [recorded for recorded in tail if type(recorded.event) is type(gone.event)]
        self.assertTrue(len(same) <= 2 or gone is same[1])

    def test_a_loop_for_hours(self) -> None:
        """Since when a board asks in vain is known also when thousands of events have passed."""
        bounded = Casebook(self.clock, nodes=self.registry)
        self.log.add_observer(bounded)
        lease = events.AddressLeased(mac=MAC, address=ADDRESS, stage=Stage.EEPROM, expires=2e9)
        loading = events.LoadingStarted(mac=MAC, name="start4.elf")
        report = events.BootFilesServed(
            mac=MAC, files=0, bytes=0, retransmits=0, missing=("start4.elf", "start.elf"), seconds=1.0
        )
        self.tell(*[offered(), lease, loading, report] * 500, every=0.25)
        self.assertEqual(len(bounded.events_of(MAC)), EVENTS_OF_NODE)
        self.assertIs(bounded.why(MAC).fault, Fault.FILE_MISSING)


class PowerTests(CasebookTestCase):
    """What the switch says."""

    def test_look(self) -> None:
        """The port is read first."""
        self.switch.faults[3] = "fault"
        self.tell(POWERED, every=70.0)
        self.assertIs(self.casebook.why(MAC).fault, Fault.NO_DISCOVER)
        self.assertIs(self.look().fault, Fault.POWER_FAULT)
        self.assertIs(self.casebook.why(MAC).fault, Fault.POWER_FAULT)

    def test_old_readings(self) -> None:
        """How the port was a while ago is no evidence."""
        self.switch.faults[3] = "fault"
        self.tell(POWERED)
        self.look()
        self.clock.advance(READING_SECONDS + 1)
        self.assertIs(self.casebook.why(MAC).fault, Fault.NO_DISCOVER)

    def test_silent_switch(self) -> None:
        """A switch that does not tell, or that is in no file, is no evidence; an older reading is none then either."""
        self.tell(POWERED, every=70.0)
        self.switch.faults[3] = "fault"
        self.look()
        self.switch.failure = PowerUnreachable("it did not answer")
        self.assertIs(self.look().fault, Fault.NO_DISCOVER)
        self.switches = {}
        self.assertIs(self.look().fault, Fault.NO_DISCOVER)

    def test_no_port(self) -> None:
        """A node without a port, and a stranger, have their verdict without a switch."""
        self.registry.replace_nodes([Node(mac=MAC)], ())
        self.tell(POWERED, events.StrangerSeen(mac=OTHER_MAC, stage=Stage.ROM), every=70.0)
        self.assertEqual((self.look().fault, self.look(OTHER_MAC).fault), (Fault.NO_DISCOVER, Fault.STRANGER))


class VerdictTests(CasebookTestCase):
    """What is said."""

    def test_on_its_way(self) -> None:
        """A node that boots is on its way."""
        self.tell(POWERED, offered())
        self.assertIsNone(self.casebook.why(MAC).fault)

    def test_explain(self) -> None:
        """An operation that gives a node up is told why, though its phase has not had its time by our own count."""
        self.tell(POWERED, offered(), offered())
        status = self.registry.status(MAC)
        self.assertIs(status.phase, Phase.OFFERED)
        said = self.casebook.explain(status)
        self.assertIsInstance(said, Explanation)
        self.assertEqual(said.sentence, f"it was offered {ADDRESS} 2 times and did not take it")
        self.assertIn("DHCP snooping", said.remedy)

    def test_place_of_a_stranger(self) -> None:
        """If one place waits for its board, its address stands in the line; of several none does."""
        self.tell(events.StrangerSeen(mac=OTHER_MAC, stage=Stage.ROM))
        slot = Slot(address=IPv4Address("172.30.4.14"), port=PORT)
        self.registry.replace_nodes([NODE], [slot])
        self.assertIn("B8:27:EB:00:00:02;172.30.4.14;;0", self.casebook.why(OTHER_MAC).remedy)
        self.registry.replace_nodes([NODE], [slot, slot])
        self.assertIn("B8:27:EB:00:00:02;0.0.0.0;;0", self.casebook.why(OTHER_MAC).remedy)

    def test_nothing_heard(self) -> None:
        """A manager that has just started does not miss anybody yet."""
        self.assertIsNone(self.casebook.why(MAC).fault)
        self.clock.advance(601)
        self.assertIs(self.casebook.why(MAC).fault, Fault.NEVER_SEEN)
