"""
What Raspberry Pis look like on the wire, against captures.
"""

from ipaddress import IPv4Address

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.wire import pi
from piman.wire.dhcp import Message, MessageType, Option
from piman.wire.pi import Board
from tests.captures import dhcp as captures

PI_MAC = bytes.fromhex("dca632ecfc3c")
FOREIGN_MAC = bytes.fromhex("525400123456")


def discover(chaddr: bytes = PI_MAC, xid: int = 7, **options: bytes) -> Message:
    """A DISCOVER with these options, by the names of :class:`Option`."""
    named = {int(Option[name.upper()]): value for name, value in options.items()}
    return Message(op=1, xid=xid, chaddr=chaddr, options={53: b"\x01"} | named)


class BoardTests(SynchronousTestCase):
    """Which board it is."""

    def test_captures(self) -> None:
        """Serial, revision and model are what the owners of the captured boards say."""
        for data, board in (
            (captures.DISCOVER_3B_MASK_ROM, Board(model="3B")),
            (captures.DISCOVER_3BPLUS, Board(serial="8d8696f5")),
            (captures.DISCOVER_PI400, Board(serial="e0ff06da", revision=0xC03130, model="400")),
            (captures.REQUEST_PI400, Board(serial="e0ff06da", revision=0xC03130, model="400")),
            (captures.DISCOVER_UDHCPC, Board()),
            (captures.DISCOVER_KERNEL, Board()),
        ):
            self.assertEqual(pi.board_of(Message.from_wire(data)), board)

    def test_layouts(self) -> None:
        """Every layout of option 97 is read: four serials, FourCC in either byte order, Pi 5."""
        for guid, board in (
            (captures.GUID_EARLY_PI4, Board(serial="6aee7243")),
            (captures.GUID_REVERSED_PI4, Board(serial="91cdf03d", revision=0xD03114, model="4B")),
            (captures.GUID_PI5, Board(serial="da591740", revision=0xD04170, model="5")),
        ):
            self.assertEqual(pi.board_of(discover(client_guid=guid)), board)

    def test_missing_revision(self) -> None:
        """Without a known revision code the family is the model."""
        for fourcc, model in ((b"RPi4", "4B"), (b"RPi5", "5"), (b"RPi6", "6")):
            guid = pi.guid_of_board(fourcc, 0, PI_MAC, "e0ff06da")
            self.assertEqual(pi.board_of(discover(client_guid=guid)), Board(serial="e0ff06da", model=model))

    def test_foreign_guid(self) -> None:
        """The GUID of an x86 machine says nothing, not even when it repeats itself."""
        for guid in (b"\0" * 17, b"\0" + b"\xff" * 16, b"\0" + b"abcd" * 4, b"\0" + bytes(range(16)), b"", b"\0RPi4"):
            self.assertEqual(pi.board_of(discover(FOREIGN_MAC, client_guid=guid)), Board())

    def test_revision_codes(self) -> None:
        """Revision codes of the documentation's table stand for their models."""
        for revision, model in (
            (0x000D, "B"),
            (0x0012, "A+"),
            (0x900032, "B+"),
            (0xA01041, "2B"),
            (0xA02082, "3B"),
            (0xA020D3, "3B+"),
            (0x902120, "Zero 2 W"),
            (0xC03114, "4B"),
            (0xC03130, "400"),
            (0xD03140, "CM4"),
            (0xC04170, "5"),
            (0xD04190, "500"),
            (0xC04180, "CM5"),
            (0xFFFFFF, None),
            (0x0000, None),
        ):
            self.assertEqual(pi.model_of(revision), model, hex(revision))

    def test_is_pi(self) -> None:
        """A Pi is known by its address, by the ROM's xid, or by its GUID behind a changed address."""
        self.assertTrue(pi.is_pi(discover()))
        self.assertTrue(pi.is_pi(discover(FOREIGN_MAC, xid=pi.ROM_XID)))
        self.assertTrue(pi.is_pi(discover(FOREIGN_MAC, client_guid=captures.GUID_PI5)))
        self.assertFalse(pi.is_pi(discover(FOREIGN_MAC, client_guid=b"\0" * 17, vendor_class=captures.VENDOR_CLASS)))


