# -*- test-case-name: tests.test_fleet_eventlog -*-
"""
The event log: gives each event its number and time and hands it to every observer.

It keeps nothing.  It belongs to the reactor's thread.  An observer that fails costs the others nothing, and an
observer that emits is served after the event at hand has reached everybody, so that all see one order.
"""

from collections import deque
from collections.abc import Iterable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from piman.fleet.events import Event, Recorded
from piman.fleet.interfaces import IEventObserver, IEventSink

QUIET_SECONDS = 60.0
"""A failure of one observer at one class of events is logged at most once in this time."""


@attrs.define
class _Failing:
    """What is known of an observer that fails at one class of events."""

    logged: float
    unlogged: int = 0


@implementer(IEventSink)
class EventLog:
    """
    Stamps events and hands them to the observers, in the order in which the observers were given.

    :param first_id: the number of the first event.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, observers: Iterable[IEventObserver] = (), first_id: int = 1) -> None:
        self._clock = clock
        self._observers = tuple(observers)
        self._next_id = first_id
        self._waiting: deque[Recorded] = deque()
        self._delivering = False
        self._failing: dict[tuple[int, type[Event]], _Failing] = {}

    @property
    def last_id(self) -> int:
        """The number of the newest event."""
        return self._next_id - 1

    def continue_after(self, last_id: int) -> None:
        """Give no number up to ``last_id``: the log of the process before ended there."""
        self._next_id = max(self._next_id, last_id + 1)

    def add_observer(self, observer: IEventObserver) -> None:
        """Tell this one too, after the others, from the next event on."""
        self._observers = (*self._observers, observer)

    def remove_observer(self, observer: IEventObserver) -> None:
        """Tell this one no more; harmless when it is not there."""
        self._observers = tuple(known for known in self._observers if known is not observer)

    def emit(self, event: Event) -> None:
        """Stamp the event and hand it on; inside an observer: after the event at hand."""
        self._waiting.append(Recorded(id=self._next_id, time=self._clock.seconds(), event=event))
        self._next_id += 1
        if not self._delivering:
            self._deliver()

    def _deliver(self) -> None:
        self._delivering = True
        try:
            while self._waiting:
                recorded = self._waiting.popleft()
                for observer in self._observers:
                    self._tell(observer, recorded)
        finally:
            self._delivering = False

    def _tell(self, observer: IEventObserver, recorded: Recorded) -> None:
        try:
            observer.observe(recorded)
        except Exception:
            self._failed(observer, recorded)

    def _failed(self, observer: IEventObserver, recorded: Recorded) -> None:
        """Log the exception at hand, unless the same was logged lately: a flood of events is no flood of traces."""
        key = id(observer), type(recorded.event)
        known = self._failing.get(key)
        if known is not None and recorded.time < known.logged + QUIET_SECONDS:
            known.unlogged += 1
            return
        self._failing[key] = _Failing(logged=recorded.time)
        self._log.failure(
            "{observer} failed at event {number}, {kind} ({unlogged} such failures not logged before)",
            observer=observer,
            number=recorded.id,
            kind=type(recorded.event).__name__,
            unlogged=known.unlogged if known else 0,
        )
