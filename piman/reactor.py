# -*- test-case-name: tests.test_reactor -*-
"""
The one reactor that piman runs on: Twisted's asyncio reactor.

pysnmp 7 speaks asyncio only, and klein imports the global reactor when it is imported.  So
:mod:`piman.service` and :mod:`piman.control` call :func:`install` before they import anything else.

Twisted's reactors tell the host's time and call by it: when somebody sets the clock back by an hour, nothing is
called for an hour; when somebody sets it forward, everything is called at once.  So :func:`install` gives the reactor a
:class:`SteadySeconds`; the host's own time is :func:`wall_clock`.
"""

import sys
import time
from typing import Any


class WrongReactor(RuntimeError):
    """Another reactor was installed before piman could install its own."""


class SteadySeconds:
    """The host's time at the beginning, and from then on time as it passes: it never steps, whatever is set."""

    def __init__(self) -> None:
        self._beginning = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Seconds since 1970, as far as the host's clock was right at the beginning."""
        return self._beginning + time.monotonic()


def wall_clock() -> float:
    """The host's time, seconds since 1970: for what is stored, shown or sent, not for waiting."""
    return time.time()


def install() -> None:
    """
    Install the asyncio reactor, with a time that never steps; do nothing when both are there already.

    :raises WrongReactor: when the command line forced another reactor.
    """
    from twisted.internet import asyncioreactor

    if "twisted.internet.reactor" not in sys.modules:
        asyncioreactor.install()
    running: Any = sys.modules["twisted.internet.reactor"]
    if not isinstance(running, asyncioreactor.AsyncioSelectorReactor):
        raise WrongReactor(
            f"piman needs the asyncio reactor, but {type(running).__name__} is installed: "
            "leave out --reactor, or say --reactor=asyncio"
        )
    if not isinstance(running.seconds, SteadySeconds):
        running.seconds = SteadySeconds()
