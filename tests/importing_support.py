"""
Small images of cards, made with the programs that make real ones: sfdisk, mkfs.vfat, mcopy, mkfs.ext4.
"""

import gzip
import lzma
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import attrs

from piman.importing.images import Order, import_image
from piman.importing.manifest import Manifest
from piman.importing.programs import NEEDED, PLACES, Programs
from piman.importing.progress import Progress, Report

SECTOR_BYTES = 512
BOOT_START = 2048
BOOT_SECTORS = 16384
ROOT_START = BOOT_START + BOOT_SECTORS
ROOT_SECTORS = 49152
IMAGE_BYTES = (ROOT_START + ROOT_SECTORS + 2048) * SECTOR_BYTES

WHEN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

# What Raspberry Pi OS of 2024-11-19 has in it, shortened.
FSTAB = """\
proc            /proc           proc    defaults          0       0
PARTUUID=57c84f67-01  /boot/firmware  vfat    defaults          0       2
PARTUUID=57c84f67-02  /               ext4    defaults,noatime  0       1
"""
BOOT_FILES = {
    "bootcode.bin": b"second stage",
    "start4.elf": b"firmware" * 5000,
    "fixup4.dat": b"fix",
    "kernel8.img": bytes(range(256)) * 1000,
    "bcm2711-rpi-4-b.dtb": b"\xd0\x0d\xfe\xed tree",
    "overlays/disable-bt.dtbo": b"overlay",
    "overlays/a-very-long-name-of-an-overlay.dtbo": b"another",
    "LICENCE.broadcom": b"licence",
    "initramfs8": b"the system's own",
    "cmdline.txt": b"root=PARTUUID=57c84f67-02 init=/usr/lib/raspberrypi-sys-mods/firstboot\n",
    "config.txt": b"auto_initramfs=1\n",
    "ssh": b"",
    "userconf.txt": b"pi:$6$secret\n",
}


def missing() -> str | None:
    """Why no image can be made or read here; None when one can."""
    programs = [*NEEDED, "mkfs.vfat", "mkfs.ext4", "tar", "busybox"]
    absent = [name for name in programs if shutil.which(name, path=PLACES) is None]
    return f"needs {', '.join(absent)}" if absent else None


def run(*command: str, given: str = "") -> str:
    """Run a program to a good end; what it prints."""
    environment = {**os.environ, "PATH": PLACES, "LC_ALL": "C.UTF-8", "MTOOLSRC": os.devnull}
    done = subprocess.run(command, input=given.encode(), capture_output=True, env=environment)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


def small_system(root: Path) -> None:
    """A root file system with one of each kind that needs no root to make."""
    for folder in ("etc/systemd/system", "usr/bin", "usr/sbin", "sbin", "boot/firmware", "var/log", "tmp", "empty"):
        (root / folder).mkdir(parents=True)
    (root / "etc/fstab").write_text(FSTAB)
    (root / "sbin/init").write_bytes(b"#!/bin/sh\n" * 300)
    (root / "usr/sbin/setcap").write_bytes(b"a program")
    (root / "usr/bin/ping").write_bytes(b"another" * 9000)
    os.link(root / "usr/bin/ping", root / "usr/bin/ping4")
    (root / "usr/bin/sudo").write_bytes(b"")
    (root / "usr/bin/sudo").chmod(0o4755)
    (root / "tmp").chmod(0o1777)
    (root / "usr/bin/sh").symlink_to("ping")
    (root / "usr/bin/far").symlink_to("../" * 40 + "x" * 60)
    (root / 'etc/line\nbreak and "quote"').write_bytes(b"odd name")
    (root / "etc/no\udcffutf8").write_bytes(b"bytes")
    (root / ("var/" + "long" * 30)).mkdir()
    (root / ("var/" + "long" * 30) / ("name" * 20)).write_bytes(b"too long for a tar of 1979")
    with (root / "var/holes").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_500_000)
        file.write(b"in the middle")
    os.mkfifo(root / "var/fifo")
    for number in range(300):
        (root / f"var/log/file-with-a-name-that-fills-folders-{number}").write_bytes(b"%d\n" % number)
    for path in (root, *root.rglob("*")):
        os.utime(path, (1_700_000_000, 1_700_000_000 + len(path.name)), follow_symlinks=False)


