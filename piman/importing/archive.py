# -*- test-case-name: tests.test_importing_archive -*-
"""
The root file system as a gzipped tar, which nodes unpack with busybox and anybody else with GNU tar.

busybox reads GNU tar's extensions (long names, large numbers) and skips pax headers; GNU tar reads both.  So names and
numbers are GNU's, and only extended attributes stand in pax headers (``SCHILY.xattr.NAME``, as GNU tar writes them).
Two archives of the same file system are the same byte for byte.
"""

import gzip
import hashlib
import io
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import attrs

from piman.importing.ext4 import Content, Entry
from piman.importing.progress import Progress, Report
from piman.importing.refusal import ImportRefused

COMPRESSION_LEVEL = 6
_CHUNK_BYTES = 1 << 18
_XATTR = "SCHILY.xattr."
_BYTES = "surrogateescape"


@attrs.frozen
class Tally:
    """What is in an archive."""

    entries: int
    content_bytes: int
    fingerprint: str
    """SHA-256 over all headers and contents in order: whether two readings saw the same."""


class Tallying:
    """Counts members as they go by."""

    def __init__(self) -> None:
        self.content_bytes = 0
        self._entries = 0
        self._sha256 = hashlib.sha256()

    def member(self, info: tarfile.TarInfo, attributes: Iterable[tuple[str, bytes]]) -> None:
        """A header."""
        told = (info.name, info.type, info.mode, info.uid, info.gid, info.size, int(info.mtime), info.linkname)
        self._sha256.update(repr((*told, info.devmajor, info.devminor, sorted(attributes))).encode("ascii", "replace"))
        self._entries += 1

    def content(self, data: bytes) -> None:
        """A part of the content of the last member."""
        self._sha256.update(data)
        self.content_bytes += len(data)

    def result(self) -> Tally:
        """All of it."""
        return Tally(self._entries, self.content_bytes, self._sha256.hexdigest())


class HashedFile(io.RawIOBase):
    """Hashes what is written to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        self.sha256.update(data)
        self._file.write(data)
        return len(data)


# Writing


@attrs.frozen
class Member:
    """Something of our own in the archive, or in place of what is there."""

    mode: int
    content: bytes = b""
    target: bytes | None = None
    """Where it leads, if it is a symbolic link."""


class ArchiveWriter:
    """
    Writes one archive.

    :param file: where to; hashed on the way.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.skipped_sockets = 0
        self._tally = Tallying()
        self._hashed = HashedFile(file)
        self._gzip = gzip.GzipFile("", "wb", COMPRESSION_LEVEL, self._hashed, mtime=0)
        self._tar = tarfile.open(  # noqa: SIM115  # closed in close()
            fileobj=self._gzip, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors=_BYTES
        )

    @property
    def content_bytes(self) -> int:
        """How much content was written so far."""
        return self._tally.content_bytes

    def add(self, entry: Entry, content: Content | None, first: bytes | None) -> None:
        """
        Write an entry.

        :param content: what to read its bytes from, when it has some and is not a further name.
        :param first: the name under which the same file was written before.
        """
        if stat.S_ISSOCK(entry.mode):
            self.skipped_sockets += 1  # tar has no such type, and a socket without its program is of no use
            return
        info = _info(entry, first)
        attributes = () if first is not None else entry.attributes
        self._write(info, attributes, content if info.isreg() else None)

    def add_member(self, path: bytes, member: Member, mtime_seconds: int) -> None:
        """Write something of our own; it belongs to root."""
        info = tarfile.TarInfo(path.decode("utf-8", _BYTES))
        info.mode = stat.S_IMODE(member.mode)
        info.mtime = mtime_seconds
        if member.target is not None:
            info.type, info.linkname = tarfile.SYMTYPE, member.target.decode("utf-8", _BYTES)
        elif stat.S_ISDIR(member.mode):
            info.type = tarfile.DIRTYPE
        info.size = len(member.content)
        self._write(info, (), io.BytesIO(member.content))

    def replace(self, entry: Entry, content: bytes) -> None:
        """Write an entry with another content; all else stays."""
        info = _info(entry, None)
        if not entry.is_file:
            info.mode, info.linkname = 0o644, ""
        info.type, info.size = tarfile.REGTYPE, len(content)
        self._write(info, entry.attributes, io.BytesIO(content))

    def close(self) -> tuple[Tally, str]:
        """Write the end; what is in it, and the SHA-256 of the whole file."""
        self._tar.close()
        self._gzip.close()
        return self._tally.result(), self._hashed.sha256.hexdigest()

    def _write(self, info: tarfile.TarInfo, attributes: Iterable[tuple[str, bytes]], content: Any) -> None:
        attributes = tuple(attributes)
        if attributes:
            records = pax_records(attributes)
            header = tarfile.TarInfo("././@PaxHeader")
            header.type, header.size = tarfile.XHDTYPE, len(records)
            self._tar.addfile(header, io.BytesIO(records))
        self._tally.member(info, attributes)
        self._tar.addfile(info, _Counted(content, self._tally) if content is not None else None)


