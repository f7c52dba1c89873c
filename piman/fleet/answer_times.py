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
"""Answers; 500 boards give so many in less than a second."""
ENOUGH = 24
FRESH_SECONDS = 3.0
"""An older answer says nothing of now."""
UNNOTICED_SECONDS = 0.001
"""Faster than this nobody needs to be."""
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
        self._latest: deque[float] = deque(maxlen=REMEMBERED)
        self._since = 0.0

    def took(self, seconds: float, now: float) -> None:
        """A block that was sent once was acknowledged after so long.  Called for each block of each file."""
        if now - self._since > FRESH_SECONDS:
            self._judge()
            self._latest.clear()
            self._since = now
        self._latest.append(seconds)

    def is_crowded(self) -> bool:
        """Whether answers take much longer than at best; no: they do not, or too few are known of late."""
        if self._clock.seconds() - self._since > 2 * FRESH_SECONDS:
            return False
        now = self._judge()
        return now is not None and now > CROWDED * self.best

    def _judge(self) -> float | None:
        if len(self._latest) < ENOUGH:
            return None
        now = max(median_low(self._latest), UNNOTICED_SECONDS)
        self.best = min(self.best, now)
        return now
