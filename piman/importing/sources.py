# -*- test-case-name: tests.test_importing_sources -*-
"""
The downloaded file: what it is, how large it unpacks, and unpacking it.

Its first bytes decide, not its name.  xz, gzip and zip carry checksums, so damage and truncation show here; a file
that was unpacked already is checked by its partition table alone.
"""

import enum
import errno
import gzip
import lzma
import os
import shutil
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import attrs

from piman.importing.progress import Progress, Report
from piman.importing.refusal import DOWNLOAD_AGAIN, ImportRefused

CHUNK_BYTES = 1 << 18
"""Also the grain of holes: so many zero bytes in a row are not written."""

RESERVE_BYTES = 256 << 20
"""What an import leaves free for everybody else on that disk."""

_EXPECTED = "an image of a card (.img), as it is or packed with xz, gzip or zip"
_BOOT_SIGNATURE = b"\x55\xaa"
"""The last two bytes of the first sector of a disk with an MBR, and of one with a GPT (UEFI 2.10, 5.2.3)."""

_FOREIGN = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it with 7z"),
    (b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it with unzstd"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"QFI\xfb", "a QEMU disk (qcow2)", "convert it with qemu-img convert -O raw"),
    (b"<", "a web page", "the download went wrong: look into the file, then download the image itself"),
)


class Packing(enum.Enum):
    """How the image is packed."""

    NONE = "none"
    XZ = "xz"
    GZIP = "gzip"
    ZIP = "zip"


_MAGIC = ((b"\xfd7zXZ\0", Packing.XZ), (b"\x1f\x8b", Packing.GZIP), (b"PK\x03\x04", Packing.ZIP))


@attrs.frozen
class Download:
    """The file that the operator has."""

    path: Path
    packing: Packing
    identity: str
    """Device, inode, size and time of modification: whether two looks saw the same file."""
    size_bytes: int
    unpacked_bytes: int
    """As far as the file tells it; xz and large gzip files do not, then it is an estimate."""
    member: str = ""
    """The name of the image inside a zip file."""