class _Counted:
    """Counts what tarfile reads from a file."""

    def __init__(self, content: Any, tally: Tallying) -> None:
        self._content = content
        self._tally = tally

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._content.read(size)
        self._tally.content(data)
        return data


_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def _info(entry: Entry, first: bytes | None) -> tarfile.TarInfo:
    info = tarfile.TarInfo((entry.path or b".").decode("utf-8", _BYTES))
    info.mode, info.uid, info.gid = stat.S_IMODE(entry.mode), entry.uid, entry.gid
    info.mtime = max(0, entry.mtime_seconds)  # busybox cannot read a time before 1970
    info.type = _TYPES[stat.S_IFMT(entry.mode)]
    if entry.device is not None:
        info.devmajor, info.devminor = entry.device
    if stat.S_ISLNK(entry.mode):
        info.linkname = (entry.target or b"").decode("utf-8", _BYTES)
    elif first is not None:
        info.type, info.linkname = tarfile.LNKTYPE, first.decode("utf-8", _BYTES)
    elif info.isreg():
        info.size = entry.size_bytes
    return info


def pax_records(attributes: Iterable[tuple[str, bytes]]) -> bytes:
    """
    Extended attributes as the records of a pax header (POSIX.1-2008, pax, "Extended Header").

    A record is ``LENGTH KEY=VALUE`` and a line feed; LENGTH counts itself.
    """
    return b"".join(_record((_XATTR + name).encode("utf-8"), value) for name, value in attributes)


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode("ascii") + rest


# Reading back


def read_back(path: Path, size_bytes: int, report: Report) -> tuple[Tally, str]:
    """
    Unpack the whole archive in memory: what is in it, and the SHA-256 of the file.

    :raises ImportRefused: when it cannot be read.
    """
    tally = Tallying()
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            with (
                gzip.open(file, "rb") as unpacked,
                tarfile.open(fileobj=unpacked, mode="r:", encoding="utf-8", errors=_BYTES) as tar,
            ):
                for info in tar:
                    tally.member(info, _attributes(info.pax_headers))
                    for data in _content(tar, info):
                        tally.content(data)
                    tar.members.clear()  # type: ignore[attr-defined]  # else it remembers every one
                    report(Progress("verify", min(file.tell(), size_bytes), size_bytes))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as reason:
        raise ImportRefused(
            f"the archive {path} cannot be read back: {reason}",
            expected="what was written",
            remedy="is the disk failing? see dmesg",
        ) from reason
    return tally.result(), digest


def _attributes(headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for key, value in headers.items():
        if key.startswith(_XATTR):
            yield key.removeprefix(_XATTR), value.encode("utf-8", _BYTES)


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    if info.isreg():
        file = tar.extractfile(info)
        while file is not None and (data := file.read(_CHUNK_BYTES)):
            yield data
