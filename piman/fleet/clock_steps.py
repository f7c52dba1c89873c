# -*- test-case-name: tests.test_fleet_walltime -*-
"""
Notices when the host's clock was stepped, and says so.

Nothing in the process follows the step.  But what lies in the stores in the host's time of before would mean another
moment to the next process, so it is written anew.
"""

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from piman.fleet.events import ClockStepped
from piman.fleet.interfaces import IEventSink
from piman.fleet.walltime import WallTime

STEP_SECONDS = 3.0
"""A smaller step is nobody's concern: chronyd and ntpd correct fractions of a second that way."""
LOOK_SECONDS = 5.0
"""Between two looks at the clock."""


class ClockSteps:
    """
    Compares the host's clock with the process's now and then.

    :param write_anew: called after a step: each has moments in a store.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall: WallTime,
        events: IEventSink,
        *,
        write_anew: Iterable[Callable[[], object]] = (),
    ) -> None:
        self._wall = wall
        self._events = events
        self._write_anew = tuple(write_anew)
        self._said = 0.0
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def begin(self) -> None:
        """Look at once and from now on."""
        self._loop.start(LOOK_SECONDS)

    def end(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        ahead = self._wall.ahead
        seconds = ahead - self._said
        if abs(seconds) <= STEP_SECONDS:
            return
        self._said = ahead
        self._events.emit(ClockStepped(seconds=seconds))
        self._log.warn("the clock of this host was stepped by {seconds:+.1f} s", seconds=seconds)
        for write in self._write_anew:
            try:
                write()
            except Exception:
                self._log.failure("{write} failed after a step of the clock", write=write)
