# -*- test-case-name: tests.test_importing_images -*-
"""
The root file system on its way into an archive: everything that is in it, changed where a node's card demands it.
"""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import attrs

from piman.importing.adaptation import (
    CAPABILITY,
    FSTAB,
    UNIT,
    UNIT_LINK,
    CapabilityUnit,
    Fstab,
    adapt_fstab,
    capability_unit,
)
from piman.importing.archive import ArchiveWriter, Member, Tally
from piman.importing.bootfiles import files_below
from piman.importing.disk import Partition
from piman.importing.ext4 import Content, Entry, contents
from piman.importing.programs import Programs
from piman.importing.progress import Progress, Report
from piman.importing.refusal import ImportRefused

_SETCAP = (b"usr/sbin/setcap", b"sbin/setcap")
_INIT = (b"sbin/init", b"usr/sbin/init", b"lib/systemd/systemd", b"usr/lib/systemd/systemd")
_REPORT_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 18


@attrs.frozen(kw_only=True)
class Changes:
    """How the archive differs from the file system."""

    replaced: Mapping[bytes, bytes] = attrs.field(factory=dict)
    """Path -> content."""
    added: Mapping[bytes, Member] = attrs.field(factory=dict)
    capabilities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_system(entries: Iterable[Entry]) -> None:
    """
    Make sure that a node can start it: the node itself would find out only after it was formatted.

    :raises ImportRefused: when there is no init.
    """
    if not {entry.path for entry in entries}.intersection(_INIT):
        raise ImportRefused(
            "the ext4 partition holds no /sbin/init",
            expected="the root file system of Raspberry Pi OS",
            remedy="use an image of Raspberry Pi OS for a card",
        )


def plan_changes(entries: list[Entry], fstab_text: bytes, carried: Path) -> Changes:
    """
    What differs on a node's card.

    :param fstab_text: the file system's ``/etc/fstab``.
    :param carried: the files of the boot partition that the system reads.
    """
    paths = {entry.path: entry for entry in entries}
    fstab = adapt_fstab(fstab_text.decode("utf-8", "surrogateescape"))
    capabilities = {entry.path: value for entry in entries for name, value in entry.attributes if name == CAPABILITY}
    setcap = next(("/" + path.decode("ascii") for path in _SETCAP if path in paths), None)
    unit = capability_unit(capabilities, setcap if _has_systemd(paths) else None)
    members = {
        FSTAB: Member(0o644, fstab.text.encode("utf-8", "surrogateescape")),
        **_carried_members(carried, fstab, paths),
        **_unit_members(unit, paths),
    }
    return Changes(
        replaced={path: member.content for path, member in members.items() if path in paths and not member.target},
        added={path: member for path, member in members.items() if path not in paths},
        capabilities=tuple(sorted("/" + path.decode("utf-8", "replace") for path in capabilities)),
        notes=tuple(_notes(fstab, unit, entries, carried)),
    )


def _has_systemd(paths: Mapping[bytes, Entry]) -> bool:
    return all(_is_folder(paths, path) for path in (b"etc/systemd", b"etc/systemd/system"))


def _is_folder(paths: Mapping[bytes, Entry], path: bytes) -> bool:
    return path in paths and stat.S_ISDIR(paths[path].mode)


def _carried_members(carried: Path, fstab: Fstab, paths: Mapping[bytes, Entry]) -> dict[bytes, Member]:
    """The files that the system looks for where its boot partition was."""
    folder = fstab.boot_folder.strip("/")
    members: dict[bytes, Member] = {}
    for name in files_below(carried):
        path = f"{folder}/{name}".encode("utf-8", "surrogateescape")
        members.update(_folders_above(path, paths))
        members[path] = Member(0o600, (carried / name).read_bytes())
    return members


def _unit_members(unit: CapabilityUnit, paths: Mapping[bytes, Entry]) -> dict[bytes, Member]:
    if not unit.text:
        return {}
    return {
        UNIT: Member(0o644, unit.text.encode("utf-8")),
        **_folders_above(UNIT_LINK, paths),
        UNIT_LINK: Member(0o777, target=b"../" + UNIT.rpartition(b"/")[2]),
    }


def _folders_above(path: bytes, paths: Mapping[bytes, Entry]) -> dict[bytes, Member]:
    parts = path.split(b"/")[:-1]
    above = [b"/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return {folder: Member(stat.S_IFDIR | 0o755) for folder in above if folder not in paths}


def _notes(fstab: Fstab, unit: CapabilityUnit, entries: list[Entry], carried: Path) -> Iterable[str]:
    yield (
        f"/etc/fstab: the root is found by its label; a node's card has no {fstab.boot_folder}, "
        "the manager serves what was there"
    )
    names = list(files_below(carried))
    if names:
        yield f"{', '.join(names)} of the boot partition went into {fstab.boot_folder} of the system"
    if unit.text:
        yield "nodes restore no extended attributes: piman-capabilities.service sets capabilities when they start"
    if unit.left_out:
        yield f"nodes do not get these capabilities back: {', '.join(unit.left_out)}"
    others = sorted({name for entry in entries for name, _ in entry.attributes if name != CAPABILITY})
    if others:
        yield f"in the archive, but not restored on nodes: extended attributes {', '.join(others)}"


def read_fstab(programs: Programs, folder: Path, root: Partition, entries: list[Entry]) -> bytes:
    """The file system's ``/etc/fstab``; empty when it has none."""
    found = [entry for entry in entries if entry.path == FSTAB and entry.is_file]
    with contents(programs, folder, root, found) as files:
        return b"".join(content.read() for _, content in files)


def write_system(
    file: IO[bytes],
    entries: list[Entry],
    changes: Changes,
    *,
    disk: tuple[Programs, Path, Partition],
    report: Report,
) -> tuple[Tally, str, int]:
    """
    Write the archive: what is in it, the SHA-256 of the file, and how many sockets were left out.

    :raises ImportRefused: when something cannot be read.
    """
    total = sum(entry.size_bytes for entry in _unique(entries))
    writer = ArchiveWriter(file)
    wanted = [entry for entry in _unique(entries) if entry.is_file]
    first: dict[int, bytes] = {}
    told = 0
    with contents(*disk, wanted) as files:
        for entry in entries:
            content = next(files)[1] if entry.is_file and entry.inode not in first else None
            _write_entry(writer, entry, content, first, changes)
            if writer.content_bytes - told >= _REPORT_BYTES:
                told = writer.content_bytes
                report(Progress("archive", min(told, total), total))
    newest = max(entry.mtime_seconds for entry in entries)
    for path, member in changes.added.items():
        writer.add_member(path, member, max(0, newest))
    return (*writer.close(), writer.skipped_sockets)


def _unique(entries: Iterable[Entry]) -> Iterable[Entry]:
    """One name of each file."""
    seen: set[int] = set()
    for entry in entries:
        if entry.inode not in seen:
            seen.add(entry.inode)
            yield entry


def _write_entry(
    writer: ArchiveWriter, entry: Entry, content: Content | None, first: dict[int, bytes], changes: Changes
) -> None:
    """busybox makes symbolic links last, so a hard link to one would find nothing: each becomes a link of its own."""
    can_be_linked_to = not (stat.S_ISLNK(entry.mode) or stat.S_ISDIR(entry.mode))
    if entry.path in changes.replaced:
        while content is not None and content.read(_CHUNK_BYTES):
            pass
        writer.replace(entry, changes.replaced[entry.path])
    else:
        writer.add(entry, content, first.get(entry.inode) if can_be_linked_to else None)
    if can_be_linked_to:
        first.setdefault(entry.inode, entry.path)
