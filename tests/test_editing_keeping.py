"""
Tests for :mod:`piman.editing.keeping`: the old file or the new one, never anything else.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from piman.editing.keeping import MOST_BACKUPS, NEW_MODE, ChangedMeanwhile, KeptFile, NotKept, backups_of

NOW = 1_750_000_000.0
BECOME_NOBODY = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
WRITE = """
import sys
from pathlib import Path
from piman.editing.keeping import KeptFile, NotKept
# prepared here
path, content = Path(sys.argv[1]), b"new" * int(sys.argv[2])
try:
    KeptFile(path).replace(content, before=path.read_bytes(), now=0.0)
except NotKept as reason:
    print(reason.errno, "|", reason.strerror, "|", reason.hint)
"""


class _Case(SynchronousTestCase):
    """A file in a folder."""

    def setUp(self) -> None:
        """Write it."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "piman.yaml"
        self.path.write_bytes(b"old")
        self.file = KeptFile(self.path)

    def names(self) -> list[str]:
        """What is in the folder."""
        return sorted(each.name for each in self.folder.iterdir())

    def elsewhere(self, size: int, before: str = "") -> str:
        """Replace the file in another process, which ``before`` has prepared."""
        script = WRITE.replace("# prepared here", before)
        command = [sys.executable, "-c", script, str(self.path), str(size)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.stderr, "")
        return done.stdout


class ReplaceTests(_Case):
    """Good days."""

    def test_replaced(self) -> None:
        """The file has the new content, the backup beside it the old; nothing else is left."""
        backup = self.file.replace(b"new", before=b"old", now=NOW)
        self.assertEqual(self.path.read_bytes(), b"new")
        assert backup is not None
        self.assertEqual(backup.read_bytes(), b"old")
        self.assertRegex(backup.name, r"^piman\.yaml\.2025-06-1\d_\d\d-\d\d-\d\d$")
        self.assertEqual(self.names(), sorted(["piman.yaml", backup.name]))

    def test_new(self) -> None:
        """A file that was not there is made, not for everybody to read, and has no backup."""
        file = KeptFile(self.folder / "a new: one")
        self.assertIsNone(file.read())
        self.assertIsNone(file.replace(b"x", before=None, now=NOW))
        self.assertEqual((file.path.read_bytes(), file.path.stat().st_mode & 0o777), (b"x", NEW_MODE))

    def test_mode(self) -> None:
        """Mode and attributes are those of the old file."""
        self.path.chmod(0o604)
        try:
            os.setxattr(self.path, "user.note", b"kept")
        except OSError:
            raise SkipTest("the file system has no attributes") from None
        self.file.replace(b"new", before=b"old", now=NOW)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o604)
        self.assertEqual(os.getxattr(self.path, "user.note"), b"kept")

    def test_owner(self) -> None:
        """The owner is that of the old file."""
        if os.getuid() != 0:
            raise SkipTest("only root gives files away")
        os.chown(self.path, 12345, 23456)
        self.file.replace(b"new", before=b"old", now=NOW)
        self.assertEqual((self.path.stat().st_uid, self.path.stat().st_gid), (12345, 23456))

    def test_link(self) -> None:
        """A symbolic link stays one; what it leads to is replaced, and its backup lies there."""
        other = self.folder / "other"
        other.mkdir()
        link = self.folder / "link.yaml"
        (other / "real.yaml").write_bytes(b"old")
        link.symlink_to("other/real.yaml")
        KeptFile(link).replace(b"new", before=b"old", now=NOW)
        self.assertTrue(link.is_symlink())
        self.assertEqual((other / "real.yaml").read_bytes(), b"new")
        self.assertEqual(len(backups_of(link)), 1)
        self.assertEqual(backups_of(link)[0].parent, other)

    def test_link_to_nothing(self) -> None:
        """A link to a file that is not there yet gets it."""
        link = self.folder / "link.yaml"
        link.symlink_to("later.yaml")
        KeptFile(link).replace(b"new", before=None, now=NOW)
        self.assertEqual((self.folder / "later.yaml").read_bytes(), b"new")

    def test_changed(self) -> None:
        """A file that says something else than it did is left alone."""
        self.assertRaises(ChangedMeanwhile, self.file.replace, b"new", before=b"older", now=NOW)
        self.assertEqual((self.path.read_bytes(), self.names()), (b"old", ["piman.yaml"]))

    def test_backups_are_bounded(self) -> None:
        """The newest backups stay, two of one second too; files of similar names are nobody's backup."""
        (self.folder / "piman.yaml.mine").write_bytes(b"")
        content = b"old"
        for number in range(MOST_BACKUPS + 5):
            self.file.replace(b"%d" % number, before=content, now=NOW + number // 2)
            content = b"%d" % number
        kept = backups_of(self.path)
        self.assertEqual([each.read_bytes() for each in kept], [b"%d" % number for number in range(4, 14)])
        self.assertIn("piman.yaml.mine", self.names())


class BadDayTests(_Case):
    """Nothing is lost, and it is told."""

    def unchanged(self) -> None:
        """The file is as it was, and nothing lies about."""
        self.assertEqual((self.path.read_bytes(), self.names()), (b"old", ["piman.yaml"]))

    def test_too_large(self) -> None:
        """A file that may not grow so much (RLIMIT_FSIZE) stays the old one."""
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
        self.assertIn("File too large", self.elsewhere(4096, limit))
        self.unchanged()

    def test_full_disk(self) -> None:
        """On a full disk the file stays the old one, and the hint says to free space."""
        self.mount("tmpfs", "size=64k")
        told = self.elsewhere(100_000)
        self.assertIn("No space left", told)
        self.assertIn("Free space", told)
        self.unchanged()

    def test_read_only(self) -> None:
        """On a file system that is mounted for reading the file stays, and the hint says so."""
        self.mount("tmpfs", "size=64k")
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True, capture_output=True)
        told = self.elsewhere(1)
        self.assertIn("Read-only file system", told)
        self.assertIn("mount it for writing", told)
        self.unchanged()

    def test_folder_of_others(self) -> None:
        """In a folder where piman may not write the file stays, and the hint names the folder's rights."""
        self.let_everybody_in(0o755)
        told = self.elsewhere(1, BECOME_NOBODY)
        self.assertIn("Permission denied", told)
        self.assertIn("write in its folder", told)
        self.unchanged()

    def test_owner_cannot_be_kept(self) -> None:
        """A file that would get another owner is not replaced."""
        self.let_everybody_in(0o777)
        self.assertIn("not permitted", self.elsewhere(1, BECOME_NOBODY))
        self.unchanged()

    def let_everybody_in(self, mode: int) -> None:
        """A folder in a place that others may enter."""
        if os.getuid() != 0:
            raise SkipTest("only root becomes somebody else")
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(mode)
        self.path = self.folder / "piman.yaml"
        self.path.write_bytes(b"old")

    def test_folder_in_the_way(self) -> None:
        """A folder in the place of the file is not replaced."""
        self.path.unlink()
        self.path.mkdir()
        self.assertRaises(OSError, self.file.read)
        self.assertRaises(NotKept, self.file.replace, b"new", before=None, now=NOW)

    def mount(self, kind: str, options: str) -> None:
        """A file system of its own over the folder, with the old file in it."""
        if os.getuid() != 0:
            raise SkipTest("only root mounts")
        command = ["mount", "-t", kind, "-o", options, "piman-test", str(self.folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise SkipTest("nothing can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.folder)], check=False)
        self.path.write_bytes(b"old")
