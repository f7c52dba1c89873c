"""
Tests for :mod:`piman.monitor.board`.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.monitor import board
from piman.monitor.board import Power, RootFileSystem
from piman.monitor.readings import Card
from tests.captures import board as captured

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
"""sha256sum of the four bytes ``test``."""


def saying(text: str) -> Callable[[], str]:
    """A firmware that says this."""
    return lambda: text


def nobody() -> str:
    """A board without vcgencmd."""
    raise FileNotFoundError(board.VCGENCMD)


class _Case(SynchronousTestCase):
    """A board whose files the test writes."""

    def setUp(self) -> None:
        """No file yet."""
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()

    def write(self, path: str, content: bytes) -> None:
        """A file of the kernel."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def write_card(self, device: str, files: Mapping[str, bytes]) -> None:
        """A card as the kernel shows it: partition 2 is 179:2."""
        for name, content in files.items():
            self.write(f"sys/devices/{device}/device/{name}", content)
        self.write(f"sys/devices/{device}/{device}p2/partition", b"2\n")
        for place, target in ((f"sys/block/{device}", device), ("sys/dev/block/179:2", f"{device}/{device}p2")):
            (self.root / place).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(self.root / "sys/devices" / target, self.root / place)

    def write_root(self, line: bytes, device: str = "254:0") -> None:
        """The root file system among the mounts."""
        others = b"22 27 0:21 / /proc rw,nosuid - proc proc ro\n"
        self.write("proc/self/mountinfo", others + line.replace(b"254:0", device.encode()) + captured.MOUNTINFO_EXAMPLE)


class PowerTests(_Case):
    """Power: vcgencmd, the voltage sensor, the old file."""

    def test_vcgencmd(self) -> None:
        """What vcgencmd says counts, whatever the files say."""
        self.write("sys/class/hwmon/hwmon0/name", captured.RPI_VOLT_NAME)
        self.write("sys/class/hwmon/hwmon0/in0_lcrit_alarm", captured.ALARM_OFF)
        found = board.power(self.root, saying(captured.VCGENCMD_NOW))
        self.assertEqual(found, Power(throttled=0x50005, under_voltage=True))

    def test_past(self) -> None:
        """What has happened since the boot is no under-voltage now."""
        found = board.power(self.root, saying(captured.VCGENCMD_STICKY))
        self.assertEqual(found, Power(throttled=0x50000, under_voltage=False))

    def test_sensor(self) -> None:
        """Where vcgencmd is missing or refused, the voltage sensor tells of under-voltage and of nothing else."""
        self.write("sys/class/hwmon/hwmon0/name", b"cpu_thermal\n")
        self.write("sys/class/hwmon/hwmon1/name", captured.RPI_VOLT_NAME)
        for alarm, expected in ((captured.ALARM_ON, True), (captured.ALARM_OFF, False)):
            self.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", alarm)
            for ask in (nobody, saying(captured.VCGENCMD_FAILED)):
                self.assertEqual(board.power(self.root, ask), Power(under_voltage=expected))

    def test_old_file_unread(self) -> None:
        """Where there is a sensor, the file whose reading makes the kernel complain is left alone."""
        self.write("sys/class/hwmon/hwmon1/name", captured.RPI_VOLT_NAME)
        self.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", captured.ALARM_OFF)
        self.write(board.THROTTLED_FILE, captured.GET_THROTTLED_HOT)
        self.assertEqual(board.power(self.root, nobody), Power(under_voltage=False))

    def test_old_file(self) -> None:
        """Kernels before 4.19 have only the file of the firmware's driver, in hexadecimal."""
        self.write(board.THROTTLED_FILE, captured.GET_THROTTLED_HOT)
        self.assertEqual(board.power(self.root, nobody), Power(throttled=0x80008, under_voltage=False))

    def test_no_pi(self) -> None:
        """A board with none of the three, or nonsense in them, tells nothing."""
        self.assertEqual(board.power(self.root, nobody), Power())
        self.write(board.THROTTLED_FILE, b"no\n")
        self.write("sys/class/hwmon/hwmon1/name", captured.RPI_VOLT_NAME)
        self.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", b"2\n")
        self.assertEqual(board.power(self.root, saying("throttled=0x")), Power())

    def test_program(self) -> None:
        """The program itself is run with the words that it knows, and its absence is an OSError."""
        program = self.root / "vcgencmd"
        self.assertRaises(OSError, board.ask_firmware, program)
        program.write_text('#!/bin/sh\n[ "$*" = get_throttled ] && echo throttled=0x0\n')
        program.chmod(0o755)
        self.assertEqual(board.ask_firmware(program), "throttled=0x0\n")

    def test_program_hangs(self) -> None:
        """A program that does not answer in time is an OSError, too."""
        program = self.root / "vcgencmd"
        program.write_text("#!/bin/sh\nexec sleep 1000\n")
        program.chmod(0o755)
        self.assertRaises(OSError, board.ask_firmware, program, 0.05)


