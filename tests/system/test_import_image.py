"""
An imported image, unpacked as a node does it, and imports that are killed.

What goes in is made by root with the kernel's own calls (owners, devices, capabilities); what comes out is unpacked by
busybox's tar with the very words of ``install/initram/hello_protocol.sh``, and by GNU tar.
"""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.importing_support import Card, imported, missing, packed, run, small_system

ROOT = Path(__file__).resolve().parents[2]
ADAPTED = {"etc/fstab"}
ADDED = re.compile(r"boot/firmware/.+|etc/systemd/system/.*piman.*|etc/systemd/system/sysinit.target.wants")

Seen = tuple[int, int, int, int | None, object]


def unavailable() -> str | None:
    """Why these tests cannot run here."""
    if os.geteuid() != 0:
        return "owners and devices need root"
    absent = [name for name in ("setcap", "getcap", "setfattr", "getfattr") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else missing()


def full_system(root: Path) -> None:
    """What only root can make, besides the rest."""
    small_system(root)
    os.mknod(root / "var/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "var/disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str((root / "var/socket").relative_to(Path.cwd())))
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.lchown(path, 1000 + number, 3_000_000_000 - number)
    (root / "usr/bin/sudo").chmod(0o6755)
    (root / "var/log").chmod(0o2775)
    for link in root.rglob("*"):
        if link.is_symlink():
            os.link(link, link.with_name(link.name + "-twin"), follow_symlinks=False)
            break
    run("setcap", "cap_net_raw+ep", str(root / "usr/bin/ping"))
    run("setfattr", "-n", "user.note", "-v", "0x00ff0a", str(root / "sbin/init"))
    run("setfattr", "-n", "user.note", "-v", "a folder", str(root / "etc"))


def seen(root: Path) -> dict[str, Seen]:
    """Everything that the kernel tells of a tree, but attributes and the number of links."""
    told: dict[str, Seen] = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            continue
        what: object = path.read_bytes() if kind == stat.S_IFREG else None
        if kind == stat.S_IFLNK:
            what = os.readlink(path)
        elif kind in (stat.S_IFBLK, stat.S_IFCHR):
            what = status.st_rdev
        time = None if kind == stat.S_IFLNK else int(status.st_mtime)
        told[path.relative_to(root).as_posix()] = (status.st_mode, status.st_uid, status.st_gid, time, what)
    return told


def attributes(root: Path) -> dict[str, dict[str, bytes]]:
    """The extended attributes of each name that has some."""
    told = {
        path.relative_to(root).as_posix(): {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        for path in root.rglob("*")
    }
    return {name: found for name, found in told.items() if found}


class UnpackTests(SynchronousTestCase):
    """On the node's side."""

    skip = unavailable()

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.card = Card(self.folder)
        full_system(self.card.root)
        self.manifest = imported(packed(self.card.make(), "xz"), self.folder / "images")
        self.unpacked = self.folder / "unpacked"
        self.unpacked.mkdir()

    def compare(self, *, by_busybox: bool) -> None:
        """
        The unpacked tree tells what the original tells, but for what we adapt.

        :param by_busybox: it makes symbolic links last, as root's, and fills folders after it set their times.
        """
        given, found = seen(self.card.root), seen(self.unpacked)
        extra = {name for name in found if name not in given}
        self.assertEqual({name for name in extra if not ADDED.fullmatch(name)}, set())
        # Folders that got something of ours have the time of the unpacking; so has the root, which was there before.
        touched = {".", *(name.rpartition("/")[0] for name in extra)}
        for name in given:
            mode, owner, group, time, what = given[name]
            if stat.S_ISDIR(mode) and (by_busybox or name in touched):
                time = found[name][3]
            if stat.S_ISLNK(mode) and by_busybox:
                owner = group = 0
            if name not in ADAPTED:
                self.assertEqual(found[name], (mode, owner, group, time, what), name)
        self.assertGreater(len(given), 300)

    def test_as_a_node_does(self) -> None:
        """busybox restores types, modes, owners, times of files, devices, targets and content, but no attributes."""
        script = (ROOT / "install/initram/hello_protocol.sh").read_text()
        self.assertIn('tar -x -f - -C "$root"', script)
        with self.manifest.path.open("rb") as archive:
            run_shell = ["busybox", "sh", "-c", 'busybox gunzip | busybox tar -x -f - -C "$0"', str(self.unpacked)]
            done = subprocess.run(run_shell, stdin=archive, capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.compare(by_busybox=True)
        ping, ping4 = (os.stat(self.unpacked / "usr/bin" / name) for name in ("ping", "ping4"))
        self.assertEqual(ping.st_ino, ping4.st_ino)
        self.assertEqual(attributes(self.unpacked), {})

    def test_capabilities_on_a_node(self) -> None:
        """The command of the unit gives the files of a node the capabilities that they have in the image."""
        run("busybox", "tar", "-x", "-z", "-f", str(self.manifest.path), "-C", str(self.unpacked))
        unit = (self.unpacked / "etc/systemd/system/piman-capabilities.service").read_text()
        link = self.unpacked / "etc/systemd/system/sysinit.target.wants/piman-capabilities.service"
        self.assertEqual(link.read_text(), unit)
        commands = re.findall(r"^ExecStart=-/usr/sbin/setcap (\S+) (\S+)$", unit, re.MULTILINE)
        self.assertGreater(len(commands), 0)
        for words, path in commands:
            run("setcap", words, f"{self.unpacked}{path}")
        for name in ("ping", "ping4"):
            given = os.getxattr(self.card.root / "usr/bin" / name, "security.capability")
            self.assertEqual(os.getxattr(self.unpacked / "usr/bin" / name, "security.capability"), given)

    def test_with_gnu_tar(self) -> None:
        """GNU tar restores the extended attributes, too."""
        run(
            "tar",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-xpzf",
            str(self.manifest.path),
            "-C",
            str(self.unpacked),
        )
        self.compare(by_busybox=False)
        self.assertEqual(attributes(self.unpacked), attributes(self.card.root))
        self.assertEqual(len(attributes(self.card.root)), 4)


IMPORT = """
import os, sys
from pathlib import Path
from tests.importing_support import imported

seen = {}

def report(progress):
    seen[progress.step] = seen.get(progress.step, 0) + 1
    if f"{progress.step}:{seen[progress.step]}" == sys.argv[3]:
        os.kill(os.getpid(), 9)

print(imported(Path(sys.argv[1]), Path(sys.argv[2]), report=report).sha256)
"""


class KillTests(SynchronousTestCase):
    """kill -9, and again."""

    skip = unavailable()

    def test_killed_at_each_step(self) -> None:
        """A process that is killed at any step leaves nothing that looks finished, and the next one finishes it."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        source = packed(Card(folder).make(), "xz")
        whole = imported(source, folder / "whole").sha256
        images = folder / "images"
        for place in ("unpack:1", "unpack:2", "look:1", "boot:1", "archive:1", "verify:1", "verify:9"):
            self.assertEqual(self.run_import(source, images, place), -signal.SIGKILL, place)
            self.assertEqual([path.name for path in images.iterdir()], [".pios.importing"])
        self.assertEqual(self.run_import(source, images, "publish:1"), -signal.SIGKILL)
        self.assertEqual(self.run_import(source, images, "nowhere"), 0)
        self.assertEqual(run("sha256sum", str(images / "pios.tgz")).split()[0], whole)
        self.assertEqual(sorted(path.name for path in images.iterdir()), ["pios.boot", "pios.json", "pios.tgz"])

    def run_import(self, source: Path, images: Path, place: str) -> int:
        """Import in a process that kills itself there; its exit status."""
        command = [sys.executable, "-c", IMPORT, str(source), str(images), place]
        return subprocess.run(command, cwd=ROOT, capture_output=True).returncode
