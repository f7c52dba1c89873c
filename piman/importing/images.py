# -*- test-case-name: tests.test_importing_images -*-
"""
Importing an image: from the operator's download to an archive, a boot tree and a manifest.

The steps are unpack, look, boot, archive, verify, publish.  The first five work in a folder of their own beside the
result (``.NAME.importing``); an interrupted import leaves it there, and the next call goes on after the last finished
step.  Only the last step touches what the operator sees.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import attrs

from piman.importing import bootfiles, disk, ext4, sources, system
from piman.importing.archive import read_back
from piman.importing.disk import Partition
from piman.importing.manifest import Manifest, write_manifest
from piman.importing.programs import Programs
from piman.importing.progress import Progress, Report
from piman.importing.refusal import ImportRefused
from piman.importing.sources import Download, Packing
from piman.importing.workfolder import WorkFolder, remove, sync_folder, sync_tree, work_folder, write_durably

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""The same names as under ``images:`` in ``piman.yaml``."""

_DISK = "disk.img"
_ARCHIVE = "root.tgz"
_BOOT = "boot"
_CARRIED = "carried"


@attrs.frozen(kw_only=True)
class Order:
    """What the operator wants imported."""

    source: Path
    """FILE.img, FILE.img.xz, FILE.img.gz or a .zip with one .img."""
    name: str
    images_dir: Path
    """Gets NAME.tgz, NAME.json and the folder NAME.boot."""
    replace: bool = False
    """Whether an image of that name may be replaced."""

    @property
    def archive(self) -> Path:
        """The root file system."""
        return self.images_dir.absolute() / f"{self.name}.tgz"

    @property
    def boot_folder(self) -> Path:
        """The boot tree."""
        return self.images_dir.absolute() / f"{self.name}.boot"

    @property
    def manifest(self) -> Path:
        """What is known of both."""
        return self.images_dir.absolute() / f"{self.name}.json"


def import_image(order: Order, *, programs: Programs, now: datetime, report: Report) -> Manifest:
    """
    Import an image; blocks for minutes.

    A second call with the same order after an interruption (an exception from ``report``, a crash, a full disk) goes
    on where the first one ended.

    :param now: the time of the import.
    :param report: is told of progress.
    :raises ImportRefused: nothing of the operator's was changed.
    :raises OSError: when a file cannot be written.
    """
    _check_name(order.name)
    programs.check()
    download = sources.recognise(order.source)
    order.images_dir.mkdir(parents=True, exist_ok=True)
    path = order.images_dir.absolute() / f".{order.name}.importing"
    with work_folder(path, f"{order.source.absolute()} {download.identity}") as folder:
        try:
            manifest = _Import(order, download, folder, programs, report).run(now)
        except ImportRefused as refusal:
            if not refusal.passing:
                remove(path)
            raise
        remove(path)
    return manifest


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ImportRefused(
            f"{name!r} cannot be the name of an image",
            expected="up to 63 letters, digits, dots, dashes and underscores",
            remedy="choose another name",
        )


