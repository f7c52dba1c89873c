# -*- test-case-name: tests.test_web_metrics -*-
"""
How late the reactor's timers are: a look at regular times, and how long after its time it came.

A :class:`~twisted.internet.task.LoopingCall` would not do: it skips what it is late for.
"""

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from piman.distribution import Distribution

LOOK_SECONDS = 0.25
WINDOW_SECONDS = 60.0
"""The greatest lag is of this window and the one before, so that two who ask at different times both see it."""


class LoopLag(Service):
    """
    Measures the lag.

    :ivar seconds: all lags.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.seconds = Distribution()
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self._window_ends = 0.0
        self._now = self._before = 0.0

    @property
    def greatest(self) -> float:
        """The greatest lag of the last one or two windows."""
        return max(self._now, self._before)

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._window_ends = self._clock.seconds() + WINDOW_SECONDS
        self._wait()

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _wait(self) -> None:
        self._due = self._clock.seconds() + LOOK_SECONDS
        self._call = self._clock.callLater(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        lag = max(0.0, now - self._due)
        self.seconds.take(lag)
        if now >= self._window_ends:
            self._before, self._now = self._now, 0.0
            self._window_ends = now + WINDOW_SECONDS
        self._now = max(self._now, lag)
        self._wait()
