# -*- test-case-name: tests.test_simulator_running_manager -*-
"""
The manager of a virtual rack: the real one, as a child process that does not outlive the rack.
"""

import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import ClientCreator, ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from piman.simulator.running.leash import leashed
from piman.simulator.wiring.surroundings import Address

COMMAND = (
    sys.executable,
    "-c",
    "from twisted.scripts.twistd import run; run()",
    "-n",
    "--pidfile=",
    "piman",
    "--config",
    "piman.yaml",
)
READY_SECONDS = 30.0
LOOK_SECONDS = 0.05
STOP_SECONDS = 20.0
LAST_LINES = 20


class ManagerFailed(Exception):
    """The manager did not start, or ended by itself; the text is what it said last."""


class _Child(ProcessProtocol):
    """Keeps what the process says in a file."""

    def __init__(self, log: Path) -> None:
        self.ended: Deferred[str] = Deferred()
        self.is_running = True
        self._log = log.open("ab")

    def outReceived(self, data: bytes) -> None:
        """A line of its log."""
        self._log.write(data)
        self._log.flush()

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """It is over."""
        self.is_running = False
        self._log.close()
        self.ended.callback(reason.getErrorMessage())


class ManagerProcess:
    """
    One manager after the other in the same directory.

    :param door: a TCP port of it; whoever can connect there knows that it runs.
    """

    def __init__(self, reactor: Any, directory: Path, door: Address, command: tuple[str, ...] = COMMAND) -> None:
        self.starts = 0
        self.stop_seconds = STOP_SECONDS
        self._reactor = reactor
        self._directory = directory
        self._door = door
        self._command = command
        self._child: _Child | None = None
        self._process: Any = None

    @property
    def log(self) -> Path:
        """What it says."""
        return self._directory / "manager.log"

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._child is not None and self._child.is_running

    async def start(self) -> None:
        """
        Start it and wait until it serves.

        :raises ManagerFailed: when it does not.
        """
        self.starts += 1
        self._child = _Child(self.log)
        command = leashed(*self._command)
        self._process = self._reactor.spawnProcess(
            self._child, command[0], command, env=os.environ, path=str(self._directory)
        )
        give_up = self._reactor.seconds() + READY_SECONDS
        while not await self._answers():
            if not self._child.is_running or self._reactor.seconds() > give_up:
                raise ManagerFailed(self.last_words())
            await deferLater(self._reactor, LOOK_SECONDS)

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:])

    async def _answers(self) -> bool:
        try:
            protocol: Any = await ClientCreator(self._reactor, Protocol).connectTCP(*self._door, timeout=1)
        except ConnectError:
            return False
        protocol.transport.loseConnection()
        return True

    async def kill(self) -> None:
        """SIGKILL: no last word, nothing written that was not written yet."""
        await self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and patience; SIGKILL when it does not end."""
        if not self.is_running:
            return
        last_resort = self._reactor.callLater(self.stop_seconds, self._send, signal.SIGKILL)
        await self._signal(signal.SIGTERM)
        if last_resort.active():
            last_resort.cancel()

    def _send(self, number: int) -> None:
        if self.is_running:
            self._process.signalProcess(number)

    def _signal(self, number: int) -> "Awaitable[Any]":
        child = self._child
        ended: Deferred[Any] = Deferred()
        if child is None or not child.is_running:
            ended.callback(None)
            return ended
        child.ended.addCallback(ended.callback)
        self._send(number)
        return ended

    def send_kill(self) -> None:
        """For the end of everything: do not wait."""
        self._send(signal.SIGKILL)
