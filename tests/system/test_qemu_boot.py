"""
A whole boot with nothing of ours on the wire's other end: U-Boot, Linux and busybox against the real manager.

The manager is started as an operator starts it, in a network namespace of its own; the board is QEMU
(:mod:`tests.system.qemu_lab`).
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from piman.fleet.model import IntentOrigin, MACAddress
from piman.fleet.state.intents import IntentBook
from piman.fleet.state.store import StateStore
from piman.testing.fakes import CapturedEvents
from tests.system.qemu_lab import (
    MANAGER_ADDRESS,
    PROJECT,
    Artefacts,
    Board,
    LabNetwork,
    LabUnavailable,
    artefacts,
    require_lab,
    wait_until,
)

MAC = "b8:27:eb:00:00:01"
ADDRESS = "172.30.4.2"
CARD_BYTES = 1 << 30

CONFIGURATION = f"""\
private_number: 4
server_address: {MANAGER_ADDRESS}
subnet_mask: 255.255.255.0
interface: eth0
switches: []
hosts_file: hosts.csv
state_dir: state
boot_dir: boot
images: {{default: rootfs.tgz}}
dhcp: {{dns_servers: []}}
ntp: {{local_stratum: 10}}
monitor: {{interval_seconds: 1}}
log_dir: logs
"""

KERNEL_ARGUMENTS = "console=ttyAMA0 ip=dhcp root=/dev/initrd master=MASTER\n"

FORMATTING = "making the root file system"
UNPACKING = "MB unpacked"
UP = "the installed system runs"


class Manager:
    """``twistd -n piman`` in the manager's namespace, with a directory of its own."""

    def __init__(self, network: LabNetwork, built: Artefacts, rootfs: Path, directory: Path) -> None:
        self._network = network
        self._directory = directory
        self._log = directory / "twistd.log"
        self._process: subprocess.Popen[bytes] | None = None
        boot = directory / "boot"
        boot.mkdir(parents=True)
        (directory / "piman.yaml").write_text(CONFIGURATION)
        (directory / "hosts.csv").write_text(f"{MAC.upper()};{ADDRESS};pi2;0\n")
        for source, name in ((built.kernel, "kernel8.img"), (built.initramfs, "initramfs.gz")):
            shutil.copy(source, boot / name)
        shutil.copy(rootfs, directory / "rootfs.tgz")
        (boot / "cmdline.txt").write_text(KERNEL_ARGUMENTS)
        (boot / "config.txt").write_text("arm_64bit=1\ninitramfs initramfs.gz followkernel\n")
        for name in ("bootcode.bin", "start.elf", "fixup.dat"):
            (boot / name).write_bytes(b"only a Raspberry Pi would run this")

    def start(self) -> None:
        """Start it and wait until it listens."""
        twistd = Path(sys.executable).with_name("twistd")
        command = [str(twistd), "-n", "piman", "--config", "piman.yaml"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self._network.manager, *command],
                cwd=self._directory,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until("the manager listens for DHCP, TFTP and hello", self._listens)

    def stop(self) -> None:
        """Ask it to end and wait for that; harmless twice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What its history holds of this kind, oldest first."""
        path = self._directory / "state" / "history.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as history:
            rows = history.execute("SELECT payload FROM events WHERE kind = ? ORDER BY id", (kind,))
            return [json.loads(payload) for (payload,) in rows]

    @property
    def state_file(self) -> Path:
        """Where its intents are."""
        return self._directory / "state" / "state.db"

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self._log.read_text("utf-8", "replace")

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the manager ended with status {self._process.returncode}:\n{self.log}")
        tables = Path(f"/proc/{self._process.pid}/net")
        udp, tcp = (tables / "udp").read_text(), (tables / "tcp").read_text()
        return all(f":{port:04X} " in udp for port in (67, 69)) and f":{3333:04X} " in tcp


