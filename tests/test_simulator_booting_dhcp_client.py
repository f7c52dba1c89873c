"""
The boards' DHCP clients: their bytes against captures, their patience against what is known of it.
"""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import Stage
from piman.simulator.booting import dhcp_client
from piman.simulator.booting.boards import KINDS, Board
from piman.simulator.booting.dhcp_client import (
    eeprom_lease,
    kernel_client,
    renew,
    rom_lease,
    system_client,
    udhcpc_client,
)
from piman.wire.dhcp import Message, MessageType, Option
from tests.captures import dhcp as captures
from tests.simulator_support import ADDRESS, MENU, PADDED_MENU, ROUTER, SERVER, Bench

BOARD_3B = Board(kind=KINDS["3B"], mac=bytes.fromhex("b827eb64247d"), serial="5564247d")
BOARD_3BPLUS = Board(kind=KINDS["3B+"], mac=bytes.fromhex("b827eb8696f5"), serial="8d8696f5")
PI_400 = attrs.evolve(KINDS["4B"], revision=0xC03130)
BOARD_PI400 = Board(kind=PI_400, mac=bytes.fromhex("dca632ecfc3c"), serial="e0ff06da")
OFFER, ACK, NAK = MessageType.OFFER, MessageType.ACK, MessageType.NAK


def with_xid(data: bytes, xid: int) -> bytes:
    """The same message with another transaction id."""
    return data[:4] + xid.to_bytes(4, "big") + data[8:]


class ByteTests(SynchronousTestCase):
    """What goes on the wire, byte for byte as boards were captured."""

    def test_mask_rom(self) -> None:
        """A 3B's mask ROM: 320 octets, twelve wanted options, a GUID without information."""
        bench = Bench(board=BOARD_3B)
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        self.assertEqual(bench.network.sent[0][1], captures.DISCOVER_3B_MASK_ROM)

    def test_3bplus(self) -> None:
        """A 3B+: 322 octets, its serial four times, in the ROM and in bootcode.bin alike."""
        for is_first_stage in (True, False):
            bench = Bench(board=BOARD_3BPLUS)
            bench.run(rom_lease(bench.machine, is_first_stage=is_first_stage))
            self.assertEqual(bench.network.sent[0][1], captures.DISCOVER_3BPLUS)

    def test_bootcode_of_a_3b(self) -> None:
        """The second stage of a 3B sends what a 3B+ sends, with its own serial."""
        bench = Bench(board=BOARD_3B)
        bench.run(rom_lease(bench.machine, is_first_stage=False))
        message = bench.messages()[0]
        self.assertEqual(message.options[Option.PARAMETER_LIST], captures.ROM_PARAMETERS)
        self.assertEqual(message.options[Option.CLIENT_GUID], b"\0" + bytes.fromhex("7d246455") * 4)

    def test_eeprom(self) -> None:
        """A Pi 400: its DISCOVER, and a REQUEST without option 55 that has siaddr set."""
        bench = Bench(board=BOARD_PI400)
        bench.run(eeprom_lease(bench.machine))
        xid = bench.messages()[0].xid
        self.assertEqual(bench.network.sent[0][1], with_xid(captures.DISCOVER_PI400, xid))
        bench.reply(OFFER)
        bench.clock.advance(0.5)
        self.assertEqual(bench.network.sent[1][1], with_xid(captures.REQUEST_PI400, xid))


