"""
``install/node/add_to_image``: the agent and the time set-up in the system of a node.

The systems are folders with what Debian has where the program looks; the wheels are made of what this Python runs on.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import ClassVar
from zipfile import ZipFile

from twisted.trial.unittest import SynchronousTestCase

from piman.monitor.agent import MOST_CONNECTIONS

NODE = Path(__file__).resolve().parent.parent.parent / "install/node"
PROGRAM = NODE / "add_to_image"
START_SECONDS = 60.0

VERSION = f"3.{sys.version_info.minor}"
IDENT = b"\x7fELF"
MACHINES = {"x86_64": (2, 62), "aarch64": (2, 183), "armv7l": (1, 40)}
"""EI_CLASS and e_machine: EM_X86_64, EM_AARCH64 and EM_ARM of <elf.h>."""
HERE = os.uname().machine


def elf_header(machine: str) -> bytes:
    """The beginning of a program for a machine, as elf(5) describes it."""
    bits, number = MACHINES[machine]
    return IDENT + bytes([bits, 1, 1]) + bytes(9) + b"\x03\x00" + number.to_bytes(2, "little") + bytes(44)


# Wheels


def needed(name: str, seen: dict[str, Distribution]) -> None:
    """A package and what it requires, as far as it is installed here."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    seen[key] = found
    for line in found.requires or ():
        if "extra ==" not in line:
            needed(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0], seen)


def make_wheels(folder: Path) -> None:
    """A wheel of each package of requirements.txt and those below: what pip installed, packed again."""
    seen: dict[str, Distribution] = {}
    for line in (NODE / "requirements.txt").read_text().splitlines():
        if not line.startswith("#"):
            needed(re.split("[>=]", line)[0], seen)
    folder.mkdir()
    for name, found in seen.items():
        tags = re.findall(r"(?m)^Tag: (\S+)-(\S+)-(\S+)$", found.read_text("WHEEL") or "")
        pythons, abis, platforms = (".".join(dict.fromkeys(column)) for column in zip(*tags, strict=True))
        wheel = folder / f"{name.replace('-', '_')}-{found.version}-{pythons}-{abis}-{platforms}.whl"
        with ZipFile(wheel, "w") as archive:
            for file in found.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    archive.write(str(file.locate()), str(file))


# Systems


def make_system(root: Path, *, machine: str = HERE, version: str = VERSION) -> None:
    """What Debian has where the program looks, without time daemon and network."""
    for folder in ("etc/systemd/system/multi-user.target.wants", "usr/bin", "usr/lib/systemd"):
        (root / folder).mkdir(parents=True)
    (root / f"usr/bin/python{version}").write_bytes(elf_header(machine))
    (root / "usr/bin/python3").symlink_to(f"python{version}")