def recognise(path: Path) -> Download:
    """
    Look at the first bytes.

    :raises ImportRefused: when this is no image of a card.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            head = file.read(512)
    except OSError as reason:
        raise _unfit(f"{path} cannot be read: {reason.strerror}", "give the path of the download") from reason
    identity = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
    if not head:
        raise _unfit(f"{path} is empty", DOWNLOAD_AGAIN)
    for magic, packing in _MAGIC:
        if head.startswith(magic):
            member, unpacked = _unpacked(path, packing, status.st_size)
            return Download(path, packing, identity, status.st_size, unpacked, member)
    check_first_sector(head, str(path))
    return Download(path, Packing.NONE, identity, status.st_size, status.st_size)


def check_first_sector(head: bytes, name: str) -> None:
    """
    Make sure that a disk can begin like this.

    :raises ImportRefused: saying what it is instead, as far as that can be told.
    """
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            raise _unfit(f"{name} is {what}", remedy)
    if head[510:512] != _BOOT_SIGNATURE:
        raise ImportRefused(
            f"{name} has no partition table: bytes 510 and 511 are {head[510:512].hex() or 'missing'}, not 55aa",
            expected=_EXPECTED,
            remedy="is it an image of a whole card, not of one partition?",
        )


def _unfit(found: str, remedy: str) -> ImportRefused:
    return ImportRefused(found, expected=_EXPECTED, remedy=remedy)


def damaged(path: Path, reason: object) -> ImportRefused:
    """The refusal of a download that is not what its maker packed."""
    return ImportRefused(f"{path} is damaged or incomplete: {reason}", expected="a whole file", remedy=DOWNLOAD_AGAIN)


_XZ_GROWTH = 5
"""Raspberry Pi OS Lite of 2024 grows from 440 MB to 2.6 GB, the desktop from 1.2 GB to 5.8 GB."""


def _unpacked(path: Path, packing: Packing, size: int) -> tuple[str, int]:
    if packing is Packing.ZIP:
        return _image_in_zip(path)
    if packing is Packing.XZ:
        return "", size * _XZ_GROWTH
    with path.open("rb") as file:
        file.seek(max(0, size - 4))
        return "", max(size, int.from_bytes(file.read(4), "little"))  # RFC 1952: the size modulo 2**32


def _image_in_zip(path: Path) -> tuple[str, int]:
    try:
        with zipfile.ZipFile(path) as archive:
            images = [info for info in archive.infolist() if info.filename.lower().endswith(".img")]
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as reason:
        raise damaged(path, reason) from reason
    if len(images) != 1:
        names = ", ".join(info.filename for info in images) or "none"
        raise ImportRefused(
            f"{path} holds {len(images)} .img files ({names})",
            expected="a zip file with exactly one",
            remedy="unpack it and import the image that you want",
        )
    if images[0].flag_bits & 1:
        raise ImportRefused(
            f"{path} is encrypted", expected="a zip file without a password", remedy="unpack it, then import the .img"
        )
    return images[0].filename, images[0].file_size


# Unpacking


def unpack(download: Download, target: Path, report: Report) -> None:
    """
    Write the image to a file, with holes where it is zero.

    :raises ImportRefused: the download is damaged, holds something else, or the disk is full.
    """
    try:
        with ExitStack() as opened, target.open("wb") as out:
            packed = opened.enter_context(download.path.open("rb"))
            _copy(_opened(download, packed, opened), out, packed, download, report)
            out.flush()
            os.fsync(out.fileno())
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError) as reason:
        raise damaged(download.path, reason) from reason
    except OSError as reason:
        if reason.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(target.parent, download.unpacked_bytes) from reason
        raise


def _opened(download: Download, packed: IO[bytes], opened: ExitStack) -> IO[bytes]:
    if download.packing is Packing.XZ:
        return opened.enter_context(lzma.open(packed, "rb"))
    if download.packing is Packing.GZIP:
        return opened.enter_context(gzip.open(packed, "rb"))  # type: ignore[arg-type]  # it reads like a file
    archive = opened.enter_context(zipfile.ZipFile(packed))
    return opened.enter_context(archive.open(download.member))


def _copy(image: IO[bytes], out: IO[bytes], packed: IO[bytes], download: Download, report: Report) -> None:
    size = 0
    while chunk := image.read(CHUNK_BYTES):
        if not size:
            check_first_sector(chunk[:512], f"the file in {download.path}")
        if chunk.count(0) == len(chunk):
            out.seek(len(chunk), os.SEEK_CUR)
        else:
            out.write(chunk)
        size += len(chunk)
        if size % (CHUNK_BYTES * 64) == 0:
            check_space(Path(out.name).parent, 0)
            report(Progress("unpack", min(packed.tell(), download.size_bytes), download.size_bytes))
    if not size:
        raise _unfit(f"{download.path} holds an empty file", DOWNLOAD_AGAIN)
    out.truncate(size)


# Space


def check_space(folder: Path, needed_bytes: int) -> None:
    """
    Make sure that so much can be written there, and :data:`RESERVE_BYTES` remain.

    :raises ImportRefused: when it cannot.
    """
    if shutil.disk_usage(folder).free < needed_bytes + RESERVE_BYTES:
        raise disk_full(folder, needed_bytes)


def disk_full(folder: Path, needed_bytes: int) -> ImportRefused:
    """The refusal to fill a disk."""
    free = shutil.disk_usage(folder).free
    return ImportRefused(
        f"{folder} has {_megabytes(free)} MB free",
        expected=f"{_megabytes(needed_bytes + RESERVE_BYTES)} MB",
        remedy="make room, or import into a folder on another disk",
        passing=True,
    )


def _megabytes(number: int) -> int:
    return -(-number // 1_000_000)
