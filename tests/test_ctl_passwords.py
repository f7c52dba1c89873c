"""
Tests for :mod:`piman.ctl.passwords`: lines for piman.yaml.
"""

import io
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import yaml
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from piman.ctl.passwords import BadPassword, asked_for
from piman.settings.people import PasswordHash
from piman.web.access.passwords import matches

PIMAN = str(Path(sys.executable).parent / "piman")


def run(*arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    """``piman passwd`` with something in its pipe."""
    return subprocess.run([PIMAN, "passwd", *arguments], input=typed, capture_output=True, text=True, timeout=60)


class WordTests(SynchronousTestCase):
    """The word, as an operator calls it."""

    def test_user(self) -> None:
        """The lines are YAML with a hash of the line that came through the pipe; the password stands nowhere."""
        done = run("ada", typed="correct horse\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        (user,) = yaml.safe_load(done.stdout)["web"]["users"]
        self.assertEqual((user["name"], user["role"]), ("ada", "operator"))
        self.assertTrue(matches("correct horse", PasswordHash.parse(user["password_hash"])))
        self.assertNotIn("horse", done.stdout)

    def test_token(self) -> None:
        """A token is told once, on standard error; the lines hold its SHA-256."""
        done = run("--token", "prometheus", "--role", "viewer")
        token = done.stderr.splitlines()[-1]
        self.assertRegex(token, r"^piman_[A-Za-z0-9_-]{43}$")
        (made,) = yaml.safe_load(done.stdout)["web"]["tokens"]
        digest = sha256(token.encode()).hexdigest()
        self.assertEqual(made, {"name": "prometheus", "token_hash": digest, "role": "viewer"})

    def test_mistakes(self) -> None:
        """Each is one line with what was expected, and status 2."""
        for arguments, typed, expected in (
            (("ada",), "short\n", "found a password of 5 characters, expected 8"),
            (("ada",), "", "found a password of 0 characters"),
            (("a b",), "", "expected a name"),
            (("ada", "bob"), "", "expected one"),
            (("ada", "--role", "king"), "", "expected viewer or operator"),
        ):
            done = run(*arguments, typed=typed)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            (line,) = done.stderr.splitlines()
            self.assertIn(expected, line)


class Terminal(io.StringIO):
    """Somebody types."""

    def isatty(self) -> bool:
        """So it is."""
        return True


class PromptTests(SynchronousTestCase):
    """At a terminal."""

    def ask(self, *typed: str | BaseException) -> str:
        """What is taken for the password."""
        answers = iter(typed)

        def prompt(text: str) -> str:
            answer = next(answers)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return asked_for("ada", Terminal(), prompt)

    def test_twice(self) -> None:
        """The same twice is a password; two are none, nor is the end of all input."""
        self.assertEqual(self.ask("correct horse", "correct horse"), "correct horse")
        self.assertRaises(BadPassword, self.ask, "correct horse", "correct house")
        self.assertRaises(BadPassword, self.ask, EOFError())

    def test_interrupted(self) -> None:
        """Ctrl-C ends it like every word."""
        self.assertRaises(CancelledError, self.ask, KeyboardInterrupt())
