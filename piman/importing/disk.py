# -*- test-case-name: tests.test_importing_disk -*-
"""
The partitions of an image: which one the firmware reads, which one holds the system.

``sfdisk`` reads the table (MBR or GPT), ``blkid`` says what is in each partition.
"""

import json
from pathlib import Path
from typing import Any

import attrs

from piman.importing.programs import Programs
from piman.importing.refusal import DOWNLOAD_AGAIN, ImportRefused

_EXPECTED = "a FAT partition with boot files and one ext4 partition with the system"
_NAMES = {"crypto_LUKS": "encrypted (LUKS)", "": "unknown"}
_UNCERTAIN = 8
"""blkid(8): several file systems would fit."""


@attrs.frozen
class Partition:
    """A part of the image."""

    number: int
    start_bytes: int
    size_bytes: int
    kind: str = ""
    """What blkid calls its content: vfat, ext4, crypto_LUKS, ...; empty: nothing that it knows."""

    @property
    def end_bytes(self) -> int:
        """The first byte after it."""
        return self.start_bytes + self.size_bytes


@attrs.frozen
class Layout:
    """The two partitions that count."""

    boot: Partition
    root: Partition


def parse_table(text: bytes) -> list[Partition]:
    """
    The partitions that ``sfdisk --json`` tells.

    :raises ImportRefused: when there is none.
    """
    try:
        table: Any = json.loads(text)["partitiontable"]
        unit = int(table.get("sectorsize", 512))
        rows = [
            Partition(number, row["start"] * unit, row["size"] * unit)
            for number, row in enumerate(table.get("partitions", ()), 1)
            if str(row["type"]).lower() not in _CONTAINERS
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as reason:
        raise _unfit("there is no partition table that sfdisk can read", DOWNLOAD_AGAIN) from reason
    if not rows:
        raise _unfit("the partition table is empty", "is it an image of a card with Raspberry Pi OS?")
    return rows


_CONTAINERS = frozenset({"5", "f", "85", "ee"})
"""MBR types of an extended partition, and of the place of a GPT: nothing of their own."""


def choose(partitions: list[Partition], size_bytes: int) -> Layout:
    """
    The boot and the root partition.

    :param size_bytes: how large the whole image is.
    :raises ImportRefused: when there is no such pair, or the image ends before they do.
    """
    for partition in partitions:
        if partition.end_bytes > size_bytes:
            raise ImportRefused(
                f"the image ends at byte {size_bytes}, but its partition {partition.number} at {partition.end_bytes}",
                expected="a whole image",
                remedy=DOWNLOAD_AGAIN,
            )
    boot = [partition for partition in partitions if partition.kind == "vfat"]
    root = [partition for partition in partitions if partition.kind == "ext4"]
    if not boot:
        raise _unfit(f"no partition has FAT; there are {_listed(partitions)}", _WRONG_IMAGE)
    if not root:
        raise _unfit(f"no partition has ext4; there are {_listed(partitions)}", _remedy_without_root(partitions))
    if len(root) > 1:
        raise _unfit(f"several partitions have ext4: {_listed(partitions)}", "import an image with one system")
    return Layout(boot[0], root[0])


_WRONG_IMAGE = "use an image of Raspberry Pi OS for a card"


def _remedy_without_root(partitions: list[Partition]) -> str:
    if any(partition.kind == "crypto_LUKS" for partition in partitions):
        return "piman cannot read encrypted file systems: use the image before it was encrypted"
    return _WRONG_IMAGE


def _listed(partitions: list[Partition]) -> str:
    return ", ".join(
        f"{partition.number}: {_NAMES.get(partition.kind, partition.kind)}, {partition.size_bytes} bytes"
        for partition in partitions
    )


def _unfit(found: str, remedy: str) -> ImportRefused:
    return ImportRefused(found, expected=_EXPECTED, remedy=remedy)


def look(programs: Programs, image: Path) -> Layout:
    """
    Read the table and look into each partition.

    :raises ImportRefused: when it is no card with Raspberry Pi OS.
    """
    answer = programs.run("sfdisk", "--json", image.name, folder=image.parent)
    partitions = parse_table(answer.stdout)
    size = image.stat().st_size
    return choose([attrs.evolve(part, kind=_kind(programs, image, part, size)) for part in partitions], size)


def _kind(programs: Programs, image: Path, partition: Partition, size: int) -> str:
    if partition.end_bytes > size:
        return ""
    place = ("-O", str(partition.start_bytes), "-S", str(partition.size_bytes))
    answer = programs.run("blkid", "-p", "-s", "TYPE", "-o", "value", *place, image.name, folder=image.parent)
    return "" if answer.returncode == _UNCERTAIN else answer.stdout.decode("ascii", "replace").strip()
