# -*- test-case-name: tests.test_checking_initramfs -*-
"""
Does the initramfs hold what a node needs to install itself?

Linux's Documentation/driver-api/early-userspace/buffer-format.rst: an archive in cpio's "newc" format, compressed or
not.  elf(5): the machine stands in octets 18 and 19.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import attrs

from piman.checking.findings import Finding, fail, fine, warn

SUBJECT = "initramfs"
REMEDY = "Build it again: install/initram/create_initramfs (docs/how-to/build-the-initramfs.md)."

HEADER_BYTES = 110
"""6 octets "070701" or "070702", then 13 numbers of 8 hexadecimal digits."""
MAGICS = (b"070701", b"070702")
TRAILER = "TRAILER!!!"
LONGEST_NAME_BYTES = 4096
MOST_MEMBERS = 100_000

GZIP = b"\x1f\x8b"
COMPRESSIONS = {b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4", b"BZh": "bzip2"}
"""What the kernel may unpack, too; we do not look into it."""

MACHINES = {183: "arm64", 40: "armhf", 62: "x86-64", 3: "x86", 243: "RISC-V"}
OF_A_PI = ("arm64", "armhf")

INIT = "init"
INSTALLER = "hello_protocol.sh"
EXECUTABLE = 0o111


class BadArchive(Exception):
    """It is no archive that a kernel can unpack; the text says why."""


@attrs.frozen(kw_only=True)
class Archive:
    """
    What an initramfs is made of.

    :ivar modes: the mode of every member, by its path.
    :ivar architecture: of the first program in it; empty: it has none.
    :ivar compression: ``gzip``, ``none``, or one that we did not look into.
    """

    modes: dict[str, int]
    architecture: str = ""
    compression: str = "gzip"
    size_bytes: int = 0
    digest: str = ""


def read_archive(path: Path) -> Archive:
    """
    Read an initramfs from end to end.

    :raises BadArchive: it is none.
    :raises OSError: it cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(0)
        archive = _look_into(file)
    return attrs.evolve(archive, size_bytes=size, digest=digest)


def _look_into(file: IO[bytes]) -> Archive:
    head = file.read(6)
    file.seek(0)
    for magic, name in COMPRESSIONS.items():
        if head.startswith(magic):
            return Archive(modes={}, compression=name)
    if not head.startswith(GZIP):
        return _contents(file, "none")
    with gzip.open(file) as unpacked:
        return _contents(cast(IO[bytes], unpacked), "gzip")


def _contents(file: IO[bytes], compression: str) -> Archive:
    modes, architecture = {}, ""
    try:
        for name, mode, start in members(file):
            modes[name] = mode
            architecture = architecture or _machine(start)
        _swallow(file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as reason:
        raise BadArchive(f"damaged or cut off ({reason})") from reason
    return Archive(modes=modes, architecture=architecture, compression=compression)


def _swallow(file: IO[bytes]) -> None:
    """To the end, so that a checksum there is compared."""
    while file.read(1 << 20):
        pass


def members(file: IO[bytes]) -> Iterator[tuple[str, int, bytes]]:
    """
    Path, mode and first octets of each member of a cpio archive.

    :raises BadArchive: it is none.
    """
    for _ in range(MOST_MEMBERS):
        header = file.read(HEADER_BYTES)
        if not header.startswith(MAGICS) or len(header) < HEADER_BYTES:
            raise BadArchive("not a cpio archive of the newc format")
        try:
            fields = [int(header[at : at + 8], 16) for at in range(6, HEADER_BYTES, 8)]
        except ValueError as reason:
            raise BadArchive("a header that is no header") from reason
        mode, size, name_size = fields[1], fields[6], fields[11]
        if not 0 < name_size <= LONGEST_NAME_BYTES:
            raise BadArchive(f"a name of {name_size} octets")
        name = _exactly(file, name_size)[:-1].decode("utf-8", "replace")
        _exactly(file, -(HEADER_BYTES + name_size) % 4)
        if name == TRAILER:
            return
        start = _exactly(file, min(size, 64))
        _skip(file, size - len(start) + -size % 4)
        yield name.removeprefix("./").lstrip("/"), mode, start
    raise BadArchive(f"more than {MOST_MEMBERS} members")


def _exactly(file: IO[bytes], count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise BadArchive("it is cut off")
    return found


def _skip(file: IO[bytes], count: int) -> None:
    while count:
        count -= len(_exactly(file, min(count, 1 << 20)))


def _machine(start: bytes) -> str:
    """The architecture of a program; empty for anything else."""
    if not start.startswith(b"\x7fELF") or len(start) < 20:
        return ""
    number = int.from_bytes(start[18:20], "big" if start[5] == 2 else "little")
    return MACHINES.get(number, f"machine {number}")


# Judging


def judge_archive(name: str, archive: Archive) -> Finding:
    """Our init, our installer, programs of a Pi."""
    size = f"{name}: {archive.size_bytes / 1e6:.1f} MB, sha256 {archive.digest[:12]}"
    if not archive.modes:
        return warn(SUBJECT, f"{size}; compressed with {archive.compression}, so nobody looked into it", "")
    if not archive.modes.get(INIT, 0) & EXECUTABLE:
        return fail(SUBJECT, f"{name} has no /init that can run: the kernel will not find its first program", REMEDY)
    if archive.architecture and archive.architecture not in OF_A_PI:
        return fail(SUBJECT, f"{name} holds programs for {archive.architecture}, which no Pi can run", REMEDY)
    if INSTALLER not in archive.modes:
        text = f"{size}; not made by piman: no {INSTALLER} in it, so nodes will not be installed"
        return warn(SUBJECT, text, REMEDY)
    return fine(SUBJECT, f"{size}, {archive.architecture or 'no programs'}, with piman's installer")


def judge_initramfs(path: Path, name: str) -> Finding:
    """Look into one, and judge it."""
    try:
        return judge_archive(name, read_archive(path))
    except BadArchive as reason:
        return fail(SUBJECT, f"{name} is no initramfs: {reason}", REMEDY)
    except OSError as reason:
        return fail(SUBJECT, f"{name} cannot be read: {reason.strerror}", "Give the manager's user the right to.")
