# -*- test-case-name: tests.test_switching_agent -*-
"""
A value that is found out once, by whoever needs it first.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Once(Generic[T]):
    """
    Remembers what ``find`` returned; who asks while it is under way waits for the same answer.

    A failure goes to all who wait and is not remembered.
    """

    def __init__(self, find: Callable[[], Awaitable[T]]) -> None:
        self._find = find
        self._found: list[T] = []
        self._waiting: list[Deferred[T]] | None = None

    @property
    def known(self) -> T | None:
        """The value, if it was found."""
        return self._found[0] if self._found else None

    def forget(self) -> None:
        """Find it out again, the next time."""
        self._found = []

    async def get(self) -> T:
        """The value."""
        if self._found:
            return self._found[0]
        if self._waiting is not None:
            turn: Deferred[T] = Deferred()
            self._waiting.append(turn)
            return await turn
        self._waiting = []
        try:
            found = await self._find()
        except BaseException as reason:
            self._release(Failure(reason))
            raise
        self._found = [found]
        self._release(found)
        return found

    def _release(self, result: "T | Failure") -> None:
        waiting, self._waiting = self._waiting or [], None
        for turn in waiting:
            turn.callback(result)  # a Failure goes the errback way
