# -*- test-case-name: tests.test_importing_bootfiles -*-
"""
The boot files of an image: out of its FAT partition, sorted, and on request into ``boot_dir``.

Only what firmware loads becomes a boot tree.  The image's own ``cmdline.txt`` and ``config.txt`` start a system from
a card, not piman's installer: they are kept beside for reading, under another name, and never used.  What else lies
there (``ssh``, ``userconf.txt``, cloud-init's files) is read by the system when it starts; it may hold secrets, so it
goes into the root file system and never where TFTP can see it.
"""

import enum
import filecmp
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import attrs

from piman.importing.disk import Partition
from piman.importing.programs import Programs
from piman.importing.refusal import DOWNLOAD_AGAIN, ImportRefused
from piman.importing.workfolder import copy_durably, sync_folder

ORIGINAL = ".original"
"""What is appended to the names of the image's own configuration."""

_CONFIGURATION = ("cmdline.txt", "config.txt")
_LOADED = re.compile(
    r"overlays/.+|bootcode\.bin|(start|fixup)[^/]*\.(elf|dat)|armstub[^/]*\.bin|[^/]+\.dtb|kernel[^/]*\.img"
    r"|(LICEN[CS]E|COPYING)[^/]*",
    re.IGNORECASE,
)
"""What the firmware asks for, and the licences that must go with it."""

_OWN_INITRAMFS = re.compile(r"initramfs[^/]*|initrd[^/]*")
_LARGEST_CARRIED_BYTES = 1 << 20


class Use(enum.Enum):
    """What becomes of a file of the boot partition."""

    BOOT = "boot"
    """Firmware loads it."""
    ORIGINAL = "original"
    """Kept under another name."""
    CARRIED = "carried"
    """The system itself reads it."""
    LEFT = "left"
    """Of no use here."""


def use_of(name: str, size_bytes: int) -> Use:
    """What becomes of the file with this path in the boot partition."""
    if name.lower() in _CONFIGURATION:
        return Use.ORIGINAL
    if _LOADED.fullmatch(name):
        return Use.BOOT
    if _OWN_INITRAMFS.fullmatch(name) or size_bytes > _LARGEST_CARRIED_BYTES:
        return Use.LEFT
    return Use.CARRIED


def files_below(folder: Path) -> Iterator[str]:
    """The regular files in a folder and its folders, as relative paths, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix()


def read_partition(programs: Programs, image: Path, partition: Partition, target: Path) -> None:
    """
    Copy everything in a FAT partition into a new folder.

    :raises ImportRefused: when it cannot be read, or has no kernel.
    """
    target.mkdir()
    place = f"{image.name}@@{partition.start_bytes}"
    answer = programs.run("mcopy", "-i", place, "-s", "-m", "-n", "::", str(target.absolute()), folder=image.parent)
    complaint = answer.stderr.decode("utf-8", "replace").strip()
    if answer.returncode or complaint:
        raise ImportRefused(
            f"the FAT file system cannot be read: {(complaint or str(answer.returncode)).splitlines()[-1]}",
            expected="one without errors",
            remedy=DOWNLOAD_AGAIN,
        )
    if not any(re.fullmatch(r"kernel[^/]*\.img", name) for name in files_below(target)):
        raise ImportRefused(
            "the FAT partition holds no kernel*.img",
            expected="the boot files of a Raspberry Pi",
            remedy="use an image of Raspberry Pi OS for a card",
        )


@attrs.frozen
class Sorted:
    """What became of the files of a boot partition."""

    boot: tuple[str, ...]
    original: tuple[str, ...]
    carried: tuple[str, ...]
    left: tuple[str, ...]


def sort_files(source: Path, tree: Path, carried: Path) -> Sorted:
    """
    Make a boot tree of some files, and put those for the system into another folder.

    :param source: emptied of what was moved.
    """
    sorted_names: dict[Use, list[str]] = {use: [] for use in Use}
    for folder in (tree, carried):
        folder.mkdir()
    for name in list(files_below(source)):
        use = use_of(name, (source / name).stat().st_size)
        sorted_names[use].append(name)
        if use is not Use.LEFT:
            target = (carried if use is Use.CARRIED else tree) / (name + ORIGINAL if use is Use.ORIGINAL else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.chmod(source / name, 0o600 if use is Use.CARRIED else 0o644)
            os.replace(source / name, target)
    return Sorted(*(tuple(sorted_names[use]) for use in (Use.BOOT, Use.ORIGINAL, Use.CARRIED, Use.LEFT)))


# Into boot_dir


@attrs.frozen
class BootPlan:
    """What would happen if a boot tree went into ``boot_dir``."""

    tree: Path
    boot_dir: Path
    new: tuple[str, ...]
    same: tuple[str, ...]
    different: tuple[str, ...]
    """``boot_dir`` has another file of that name: the operator's."""