class NetworkBootTests(TestCase):
    """From dark to up, with U-Boot, Linux and busybox as the clients."""

    timeout = 900

    def setUp(self) -> None:
        try:
            require_lab()
            self.artefacts = artefacts()
        except LabUnavailable as reason:
            raise SkipTest(str(reason)) from reason
        self.directory = Path(tempfile.mkdtemp(prefix="piman-boot-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.network = LabNetwork()
        self.addCleanup(self.network.remove)
        self.network.build()

    def start(self, rootfs: Path) -> None:
        """A manager that serves this root file system, and a board with an empty card, still dark."""
        self.manager = Manager(self.network, self.artefacts, rootfs, self.directory / "manager")
        self.addCleanup(self.manager.stop)
        self.manager.start()
        self.board = Board(self.network, self.artefacts, self.directory, MAC, CARD_BYTES)
        self.addCleanup(self.board.power_off)

    def boot(self) -> dict[str, Any]:
        """Cut the board's power, give it back, and wait for what the installed system's agent says."""
        self.board.power_cycle()
        self.wait_for(UP)
        return wait_until("the agent answers", self.ask_agent)

    def wait_for(self, text: str) -> None:
        """Wait until the board's serial port has said this."""
        try:
            wait_until(f"the board says {text!r}", lambda: self.board.says(text))
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.board.serial[-4000:]}\n{self.manager.log[-4000:]}") from late

    def ask_agent(self) -> dict[str, Any] | None:
        """The answer of the agent, asked from the manager's side."""
        address = f"http://{ADDRESS}:3000/event/"
        fetch = f"import urllib.request as r; print(r.urlopen({address!r}, timeout=5).read().decode())"
        done = subprocess.run(
            ["ip", "netns", "exec", self.network.manager, sys.executable, "-c", fetch],
            capture_output=True,
            check=False,
        )
        return dict(json.loads(done.stdout)) if done.returncode == 0 else None

    async def open_intent(self) -> None:
        """Say in the stopped manager's state that the operator wants the board installed anew."""
        from twisted.internet import reactor

        store = StateStore(self.manager.state_file, reactor=reactor)  # type: ignore[arg-type]
        store.open()
        book = IntentBook(store, reactor, CapturedEvents())  # type: ignore[arg-type]
        book.load()
        await book.open_intent(MACAddress.parse(MAC), IntentOrigin.OPERATOR, "default")
        await store.close()

    def formats(self) -> int:
        """How often the manager has ordered a format."""
        return len(self.manager.events("FormatOrdered"))

    async def test_installs_once_and_again_only_when_told(self) -> None:
        """An empty card is installed, the next boot leaves it alone, a reinstall intent formats it exactly once."""
        self.start(self.artefacts.rootfs)

        first = self.boot()
        self.assertLessEqual(
            {"time", "cpu_percent", "memory_percent", "disk_percent", "num_pids", "boots"}, first.keys()
        )
        self.assertEqual(first["boots"], 1)
        self.assertLess(abs(first["time"] - time.time()), 60, "the manager set the clock, which began in 2000")
        self.assertIn(FORMATTING, self.board.serial)
        wait_until("the installation is in the history", lambda: self.manager.events("Installed"))
        wait_until("the manager sees the node up", lambda: self.manager.events("NodeUp"))
        self.assertEqual(self.formats(), 1)

        second = self.boot()
        self.assertEqual(second["boots"], 2)
        self.assertNotIn(FORMATTING, self.board.serial)

        self.board.power_off()
        self.manager.stop()
        await self.open_intent()
        self.manager.start()
        third = self.boot()
        self.assertEqual(third["boots"], 1)
        self.assertIn(FORMATTING, self.board.serial)
        self.assertNotIn("making the boot file system", self.board.serial, "the boot partition keeps its content")

        fourth = self.boot()
        self.assertEqual(fourth["boots"], 2)
        self.assertNotIn(FORMATTING, self.board.serial)
        wait_until("both installations are in the history", lambda: len(self.manager.events("Installed")) == 2)
        self.assertEqual(self.formats(), 2)

    def test_a_power_cut_while_installing_costs_nothing_but_time(self) -> None:
        """A card whose installation was interrupted is not taken for installed: it is formatted anew and boots."""
        self.start(self.artefacts.large_rootfs)
        self.board.power_on()
        self.wait_for(UNPACKING)
        self.board.power_off()
        self.assertNotIn("writing the last data", self.board.serial, "the board was faster than this test")

        answer = self.boot()

        self.assertEqual(answer["boots"], 1)
        self.assertIn(FORMATTING, self.board.serial)
        wait_until("the installation is in the history", lambda: len(self.manager.events("Installed")) == 1)
        self.assertEqual(self.formats(), 2)

    def test_a_manager_that_restarts_while_installing_costs_no_second_format(self) -> None:
        """The board goes on with its image, calls again with its token, and is installed by its first order."""
        self.start(self.artefacts.large_rootfs)
        self.board.power_on()
        self.wait_for(UNPACKING)
        self.manager.stop()
        self.assertNotIn("writing the last data", self.board.serial, "the board was faster than this test")
        self.manager.start()

        self.wait_for(UP)

        wait_until("the installation is in the history", lambda: len(self.manager.events("Installed")) == 1)
        self.assertEqual(self.formats(), 1)
        self.assertEqual(len(self.manager.events("InstallerConnected")), 2)
        self.assertIn("the conversation broke off: the work goes on", self.board.serial)