@attrs.define
class Card:
    """
    An image to be made.

    :param folder: an empty folder for it and for what it is made of.
    """

    folder: Path
    table: str = "dos"
    features: tuple[str, ...] = ()
    """Options of mkfs.ext4."""
    changes: tuple[str, ...] = ()
    """Commands for debugfs -w, for what only root may do in a folder."""
    wounds: tuple[str, ...] = ()
    """Commands for debugfs -w after which nobody repairs anything."""
    boot_files: dict[str, bytes] = attrs.field(factory=lambda: dict(BOOT_FILES))

    @property
    def root(self) -> Path:
        """What goes into the root file system."""
        return self.folder / "root"

    @property
    def image(self) -> Path:
        """The image of the card."""
        return self.folder / "card.img"

    def make(self) -> Path:
        """Make all of it."""
        if not self.root.exists():
            small_system(self.root)
        with self.image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        types = ("c", "83") if self.table == "dos" else ("uefi", "linux")
        run("sfdisk", "-q", str(self.image), given=f"label: {self.table}\n" + _rows(types))
        self._make_boot()
        self._make_root()
        return self.image

    def _make_boot(self) -> None:
        source, fat = self.folder / "boot", self.folder / "boot.fat"
        for name, content in self.boot_files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        with fat.open("wb") as file:
            file.truncate(BOOT_SECTORS * SECTOR_BYTES)
        run("mkfs.vfat", "-n", "BOOTFS", str(fat))
        if self.boot_files:
            run("mcopy", "-i", str(fat), "-s", *(str(path) for path in source.iterdir()), "::/")
        put(self.image, BOOT_START * SECTOR_BYTES, fat.read_bytes())

    def _make_root(self) -> None:
        ext4 = self.folder / "root.ext4"
        with ext4.open("wb") as file:
            file.truncate(ROOT_SECTORS * SECTOR_BYTES)
        run("mkfs.ext4", "-q", "-d", str(self.root), *self.features, str(ext4))
        if self.changes:
            change(ext4, self.changes)
            # Its own status says that something was repaired.
            subprocess.run(["e2fsck", "-fyD", str(ext4)], capture_output=True, env={"PATH": PLACES})
        if self.wounds:
            change(ext4, self.wounds)
        put(self.image, ROOT_START * SECTOR_BYTES, ext4.read_bytes())


def change(ext4: Path, commands: Iterable[str]) -> None:
    """Have debugfs write into a file system."""
    script = ext4.with_name("commands")
    script.write_text("".join(command + "\n" for command in commands))
    done = subprocess.run(
        ["debugfs", "-w", "-f", str(script), str(ext4)], capture_output=True, text=True, env={"PATH": PLACES}
    )
    complaints = done.stderr.splitlines()[1:]
    if done.returncode or complaints:
        raise AssertionError(complaints)


def _rows(types: Iterable[str]) -> str:
    starts = ((BOOT_START, BOOT_SECTORS), (ROOT_START, ROOT_SECTORS))
    return "".join(
        f"start={start}, size={size}, type={kind}\n" for (start, size), kind in zip(starts, types, strict=True)
    )


def put(path: Path, offset: int, data: bytes) -> None:
    """Overwrite a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def packed(image: Path, packing: str) -> Path:
    """The image as a download: xz, gz or zip."""
    target = image.with_name(f"{image.name}.{packing}")
    content = image.read_bytes()
    if packing == "xz":
        target.write_bytes(lzma.compress(content, preset=0))
    elif packing == "gz":
        target.write_bytes(gzip.compress(content, 1))
    else:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(image, "2024-11-19-raspios.img")
            archive.writestr("readme.txt", "no image")
    return target


def silent(progress: Progress) -> None:
    """Nobody looks at the progress."""


def imported(source: Path, images_dir: Path, *, report: Report = silent, replace: bool = False) -> Manifest:
    """Import under the name "pios"."""
    order = Order(source=source, name="pios", images_dir=images_dir, replace=replace)
    return import_image(order, programs=Programs(), now=WHEN, report=report)
