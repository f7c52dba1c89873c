# -*- test-case-name: tests.test_monitor_recent -*-
"""
The readings of the last hours, in memory: a listener of the poller, and :class:`IReadings` for whoever shows them.

Bounded twice: nothing is older than a day, and all nodes together have :data:`MOST_READINGS`, about 29 MB.  At one
reading each 30 s that is a day for 200 nodes, an hour for 5,000, half an hour for 10,000.  A restart begins anew.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from piman.fleet.interfaces import IReadings, Series
from piman.fleet.model import MACAddress
from piman.monitor.readings import Reading

NAMES = ("cpu_percent", "memory_percent", "disk_percent", "num_pids", "temp")
MOST_READINGS = 600_000
"""48 bytes each: the time and five values."""
KEEP_SECONDS = 86_400.0


class _Ring:
    """The readings of one node, oldest first: columns of numbers; NaN is what the board did not tell."""

    __slots__ = ("columns", "times")

    def __init__(self) -> None:
        self.times = array("d")
        self.columns = tuple(array("d") for _ in NAMES)

    def add(self, time: float, reading: Reading) -> None:
        self.times.append(time)
        for name, column in zip(NAMES, self.columns, strict=True):
            value = getattr(reading, name)
            column.append(math.nan if value is None else value)

    def trim(self, room: int, oldest: float) -> None:
        excess = max(len(self.times) - room, bisect_left(self.times, oldest))
        if excess > 0:
            for column in (self.times, *self.columns):
                del column[:excess]


@implementer(IReadings)
class RecentReadings:
    """Keeps readings and tells them."""

    names = NAMES

    def __init__(self, clock: IReactorTime, most: int = MOST_READINGS) -> None:
        self._clock = clock
        self._most = most
        self._rings: dict[MACAddress, _Ring] = {}

    def take(self, mac: MACAddress, reading: Reading) -> None:
        """A reading came: a listener of :class:`piman.monitor.poller.Poller`."""
        now = self._clock.seconds()
        ring = self._rings.get(mac)
        if ring is None:
            self._forget_old(now - KEEP_SECONDS)
            ring = self._rings[mac] = _Ring()
        ring.add(now, reading)
        ring.trim(max(1, self._most // len(self._rings)), now - KEEP_SECONDS)

    def _forget_old(self, oldest: float) -> None:
        """Nodes that the operator took away."""
        self._rings = {mac: ring for mac, ring in self._rings.items() if ring.times[-1] >= oldest}

    def series(self, mac: MACAddress, name: str, start: float, end: float, most: int) -> "Deferred[Series]":
        """The values of a node."""
        ring = self._rings.get(mac)
        if ring is None:
            return succeed(())
        column = ring.columns[NAMES.index(name)]
        first, last = bisect_left(ring.times, start), bisect_right(ring.times, end)
        points = zip(ring.times[first:last], column[first:last], strict=True)
        if last - first <= most:
            return succeed(tuple((time, _told(value)) for time, value in points))
        return succeed(tuple(thinned(points, start, end, most)))


def thinned(
    points: Iterable[tuple[float, float]], start: float, end: float, most: int
) -> Iterator[tuple[float, float | None]]:
    """
    Means of equal spans of time, at most ``most``; NaN counts nowhere.

    The spans lie at multiples of their length, wherever the range begins: a range that moves on with the time shows
    the same means until they leave it, and a chart does not tremble.
    """
    width = (end - start) / (most - 1) if most > 1 and end > start else math.inf
    span, times, values = -1, [0.0], [math.nan]
    for time, value in points:
        number = int(time // width)
        if number != span:
            if span != -1:
                yield _mean(times), _mean_told(values)
            span, times, values = number, [], []
        times.append(time)
        values.append(value)
    if span != -1:
        yield _mean(times), _mean_told(values)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_told(values: list[float]) -> float | None:
    told = [value for value in values if not math.isnan(value)]
    return _mean(told) if told else None


def _told(value: float) -> float | None:
    return None if math.isnan(value) else value
