"""
Tests for :mod:`piman.fleet.state.lock`.
"""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.interfaces import StoreFailed
from piman.fleet.state.lock import StateLock, StateLocked

HOLD = """
import sys
from pathlib import Path
from piman.fleet.state.lock import StateLock
lock = StateLock(Path(sys.argv[1]))
lock.take()
print("taken", flush=True)
sys.stdin.read()
"""


class LockTests(SynchronousTestCase):
    """One holder at a time."""

    def setUp(self) -> None:
        """A folder that is not there yet."""
        self.folder = Path(self.mktemp()).absolute()

    def lock(self) -> StateLock:
        """A lock that is given up when the test ends."""
        lock = StateLock(self.folder)
        self.addCleanup(lock.release)
        return lock

    def holder(self) -> "subprocess.Popen[str]":
        """Another process that has the lock."""
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "taken\n")
        return process

    def test_taken(self) -> None:
        """Who comes second is told who was first."""
        process = self.holder()
        error = self.assertRaises(StateLocked, self.lock().take)
        self.assertIn(f"{self.folder} is in use by another manager (pid {process.pid})", str(error))

    def test_released_by_death(self) -> None:
        """A holder that was killed holds nothing, whatever its file says."""
        process = self.holder()
        process.kill()
        process.wait()
        self.lock().take()
        self.assertEqual((self.folder / "lock").read_text(), f"{os.getpid()}\n")

    def test_given_up(self) -> None:
        """A lock that was given up can be taken by another, and taking it twice is taking it once."""
        first, second = self.lock(), self.lock()
        first.take()
        first.take()
        self.assertRaises(StateLocked, second.take)
        first.release()
        second.take()

    def test_refused_politely(self) -> None:
        """Who does not get the lock leaves the file as it was."""
        self.lock().take()
        self.assertRaises(StateLocked, self.lock().take)
        self.assertEqual((self.folder / "lock").read_text(), f"{os.getpid()}\n")

    def test_not_inherited(self) -> None:
        """A program that the holder starts does not keep the lock when the holder has given it up."""
        lock = self.lock()
        lock.take()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
            lock.release()
            self.lock().take()

    def test_no_folder(self) -> None:
        """A folder that cannot be made is one line with the remedy."""
        self.folder.write_text("in the way")
        error = self.assertRaises(StoreFailed, self.lock().take)
        self.assertIn("set state_dir: in piman.yaml", str(error))
