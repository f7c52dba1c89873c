"""
The manager as a child process: here a stand-in of a few lines.
"""

import sys
from pathlib import Path
from random import Random

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from piman.simulator.running.claims import free_ports
from piman.simulator.running.manager import ManagerFailed, ManagerProcess

SERVES = (
    "import socket, sys; s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(('127.77.0.1', {port})); s.listen(); "
    "print('serving', flush=True); s.accept(); [s.accept() for _ in iter(int, 1)]"
)


class ManagerProcessTests(TestCase):
    """Start, stop, kill."""

    def setUp(self) -> None:
        """A directory and a free port."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.port = free_ports(0, Random()).http

    def manager(self, program: str) -> ManagerProcess:
        """A manager that runs this."""
        command = (sys.executable, "-c", program)
        made = ManagerProcess(reactor, self.directory, ("127.77.0.1", self.port), command)
        self.addCleanup(made.send_kill)
        return made

    async def test_start_and_stop(self) -> None:
        """It counts as started when its door opens, and is gone after stop."""
        manager = self.manager(SERVES.format(port=self.port))
        await manager.start()
        self.assertTrue(manager.is_running)
        await manager.stop()
        self.assertFalse(manager.is_running)
        self.assertEqual(manager.last_words(), "serving")

    async def test_kill_and_restart(self) -> None:
        """After a kill another one can serve in the same place."""
        manager = self.manager(SERVES.format(port=self.port))
        await manager.start()
        await manager.kill()
        self.assertFalse(manager.is_running)
        await manager.start()
        self.assertEqual((manager.is_running, manager.starts), (True, 2))
        await manager.stop()

    async def test_does_not_start(self) -> None:
        """One that ends at once is a failure, with its last words."""
        manager = self.manager("import sys; sys.exit('the port is taken')")
        try:
            await manager.start()
        except ManagerFailed as failure:
            self.assertIn("the port is taken", str(failure))
        else:
            self.fail("it should not have started")

    async def test_deaf(self) -> None:
        """SIGTERM that is ignored is followed by SIGKILL."""
        manager = self.manager("import signal; signal.signal(15, signal.SIG_IGN); " + SERVES.format(port=self.port))
        manager.stop_seconds = 0.2
        await manager.start()
        await manager.stop()
        self.assertFalse(manager.is_running)

    async def test_stop_twice(self) -> None:
        """What does not run can be stopped."""
        manager = self.manager("")
        await manager.stop()
        await deferLater(reactor, 0)
        self.assertEqual(manager.starts, 0)
