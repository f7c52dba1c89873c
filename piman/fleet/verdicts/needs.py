# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
Which of the boot files that a board did not find it cannot do without.

Firmware asks for dozens of files that are normally missing.  Sources: server logs of real boards (netboot reference,
2.3), Raspberry Pi documentation, "Boot folder contents".
"""

import re
from collections.abc import Iterable, Sequence

NEEDS: Sequence[re.Pattern[str]] = tuple(
    map(
        re.compile,
        (
            r"bootcode\.bin",
            r"start.*\.elf",
            r"config\.txt",
            r"fixup.*\.dat",
            r"bcm27\d\d.*\.dtb",
            r"kernel.*\.img",
        ),
    )
)
"""In the order in which a boot needs them: of each, one file must be there.  A board asks for what fits its model."""
KERNEL = NEEDS[-1]

OPTIONAL = re.compile(
    r"bootsig\.bin|autoboot\.txt|tryboot\.txt|recover.*|dt-blob\.bin|bootcfg\.txt|armstub.*|vl805.*|pieeprom.*"
    r"|boot\.(img|sig|ub)|.*\.dtbo|overlay_map\.dtb|.*_rc\.dat"
)
"""What is normally missing."""

INITRAMFS = re.compile(r".*(initr|\.cpio|\.gz).*")
"""What a kernel that runs may be waiting for."""

_OWN_PREFIX = re.compile(r"[0-9a-f]{8}|[0-9a-f]{2}(-[0-9a-f]{2}){5}", re.IGNORECASE)


def parts(name: str) -> tuple[str, str]:
    """The foreign folder that a name begins with, or nothing, and the bare name of the file."""
    found = [part for part in name.split("/") if part]
    if len(found) > 1 and _OWN_PREFIX.fullmatch(found[0]):
        found = found[1:]
    folder = found[0] if len(found) > 1 and found[0] != "overlays" else ""
    return folder, found[-1] if found else ""


def needed(served: Iterable[str], missing: Iterable[str]) -> list[str]:
    """
    The names, as they were asked for, of the first need that nothing served; empty: everything was there.

    After the needs comes what ``config.txt`` names and is not there.
    """
    got = {parts(name)[1] for name in served}
    lacked = [name for name in missing if parts(name)[1] not in got]
    for need in NEEDS:
        if not any(need.fullmatch(name) for name in got):
            names = [name for name in lacked if need.fullmatch(parts(name)[1])]
            if names:
                return names
    return [name for name in lacked if _is_wanted(parts(name)[1])][:1]


def _is_wanted(name: str) -> bool:
    """Whether somebody must have named it: no firmware asks for it by itself."""
    return not OPTIONAL.fullmatch(name) and not any(need.fullmatch(name) for need in NEEDS)


def has_kernel(served: Iterable[str]) -> bool:
    """Whether a kernel of an ordinary name was loaded."""
    return any(KERNEL.fullmatch(parts(name)[1]) for name in served)


def foreign_folder(names: Sequence[str], others: Iterable[str]) -> str:
    """
    The folder in which a board looks for what it needs, if it is no prefix of its own; else nothing.

    :param names: what it needs and did not find.
    :param others: everything that it asked for.
    """
    folders = {parts(name)[0] for name in names}
    bare = {name for name in others if not parts(name)[0]}
    asked_outside = {parts(name)[1] for name in names} & {parts(name)[1] for name in bare}
    return folders.pop() if len(folders) == 1 and not asked_outside else ""
