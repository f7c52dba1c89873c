"""
``restart all`` in a virtual rack: the real manager, its API, SNMP to virtual switches, all over loopback sockets.

The same with 500 boards: ``benchmarks/restart_all.py``, which this runs in small.
"""

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "restart_all.py"


class RestartAllTests(SynchronousTestCase):
    """40 boards on 2 switches."""

    timeout = 600

    def test_all_are_back(self) -> None:
        """Every board is power-cycled once or more, and is up again or has a verdict; each has its stages."""
        rack = "--pis", "40", "--switches", "2", "--loss", "0.002", "--speed", "20"
        # A board that hangs while it loads is cycled again after 120 s of silence.
        command = [sys.executable, str(BENCHMARK), *rack, "--only", "with", "--timeout", "280"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=590, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found = re.search(r"(\d+) done, (\d+) failed, 0 cancelled; (\d+) power cycles", done.stdout)
        assert found is not None, done.stdout
        self.assertEqual(int(found[1]) + int(found[2]), 40)
        self.assertGreaterEqual(int(found[3]), 40)
        self.assertIn("0 without a verdict", done.stdout)
        self.assertIn(f"| power to up | {found[1]} |", done.stdout)
