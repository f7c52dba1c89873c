# -*- test-case-name: tests.test_simulator_running_plan -*-
"""
The files of a virtual rack: its manager's configuration, hosts.csv, boot tree and image.

All addresses are loopback, all ports high, so nobody needs root and nothing outside this host is touched.
"""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from gzip import GzipFile
from hashlib import sha256, shake_256
from ipaddress import IPv4Address
from pathlib import Path

import attrs

from piman.simulator.booting.boards import KINDS, Board, board_number
from piman.simulator.switch import PORTS
from piman.simulator.wiring.surroundings import DHCP_PORT, HELLO_PORT, IMAGE_PORT, TFTP_PORT

SERVER = IPv4Address("127.77.0.1")
NETMASK = "255.255.0.0"
FIRST_RESERVED = IPv4Address("127.77.16.0")
FIRST_POOLED = IPv4Address("127.77.64.0")
FIRST_RELAY = IPv4Address("127.77.128.0")
FIRST_SWITCH = IPv4Address("127.77.255.1")
MOST_SWITCHES = 254
VLAN = 1
"""``private_number``: part of the communities that the manager shows the switches."""
LARGEST = 10_000
"""So many boards fit between these."""

BOOT_FILES: Mapping[str, int] = {
    "bootcode.bin": 20_000,
    "start.elf": 61_440,
    "fixup.dat": 7_000,
    "start4.elf": 61_440,
    "fixup4.dat": 5_400,
    "kernel8.img": 65_536,
    "kernel_2712.img": 65_536,
    "initramfs.gz": 64_000,
    "bcm2710-rpi-3-b.dtb": 24_000,
    "bcm2710-rpi-3-b-plus.dtb": 24_100,
    "bcm2711-rpi-4-b.dtb": 28_000,
    "bcm2712-rpi-5-b.dtb": 36_000,
    "overlays/overlay_map.dtb": 4_096,
}
"""Names and sizes in bytes: one board loads 170 to 250 KiB of them."""
TEXT_FILES: Mapping[str, str] = {
    "config.txt": "[all]\nenable_uart=1\narm_64bit=1\ninitramfs initramfs.gz followkernel\n",
    "cmdline.txt": "console=serial0,115200 ip=dhcp root=/dev/ram0 master=MASTER\n",
}
IMAGE_BYTES = 192 * 1024


@attrs.frozen(kw_only=True)
class Place:
    """
    Where a board is in the rack.

    :ivar reserved: its address of hosts.csv; None: it takes one of the pool.
    :ivar relay: the address at which its DHCP is relayed.
    :ivar switch: the PoE switch that it hangs on, at ``port``; None: none.
    """

    board: Board
    reserved: IPv4Address | None
    relay: IPv4Address
    switch: IPv4Address | None = None
    port: int = 0


@attrs.frozen(kw_only=True)
class Ports:
    """Where the manager listens."""

    dhcp: int
    tftp: int
    ntp: int
    hello: int
    image: int
    http: int
    agent: int
    snmp: int
    """Where the switches answer."""
    web: int

    @property
    def well_known(self) -> Mapping[int, int]:
        """What boards believe, and what is."""
        return {DHCP_PORT: self.dhcp, TFTP_PORT: self.tftp, HELLO_PORT: self.hello, IMAGE_PORT: self.image}


