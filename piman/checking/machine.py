# -*- test-case-name: tests.test_checking_machine -*-
"""
The host itself: its interface on the Pis' LAN, its clock, its disks.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import attrs
import psutil

from piman.checking.findings import Finding, fail, fine, warn
from piman.host.clock import ClockSource, describe

INTERFACE, CLOCK, DISK = "interface", "clock", "disk"

LITTLE_BYTES = 512 << 20
"""Below it we speak of it: a busy rack writes some MB of logs and history a day."""
NOTHING_BYTES = 32 << 20
"""Below it leases may be refused any moment: state.db cannot be written."""


# The interface


@attrs.frozen(kw_only=True)
class Interface:
    """A network interface of this host."""

    name: str
    is_up: bool
    """Also that a cable is in it."""
    addresses: tuple[IPv4Interface, ...] = ()


def judge_interface(
    name: str, server: IPv4Address, subnet: IPv4Network, interfaces: Mapping[str, Interface]
) -> list[Finding]:
    """Is it there, up, and the manager's address on it?"""
    found = interfaces.get(name)
    if found is None:
        others = ", ".join(sorted(interfaces)) or "none"
        return [fail(INTERFACE, f"this machine has no {name}; it has {others}", "Mend interface: in piman.yaml.")]
    if not found.is_up:
        return [fail(INTERFACE, f"{name} is down, or has no cable", f"ip link set {name} up; look at the cable.")]
    return [_judge_address(name, server, subnet, found)]


def _judge_address(name: str, server: IPv4Address, subnet: IPv4Network, found: Interface) -> Finding:
    remedy = f"ip address add {server}/{subnet.prefixlen} dev {name}, and the same where your system keeps it."
    if any(address.ip == server and address.network == subnet for address in found.addresses):
        return fine(INTERFACE, f"{name} is up, with {server}/{subnet.prefixlen}")
    if any(server in address.network and address.is_loopback for address in found.addresses):
        return fine(INTERFACE, f"{name} is up; {server} is local")
    listed = ", ".join(map(str, found.addresses)) or "none"
    if any(address.ip == server for address in found.addresses):
        text = f"{name} has another mask than subnet_mask, which makes {subnet} of it: {listed}"
        return fail(INTERFACE, text, "Mend one of the two.")
    return fail(INTERFACE, f"{name} does not have server_address {server}; it has {listed}", remedy)


def interfaces() -> dict[str, Interface]:
    """All of this host."""
    states = psutil.net_if_stats()
    addresses = psutil.net_if_addrs()
    return {
        name: Interface(
            name=name,
            is_up=bool(states[name].isup),
            addresses=tuple(
                IPv4Interface(f"{one.address}/{one.netmask or 32}")
                for one in addresses.get(name, ())
                if one.family == socket.AF_INET
            ),
        )
        for name in states
    }


# The clock


def judge_clock(source: ClockSource, *, serves: bool) -> Finding:
    """
    What the nodes get from it.

    :param serves: whether piman serves time (``ntp.enabled``).
    """
    text = describe(source)
    if source.is_usable and not source.is_local:
        return fine(CLOCK, text)
    if not serves:
        return fine(CLOCK, "not synchronised; ntp.enabled is false, so no node asks")
    if source.is_local:
        return warn(CLOCK, text, "Good enough, if the nodes only need to agree with each other.")
    before, _, remedy = text.partition(": ")
    return warn(CLOCK, before, f"{remedy[:1].upper()}{remedy[1:]}.")


# The disks


@attrs.frozen(kw_only=True)
class Folder:
    """
    A folder that the manager writes to, or that it reads large files from.

    :ivar path: where it is, or the nearest folder above it that exists.
    :ivar device: the file system it is on.
    """

    key: str
    path: Path
    device: int
    free_bytes: int
    free_files: int
    is_written: bool = True
    is_writable: bool = True


def judge_folders(folders: Iterable[Folder]) -> list[Finding]:
    """One line for each file system, and one for each folder that cannot be written to."""
    given = list(folders)
    by_device: dict[int, list[Folder]] = {}
    for folder in given:
        by_device.setdefault(folder.device, []).append(folder)
    found = [_judge_space(group) for group in by_device.values()]
    return found + [_not_writable(folder) for folder in given if folder.is_written and not folder.is_writable]


def _judge_space(group: list[Folder]) -> Finding:
    keys, first = ", ".join(folder.key for folder in group), group[0]
    text = f"{first.free_bytes / 1e9:.1f} GB free for {keys} ({first.path})"
    remedy = "Delete old logs and images, or move one of the folders to another disk."
    is_written = any(folder.is_written for folder in group)
    if is_written and first.free_files == 0:
        return fail(
            DISK, f"no more files can be made in {first.path} ({keys})", "Delete files: the inodes are used up."
        )
    if is_written and first.free_bytes < NOTHING_BYTES:
        return fail(DISK, text, f"{remedy}  Without space no lease can be kept.")
    return warn(DISK, text, remedy) if first.free_bytes < LITTLE_BYTES else fine(DISK, text)


def _not_writable(folder: Folder) -> Finding:
    text = f"this user may not write to {folder.path} ({folder.key})"
    return warn(DISK, text, "The manager's user must be able to: chown, or another folder.")


def folder_at(key: str, path: Path, *, is_written: bool = True) -> Folder:
    """
    Look at a folder.

    :raises OSError: when the file system does not answer.
    """
    there = next((one for one in (path, *path.parents) if one.is_dir()), Path("/"))
    status = os.statvfs(there)
    return Folder(
        key=key,
        path=there,
        device=os.stat(there).st_dev,
        free_bytes=status.f_bavail * status.f_frsize,
        free_files=status.f_favail if status.f_files else 1,  # some file systems do not count them
        is_written=is_written,
        is_writable=os.access(there, os.W_OK | os.X_OK),
    )
