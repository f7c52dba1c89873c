"""
A board that is not there: QEMU with U-Boot, Debian's arm64 kernel, an SD card and a cable to a network namespace.

U-Boot asks for its address by DHCP and for the files of a Raspberry Pi 3 by TFTP, in that order; it is somebody else's
client, and so are the kernel, busybox and tar that follow.  Nothing of it reaches beyond two network namespaces.
The lab does not prove what only a Pi's own firmware does: DISCOVER without REQUEST, option 43, its TFTP block sizes.
"""

import atexit
import functools
import gzip
import hashlib
import io
import os
import shutil
import signal
import struct
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PROJECT = Path(__file__).resolve().parents[2]
CREATE_INITRAMFS = PROJECT / "install" / "initram" / "create_initramfs"
UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
KERNEL_PACKAGE = "linux-image-arm64"

MANAGER_ADDRESS = "172.30.4.1"
PATIENCE_SECONDS = 120.0
"""How long one boot may take on a busy machine without KVM; a quiet one needs 10 s."""

_ENVIRONMENT_BYTES = 0x40000
_FLASH_BYTES = 64 << 20
_TOOLS = ("qemu-system-aarch64", "cpio", "dpkg-deb", "apt-get", "depmod", "ip")

Answer = TypeVar("Answer")


class LabUnavailable(Exception):
    """This machine cannot run the lab; the text says what is missing."""


def require_lab() -> None:
    """
    Check that boards can be emulated here.

    :raises LabUnavailable: when not.
    """
    if os.geteuid() != 0:
        raise LabUnavailable("only root can make network namespaces")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise LabUnavailable(f"not installed: {', '.join(missing)}")
    if not UBOOT.exists():
        raise LabUnavailable(f"{UBOOT} is missing: apt-get install u-boot-qemu")
    if not Path("/dev/net/tun").exists():
        raise LabUnavailable("there is no /dev/net/tun")
    probe = subprocess.run(["ip", "netns", "add", f"probe{os.getpid()}"], capture_output=True, text=True)
    if probe.returncode:
        raise LabUnavailable(f"no network namespaces: {probe.stderr.strip()}")
    _run("ip", "netns", "del", f"probe{os.getpid()}")


def wait_until(claim: str, ask: Callable[[], Answer], limit_seconds: float = PATIENCE_SECONDS) -> Answer:
    """
    Ask again and again until the answer is true.

    :raises AssertionError: when it never was.
    """
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {limit_seconds:.0f} s: {claim}")


def _run(*command: str | Path, **options: object) -> str:
    """Run a command to its end and return what it said; it must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise LabUnavailable(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return str(done.stdout)


# What the board boots


class Artefacts:
    """Kernel, initramfs, root file system and U-Boot's settings, in one directory; packages are fetched once."""

    def __init__(self, directory: Path) -> None:
        self.debs = directory / "debs"
        self.kernel = directory / "kernel8.img"
        self.initramfs = directory / "initramfs.gz"
        self.rootfs = directory / "rootfs.tgz"
        self.large_rootfs = directory / "large.tgz"
        """The same system with so much ballast that its installation takes a while."""
        self.flash = directory / "uboot-pi.flash"
        self._directory = directory

    def build(self) -> None:
        """Make what is not there; the initramfs and the root file system are always made anew."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self.kernel.exists():
            self._fetch()
        _run(CREATE_INITRAMFS, "--debs", self.debs, "--kernel-package", KERNEL_PACKAGE, "--output", self.initramfs)
        busybox = self._packaged("busybox-static", "bin/busybox")
        self.rootfs.write_bytes(_root_file_system(busybox, 1 << 20))
        self.large_rootfs.write_bytes(_root_file_system(busybox, 32 << 20))
        self.flash.write_bytes(uboot_environment(UBOOT_SETTINGS))
        os.truncate(self.flash, _FLASH_BYTES)

    def _fetch(self) -> None:
        _run(CREATE_INITRAMFS, "--download", self.debs, "--kernel-package", KERNEL_PACKAGE)
        names = _run("sh", "-c", f"dpkg-deb --fsys-tarfile {self._package('linux-image-[0-9]*')} | tar -t")
        image = next(name for name in names.split() if name.startswith("./boot/vmlinuz-"))
        partial = self.kernel.with_suffix(".partial")
        partial.write_bytes(self._packaged("linux-image-[0-9]*", image.removeprefix("./")))
        partial.rename(self.kernel)

    def _package(self, pattern: str) -> Path:
        return next(self.debs.glob(f"{pattern}_*.deb"))

    def _packaged(self, pattern: str, name: str) -> bytes:
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", self._package(pattern)], capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as package:
            member = package.extractfile(f"./{name}")
            assert member is not None
            return member.read()


@functools.cache
def artefacts() -> Artefacts:
    """
    The lab's artefacts, built once: in ``PIMAN_LAB_CACHE`` when that is set, else in a directory that goes with us.

    :raises LabUnavailable: when Debian's packages cannot be had.
    """
    directory = os.environ.get("PIMAN_LAB_CACHE")
    if directory is None:
        directory = tempfile.mkdtemp(prefix="piman-lab-")
        atexit.register(shutil.rmtree, directory)
    built = Artefacts(Path(directory))
    built.build()
    return built


# The system that is installed: busybox, an address, and an agent on port 3000.

_SYSTEM_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
[ -e /proc/mounts ] || mount -t proc proc /proc
[ -e /sys/class ] || mount -t sysfs sysfs /sys
echo boot >>/boots
sync
udhcpc -i eth0 -f -n -q -t 20 -T 1 -s /etc/udhcpc
echo "lab: the installed system runs, boot $(wc -l </boots)"
exec nc -ll -p 3000 -e /bin/agent
"""