class BootROMTests(SynchronousTestCase):
    """Boards that never send a REQUEST."""

    def test_uses_the_offer(self) -> None:
        """What a 3B+ is offered is used at once: one message out, none after the OFFER."""
        bench = Bench("3B+")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.reply(OFFER)
        self.assertEqual((bench.result.address, bench.result.boot_server), (ADDRESS, SERVER))
        bench.clock.advance(60.0)
        self.assertEqual(len(bench.network.sent), 1)
        self.assertEqual([(told.stage, told.address) for told in bench.journal.told], [(Stage.ROM, ADDRESS)])

    def test_five_tries(self) -> None:
        """Five DISCOVERs, five seconds apart, with the one transaction id; then nothing more."""
        bench = Bench("3B+")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.clock.pump([1.0] * 60)
        self.assertEqual(bench.times(), [0.0, 5.0, 10.0, 15.0, 20.0])
        self.assertEqual({message.xid for message in bench.messages()}, {0x26F30339})
        self.assertTrue(bench.has_ended)
        self.assertIsNone(bench.result)

    def test_useless_offer(self) -> None:
        """An OFFER without option 66 and without "Raspberry Pi Boot" does not do, whatever siaddr says."""
        bench = Bench("3B+")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.reply(OFFER, options={})
        self.assertFalse(bench.has_ended)

    def test_terminated_server_name(self) -> None:
        """Option 66 with a NUL at its end is no address."""
        bench = Bench("3B+")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.reply(OFFER, options={Option.TFTP_SERVER: "172.30.4.1\0"})
        self.assertFalse(bench.has_ended)

    def test_two_offers(self) -> None:
        """The address of a router and the boot menu of a proxy make one boot."""
        bench = Bench("3B+")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.reply(OFFER, ROUTER, options={})
        bench.reply(OFFER, SERVER, address=dhcp_client.NOWHERE, options=MENU)
        self.assertEqual((bench.result.address, bench.result.server), (ADDRESS, ROUTER))
        self.assertEqual(bench.result.boot_server, SERVER)

    def test_not_ours(self) -> None:
        """With a transaction id that all boards share, the hardware address decides whose answer it is."""
        bench = Bench("3B+")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.reply(OFFER, chaddr=bytes(6))
        bench.reply(OFFER, xid=1)
        bench.socket.deliver(b"noise", (str(SERVER), 67))
        self.assertFalse(bench.has_ended)

    def test_mask_rom_is_deaf(self) -> None:
        """A 3B looks at an OFFER only when a further packet comes, a second or more after its DISCOVER."""
        bench = Bench("3B")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.reply(OFFER, options=PADDED_MENU)
        bench.reply(OFFER, options=PADDED_MENU)
        bench.clock.advance(1.5)
        self.assertFalse(bench.has_ended)
        bench.reply(OFFER, options=PADDED_MENU)
        self.assertEqual(bench.result.address, ADDRESS)

    def test_lone_answer(self) -> None:
        """A single OFFER never reaches a 3B: it asks again."""
        bench = Bench("3B")
        bench.run(rom_lease(bench.machine, is_first_stage=True))
        bench.clock.advance(1.2)
        bench.reply(OFFER, options=PADDED_MENU)
        bench.clock.advance(3.8)
        self.assertEqual(bench.times(), [0.0, 5.0])

    def test_three_spaces(self) -> None:
        """A 3B's mask ROM takes the boot menu only with three spaces after its text."""
        for menu, is_taken in ((MENU, False), (PADDED_MENU, True)):
            bench = Bench("3B")
            bench.run(rom_lease(bench.machine, is_first_stage=True))
            bench.clock.advance(1.0)
            bench.reply(OFFER, options=menu)
            bench.reply(OFFER, options=menu)
            self.assertEqual(bench.has_ended, is_taken)


class EEPROMTests(SynchronousTestCase):
    """Pi 4 and 5."""

    def start(self) -> Bench:
        """A board that has sent its DISCOVER."""
        bench = Bench("4B")
        bench.run(eeprom_lease(bench.machine))
        return bench

    def test_back_off(self) -> None:
        """DISCOVERs at 0, 4, 12 and 28 s; the mode is given up after 45 s."""
        bench = self.start()
        bench.clock.pump([1.0] * 44)
        self.assertEqual(bench.times(), [0.0, 4.0, 12.0, 28.0])
        self.assertFalse(bench.has_ended)
        bench.clock.advance(1.0)
        self.assertTrue(bench.has_ended)

    def test_whole_exchange(self) -> None:
        """The lease is there with the ACK, not with the OFFER."""
        bench = self.start()
        bench.reply(OFFER)
        bench.clock.advance(0.5)
        self.assertEqual(bench.journal.told, [])
        bench.reply(ACK)
        self.assertEqual(bench.result.seconds, 600.0)
        self.assertEqual([told.stage for told in bench.journal.told], [Stage.EEPROM])

    def test_request_again(self) -> None:
        """Without an ACK the REQUEST is repeated after 4 s, then after 8 s more."""
        bench = self.start()
        bench.reply(OFFER)
        bench.clock.pump([0.5] * 26)
        kinds = [message.message_type for message in bench.messages()]
        self.assertEqual(kinds, [MessageType.DISCOVER, *[MessageType.REQUEST] * 3])
        self.assertEqual(bench.times(), [0.0, 0.5, 4.5, 12.5])

    def test_nak(self) -> None:
        """After a NAK all begins anew with a DISCOVER."""
        bench = self.start()
        bench.reply(OFFER)
        bench.clock.advance(0.5)
        bench.reply(NAK)
        self.assertEqual(bench.messages()[-1].message_type, MessageType.DISCOVER)

    def test_ack_of_another(self) -> None:
        """An ACK of a server that was not chosen is ignored."""
        bench = self.start()
        bench.reply(OFFER)
        bench.clock.advance(0.5)
        bench.reply(ACK, ROUTER)
        self.assertFalse(bench.has_ended)

    def test_offer_window(self) -> None:
        """Half a second is left for a further OFFER, so that a proxy's boot server is seen."""
        bench = self.start()
        bench.reply(OFFER)
        bench.clock.advance(0.3)
        bench.reply(OFFER, ROUTER, address=dhcp_client.NOWHERE, options=MENU)
        bench.clock.advance(0.2)
        bench.reply(ACK)
        self.assertEqual((bench.result.server, bench.result.boot_server), (SERVER, ROUTER))