def plan_boot_files(tree: Path, boot_dir: Path) -> BootPlan:
    """
    Compare, change nothing.

    :raises OSError: when something cannot be read.
    :raises ImportRefused: when a name leads to something that is no file.
    """
    new: list[str] = []
    same: list[str] = []
    different: list[str] = []
    for name in files_below(tree):
        if PurePosixPath(name).name.endswith(ORIGINAL):
            continue
        there = boot_dir / name
        _check_way(boot_dir, name)
        if not there.exists():
            new.append(name)
        elif filecmp.cmp(tree / name, there, shallow=False):
            same.append(name)
        else:
            different.append(name)
    return BootPlan(tree, boot_dir, tuple(new), tuple(same), tuple(different))


def _check_way(boot_dir: Path, name: str) -> None:
    there = boot_dir / name
    for folder in there.parents:
        if folder == boot_dir:
            break
        if folder.exists() and not folder.is_dir():
            raise _in_the_way(folder, "a folder")
    if (there.exists() and not there.is_file()) or (there.is_symlink() and not there.exists()):
        raise _in_the_way(there, "a file")


def _in_the_way(path: Path, expected: str) -> ImportRefused:
    return ImportRefused(f"{path} is in the way", expected=expected, remedy="move it away")


@attrs.frozen
class Applied:
    """What was done to ``boot_dir``."""

    copied: tuple[str, ...]
    kept: tuple[str, ...]
    """The operator's files that differ and stayed."""
    replaced: tuple[str, ...]
    """The operator's files that differed; they are in the folder for replaced ones now."""


def apply_boot_plan(plan: BootPlan, *, aside: Path, replace: bool = False) -> Applied:
    """
    Copy the new files, and with ``replace`` those that differ.

    Each file appears whole, by a rename, so nodes that load meanwhile get one version or the other.  A second call
    after an interruption goes on: what was copied is the same by then (make a new plan).

    :param aside: where the operator's files go that are replaced.
    :raises OSError: when something cannot be written.
    """
    wanted = (*plan.new, *plan.different) if replace else plan.new
    for name in wanted:
        there = plan.boot_dir / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if there.exists():
            _keep_aside(there, aside / name)
        copy_durably(plan.tree / name, there)
    for folder in sorted({(plan.boot_dir / name).parent for name in wanted}):
        sync_folder(folder)
    different = plan.different
    return Applied(wanted, () if replace else different, different if replace else ())


def _keep_aside(there: Path, aside: Path) -> None:
    """Without overwriting one that was kept before."""
    aside.parent.mkdir(parents=True, exist_ok=True)
    number = 0
    free = aside
    while free.exists():
        if filecmp.cmp(there, free, shallow=False):
            return
        number += 1
        free = aside.with_name(f"{aside.name}.{number}")
    partial = free.with_name(f".{free.name}.partial")
    shutil.copy2(there, partial)
    os.replace(partial, free)