_SYSTEM_UDHCPC = """\
#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/24" dev "$interface"
"""

_SYSTEM_AGENT = """\
#!/bin/busybox sh
read -r method path version
case $path in
    /event/ | /events) status="200 OK" ;;
    *) status="404 Not Found" ;;
esac
body="{\\"time\\": $(date +%s), \\"cpu_percent\\": 1.5, \\"memory_percent\\": 2.5, \\"disk_percent\\": 3.5,\
 \\"num_pids\\": 12, \\"boots\\": $(wc -l </boots)}"
printf 'HTTP/1.0 %s\\r\\nContent-Type: application/json\\r\\n' "$status"
printf 'Content-Length: %s\\r\\n\\r\\n%s' "${#body}" "$body"
"""


def _root_file_system(busybox: bytes, ballast_bytes: int) -> bytes:
    """A rootfs.tgz of the smallest system that takes an address and answers as an agent does."""
    files = {
        "bin/busybox": busybox,
        "bin/agent": _SYSTEM_AGENT.encode(),
        "sbin/init": _SYSTEM_INIT.encode(),
        "etc/udhcpc": _SYSTEM_UDHCPC.encode(),
        "lib/ballast": hashlib.shake_128(b"incompressible").digest(ballast_bytes),
    }
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name in ("bin", "sbin", "etc", "lib", "dev", "proc", "sys", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(directory)
        for name, content in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(content), 0o755
            archive.addfile(file, io.BytesIO(content))
    return packed.getvalue()


# U-Boot as a Raspberry Pi 3: what it says in DHCP, and which files it asks for in which order.

UBOOT_SETTINGS = {
    "bootdelay": "0",
    "autoload": "no",
    "bootp_vci": "PXEClient:Arch:00000:UNDI:002001",
    "bootp_arch": "0",
    "pxeuuid": "44444444-4444-4444-4444-444444444444",
    "tftpblocksize": "1024",
    "spare": "0x47000000",
    "kernel": "0x41000000",
    "initrd": "0x48000000",
    "get": "tftpboot ${spare} ${name}",
    "probe": (
        "for name in bootcode.bin 10000000/start.elf autoboot.txt config.txt recovery.elf start.elf fixup.dat; "
        "do run get; done"
    ),
    "arguments": (
        "tftpboot ${spare} cmdline.txt && setexpr end ${spare} + ${filesize} && mw.b ${end} 0 1 && "
        "setexpr.s bootargs *${spare}"
    ),
    "start": (
        "tftpboot ${kernel} kernel8.img && tftpboot ${initrd} initramfs.gz && "
        "booti ${kernel} ${initrd}:${filesize} ${fdtcontroladdr}"
    ),
    "bootcmd": "dhcp && run probe; run arguments && run start; sleep 2; reset",
}


def uboot_environment(settings: dict[str, str]) -> bytes:
    """The contents of U-Boot's environment flash: a little-endian CRC-32, then ``name=value`` and NUL, padded."""
    text = b"".join(f"{name}={value}\0".encode() for name, value in settings.items()) + b"\0"
    content = text.ljust(_ENVIRONMENT_BYTES - 4, b"\0")
    return struct.pack("<I", zlib.crc32(content)) + content


# The cables


class LabNetwork:
    """Two namespaces with a cable between them: the manager's, and the switch that the boards are plugged into."""

    def __init__(self) -> None:
        self.manager = f"lab{os.getpid()}m"
        self.switch = f"lab{os.getpid()}s"
        self._taps = 0

    def build(self) -> None:
        """Make the namespaces, the bridge and the manager's ``eth0``."""
        for namespace in (self.manager, self.switch):
            _run("ip", "netns", "add", namespace)
            _run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            self._ip(namespace, "link set lo up")
        self._ip(self.switch, f"link add uplink type veth peer name eth0 netns {self.manager}")
        self._ip(self.switch, "link add br0 type bridge stp_state 0 forward_delay 0")
        self._ip(self.switch, "link set uplink master br0 up")
        self._ip(self.switch, "link set br0 up")
        self._ip(self.manager, f"addr add {MANAGER_ADDRESS}/24 dev eth0")
        self._ip(self.manager, "link set eth0 up")

    def plug(self) -> str:
        """A port of the switch for one more board; boards hear only the manager, not each other."""
        tap = f"tap{self._taps}"
        self._taps += 1
        self._ip(self.switch, f"tuntap add {tap} mode tap")
        self._ip(self.switch, f"link set {tap} master br0 up")
        self._ip(self.switch, f"link set {tap} type bridge_slave isolated on")
        return tap

    def give_switch_address(self, address: str) -> None:
        """Let the switch itself have an address, with its length, on the LAN."""
        self._ip(self.switch, f"addr add {address} dev br0")

    def remove(self) -> None:
        """Take both namespaces away; harmless twice."""
        for namespace in (self.manager, self.switch):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)

    def _ip(self, namespace: str, arguments: str) -> None:
        _run("ip", "-n", namespace, *arguments.split())