class _Import:
    """One import, step by step."""

    def __init__(
        self, order: Order, download: Download, folder: WorkFolder, programs: Programs, report: Report
    ) -> None:
        self._order = order
        self._download = download
        self._folder = folder
        self._programs = programs
        self._report = report

    def run(self, now: datetime) -> Manifest:
        """All steps."""
        self._check_target()
        self._unpack()
        boot, root = self._look()
        self._boot_files(boot)
        written = self._archive(root)
        self._verify(written)
        return self._publish(written, now)

    def _check_target(self) -> None:
        """An import that was interrupted in its last step meets its own results."""
        order = self._order
        there = [path for path in (order.archive, order.boot_folder, order.manifest) if path.exists()]
        if there and not order.replace and self._folder.done("publish") is None:
            raise ImportRefused(
                f"there is {there[0]} already", expected="a new name", remedy="choose another name, or say replace"
            )

    def _step(self, name: str) -> Mapping[str, Any] | None:
        """What is noted of a step; tells that it begins, or that there is nothing to do."""
        noted = self._folder.done(name)
        self._report(Progress(name, reused=noted is not None))
        return noted

    @property
    def _disk(self) -> Path:
        return self._folder.path / _DISK

    def _unpack(self) -> None:
        if self._step("unpack") is not None:
            return
        if self._download.packing is Packing.NONE:
            self._folder.fresh(_DISK).symlink_to(self._download.path.absolute())
        else:
            sources.check_space(self._folder.path, self._download.unpacked_bytes)
            unfinished = self._folder.fresh(f"{_DISK}.partial")
            try:
                sources.unpack(self._download, unfinished, self._report)
            except ImportRefused:
                remove(unfinished)
                raise
            os.replace(unfinished, self._disk)
            sync_folder(self._folder.path)
        self._check_source()
        self._folder.note("unpack", {"size_bytes": self._disk.stat().st_size})

    def _check_source(self) -> None:
        if sources.recognise(self._download.path).identity != self._download.identity:
            raise ImportRefused(
                f"{self._download.path} was changed during the import",
                expected="a download that is complete",
                remedy="wait until it is complete, then import again",
            )

    def _look(self) -> tuple[Partition, Partition]:
        noted = self._step("look")
        if noted is None:
            layout = disk.look(self._programs, self._disk)
            superblock = ext4.check(self._programs, self._folder.path, layout.root)
            noted = {
                "boot": attrs.asdict(layout.boot),
                "root": attrs.asdict(layout.root),
                "used_bytes": superblock.used_bytes,
            }
            self._folder.note("look", noted)
        return Partition(**noted["boot"]), Partition(**noted["root"])

    def _boot_files(self, boot: Partition) -> None:
        if self._step("boot") is not None:
            return
        read = self._folder.fresh("read")
        bootfiles.read_partition(self._programs, self._disk, boot, read)
        became = bootfiles.sort_files(read, self._folder.fresh(_BOOT), self._folder.fresh(_CARRIED))
        remove(read)
        sync_tree(self._folder.path / _BOOT)
        sync_tree(self._folder.path / _CARRIED)
        sync_folder(self._folder.path)
        self._folder.note("boot", attrs.asdict(became))

    def _archive(self, root: Partition) -> Mapping[str, Any]:
        noted = self._step("archive")
        if noted is not None:
            return noted
        looked = self._folder.done("look") or {}
        sources.check_space(self._folder.path, int(looked["used_bytes"]))
        place = (self._programs, self._folder.path, root)
        entries = ext4.read_tree(*place)
        system.check_system(entries)
        fstab = system.read_fstab(*place, entries)
        changes = system.plan_changes(entries, fstab, self._folder.path / _CARRIED)
        result: dict[str, Any] = {"capabilities": changes.capabilities, "notes": [*changes.notes, *self._boot_notes()]}
        write_durably(self._folder.path / _ARCHIVE, partial(self._write, result, entries, changes, place))
        self._check_source()
        result["size_bytes"] = (self._folder.path / _ARCHIVE).stat().st_size
        self._folder.note("archive", result)
        return result

    def _write(
        self,
        result: dict[str, Any],
        entries: list[ext4.Entry],
        changes: system.Changes,
        place: tuple[Programs, Path, Partition],
        file: IO[bytes],
    ) -> None:
        tally, digest, sockets = system.write_system(file, entries, changes, disk=place, report=self._report)
        result.update(attrs.asdict(tally), sha256=digest)
        if sockets:
            result["notes"].append(f"{sockets} sockets were left out")

    def _boot_notes(self) -> list[str]:
        became = self._folder.done("boot") or {}
        notes = []
        if became.get("original"):
            names = ", ".join(f"{name}{bootfiles.ORIGINAL}" for name in became["original"])
            notes.append(f"the image's own boot configuration is kept for reading and not used: {names}")
        if became.get("left"):
            notes.append(f"left out of the boot files: {', '.join(became['left'])}")
        return notes

    def _verify(self, written: Mapping[str, Any]) -> None:
        if self._step("verify") is not None:
            return
        tally, digest = read_back(self._folder.path / _ARCHIVE, written["size_bytes"], self._report)
        expected = {key: written[key] for key in ("entries", "content_bytes", "fingerprint", "sha256")}
        if {**attrs.asdict(tally), "sha256": digest} != expected:
            self._folder.forget("archive")
            remove(self._folder.path / _ARCHIVE)
            raise ImportRefused(
                "the archive does not read back as it was written",
                expected=f"{written['entries']} entries with {written['content_bytes']} bytes",
                remedy="is the disk or the memory failing? import again",
            )
        self._folder.note("verify", {})

    def _publish(self, written: Mapping[str, Any], now: datetime) -> Manifest:
        self._report(Progress("publish"))
        order = self._order
        self._folder.note("publish", {})
        if (self._folder.path / _ARCHIVE).exists():  # else an interrupted call had come further
            self._publish_boot_files()
            os.replace(self._folder.path / _ARCHIVE, order.archive)
            sync_folder(order.archive.parent)
        manifest = Manifest(
            name=order.name,
            path=order.archive,
            size_bytes=written["size_bytes"],
            sha256=written["sha256"],
            source=str(order.source),
            source_bytes=self._download.size_bytes,
            imported_at=now.astimezone(UTC).isoformat(timespec="seconds"),
            boot_folder=order.boot_folder,
            entries=written["entries"],
            content_bytes=written["content_bytes"],
            capabilities=tuple(written["capabilities"]),
            notes=tuple(written["notes"]),
        )
        write_manifest(manifest)
        return manifest

    def _publish_boot_files(self) -> None:
        """The former tree, when there is one, gives way only when the new one can take its name at once."""
        tree = self._folder.path / _BOOT
        if not tree.exists():
            return
        former = self._folder.fresh("former")
        if self._order.boot_folder.exists():
            os.replace(self._order.boot_folder, former)
        os.replace(tree, self._order.boot_folder)
        sync_folder(self._order.boot_folder.parent)