class StageTests(SynchronousTestCase):
    """Which program asks."""

    def stage(self, data: bytes) -> str:
        """The stage of a capture."""
        return pi.stage_of(Message.from_wire(data))

    def test_captures(self) -> None:
        """Each captured program is recognised."""
        for data, stage in (
            (captures.DISCOVER_3B_MASK_ROM, "rom"),
            (captures.DISCOVER_3BPLUS, "rom"),
            (captures.DISCOVER_PI400, "eeprom"),
            (captures.REQUEST_PI400, "eeprom"),
            (captures.DISCOVER_KERNEL, "kernel"),
            (captures.DISCOVER_UDHCPC, "initramfs"),
            (captures.REQUEST_UDHCPC, "initramfs"),
            (captures.DISCOVER_DHCLIENT, "os"),
            (captures.REQUEST_DHCLIENT, "os"),
        ):
            self.assertEqual(self.stage(data), stage)

    def test_mask_rom(self) -> None:
        """The mask ROM of a 3B is the ROM's xid with its short list or its constant GUID, nothing else."""
        self.assertTrue(pi.is_mask_rom(Message.from_wire(captures.DISCOVER_3B_MASK_ROM)))
        self.assertFalse(pi.is_mask_rom(Message.from_wire(captures.DISCOVER_3BPLUS)))
        self.assertTrue(pi.is_mask_rom(discover(xid=pi.ROM_XID, client_guid=pi.MASK_ROM_GUID)))
        self.assertTrue(pi.is_mask_rom(discover(xid=pi.ROM_XID, parameter_list=captures.MASK_ROM_PARAMETERS)))
        self.assertFalse(pi.is_mask_rom(discover(xid=8, client_guid=pi.MASK_ROM_GUID)))

    def test_u_boot(self) -> None:
        """U-Boot on a Pi sends the mask ROM's GUID with an xid of its own: it is another boot program."""
        message = discover(client_guid=pi.MASK_ROM_GUID, vendor_class=captures.VENDOR_CLASS, maximum_size=b"\2\x40")
        self.assertEqual(pi.stage_of(message), "other")
        self.assertEqual(pi.stage_of(discover(vendor_class=b"U-Boot.armv8")), "other")

    def test_ipxe(self) -> None:
        """UEFI and iPXE on a Pi are other boot programs."""
        self.assertEqual(pi.stage_of(discover(vendor_class=b"PXEClient:Arch:00011:UNDI:003000")), "other")

    def test_old_boot_loader(self) -> None:
        """A Pi 4 before 2020 sends its serial as GUID, and a REQUEST without vendor class."""
        early = discover(client_guid=captures.GUID_EARLY_PI4, vendor_class=captures.VENDOR_CLASS)
        self.assertEqual(pi.stage_of(early), "eeprom")
        bare = Message(op=1, xid=7, chaddr=PI_MAC, options={53: b"\x03", 97: captures.GUID_EARLY_PI4})
        self.assertEqual(pi.stage_of(bare), "eeprom")

    def test_changed_guid_prefix(self) -> None:
        """With ``DHCP_OPTION97`` set to anything, the list of wanted options tells the boot loader."""
        message = discover(
            client_guid=b"\0LAB1" + bytes(range(12)),
            vendor_class=captures.VENDOR_CLASS,
            parameter_list=captures.EEPROM_PARAMETERS,
        )
        self.assertEqual(pi.stage_of(message), "eeprom")
        self.assertEqual(pi.stage_of(attrs.evolve(message, chaddr=FOREIGN_MAC)), "other")
        self.assertEqual(pi.stage_of(attrs.evolve(message, chaddr=FOREIGN_MAC), known=True), "eeprom")

    def test_known_board(self) -> None:
        """A board with a foreign address runs its system when the operator knows it; a stranger is just other."""
        self.assertEqual(pi.stage_of(discover(FOREIGN_MAC)), "other")
        self.assertEqual(pi.stage_of(discover(FOREIGN_MAC), known=True), "os")

    def test_bootp(self) -> None:
        """Plain BOOTP has no stage."""
        self.assertEqual(pi.stage_of(Message(op=1, xid=pi.ROM_XID, chaddr=PI_MAC)), "other")

    @given(st.dictionaries(st.sampled_from((55, 57, 60, 93, 97)), st.binary(max_size=40)), st.booleans())
    def test_total(self, options: dict[int, bytes], known: bool) -> None:
        """Whatever the options hold, there is a stage and a board."""
        for xid in (7, pi.ROM_XID):
            message = Message(op=1, xid=xid, chaddr=PI_MAC, options={53: b"\x01"} | options)
            self.assertIn(pi.stage_of(message, known), ("rom", "eeprom", "kernel", "initramfs", "os", "other"))
            self.assertIsInstance(pi.board_of(message), Board)


