# -*- test-case-name: tests.test_importing_ext4 -*-
"""
Reading an ext4 file system: is it sound, what is in it, and the content of its files; no root, no mount.

``debugfs`` and ``e2fsck`` do it, which the authors of ext4 keep.
"""

import io
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from piman.importing.debugfs import (
    Answers,
    Name,
    Superblock,
    asked,
    damaged,
    device,
    parse_attribute,
    parse_listing,
    parse_stat,
    parse_superblock,
)
from piman.importing.disk import Partition
from piman.importing.programs import Programs
from piman.importing.refusal import ImportRefused

ROOT_INODE = 2
_NOT_COPIED = frozenset({b"lost+found", b".piman-installing", b".piman-installed"})
"""Every node's card has its own of these."""
_CHECK_CONFIG = "e2fsck.conf"
_CHECK_OPTIONS = "[options]\nbroken_system_clock = 1\nno_optimize_extents = 1\n"
"""A clock that is behind, as on a Pi without one, is no damage, nor is an extent tree that could be smaller."""
_SHUT_DOWN = "boot the card, shut it down and read it again"
_AS_DOWNLOADED = "use an image as it can be downloaded"
_UNREADABLE_FEATURES = {
    "needs_recovery": ("its system was not shut down before the image was made", _SHUT_DOWN),
    "encrypt": ("parts of it are encrypted", _AS_DOWNLOADED),
    "inline_data": ("small files lie in its inodes, which debugfs 1.47 reads with zeros behind", _AS_DOWNLOADED),
    "journal_dev": ("it is only a journal", _AS_DOWNLOADED),
}


@attrs.frozen(kw_only=True)
class Entry:
    """One name in the file system, with all that is known of what it names."""

    path: bytes
    """Relative to the root, which is the empty path."""
    inode: int
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_seconds: int = 0
    device: tuple[int, int] | None = None
    target: bytes | None = None
    """Where a symbolic link leads."""
    attributes: tuple[tuple[str, bytes], ...] = ()
    """Extended attributes by their full names, in the form that the kernel shows."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


# Is it fit to be read?


def check(programs: Programs, folder: Path, partition: Partition) -> Superblock:
    """
    Make sure that the whole file system is sound, by e2fsck's own judgement.

    :raises ImportRefused: when it is not, or has something that cannot be read.
    """
    command = b"show_super_stats -h"
    with asked(programs, folder, partition, [command]) as answers:
        answers.expect(command)
        superblock = parse_superblock(answers.lines(None))
    for feature, (meaning, remedy) in _UNREADABLE_FEATURES.items():
        if feature in superblock.features:
            raise ImportRefused(
                f"the ext4 file system cannot be imported: {meaning} ({feature})",
                expected="the file system of a Raspberry Pi OS that was shut down",
                remedy=remedy,
            )
    if superblock.size_bytes > partition.size_bytes:
        raise damaged(f"it has {superblock.size_bytes} bytes, its partition only {partition.size_bytes}")
    _run_check(programs, folder, partition)
    return superblock


def _run_check(programs: Programs, folder: Path, partition: Partition) -> None:
    (folder / _CHECK_CONFIG).write_text(_CHECK_OPTIONS)
    configuration = str((folder / _CHECK_CONFIG).absolute())
    answer = programs.run("e2fsck", "-f", "-n", device(partition), folder=folder, E2FSCK_CONFIG=configuration)
    if answer.returncode:
        said = [line for line in answer.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
        findings = [line for line in said if not line.startswith("Pass ")]
        told = (findings or answer.stderr.decode("utf-8", "replace").splitlines()[1:] or ["no reason given"])[0]
        raise damaged(f"e2fsck says: {told.strip()}")


# Folders, level by level


def _names(programs: Programs, folder: Path, partition: Partition) -> Iterator[Name]:
    """Every name but the root's."""
    level = [(b"", ROOT_INODE)]
    seen = {ROOT_INODE}
    while level:
        found: list[tuple[bytes, int]] = []
        commands = [b"ls -p <%d>" % inode for _, inode in level]
        with asked(programs, folder, partition, commands) as answers:
            answers.expect(commands[0])
            for (path, _), following in zip(level, [*commands[1:], None], strict=True):
                for name in parse_listing(path, b"".join(answers.lines(following))):
                    if name.path in _NOT_COPIED:
                        continue
                    if stat.S_ISDIR(name.mode):
                        if name.inode in seen:
                            raise damaged(f"folder {name.path!r} has two names")
                        seen.add(name.inode)
                        found.append((name.path, name.inode))
                    yield name
        level = found


