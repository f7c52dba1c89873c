# -*- test-case-name: tests.test_dhcp -*-
"""
Tells the first events of a kind of a board, and counts the rest: who sends the same thing a thousand times a second is
one story, not a thousand.

What is not stored still reaches everybody who folds events: no status is ever older than the last datagram.
"""

from collections import Counter, OrderedDict

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.fleet.events import Event, EventRepeated, RepeatsCounted
from piman.fleet.interfaces import IEventSink
from piman.fleet.model import MACAddress

Key = tuple[MACAddress | None, str]
"""A board and the name of an event's class: nothing else that a client chooses."""
_OTHERS: Key = None, ""
"""Those for whom there was no room."""


@attrs.define
class _Window:
    """What was told of a key since it began."""

    began: float
    told: int = 0


class Repetitions:
    """
    Emits events, of one kind of one board so many in each window as stored ones.

    The others are emitted as :class:`EventRepeated`; how many there were is told by :class:`RepeatsCounted` once the
    window is over and somebody calls :meth:`settle`.

    :param seconds: how long a window is.
    :param capacity: how many windows are kept; while all are open, what begins a new one is told as repeated.
    """

    def __init__(self, clock: IReactorTime, sink: IEventSink, seconds: float, capacity: int) -> None:
        self._clock = clock
        self._emit = sink.emit
        self._seconds = seconds
        self._capacity = capacity
        self._windows: OrderedDict[Key, _Window] = OrderedDict()
        self._repeats: Counter[Key] = Counter()

    def tell(self, event: Event, limit: int) -> None:
        """Emit the event, as a stored one if there were less than ``limit`` of its kind of its board."""
        self._end_old(self._clock.seconds())
        key: Key = event.mac, type(event).__name__
        window = self._windows.get(key)
        if window is None and len(self._windows) < self._capacity:
            window = self._windows[key] = _Window(self._clock.seconds())
        if window is not None and window.told < limit:
            window.told += 1
            self._emit(event)
            return
        self._repeats[_OTHERS if window is None else key] += 1
        self._emit(EventRepeated(mac=event.mac, event=event))

    def settle(self) -> None:
        """Tell how many were not stored in windows that are over."""
        self._end_old(self._clock.seconds())
        self._count(_OTHERS)

    def settle_all(self) -> None:
        """Tell how many were not stored, though the windows are still open: nothing is told any more."""
        self._windows.clear()
        for key in list(self._repeats):
            self._count(key)

    def _end_old(self, now: float) -> None:
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if 0 <= now - window.began < self._seconds:  # also when the clock was set back
                return
            del self._windows[key]
            self._count(key)

    def _count(self, key: Key) -> None:
        count = self._repeats.pop(key, 0)
        if count:
            mac, what = key
            self._emit(RepeatsCounted(mac=mac, what=what, count=count))
