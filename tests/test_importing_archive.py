"""
The archive, as other programs read it.
"""

import stat
import subprocess
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from piman.importing.archive import ArchiveWriter, Member, pax_records, read_back
from piman.importing.ext4 import Entry
from piman.importing.refusal import ImportRefused
from tests.importing_support import missing, run, silent

WHEN = 1_700_000_000


def entry(path: bytes, kind: int = stat.S_IFDIR, **more: object) -> Entry:
    """An entry that matters little."""
    values: dict[str, object] = {"inode": 12, "mode": kind | 0o755, "uid": 0, "gid": 0, "size_bytes": 0}
    return Entry(path=path, mtime_seconds=WHEN, **{**values, **more})  # type: ignore[arg-type]


class PaxTests(SynchronousTestCase):
    """Records of pax headers."""

    def test_length_counts_itself(self) -> None:
        """A record's length includes its own digits, also where they become one more."""
        # GNU tar 1.34 --xattrs wrote the first one; the others cross from two to three digits of length.
        self.assertEqual(pax_records([("user.note", b"kept")]), GNU_RECORD)
        for size in range(60, 90):
            record = pax_records([("user.n", b"x" * size)])
            self.assertEqual(int(record.split(b" ")[0]), len(record))

    def test_bytes(self) -> None:
        """A value may hold line breaks, NUL and anything else."""
        value = b"\n\0\xff="
        self.assertTrue(pax_records([("user.b", value)]).endswith(b"=" + value + b"\n"))


# tar --xattrs --format=posix -cf - FILE | strings, after setfattr -n user.note -v kept FILE (GNU tar 1.34)
GNU_RECORD = b"31 SCHILY.xattr.user.note=kept\n"


class ArchiveTests(SynchronousTestCase):
    """Whole archives."""

    skip = missing()

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def write(self, *entries: Entry) -> tuple[object, str]:
        """Write entries without content."""
        with self.path.open("wb") as file:
            writer = ArchiveWriter(file)
            for each in entries:
                writer.add(each, None, None)
            writer.add_member(b"of/ours", Member(0o600, b"content"), WHEN)
            return writer.close()

    def listing(self, *command: str) -> str:
        """What a program lists."""
        with self.path.open("rb") as file:
            return subprocess.run(command, stdin=file, capture_output=True, check=True).stdout.decode()

    def test_others_read_it(self) -> None:
        """GNU tar and busybox see the same long names, large owners and devices, with attributes before them."""
        long = b"/".join([b"folder" * 10] * 4)
        attributes = (("user.note", b"x" * 5000), ("security.capability", b"\x01\0\0\x02" + bytes(16)))
        self.write(
            entry(b""),
            entry(long, attributes=attributes),
            entry(b"owner", uid=3_000_000_000, gid=70_000),
            entry(b"link", stat.S_IFLNK, target=b"t" * 300),
            entry(b"device", stat.S_IFBLK, device=(259, 70_000)),
        )
        gnu = self.listing("tar", "-tzvf", "-", "--numeric-owner")
        small = self.listing("busybox", "tar", "-tzvf", "-")
        for text in (gnu, small):
            self.assertEqual(len(text.splitlines()), 6)
            for expected in (long.decode() + "/", "3000000000/70000", "link -> " + "t" * 300, "of/ours"):
                self.assertIn(expected, text)
        self.assertIn("259,70000", gnu)

    def test_read_back(self) -> None:
        """Read back, it is what was written, down to the digest."""
        written = self.write(entry(b""), entry(b"a", attributes=(("user.b", b"\xff\n\0"),)), entry(b"b" * 300))
        self.assertEqual(read_back(self.path, self.path.stat().st_size, silent), written)
        self.assertEqual(run("sha256sum", str(self.path)).split()[0], written[1])

    def test_damage(self) -> None:
        """With any byte changed, it cannot be read back or tells another digest."""
        written = self.write(entry(b""), entry(b"a"))
        whole = self.path.read_bytes()
        for place in range(0, len(whole), 3):
            self.path.write_bytes(whole[:place] + bytes((whole[place] ^ 1,)) + whole[place + 1 :])
            try:
                self.assertNotEqual(read_back(self.path, len(whole), silent), written)
            except ImportRefused:
                pass

    def test_truncation(self) -> None:
        """Cut anywhere, it cannot be read back or tells another digest."""
        written = self.write(entry(b""), entry(b"a"))
        whole = self.path.read_bytes()
        for size in range(0, len(whole), 5):
            self.path.write_bytes(whole[:size])
            try:
                self.assertNotEqual(read_back(self.path, len(whole), silent), written)
            except ImportRefused:
                pass

    def test_time_before_1970(self) -> None:
        """busybox cannot read such a time; it becomes 1970."""
        with self.path.open("wb") as file:
            writer = ArchiveWriter(file)
            writer.add(attrs.evolve(entry(b"old"), mtime_seconds=-5), None, None)
            writer.close()
        self.assertIn("1970-01-01 00:00:00", self.listing("busybox", "tar", "-tzvf", "-"))
