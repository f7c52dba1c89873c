"""
The units of systemd in ``install/``: right in systemd's eyes, and a manager that starts where ``/etc`` is read-only.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.words import own_version
from tests.system.manager import TWISTD
from tests.system.test_manager import NAMES, free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
UNITS = ("systemd/piman.service", "node/piman-agent.service")
START_SECONDS = 60.0

READ_ONLY_ETC = """
set -e
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
mount --bind "$1/etc" /etc
mount -o remount,ro,bind /etc
cd /etc/piman
shift
exec "$@"
"""
"""systemd.exec(5): ``ProtectSystem=full`` mounts ``/etc`` read-only, ``StateDirectory=`` makes a folder in /var/lib."""


class VerifyTests(SynchronousTestCase):
    """``systemd-analyze verify`` has nothing to say."""

    skip = None if shutil.which("systemd-analyze") else "not installed: systemd-analyze (Debian: systemd)"

    def test_units(self) -> None:
        """Each unit, with the program where this test has one, is without a mistake."""
        for name in UNITS:
            text = (ROOT / "install" / name).read_text()
            text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text)
            text = re.sub(r"(?m)^Documentation=.*$", "", text)
            unit = Path(self.mktemp()).absolute() / Path(name).name
            unit.parent.mkdir()
            unit.write_text(text)
            done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
            said = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
            self.assertEqual(said, [], name)


class ReadOnlyTests(SynchronousTestCase):
    """The manager as the unit runs it, with the piman.yaml that is shipped for it."""

    def setUp(self) -> None:
        """An /etc, a /var/lib and a /var/log of its own, as systemd makes them."""
        if os.geteuid() or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
            self.skipTest("needs root, and a mount namespace of its own")
        self.folder = Path(self.mktemp()).absolute()
        for name in ("etc/piman", "lib/piman", "log/piman"):
            (self.folder / name).mkdir(parents=True)
        shipped = (ROOT / "install/systemd/piman.yaml").read_text()
        ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        for old, new in (
            ("172.30.4.1\n", "127.77.0.1\n"),
            ("eth0", "lo"),
            ("255.255.255.0", "255.255.0.0"),
            ("/opt/piman", str(ROOT)),
            ("dhcp:\n", f"dhcp:\n  port: {ports['dhcp']}\n"),
        ):
            self.assertIn(old, shipped)
            shipped = shipped.replace(old, new)
        self.yaml = self.folder / "etc/piman/piman.yaml"
        self.yaml.write_text(
            f"{shipped}\ntftp: {{port: {ports['tftp']}}}\nntp: {{port: {ports['ntp']}}}\n"
            f"hello: {{port: {ports['hello']}, image_port: {ports['image']}, http_port: {ports['http']}}}\n"
        )
        (self.folder / "etc/piman/hosts.csv").write_text("B8:27:EB:00:00:01;127.77.0.11;pi11\n")
        self.output = self.folder / "output.txt"

    def start(self) -> "subprocess.Popen[bytes]":
        """What ExecStart= says, in the folder of WorkingDirectory=."""
        unit = (ROOT / "install/systemd/piman.service").read_text()
        (command,) = re.findall(r"(?m)^ExecStart=(.*)$", unit)
        words = [TWISTD, *command.split()[1:]]
        namespace = ["unshare", "-m", "--propagation", "private", "sh", "-c", READ_ONLY_ETC, "sh", str(self.folder)]
        with self.output.open("wb") as output:
            process = subprocess.Popen([*namespace, *words], stdout=output, stderr=output)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_starts(self) -> None:
        """It starts, with databases in StateDirectory= and logs in LogsDirectory=, and SIGTERM ends it."""
        process = self.start()
        until = time.monotonic() + START_SECONDS
        while f"piman {own_version()} is ready" not in self.output.read_text():
            self.assertIsNone(process.poll(), self.output.read_text())
            self.assertLess(time.monotonic(), until, self.output.read_text())
            time.sleep(0.05)
        process.terminate()
        self.assertIn(process.wait(30), (0, -signal.SIGTERM))
        self.assertIn("state.db", {path.name for path in (self.folder / "lib/piman").iterdir()})
        self.assertEqual({path.suffix for path in (self.folder / "log/piman").iterdir()}, {".log", ".jsonl"})

    def test_default_folders(self) -> None:
        """Without state_dir it would write to /etc: one line says that, and what to set; status 1."""
        self.yaml.write_text(self.yaml.read_text().replace("state_dir: /var/lib/piman\n", ""))
        self.assertEqual(self.start().wait(START_SECONDS), 1)
        (line,) = [line for line in self.output.read_text().splitlines() if line.startswith("piman: ")]
        self.assertIn("state_dir /etc/piman/state cannot be written to (Read-only file system)", line)
        self.assertIn("/var/lib/piman", line)
