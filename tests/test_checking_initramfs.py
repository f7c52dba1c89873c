"""
What is in an initramfs; the archives are made by GNU cpio and gzip.
"""

import gzip
import shutil
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.checking.findings import Level
from piman.checking.initramfs import Archive, BadArchive, judge_archive, judge_initramfs, read_archive

ARM64 = bytes.fromhex("7f454c460201010000000000000000000200b700")
ARMHF = bytes.fromhex("7f454c4601010100000000000000000002002800")
X86_64 = bytes.fromhex("7f454c4602010100000000000000000003003e00")
"""``head -c 20`` of /bin/busybox of Debian's busybox-static for arm64 and armhf, of busybox for amd64."""


class _WithFolder(SynchronousTestCase):
    """A folder to pack."""

    skip = None if shutil.which("cpio") else "not installed: cpio"

    def setUp(self) -> None:
        """A small tree as create_initramfs makes it."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "tree/bin").mkdir(parents=True)
        self.put("init", b"#!/bin/sh\n")
        self.put("hello_protocol.sh", b"#!/bin/sh\n" * 1000)
        self.put("bin/busybox", ARM64 + bytes(5000))

    def put(self, name: str, content: bytes, mode: int = 0o755) -> None:
        """A file of the tree."""
        path = self.folder / "tree" / name
        path.write_bytes(content)
        path.chmod(mode)

    def pack(self, *, compress: bool = True) -> Path:
        """The tree as an archive."""
        made = subprocess.run(
            "find . | cpio --quiet -o -H newc", shell=True, cwd=self.folder / "tree", capture_output=True, check=True
        ).stdout
        path = self.folder / "initramfs.gz"
        path.write_bytes(gzip.compress(made) if compress else made)
        return path


class ReadTests(_WithFolder):
    """An archive of GNU cpio."""

    def test_members(self) -> None:
        """Members, modes, architecture, size and digest are those that the tools say."""
        path = self.pack()
        archive = read_archive(path)
        digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        self.assertEqual((archive.digest, archive.size_bytes), (digest, path.stat().st_size))
        self.assertLessEqual({"init", "hello_protocol.sh", "bin", "bin/busybox"}, set(archive.modes))
        self.assertEqual(archive.modes["init"], 0o100755)
        self.assertEqual((archive.architecture, archive.compression), ("arm64", "gzip"))

    def test_plain(self) -> None:
        """The kernel takes an archive that is not compressed, too."""
        archive = read_archive(self.pack(compress=False))
        self.assertEqual((archive.compression, archive.architecture), ("none", "arm64"))

    def test_cut_off(self) -> None:
        """An archive that is cut off anywhere is damaged, compressed or not."""
        for compress in (True, False):
            whole = self.pack(compress=compress)
            octets = whole.read_bytes()
            ends = octets.rindex(b"TRAILER!!!") + 10 if not compress else len(octets)
            for length in range(20, ends, max(1, ends // 40)):
                whole.write_bytes(octets[:length])
                self.assertRaises(BadArchive, read_archive, whole)

    def test_damaged(self) -> None:
        """One wrong bit is found by gzip's checksum."""
        path = self.pack()
        octets = bytearray(path.read_bytes())
        octets[-5] ^= 1
        path.write_bytes(octets)
        self.assertRaises(BadArchive, read_archive, path)

    @given(st.binary(max_size=200))
    def test_random(self, octets: bytes) -> None:
        """Anything else is no archive, and nothing worse; also behind a header that looks right."""
        path = self.folder / "random"
        for content in (octets, b"070701" + octets, b"070701" + b"0" * 88 + b"00000004" + octets):
            path.write_bytes(content)
            try:
                self.assertNotEqual(read_archive(path).compression, "none")
            except BadArchive:
                pass


class JudgeTests(_WithFolder):
    """Will a node install itself with it?"""

    def level(self) -> Level:
        """Of the tree as it is."""
        return judge_initramfs(self.pack(), "initramfs.gz").level

    def test_ours(self) -> None:
        """Ours is fine, and its line tells size, digest and architecture."""
        found = judge_initramfs(self.pack(), "initramfs.gz")
        self.assertEqual(found.level, Level.OK)
        self.assertIn("arm64, with piman's installer", found.text)
        self.put("bin/busybox", ARMHF)
        self.assertEqual(self.level(), Level.OK)

    def test_no_init(self) -> None:
        """No /init, or one that is not executable, is a failure."""
        self.put("init", b"#!/bin/sh\n", 0o644)
        self.assertEqual(self.level(), Level.FAIL)
        (self.folder / "tree/init").unlink()
        self.assertEqual(self.level(), Level.FAIL)

    def test_foreign_programs(self) -> None:
        """An initramfs of the manager's own PC is a failure that says so."""
        self.put("bin/busybox", X86_64)
        found = judge_initramfs(self.pack(), "initramfs.gz")
        self.assertEqual((found.level, "x86-64" in found.text), (Level.FAIL, True))

    def test_somebody_elses(self) -> None:
        """One that piman did not make boots, but installs nothing: a warning."""
        (self.folder / "tree/hello_protocol.sh").unlink()
        self.assertEqual(self.level(), Level.WARN)

    def test_no_archive(self) -> None:
        """Anything else is a failure, and so is a file that is gone."""
        path = self.folder / "initramfs.gz"
        path.write_bytes(b"not found\n")
        self.assertEqual(judge_initramfs(path, "initramfs.gz").level, Level.FAIL)
        self.assertIn("No such file", judge_initramfs(self.folder / "gone", "gone").text)

    def test_other_compression(self) -> None:
        """What the kernel may unpack and we do not is a warning, not a failure."""
        found = judge_archive("initramfs8", Archive(modes={}, compression="zstd", size_bytes=10**7, digest="ab" * 32))
        self.assertEqual((found.level, "zstd" in found.text), (Level.WARN, True))