class BootMenuTests(SynchronousTestCase):
    """Option 43."""

    def test_standard(self) -> None:
        """The menu is what dnsmasq sends."""
        self.assertEqual(pi.boot_menu(), captures.BOOT_MENU)
        self.assertEqual(pi.boot_menu_for(PI_MAC), captures.BOOT_MENU)

    def test_padded(self) -> None:
        """Boards that may be a 3B get three spaces after the text."""
        self.assertEqual(pi.boot_menu(padded=True), captures.PADDED_BOOT_MENU)
        self.assertEqual(pi.boot_menu_for(bytes.fromhex("b827eb64247d")), captures.PADDED_BOOT_MENU)


class PrefixTests(SynchronousTestCase):
    """What boot file names begin with."""

    def test_serial(self) -> None:
        """Eight hexadecimal digits and a slash are a serial, with leading zeros, after leading slashes too."""
        for name, serial in (
            (b"8d8696f5/config.txt", "8d8696f5"),
            (b"09b92bda//cmdline.txt", "09b92bda"),
            (b"/09B92BDA/start.elf", "09b92bda"),
            (b"config.txt", None),
            (b"8d8696f5", None),
            (b"8d8696f/config.txt", None),
            (b"overlays/8d8696f5/x", None),
        ):
            self.assertEqual(pi.serial_prefix(name), serial, name)

    def test_mac(self) -> None:
        """With TFTP_PREFIX=2 names begin with the address in dashes."""
        self.assertEqual(pi.mac_prefix(b"dc-a6-32-01-36-c2/config.txt"), bytes.fromhex("dca6320136c2"))
        self.assertIs(pi.mac_prefix(b"dc-a6-32-01-36/config.txt"), None)


class BuilderTests(SynchronousTestCase):
    """What the simulator sends is what boards were seen to send."""

    def test_mask_rom(self) -> None:
        """The DISCOVER of a 3B's mask ROM, octet for octet."""
        self.assertEqual(pi.rom_discover(bytes.fromhex("b827eb64247d")).to_wire(), captures.DISCOVER_3B_MASK_ROM)

    def test_3bplus(self) -> None:
        """The DISCOVER of a 3B+, octet for octet."""
        message = pi.rom_discover(bytes.fromhex("b827eb8696f5"), pi.guid_of_serial("8d8696f5"))
        self.assertEqual(message.to_wire(), captures.DISCOVER_3BPLUS)

    def test_pi_4(self) -> None:
        """DISCOVER and REQUEST of a Pi 400, octet for octet."""
        asked = pi.eeprom_discover(PI_MAC, pi.guid_of_board(b"RPi4", 0xC03130, PI_MAC, "e0ff06da"), 0x3A1C0B2D)
        self.assertEqual(asked.to_wire(), captures.DISCOVER_PI400)
        request = pi.eeprom_request(asked, IPv4Address("172.30.4.13"), IPv4Address("172.30.4.1"))
        self.assertEqual(request.to_wire(), captures.REQUEST_PI400)
        self.assertIs(request.message_type, MessageType.REQUEST)

    def test_pi_5(self) -> None:
        """The GUID of a Pi 5."""
        guid = pi.guid_of_board(b"RPi5", 0xD04170, bytes.fromhex("88a29eaec87f"), "da591740")
        self.assertEqual(guid, captures.GUID_PI5)
