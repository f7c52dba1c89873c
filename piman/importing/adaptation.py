# -*- test-case-name: tests.test_importing_adaptation -*-
"""
What must differ between a system on the card it was made for and the same system on a node's card.

A node's card is divided by ``install/initram/hello_protocol.sh``: an empty FAT partition labelled BOOT, and an ext4
partition labelled rootfs.  Its tar restores no extended attributes, so capabilities of files are set when it starts.
"""

import re
import struct

import attrs

ROOT_LABEL = "rootfs"
"""The label that hello_protocol.sh gives to the root file system."""

FSTAB = b"etc/fstab"
UNIT = b"etc/systemd/system/piman-capabilities.service"
UNIT_LINK = b"etc/systemd/system/sysinit.target.wants/piman-capabilities.service"
CAPABILITY = "security.capability"

_ROOT_LINE = f"LABEL={ROOT_LABEL}  /  ext4  defaults,noatime  0  1\n"
_BOOT_FOLDERS = ("/boot/firmware", "/boot")
_ON_THE_CARD = re.compile(r"(PARTUUID|UUID|PARTLABEL|LABEL)=|/dev/(mmcblk|sd|disk/)")
_NOTE = "# Not on a node's card (piman): "


@attrs.frozen
class Fstab:
    """The table of file systems for nodes."""

    text: str
    boot_folder: str
    """Where the system expects its boot partition."""


def adapt_fstab(text: str) -> Fstab:
    """
    The same table for a node's card.

    The root is found by its label.  What lay on other partitions of the original card is not on a node's: those lines
    become comments.  That holds for the boot partition, too: an update of the system would put boot files there, and
    a Raspberry Pi 3 would start from them and not ask the manager any more.
    """
    lines: list[str] = []
    boot_folder = ""
    has_root = False
    for line in text.splitlines(keepends=True):
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            lines.append(line)
        elif fields[1] == "/":
            has_root = True
            lines.append(line.replace(fields[0], f"LABEL={ROOT_LABEL}", 1))
        elif _ON_THE_CARD.match(fields[0]):
            if fields[1] in _BOOT_FOLDERS:
                boot_folder = fields[1]
            lines.append(_NOTE + line)
        else:
            lines.append(line)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if not has_root:
        lines.append(_ROOT_LINE)
    return Fstab("".join(lines), boot_folder or _BOOT_FOLDERS[0])


# Capabilities of files


def capability_text(value: bytes) -> str | None:
    """
    The words that setcap(8) takes for the content of ``security.capability``; None when it cannot say that.

    Numbers stand for the names of capabilities: setcap knows both, and knows new names later than their numbers.  The
    layout is ``struct vfs_cap_data`` in Linux's ``include/uapi/linux/capability.h``.
    """
    if len(value) not in (12, 20, 24):
        return None
    magic, *words = struct.unpack(f"<{len(value) // 4}I", value)
    if (magic >> 24, len(words)) not in ((1, 2), (2, 4), (3, 5)) or (len(words) == 5 and words[4]):
        return None  # the fifth word of revision 3 names a user namespace
    permitted = words[0] | (words[2] << 32 if len(words) > 2 else 0)
    inheritable = words[1] | (words[3] << 32 if len(words) > 2 else 0)
    effective = "e" if magic & 1 else ""
    clauses = []
    for permit, inherit, flags in ((1, 0, "p"), (0, 1, "i"), (1, 1, "ip")):
        numbers = [str(bit) for bit in range(64) if (permitted >> bit & 1, inheritable >> bit & 1) == (permit, inherit)]
        if numbers:
            clauses.append(f"{','.join(numbers)}={effective}{flags}")
    return " ".join(clauses) or None


_PLAIN_PATH = re.compile(rb"[A-Za-z0-9_./+-]+")

_UNIT_HEAD = """\
# Made by piman: unpacking a system on a node restores no capabilities of files.  This sets what the image has.
[Unit]
Description=Set the capabilities of files as in the image
DefaultDependencies=no
Conflicts=shutdown.target
After=systemd-remount-fs.service local-fs.target
Before=sysinit.target shutdown.target
ConditionPathIsReadWrite=/

[Service]
Type=oneshot
"""


@attrs.frozen
class CapabilityUnit:
    """A unit of systemd, and the files whose capabilities it cannot set."""

    text: str
    """Empty when there is nothing to do."""
    left_out: tuple[str, ...]


def capability_unit(capabilities: dict[bytes, bytes], setcap: str | None) -> CapabilityUnit:
    """
    What sets the capabilities when a node starts.

    :param capabilities: path -> content of ``security.capability``.
    :param setcap: where the system has that program; None: it has none.
    """
    commands: list[str] = []
    left_out: list[str] = []
    for path, value in sorted(capabilities.items()):
        words = capability_text(value)
        if setcap is None or words is None or not _PLAIN_PATH.fullmatch(path):
            left_out.append("/" + path.decode("utf-8", "replace"))
        else:
            quoted = f'"{words}"' if " " in words else words
            commands.append(f"ExecStart=-{setcap} {quoted} /{path.decode('ascii')}\n")
    text = _UNIT_HEAD + "".join(commands) + "\n[Install]\nWantedBy=sysinit.target\n" if commands else ""
    return CapabilityUnit(text, tuple(left_out))
