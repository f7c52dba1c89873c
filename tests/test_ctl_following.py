"""
Tests for :mod:`piman.ctl.following`: messages however the stream is cut, and a manager that comes and goes.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.ctl.client import NoManager, Refused, WentAway
from piman.ctl.following import AGAIN_SECONDS, Message, Messages, follow

# Laid out as in the examples of WHATWG HTML, 9.2.1, with the fields in another order, comments and unknown fields.
STREAM = (
    b"retry: 1000\n\n"
    b": a comment\n\n"
    b'id: 7\nevent: event\ndata: {"text": "\\u00e4 : b"}\n\n'
    b"event: nonsense\ndata: no json\n\n"
    b'data:{"a":1}\nfuture: field\nevent:operation\n\n'
    b"event: unfinished\ndata: {}"
)
MESSAGES = [Message("event", {"text": "\u00e4 : b"}, "7"), Message("operation", {"a": 1})]


class MessageTests(SynchronousTestCase):
    """Messages from bytes."""

    @given(some.lists(some.integers(min_value=0, max_value=len(STREAM))))
    def test_any_cut(self, cuts: list[int]) -> None:
        """Wherever the stream is cut, the same messages come."""
        messages, found = Messages(), []
        places = [0, *sorted(cuts), len(STREAM)]
        for begin, end in pairwise(places):
            found += messages.feed(STREAM[begin:end])
        self.assertEqual(found, MESSAGES)

    @given(some.lists(some.binary()))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """No bytes break it."""
        messages = Messages()
        for piece in pieces:
            messages.feed(piece)


class FakeManager:
    """
    A manager whose every stream the test has written.

    :ivar streams: what happens at each attempt: bytes and then an end, or a failure.
    :ivar known: the last message that each attempt knew.
    """

    def __init__(self, *streams: Any) -> None:
        self.reactor = Clock()
        self.streams = list(streams)
        self.known: list[str] = []

    async def read(self, path: str, query: Any, heard: Callable[[bytes], bool], known: str = "") -> None:
        """The next stream."""
        self.known.append(known)
        data, end = self.streams.pop(0)
        if data and heard(data):
            return
        if isinstance(end, Exception):
            raise end
        if end is not None:
            await end


def event(number: int) -> bytes:
    """A message."""
    return f"id: {number}\nevent: event\ndata: {number}\n\n".encode()


class FollowTests(SynchronousTestCase):
    """Coming back."""

    def follow(self, manager: Any, until: int) -> "Deferred[None]":
        """Follow until this number."""
        self.heard: list[int] = []
        self.aways = 0

        def hear(message: Message) -> bool:
            self.heard.append(message.data)
            return message.data == until

        def away() -> None:
            self.aways += 1

        return Deferred.fromCoroutine(follow(manager, {}, hear, known="3", away=away))

    def test_comes_back(self) -> None:
        """After an end, a break and a manager that is not there it asks again, with the last number that it knows."""
        manager = FakeManager(
            (event(4) + event(5) + b"id: 6\neve", None),
            (b"", NoManager("nobody")),
            (event(6), WentAway("broken off")),
            (event(7) + event(8), None),
        )
        followed = self.follow(manager, until=7)
        for _ in range(3):
            self.assertNoResult(followed)
            manager.reactor.advance(AGAIN_SECONDS)
        self.successResultOf(followed)
        self.assertEqual(self.heard, [4, 5, 6, 7])
        self.assertEqual((manager.known, self.aways), (["3", "5", "5", "6"], 3))

    def test_refused(self) -> None:
        """What the manager will not tell is not asked for again."""
        manager = FakeManager((b"", Refused(404, "no-such-operation", "found none", "")))
        self.failureResultOf(self.follow(manager, until=7), Refused)

    def test_interrupted(self) -> None:
        """Cancelling ends it, while it listens and while it waits."""
        for streams in (((b"", Deferred()),), ((b"", NoManager("nobody")),)):
            manager = FakeManager(*streams)
            followed = self.follow(manager, until=7)
            followed.addErrback(lambda failure: None)
            followed.cancel()
            self.assertEqual(manager.reactor.getDelayedCalls(), [])
