"""
Boards: what tells them apart.
"""

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.boards import KINDS, Board, board_number
from piman.wire.pi import board_of, eeprom_discover, model_of, rom_discover
from tests.captures import dhcp as captures


class BoardTests(SynchronousTestCase):
    """Identities."""

    def test_serial_in_mac(self) -> None:
        """A board of the ROM family has the low octets of its serial in its MAC."""
        board = board_number(0x86_96F5, KINDS["3B+"])
        self.assertEqual((board.mac.hex(":"), board.serial[2:]), ("b8:27:eb:86:96:f5", "8696f5"))

    def test_all_different(self) -> None:
        """No two numbers share MAC or serial, whatever the kind."""
        kinds = list(KINDS.values())
        boards = [board_number(number, kinds[number % 4]) for number in range(10_000)]
        self.assertEqual(len({board.mac for board in boards}), 10_000)
        self.assertEqual(len({board.serial for board in boards}), 10_000)

    def test_always_the_same(self) -> None:
        """A number means the same board in every run."""
        self.assertEqual(board_number(7, KINDS["5"]), board_number(7, KINDS["5"]))

    def test_models(self) -> None:
        """The revision code of each kind says its name."""
        models = {name: model_of(kind.revision) for name, kind in KINDS.items()}
        self.assertEqual(models, {name: name for name in KINDS})

    def test_recognised(self) -> None:
        """What each kind puts into option 97 tells its serial and model, except the mask ROM of a 3B."""
        for kind in KINDS.values():
            board = board_number(3, kind)
            first = rom_discover(board.mac, board.rom_guid) if kind.has_serial_in_mac else None
            seen = board_of(first or eeprom_discover(board.mac, board.guid, 1))
            if kind.is_mask_rom:
                self.assertEqual((seen.serial, seen.model), (None, "3B"))
            else:
                self.assertEqual(seen.serial, board.serial)

    def test_guid_of_a_pi_5(self) -> None:
        """The option 97 of a known Pi 5 comes out byte for byte."""
        board = Board(kind=KINDS["5"], mac=bytes.fromhex("88a29eaec87f"), serial="da591740")
        self.assertEqual(board.guid, captures.GUID_PI5)
