"""
What a board takes from config.txt and cmdline.txt.
"""

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.boards import KINDS, board_number
from piman.simulator.booting.bootconfig import BootConfig, CommandLine, boot_config

PI_4 = board_number(1, KINDS["4B"])
PI_5 = board_number(2, KINDS["5"])


class BootConfigTests(SynchronousTestCase):
    """config.txt, Raspberry Pi documentation."""

    def test_empty(self) -> None:
        """Without settings the names are those of the board, and there is no initramfs."""
        kind = KINDS["4B"]
        self.assertEqual(boot_config("", PI_4), BootConfig(kernels=kind.kernels, device_tree=kind.device_tree))

    def test_initramfs(self) -> None:
        """The one line without an equals sign; several files stand in one line."""
        self.assertEqual(boot_config("initramfs a.gz followkernel", PI_4).initramfs, ("a.gz",))
        self.assertEqual(boot_config("initramfs a.gz,b.gz 0x00800000", PI_4).initramfs, ("a.gz", "b.gz"))
        self.assertEqual(boot_config("ramfsfile=c.gz", PI_4).initramfs, ("c.gz",))

    def test_automatic_initramfs(self) -> None:
        """``auto_initramfs=1`` takes the name that belongs to the kernel."""
        self.assertEqual(boot_config("auto_initramfs=1", PI_4).initramfs, ("initramfs8",))
        self.assertEqual(boot_config("auto_initramfs=1", PI_5).initramfs, ("initramfs_2712",))

    def test_names(self) -> None:
        """Kernel, command line and device tree can have other names; the last line counts; comments do not."""
        config = boot_config("kernel=a\nkernel=b # this\ncmdline=c.txt\n#device_tree=no\ndevice_tree=d.dtb", PI_4)
        self.assertEqual((config.kernels, config.cmdline, config.device_tree), (("b",), "c.txt", "d.dtb"))

    def test_model_filters(self) -> None:
        """A section for one model is not for another; a filter of the same kind replaces the one before."""
        text = "[pi4]\nkernel=four\n[pi5]\nkernel=five\n[none]\nkernel=nobody\n[all]\ncmdline=all.txt"
        self.assertEqual(boot_config(text, PI_4).kernels, ("four",))
        self.assertEqual(boot_config(text, PI_5).kernels, ("five",))
        self.assertEqual(boot_config(text, PI_5).cmdline, "all.txt")

    def test_serial_filter(self) -> None:
        """A section for one serial; filters of different kinds must both hold."""
        text = f"[0x{PI_4.serial}]\nkernel=mine\n[pi5]\nkernel=both"
        self.assertEqual(boot_config(text, PI_4).kernels, ("mine",))
        self.assertEqual(boot_config(text, PI_5).kernels, KINDS["5"].kernels)

    def test_board_type(self) -> None:
        """A filter by the type in the revision code."""
        self.assertEqual(boot_config("[board-type=0x17]\nkernel=x", PI_5).kernels, ("x",))
        self.assertEqual(boot_config("[board-type=0x11]\nkernel=x", PI_5).kernels, KINDS["5"].kernels)

    def test_other_filters(self) -> None:
        """What no virtual board has, a monitor or a button, never holds."""
        self.assertEqual(boot_config("[gpio4=1]\nkernel=x", PI_4).kernels, KINDS["4B"].kernels)

    def test_os_prefix(self) -> None:
        """``os_prefix`` goes before names that are not absolute."""
        config = boot_config("os_prefix=six/", PI_4)
        self.assertEqual(config.under_prefix("kernel8.img"), "six/kernel8.img")
        self.assertEqual(config.under_prefix("/kernel8.img"), "/kernel8.img")


class CommandLineTests(SynchronousTestCase):
    """cmdline.txt."""

    def test_values(self) -> None:
        """The last value of a key counts, and only the first line."""
        line = CommandLine.parse(b"master=1.2.3.4 ip=dhcp master=5.6.7.8\nmaster=9.9.9.9")
        self.assertEqual((line.value("master"), line.value("init")), ("5.6.7.8", ""))

    def test_dhcp(self) -> None:
        """``ip=dhcp`` alone or at the end of the long form."""
        for text, wants in ((b"ip=dhcp", True), (b"ip=::::pi:eth0:dhcp", True), (b"ip=off quiet", False), (b"", False)):
            self.assertEqual(CommandLine.parse(text).wants_dhcp, wants)
