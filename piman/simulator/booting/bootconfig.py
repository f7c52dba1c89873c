# -*- test-case-name: tests.test_simulator_booting_bootconfig -*-
"""
What a boot loader takes from ``config.txt``, and what Linux takes from ``cmdline.txt``.

Raspberry Pi documentation, "config.txt" and "Conditional filters": sections for the model and for the serial; filters
of different kinds must both hold, one of the same kind replaces the one before.
"""

import re
from collections.abc import Iterator

import attrs

from piman.simulator.booting.boards import Board

_FILTER = re.compile(r"\[([^\]]*)\]")
_SERIAL = re.compile(r"0x[0-9a-f]{1,8}", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class BootConfig:
    """
    The files that the boot loader will ask for.

    :ivar kernels: most wanted first.
    """

    kernels: tuple[str, ...]
    initramfs: tuple[str, ...] = ()
    cmdline: str = "cmdline.txt"
    device_tree: str
    os_prefix: str = ""

    def under_prefix(self, name: str) -> str:
        """Where an operating system's file lies; a name that begins with a slash is meant as it is."""
        return name if name.startswith("/") else self.os_prefix + name


def boot_config(text: str, board: Board) -> BootConfig:
    """Read config.txt as this board does."""
    settings: dict[str, str] = {}
    for key, value in _settings(text, board):
        settings[key] = value
    kernel = settings.get("kernel")
    automatic = board.kind.initramfs if settings.get("auto_initramfs") == "1" else ""
    initramfs = settings.get("initramfs") or settings.get("ramfsfile") or automatic
    return BootConfig(
        kernels=(kernel,) if kernel else board.kind.kernels,
        initramfs=tuple(name for name in initramfs.split(",") if name),
        cmdline=settings.get("cmdline", "cmdline.txt"),
        device_tree=settings.get("device_tree") or board.kind.device_tree,
        os_prefix=settings.get("os_prefix", ""),
    )


def _settings(text: str, board: Board) -> Iterator[tuple[str, str]]:
    """The lines that are meant for this board, as key and value."""
    holding = {"model": True, "serial": True, "other": True}
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if found := _FILTER.fullmatch(line):
            _filter(found[1].strip().lower(), board, holding)
        elif all(holding.values()) and line.startswith("initramfs "):
            yield "initramfs", line.split()[1]  # the one line without "="
        elif all(holding.values()) and "=" in line:
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _filter(name: str, board: Board, holding: dict[str, bool]) -> None:
    if name == "all":
        holding.update(dict.fromkeys(holding, True))
    elif name == "none" or name.startswith(("pi", "board-type=")):
        holding["model"] = name in (*board.kind.filters, f"board-type=0x{board.kind.revision >> 4 & 0xFF:x}")
    elif _SERIAL.fullmatch(name):
        holding["serial"] = int(name, 16) == int(board.serial, 16)
    else:  # a monitor, a GPIO, tryboot: nothing that a virtual board has
        holding["other"] = False


@attrs.frozen(kw_only=True)
class CommandLine:
    """The kernel's command line."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, content: bytes) -> "CommandLine":
        """The first line counts."""
        first = content.decode("utf-8", "replace").splitlines()[:1]
        return cls(words=tuple(first[0].split()) if first else ())

    @property
    def wants_dhcp(self) -> bool:
        """Whether the kernel itself asks for an address."""
        return any(word in ("ip=dhcp", "ip=on", "ip=any") or word.endswith(":dhcp") for word in self.words)

    def value(self, key: str) -> str:
        """The last ``key=value``; empty when there is none."""
        found = [word.removeprefix(f"{key}=") for word in self.words if word.startswith(f"{key}=")]
        return found[-1] if found else ""