class LinuxTests(SynchronousTestCase):
    """The kernel, udhcpc and the installed system."""

    def test_kernel(self) -> None:
        """``ip=dhcp`` asks for what the kernel asks for, counts its seconds, and waits 2 to 3 s, then 7/4 of that."""
        bench = Bench()
        bench.run(dhcp_client.lease(bench.machine, kernel_client(bench.machine)))
        bench.clock.pump([0.1] * 80)
        first, second = bench.times()[:2]
        third = bench.times()[2] - second
        self.assertTrue(2.0 <= second - first <= 3.1)
        self.assertTrue(1.65 < third / (second - first) < 1.85)
        self.assertEqual(bench.messages()[1].secs, int(second))
        wanted = Message.from_wire(captures.DISCOVER_KERNEL).options[Option.PARAMETER_LIST]
        self.assertEqual(set(bench.messages()[0].options[Option.PARAMETER_LIST]) - {42}, set(wanted) - {42})

    def test_kernel_gives_up(self) -> None:
        """Twelve DISCOVERs, then the kernel goes on without an address."""
        bench = Bench()
        bench.run(dhcp_client.lease(bench.machine, kernel_client(bench.machine)))
        bench.clock.pump([1.0] * 400)
        self.assertEqual(len(bench.network.sent), 12)
        self.assertTrue(bench.has_ended)

    def test_exchange(self) -> None:
        """The REQUEST follows the OFFER at once and names address and server; siaddr is where the manager is."""
        bench = Bench()
        bench.run(dhcp_client.lease(bench.machine, kernel_client(bench.machine)))
        bench.reply(OFFER)
        request = bench.messages()[-1]
        self.assertEqual(request.option(Option.REQUESTED_ADDRESS), ADDRESS)
        self.assertEqual(request.option(Option.SERVER_IDENTIFIER), SERVER)
        bench.reply(ACK)
        self.assertEqual(bench.result.boot_server, SERVER)

    def test_who_asks(self) -> None:
        """Each stage is told apart by what it sends: the installed system by client id, udhcpc by its name."""
        sent = {}
        for client in (kernel_client, udhcpc_client, system_client):
            bench = Bench()
            bench.run(dhcp_client.lease(bench.machine, client(bench.machine)))
            sent[client] = bench.messages()[0].options
        self.assertNotIn(Option.CLIENT_IDENTIFIER, sent[kernel_client])
        self.assertEqual(sent[system_client][Option.CLIENT_IDENTIFIER], b"\x01" + bench.board.mac)
        self.assertTrue(sent[udhcpc_client][Option.VENDOR_CLASS].startswith(b"udhcp "))

    def test_renewal(self) -> None:
        """A renewal goes to the server, has the address in ciaddr and names no server."""
        bench = Bench()
        held = dhcp_client.Lease(address=ADDRESS, server=SERVER, boot_server=SERVER, seconds=600.0)
        bench.run(renew(bench.machine, system_client(bench.machine), held))
        request, target = bench.messages()[0], bench.network.sent[0][2]
        self.assertEqual((request.ciaddr, target), (ADDRESS, (str(SERVER), 67)))
        self.assertNotIn(Option.SERVER_IDENTIFIER, request.options)
        self.assertNotIn(Option.REQUESTED_ADDRESS, request.options)
        bench.reply(ACK)
        self.assertEqual(bench.result.address, ADDRESS)

    def test_renewal_refused(self) -> None:
        """A NAK ends the lease."""
        bench = Bench()
        held = dhcp_client.Lease(address=ADDRESS, server=SERVER, boot_server=SERVER, seconds=600.0)
        bench.run(renew(bench.machine, system_client(bench.machine), held))
        bench.reply(NAK)
        self.assertTrue(bench.has_ended)
        self.assertIsNone(bench.result)
