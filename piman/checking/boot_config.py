# -*- test-case-name: tests.test_checking_boot_tree -*-
"""
The files that ``config.txt`` names, as boards of one family read it.

Raspberry Pi documentation, "config.txt" and "Conditional filters".  What is meant for single boards (a serial, a GPIO,
a monitor) is passed over.
"""

import re
from collections.abc import Collection, Iterator

import attrs

_FILTER = re.compile(r"\[([^\]]*)\]")

LONGEST_CONFIG_BYTES = 4096
"""Firmware of network boot has read no more (raspberrypi/firmware#1012)."""


@attrs.frozen(kw_only=True)
class NamedFiles:
    """What config.txt names; empty: the firmware's own default holds."""

    kernel: str = ""
    initramfs: tuple[str, ...] = ()
    device_tree: str = ""
    cmdline: str = "cmdline.txt"
    prefix: str = ""

    def under_prefix(self, name: str) -> str:
        """Where a file of the operating system lies; a leading slash means the top."""
        return name.lstrip("/") if name.startswith("/") else self.prefix + name


def named_files(text: str, filters: Collection[str], automatic: str) -> NamedFiles:
    """
    Read config.txt.

    :param filters: the sections that hold for the boards: ``pi4``, ``cm4``, ...
    :param automatic: the name that ``auto_initramfs=1`` stands for.
    """
    settings = dict(_settings(text, filters))
    wanted = settings.get("initramfs") or settings.get("ramfsfile") or ""
    if not wanted and settings.get("auto_initramfs") == "1":
        wanted = automatic
    return NamedFiles(
        kernel=settings.get("kernel", ""),
        initramfs=tuple(name for name in wanted.split(",") if name),
        device_tree=settings.get("device_tree", ""),
        cmdline=settings.get("cmdline", "cmdline.txt"),
        prefix=settings.get("os_prefix", ""),
    )


def _settings(text: str, filters: Collection[str]) -> Iterator[tuple[str, str]]:
    holds, meant = True, True
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if found := _FILTER.fullmatch(line):
            name = found[1].strip().lower()
            if name == "all":
                holds, meant = True, True
            elif name == "none" or name.startswith(("pi", "cm")):
                holds = name in filters
            else:
                meant = False
        elif holds and meant and line.startswith("initramfs "):
            yield "initramfs", line.split()[1]  # the one line without "="
        elif holds and meant and "=" in line:
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()
