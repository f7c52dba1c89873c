"""
Which boot files are missing, for which boards.
"""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.checking.boot_config import named_files
from piman.checking.boot_tree import MODELS, PI_3, PI_4, PI_5, Tree, boards_present, judge_tree, tree_in
from piman.checking.findings import Finding, Level
from piman.wire.pi import model_of

OURS = Path(__file__).parent.parent / "install/boot/config.txt"
CONFIG = "arm_64bit=1\ninitramfs initramfs.gz followkernel\n"

_COMMON = ("config.txt", "cmdline.txt", "initramfs.gz")
PI_3_FILES = ("bootcode.bin", "start.elf", "fixup.dat", "kernel8.img", "bcm2710-rpi-3-b.dtb", *_COMMON)
PI_4_FILES = ("start4.elf", "fixup4.dat", "kernel8.img", "bcm2711-rpi-4-b.dtb", *_COMMON)
PI_5_FILES = ("kernel_2712.img", "bcm2712-rpi-5-b.dtb", *_COMMON)


def _tree(*names: str, config: str = CONFIG, **sizes: int) -> Tree:
    given = dict.fromkeys(names, 1000) | {name.replace("__", "."): size for name, size in sizes.items()}
    return Tree(path=Path("/srv/boot"), sizes=given, read=lambda name: config)


def _bad(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level is not Level.OK]


class ConfigTests(SynchronousTestCase):
    """What config.txt names."""

    def test_ours(self) -> None:
        """Our own template names the initramfs, for all boards."""
        for family in (PI_3, PI_4, PI_5):
            self.assertEqual(named_files(OURS.read_text(), family.filters, "").initramfs, ("initramfs.gz",))

    def test_sections(self) -> None:
        """A section holds for its boards until the next one; what is meant for single boards is passed over."""
        text = (
            "kernel=all.img\n[pi4]\nkernel=four.img # mine\n[pi5]\nkernel=five.img\n[all]\nos_prefix=new/\n"
            "[0xe0ff06da]\nkernel=one.img\n[all]\n[none]\nkernel=none.img\n"
        )
        kernels = [named_files(text, family.filters, "").kernel for family in (PI_3, PI_4, PI_5)]
        self.assertEqual(kernels, ["all.img", "four.img", "five.img"])
        self.assertEqual(named_files(text, (), "").prefix, "new/")

    def test_initramfs(self) -> None:
        """All ways to name an initramfs are known, several files too."""
        for text in ("initramfs a.gz,b.gz 0x800000", "ramfsfile=a.gz,b.gz"):
            self.assertEqual(named_files(text, (), "auto").initramfs, ("a.gz", "b.gz"))
        self.assertEqual(named_files("auto_initramfs=1", (), "initramfs8").initramfs, ("initramfs8",))
        self.assertEqual(named_files("auto_initramfs=0", (), "initramfs8").initramfs, ())

    def test_prefix(self) -> None:
        """os_prefix goes before names, unless they begin at the top."""
        named = named_files("os_prefix=new/", (), "")
        self.assertEqual([named.under_prefix(name) for name in ("a", "/a")], ["new/a", "a"])


class PresentTests(SynchronousTestCase):
    """Whose files are asked for."""

    def test_seen(self) -> None:
        """Boards that were seen count, each model once; models that never load from us do not."""
        present = boards_present(["4B", None, "5", "4B", "Zero"], _tree("bootcode.bin"))
        self.assertEqual([(board.name, board.count) for board in present], [("4B", 2), ("5", 1)])

    def test_unseen(self) -> None:
        """While none was seen, the firmware that is there says which boards are meant."""
        present = boards_present([None], _tree("start4.elf", "bcm2712-rpi-5-b.dtb"))
        self.assertEqual([(board.name, board.count) for board in present], [("Pi 4", 0), ("Pi 5", 0)])

    def test_models(self) -> None:
        """Every model is spelled as a board tells it (a revision code of each, Raspberry Pi documentation)."""
        codes = (0xA22042, 0xA02082, 0xA020D3, 0xA020A0, 0xA02100, 0x902120, 0xC03111, 0xC03130, 0xC03140, 0xA03150)
        newer = (0xC04170, 0xD04190, 0xC04180, 0xB041A0)
        self.assertEqual({model_of(code) for code in (*codes, *newer)} - set(MODELS), set())


