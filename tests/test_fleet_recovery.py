"""
When recovery may cycle a node, and when it stands back.  Whole runs: tests/scenario/test_recovery.py
"""

from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.events import Event, NodeUp, PowerCycled, Recorded, RecoveryBegun
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase, SwitchPort
from piman.fleet.operations.following import PATIENCE
from piman.fleet.operations.recovery import INSTALLING_SECONDS, Crowd, crowds, is_overdue, is_spent
from piman.fleet.verdicts.remedies import Fault

MAC = MACAddress(bytes.fromhex("b827eb000001"))
RACKS = IPv4Address("172.30.4.253"), IPv4Address("172.30.4.254")
NODES = [
    Node(mac=MACAddress(bytes((0xB8, 0x27, 0xEB, 0, rack, port))), port=SwitchPort(address, port))
    for rack, address in enumerate(RACKS)
    for port in range(1, 21)
]
CYCLED = PowerCycled(mac=MAC, port="rack-a port 1", operation="0badcafe", dark_seconds=5.0)
BEGUN = RecoveryBegun(mac=MAC, operation="0badcafe", attempt=1, of=2, reason="it stopped")
UP = NodeUp(mac=MAC, evidence="agent")
NOW = 100_000.0


def story(*events: tuple[float, Event]) -> list[Recorded]:
    """Each so many seconds ago."""
    return [Recorded(id=number, time=NOW - ago, event=event) for number, (ago, event) in enumerate(events, start=1)]


class SpentTests(SynchronousTestCase):
    """A node has had its power cycles."""

    def spent(self, *events: tuple[float, Event]) -> bool:
        """With two of them."""
        return is_spent(story(*events), 2, NOW)

    def test_within_the_hour(self) -> None:
        """Two by recovery within an hour, whether it came up meanwhile or not."""
        self.assertFalse(self.spent((600, BEGUN), (590, CYCLED), (500, UP)))
        self.assertTrue(self.spent((600, BEGUN), (590, CYCLED), (500, UP), (90, BEGUN), (80, CYCLED), (50, UP)))

    def test_after_the_hour(self) -> None:
        """What came up and hangs hours later is helped again; what never came up is not."""
        first = (9_000, BEGUN), (8_990, CYCLED), (8_000, BEGUN), (7_990, CYCLED)
        self.assertTrue(self.spent(*first))
        self.assertFalse(self.spent(*first, (7_000, UP)))

    def test_by_anybody(self) -> None:
        """Power cycles that somebody ordered count until it is up."""
        self.assertTrue(self.spent((9_000, CYCLED), (8_000, CYCLED)))
        self.assertFalse(self.spent((9_000, CYCLED), (8_000, CYCLED), (7_000, UP)))


class OverdueTests(SynchronousTestCase):
    """A node has had its time."""

    def overdue(self, phase: Phase, ago: float, *, watched: float = 1e5, is_installing: bool = False) -> bool:
        """In this phase for so long, watched for so long."""
        status = NodeStatus(mac=MAC, phase=phase, since=NOW - ago, last_seen=NOW - ago)
        return is_overdue(status, NOW, watched_since=NOW - watched, is_installing=is_installing)

    def test_phase(self) -> None:
        """After the time of its phase, and not before."""
        for phase, seconds in PATIENCE.items():
            self.assertEqual([self.overdue(phase, seconds - 1), self.overdue(phase, seconds)], [False, True])

    def test_young_manager(self) -> None:
        """What was before the manager started it has not seen: the time counts from there."""
        self.assertFalse(self.overdue(Phase.LOADING, 5_000, watched=PATIENCE[Phase.LOADING] - 1))

    def test_installing(self) -> None:
        """A node that is to be installed has an hour of silence in whatever phase it is."""
        for phase in (Phase.LOADING, Phase.FORMATTING, Phase.IMAGING):
            self.assertFalse(self.overdue(phase, INSTALLING_SECONDS - 1, is_installing=True))
            self.assertTrue(self.overdue(phase, INSTALLING_SECONDS, is_installing=True))


class CrowdTests(SynchronousTestCase):
    """Too many at one place."""

    def test_accidents(self) -> None:
        """Five of twenty on a switch are a quarter, and no crowd; two are none however small the switch."""
        self.assertEqual(list(crowds([(node, Fault.NO_TFTP) for node in NODES[:5]], [], NODES)), [])
        self.assertEqual(list(crowds([(node, Fault.NO_TFTP) for node in NODES[:2]], [], NODES[:3])), [])

    def test_switch(self) -> None:
        """Six of the twenty on one switch: there, and not on the other one; the most frequent fault is named."""
        stuck = [(node, Fault.NO_TFTP if place < 4 else Fault.NO_DISCOVER) for place, node in enumerate(NODES[:6])]
        self.assertEqual(list(crowds(stuck, [], NODES)), [Crowd(RACKS[0], Fault.NO_TFTP, 6, 20)])

    def test_fleet(self) -> None:
        """Eleven of forty, five and six on each: on all switches together too."""
        stuck = [(node, Fault.NO_DISCOVER) for node in (*NODES[:5], *NODES[20:26])]
        self.assertEqual({crowd.switch for crowd in crowds(stuck, [], NODES)}, {RACKS[1], None})

    def test_silent(self) -> None:
        """Nodes that were up and are silent count where others are stuck: a dead switch silences those that ran."""
        found = list(crowds([(NODES[0], Fault.NO_DISCOVER)], NODES[1:6], NODES))
        self.assertEqual(found, [Crowd(RACKS[0], Fault.NO_DISCOVER, 6, 20)])
