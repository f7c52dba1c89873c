"""
The boot loaders: which files they ask for, what they can do without.
"""

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.firmware import Hung, boot
from piman.simulator.running.plan import TEXT_FILES
from piman.wire.dhcp import MessageType
from tests.simulator_support import PADDED_MENU, Bench

OFFER, ACK = MessageType.OFFER, MessageType.ACK
CONFIG = TEXT_FILES["config.txt"].encode()
COMMON = {"config.txt": CONFIG, "cmdline.txt": b"ip=dhcp master=172.30.4.1\n", "initramfs.gz": b"cpio" * 500}
FILES: Mapping[str, Mapping[str, bytes]] = {
    "3B+": {
        **COMMON,
        "bootcode.bin": b"code" * 300,
        "start.elf": b"elf" * 900,
        "fixup.dat": b"fix",
        "bcm2710-rpi-3-b-plus.dtb": b"dtb",
        "kernel8.img": b"linux" * 300,
    },
    "4B": {
        **COMMON,
        "start4.elf": b"elf" * 900,
        "fixup4.dat": b"fix",
        "bcm2711-rpi-4-b.dtb": b"dtb",
        "kernel8.img": b"linux" * 300,
    },
    "5": {**COMMON, "bcm2712-rpi-5-b.dtb": b"dtb", "kernel_2712.img": b"linux" * 300},
}
FILES = {**FILES, "3B": {**FILES["3B+"], "bcm2710-rpi-3-b.dtb": b"dtb"}}


def run_boot(kind: str, files: Mapping[str, bytes], *, agrees: bool = True) -> Bench:
    """A board that boots from these files as far as it comes."""
    bench = Bench(kind)
    bench.network.files, bench.network.agrees = files, agrees
    bench.run(boot(bench.machine))
    answer_dhcp(bench)
    return bench


def answer_dhcp(bench: Bench) -> None:
    """Answer every DHCP message, let time pass; stop when nothing is asked any more."""
    answered = 0
    for _ in range(40):
        if bench.has_ended or bench.journal.retries:
            return
        if len(bench.messages()) > answered:
            answered = len(bench.messages())
            kind = OFFER if bench.messages()[-1].message_type is MessageType.DISCOVER else ACK
            if bench.board.kind.is_mask_rom and answered == 1:
                bench.clock.advance(1.0)
                bench.reply(kind, options=PADDED_MENU)
                bench.clock.advance(0.6)
                bench.reply(kind, options=PADDED_MENU)
            else:
                bench.reply(kind)
        bench.clock.advance(0.5)


class OrderTests(SynchronousTestCase):
    """Which files are asked for, in which order."""

    def test_all_boot(self) -> None:
        """Every kind of board reaches its kernel, with initramfs and command line."""
        for kind, files in FILES.items():
            bench = run_boot(kind, files)
            self.assertIsNone(bench.failure, kind)
            self.assertTrue(bench.result.has_initramfs, kind)
            self.assertEqual(bench.result.command_line.value("master"), "172.30.4.1", kind)

    def test_rom_family(self) -> None:
        """bootcode.bin without a prefix, a look for bootsig.bin, then start.elf with the prefix as the probe."""
        bench = run_boot("3B+", FILES["3B+"])
        serial = bench.board.serial
        self.assertEqual(
            bench.network.asked[:8],
            [
                "bootcode.bin",
                "bootsig.bin",
                f"{serial}/start.elf",
                "autoboot.txt",
                "config.txt",
                "recovery.elf",
                "start.elf",
                "fixup.dat",
            ],
        )

    def test_rom_asks_twice(self) -> None:
        """bootcode.bin asks for an address of its own, and neither ever sends a REQUEST."""
        for kind in ("3B", "3B+"):
            bench = run_boot(kind, FILES[kind])
            kinds = [message.message_type for message in bench.messages()]
            self.assertEqual(kinds, [MessageType.DISCOVER] * 2, kind)

    def test_pi_4(self) -> None:
        """Two probes with the prefix, config.txt, and start4.elf after the names that are normally missing."""
        bench = run_boot("4B", FILES["4B"])
        serial, asked = bench.board.serial, bench.network.asked
        self.assertEqual(asked[:3], [f"{serial}/start4.elf", f"{serial}/start.elf", "config.txt"])
        self.assertLess(asked.index("recovery.elf"), asked.index("start4.elf"))
        self.assertLess(asked.index("start4.elf"), asked.index("fixup4.dat"))
        self.assertLess(asked.index("cmdline.txt"), asked.index("kernel8.img"))

    def test_pi_5(self) -> None:
        """A Pi 5 probes config.txt and needs no start file."""
        bench = run_boot("5", FILES["5"])
        asked = bench.network.asked
        self.assertEqual(asked[:2], [f"{bench.board.serial}/config.txt", "config.txt"])
        self.assertFalse([name for name in asked if name.endswith(".elf")])

    def test_prefix(self) -> None:
        """A probe file that is there with the prefix keeps the prefix for everything; a Pi 5 doubles one slash."""
        for kind in ("3B+", "4B", "5"):
            serial = Bench(kind).board.serial
            files = {f"{serial}/{name}": content for name, content in FILES[kind].items()}
            doubled = {f"{serial}//cmdline.txt": FILES[kind]["cmdline.txt"]}
            bench = run_boot(kind, {**files, **doubled, "bootcode.bin": b"code"})
            self.assertIsNone(bench.failure, kind)
            late = [name for name in bench.network.asked if not name.startswith((serial, "boot"))]
            self.assertEqual(late, [], kind)
            self.assertEqual(f"{serial}//cmdline.txt" in bench.network.asked, kind == "5")

    def test_source_port(self) -> None:
        """No two requests of one stage come from the same port."""
        bench = run_boot("4B", FILES["4B"])
        ports = [socket.at[1] for socket in bench.network.sockets if socket.at[1] != 68]
        self.assertEqual(len(set(ports)), len(ports))

    def test_os_prefix(self) -> None:
        """``os_prefix`` counts if kernel and device tree are there, and is forgotten if not."""
        files = {**FILES["4B"], "config.txt": CONFIG + b"os_prefix=six/\n"}
        self.assertIn("kernel8.img", run_boot("4B", files).network.asked)
        moved = {name if name.startswith(("start", "fixup", "config")) else f"six/{name}": content
                 for name, content in files.items()}  # fmt: skip
        bench = run_boot("4B", moved)
        self.assertTrue(bench.result.has_initramfs)
        self.assertIn("six/cmdline.txt", bench.network.asked)


