# -*- test-case-name: tests.test_monitor_board -*-
"""
What kernel and firmware of a board tell about its power, its card and its root file system: files to values.

Each function takes the folder under which ``/proc`` and ``/sys`` lie.  What is not there, or says what nobody knows, is
``None``: a board that is no Pi, or a kernel without a driver, tells less and nothing wrong.

* Power: ``vcgencmd get_throttled`` (Raspberry Pi documentation), else the kernel's voltage sensor
  (Documentation/hwmon/raspberrypi-hwmon.rst), else, on kernels before 4.19, ``get_throttled`` of the firmware's driver.
* The card: Documentation/driver-api/mmc/mmc-dev-attrs.rst; the numbers in it are JEDEC's (JESD84-B50, section 7.4).
* The root file system: proc(5), mountinfo; Documentation/ABI/testing/sysfs-fs-ext4.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs

from piman.monitor.readings import Card

ROOT = Path("/")

VCGENCMD = Path("/usr/bin/vcgencmd")
VCGENCMD_SECONDS = 2.0
"""The firmware answers within milliseconds, or it is in trouble."""

THROTTLED_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""
Hexadecimal, without ``0x``.

Kernels since 4.19 write a warning with a backtrace to their log at the first reading ("deprecated, use hwmon sysfs
instead"): it is read only where the voltage sensor that came with them is missing.
"""

INSTALLED_MARKER = ".piman-installed"
"""What the installer leaves at the root of the card (install/initram/hello_protocol.sh): the digest of the image."""

LARGEST_FILE_BYTES = 65536

PRE_EOL = {1: "normal", 2: "warning", 3: "urgent"}
"""PRE_EOL_INFO; 0 is "not defined"."""

LIFE_STEPS = range(1, 12)
"""DEVICE_LIFE_TIME_EST: 1 is up to 10 % used, 10 is up to 100 %, 11 more than the estimate; 0 is "not defined"."""


def _text(path: Path) -> str | None:
    """What a file of the kernel says, without blanks around it; None when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return None


def _whole_number(text: str | None, base: int = 10) -> int | None:
    try:
        return int(text or "", base)
    except ValueError:
        return None


# Power


def ask_firmware(program: Path = VCGENCMD, timeout_seconds: float = VCGENCMD_SECONDS) -> str:
    """
    What ``vcgencmd get_throttled`` says.

    :raises OSError: when there is no such program, or it does not answer.
    """
    try:
        done = subprocess.run(
            [program, "get_throttled"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as reason:
        raise TimeoutError(f"no answer of {program}") from reason
    return done.stdout


@attrs.frozen
class Power:
    """What the firmware tells about the power."""

    throttled: int | None = None
    under_voltage: bool | None = None


def power(root: Path = ROOT, ask: Callable[[], str] = ask_firmware) -> Power:
    """From the first of three places that tells anything."""
    bits = _from_firmware(ask)
    if bits is None:
        alarm = _voltage_alarm(root)
        if alarm is not None:
            return Power(under_voltage=alarm)
        bits = _whole_number(_text(root / THROTTLED_FILE), 16)
    return Power() if bits is None else Power(throttled=bits, under_voltage=bool(bits & 1))


def _from_firmware(ask: Callable[[], str]) -> int | None:
    try:
        match = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})", ask().strip())
    except OSError:
        return None
    return int(match[1], 16) if match else None


def _voltage_alarm(root: Path) -> bool | None:
    for name in sorted(root.glob("sys/class/hwmon/hwmon*/name")):
        if _text(name) == "rpi_volt":
            return {"0": False, "1": True}.get(_text(name.with_name("in0_lcrit_alarm")) or "")
    return None


# The root file system


@attrs.frozen
class _Mount:
    """The root file system among the mounts of this process."""

    device: str
    """``MAJOR:MINOR``"""
    kind: str
    is_read_only: bool


def _root_mount(root: Path) -> _Mount | None:
    """
    The last one at ``/``.

    The options behind the dash are the file system's own; those before it are this mount's, and the agent's unit has
    its own, read-only ones.
    """
    found = None
    for line in (_text(root / "proc/self/mountinfo") or "").splitlines():
        before, dash, after = line.partition(" - ")
        fields, own = before.split(), after.split()
        if dash and len(fields) > 4 and fields[4] == "/" and len(own) > 2:
            found = _Mount(fields[2], own[0], "ro" in own[-1].split(","))
    return found


def _block_device(root: Path, mount: _Mount | None) -> Path | None:
    if mount is None or not re.fullmatch(r"[0-9]+:[0-9]+", mount.device):
        return None
    device = root / "sys/dev/block" / mount.device
    return device.resolve() if device.exists() else None


@attrs.frozen
class RootFileSystem:
    """The state of the root file system."""

    is_read_only: bool | None = None
    errors: int | None = None
    """Since it was last checked; only ext4 counts them."""


def root_file_system(root: Path = ROOT) -> RootFileSystem:
    """What the kernel knows about it; nothing is read from the card for that."""
    mount = _root_mount(root)
    device = _block_device(root, mount)
    if mount is None:
        return RootFileSystem()
    errors = None
    if mount.kind == "ext4" and device is not None:
        errors = _whole_number(_text(root / "sys/fs/ext4" / device.name / "errors_count"))
    return RootFileSystem(mount.is_read_only, errors)


def image_digest(root: Path = ROOT) -> str | None:
    """The digest of the image that piman's installer put on the card."""
    found = _text(root / INSTALLED_MARKER) or ""
    return found if re.fullmatch(r"[0-9a-f]{64}", found) else None


def uptime_seconds(root: Path = ROOT) -> float | None:
    """Since the kernel started."""
    match = re.match(r"[0-9]+\.[0-9]+", _text(root / "proc/uptime") or "")
    return float(match[0]) if match else None


# The card


def card(root: Path = ROOT) -> Card | None:
    """The card that the root file system is on, else the first one in the slot."""
    device = _block_device(root, _root_mount(root))
    disks = [device, device.parent] if device else []
    for disk in (*disks, root / "sys/block/mmcblk0"):
        kind = _text(disk / "device/type")
        if kind in ("SD", "MMC"):
            return _card(disk / "device", kind)
    return None


def _card(device: Path, kind: str) -> Card:
    return Card(
        type=kind,
        name=_text(device / "name") or None,
        serial=_text(device / "serial") or None,
        manfid=_text(device / "manfid") or None,
        date=_text(device / "date") or None,
        life_used_percent=_life_used(_text(device / "life_time")),
        pre_eol=PRE_EOL.get(_whole_number(_text(device / "pre_eol_info"), 16) or 0),
    )


def _life_used(text: str | None) -> float | None:
    """``0x02 0x01``: the worse of two kinds of memory in it."""
    steps = [_whole_number(word, 16) for word in (text or "").split()]
    known = [step for step in steps if step in LIFE_STEPS and step is not None]
    return 10.0 * max(known) if known else None
