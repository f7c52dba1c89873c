"""
The real manager as a child process: ``twistd -n piman --config piman.yaml``, in a network namespace or not.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TWISTD = str(Path(sys.executable).parent / "twistd")
START_SECONDS = 60.0


class ManagerFailed(AssertionError):
    """The manager ended before it ran; the text is what it said."""


class Manager:
    """
    One folder with ``piman.yaml`` and ``hosts.csv``, and the manager that runs there.

    :param prefix: what stands before the command, for example ``ip netns exec NAME``.
    """

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.prefix = prefix
        self.process: subprocess.Popen[bytes] | None = None
        self.output = folder / "output.txt"

    def start(self) -> None:
        """
        Start it and wait until all its services run.

        :raises ManagerFailed: when it ends instead.
        """
        started = len(self.events("ManagerStarted"))
        with self.output.open("ab") as output:
            command = [*self.prefix, TWISTD, "-n", "--pidfile=", "piman", "--config", str(self.folder / "piman.yaml")]
            self.process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder)
        self.wait_for(lambda: len(self.events("ManagerStarted")) > started, START_SECONDS, "the manager to start")

    def wait_for(self, condition: Any, seconds: float, what: str) -> None:
        """
        Look at the condition until it holds.

        :raises ManagerFailed: when the manager ends or the time is over.
        """
        until = time.monotonic() + seconds
        while not condition():
            if self.process is not None and self.process.poll() is not None:
                raise ManagerFailed(f"the manager ended with {self.process.returncode}: {self.output.read_text()}")
            if time.monotonic() > until:
                raise ManagerFailed(f"waited {seconds} s in vain for {what}: {self.output.read_text()[-3000:]}")
            time.sleep(0.05)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """The events of all starts, as the journal's JSON lines have them; of one kind, or all."""
        lines: list[dict[str, Any]] = []
        for path in sorted((self.folder / "logs").glob("*.jsonl")):
            for line in path.read_text().splitlines():
                try:
                    lines.append(json.loads(line))
                except ValueError:  # being written
                    continue
        return [line for line in lines if not kind or line["kind"] == kind]

    def stop(self) -> int:
        """End it as an operator would; its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to save anything."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.poll() is None:
            os.kill(process.pid, number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            raise
