"""
Tests for :mod:`piman.web.standings` and the messages of the stream that it makes.
"""

from typing import Any

from twisted.internet.defer import CancelledError

from piman.fleet import events
from piman.fleet.diagnosis import Fault, Verdict
from piman.fleet.model import Phase
from piman.web.standings import AGAIN_BEATS, BEAT_SECONDS, LOOK_SECONDS, PAGE, SETTLE_SECONDS, VERDICTS
from tests.pages_support import Wall
from tests.test_web_stream import FakeRequest, _Case
from tests.web_support import PI2, PI3, STRANGER

FAULT = Verdict(Fault.NOT_UP, "it hangs", "Look at it.")


class StandingTests(_Case):
    """Readers who want to know how nodes stand."""

    def follow(self, **wanted: Any) -> FakeRequest:
        """A reader with nodes."""
        return self.read(nodes=True, **wanted)

    def told(self, request: FakeRequest) -> list[list[tuple[str, str, bool]]]:
        """Each message: nodes with phase and fault."""
        return [
            [(node["id"], node["phase"], node["stuck"]) for node in data["nodes"]]
            for _, _, data in request.messages("nodes")
        ]

    def pass_seconds(self, seconds: float) -> None:
        """Time goes by, beat by beat."""
        self.half.clock.pump([BEAT_SECONDS] * round(seconds / BEAT_SECONDS))

    def test_first(self) -> None:
        """A reader is told of all nodes and strangers first, each as the schema says."""
        self.half.log.emit(events.NodeUp(mac=PI2, evidence="agent"))
        self.half.log.emit(events.NodeUp(mac=STRANGER, evidence="agent"))
        request = self.follow()
        (first,) = request.messages("nodes")
        found = {node["id"]: node for node in first[2]["nodes"]}
        self.assertEqual(list(found), [str(PI2), str(PI3), str(STRANGER)])
        pi2 = found[str(PI2)]
        self.assertEqual((pi2["name"], pi2["known"], pi2["phase"]), ("pi2", True, "up"))
        self.assertEqual((pi2["stuck"], pi2["sentence"]), (False, ""))
        self.assertFalse(found[str(STRANGER)]["known"])

    def test_only_who_wants(self) -> None:
        """Who did not ask for nodes is told of none."""
        request, other = self.read(), self.follow()
        self.happen()
        self.pass_seconds(2)
        self.assertEqual(request.messages("nodes"), [])
        self.assertEqual(len(other.messages("nodes")), 2)

    def test_once_a_second(self) -> None:
        """Whatever happens to a node in a second is one message, with the latest phase and nobody else."""
        request = self.follow()
        self.half.log.emit(events.BootOrdered(mac=PI2))
        self.happen(5)
        self.pass_seconds(1)
        self.pass_seconds(3)
        self.assertEqual(self.told(request)[1:], [[(str(PI2), "up", False)]])

    def test_fault(self) -> None:
        """A fault that comes with time alone is told, and that it went."""
        self.half.log.emit(events.BootOrdered(mac=PI2))
        request = self.follow()
        self.half.faults[PI2] = FAULT
        self.pass_seconds(1 + 2 * AGAIN_BEATS * BEAT_SECONDS)
        self.assertEqual(self.told(request)[1:], [[(str(PI2), "booting", True)]])
        self.assertEqual(self.half.standings.fault(PI2), "it hangs")
        del self.half.faults[PI2]
        self.happen()
        self.pass_seconds(1)
        self.assertEqual(self.told(request)[2:], [[(str(PI2), "up", False)]])

    def test_nobody_looks(self) -> None:
        """Without a reader nothing is judged and no timer runs."""
        self.follow()
        self.done.addErrback(lambda failure: failure.trap(CancelledError))
        self.done.cancel()
        self.pass_seconds(LOOK_SECONDS + 20)
        self.half.standings._judge = lambda mac: self.fail("judged")
        self.happen(3)
        self.assertEqual(self.half.clock.getDelayedCalls(), [])

    def test_broken_verdict(self) -> None:
        """A verdict that fails is logged and stops nothing."""
        real, self.half.standings._judge = self.half.standings._judge, lambda mac: 1 // 0
        request = self.follow()
        self.happen()
        self.pass_seconds(1)
        self.half.standings._judge = real
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(request.messages("nodes")), 2)

    def test_beat(self) -> None:
        """Instead of a comment, which no script in a browser can hear, such a reader is sent a message."""
        request, other = self.follow(), self.read()
        self.pass_seconds(16)
        self.assertEqual(len(request.messages("beat")), 1)
        self.assertEqual(other.messages("beat"), [])

    def test_end(self) -> None:
        """When the stream is closed nothing is left to do."""
        self.follow()
        self.half.stream.close()
        self.assertEqual(self.half.clock.getDelayedCalls(), [])


class LookTests(_Case):
    """Pages that look once."""

    def test_waits(self) -> None:
        """A page waits until each node that may be faulty was judged, the longest quiet ones first."""
        wall = Wall(1, 3 * VERDICTS)
        for node in wall.nodes:
            wall.boot(node, "loading")
        wall.clock.advance(1000)
        looked = wall.standings.look()
        wall.clock.pump([BEAT_SECONDS] * 2)
        self.assertNoResult(looked)
        self.assertTrue(wall.standings.fault(wall.nodes[0].mac))
        self.assertFalse(wall.standings.fault(wall.nodes[-1].mac))
        wall.clock.advance(BEAT_SECONDS)
        self.successResultOf(looked)
        self.assertTrue(wall.standings.fault(wall.nodes[-1].mac))
        self.successResultOf(wall.standings.look())
        wall.clock.pump([BEAT_SECONDS] * round(LOOK_SECONDS / BEAT_SECONDS + 2))
        self.assertEqual(wall.clock.getDelayedCalls(), [])

    def test_not_for_ever(self) -> None:
        """A page does not wait longer than a second, nor for a rack where all is well."""
        wall = Wall(12, 48)
        self.successResultOf(wall.standings.look())
        wall.clock.pump([BEAT_SECONDS] * 200)
        for node in wall.nodes:
            wall.boot(node, "loading")
        looked = wall.standings.look()
        self.assertNoResult(looked)
        wall.clock.pump([SETTLE_SECONDS / 4] * 4)
        self.successResultOf(looked)

    def test_large(self) -> None:
        """A large rack is told in messages of so many nodes, all of them once."""
        wall = Wall(12, 48)
        pages = wall.standings.whole()
        self.assertEqual([page.count(b'"id"') for page in pages], [PAGE, 576 - PAGE])
        self.assertEqual(wall.registry.status(wall.nodes[0].mac).phase, Phase.UNKNOWN)
