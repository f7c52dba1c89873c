# -*- test-case-name: tests.test_web_access_login -*-
"""
How often somebody may guess.

Each address and each name has a few tries, which come back one by one.  A name has more than an address: whoever
guesses from many addresses is slowed down, and whoever wants to keep somebody out must keep at it.
"""

from collections import OrderedDict
from collections.abc import Hashable

import attrs
from twisted.internet.interfaces import IReactorTime


@attrs.frozen
class Allowance:
    """So many tries, and one more every so many seconds."""

    tries: int
    seconds: float


OF_ADDRESS = Allowance(5, 30.0)
OF_NAME = Allowance(20, 30.0)
MOST_KEYS = 4096
"""Remembered of each kind; the one that was used the longest ago goes first."""


class Bucket:
    """Counts tries by key (a token bucket)."""

    def __init__(self, clock: IReactorTime, allowance: Allowance, capacity: int = MOST_KEYS) -> None:
        self._clock = clock
        self._allowance = allowance
        self._capacity = capacity
        self._spent: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """How many tries were spent, as of when."""

    def __len__(self) -> int:
        return len(self._spent)

    def wait_seconds(self, key: Hashable) -> float:
        """How long until there is a try."""
        return max(0.0, (self._now_spent(key) + 1 - self._allowance.tries) * self._allowance.seconds)

    def spend(self, key: Hashable) -> None:
        """Take one."""
        self._spent[key] = (self._now_spent(key) + 1, self._clock.seconds())
        self._spent.move_to_end(key)
        if len(self._spent) > self._capacity:
            self._spent.popitem(last=False)

    def forgive(self, key: Hashable) -> None:
        """Give all back."""
        self._spent.pop(key, None)

    def _now_spent(self, key: Hashable) -> float:
        spent, since = self._spent.get(key, (0.0, 0.0))
        return max(0.0, spent - (self._clock.seconds() - since) / self._allowance.seconds)


class Tries:
    """Of addresses and names together."""

    def __init__(self, clock: IReactorTime) -> None:
        self._addresses = Bucket(clock, OF_ADDRESS)
        self._names = Bucket(clock, OF_NAME)

    def wait_seconds(self, address: str, name: str) -> float:
        """How long somebody must wait; 0: not at all."""
        return max(self._addresses.wait_seconds(address), self._names.wait_seconds(name))

    def spend(self, address: str, name: str) -> None:
        """Before the password is looked at: many at once are many."""
        self._addresses.spend(address)
        self._names.spend(name)

    def forgive(self, address: str, name: str) -> None:
        """It was the right password."""
        self._addresses.forgive(address)
        self._names.forgive(name)
