"""
A child that does not outlive its parent: real processes, since only a kernel can tell.
"""

import os
import select
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.running.leash import leashed

WAIT_SECONDS = 30.0
"""Far more than the kernel needs; a test that waits so long has failed."""

PARENT = """
import subprocess, sys
from piman.simulator.running.leash import leashed
child = [sys.executable, "-c", "import time; print('runs', flush=True); time.sleep(600)"]
subprocess.Popen(leashed(*child)).wait()
"""


def says_its_end(pipe: int) -> bool:
    """Whether the last process that holds the other end of a pipe ends in time."""
    while select.select([pipe], [], [], WAIT_SECONDS)[0]:
        if not os.read(pipe, 4096):
            return True
    return False


class LeashTests(SynchronousTestCase):
    """With a parent, without one, and with one that left too early."""

    def test_parent_killed(self) -> None:
        """When the parent dies of SIGKILL the child is gone soon, and with it the last hand on its pipe."""
        with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            self.assertEqual(parent.stdout.readline(), b"runs\n")
            parent.send_signal(signal.SIGKILL)
            self.assertTrue(says_its_end(parent.stdout.fileno()), "the child still runs")

    def test_same_process(self) -> None:
        """The command takes the place of the leash: same process number, its own exit status, its own words."""
        command = leashed(
            sys.executable, "-c", "import os, sys; print(os.getpid(), *sys.argv[1:]); sys.exit(7)", "a", "b c"
        )
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            said, _ = child.communicate(timeout=WAIT_SECONDS)
        self.assertEqual((said, child.returncode), (f"{child.pid} a b c\n", 7))

    def test_parent_left_early(self) -> None:
        """A child whose parent is gone before it could ask the kernel does not begin at all."""
        command = list(leashed(sys.executable, "-c", "print('begun')"))
        command[command.index(str(os.getpid()))] = str(os.getppid())
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("the parent has ended already", done.stderr)
