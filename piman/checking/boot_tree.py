# -*- test-case-name: tests.test_checking_boot_tree -*-
"""
Is everything there that the boards present will ask for?

Which files a board needs: docs/how-to/boot-files.md, and Raspberry Pi's documentation of network boot.  Which boards
are present follows from what the manager has seen of them; while it has seen none, from whose firmware is there.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import attrs

from piman.checking.boot_config import LONGEST_CONFIG_BYTES, NamedFiles, named_files
from piman.checking.findings import Finding, fail, fine, warn

SUBJECT = "boot files"
WHERE = "docs/how-to/boot-files.md tells where to get them."


@attrs.frozen(kw_only=True)
class Family:
    """
    Boards that load the same files.

    :ivar firmware: all of these are needed.
    :ivar kernels: one of these is, unless config.txt names another.
    :ivar marks: one of these being there means that somebody wants to boot such boards.
    :ivar largest_bytes: a file of more than 65,535 blocks cannot be loaded, or is cut off without a word.
    """

    name: str
    firmware: tuple[str, ...]
    kernels: tuple[str, ...]
    device_trees: str
    automatic_initramfs: str
    filters: tuple[str, ...]
    marks: tuple[str, ...]
    largest_bytes: int
    exception: str = ""
    """When the limit does not hold."""


BLOCKS = 65_535
"""The firmware's block numbers have 16 bits and do not begin again."""

PI_3 = Family(
    name="Pi 3",
    firmware=("bootcode.bin", "start.elf", "fixup.dat"),
    kernels=("kernel8.img", "kernel8-32.img", "kernel7.img", "kernel.img"),
    device_trees="bcm27*-rpi-*.dtb",
    automatic_initramfs="initramfs8",
    filters=("pi2", "pi3", "pi3+", "pi02", "cm3", "cm3+"),
    marks=("bootcode.bin", "start.elf"),
    largest_bytes=BLOCKS * 512,
)
PI_4 = Family(
    name="Pi 4",
    firmware=("start4.elf", "fixup4.dat"),
    kernels=("kernel8.img", "kernel8-32.img", "kernel7l.img", "kernel7.img", "kernel.img"),
    device_trees="bcm2711-rpi-*.dtb",
    automatic_initramfs="initramfs8",
    filters=("pi4", "pi400", "cm4", "cm4s"),
    marks=("start4.elf",),
    largest_bytes=BLOCKS * 1024,
)
PI_5 = Family(
    name="Pi 5",
    firmware=(),
    kernels=("kernel_2712.img", "kernel8.img"),
    device_trees="bcm2712*-rpi-*.dtb",
    automatic_initramfs="initramfs_2712",
    filters=("pi5", "pi500", "cm5"),
    marks=("kernel_2712.img", "bcm2712-rpi-*.dtb"),
    largest_bytes=BLOCKS * 1468,
    exception=" (no limit from EEPROM 2025-09-23 on)",
)
FAMILIES = (PI_3, PI_4, PI_5)

MODELS: Mapping[str, tuple[Family, str]] = {
    "2B": (PI_3, "bcm27*-rpi-2-b.dtb"),
    "3B": (PI_3, "bcm2710-rpi-3-b.dtb"),
    "3B+": (PI_3, "bcm2710-rpi-3-b-plus.dtb"),
    "CM3": (PI_3, "bcm2710-rpi-cm3.dtb"),
    "CM3+": (PI_3, "bcm2710-rpi-cm3.dtb"),
    "Zero 2 W": (PI_3, "bcm2710-rpi-zero-2*.dtb"),
    "4B": (PI_4, "bcm2711-rpi-4-b.dtb"),
    "400": (PI_4, "bcm2711-rpi-400.dtb"),
    "CM4": (PI_4, "bcm2711-rpi-cm4*.dtb"),
    "CM4S": (PI_4, "bcm2711-rpi-cm4s.dtb"),
    "5": (PI_5, "bcm2712*-rpi-5-b.dtb"),
    "500": (PI_5, "bcm2712*-rpi-500.dtb"),
    "CM5": (PI_5, "bcm2712*-rpi-cm5*.dtb"),
    "CM5 Lite": (PI_5, "bcm2712*-rpi-cm5*.dtb"),
}
"""By the names of :mod:`piman.wire.pi`: the family, and the device tree that the firmware asks for."""


@attrs.frozen(kw_only=True)
class Tree:
    """
    What lies in ``boot_dir``.

    :ivar sizes: every file with its size, by path below it; -1: it cannot be read.
    :ivar read: the text of one of them.
    """

    path: Path
    sizes: Mapping[str, int]
    read: Callable[[str], str]

    def matching(self, pattern: str) -> list[str]:
        """The files of that name."""
        return [name for name in self.sizes if fnmatchcase(name, pattern)]

    @property
    def config(self) -> str:
        """The text of config.txt; empty without one."""
        return self.read("config.txt") if self.sizes.get("config.txt", -1) >= 0 else ""


@attrs.frozen(kw_only=True)
class Present:
    """A kind of board in the rack."""

    name: str
    family: Family
    device_tree: str
    count: int = 0
    """How many were seen; 0: nobody knows, its firmware is there."""


