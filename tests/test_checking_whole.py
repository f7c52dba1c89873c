"""
``piman check`` from end to end, on a folder made for it and on loopback.
"""

import gzip
import io
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.checking.probe import ILink, ProbeUnavailable
from piman.checking.whole import Looks, PowerSwitches, check, in_own_thread, no_switches
from piman.fleet.model import MACAddress, NodeStatus
from piman.fleet.state.history import HistoryStore
from piman.host.clock import Tracking
from piman.testing.power import MemoryPowerSwitch
from tests.fleet_support import ThreadedClock

YAML = """
server_address: 127.77.0.1
subnet_mask: 255.255.0.0
interface: {interface}
switches:
  - switch_address: 127.77.0.254
    name: rack-a
    pi_addresses: [127.77.0.11]
    ports: {{1: 127.77.0.11}}
dhcp: {{enabled: false}}
tftp: {{enabled: false}}
ntp: {{enabled: false}}
hello: {{enabled: false}}
web: {{enabled: false}}
grafana: {{enabled: false}}
"""
HOSTS = "b8:27:eb:00:00:01;127.77.0.11;pi1;0\n"
DOCUMENT = Path(__file__).parent.parent / "docs/reference/check.md"
FILES = ("start4.elf", "fixup4.dat", "kernel8.img", "cmdline.txt", "bcm2711-rpi-4-b.dtb")


async def _no_chrony(reactor: Any) -> Tracking | None:
    return None


def _no_link(interface: str) -> ILink:
    raise ProbeUnavailable(f"no right to send frames on {interface}")


def _rack_a(config: object) -> dict[str, MemoryPowerSwitch]:
    return {"rack-a": MemoryPowerSwitch()}


