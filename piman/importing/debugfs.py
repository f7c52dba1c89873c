# -*- test-case-name: tests.test_importing_ext4 -*-
"""
Asking ``debugfs`` of e2fsprogs, and understanding what it says.

It is given all its commands at once, in a file, and answers in the same order: before each answer stands the command
itself.  Every answer is checked against what was asked and against the sizes told before; whatever does not fit is
damage, never a shorter file.  The texts are those of e2fsprogs 1.47; its older versions say the same.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs

from piman.importing.disk import Partition
from piman.importing.programs import Programs
from piman.importing.refusal import DOWNLOAD_AGAIN, ImportRefused

_COMMANDS = "debugfs.commands"
_COMPLAINTS = "debugfs.complaints"
_BANNER = re.compile(rb"debugfs \d+\.\S+ \(.*\)\n")


def damaged(found: str) -> ImportRefused:
    """The refusal of a file system with an error."""
    return ImportRefused(
        f"the ext4 file system cannot be read: {found}", expected="one without errors", remedy=DOWNLOAD_AGAIN
    )


# The conversation with debugfs


class Answers:
    """What debugfs answers to a list of commands, one after the other."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output

    def expect(self, command: bytes) -> None:
        """
        Read the line that stands before the answer.

        :raises ImportRefused: when another one is there.
        """
        line = self._output.readline()
        if line != _echo(command):
            raise damaged(f"debugfs said {line[:80]!r} where its answer to {command.decode()} should begin")

    def read(self, count: int) -> bytes:
        """Up to so many bytes; fewer only at the end."""
        return self._output.read(count)

    def lines(self, following: bytes | None) -> Iterator[bytes]:
        """The lines of this answer up to the one before the next command's, or to the end (None)."""
        while line := self._output.readline():
            if following is not None and line == _echo(following):
                return
            yield line
        if following is not None:
            raise damaged(f"debugfs ended before {following.decode()}")


def _echo(command: bytes) -> bytes:
    return b"debugfs: " + command + b"\n"


@contextmanager
def asked(programs: Programs, folder: Path, partition: Partition, commands: Iterable[bytes]) -> Iterator[Answers]:
    """
    Have commands answered; at the end debugfs must have nothing to complain of.

    :param folder: where ``disk.img`` lies, and where notes may be left.
    """
    (folder / _COMMANDS).write_bytes(b"".join(command + b"\n" for command in commands))
    with (folder / _COMPLAINTS).open("w+b") as complaints:
        process = programs.start("debugfs", "-f", _COMMANDS, device(partition), folder=folder, complaints=complaints)
        try:
            assert process.stdout is not None
            with process.stdout as output:
                yield Answers(output)
                rest = output.read(80)
                process.wait()
        except ImportRefused as refusal:
            process.kill()
            process.wait()
            raise _with_complaint(refusal, complaints) from refusal
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        said = _complaint(complaints)
        if rest or said or process.returncode:
            raise damaged(said or f"debugfs ended with {process.returncode}, {rest!r} left unread")


def _with_complaint(refusal: ImportRefused, complaints: IO[bytes]) -> ImportRefused:
    said = _complaint(complaints)
    return damaged(said) if said else refusal


