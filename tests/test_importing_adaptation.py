"""
fstab and capabilities, as a node's card needs them.
"""

import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.importing.adaptation import adapt_fstab, capability_text, capability_unit
from piman.importing.ext4 import Entry
from piman.importing.refusal import ImportRefused
from piman.importing.system import check_system
from tests.importing_support import FSTAB

# security.capability as Linux 6 wrote it after setcap of libcap 2.66 with these words (getfattr -e hex).
CAPABILITIES = {
    "cap_net_raw+ep": ("0100000200200000000000000000000000000000", "13=ep"),
    "cap_net_admin,cap_net_raw=p": ("0000000200300000000000000000000000000000", "12,13=p"),
}

# Debian's own images for Raspberry Pis (raspi.debian.net, 2023) name file systems by label.
DEBIAN_FSTAB = """\
# The root file system has fs_passno=1 as per fstab(5) for automatic fsck.
LABEL=RASPIROOT / ext4 rw 0 1
# All other file systems have fs_passno=2 as per fstab(5) for automatic fsck.
LABEL=RASPIFIRM /boot/firmware vfat rw 0 2
"""


class FstabTests(SynchronousTestCase):
    """The table of file systems."""

    def test_raspberry_pi_os(self) -> None:
        """Its root is named by the label that the installer gives; its boot partition becomes a comment."""
        fstab = adapt_fstab(FSTAB)
        self.assertEqual(
            fstab.text,
            "proc            /proc           proc    defaults          0       0\n"
            "# Not on a node's card (piman): "
            "PARTUUID=57c84f67-01  /boot/firmware  vfat    defaults          0       2\n"
            "LABEL=rootfs  /               ext4    defaults,noatime  0       1\n",
        )
        self.assertEqual(fstab.boot_folder, "/boot/firmware")

    def test_debian(self) -> None:
        """Labels of another card are as foreign as its partitions' numbers."""
        used = [line.split()[:2] for line in adapt_fstab(DEBIAN_FSTAB).text.splitlines() if line[0] != "#"]
        self.assertEqual(used, [["LABEL=rootfs", "/"]])

    def test_boot_partition_of_older_systems(self) -> None:
        """Before Debian 12 it was at /boot."""
        self.assertEqual(adapt_fstab("/dev/mmcblk0p1 /boot vfat defaults 0 2\n").boot_folder, "/boot")

    def test_what_is_elsewhere_stays(self) -> None:
        """tmpfs, NFS and files on the root stay as they are."""
        text = "tmpfs /tmp tmpfs size=64M 0 0\nnas:/data /data nfs defaults 0 0\n/var/swap none swap sw 0 0\n"
        self.assertTrue(adapt_fstab(text).text.startswith(text))

    def test_without_root(self) -> None:
        """A table without a root gets one."""
        for text in ("", "\n", "# only a comment", "tmpfs /tmp tmpfs"):
            lines = adapt_fstab(text).text.splitlines()
            self.assertEqual(lines[-1].split()[:3], ["LABEL=rootfs", "/", "ext4"])

    def test_installers_label(self) -> None:
        """The label is the one in hello_protocol.sh."""
        script = (Path(__file__).parent.parent / "install/initram/hello_protocol.sh").read_text()
        self.assertIn("-L rootfs ", script)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Whatever stands there, a second adaptation changes nothing, and the root is named by its label."""
        once = adapt_fstab(text).text
        self.assertEqual(adapt_fstab(once).text, once)
        self.assertIn("LABEL=rootfs", once)


class CapabilityTests(SynchronousTestCase):
    """Capabilities of files."""

    def test_words(self) -> None:
        """What setcap wrote is told in words that it takes."""
        for value, words in CAPABILITIES.values():
            self.assertEqual(capability_text(bytes.fromhex(value)), words)

    def test_all_kinds(self) -> None:
        """Permitted, inheritable and both; above 31; of a user namespace: not (struct vfs_cap_data of capability.h)."""
        cases = (
            ("01000002 02000000 06000000 00000000 00000000", "2=ei 1=eip"),
            ("00000002 00000000 00000000 01000000 00000000", "32=p"),
            ("01000003 00200000 00000000 00000000 00000000 00000000", "13=ep"),
            ("01000003 00200000 00000000 00000000 00000000 e8030000", None),
            ("00000001 00200000 00000000", "13=p"),
            ("01000002 00000000 00000000 00000000 00000000", None),
            ("01000009 00200000 00000000 00000000 00000000", None),
            ("0100", None),
        )
        for value, words in cases:
            self.assertEqual(capability_text(bytes.fromhex(value)), words, value)

    def test_unit(self) -> None:
        """One command for each file; a failing one does not keep the others from being run."""
        value = bytes.fromhex(CAPABILITIES["cap_net_raw+ep"][0])
        unit = capability_unit({b"usr/bin/ping": value, b"usr/bin/b": value}, "/sbin/setcap")
        commands = [line for line in unit.text.splitlines() if line.startswith("Exec")]
        self.assertEqual(
            commands,
            ["ExecStart=-/sbin/setcap 13=ep /usr/bin/b", "ExecStart=-/sbin/setcap 13=ep /usr/bin/ping"],
        )
        self.assertEqual(unit.left_out, ())

    def test_left_out(self) -> None:
        """Files that it cannot set are named: odd names, capabilities of a namespace, a system without setcap."""
        value = bytes.fromhex(CAPABILITIES["cap_net_raw+ep"][0])
        unit = capability_unit({b"a b": value, b"c;d": value, b"e": b"odd"}, "/sbin/setcap")
        self.assertEqual((unit.text, unit.left_out), ("", ("/a b", "/c;d", "/e")))
        self.assertEqual(capability_unit({b"x": value}, None).left_out, ("/x",))


class SystemTests(SynchronousTestCase):
    """Whether there is a system at all."""

    def test_init(self) -> None:
        """Without an init it is refused, as the installer on the node would refuse it."""
        check_system([_entry(b"sbin/init")])
        with self.assertRaises(ImportRefused):
            check_system([_entry(b"etc/init"), _entry(b"sbin/init.d")])


def _entry(path: bytes) -> Entry:
    return Entry(path=path, inode=12, mode=stat.S_IFREG | 0o755, uid=0, gid=0, size_bytes=0)