class RootFileSystemTests(_Case):
    """The root file system."""

    def test_healthy(self) -> None:
        """A file system that can be written to, without errors."""
        self.write_root(captured.MOUNTINFO_ROOT, "179:2")
        self.write_card("mmcblk0", captured.SD_CARD)
        self.write("sys/fs/ext4/mmcblk0p2/errors_count", b"0\n")
        self.assertEqual(board.root_file_system(self.root), RootFileSystem(is_read_only=False, errors=0))

    def test_broken(self) -> None:
        """After an error ext4 counts it and takes no more writes."""
        line = captured.MOUNTINFO_READ_ONLY_FILE_SYSTEM.replace(b" /mnt ", b" / ").replace(b"7:0", b"179:2")
        self.write_root(line)
        self.write_card("mmcblk0", captured.SD_CARD)
        self.write("sys/fs/ext4/mmcblk0p2/errors_count", b"12\n")
        self.assertEqual(board.root_file_system(self.root), RootFileSystem(is_read_only=True, errors=12))

    def test_in_unit(self) -> None:
        """That the agent's unit sees its root read-only says nothing about the file system."""
        self.write_root(captured.MOUNTINFO_READ_ONLY_MOUNT)
        self.assertEqual(board.root_file_system(self.root), RootFileSystem(is_read_only=False))

    def test_uppermost(self) -> None:
        """Of several mounts at the root the last one is what everybody sees."""
        self.write_root(captured.MOUNTINFO_ROOT + b"60 27 0:40 / / rw - overlay overlay ro,lowerdir=/a\n")
        self.assertEqual(board.root_file_system(self.root), RootFileSystem(is_read_only=True))

    def test_unknown(self) -> None:
        """Without mounts nothing is told; nor is a count of errors by a kernel that keeps none."""
        self.assertEqual(board.root_file_system(self.root), RootFileSystem())
        self.write_root(captured.MOUNTINFO_ROOT, "179:2")
        self.assertEqual(board.root_file_system(self.root), RootFileSystem(is_read_only=False))

    @given(some.binary(max_size=200))
    def test_anything(self, content: bytes) -> None:
        """Whatever stands in the kernel's files, nothing is raised."""
        self.write("proc/self/mountinfo", b"27 1 254:0 / / rw - ext4 /dev/vda rw\n" + content)
        board.root_file_system(self.root)
        board.card(self.root)

    def test_this_machine(self) -> None:
        """On the machine of the test it agrees with findmnt, a program of others."""
        done = subprocess.run(["findmnt", "-no", "FS-OPTIONS", "/"], capture_output=True, text=True)
        if done.returncode:
            self.skipTest("not installed: findmnt (Debian: mount)")
        self.assertEqual(board.root_file_system().is_read_only, "ro" in done.stdout.strip().split(","))


class CardTests(_Case):
    """The card."""

    def test_sd(self) -> None:
        """An SD card has names and no figures of health."""
        self.write_root(captured.MOUNTINFO_ROOT, "179:2")
        self.write_card("mmcblk1", captured.SD_CARD)
        expected = Card(type="SD", name="SD16G", serial="0xda89b829", manfid="0x000027", date="11/2015")
        self.assertEqual(board.card(self.root), expected)

    def test_emmc(self) -> None:
        """An eMMC of version 5 tells how much of its life is used, the worse of two figures, and of its reserve."""
        health = {"life_time": captured.EMMC_LIFE_TIME, "pre_eol_info": captured.EMMC_PRE_EOL}
        self.write_card("mmcblk0", {**captured.OLD_EMMC, **health})
        found = board.card(self.root)
        assert found is not None
        self.assertEqual((found.type, found.life_used_percent, found.pre_eol), ("MMC", 20.0, "normal"))

    def test_old_emmc(self) -> None:
        """An older one does not."""
        self.write_card("mmcblk0", captured.OLD_EMMC)
        found = board.card(self.root)
        assert found is not None
        self.assertEqual((found.name, found.life_used_percent, found.pre_eol), ("M8G1GC", None, None))

    def test_figures(self) -> None:
        """Undefined figures are no figures; 0x0b is more than the estimate; older kernels write no 0x."""
        for life, reserve, expected in (
            (b"0x00 0x00\n", b"0x00\n", (None, None)),
            (b"0x0b 0x01\n", captured.PRE_EOL_WITHOUT_PREFIX, (110.0, "warning")),
            (b"0x00 0x0a\n", b"0x03\n", (100.0, "urgent")),
            (b"0x0c 0xff\n", b"0x09\n", (None, None)),
            (b"\xff\n", b"", (None, None)),
        ):
            self.write_card("mmcblk0", {**captured.OLD_EMMC, "life_time": life, "pre_eol_info": reserve})
            found = board.card(self.root)
            assert found is not None
            self.assertEqual((found.life_used_percent, found.pre_eol), expected)
            self.root = self.root.with_name(self.root.name + "_")

    def test_no_card(self) -> None:
        """A node that runs from something else has none."""
        self.assertIsNone(board.card(self.root))
        self.write_root(captured.MOUNTINFO_ROOT, "8:2")
        self.assertIsNone(board.card(self.root))


class MarkerTests(_Case):
    """What the installer leaves, and the kernel's uptime."""

    def test_digest(self) -> None:
        """The digest of the image that was installed."""
        self.write(board.INSTALLED_MARKER, f"{DIGEST}\n".encode())
        self.assertEqual(board.image_digest(self.root), DIGEST)

    def test_no_digest(self) -> None:
        """A system that came by other means has none, nor has one whose marker holds something else."""
        self.assertIsNone(board.image_digest(self.root))
        self.write(board.INSTALLED_MARKER, DIGEST.upper().encode())
        self.assertIsNone(board.image_digest(self.root))

    def test_marker_of_the_installer(self) -> None:
        """It is the file that the installer writes."""
        script = (Path(__file__).resolve().parent.parent / "install/initram/hello_protocol.sh").read_text()
        self.assertIn(f'mv "$root/.piman-installing" "$root/{board.INSTALLED_MARKER}"', script)

    def test_uptime(self) -> None:
        """The first number of /proc/uptime."""
        self.assertIsNone(board.uptime_seconds(self.root))
        self.write("proc/uptime", b"350735.47 234388.90\n")  # the example of proc_uptime(5)
        self.assertEqual(board.uptime_seconds(self.root), 350735.47)
