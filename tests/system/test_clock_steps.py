"""
The real manager on a host whose clock is set back and forward by an hour (libfaketime, which leaves CLOCK_MONOTONIC).
"""

import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from piman.wire.ntp import Reply, seconds_near
from tests.captures import ntp as captures
from tests.system.manager import Manager
from tests.system.test_manager import ENDED_BY_SIGTERM, NAMES, PIMAN_YAML, free_ports

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
"""Debian's package libfaketime."""
HOUR = 3600.0
PATIENCE_SECONDS = 20.0
"""
Nothing that is waited for takes more than six: a look at the clock each 5 s, a write of the journal each second.

A stranger's conversation lasts 30.
"""
SERVER = "127.77.0.1"


class SteppedHostTests(SynchronousTestCase):
    """Timers go on, conversations go on; what is told, sent and written is the host's time."""

    skip: ClassVar = None if LIBRARIES else "libfaketime is not installed"

    def setUp(self) -> None:
        """A manager that runs on a clock of ours."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "install/boot").mkdir(parents=True)
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        ntp = f"port: {self.ports['ntp']}"
        text = PIMAN_YAML.format(**self.ports).replace(ntp, f"{ntp}, local_stratum: 10")
        (self.folder / "piman.yaml").write_text(text)
        (self.folder / "hosts.csv").write_text("B8:27:EB:00:00:01;127.77.0.11;pi11;0\n")
        self.set_clock(0.0)
        prefix = (
            "env",
            f"LD_PRELOAD={LIBRARIES[0]}",
            f"FAKETIME_TIMESTAMP_FILE={self.folder / 'clock'}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "NO_FAKE_STAT=1",
        )
        self.manager = Manager(self.folder, prefix)
        self.addCleanup(self.manager.stop)
        self.manager.start()

    def set_clock(self, ahead: float) -> None:
        """Set the manager's clock so many seconds before ours; the file is never seen half written."""
        self.ahead = ahead
        new = self.folder / "clock.new"
        new.write_text(f"{ahead:+.0f}\n")
        new.rename(self.folder / "clock")

    def assert_now(self, told: float, within: float = PATIENCE_SECONDS) -> None:
        """It is what the manager's clock shows, or showed a moment ago."""
        self.assertTrue(-within < told - (time.time() + self.ahead) < 1.5, told)

    def call(self) -> socket.socket:
        """A stranger calls on the hello port."""
        caller = socket.create_connection((SERVER, self.ports["hello"]), 5, ("127.77.0.99", 0))
        self.addCleanup(caller.close)
        return caller

    def told_by_hello(self) -> float:
        """The time in the command that a new caller is sent (``date -u -s YYYYmmddHHMM.SS`` in some form)."""
        said = self.call().recv(200).decode()
        (word,) = [word for word in said.split() if len(word) == 15 and word[:4].isdigit()]
        return datetime.strptime(word, "%Y%m%d%H%M.%S").replace(tzinfo=UTC).timestamp()

    def told_by_ntp(self) -> float:
        """When the manager says that its answer left; the time of receipt is the kernel's, which is not faked."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(captures.CHRONYD_REQUEST, (SERVER, self.ports["ntp"]))
            data = client.recv(200)
        return seconds_near(Reply.from_wire(data).transmit_time, time.time())

    def wait_for_steps(self, count: int) -> float:
        """Wait until so many steps were told; the seconds of the last one."""
        self.manager.wait_for(
            lambda: len(self.manager.events("ClockStepped")) >= count, PATIENCE_SECONDS, f"{count} steps of the clock"
        )
        steps = self.manager.events("ClockStepped")
        self.assertEqual(len(steps), count)
        return float(steps[-1]["seconds"])

    def test_back_and_forward(self) -> None:
        """An hour back, then forward: timers run at once, an open conversation stays open, all tell the new time."""
        for count, (ahead, step) in enumerate(((-HOUR, -HOUR), (HOUR, 2 * HOUR)), start=1):
            caller = self.call()
            self.assertTrue(caller.recv(200))
            self.set_clock(ahead)
            self.assertApproximates(self.wait_for_steps(count), step, 1.0)
            caller.setblocking(False)
            self.assertRaises(BlockingIOError, caller.recv, 200)
            self.assert_now(self.manager.events("ClockStepped")[-1]["time"])
            self.assert_now(self.told_by_hello(), 2.0)
            self.assert_now(self.told_by_ntp(), 2.0)
        self.assertIn(self.manager.stop(), ENDED_BY_SIGTERM)