class MissingTests(SynchronousTestCase):
    """What is missing."""

    def test_complete(self) -> None:
        """A complete tree is fine for each of the three families."""
        for model, names in (("3B", PI_3_FILES), ("4B", PI_4_FILES), ("5", PI_5_FILES)):
            found = judge_tree(_tree(*names), [model])
            self.assertEqual([finding.level for finding in found], [Level.OK], model)

    def test_each_file(self) -> None:
        """Each single file of each family is missed by its name, and by no other."""
        for model, names in (("3B", PI_3_FILES), ("4B", PI_4_FILES), ("5", PI_5_FILES)):
            for name in names:
                config = CONFIG if name != "config.txt" else ""
                tree = _tree(*(other for other in names if other != name), config=config)
                (bad,) = _bad(judge_tree(tree, [model]))
                self.assertEqual(bad.level, Level.FAIL)
                lacks = bad.text.partition("lacks ")[2]
                expected = name if not name.startswith("kernel") else " or ".join(MODELS[model][0].kernels[:2])
                self.assertEqual(lacks, expected, (model, name))

    def test_initramfs_remedy(self) -> None:
        """An initramfs is built, not downloaded."""
        (bad,) = _bad(judge_tree(_tree(*(name for name in PI_4_FILES if name != "initramfs.gz")), ["4B"]))
        self.assertIn("create_initramfs", bad.remedy)

    def test_device_tree_of_the_model(self) -> None:
        """A CM4 wants its own device tree, the Pi 4's is not enough."""
        (bad,) = _bad(judge_tree(_tree(*PI_4_FILES), ["CM4"]))
        self.assertIn("lacks bcm2711-rpi-cm4*.dtb", bad.text)

    def test_kernels(self) -> None:
        """A 32-bit kernel is a kernel; a Pi 5 takes kernel8.img; one that config.txt names must be there itself."""
        thirty_two = [name for name in PI_4_FILES if name != "kernel8.img"]
        self.assertEqual(_bad(judge_tree(_tree(*thirty_two, "kernel7l.img"), ["4B"])), [])
        five = [name for name in PI_5_FILES if name != "kernel_2712.img"]
        self.assertEqual(_bad(judge_tree(_tree(*five, "kernel8.img"), ["5"])), [])
        (bad,) = _bad(judge_tree(_tree(*PI_4_FILES, config=CONFIG + "kernel=mine.img\n"), ["4B"]))
        self.assertIn("lacks mine.img", bad.text)

    def test_nothing(self) -> None:
        """A folder without firmware and kernels is one failure that says where to get them."""
        (bad,) = judge_tree(_tree("README.md", "config.txt"), [])
        self.assertEqual((bad.level, "docs/how-to/boot-files.md" in bad.remedy), (Level.FAIL, True))


class SizeTests(SynchronousTestCase):
    """Files that are there and will not do."""

    def test_limits(self) -> None:
        """65,535 blocks are the most (of 512, 1024 and 1468 bytes); the smallest limit of the boards present counts."""
        for model, names, limit in (
            ("3B", PI_3_FILES, 33_553_920),
            ("4B", PI_4_FILES, 67_107_840),
            ("5", PI_5_FILES, 96_205_380),
        ):
            self.assertEqual(_bad(judge_tree(_tree(*names, initramfs__gz=limit), [model])), [])
            (bad,) = _bad(judge_tree(_tree(*names, initramfs__gz=limit + 1), [model]))
            self.assertEqual((bad.level, f"{limit:,}" in bad.text), (Level.WARN, True))
        both = _tree(*PI_3_FILES, *PI_4_FILES, initramfs__gz=40_000_000)
        (bad,) = _bad(judge_tree(both, ["4B", "3B"]))
        self.assertIn("33,553,920", bad.text)

    def test_not_loaded(self) -> None:
        """A large file that no board loads, as a root file system in the same folder, is nobody's trouble."""
        self.assertEqual(_bad(judge_tree(_tree(*PI_4_FILES, rootfs__tgz=2_000_000_000), ["4B"])), [])

    def test_bad_files(self) -> None:
        """Empty and unreadable files are failures, a config.txt of more than 4096 bytes is a warning."""
        levels = [
            [finding.level for finding in _bad(judge_tree(_tree(*PI_4_FILES, **sizes), ["4B"]))]
            for sizes in ({"fixup4__dat": 0}, {"kernel8__img": -1}, {"config__txt": 4097}, {"config__txt": 4096})
        ]
        self.assertEqual(levels, [[Level.FAIL], [Level.FAIL], [Level.WARN], []])


class LookTests(SynchronousTestCase):
    """A real folder."""

    def test_tree(self) -> None:
        """Files in folders and behind links are seen with their sizes; broken links are not there."""
        folder = Path(self.mktemp())
        (folder / "overlays").mkdir(parents=True)
        (folder / "overlays/a.dtbo").write_bytes(b"123")
        (folder / "config.txt").write_text(CONFIG)
        os.symlink("overlays/a.dtbo", folder / "linked")
        os.symlink("nowhere", folder / "broken")
        tree = tree_in(folder)
        self.assertEqual(tree.sizes, {"overlays/a.dtbo": 3, "config.txt": len(CONFIG), "linked": 3})
        self.assertEqual(tree.config, CONFIG)

    def test_no_folder(self) -> None:
        """No folder is no empty folder."""
        self.assertRaises(FileNotFoundError, tree_in, Path(self.mktemp()))
