"""
Partition tables as sfdisk tells them, and which partitions count.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.importing.disk import Partition, choose, parse_table
from piman.importing.programs import NEEDED, Programs
from piman.importing.refusal import ImportRefused

# sfdisk --json (util-linux 2.38.1) of a table made by sfdisk: an extended partition holds the third.
TABLE = b"""{
   "partitiontable": {
      "label": "dos",
      "id": "0xd5689f39",
      "device": "d.img",
      "unit": "sectors",
      "sectorsize": 512,
      "partitions": [
         {
            "node": "d.img1",
            "start": 8192,
            "size": 32768,
            "type": "c"
         },{
            "node": "d.img2",
            "start": 40960,
            "size": 204800,
            "type": "5"
         },{
            "node": "d.img5",
            "start": 43008,
            "size": 2048,
            "type": "83"
         }
      ]
   }
}
"""
BOOT = Partition(1, 4_194_304, 1_000_000, "vfat")
ROOT = Partition(2, 6_000_000, 9_000_000, "ext4")
SIZE = 15_000_000


class TableTests(SynchronousTestCase):
    """Reading the table."""

    def test_places(self) -> None:
        """Sectors become bytes; an extended partition is no place of its own."""
        self.assertEqual(parse_table(TABLE), [Partition(1, 4_194_304, 16_777_216), Partition(3, 22_020_096, 1_048_576)])

    def test_nothing(self) -> None:
        """What sfdisk cannot read is refused."""
        for text in (b"", b"{}", b'{"partitiontable": {"partitions": []}}', b"[1]", b'{"partitiontable": null}'):
            with self.assertRaises(ImportRefused):
                parse_table(text)


class ChooseTests(SynchronousTestCase):
    """The boot and the root partition."""

    def reason(self, *partitions: Partition) -> str:
        """Why there is no pair."""
        with self.assertRaises(ImportRefused) as caught:
            choose(list(partitions), SIZE)
        return str(caught.exception)

    def test_pair(self) -> None:
        """FAT boots, ext4 is the system, others do not matter."""
        layout = choose([BOOT, Partition(3, 5_500_000, 100, "swap"), ROOT], SIZE)
        self.assertEqual((layout.boot, layout.root), (BOOT, ROOT))

    def test_truncated(self) -> None:
        """A partition that ends one byte after the image is refused with both numbers."""
        with self.assertRaises(ImportRefused) as caught:
            choose([BOOT, ROOT], ROOT.end_bytes - 1)
        self.assertIn("ends at byte 14999999, but its partition 2 at 15000000", str(caught.exception))

    def test_no_pair(self) -> None:
        """What is missing is named, with what there is instead."""
        self.assertIn("no partition has FAT; there are 2: ext4", self.reason(ROOT))
        self.assertIn("no partition has ext4; there are 1: vfat", self.reason(BOOT))
        self.assertIn("before it was encrypted", self.reason(BOOT, Partition(2, 0, 9, "crypto_LUKS")))
        self.assertIn("2: btrfs", self.reason(BOOT, Partition(2, 0, 9, "btrfs")))

    def test_two_systems(self) -> None:
        """Nobody guesses which of two systems is meant."""
        self.assertIn("several", self.reason(BOOT, ROOT, Partition(3, 0, 9, "ext4")))


class ProgramsTests(SynchronousTestCase):
    """A machine without the programs."""

    def test_missing(self) -> None:
        """One line names the programs and the command that installs them."""
        with self.assertRaises(ImportRefused) as caught:
            Programs(self.mktemp()).check()
        text = str(caught.exception)
        self.assertEqual(text.count("\n"), 0)
        self.assertIn("apt-get install e2fsprogs fdisk mtools util-linux", text)
        for name in NEEDED:
            self.assertIn(name, text)

    def test_packages(self) -> None:
        """CI installs every package that a program comes from, but the one that no Debian lacks."""
        packages = (Path(__file__).parent.parent / ".ci/packages").read_text().split()
        self.assertEqual(set(NEEDED.values()) - set(packages), {"util-linux"})
