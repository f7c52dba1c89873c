"""
What becomes of the files of a boot partition, and how they come into boot_dir.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.importing.bootfiles import Use, apply_boot_plan, files_below, plan_boot_files, sort_files, use_of
from piman.importing.refusal import ImportRefused

# The first partition of Raspberry Pi OS Lite 2024-11-19 and of one made ready by Raspberry Pi Imager; cloud-init's
# files are those of 2025-10.
USES = {
    Use.BOOT: (
        "bootcode.bin",
        "start.elf",
        "start4cd.elf",
        "fixup4x.dat",
        "kernel.img",
        "kernel7l.img",
        "kernel_2712.img",
        "bcm2712-rpi-5-b.dtb",
        "overlays/vc4-kms-v3d.dtbo",
        "overlays/overlay_map.dtb",
        "overlays/README",
        "LICENCE.broadcom",
        "COPYING.linux",
    ),
    Use.ORIGINAL: ("cmdline.txt", "config.txt", "CONFIG.TXT"),
    Use.CARRIED: (
        "ssh",
        "userconf.txt",
        "user-data",
        "meta-data",
        "network-config",
        "custom.toml",
        "issue.txt",
        "other/cmdline.txt",
    ),
    Use.LEFT: ("initramfs8", "initramfs_2712", "initrd.img-6.1"),
}


class UseTests(SynchronousTestCase):
    """The names."""

    def test_names(self) -> None:
        """Firmware's files boot, configuration is renamed, the rest is the system's; its initramfs is of no use."""
        for use, names in USES.items():
            for name in names:
                self.assertEqual(use_of(name, 1000), use, name)

    def test_large_files(self) -> None:
        """A large file that firmware does not load is not carried into the system."""
        self.assertEqual(use_of("backup.tar", 1 << 21), Use.LEFT)
        self.assertEqual(use_of("kernel8.img", 1 << 25), Use.BOOT)

    def test_secrets_are_not_served(self) -> None:
        """What is not firmware's never comes into the boot tree, which TFTP serves to everybody."""
        folder = Path(self.mktemp())
        for names in USES.values():
            for name in names:
                (folder / "read" / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / "read" / name).write_text(name)
        became = sort_files(folder / "read", folder / "tree", folder / "carried")
        expected = sorted((*USES[Use.BOOT], *(f"{name}.original" for name in USES[Use.ORIGINAL])))
        self.assertEqual(sorted(files_below(folder / "tree")), expected)
        self.assertEqual(sorted(files_below(folder / "carried")), sorted(USES[Use.CARRIED]))
        self.assertEqual(set(became.left), set(USES[Use.LEFT]))


class BootDirTests(SynchronousTestCase):
    """Into the operator's folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.tree, self.boot_dir, self.aside = (self.folder / name for name in ("tree", "boot_dir", "aside"))
        for path, text in (
            ("tree/kernel8.img", "new kernel"),
            ("tree/start4.elf", "firmware"),
            ("tree/overlays/a.dtbo", "overlay"),
            ("tree/config.txt.original", "the image's"),
            ("boot_dir/kernel8.img", "old kernel"),
            ("boot_dir/start4.elf", "firmware"),
            ("boot_dir/config.txt", "piman's"),
            ("boot_dir/initramfs.gz", "piman's"),
        ):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)

    def content(self, folder: Path) -> dict[str, str]:
        """All files in a folder."""
        return {name: (folder / name).read_text() for name in files_below(folder)}

    def test_plan(self) -> None:
        """New, same and different files are told; nothing changes; originals are no boot files."""
        before = self.content(self.boot_dir)
        plan = plan_boot_files(self.tree, self.boot_dir)
        self.assertEqual(
            (plan.new, plan.same, plan.different), (("overlays/a.dtbo",), ("start4.elf",), ("kernel8.img",))
        )
        self.assertEqual(self.content(self.boot_dir), before)

    def test_without_replacing(self) -> None:
        """New files come, the operator's stay."""
        applied = apply_boot_plan(plan_boot_files(self.tree, self.boot_dir), aside=self.aside)
        self.assertEqual((applied.copied, applied.kept, applied.replaced), (("overlays/a.dtbo",), ("kernel8.img",), ()))
        self.assertEqual(self.content(self.boot_dir)["kernel8.img"], "old kernel")
        self.assertEqual(self.content(self.boot_dir)["overlays/a.dtbo"], "overlay")
        self.assertFalse(self.aside.exists())

    def test_replacing(self) -> None:
        """Different files are replaced, the operator's are kept aside; piman's own are not touched."""
        applied = apply_boot_plan(plan_boot_files(self.tree, self.boot_dir), aside=self.aside, replace=True)
        self.assertEqual(applied.replaced, ("kernel8.img",))
        self.assertEqual(self.content(self.aside), {"kernel8.img": "old kernel"})
        found = self.content(self.boot_dir)
        self.assertEqual(found["kernel8.img"], "new kernel")
        self.assertEqual((found["config.txt"], found["initramfs.gz"]), ("piman's", "piman's"))
        self.assertEqual(plan_boot_files(self.tree, self.boot_dir).different, ())

    def test_replacing_twice(self) -> None:
        """What was kept aside before stays there."""
        for text in ("second", "third"):
            apply_boot_plan(plan_boot_files(self.tree, self.boot_dir), aside=self.aside, replace=True)
            (self.boot_dir / "kernel8.img").write_text(text)
        apply_boot_plan(plan_boot_files(self.tree, self.boot_dir), aside=self.aside, replace=True)
        self.assertEqual(sorted(self.content(self.aside).values()), ["old kernel", "second", "third"])

    def test_open_file_keeps_its_content(self) -> None:
        """A node that is loading a file goes on with the version it began with."""
        with (self.boot_dir / "kernel8.img").open() as file:
            apply_boot_plan(plan_boot_files(self.tree, self.boot_dir), aside=self.aside, replace=True)
            self.assertEqual(file.read(), "old kernel")

    def test_something_in_the_way(self) -> None:
        """A folder where a file should be, or a file where a folder should be, is named before anything changes."""
        (self.boot_dir / "overlays").write_text("a file")
        with self.assertRaises(ImportRefused):
            plan_boot_files(self.tree, self.boot_dir)
        (self.boot_dir / "overlays").unlink()
        (self.boot_dir / "overlays/a.dtbo").mkdir(parents=True)
        with self.assertRaises(ImportRefused):
            plan_boot_files(self.tree, self.boot_dir)

    def test_empty_boot_dir(self) -> None:
        """A folder that does not exist yet is made."""
        fresh = self.folder / "fresh"
        apply_boot_plan(plan_boot_files(self.tree, fresh), aside=self.aside)
        self.assertEqual(set(self.content(fresh)), {"kernel8.img", "start4.elf", "overlays/a.dtbo"})
