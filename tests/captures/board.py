"""
What kernels and firmware of real boards have said: bytes of files in ``/proc`` and ``/sys``, and of ``vcgencmd``.
"""

VCGENCMD_STICKY = "throttled=0x50000\n"
VCGENCMD_NOW = "throttled=0x50005\n"
"""A Pi 3 that had, and has, too little voltage: github.com/raspberrypi/firmware issue 615, first comment."""

VCGENCMD_FAILED = "VCHI initialization failed\n"
"""What vcgencmd says without the right to use the device: github.com/MichaIng/DietPi issue 5970."""

GET_THROTTLED_HOT = b"80008\n"
"""A 3B+ at its soft temperature limit: ``cat .../get_throttled``, custom-components/sensor.rpi_power issue 6."""

RPI_VOLT_NAME = b"rpi_volt\n"
ALARM_ON = b"1\n"
ALARM_OFF = b"0\n"
"""Format of hwmon's ``in0_lcrit_alarm`` and the driver's name: Linux, Documentation/hwmon/raspberrypi-hwmon.rst."""

SD_CARD = {
    "type": b"SD\n",
    "name": b"SD16G\n",
    "serial": b"0xda89b829\n",
    "manfid": b"0x000027\n",
    "oemid": b"0x5048\n",
    "date": b"11/2015\n",
}
"""A card as kernel 3.4 to 4.4 showed it: github.com/armbian/build pull request 246."""

OLD_EMMC = {
    "type": b"MMC\n",
    "name": b"M8G1GC\n",
    "serial": b"0xdc0db061\n",
    "manfid": b"0x000015\n",
    "oemid": b"0x0100\n",
    "date": b"05/1997\n",
}
"""An eMMC of before version 5, without health figures: the same source."""

EMMC_LIFE_TIME = b"0x02 0x01\n"
EMMC_PRE_EOL = b"0x01\n"
"""Health figures of an eMMC of version 5: github.com/tomato64/tomato64 issue 86."""

PRE_EOL_WITHOUT_PREFIX = b"02\n"
"""How older kernels write it: drivers/mmc/core/mmc.c, ``MMC_DEV_ATTR(pre_eol_info, "%02x\\n", ...)``."""

MOUNTINFO_EXAMPLE = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
"""The example of proc_pid_mountinfo(5)."""

MOUNTINFO_ROOT = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict,resuid=65534,resgid=65534\n"
"""The root file system of a Debian 12 machine (kernel 6.18): its line in ``/proc/self/mountinfo``."""

MOUNTINFO_READ_ONLY_MOUNT = (
    b"47 46 254:0 / / ro,relatime - ext4 /dev/vda rw,discard,resv_strict,resuid=65534,resgid=65534\n"
)
"""
The same in a mount namespace after ``mount -o remount,ro,bind /``, which is what ``ProtectSystem=strict`` does.
"""

MOUNTINFO_READ_ONLY_FILE_SYSTEM = b"71 47 7:0 / /mnt ro,relatime - ext4 /dev/loop0 ro\n"
"""An ext4 on the same machine after ``mount -o remount,ro``."""
