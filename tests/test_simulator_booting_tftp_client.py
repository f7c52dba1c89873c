"""
The boot loaders' TFTP clients.
"""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.tftp_client import (
    EEPROM,
    OLD_EEPROM,
    ROM,
    START_ELF,
    Fetched,
    Habits,
    Outcome,
    Transfer,
    fetch,
)
from piman.wire import tftp
from tests.captures import tftp as captures
from tests.simulator_support import ADDRESS, SERVER, Bench

PEER = (str(SERVER), 50_000)


class FetchTests(SynchronousTestCase):
    """One request."""

    def ask(self, name: str, habits: Habits, *, only_size: bool = False, seed: int = 1) -> Bench:
        """A board that has just asked."""
        bench = Bench(seed=seed)
        bench.run(fetch(bench.machine, ADDRESS, SERVER, name, habits, only_size=only_size))
        return bench

    def test_request_bytes(self) -> None:
        """Each stage asks as it was captured: the ROM bare, start.elf with tsize, the EEPROM with blksize."""
        for name, habits, wanted in (
            ("bootcode.bin", ROM, captures.ROM_REQUEST),
            ("89eb9bb9/config.txt", START_ELF, captures.BOOTCODE_REQUEST),
            ("e0ff06da/start4.elf", EEPROM, captures.EEPROM_REQUEST),
        ):
            self.assertEqual(self.ask(name, habits).socket.sent, [(wanted, (str(SERVER), 69))])

    def test_without_options(self) -> None:
        """The ROM reads blocks of 512 octets until a short one."""
        bench = self.ask("bootcode.bin", ROM)
        bench.socket.deliver(tftp.Data(1, b"a" * 512).to_wire(), PEER)
        bench.socket.deliver(tftp.Data(2, b"b").to_wire(), PEER)
        self.assertEqual(bench.result.content, b"a" * 512 + b"b")
        acks = [tftp.Acknowledgement(1).to_wire(), tftp.Acknowledgement(2).to_wire()]
        self.assertEqual(bench.socket.sent[1:], [(ack, PEER) for ack in acks])

    def test_negotiated(self) -> None:
        """After the OACK blocks have the agreed size, and a file of exactly one block ends with an empty one."""
        bench = self.ask("kernel8.img", EEPROM)
        bench.socket.deliver(tftp.OptionAcknowledgement({"tsize": "1468", "blksize": "1468"}).to_wire(), PEER)
        bench.socket.deliver(tftp.Data(1, b"a" * 1468).to_wire(), PEER)
        self.assertFalse(bench.has_ended)
        bench.socket.deliver(tftp.Data(2, b"").to_wire(), PEER)
        self.assertEqual(bench.result, Fetched(outcome=Outcome.READ, content=b"a" * 1468, size=1468))

    def test_probe(self) -> None:
        """Who wants only the length hangs up with "Early terminate", or sometimes without a word after ACK 0."""
        goodbyes = set()
        for seed in range(20):
            bench = self.ask("S/start4.elf", EEPROM, only_size=True, seed=seed)
            bench.socket.deliver(tftp.OptionAcknowledgement({"tsize": "7", "blksize": "1468"}).to_wire(), PEER)
            self.assertEqual((bench.result.outcome, bench.result.size), (Outcome.SIZED, 7))
            goodbyes.add(bench.socket.sent[-1][0])
        self.assertEqual(goodbyes, {captures.EARLY_TERMINATE, tftp.Acknowledgement(0).to_wire()})

    def test_missing(self) -> None:
        """Error 1 means that there is no such file."""
        bench = self.ask("bootsig.bin", ROM)
        bench.socket.deliver(tftp.Error(1, "File not found").to_wire(), PEER)
        self.assertEqual(bench.result.outcome, Outcome.MISSING)

    def test_broken_off(self) -> None:
        """An error in the middle is no missing file."""
        bench = self.ask("bootcode.bin", ROM)
        bench.socket.deliver(tftp.Data(1, b"a" * 512).to_wire(), PEER)
        bench.socket.deliver(tftp.Error(1, "gone").to_wire(), PEER)
        self.assertEqual(bench.result.outcome, Outcome.BROKEN)

    def test_wrong_length(self) -> None:
        """A file that is shorter than its tsize did not arrive."""
        bench = self.ask("config.txt", START_ELF)
        bench.socket.deliver(tftp.OptionAcknowledgement({"tsize": "9"}).to_wire(), PEER)
        bench.socket.deliver(tftp.Data(1, b"short").to_wire(), PEER)
        self.assertEqual(bench.result.outcome, Outcome.BROKEN)

    def test_unasked_option(self) -> None:
        """A server that agrees to what nobody asked, or to larger blocks, is told so."""
        for options in ({"windowsize": "8"}, {"blksize": "9000"}, {"tsize": "many"}):
            bench = self.ask("config.txt", EEPROM)
            bench.socket.deliver(tftp.OptionAcknowledgement(options).to_wire(), PEER)
            self.assertEqual(bench.result.outcome, Outcome.BROKEN)
            self.assertEqual(tftp.from_wire(bench.socket.sent[-1][0]), tftp.Error(8, "Bad options"))

    def test_no_agreement(self) -> None:
        """DATA instead of an OACK is read, and said to be without agreement."""
        bench = self.ask("config.txt", START_ELF)
        bench.socket.deliver(tftp.Data(1, b"text").to_wire(), PEER)
        self.assertEqual((bench.result.content, bench.result.agreed), (b"text", False))

    def test_doubled_block(self) -> None:
        """A block that was seen before is acknowledged again and not taken twice; another one is ignored."""
        bench = self.ask("bootcode.bin", ROM)
        for block, content in ((1, b"a" * 512), (1, b"a" * 512), (7, b"x" * 512), (2, b"")):
            bench.socket.deliver(tftp.Data(block, content).to_wire(), PEER)
        self.assertEqual(bench.result.content, b"a" * 512)
        acks = [tftp.from_wire(data) for data, _ in bench.socket.sent[1:]]
        self.assertEqual(acks, [tftp.Acknowledgement(block) for block in (1, 1, 2)])

    def test_other_sources(self) -> None:
        """Another host, and another port of the server once one has answered, are not listened to."""
        bench = self.ask("bootcode.bin", ROM)
        bench.socket.deliver(tftp.Data(1, b"evil").to_wire(), ("172.30.4.66", 50_000))
        bench.socket.deliver(tftp.Data(1, b"a" * 512).to_wire(), PEER)
        bench.socket.deliver(tftp.Data(2, b"evil").to_wire(), (PEER[0], 50_001))
        self.assertFalse(bench.has_ended)

    def test_rubbish(self) -> None:
        """What is no TFTP changes nothing."""
        bench = self.ask("bootcode.bin", ROM)
        for data in (b"", b"\0", b"\0\x09what", tftp.ReadRequest(b"x").to_wire()):
            bench.socket.deliver(data, PEER)
        self.assertFalse(bench.has_ended)

    def test_repeats_itself(self) -> None:
        """start.elf says again what it said last, every 2 s, and gives up after 10 s of silence."""
        bench = self.ask("config.txt", START_ELF)
        bench.clock.pump([1.0] * 10)
        self.assertEqual(bench.times(), [0.0, 2.0, 4.0, 6.0, 8.0])
        self.assertEqual(bench.result.outcome, Outcome.NO_ANSWER)
        self.assertEqual(bench.journal.resends, 4)

    def test_rom_is_mute(self) -> None:
        """The ROM never repeats a request: one that is lost costs the boot."""
        bench = self.ask("bootcode.bin", ROM)
        bench.clock.pump([1.0] * 10)
        self.assertEqual(len(bench.network.sent), 1)
        self.assertEqual(bench.result.outcome, Outcome.NO_ANSWER)

    def test_slow_file(self) -> None:
        """A file may take long as long as blocks keep coming; an EEPROM has 30 s for a whole file."""
        for habits, is_read in ((START_ELF, True), (EEPROM, False)):
            bench = self.ask("kernel8.img", habits)
            options = {name: "30720" if name == "tsize" else "512" for name in habits.options}
            bench.socket.deliver(tftp.OptionAcknowledgement(options).to_wire(), PEER)
            for block in range(1, 62):
                bench.clock.advance(1.0)
                bench.socket.deliver(tftp.Data(block, b"x" * 512 if block < 61 else b"").to_wire(), PEER)
            self.assertEqual(bench.result.outcome, Outcome.READ if is_read else Outcome.NO_ANSWER)

    def test_socket_is_closed(self) -> None:
        """Whatever the end, the socket is closed."""
        bench = self.ask("bootcode.bin", ROM)
        bench.clock.advance(10.0)
        self.assertFalse(bench.socket.is_open)