def _complaint(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = [line for line in complaints.read(4096).splitlines(keepends=True) if not _BANNER.fullmatch(line)]
    return lines[0].decode("utf-8", "replace").strip() if lines else ""


def device(partition: Partition) -> str:
    """The partition in the words of e2fsprogs (its "unix" I/O channel)."""
    return f"disk.img?offset={partition.start_bytes}"


# What it says


@attrs.frozen
class Superblock:
    """What the head of the file system says of it."""

    features: frozenset[str]
    size_bytes: int
    used_bytes: int


def parse_superblock(lines: Iterable[bytes]) -> Superblock:
    """
    The answer to ``show_super_stats -h``.

    :raises ImportRefused: when it lacks something.
    """
    told = dict(line.decode("utf-8", "replace").partition(":")[::2] for line in lines)
    try:
        block = int(told["Block size"])
        count, free = int(told["Block count"]), int(told["Free blocks"])
        return Superblock(frozenset(told["Filesystem features"].split()), block * count, block * (count - free))
    except (KeyError, ValueError) as reason:
        raise damaged("its superblock is incomplete") from reason


@attrs.frozen
class Name:
    """A name in a folder."""

    path: bytes
    """From the root."""
    inode: int
    mode: int


_LISTED = re.compile(rb"/(\d+)/([0-7]{6})/-?\d+/-?\d+/([^/]*)/\d*/\n")
"""A line of ``ls -p``.  A name has every byte but "/" and NUL, so even one with a line break cannot look like two."""


def parse_listing(parent: bytes, text: bytes) -> Iterator[Name]:
    """
    What ``ls -p`` says of a folder, without "." and "..".

    :raises ImportRefused: when a part of it cannot be understood.
    """
    position = 0
    text = text.removesuffix(b"\n") if text.endswith(b"\n\n") else text
    while position < len(text):
        match = _LISTED.match(text, position)
        if match is None:
            raise damaged(f"debugfs lists {text[position : position + 80]!r}")
        position = match.end()
        inode, mode, name = match.groups()
        if int(inode) and name not in (b".", b".."):  # inode 0: a name that was removed
            yield Name(parent + b"/" + name if parent else name, int(inode), int(mode, 8))


_HEADER = re.compile(rb"Inode: (\d+) +Type: .*?Mode: +(\d+) ")
_TIME = re.compile(rb" ?mtime: 0x([0-9a-f]{8})(?::([0-9a-f]{8}))?")
_OWNER = re.compile(rb"User: *(-?\d+) +Group: *(-?\d+) .*?Size: (\d+)")
_DEVICE = re.compile(rb".*Device major/minor number: (\d+):(\d+) ")
_ATTRIBUTE = re.compile(rb"  ([\x21-\x7e]+) \((\d+)\)( = .*)?\n?")
_LINK = b'Fast link dest: "'


@attrs.define
class Said:
    """What ``stat`` says of an inode."""

    inode: int
    permissions: int
    """Without the type: debugfs tells that in words."""
    uid: int
    gid: int
    size_bytes: int
    mtime_seconds: int | None = None
    device: tuple[int, int] | None = None
    target: bytes | None = None
    attributes: list[str] = attrs.field(factory=list)


def parse_stat(lines: Iterator[bytes]) -> Said:
    """
    The answer to ``stat``.

    :raises ImportRefused: when it cannot be understood.
    """
    said = _head(lines)
    in_attributes = False
    for line in lines:
        if line == b"Extended attributes:\n":
            in_attributes = True
        elif in_attributes and line.startswith(b"  "):
            said.attributes.append(_attribute_name(line))
        elif line.startswith(_LINK):
            said.target = _target(line, lines, said.size_bytes)
        else:
            in_attributes = False
            _read_line(said, line)
    if said.mtime_seconds is None:
        raise damaged(f"debugfs tells no time of change of inode {said.inode}")
    return said


def _head(lines: Iterator[bytes]) -> Said:
    first, _, third = (next(lines, b"") for _ in range(3))
    mode, owner = _HEADER.match(first), _OWNER.match(third)
    if mode is None or owner is None:
        raise damaged(f"debugfs says {first[:80]!r} of an inode")
    return Said(int(mode[1]), int(mode[2], 8), _unsigned(owner[1]), _unsigned(owner[2]), int(owner[3]))


def _unsigned(text: bytes) -> int:
    """debugfs prints owners as signed numbers."""
    return int(text) & 0xFFFFFFFF


def _attribute_name(line: bytes) -> str:
    match = _ATTRIBUTE.fullmatch(line)
    if match is None:
        raise damaged(f"an extended attribute has a name that cannot be read: {line[:80]!r}")
    return match[1].decode("ascii")


def _target(line: bytes, lines: Iterator[bytes], size_bytes: int) -> bytes:
    """It may hold line breaks and quotes: its length tells where it ends."""
    text = line[len(_LINK) :]
    while len(text) < size_bytes + 2 and (more := next(lines, b"")):
        text += more
    if text[size_bytes:] != b'"\n':
        raise damaged(f"a symbolic link is not {size_bytes} bytes long: {text[:80]!r}")
    return text[:size_bytes]


def _read_line(said: Said, line: bytes) -> None:
    if match := _TIME.match(line):
        said.mtime_seconds = _seconds(int(match[1], 16), int(match[2] or b"0", 16))
    elif match := _DEVICE.match(line):
        said.device = (int(match[1]), int(match[2]))


def _seconds(low: int, extra: int) -> int:
    """The kernel's ext4.h: 32 signed bits, and two more for the years after 2038."""
    signed = low - (1 << 32) if low & 0x80000000 else low
    return signed + ((extra & 3) << 32)


def parse_attribute(name: str, text: bytes) -> bytes:
    """
    The value in ``NAME (LENGTH) = HEX HEX ...``.

    :raises ImportRefused: when it has another length.
    """
    match = re.fullmatch(re.escape(name.encode("ascii")) + rb" \((\d+)\)(?: = ([0-9a-f ]*))?\n*", text)
    value = bytes.fromhex((match[2] or b"").decode("ascii")) if match else b""
    if match is None or len(value) != int(match[1]):
        raise damaged(f"the extended attribute {name} reads {text[:80]!r}")
    return value