class MissingTests(SynchronousTestCase):
    """What a board can and cannot do without."""

    def test_rom_family_hangs(self) -> None:
        """Without bootcode.bin, start.elf, fixup.dat, device tree or kernel a 3B+ hangs until its power is cycled."""
        for name in ("bootcode.bin", "start.elf", "fixup.dat", "bcm2710-rpi-3-b-plus.dtb", "kernel8.img"):
            bench = run_boot("3B+", {key: value for key, value in FILES["3B+"].items() if key != name})
            self.assertIsInstance(bench.failure, Hung, name)

    def test_eeprom_tries_again(self) -> None:
        """Without one of the files that it needs, a Pi 4 or 5 begins its network boot anew."""
        for kind, name in (("4B", "start4.elf"), ("4B", "kernel8.img"), ("5", "config.txt"), ("5", "kernel_2712.img")):
            bench = run_boot(kind, {key: value for key, value in FILES[kind].items() if key != name})
            self.assertIsNone(bench.failure)
            bench.clock.pump([1.0] * 10)
            self.assertEqual(bench.journal.retries, 1)
            self.assertEqual(bench.messages()[-1].message_type, MessageType.DISCOVER)

    def test_no_server(self) -> None:
        """Without an OFFER the ROM hangs after 25 s, the EEPROM asks for ever."""
        for kind, hangs in (("3B", True), ("3B+", True), ("4B", False), ("5", False)):
            bench = Bench(kind)
            bench.run(boot(bench.machine))
            bench.clock.pump([1.0] * 300)
            self.assertEqual(bench.has_ended, hangs, kind)
            self.assertEqual(bench.journal.retries > 3, not hangs, kind)

    def test_without_agreement(self) -> None:
        """A server that ignores options: start.elf takes every file for missing, a Pi 4 reads no config.txt."""
        self.assertIsInstance(run_boot("3B+", FILES["3B+"], agrees=False).failure, Hung)
        self.assertIsNone(run_boot("4B", FILES["4B"], agrees=False).result)

    def test_normal_probes(self) -> None:
        """Names that are normally missing stop nobody, and are counted."""
        bench = run_boot("4B", FILES["4B"])
        self.assertIn("recovery8.img", bench.journal.missing)
        self.assertEqual(bench.journal.trouble, "")

    def test_damage_is_seen(self) -> None:
        """A file that is not what it should be is counted as damaged, by its name without prefix."""
        bench = Bench("4B")
        bench.journal.check = lambda name, content: name != "initramfs.gz"
        bench.network.files = FILES["4B"]
        bench.run(boot(bench.machine))
        answer_dhcp(bench)
        self.assertEqual(bench.journal.damaged, ["initramfs.gz"])
