# -*- test-case-name: tests.test_checking_findings -*-
"""
What a check says, and how checks run: all at once, each for a bounded time, none able to take the others with it.
"""

from collections.abc import Awaitable, Callable, Iterable
from enum import Enum

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

EXIT_FINE, EXIT_FAILED = 0, 1

_log = Logger()


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well as it could, or could not be looked at."""
    FAIL = "fail"
    """Some node will not boot, or some order will not be obeyed."""


@attrs.frozen
class Finding:
    """
    One line of the report.

    :ivar subject: what was looked at, one or two words.
    :ivar remedy: what the operator can do about it; empty when there is nothing to do.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""


def fine(subject: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, subject, text)


def warn(subject: str, text: str, remedy: str = "") -> Finding:
    """It deserves a look."""
    return Finding(Level.WARN, subject, text, remedy)


def fail(subject: str, text: str, remedy: str) -> Finding:
    """It must be mended."""
    return Finding(Level.FAIL, subject, text, remedy)


@attrs.frozen
class Check:
    """Something to look at."""

    subject: str
    run: Callable[[], Awaitable[list[Finding]]]
    seconds: float = 15.0
    """After this time it is given up."""


def findings(checks: Iterable[Check], clock: IReactorTime) -> "Deferred[list[Finding]]":
    """
    Run all checks at once; what they found, in the order of the checks.

    A check that takes too long or breaks is a finding, too.  Cancelling ends all of them.
    """
    running = [_bounded(check, clock) for check in checks]
    return gatherResults(running, consumeErrors=True).addCallbacks(
        lambda found: [finding for some in found for finding in some], _first_failure
    )


def _first_failure(failure: Failure) -> Failure:
    """What ended it, without the wrapping of gatherResults."""
    inner = getattr(failure.value, "subFailure", failure)
    assert isinstance(inner, Failure)
    return inner


def _bounded(check: Check, clock: IReactorTime) -> "Deferred[list[Finding]]":
    async def run() -> list[Finding]:
        return await check.run()

    return Deferred.fromCoroutine(run()).addTimeout(check.seconds, clock).addErrback(_broken, check)


def _broken(failure: Failure, check: Check) -> list[Finding]:
    if failure.check(CancelledError):
        failure.raiseException()
    if failure.check(TimeoutError):
        text = f"the check was given up after {check.seconds:g} s"
        return [fail(check.subject, text, "Something does not answer: a disk, a network folder, a switch.")]
    _log.debug("the check {subject} broke: {reason}", subject=check.subject, reason=failure.getTraceback())
    kind = type(failure.value).__name__
    return [
        fail(
            check.subject,
            f"the check itself broke: {kind}: {failure.getErrorMessage()}",
            "This is a mistake of piman's; please report it with this line.",
        )
    ]


def exit_status(found: Iterable[Finding]) -> int:
    """0 all fine or warnings only, 1 something failed."""
    return EXIT_FAILED if any(finding.level is Level.FAIL for finding in found) else EXIT_FINE
