"""
What the tests of piman-ctl's words share: a word, run against the API of a manager's half in memory.
"""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from piman.ctl.client import ManagerClient
from piman.ctl.options import Asking
from tests.web_support import Half

SOCKET = Path("/run/piman/control.sock")


class Output(StringIO):
    """
    Standard output.

    :ivar is_terminal: whether a terminal is at its end.
    """

    is_terminal = False

    def isatty(self) -> bool:
        """As the test says."""
        return self.is_terminal


class Running:
    """
    A word that was begun.

    :ivar out: what it has printed.
    """

    def __init__(self, half: Half, word: Any, options: Asking, *arguments: str) -> None:
        self._half = half
        self._output = Output()
        options.parseOptions(list(arguments))
        client = ManagerClient(half.clock, SOCKET, half.treq)
        options.client = lambda reactor: client
        self.result: Any = None
        self._errors = StringIO()
        with redirect_stderr(self._errors):
            self.done = Deferred.fromCoroutine(word(half.clock, options, self._output))
            self.done.addBoth(self._keep)

    def _keep(self, result: Any) -> None:
        self.result = result

    @property
    def err(self) -> str:
        """What stands on standard error."""
        return self._errors.getvalue()

    @property
    def out(self) -> str:
        """What stands on standard output."""
        return self._output.getvalue()

    def wait(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, and bytes flow."""
        end = self._half.clock.seconds() + seconds
        with redirect_stderr(self._errors):
            while self._half.clock.seconds() < end and self.result is None:
                self._half.clock.advance(step)
                self._half.treq.flush()

    def cancel(self) -> None:
        """Ctrl-C."""
        with redirect_stderr(self._errors):
            self.done.cancel()


class InWords(SynchronousTestCase):
    """Runs words."""

    def setUp(self) -> None:
        """A half at rest."""
        self.half = Half()

    def run_word(self, word: Any, options: Asking, *arguments: str) -> tuple[int, str]:
        """Exit status and standard output of a word that ends at once."""
        running = Running(self.half, word, options, *arguments)
        if hasattr(running.result, "raiseException"):
            running.result.raiseException()
        self.assertIsNotNone(running.result, "it has not ended")
        return running.result, running.out
