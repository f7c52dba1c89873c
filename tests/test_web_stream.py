"""
Tests for :mod:`piman.web.stream`: what readers are told, how they come back, and when they are cut off.
"""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.fleet.operations.orders import Action
from piman.web.stream import (
    BEAT_SECONDS,
    GATHERED_BYTES,
    MOST_READERS,
    MOST_WAITING_BYTES,
    PAGE,
    TURN_SECONDS,
    TURNS,
)
from piman.web.wishes import Refusal
from tests.web_support import PI2, PI3, Half


class FakeRequest:
    """
    A request whose transport is as fast as the test says.

    :ivar producer: who writes.
    :param settle: writes what was gathered, before somebody looks at the messages.
    """

    def __init__(self, settle: Callable[[], object] = lambda: None) -> None:
        self.settle = settle
        self.writes: list[bytes] = []
        self.headers: dict[bytes, bytes] = {}
        self.producer: Any = None
        self.is_cut = False
        self.transport = self

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Remember it."""
        self.headers[name] = value

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """A push producer."""
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        """It writes no more."""
        self.producer = None

    def write(self, data: bytes) -> None:
        """Take it."""
        self.writes.append(data)

    @property
    def written(self) -> bytes:
        """All of it."""
        return b"".join(self.writes)

    def abortConnection(self) -> None:
        """The reader is cut off."""
        self.is_cut = True

    def messages(self, kind: str = "") -> list[tuple[str, str, Any]]:
        """What an EventSource would make of it (WHATWG HTML 9.2.6): id, kind and data of each message."""
        self.settle()
        found = []
        for block in self.written.decode("utf-8").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
            if "data" in fields:
                found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
        return [each for each in found if kind in ("", each[1])]


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        """A half at rest."""
        self.half = Half()

    def read(self, **wanted: Any) -> FakeRequest:
        """A reader who has begun."""
        request = FakeRequest(self.half.stream.flush)
        self.done = self.half.stream.open(request, **wanted)
        return request

    def happen(self, count: int = 1, mac: Any = PI2) -> None:
        """Something happens."""
        for _ in range(count):
            self.half.log.emit(events.NodeUp(mac=mac, evidence="agent"))

    def order(self, *words: str) -> Any:
        """Begin a restart."""
        plan = self.successResultOf(Deferred.fromCoroutine(self.half.operations.plan(Action.RESTART, words)))
        begun = Deferred.fromCoroutine(self.half.operations.begin(plan, who="ada", source="test"))
        return self.successResultOf(begun)


class EventTests(_Case):
    """Events."""

    def test_live(self) -> None:
        """What happens is told, with its number; the first message says which number was the last."""
        self.happen(3)
        request = self.read()
        self.happen()
        self.assertEqual(request.headers[b"content-type"], b"text/event-stream")
        self.assertEqual([(number, kind) for number, kind, _ in request.messages()], [("3", "open"), ("4", "event")])
        self.assertEqual(request.messages("event")[0][2]["kind"], "NodeUp")

    def test_not_stored(self) -> None:
        """Events that are stored nowhere are told, too."""
        request = self.read()
        self.half.log.emit(events.InstallerReported(mac=PI2, text="half", fraction=0.5))
        self.assertEqual(request.messages("event")[0][2]["fields"]["fraction"], 0.5)

    def test_one_line(self) -> None:
        """Line ends in texts from the network cannot forge a message."""
        request = self.read()
        self.half.log.emit(events.InstallerFailed(mac=PI2, reason="a\n\nevent: operation\ndata: {}\n\n\r\u2028"))
        ((_, kind, data),) = request.messages()[1:]
        self.assertEqual((kind, data["fields"]["reason"][:3]), ("event", "a\n\n"))

    def test_of_a_node(self) -> None:
        """A reader who wants one node is told of no other, and of no operation."""
        request = self.read(mac=PI3)
        self.happen()
        self.happen(mac=PI3)
        self.order("pi3")
        self.assertEqual({data["node"] for _, _, data in request.messages("event")}, {str(PI3)})
        self.assertEqual(request.messages("operation"), [])

    def test_resume(self) -> None:
        """A reader that comes back is given what it missed, each event once, then what comes."""
        self.happen(PAGE + 3)
        request = self.read(after=2)
        self.happen()
        numbers = [int(number) for number, _, _ in request.messages("event")]
        self.assertEqual(numbers, list(range(3, PAGE + 5)))

    def test_events_while_resuming(self) -> None:
        """What happens while the past is read comes after it, and once."""
        self.happen(3)
        waiting: Deferred[None] = Deferred()
        real = self.half.history.events

        def slow(**wanted: Any) -> "Deferred[Any]":
            return waiting.addCallback(lambda _: self.successResultOf(real(**wanted)))

        self.half.history.events = slow
        request = self.read(after=1)
        self.happen(2)
        self.assertEqual(request.messages(), [])
        waiting.callback(None)
        self.assertEqual([number for number, _, _ in request.messages()], ["2", "3", "4", "5"])

    def test_past_cannot_be_read(self) -> None:
        """When the past cannot be read the reader is cut off: it comes back and asks again."""
        self.half.history.events = lambda **wanted: (_ for _ in ()).throw(OSError("disk"))
        request = self.read(after=1)
        self.assertTrue(request.is_cut)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_beat(self) -> None:
        """A silent stream is kept alive by comments; without readers nothing is left that ticks."""
        request = self.read()
        before = len(request.written)
        self.half.clock.advance(BEAT_SECONDS)
        self.half.clock.advance(TURN_SECONDS)
        self.assertEqual(request.written[before:], b":\n\n")
        request.producer.stopProducing()
        self.assertEqual(self.half.clock.getDelayedCalls(), [])


class TurnTests(_Case):
    """Messages are gathered, and readers take turns."""

    def test_gathered(self) -> None:
        """What happens within a turn is one write."""
        request = self.read()
        before = len(request.writes)
        self.happen(7)
        self.assertEqual(len(request.writes), before)
        self.half.clock.advance(TURN_SECONDS)
        (once,) = request.writes[before:]
        self.assertEqual(once.count(b"event: event\n"), 7)

    def test_turns(self) -> None:
        """Of many readers a fifth is written to at a time, each of them once, and all within a tenth of a second."""
        requests = [self.read() for _ in range(11)]
        before = [len(request.writes) for request in requests]
        self.happen()
        told: list[int] = []
        for _ in range(TURNS):
            self.half.clock.advance(TURN_SECONDS)
            told.append(sum(len(request.writes) for request in requests) - sum(before))
        self.assertEqual(told, [3, 6, 9, 11, 11])
        self.assertEqual([len(request.writes) for request in requests], [count + 1 for count in before])
        self.assertLessEqual(TURNS * TURN_SECONDS, 0.1 + 1e-9)

    def test_fair(self) -> None:
        """Who waits the longest is next, though more happens all the time."""
        requests = [self.read() for _ in range(10)]
        before = [len(request.writes) for request in requests]
        for _ in range(2 * TURNS):
            self.happen()
            self.half.clock.advance(TURN_SECONDS)
        self.assertEqual([len(request.writes) for request in requests], [count + 2 for count in before])

    def test_much(self) -> None:
        """What is too much to be gathered is written at once, and nobody is cut off who can take it."""
        request = self.read()
        for _ in range(2 * MOST_WAITING_BYTES // GATHERED_BYTES):
            self.half.log.emit(events.InstallerFailed(mac=PI2, reason="x" * GATHERED_BYTES))
        self.assertGreater(len(request.written), 2 * MOST_WAITING_BYTES)
        self.assertFalse(request.is_cut)

    def test_end(self) -> None:
        """A stream that ends tells first what was gathered, and leaves nothing that ticks."""
        request = self.read()
        self.happen(2)
        self.half.stream.close()
        self.assertEqual(request.written.count(b"event: event\n"), 2)
        self.assertEqual(self.half.clock.getDelayedCalls(), [])


class OperationTests(_Case):
    """Changes of operations."""

    def test_first_and_changed(self) -> None:
        """First an operation comes whole, then only the reports that changed."""
        self.order("pi2", "pi3")
        request = self.read()
        self.half.clock.advance(0.2)
        first, *later = [data for _, _, data in request.messages("operation")]
        self.assertEqual([report["index"] for report in first["reports"]], [0, 1])
        self.assertTrue(later)
        self.assertEqual({len(data["reports"]) for data in later}, {1})
        self.assertEqual(first["reports"][0]["target"]["port"]["label"], "rack-a")

    def test_new_one(self) -> None:
        """An operation that begins while somebody reads comes whole."""
        request = self.read()
        operation = self.order("pi2", "pi3")
        first = request.messages("operation")[0][2]
        self.assertEqual((first["id"], len(first["reports"])), (operation.id, 2))

    def test_only_one(self) -> None:
        """A reader of one operation is told of no other, and of no event; a finished one comes whole all the same."""
        one, other = self.order("pi2"), self.order("pi3")
        request = self.read(operation=one.id)
        self.half.clock.advance(1)
        self.assertEqual({data["id"] for _, _, data in request.messages()}, {one.id})
        self.half.clock.pump([0.5] * 1000)
        self.assertTrue(self.half.operations.operation(other.id).is_final)
        late = self.read(operation=other.id)
        ((_, _, data),) = late.messages()
        self.assertEqual((data["final"], len(data["reports"])), (True, 1))

    def test_deltas_add_up(self) -> None:
        """Whoever puts the changed reports in their places has the operation as it is."""
        request = self.read()
        operation = self.order("pi2", "pi3")
        self.half.clock.pump([0.5] * 1000)
        reports: dict[int, Any] = {}
        for _, _, data in request.messages("operation"):
            reports.update({report["index"]: report for report in data["reports"]})
        final = self.half.operations.operation(operation.id)
        self.assertEqual([reports[index]["step"] for index in (0, 1)], [report.step.value for report in final.reports])
        self.assertEqual([reports[index]["reason"] for index in (0, 1)], [report.reason for report in final.reports])
        self.assertTrue(data["final"])


class SlowReaderTests(_Case):
    """Readers that do not keep up."""

    def test_pause(self) -> None:
        """Nothing is written to a transport that has enough; it comes in order when there is room."""
        request = self.read()
        request.producer.pauseProducing()
        self.happen(3)
        self.assertEqual(request.messages("event"), [])
        request.producer.resumeProducing()
        self.assertEqual([number for number, _, _ in request.messages("event")], ["1", "2", "3"])

    def test_cut_off(self) -> None:
        """A reader for whom too much waits is cut off and forgotten; the others go on."""
        slow, quick = self.read(), self.read()
        slow.producer.pauseProducing()
        for _ in range(4):
            self.half.log.emit(events.InstallerFailed(mac=PI2, reason="x" * (MOST_WAITING_BYTES // 3)))
        self.assertTrue(slow.is_cut)
        self.assertEqual(slow.messages("event"), [])
        self.assertEqual(len(self.half.stream.readers), 1)
        self.assertFalse(quick.is_cut)

    def test_pause_in_the_past(self) -> None:
        """The past waits for a slow reader, too."""
        self.happen(PAGE * 2)
        request = FakeRequest()
        written = request.write

        def full_after_ten(data: bytes) -> None:
            written(data)
            if b"id: 10\n" in data:
                request.producer.pauseProducing()

        request.write = full_after_ten
        self.half.stream.open(request, after=0)
        self.assertEqual(len(request.messages("event")), 10)
        self.happen()
        request.producer.resumeProducing()
        self.assertEqual(len(request.messages("event")), PAGE * 2 + 1)

    def test_gone(self) -> None:
        """A reader that hangs up is forgotten, also while the past is sent to it."""
        self.happen(3)
        for wanted in ({}, {"after": 0}):
            self.read(**wanted)
            self.done.addErrback(lambda failure: None)
            self.done.cancel()
            self.assertEqual(self.half.stream.readers, [])

    def test_too_many(self) -> None:
        """One more than the most is refused, and told what to do."""
        for _ in range(MOST_READERS):
            self.read()
        refusal = self.assertRaises(Refusal, self.read)
        self.assertEqual((refusal.status, refusal.code), (503, "too-many-readers"))

    def test_end(self) -> None:
        """When the manager stops every stream ends as it should."""
        request = self.read()
        self.half.stream.close()
        self.successResultOf(self.done)
        self.assertEqual((request.producer, self.half.stream.readers), (None, []))