def places(count: int, models: Sequence[str], pool_share: float, switches: int = 0) -> tuple[Place, ...]:
    """
    The models in turn; the last boards take their addresses from the pool.

    :param switches: on these the boards are spread evenly, each on neighbouring ports from 1 on.
    :raises ValueError: when they have too few ports.
    """
    if switches and count > switches * PORTS:
        raise ValueError(f"{switches} switches have {switches * PORTS} ports")
    reserved = count - round(count * pool_share)
    on_each = -(-count // switches) if switches else 0
    found = []
    for number in range(count):
        board = board_number(number + 1, KINDS[models[number % len(models)]])
        address = FIRST_RESERVED + number if number < reserved else None
        found.append(
            Place(
                board=board,
                reserved=address,
                relay=address or FIRST_RELAY + number,
                switch=FIRST_SWITCH + number // on_each if switches else None,
                port=number % on_each + 1 if switches else 0,
            )
        )
    return tuple(found)


def content_of(name: str) -> bytes:
    """What is in a boot file, by its name alone: nobody else's bytes can be taken for it."""
    if name in TEXT_FILES:
        return TEXT_FILES[name].encode()
    return shake_256(name.encode()).digest(BOOT_FILES[name])


class Inspector:
    """Looks whether what a board loaded is what lies in the boot tree."""

    def __init__(self) -> None:
        self._contents = {name: content_of(name) for name in (*BOOT_FILES, *TEXT_FILES)}
        command_line = self._contents["cmdline.txt"]
        self._contents["cmdline.txt"] = command_line.replace(b"MASTER", str(SERVER).encode())

    def __call__(self, name: str, content: bytes) -> bool:
        """Whether it is right."""
        return self._contents.get(name.lstrip("/")) == content


def image() -> bytes:
    """A small root file system that does not compress; always the same bytes."""
    packed = io.BytesIO()
    with GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
        for name, content in (("sbin/init", b"#!/bin/sh\n"), ("data", shake_256(b"rootfs").digest(IMAGE_BYTES))):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def hosts(rack: Sequence[Place]) -> str:
    """hosts.csv; ``0.0.0.0``: known, any address."""
    return "".join(
        f"{place.board.mac.hex(':').upper()};{place.reserved or '0.0.0.0'};{place.board.hostname};0\n"
        for place in rack
    )


def switch_lines(rack: Sequence[Place], ports: Ports) -> str:
    """``switches:``; a board without an address of its own is found by its MAC."""
    named: dict[IPv4Address, list[str]] = {place.switch: [] for place in rack if place.switch is not None}
    for place in rack:
        if place.switch is not None and place.reserved is not None:
            named[place.switch].append(f"{place.port}: {place.reserved}")
    if not named:
        return "switches: []"
    lines = (
        f"  - {{switch_address: {address}, name: sw{number}, snmp: {{port: {ports.snmp}}}, "
        f"ports: {{{', '.join(pairs)}}}}}"
        for number, (address, pairs) in enumerate(named.items(), start=1)
    )
    return "\n".join(("switches:", *lines))


def configuration(
    rack: Sequence[Place], ports: Ports, *, poll_seconds: float, operations: Mapping[str, object] | None = None
) -> str:
    """
    piman.yaml.

    :param operations: keys of its section of that name.
    """
    knobs = f"operations: {json.dumps(dict(operations))}\n" if operations else ""
    pooled = sum(place.reserved is None for place in rack)
    pool = f", pool: {FIRST_POOLED}-{FIRST_POOLED + max(pooled * 5 // 4, 1) - 1}" if pooled else ""
    return f"""\
private_number: {VLAN}
server_address: {SERVER}
subnet_mask: {NETMASK}
interface: lo
{switch_lines(rack, ports)}
hosts_file: hosts.csv
state_dir: state
log_dir: logs
boot_dir: boot
images: {{default: rootfs.tgz}}
dhcp: {{port: {ports.dhcp}, dns_servers: [{SERVER}]{pool}}}
tftp: {{port: {ports.tftp}}}
ntp: {{port: {ports.ntp}, local_stratum: 10}}
hello: {{port: {ports.hello}, image_port: {ports.image}, http_port: {ports.http}}}
web: {{port: {ports.web}}}
monitor: {{agent_port: {ports.agent}, interval_seconds: {poll_seconds:g}, timeout_seconds: 5}}
{knobs}"""


def write(
    directory: Path,
    rack: Sequence[Place],
    ports: Ports,
    *,
    poll_seconds: float,
    operations: Mapping[str, object] | None = None,
) -> str:
    """Write all files of the rack; the digest of its image."""
    directory.mkdir(parents=True, exist_ok=True)
    text = configuration(rack, ports, poll_seconds=poll_seconds, operations=operations)
    (directory / "piman.yaml").write_text(text)
    (directory / "hosts.csv").write_text(hosts(rack))
    for name in (*BOOT_FILES, *TEXT_FILES):
        file = directory / "boot" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content_of(name))
    content = image()
    (directory / "rootfs.tgz").write_bytes(content)
    return sha256(content).hexdigest()
