"""
Tests for :mod:`piman.host.limits`.
"""

import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from piman.host.limits import files_wanted, shortage

RAISE = """
import resource, sys
from piman.host.limits import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(raise_file_limit(int(sys.argv[3])), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


class RaiseTests(SynchronousTestCase):
    """A process of its own for each limit."""

    def raised(self, soft: int, hard: int, most: int) -> str:
        """What is said, and what is so."""
        command = [sys.executable, "-c", RAISE, str(soft), str(hard), str(most)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def test_raised(self) -> None:
        """The soft limit becomes the hard one, or as much as is of use, and is never lowered."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 900:
            self.skipTest("this system gives no process 900 files")
        for soft, ceiling, most, expected in ((200, 900, 5000, 900), (200, 900, 500, 500), (700, 900, 500, 700)):
            self.assertEqual(self.raised(soft, ceiling, most), f"{expected} {expected}")


class ShortageTests(SynchronousTestCase):
    """Whether it is enough."""

    def test_enough(self) -> None:
        """What suffices, and no limit at all, is not worth a word."""
        self.assertEqual([shortage(None, 10_000), shortage(files_wanted(200), 200), shortage(65_536, 10_000)], [""] * 3)

    def test_too_few(self) -> None:
        """1024, as a shell gives them, are too few for a rack of 300; both numbers are told."""
        self.assertIn("1024 files and connections at a time (ulimit -Hn) are too few", shortage(1024, 300))
        self.assertTrue(shortage(1024, 300).endswith("all 300 nodes at once, which takes 1156"))