class WholeTests(SynchronousTestCase):
    """A folder where everything is ready for a Pi 4."""

    skip = None if shutil.which("cpio") else "not installed: cpio"

    def setUp(self) -> None:
        """Make it."""
        self.folder = Path(self.mktemp()).absolute()
        self.boot = self.folder / "install/boot"
        self.boot.mkdir(parents=True)
        self.configure()
        (self.folder / "hosts.csv").write_text(HOSTS)
        for name in FILES:
            (self.boot / name).write_bytes(b"x")
        (self.boot / "config.txt").write_text("initramfs initramfs.gz followkernel\n")
        self.make_archives()

    def configure(self, interface: str = "lo") -> None:
        """Write piman.yaml."""
        (self.folder / "piman.yaml").write_text(YAML.format(interface=interface))

    def make_archives(self) -> None:
        """The initramfs and the image, by the tools of the trade."""
        tree = self.folder / "tree"
        tree.mkdir()
        for name in ("init", "hello_protocol.sh"):
            (tree / name).write_text("#!/bin/sh\n")
            (tree / name).chmod(0o755)
        packed = subprocess.run(
            "find . | cpio --quiet -o -H newc", shell=True, cwd=tree, capture_output=True, check=True
        )
        (self.boot / "initramfs.gz").write_bytes(gzip.compress(packed.stdout))
        subprocess.run(["tar", "-czf", self.boot / "rootfs.tgz", "-C", tree, "."], check=True)

    def check(
        self, *, as_json: bool = True, switches: PowerSwitches = _rack_a, file: str = "piman.yaml"
    ) -> tuple[int, str]:
        """Exit status and what was printed."""
        clock, output = Clock(), io.StringIO()
        looks = Looks(reactor=clock, run=maybeDeferred, switches=switches, open_link=_no_link, tracking=_no_chrony)
        checked = check(clock, self.folder / file, as_json_text=as_json, output=output, looks=looks)
        status: int = self.successResultOf(checked)
        self.assertEqual(clock.getDelayedCalls(), [])
        return status, output.getvalue()

    def findings(self, **knobs: Any) -> dict[str, list[tuple[str, str]]]:
        """Level and text by subject."""
        found: dict[str, list[tuple[str, str]]] = {}
        for row in json.loads(self.check(**knobs)[1])["findings"]:
            found.setdefault(row["subject"], []).append((row["level"], row["text"]))
        return found

    def test_ready(self) -> None:
        """Where everything is ready nothing fails, the status is 0, and each check has said something."""
        status, shown = self.check(as_json=False)
        self.assertEqual(status, 0, shown)
        self.assertNotIn("FAIL", shown)
        subjects = ("configuration", "interface", "rights", "other DHCP", "boot files", "initramfs", "images")
        for subject in (*subjects, "switch rack-a", "clock", "disk"):
            self.assertIn(f"  {subject} ", shown)

    def test_documented(self) -> None:
        """Every subject has its chapter in docs/reference/check.md."""
        chapters = [line[3:] for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("## ")]
        found = [subject.replace("rack-a", "NAME") for subject in self.findings()]
        self.assertGreater(len(found), 8)
        self.assertEqual(set(found) | {"ports"}, set(chapters))

    def test_fails(self) -> None:
        """One missing file is status 1, in text and in JSON."""
        (self.boot / "fixup4.dat").unlink()
        for as_json in (True, False):
            status, shown = self.check(as_json=as_json)
            self.assertEqual((status, "fixup4.dat" in shown), (1, True))
        self.assertEqual(json.loads(self.check()[1])["status"], 1)

    def test_mistakes(self) -> None:
        """Mistakes in the configuration are status 2, and each is a finding in JSON."""
        (self.folder / "piman.yaml").write_text("server_address: 172.30.4.x\nsubnet_maks: 24\n")
        status, shown = self.check()
        told = json.loads(shown)
        self.assertEqual((status, told["status"]), (2, 2))
        self.assertGreater(len(told["findings"]), 1)
        self.assertTrue(any("172.30.4.x" in row["text"] for row in told["findings"]))

    def test_boards_that_were_seen(self) -> None:
        """Which boards are there is read from history.db: a Pi 5 in the rack wants its own files."""
        clock = ThreadedClock()
        store = HistoryStore(self.folder / "state/history.db", reactor=clock, clock=clock)
        store.open()
        seen = NodeStatus(mac=MACAddress.parse("b8:27:eb:00:00:01"), model="5")
        passer_by = NodeStatus(mac=MACAddress.parse("b8:27:eb:00:00:02"), model="3B")
        clock.wait(store.save_snapshots([seen, passer_by]))
        clock.wait(store.close())
        ((level, text),) = self.findings()["boot files"]
        self.assertEqual(level, "fail")
        self.assertTrue(text.startswith("5, 1 seen: "), text)
        self.assertIn("bcm2712-rpi-5-b.dtb", text)

    def test_nothing_there(self) -> None:
        """Without boot files each check still says its own, and none breaks."""
        shutil.rmtree(self.boot)
        found = self.findings()
        self.assertEqual([level for level, _ in found["boot files"]], ["fail"])
        self.assertEqual([level for level, _ in found["images"]], ["fail"])
        self.assertFalse([text for rows in found.values() for _, text in rows if "broke" in text])

    def test_no_initramfs(self) -> None:
        """A config.txt that names no initramfs is a warning: boards boot, and are never installed."""
        (self.boot / "config.txt").write_text("arm_64bit=1\n")
        ((level, text),) = self.findings()["initramfs"]
        self.assertEqual((level, "cannot be installed" in text), ("warn", True))

    def test_no_right_to_ask(self) -> None:
        """Without root nobody is asked for DHCP, and it is said that nobody was."""
        self.configure("eth-none")
        ((level, text),) = self.findings()["other DHCP"]
        self.assertEqual((level, text), ("warn", "not looked for: no right to send frames on eth-none"))

    def test_switches(self) -> None:
        """Switches are taken from the mapping by label; one that is not in it was not asked."""
        self.assertEqual([level for level, _ in self.findings()["switch rack-a"]], ["ok"])
        self.assertEqual([level for level, _ in self.findings(switches=no_switches)["switch rack-a"]], ["warn"])

    def test_leaves_nothing(self) -> None:
        """A check makes no folder and no file, but the digests where the manager keeps them."""
        before = sorted(self.folder.rglob("*"))
        self.check()
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        (self.folder / "state").mkdir()
        self.check()
        self.assertEqual([path.name for path in (self.folder / "state").iterdir()], ["images.json"])


class ThreadTests(SynchronousTestCase):
    """Work in a thread that nobody waits for at the end."""

    def setUp(self) -> None:
        """A reactor with a thread beside it."""
        self.clock = ThreadedClock()
        self.run_work: Callable[[Callable[[], Any]], Deferred[Any]] = in_own_thread(self.clock)

    def test_result(self) -> None:
        """The result, or the failure, comes back in the reactor's thread."""
        self.assertIsNot(self.clock.wait(self.run_work(threading.current_thread)), threading.current_thread())
        done = self.run_work(lambda: 1 // 0)
        done.addErrback(lambda failure: failure.type)
        self.assertIs(self.clock.wait(done), ZeroDivisionError)

    def test_does_not_keep_us(self) -> None:
        """The thread is a daemon: a dead disk does not keep the program from ending."""
        self.assertTrue(self.clock.wait(self.run_work(lambda: threading.current_thread().daemon)))