class WrapTests(SynchronousTestCase):
    """Files of more than 65535 blocks."""

    def blocks(self, habits: Habits, count: int) -> Transfer:
        """A transfer that was sent so many full blocks of 8 octets, then the end."""
        transfer = Transfer("big", attrs.evolve(habits, options={"tsize": "0", "blksize": "8"}), only_size=False)
        options = {"tsize": str(8 * count), "blksize": "8"}
        transfer.receive(tftp.OptionAcknowledgement(options).to_wire())
        for block in range(1, count + 2):
            content = b"" if block > count else b"8 octets"
            transfer.receive(tftp.Data(block & 0xFFFF, content).to_wire())
            if transfer.result is not None:
                break
        return transfer

    def test_new(self) -> None:
        """Block 0 follows block 65535 in releases since 2025-09."""
        transfer = self.blocks(EEPROM, 65_600)
        assert transfer.result is not None
        self.assertEqual((transfer.result.outcome, len(transfer.result.content)), (Outcome.READ, 8 * 65_600))

    def test_old(self) -> None:
        """Older releases stop after block 65535, and the file is cut off."""
        transfer = self.blocks(OLD_EEPROM, 65_600)
        assert transfer.result is not None
        self.assertEqual((transfer.result.outcome, len(transfer.result.content)), (Outcome.BROKEN, 8 * 65_535))
