"""
Tests for :mod:`piman.web.pages.listing`: which events are wanted, and where the next page begins.
"""

from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.web.pages.listing import KINDS, MOST_READ, ROWS, TROUBLE, Found, Wanted, find
from piman.web.wishes import Refusal
from tests.pages_support import Wall


class WantedTests(SynchronousTestCase):
    """What an address says."""

    def test_empty_fields(self) -> None:
        """A form sends its empty fields: they mean nothing."""
        empty = {name: [b" "] for name in (b"node", b"kind", b"text", b"trouble")}
        self.assertEqual(Wanted.of({**empty, b"before": [b""]}), Wanted())
        self.assertEqual(Wanted().address(), "/events")

    def test_there_and_back(self) -> None:
        """An address says what it was made of, whatever the texts hold."""
        wanted = Wanted(node="pi&2", kind="NodeUp", text='"ä?', trouble=True, before=7)
        query = wanted.address().partition("?")[2]
        found = {name.encode(): [each.encode() for each in values] for name, values in parse_qs(query).items()}
        self.assertEqual(Wanted.of(found), wanted)

    def test_mistakes(self) -> None:
        """A kind that is none is no filter; a number that is none is refused."""
        self.assertEqual(Wanted.of({b"kind": [b"<script>"]}).kinds, ())
        with self.assertRaises(Refusal):
            Wanted.of({b"before": [b"-1"]})

    def test_trouble(self) -> None:
        """Only trouble: all kinds of it, which are kinds that are stored; a kind counts more."""
        self.assertEqual(set(Wanted(trouble=True).kinds), TROUBLE)
        self.assertEqual(Wanted(trouble=True, kind="NodeUp").kinds, ("NodeUp",))
        self.assertLess(TROUBLE, set(KINDS))


class FindTests(SynchronousTestCase):
    """Pages of events."""

    def setUp(self) -> None:
        """A node that goes up and down."""
        self.wall = Wall(1, 2)

    def happen(self, count: int) -> None:
        """Up and silent in turn."""
        mac = self.wall.nodes[0].mac
        for number in range(count):
            self.wall.emit(
                events.NodeSilent(mac=mac, misses=3, reason=f"reason {number}")
                if number % 2
                else events.NodeUp(mac=mac, evidence="agent")
            )

    def find(self, mac: Any = None, **wanted: Any) -> Found:
        """What is found."""
        return self.successResultOf(Deferred.fromCoroutine(find(self.wall.api.answers, Wanted(**wanted), mac)))

    def test_pages(self) -> None:
        """Pages are full, the newest events come first, and each page leads to the next, until the first event."""
        self.happen(2 * ROWS + 3)
        numbers, before = [], None
        for size in (ROWS, ROWS, 3):
            found = self.find(before=before)
            self.assertEqual(len(found.events), size)
            numbers += [event["id"] for event in found.events]
            before = found.older
        self.assertIsNone(before)
        self.assertEqual(numbers, list(range(2 * ROWS + 3, 0, -1)))

    def test_filters(self) -> None:
        """By node, kind, trouble and text."""
        self.happen(10)
        self.assertEqual(len(self.find(kind="NodeUp").events), 5)
        self.assertEqual({event["kind"] for event in self.find(trouble=True).events}, {"NodeSilent"})
        self.assertEqual(self.find(mac=self.wall.nodes[1].mac).events, [])
        self.assertEqual([event["id"] for event in self.find(text="REASON 3").events], [4])

    def test_long_search(self) -> None:
        """A text that is nowhere is not searched for to the end of time: the reader is asked."""
        self.happen(MOST_READ + 5)
        found = self.find(text="nowhere")
        self.assertEqual((found.events, found.searched, found.older), ([], MOST_READ, 6))
        self.assertEqual(self.find(text="nowhere", before=found.older), Found(events=[]))