def boards_present(models: Iterable[str | None], tree: Tree) -> list[Present]:
    """The kinds of boards that must find their files; models that load nothing from us are none of them."""
    seen = [model for model in models if model is not None and model in MODELS]
    if seen:
        return [
            Present(name=model, family=MODELS[model][0], device_tree=MODELS[model][1], count=seen.count(model))
            for model in sorted(set(seen))
        ]
    return [
        Present(name=family.name, family=family, device_tree=family.device_trees)
        for family in FAMILIES
        if any(tree.matching(mark) for mark in family.marks)
    ]


# Judging


def judge_tree(tree: Tree, models: Iterable[str | None]) -> list[Finding]:
    """Each kind of board: what it will miss; then what is wrong with the files that are there."""
    present = boards_present(models, tree)
    if not present:
        text = f"{tree.path} has neither firmware nor kernels"
        return [fail(SUBJECT, text, f"Put boot files there: {WHERE}")]
    found = [_judge_board(tree, board) for board in present]
    return [*found, *_judge_sizes(tree, present)]


def files_named(tree: Tree, family: Family) -> NamedFiles:
    """What config.txt says to boards of this family."""
    return named_files(tree.config, family.filters, family.automatic_initramfs)


def _judge_board(tree: Tree, board: Present) -> Finding:
    missing = list(_missing(tree, board))
    who = f"{board.name}, {board.count} seen" if board.count else f"{board.name} (none seen yet)"
    if missing:
        return fail(SUBJECT, f"{who}: {tree.path} lacks {', '.join(missing)}", _where(missing))
    return fine(SUBJECT, f"{who}: complete")


def _where(missing: Collection[str]) -> str:
    if list(missing) == ["initramfs.gz"]:
        return "install/initram/create_initramfs makes it (docs/how-to/build-the-initramfs.md)."
    return f"Put them there: {WHERE}"


def _missing(tree: Tree, board: Present) -> Iterator[str]:
    named = files_named(tree, board.family)
    device_tree = named.device_tree or board.device_tree
    for name in (*board.family.firmware, "config.txt", named.under_prefix(named.cmdline)):
        if name not in tree.sizes:
            yield name
    kernels = (named.kernel,) if named.kernel else board.family.kernels
    if not any(named.under_prefix(name) in tree.sizes for name in kernels):
        yield " or ".join(map(named.under_prefix, kernels[:2]))
    if not tree.matching(named.under_prefix(device_tree)):
        yield named.under_prefix(device_tree).replace("bcm2712*", "bcm2712")  # D0 chips may have one of their own
    yield from (path for path in map(named.under_prefix, named.initramfs) if path not in tree.sizes)


def _loaded(tree: Tree, board: Present) -> set[str]:
    """The files that this board loads, as far as they are there."""
    named = files_named(tree, board.family)
    kernels = (named.kernel,) if named.kernel else board.family.kernels
    kernel = next((path for path in map(named.under_prefix, kernels) if path in tree.sizes), "")
    others = (*board.family.firmware, "config.txt", *map(named.under_prefix, (named.cmdline, *named.initramfs)))
    device_trees = tree.matching(named.under_prefix(named.device_tree or board.device_tree))
    return {name for name in (kernel, *others, *device_trees) if name in tree.sizes}


def _judge_sizes(tree: Tree, present: Iterable[Present]) -> Iterator[Finding]:
    limits: dict[str, Family] = {}
    for board in present:
        for name in sorted(_loaded(tree, board)):
            known = limits.get(name, board.family)
            limits[name] = min(known, board.family, key=lambda family: family.largest_bytes)
    for name, family in limits.items():
        yield from _judge_file(name, tree.sizes[name], family)


def _judge_file(name: str, size: int, family: Family) -> Iterator[Finding]:
    if size < 0:
        yield fail(SUBJECT, f"{name} cannot be read", "Give the manager's user the right to read it (chmod a+r).")
    elif size == 0:
        yield fail(SUBJECT, f"{name} is empty", "Put the real file there: an empty one is worse than none.")
    elif name == "config.txt" and size > LONGEST_CONFIG_BYTES:
        text = f"config.txt has {size} bytes; firmware of network boot has read {LONGEST_CONFIG_BYTES} and no more"
        yield warn(SUBJECT, text, "Delete comments in it.")
    elif size > family.largest_bytes:
        text = f"{name} has {size:,} bytes; a {family.name} loads at most {family.largest_bytes:,}{family.exception}"
        yield warn(SUBJECT, text, "Make it smaller: compress it, leave drivers out.")


# Looking


def tree_in(boot_dir: Path) -> Tree:
    """
    All files of the tree, with those that symbolic links lead to.

    :raises OSError: when there is no such folder, or it cannot be read.
    """
    sizes = {}
    os.scandir(boot_dir).close()
    for folder, _, names in os.walk(boot_dir, followlinks=False):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                sizes[str(path.relative_to(boot_dir))] = path.stat().st_size if os.access(path, os.R_OK) else -1
    return Tree(path=boot_dir, sizes=sizes, read=lambda name: _text(boot_dir / name))


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")
