"""
The downloaded file: recognised by its content, unpacked whole or not at all.
"""

import gzip
import lzma
import random
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.importing.progress import Progress
from piman.importing.refusal import ImportRefused
from piman.importing.sources import CHUNK_BYTES, Packing, check_space, recognise, unpack
from tests.importing_support import packed, silent

# The first sector of a disk ends with these two bytes (UEFI specification 2.10, table 5.1).
SIGNATURE = b"\x55\xaa"

# The first bytes of files that people mistake for images, as file(1)'s magic tells them.
FOREIGN = {
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "bzip2": b"BZh91AY&SY",
    "Zstandard": b"\x28\xb5\x2f\xfd\x04",
    "RAR": b"Rar!\x1a\x07\x00",
    "qcow2": b"QFI\xfb\x00\x00\x00\x03",
    "web page": b"<!DOCTYPE html><title>404</title>",
    "no partition table": b"\x7fELF",
}


class SourceCase(SynchronousTestCase):
    """A folder with a disk that is partly zero."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.image = self.folder / "disk.img"
        noise = random.Random(6).randbytes(300_000)
        self.content = bytes(510) + SIGNATURE + noise + bytes(5 * CHUNK_BYTES) + noise[:77_777]
        self.image.write_bytes(self.content)
        self.target = self.folder / "unpacked"

    def reason(self, path: Path) -> str:
        """Why a file is refused, when it is recognised or when it is unpacked."""
        with self.assertRaises(ImportRefused) as caught:
            unpack(recognise(path), self.target, silent)
        return str(caught.exception)


class RecogniseTests(SourceCase):
    """What a file is."""

    def test_by_content(self) -> None:
        """Its first bytes decide, not its name."""
        for packing, expected in (("xz", Packing.XZ), ("gz", Packing.GZIP), ("zip", Packing.ZIP)):
            path = packed(self.image, packing).rename(self.folder / "download")
            self.assertEqual(recognise(path).packing, expected)
        self.assertEqual(recognise(self.image).packing, Packing.NONE)

    def test_foreign_files(self) -> None:
        """What else people give is named, with what to do."""
        for name, head in FOREIGN.items():
            path = self.folder / "download"
            path.write_bytes(head.ljust(4096, b"\0"))
            self.assertIn(name, self.reason(path))

    def test_missing_and_empty(self) -> None:
        """A file that is not there, a folder, and an empty file are refused."""
        (self.folder / "empty").touch()
        for name, said in (("none", "No such file"), (".", "Is a directory"), ("empty", "is empty")):
            self.assertIn(said, self.reason(self.folder / name))

    def test_foreign_files_inside(self) -> None:
        """What is packed is looked at, too, before much of it is unpacked."""
        path = self.folder / "text.xz"
        path.write_bytes(lzma.compress(b"no disk at all" * 100_000))
        self.assertIn("no partition table", self.reason(path))
        self.assertEqual(self.target.stat().st_size, 0)

    def test_zip_without_one_image(self) -> None:
        """A zip file with no image, or two, is refused with their names."""
        path = self.folder / "download.zip"
        for names in ((), ("a.img", "b.IMG")):
            with zipfile.ZipFile(path, "w") as archive:
                for name in ("readme.txt", *names):
                    archive.writestr(name, "x")
            self.assertIn(f"holds {len(names)} .img files", self.reason(path))

    def test_unpacked_size(self) -> None:
        """zip and gzip tell how large the image is."""
        for packing in ("zip", "gz"):
            self.assertEqual(recognise(packed(self.image, packing)).unpacked_bytes, len(self.content))


class UnpackTests(SourceCase):
    """What comes out."""

    def test_content(self) -> None:
        """Every packing gives the image, with holes where it is zero."""
        for packing in ("xz", "gz", "zip"):
            unpack(recognise(packed(self.image, packing)), self.target, silent)
            self.assertEqual(self.target.read_bytes(), self.content)
            self.assertLess(self.target.stat().st_blocks * 512, len(self.content) - 3 * CHUNK_BYTES)

    def test_image_that_ends_with_zeros(self) -> None:
        """A hole at the end counts."""
        content = self.content + bytes(3 * CHUNK_BYTES)
        path = self.folder / "download"
        path.write_bytes(gzip.compress(content))
        unpack(recognise(path), self.target, silent)
        self.assertEqual(self.target.stat().st_size, len(content))

    def test_several_streams(self) -> None:
        """xz and gzip files made by several threads, of several streams, are unpacked to the end."""
        half = len(self.content) // 2
        for compress in (lzma.compress, gzip.compress):
            path = self.folder / "download"
            path.write_bytes(compress(self.content[:half]) + compress(self.content[half:]))
            unpack(recognise(path), self.target, silent)
            self.assertEqual(self.target.read_bytes(), self.content)

    def test_truncation(self) -> None:
        """A download that ends early is refused at every one of many places."""
        for packing in ("xz", "gz", "zip"):
            whole = packed(self.image, packing).read_bytes()
            path = self.folder / "short"
            for size in (*range(0, 64), *range(64, len(whole), len(whole) // 50), *range(len(whole) - 40, len(whole))):
                path.write_bytes(whole[:size])
                self.reason(path)

    def test_damage(self) -> None:
        """A download with one wrong byte is refused, or the byte did not matter: never does something else come out."""
        chance = random.Random(7)
        for packing in ("xz", "gz", "zip"):
            whole = packed(self.image, packing).read_bytes()
            path = self.folder / "damaged"
            refused = 0
            for _ in range(60):
                place = chance.randrange(len(whole))
                path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x40,)) + whole[place + 1 :])
                try:
                    unpack(recognise(path), self.target, silent)
                except ImportRefused:
                    refused += 1
                else:
                    self.assertEqual(self.target.read_bytes(), self.content, f"{packing} {place}")
            self.assertGreater(refused, 50, packing)

    def test_progress(self) -> None:
        """Progress counts bytes of the download."""
        path = self.folder / "download"
        path.write_bytes(gzip.compress(self.content + bytes(200 * CHUNK_BYTES)))
        told: list[Progress] = []
        unpack(recognise(path), self.target, told.append)
        self.assertGreater(len(told), 1)
        self.assertEqual({progress.total_bytes for progress in told}, {path.stat().st_size})


class SpaceTests(SourceCase):
    """The disk is not filled."""

    def test_too_little(self) -> None:
        """More than there is free is refused, in numbers, and may be tried again."""
        with self.assertRaises(ImportRefused) as caught:
            check_space(self.folder, 1 << 60)
        self.assertIn("MB free", str(caught.exception))
        self.assertTrue(caught.exception.passing)

    def test_enough(self) -> None:
        """What fits is not refused."""
        check_space(self.folder, 0)