# What each inode says


def read_tree(programs: Programs, folder: Path, partition: Partition) -> list[Entry]:
    """
    Everything in the file system but what each card has of its own, each folder just before what is in it.

    :raises ImportRefused: when something cannot be read.
    """
    names = [Name(b"", ROOT_INODE, stat.S_IFDIR), *_names(programs, folder, partition)]
    names.sort(key=lambda name: name.path.split(b"/"))
    first = {name.inode: name for name in reversed(names)}
    inodes = sorted(first)
    entries: dict[int, Entry] = {}
    commands = [b"stat <%d>" % inode for inode in inodes]
    with asked(programs, folder, partition, commands) as answers:
        answers.expect(commands[0])
        for inode, following in zip(inodes, [*commands[1:], None], strict=True):
            entries[inode] = _entry(first[inode], answers.lines(following))
    _add_attributes(programs, folder, partition, entries)
    _add_targets(programs, folder, partition, entries)
    return [attrs.evolve(entries[name.inode], path=name.path) for name in names]


def _entry(name: Name, lines: Iterator[bytes]) -> Entry:
    said = parse_stat(lines)
    if said.inode != name.inode:
        raise damaged(f"debugfs speaks of inode {said.inode}, not {name.inode}")
    if said.device is None and (stat.S_ISCHR(name.mode) or stat.S_ISBLK(name.mode)):
        raise damaged(f"debugfs tells no numbers of device {name.path!r}")
    has_size = stat.S_ISREG(name.mode) or stat.S_ISLNK(name.mode)
    return Entry(
        path=name.path,
        inode=name.inode,
        mode=stat.S_IFMT(name.mode) | said.permissions,
        uid=said.uid,
        gid=said.gid,
        size_bytes=said.size_bytes if has_size else 0,
        mtime_seconds=said.mtime_seconds or 0,
        device=said.device,
        target=said.target,
        attributes=tuple((attribute, b"") for attribute in said.attributes),
    )


def _add_attributes(programs: Programs, folder: Path, partition: Partition, entries: dict[int, Entry]) -> None:
    """``stat`` tells names and lengths; the values are asked for one by one, in hexadecimal digits."""
    wanted = [(inode, name) for inode, entry in entries.items() for name, _ in entry.attributes]
    if not wanted:
        return
    commands = [b"ea_get -x <%d> %s" % (inode, name.encode("ascii")) for inode, name in wanted]
    values: dict[int, list[tuple[str, bytes]]] = {}
    with asked(programs, folder, partition, commands) as answers:
        answers.expect(commands[0])
        for (inode, name), following in zip(wanted, [*commands[1:], None], strict=True):
            value = parse_attribute(name, b"".join(answers.lines(following)))
            values.setdefault(inode, []).append((name, value))
    for inode, found in values.items():
        entries[inode] = attrs.evolve(entries[inode], attributes=tuple(found))


def _add_targets(programs: Programs, folder: Path, partition: Partition, entries: dict[int, Entry]) -> None:
    """Long targets are the content of the link."""
    wanted = [entry for entry in entries.values() if stat.S_ISLNK(entry.mode) and entry.target is None]
    with contents(programs, folder, partition, wanted) as links:
        for entry, content in links:
            entries[entry.inode] = attrs.evolve(entry, target=content.read())


# Content


class Content(io.RawIOBase):
    """The bytes of one file, to be read once, in order."""

    def __init__(self, answers: Answers, entry: Entry) -> None:
        super().__init__()
        self._answers = answers
        self._entry = entry
        self._left = entry.size_bytes

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """
        The next bytes.

        :raises ImportRefused: when debugfs ended before the file did.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._answers.read(wanted)
        self._left -= len(data)
        if len(data) < wanted:
            name = self._entry.path.decode("utf-8", "replace")
            raise damaged(f"{name} ends {self._left} bytes early")
        return data


@contextmanager
def contents(
    programs: Programs, folder: Path, partition: Partition, entries: Iterable[Entry]
) -> Iterator[Iterator[tuple[Entry, Content]]]:
    """The content of each of these, in this order; each must be read to its end before the next is taken."""
    wanted = list(entries)
    if not wanted:
        yield iter(())
        return
    commands = [b"cat <%d>" % entry.inode for entry in wanted]
    with asked(programs, folder, partition, commands) as answers:

        def one_by_one() -> Iterator[tuple[Entry, Content]]:
            for entry, command in zip(wanted, commands, strict=True):
                answers.expect(command)
                yield entry, Content(answers, entry)

        yield one_by_one()
