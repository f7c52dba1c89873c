"""
Tests for :mod:`piman.boot.soundness`: archives that GNU tar and gzip made, whole and not.
"""

import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.boot.soundness import head_trouble, trouble


class TroubleTests(SynchronousTestCase):
    """What is wrong with a file."""

    def setUp(self) -> None:
        """An archive with content that gzip cannot shrink to nothing."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "etc").mkdir(parents=True)
        content = "".join(f"{number * number}\n" for number in range(50_000))
        (self.folder / "etc/numbers").write_text(content)
        self.path = self.folder / "rootfs.tgz"
        subprocess.run(["tar", "-C", self.folder, "-czf", self.path, "etc"], check=True)

    def test_whole(self) -> None:
        """An archive as tar makes it has nothing wrong."""
        self.assertEqual(trouble(self.path), "")

    def test_cut_off(self) -> None:
        """One whose end is missing, be it a byte, has a good head and is refused all the same; so says gzip."""
        whole = self.path.read_bytes()
        for length in (len(whole) - 1, len(whole) - 8, len(whole) // 2):
            self.path.write_bytes(whole[:length])
            self.assertEqual(head_trouble(self.path), "")
            self.assertEqual(
                trouble(self.path), f"it is cut off: it ends after {length} bytes, in the middle of its content"
            )
            self.assertNotEqual(subprocess.run(["gzip", "-t", self.path], capture_output=True).returncode, 0)

    def test_damaged(self) -> None:
        """One with a byte changed in its second half is damaged, by the checksum if by nothing else."""
        whole = bytearray(self.path.read_bytes())
        whole[len(whole) * 3 // 4] ^= 0x10
        self.path.write_bytes(whole)
        self.assertEqual(head_trouble(self.path), "")
        self.assertIn("damaged", trouble(self.path))
        self.assertNotEqual(subprocess.run(["gzip", "-t", self.path], capture_output=True).returncode, 0)

    def test_something_else(self) -> None:
        """What is no archive is said by its head already."""
        self.path.write_bytes(b"PK\x03\x04 no gzip")
        self.assertIn("no gzipped tar archive", trouble(self.path))
        self.path.write_bytes(b"")
        self.assertEqual(trouble(self.path), "it is empty")
        self.path.unlink()
        self.assertEqual(trouble(self.path), "it is not there")
