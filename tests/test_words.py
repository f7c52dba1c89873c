"""
Tests for :mod:`piman.words`: what all commands say and how they end.
"""

import os
import platform
from importlib.metadata import version

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from piman.words import Answer, expecting, version_line


class AnswerTests(SynchronousTestCase):
    """Standard output, here a real pipe."""

    def setUp(self) -> None:
        """A pipe and an answer that goes into it; how often it was told that the reader has gone."""
        self.reader, writer = os.pipe()
        self.file = os.fdopen(writer, "w")
        self.addCleanup(self.file.close)
        self.hung_up: list[bool] = []
        self.answer = Answer(self.file, lambda: self.hung_up.append(True))

    def test_read(self) -> None:
        """While somebody reads, it is the file: text arrives, questions about the terminal are passed on."""
        self.assertEqual(self.answer.write("eight\n"), 6)
        self.answer.flush()
        self.assertEqual(os.read(self.reader, 100), b"eight\n")
        self.assertEqual((self.answer.isatty(), self.answer.has_reader, self.hung_up), (False, True, []))
        os.close(self.reader)

    def test_unread(self) -> None:
        """After the reader has gone, nothing raises, one call tells it, and closing the file is harmless."""
        os.close(self.reader)
        for _ in range(3):
            self.answer.write("more than any buffer keeps back" * 1_000)
            self.answer.flush()
        self.assertEqual((self.answer.has_reader, self.hung_up), (False, [True]))
        self.file.close()


class ExpectingTests(SynchronousTestCase):
    """Values of options."""

    def test_right(self) -> None:
        """What can be read is returned."""
        self.assertEqual(expecting("--pis", "a number", int)("40"), 40)

    def test_wrong(self) -> None:
        """What cannot be read is said with the option, what was found, and what was expected."""
        with self.assertRaises(usage.UsageError) as caught:
            expecting("--pis", "a number", int)("x")
        self.assertEqual(str(caught.exception), "--pis: found 'x', expected a number")


class VersionTests(SynchronousTestCase):
    """What ``--version`` prints."""

    def test_line(self) -> None:
        """piman, Twisted and Python, each with the version that its installation tells."""
        expected = f"piman {version('piman')} (Twisted {version('twisted')}, Python {platform.python_version()})"
        self.assertEqual(version_line(), expected)
