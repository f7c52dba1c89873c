# -*- test-case-name: tests.test_words -*-
"""
What piman's commands have in common on a command line: mistakes, ``--help``, ``--version``, a reader who has gone.

A mistake is one line on standard error that says what to do, and exit status 2 (twistd would print its help on standard
output, and exit with 1).  A reader who has gone, as ``head`` does, ends a command without a word and with 141, which is
what a shell reports of a program that SIGPIPE ended.  Python ignores SIGPIPE, and a server must.
"""

import errno
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, NoReturn, TextIO, TypeVar

from twisted.copyright import version as twisted_version
from twisted.python import usage

EXIT_USAGE, EXIT_UNREAD = 2, 141

NO_READER = {errno.EPIPE, errno.EIO}
"""A pipe that nobody reads, a terminal that was closed."""

VERSION_UNKNOWN = "not installed"

Value = TypeVar("Value")


def own_version() -> str:
    """The version of the installed distribution."""
    try:
        return version("piman")
    except PackageNotFoundError:
        return VERSION_UNKNOWN


def version_line() -> str:
    """What ``--version`` prints: enough for a report of a mistake."""
    return f"piman {own_version()} (Twisted {twisted_version}, Python {platform.python_version()})"


class Answer:
    """
    Standard output for as long as somebody reads it; what is written after that is lost.

    Nothing that writes has to expect that the pipe breaks or the terminal goes, which may be at any moment: while a
    board works, at the exit.

    :ivar has_reader: whether nobody hung up so far.
    :param hung_up: called once, in the middle of a write.
    """

    def __init__(self, file: TextIO, hung_up: Callable[[], object] = lambda: None) -> None:
        self.has_reader = True
        self._file = file
        self._hung_up = hung_up

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write, as a file does."""
        try:
            self._file.write(text)
        except OSError as reason:
            self._lose(reason)
        return len(text)

    def flush(self) -> None:
        """Write what was kept back."""
        try:
            self._file.flush()
        except OSError as reason:
            self._lose(reason)

    def _lose(self, reason: OSError) -> None:
        """What the file still keeps back must go somewhere: Python flushes it at the exit."""
        if reason.errno not in NO_READER:
            raise reason
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._file.fileno())
        os.close(nowhere)
        self.has_reader = False
        self._hung_up()


class Words(usage.Options):
    """
    Options of one command.

    :cvar command: how a user calls it.
    :cvar examples: lines for the end of ``--help``.
    """

    command: ClassVar[str] = "piman"
    synopsis: ClassVar[str] = "[options]"
    longdesc: ClassVar[str] = ""
    examples: ClassVar[str] = ""

    def opt_version(self) -> NoReturn:
        """Display the versions of piman, Twisted and Python and exit."""
        print(version_line())
        sys.exit(0)

    def getSynopsis(self) -> str:
        """The first line of ``--help``."""
        return f"Usage: {self.command} {self.synopsis}"

    def getUsage(self, width: int | None = None) -> str:
        """The rest of it; examples keep their lines."""
        return super().getUsage(width) + (f"\nEXAMPLES\n\n{self.examples}" if self.examples else "")

    def parseArgs(self, *extra: str) -> None:
        """Take options only."""
        if extra:
            raise usage.UsageError(f"there is no place for {extra[0]!r}: options only")

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse.

        :raises SystemExit: after a mistake, ``--help`` or ``--version``.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as mistake:
            print(f"{self.command}: {self.explain(str(mistake))} (see {self.command} --help)", file=sys.stderr)
            sys.exit(EXIT_USAGE)
        except SystemExit:
            answer = Answer(sys.stdout)
            answer.flush()
            if not answer.has_reader:
                sys.exit(EXIT_UNREAD)
            raise
        except BrokenPipeError:
            sys.exit(EXIT_UNREAD)

    def explain(self, mistake: str) -> str:
        """Twisted's words, where there are better ones."""
        return mistake


def expecting(name: str, what: str, read: Callable[[str], Value]) -> Callable[[str], Value]:
    """
    A reader of one option's value; what it does not take is said with the option's name and what was expected.

    :param read: raises ValueError for what it does not take.
    """

    def coerce(text: str) -> Value:
        try:
            return read(text)
        except ValueError:
            raise usage.UsageError(f"{name}: found {text!r}, expected {what}") from None

    return coerce
