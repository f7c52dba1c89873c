# -*- test-case-name: tests.test_ordered -*-
"""
A MultiService whose order means something.

Twisted's own starts its children in order but stops them all at once, and leaves those before a failing one running.
"""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger


class StartupError(Exception):
    """The manager cannot start; the text is one line with the remedy."""


def say_in_one_line(report: Callable[..., Any], stream: TextIO | None = sys.__stderr__) -> Callable[..., Any]:
    """
    An exception hook that shows a :class:`StartupError` as its text, and anything else as ``report`` does.

    :param stream: the real standard error: twistd turns ``sys.stderr`` into log lines.
    """

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, StartupError):
            print(f"piman: {error}", file=stream)
        else:
            report(kind, error, traceback)

    return hook


class OrderedService(MultiService):
    """Starts its children in order, all or none; stops them in reverse order, each awaited."""

    _log = Logger()

    def privilegedStartService(self) -> None:
        """
        Let each child bind its sockets.

        :raises StartupError: naming the child that could not; those before it are stopped.
        """
        self._start_each(lambda child: child.privilegedStartService())

    def startService(self) -> None:
        """
        Start each child.

        :raises StartupError: naming the child that could not start; all are stopped.
        """
        self.running = 1
        self._start_each(lambda child: child.startService())

    def _start_each(self, start: Callable[[IService], None]) -> None:
        for child in list(self):
            try:
                start(child)
            except (CannotListenError, OSError, StartupError) as reason:
                self.stopService()
                raise StartupError(f"{child.name} cannot start: {reason}") from reason

    def stopService(self) -> "Deferred[None]":
        """Stop the children, the last first; a failure of one is logged and keeps none of the others running."""
        self.running = 0
        return Deferred.fromCoroutine(self._stop_each())

    async def _stop_each(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception:
                self._log.failure("{name} did not stop cleanly", name=child.name)
