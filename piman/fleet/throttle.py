# -*- test-case-name: tests.test_dhcp -*-
"""
Says the same thing only now and then, whoever keeps provoking it.
"""

from collections import OrderedDict
from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime


class Throttle:
    """
    Lets each key through once in a while.

    :param capacity: how many keys are remembered; while all of them are young, new ones have to wait. So at most so
        many come through in ``seconds``, however many keys a flood invents.
    """

    def __init__(self, clock: IReactorTime, seconds: float, capacity: int = 1024) -> None:
        self._clock = clock
        self._seconds = seconds
        self._capacity = capacity
        self._passed: OrderedDict[Hashable, float] = OrderedDict()
        self._held_back = 0

    def passes(self, key: Hashable) -> bool:
        """Whether it may be said now."""
        now = self._clock.seconds()
        while self._passed and self._is_old(next(iter(self._passed.values())), now):
            self._passed.popitem(last=False)
        if key in self._passed or len(self._passed) >= self._capacity:
            self._held_back += 1
            return False
        self._passed[key] = now
        return True

    def take_held_back(self) -> int:
        """How often nothing was let through since this was last asked."""
        held_back, self._held_back = self._held_back, 0
        return held_back

    def _is_old(self, passed: float, now: float) -> bool:
        return not 0 <= now - passed < self._seconds  # also when the clock was set back
