"""
Tests for :mod:`piman.fleet.whereabouts`: files and switches side by side.
"""

from ipaddress import IPv4Address

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.interfaces import PowerUnreachable
from piman.fleet.model import MACAddress, Node, Slot, SwitchPort
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.targets import Atlas, Place
from piman.fleet.whereabouts import Row, chart, find, hosts_line, survey
from piman.testing.power import MemoryPowerSwitch

A, B = IPv4Address("172.30.4.254"), IPv4Address("172.30.4.253")
PI2, PI3, STRANGER, GUEST = (MACAddress.parse(f"b8:27:eb:00:00:{number:02x}") for number in (2, 3, 9, 10))
ATLAS = Atlas(
    places=(Place(address=A, label="rack-a"), Place(address=B, label="rack-b")),
    nodes=(
        Node(mac=PI2, hostname="pi2", address=IPv4Address("172.30.4.2"), port=SwitchPort(A, 2)),
        Node(mac=PI3, hostname="pi3", address=IPv4Address("172.30.4.3")),
    ),
    slots=(
        Slot(address=IPv4Address("172.30.4.5"), port=SwitchPort(A, 5)),
        Slot(address=IPv4Address("172.30.4.6"), port=SwitchPort(A, 6)),
    ),
)


def one(*macs: MACAddress) -> frozenset[MACAddress]:
    """The boards of a port."""
    return frozenset(macs)


class FindTests(SynchronousTestCase):
    """Where one board hangs."""

    def test_configured_port_wins(self) -> None:
        """The files' port is the port, and a switch that disagrees is a remark."""
        board = find(PI2, ATLAS, {A: {7: one(PI2)}})
        self.assertEqual(board.port, SwitchPort(A, 2))
        expected = "the files say 172.30.4.254 port 2, the switch has learned it at 172.30.4.254 port 7"
        self.assertEqual(board.remark, expected)

    def test_learned(self) -> None:
        """A node without a port hangs where it alone was learned; uplinks that lead to it do not count."""
        board = find(PI3, ATLAS, {A: {24: one(PI3, PI2)}, B: {3: one(PI3)}})
        self.assertEqual((board.port, board.behind), (SwitchPort(B, 3), (SwitchPort(A, 24),)))
        self.assertEqual(board.remark, "")

    def test_two_candidates(self) -> None:
        """Learned alone at two ports it hangs at neither, and both are named."""
        board = find(PI3, ATLAS, {A: {3: one(PI3)}, B: {3: one(PI3)}})
        self.assertIsNone(board.port)
        self.assertIn("172.30.4.253 port 3 and 172.30.4.254 port 3", board.remark)

    def test_only_behind_others(self) -> None:
        """Learned only at an uplink, it is said to be behind it."""
        board = find(PI3, ATLAS, {A: {24: one(PI3, PI2)}})
        self.assertIsNone(board.port)
        self.assertIn("behind other boards, at 172.30.4.254 port 24", board.remark)

    def test_nowhere(self) -> None:
        """A board that nobody has seen has no port and no name."""
        board = find(STRANGER, ATLAS, {})
        self.assertEqual((board.port, board.node, board.seen), (None, None, ()))


class ChartTests(SynchronousTestCase):
    """The map."""

    def rows(self) -> tuple[Row, ...]:
        """Of a rack with a stranger in a slot, an empty slot, an uplink and a stranger that only DHCP saw."""
        learned = {A: {2: one(PI2), 5: one(STRANGER), 24: one(PI3, MACAddress(b"\2\0\0\0\0\1"))}}
        return chart(ATLAS, learned, strangers=[GUEST])

    def test_rows(self) -> None:
        """Ports come in order, with nodes, strangers, slots and uplinks; then boards without a port."""
        shown = [(str(row.port or "-"), str(row.board.mac) if row.board else "") for row in self.rows()]
        self.assertEqual(
            shown,
            [
                ("172.30.4.254 port 2", str(PI2)),
                ("172.30.4.254 port 5", str(STRANGER)),
                ("172.30.4.254 port 6", ""),
                ("172.30.4.254 port 24", ""),
                ("-", str(PI3)),
                ("-", str(GUEST)),
            ],
        )

    def test_lines_for_strangers(self) -> None:
        """A stranger in a slot gets the slot's address in its line, one without a place any address of the pool."""
        lines = [line for row in self.rows() if (line := hosts_line(row)) is not None]
        self.assertEqual(lines, ["B8:27:EB:00:00:09;172.30.4.5;;0", "B8:27:EB:00:00:0A;0.0.0.0;;0"])


class SurveyTests(SynchronousTestCase):
    """Asking the switches."""

    def test_one_is_silent(self) -> None:
        """A switch that does not answer is named with its reason; the other's boards are there."""
        answering, silent = MemoryPowerSwitch(), MemoryPowerSwitch()
        answering.macs = {2: {PI2}}
        silent.failure = PowerUnreachable("rack-b does not answer", "Is it on?")
        desk = PowerDesk(Clock(), {A: answering, B: silent})
        found = self.successResultOf(Deferred.fromCoroutine(survey(desk, ATLAS)))
        self.assertEqual(found.learned, {A: {2: one(PI2)}})
        self.assertEqual(found.silent, {B: "rack-b does not answer"})