def contents(root: Path) -> dict[str, tuple[str, str]]:
    """Every file and link: mode and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = ("link", os.readlink(path))
        elif path.is_file():
            found[str(path.relative_to(root))] = (oct(path.stat().st_mode), path.read_bytes().hex())
    return found


class _Case(SynchronousTestCase):
    """A folder to work in, and wheels."""

    wheels: ClassVar[Path]

    def setUp(self) -> None:
        """Make the wheels once for all."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.root = self.folder / "root"
        if not hasattr(_Case, "wheels"):
            made = self.folder.with_name("wheels")
            make_wheels(made)
            _Case.wheels = made

    def run_it(self, *words: "str | Path", status: int = 0, program: Path = PROGRAM) -> str:
        """Run the program; what it says."""
        command = [str(program), *map(str, words)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def add(self, target: "str | Path", *words: "str | Path", status: int = 0) -> str:
        """Add to a target with the wheels of this Python."""
        return self.run_it("--wheels", self.wheels, *words, target, status=status)


class AgentTests(_Case):
    """The agent in a system."""

    def test_runs(self) -> None:
        """It runs from what was written alone, tells all pages, and ends at SIGTERM."""
        make_system(self.root)
        self.add(self.root)
        port = self.start()
        answer = json.loads(self.ask(port, "/events"))
        self.assertLessEqual({"time", "cpu_percent", "memory_percent", "num_pids", "uptime_seconds"}, set(answer))
        self.assertIn(b"\npiman_node_num_pids ", self.ask(port, "/metrics"))
        self.process.terminate()
        self.assertEqual(self.process.wait(30), 0, self.output.read_text())
        self.assertNotIn("Traceback", self.output.read_text())

    def test_slow_readers(self) -> None:
        """Whoever connects and neither asks nor reads keeps nobody else from an answer."""
        make_system(self.root)
        self.add(self.root)
        port = self.start()
        self.ask(port, "/events")
        for _ in range(2 * MOST_CONNECTIONS):
            slow = socket.create_connection(("127.0.0.1", port))
            self.addCleanup(slow.close)
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: node\r\n")
        self.assertIn(b"num_pids", self.ask(port, "/event/"))

    def start(self) -> int:
        """Start it as the unit does, but for user, port and folder of compiled modules; the port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        (line,) = re.findall(r"(?m)^ExecStart=(.*)$", (NODE / "piman-agent.service").read_text())
        self.assertTrue(line.startswith("/usr/bin/python3 -I "), line)
        line = line.replace("/opt/", f"{self.root}/opt/").replace("/var/cache", f"{self.folder}/cache")
        words = [sys.executable, "-S", *line.split()[1:], "--address", "127.0.0.1", "--port", str(port)]
        self.output = self.folder / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(words, cwd=self.folder, env={}, stdout=output, stderr=output)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.send_signal, signal.SIGKILL)
        return port

    def ask(self, port: int, path: str) -> bytes:
        """A page, as soon as the agent answers."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return bytes(answer.read())
            except urllib.error.URLError:
                self.assertIsNone(self.process.poll(), self.output.read_text())
                self.assertLess(time.monotonic(), until, self.output.read_text())
                time.sleep(0.05)

    def test_again(self) -> None:
        """Said again it does nothing, and says so."""
        make_system(self.root)
        self.assertIn("wrote /opt/piman-agent", self.add(self.root))
        before = {path: path.lstat().st_mtime_ns for path in self.root.rglob("*")}
        self.assertTrue(self.add(self.root).strip().endswith("root: nothing to do"))
        self.assertEqual({path: path.lstat().st_mtime_ns for path in self.root.rglob("*")}, before)

    def test_starts_at_boot(self) -> None:
        """The unit is there and wanted, as ``systemctl enable`` would leave it."""
        make_system(self.root)
        self.add(self.root)
        units = self.root / "etc/systemd/system"
        self.assertEqual(
            (units / "multi-user.target.wants/piman-agent.service").resolve(), units / "piman-agent.service"
        )

    def test_new_version(self) -> None:
        """A newer agent takes the place of an older one, whole: nothing of the older one is left."""
        make_system(self.root)
        old = self.root / "opt/piman-agent/lib/piman/monitor/gone.py"
        old.parent.mkdir(parents=True)
        old.write_text("")
        self.add(self.root)
        self.assertFalse(old.exists())
        self.assertEqual([path.name for path in (self.root / "opt").iterdir()], ["piman-agent"])

    def test_two_agents(self) -> None:
        """That the original's agent is started, too, is told; a comment about it is none."""
        make_system(self.root)
        self.assertNotIn("monitoring_server", self.add(self.root))
        (self.root / "etc/rc.local").write_text("#!/bin/sh\npython3 /home/pi/monitoring_server.py &\n")
        self.assertIn("monitoring_server.py is started here, too", self.add(self.root))

    def test_readable(self) -> None:
        """The agent's user, who is nobody, can read all of it, whatever the umask of who wrote it."""
        make_system(self.root)
        command = f"umask 077; exec '{PROGRAM}' --wheels '{self.wheels}' '{self.root}'"
        subprocess.run(["sh", "-c", command], cwd=self.folder, check=True, capture_output=True, timeout=300)
        for path in (self.root / "opt").rglob("*"):
            needed_bits = 0o005 if path.is_dir() else 0o004
            self.assertEqual(path.stat().st_mode & needed_bits, needed_bits, path)


class RefusalTests(_Case):
    """What the program does not touch, in one line and with status 1."""

    def refused(self, words: str, *options: "str | Path") -> None:
        """It says this, and the system is as it was."""
        before = contents(self.root) if self.root.is_dir() else None
        said = self.run_it(*(options or ("--wheels", self.wheels)), self.root, status=1)
        self.assertIn(words, said)
        self.assertEqual(len(said.strip().splitlines()), 1, said)
        if before is not None:
            self.assertEqual(contents(self.root), before)

    def test_no_system(self) -> None:
        """What is no system, or one without systemd, or not there."""
        self.refused("no such file")
        self.root.mkdir()
        self.refused("it has no etc and usr")
        (self.root / "etc").mkdir()
        (self.root / "usr").mkdir()
        self.refused("has no systemd")

    def test_python(self) -> None:
        """A system without Python, or with one that is too old."""
        make_system(self.root, version="3.9")
        self.refused("has Python 3.9; the agent needs 3.11")
        (self.root / "usr/bin/python3.9").unlink()
        self.refused("has no Python 3 in /usr/bin")

    def test_unknown_machine(self) -> None:
        """A machine that no Pi has."""
        make_system(self.root)
        (self.root / f"usr/bin/python{VERSION}").write_bytes(elf_header("x86_64").replace(b"\x3e\x00", b"\xf3\x00"))
        self.refused("a machine that this program does not know")

    def test_wheels_of_another_machine(self) -> None:
        """Wheels that fit another machine or another Python are passed over, and what is missing is named."""
        for machine, version in (("armv7l", VERSION), (HERE, "3.99")):
            make_system(self.root, machine=machine, version=version)
            self.refused(f"has no wheel with psutil for Python {version} on {machine}", "--wheels", self.ours())
            shutil.rmtree(self.root)

    def ours(self) -> Path:
        """The wheels, with psutil's for exactly this Python."""
        folder = self.folder / "ours"
        if not folder.exists():
            shutil.copytree(self.wheels, folder)
            (psutil,) = folder.glob("psutil-*.whl")
            name, number, _, _, platform = psutil.stem.split("-")
            tag = f"cp3{sys.version_info.minor}"
            psutil.rename(folder / f"{name}-{number}-{tag}-{tag}-{platform}.whl")
        return folder

    def test_no_wheels(self) -> None:
        """A folder without any."""
        make_system(self.root)
        self.refused("--fetch gets them", "--wheels", self.folder / "empty")

    def test_usage(self) -> None:
        """Wrong words are answered with the right ones, and status 2."""
        for words in ((), ("--what", "/"), ("a", "b")):
            self.assertIn("usage: add_to_image", self.run_it(*words, status=2))


class PackedTests(_Case):
    """Systems that are packed."""

    def setUp(self) -> None:
        """A system, and what becomes of it as a folder."""
        super().setUp()
        make_system(self.root)
        (self.root / "usr/lib/systemd/systemd-timesyncd").write_text("")
        (self.root / "etc/NetworkManager").mkdir()
        (self.root / "etc/NetworkManager/NetworkManager.conf").write_text("[main]\n")
        (self.root / "etc/dhcpcd.conf").write_text("#option ntp_servers\n")
        self.expected = self.folder / "expected"
        shutil.copytree(self.root, self.expected, symlinks=True)
        self.add(self.expected)

    def test_archive(self) -> None:
        """What busybox unpacks, as the installer does, is what a folder becomes; packed with or without ./."""
        self.need("busybox")
        for name, inside in (("a.tgz", "."), ("b.tar", "*")):
            archive = self.folder / name
            pack = f"tar -c{'z' if name.endswith('z') else ''}f '{archive}' {inside}"
            subprocess.run(["sh", "-c", pack], cwd=self.root, check=True, timeout=60)
            self.add(archive)
            unpacked = self.folder / f"{name}.unpacked"
            unpacked.mkdir()
            compressed = "z" if name.endswith("z") else ""
            unpack = ["busybox", "tar", f"-x{compressed}f", str(archive), "-C", str(unpacked)]
            subprocess.run(unpack, check=True, timeout=60)
            self.assertEqual(contents(unpacked), contents(self.expected), name)
            self.assertIn("nothing to do", self.add(archive))

    def test_owners(self) -> None:
        """What was in it stays as it was; what is new belongs to root, whoever packs it."""
        archive = self.folder / "a.tar"
        words = ("--owner=pi:1000", "--group=pi:1000", "--mtime=2020-01-01", "--sort=name")
        subprocess.run(["tar", "-cf", archive, *words, "."], cwd=self.root, check=True, timeout=60)
        listing = ["tar", "-tvf", str(archive), "--numeric-owner"]
        before = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
        self.add(archive)
        after = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
        self.assertEqual(after[: len(before)], before)
        self.assertEqual({line.split()[1] for line in after[len(before) :]}, {"0/0"})

    def test_beside(self) -> None:
        """The archive keeps its mode, and nothing is left beside it, whether it worked or not."""
        archive = self.folder / "images/a.tgz"
        archive.parent.mkdir()
        subprocess.run(["tar", "-czf", archive, "-C", self.root, "."], check=True, timeout=60)
        archive.chmod(0o640)
        self.add(archive)
        self.run_it("--wheels", self.folder / "none", archive, status=1)
        self.assertEqual([path.name for path in archive.parent.iterdir()], ["a.tgz"])
        self.assertEqual(archive.stat().st_mode & 0o777, 0o640)

    def test_foreign_archive(self) -> None:
        """An archive of something else is refused and left alone."""
        archive = self.folder / "a.tar"
        subprocess.run(["tar", "-cf", archive, "-C", NODE, "requirements.txt"], check=True, timeout=60)
        before = archive.read_bytes()
        self.assertIn("holds no system", self.add(archive, status=1))
        self.assertEqual(archive.read_bytes(), before)

    def test_disk(self) -> None:
        """An image of an ext4 file system, and one of a card with two partitions: the second is the system."""
        self.need("mke2fs", "e2fsck", "debugfs", "sfdisk", "losetup")
        self.need_loop_devices()
        bare, card = self.folder / "root.img", self.folder / "card.img"
        make = ["mke2fs", "-q", "-t", "ext4", "-d", self.root, bare, "64M"]
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        table = "label: dos\nstart=8192, size=2048, type=c\nstart=10240, size=131072, type=83\n"
        with card.open("wb") as image:
            image.truncate((10240 + 131072) * 512)
        subprocess.run(["sfdisk", "--quiet", card], input=table.encode(), check=True, timeout=60)
        with card.open("r+b") as image:
            image.seek(10240 * 512)
            image.write(bare.read_bytes())
        for image_file in (bare, card):
            self.add(image_file)
            self.assertIn("nothing to do", self.add(image_file))
        with card.open("rb") as image:
            image.seek(10240 * 512)
            bare.write_bytes(image.read())
        self.assertEqual(subprocess.run(["e2fsck", "-fn", bare], capture_output=True, timeout=60).returncode, 0)
        unpacked = self.folder / "unpacked"
        unpacked.mkdir()
        subprocess.run(["debugfs", "-R", f"rdump / {unpacked}", bare], check=True, capture_output=True, timeout=60)
        shutil.rmtree(unpacked / "lost+found")
        self.assertEqual(contents(unpacked), contents(self.expected))

    def need(self, *programs: str) -> None:
        """Or the test is none."""
        missing = [name for name in programs if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
        if missing:
            self.skipTest(f"not installed: {', '.join(missing)}")

    def need_loop_devices(self) -> None:
        """Or the test is none."""
        if os.geteuid() or subprocess.run(["losetup", "-f"], capture_output=True).returncode:
            self.skipTest("needs root, and loop devices")


class TimeTests(_Case):
    """The time set-up."""

    def setUp(self) -> None:
        """A system without an agent."""
        super().setUp()
        make_system(self.root)

    def write(self, path: str, text: str = "") -> Path:
        """A file of the system."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def set_up(self) -> str:
        """The time only."""
        said = self.run_it("--no-agent", self.root)
        self.assertFalse((self.root / "opt").exists())
        return said

    def test_none(self) -> None:
        """A system that nobody sets the clock of is told."""
        self.assertIn("nobody sets the clock", self.set_up())

    def test_timesyncd(self) -> None:
        """timesyncd asks no servers but those of DHCP; NetworkManager's hook only where there is NetworkManager."""
        self.write("usr/lib/systemd/systemd-timesyncd")
        self.set_up()
        written = (self.root / "etc/systemd/timesyncd.conf.d/piman.conf").read_text().splitlines()
        self.assertEqual([line for line in written if not line.startswith("#")], ["[Time]", "FallbackNTP="])
        hook = self.root / "etc/NetworkManager/dispatcher.d/50-piman-time"
        self.assertFalse(hook.exists())
        (self.root / "etc/NetworkManager").mkdir()
        self.set_up()
        self.assertEqual(hook.stat().st_mode & 0o777, 0o755)

    def test_chrony(self) -> None:
        """Debian's chrony.conf, but for the public pool; servers of the operator's stay."""
        conf = self.write(
            "etc/chrony/chrony.conf",
            "confdir /etc/chrony/conf.d\npool 2.debian.pool.ntp.org iburst\n"
            "server 172.30.4.1\nsourcedir /run/chrony-dhcp\n",
        )
        self.set_up()
        self.assertEqual(
            conf.read_text(),
            "confdir /etc/chrony/conf.d\n#piman: not the manager: pool 2.debian.pool.ntp.org iburst\n"
            "server 172.30.4.1\nsourcedir /run/chrony-dhcp\n",
        )
        self.assertFalse((self.root / "etc/chrony/conf.d/piman.conf").exists())

    def test_chrony_without_dhcp(self) -> None:
        """One that does not read what DHCP says gets a drop-in, which chronyd understands."""
        self.write("etc/chrony/chrony.conf", "confdir /etc/chrony/conf.d\n")
        self.set_up()
        drop_in = self.root / "etc/chrony/conf.d/piman.conf"
        chronyd = shutil.which("chronyd", path="/usr/sbin:/usr/bin")
        if chronyd is None:
            self.skipTest("not installed: chronyd (Debian: chrony)")
        done = subprocess.run([chronyd, "-p", "-f", drop_in], capture_output=True, text=True, timeout=30)
        self.assertEqual((done.returncode, done.stdout), (0, "sourcedir /run/chrony-dhcp\n"), done.stderr)

    def test_dhcpcd(self) -> None:
        """dhcpcd is told to request the option, as its own file has it in a comment, or has not."""
        for before, after in (
            ("a\n#option ntp_servers\nb\n", "a\noption ntp_servers\nb\n"),
            ("a\n", "a\noption ntp_servers\n"),
            ("option domain_name, ntp_servers\n", "option domain_name, ntp_servers\n"),
        ):
            conf = self.write("etc/dhcpcd.conf", before)
            self.set_up()
            self.set_up()
            self.assertEqual(conf.read_text(), after)

    def test_dhclient(self) -> None:
        """A dhclient that does not request it is told, and left alone."""
        conf = self.write("etc/dhcp/dhclient.conf", "request subnet-mask, routers;\n")
        self.assertIn("does not request ntp-servers", self.set_up())
        self.assertEqual(conf.read_text(), "request subnet-mask, routers;\n")


class HookTests(_Case):
    """The hook of NetworkManager."""

    def setUp(self) -> None:
        """A /run of its own and a systemctl that writes down what it is told."""
        super().setUp()
        self.told = self.folder / "told"
        self.told.write_text("")
        systemctl = self.folder / "bin/systemctl"
        systemctl.parent.mkdir()
        systemctl.write_text(f'#!/bin/sh\necho "$*" >>{self.told}\n')
        systemctl.chmod(0o755)
        self.file = self.folder / "run/systemd/timesyncd.conf.d/50-piman-eth0.conf"

    def happen(self, interface: str, action: str, servers: str | None = None) -> int:
        """Call it as NetworkManager-dispatcher(8) says; how often timesyncd was restarted so far."""
        env = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "PIMAN_RUN": str(self.folder / "run")}
        if servers is not None:
            env["DHCP4_NTP_SERVERS"] = servers
        subprocess.run([NODE / "50-piman-time", interface, action], env=env, check=True, timeout=30)
        lines = self.told.read_text().splitlines()
        self.assertLessEqual(set(lines), {"--no-block try-restart systemd-timesyncd.service"})
        return len(lines)

    def test_life(self) -> None:
        """A server is told once, not at each renewal; another one again; it is forgotten with its interface."""
        self.assertEqual(self.happen("eth0", "up", "172.30.4.1"), 1)
        self.assertEqual(self.file.read_text(), "[Time]\nNTP=172.30.4.1 \n")
        self.assertEqual(self.happen("eth0", "dhcp4-change", "172.30.4.1"), 1)
        self.assertEqual(self.happen("eth0", "dhcp4-change", "172.30.4.2 ntp.lab"), 2)
        self.assertEqual(self.file.read_text(), "[Time]\nNTP=172.30.4.2 ntp.lab \n")
        self.assertEqual(self.happen("eth0", "down"), 3)
        self.assertFalse(self.file.exists())
        self.assertEqual(self.happen("eth0", "down"), 3)

    def test_no_server(self) -> None:
        """Where DHCP names none there is nothing to do, and one of before is forgotten."""
        self.assertEqual(self.happen("eth0", "up"), 0)
        self.happen("eth0", "up", "172.30.4.1")
        self.assertEqual(self.happen("eth0", "dhcp4-change", ""), 2)
        self.assertFalse(self.file.exists())

    def test_strange_words(self) -> None:
        """What is no address and no name gets into no configuration, nor does a strange interface."""
        self.happen("eth0", "up", "172.30.4.1 a;b $(reboot) [Time] ntp_x")
        self.assertEqual(self.file.read_text(), "[Time]\nNTP=172.30.4.1 \n")
        before = self.told.read_text()
        for interface in ("../../etc/x", "none", "", "lo"):
            self.happen(interface, "up", "172.30.4.1")
        self.assertEqual(self.told.read_text(), before)


class ShellTests(SynchronousTestCase):
    """The shell of it."""

    skip = None if shutil.which("shellcheck") else "not installed: shellcheck"

    def test_shellcheck(self) -> None:
        """shellcheck has nothing to say."""
        for name in ("add_to_image", "50-piman-time"):
            done = subprocess.run(["shellcheck", NODE / name], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.stdout, "", name)
