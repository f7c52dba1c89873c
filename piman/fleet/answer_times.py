# -*- test-case-name: tests.test_fleet_answer_times -*-
"""
How long boards take to acknowledge a block of a boot file: whether the line between them and us, or we ourselves, are
full.

A boot loader has one block on its way and does nothing else meanwhile.  Where there is room an answer comes as fast as
ever; where blocks wait for each other, on a line or for our own processor, all answers are late alike, long before
anything is lost.  The idea is TCP Vegas' (Brakmo and Peterson, 1995); the middle one of many answers, and not their
mean, because a lost datagram costs a second and says nothing of the others.
"""

from collections import deque
from statistics import median_low

from twisted.internet.interfaces import IReactorTime

REMEMBERED = 256
BETWEEN_SECONDS = 0.01
"""Of answers that follow each other faster one counts: so many are remembered as two seconds bring at least."""
ENOUGH = 24
FRESH_SECONDS = 3.0
"""An older answer says nothing of now."""
UNNOTICED_SECONDS = 0.0025
"""
Faster than this nobody needs to be: four times as much is what a switch of 1 Gbit/s with a megabyte of memory can keep
waiting before it drops datagrams.
"""
CROWDED = 4.0
"""So many times as long as at best: the line is full, and more boards would only wait for each other."""


class AnswerTimes:
    """
    The latest answers.

    :ivar best: the middle one of many answers, at its best so far; seconds.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.best = float("inf")
        self._clock = clock
        self._latest: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._next = 0.0
        self._judged = 0.0

    def took(self, seconds: float, now: float) -> None:
        """A block that was sent once was acknowledged after so long.  Called for each block of each file."""
        if now < self._next:
            return
        self._next = now + BETWEEN_SECONDS
        self._latest.append((now, seconds))
        if now > self._judged + FRESH_SECONDS:
            self._judge(now)

    def is_crowded(self) -> bool:
        """Whether answers take much longer than at best; no: they do not, or too few are known of late."""
        middle = self._judge(self._clock.seconds())
        return middle is not None and middle > CROWDED * self.best

    def _judge(self, now: float) -> float | None:
        self._judged = now
        while self._latest and self._latest[0][0] < now - FRESH_SECONDS:
            self._latest.popleft()
        if len(self._latest) < ENOUGH:
            return None
        middle = max(median_low(seconds for _, seconds in self._latest), UNNOTICED_SECONDS)
        self.best = min(self.best, middle)
        return middle