# The board


class Board:
    """
    One emulated board with its card.  ``serial`` is everything that its serial port has said since power-on.

    :ivar starts: how often it was given power.
    """

    def __init__(self, network: LabNetwork, artefacts: Artefacts, directory: Path, mac: str, card_bytes: int) -> None:
        self.mac = mac
        self.starts = 0
        self.card = directory / "card.img"
        self._log = directory / "serial.log"
        self._flash = directory / "flash.img"
        self._network = network
        self._tap = network.plug()
        self._process: subprocess.Popen[bytes] | None = None
        with self.card.open("wb") as card:
            card.truncate(card_bytes)
        shutil.copy(artefacts.flash, self._flash)

    @property
    def serial(self) -> str:
        """What the board has said since it was last powered on."""
        return self._log.read_text("utf-8", "replace")

    def says(self, text: str) -> bool:
        """
        Whether the board has said this since it was last powered on.

        :raises AssertionError: when it has not, and QEMU has ended.
        """
        ended = None if self._process is None else self._process.poll()
        if text in self.serial:
            return True
        if ended is not None:
            raise AssertionError(f"QEMU ended with status {ended} before the board said {text!r}")
        return False

    def power_on(self) -> None:
        """Give it power."""
        self.starts += 1
        self._log.write_bytes(b"")
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self._network.switch, *self._command()], stdin=subprocess.DEVNULL
        )

    def power_off(self) -> None:
        """Pull the cable: what the board has not written to its card is lost.  Harmless twice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def power_cycle(self) -> None:
        """Off and on again."""
        self.power_off()
        self.power_on()

    def _command(self) -> list[str]:
        drive = "format=raw,if=none,cache=writeback"
        return [
            *("qemu-system-aarch64", "-M", "virt", "-accel", "tcg", "-cpu", "cortex-a53", "-m", "512"),
            *("-rtc", "base=2000-01-01T00:00:00"),
            *("-bios", str(UBOOT)),
            *("-drive", f"if=pflash,format=raw,index=1,file={self._flash}"),
            *("-netdev", f"tap,id=n0,ifname={self._tap},script=no,downscript=no"),
            *("-device", f"virtio-net-device,netdev=n0,mac={self.mac}"),
            *("-device", "sdhci-pci", "-device", "sd-card,drive=d0", "-drive", f"{drive},file={self.card},id=d0"),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{self._log}"),
        ]
