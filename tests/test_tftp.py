"""
The TFTP server: datagrams in, datagrams and events out.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.events import BootFilesServed, Event, LoadingStarted, TransferAborted
from piman.fleet.model import MACAddress
from piman.testing.fakes import CapturedEvents, MemoryAddressBook, MemoryBootFiles
from piman.testing.udp import FakeDatagramTransport, MemoryDatagramReactor
from piman.tftp import DataProtocol, RequestProtocol, TFTPServer, TFTPSettings, tftp_service
from piman.wire import tftp
from tests.captures import tftp as captures

MAC, OTHER_MAC = MACAddress.parse("b8:27:eb:00:00:01"), MACAddress.parse("b8:27:eb:00:00:02")
OTHER = MACAddress.parse("b8:27:eb:00:00:02")
HOST = "172.30.4.11"
CLIENT = (HOST, 49152)
FAR = ("10.0.0.9", 49152)
SERVER_HOST = "172.30.4.1"
NETWORK = IPv4Network("172.30.4.0/24")


def memory_files() -> MemoryBootFiles:
    """Boot files in memory, and a node at HOST."""
    return MemoryBootFiles(nodes={IPv4Address(HOST): MAC})


class ServedTransport(FakeDatagramTransport):
    """A data socket's transport that also keeps the order among all of them."""

    def __init__(self, port: int, all_written: list[tuple[int, bytes, Any]]) -> None:
        super().__init__(SERVER_HOST, port)
        self._port = port
        self._all_written = all_written

    def write(self, data: bytes, address: Any) -> None:
        """Keep it in both places."""
        super().write(data, address)
        self._all_written.append((self._port, data, address))


class Serving(SynchronousTestCase):
    """A server with the datagrams it wrote."""

    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        """Connect all sockets."""
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.events = CapturedEvents()
        self.files = memory_files()
        self.book = MemoryAddressBook()
        settings = TFTPSettings(network=NETWORK, **self.settings)
        self.server = TFTPServer(
            self.clock, settings=settings, files=self.files, addresses=self.book, events=self.events
        )
        self.written: list[tuple[int, bytes, Any]] = []
        for index in range(4):
            DataProtocol(self.server).makeConnection(ServedTransport(50000 + index, self.written))
        self.requests = RequestProtocol(self.server)
        self.requests.makeConnection(FakeDatagramTransport(SERVER_HOST, 69))

    def ask(self, name: bytes, client: Any = CLIENT, mode: str = "octet", **options: str) -> list[Any]:
        """Send a request; the datagrams that came back, read."""
        return self.request(tftp.ReadRequest(name, mode, options).to_wire(), client)

    def request(self, data: bytes, client: Any = CLIENT) -> list[Any]:
        """Send bytes to the well-known port; what came back."""
        before = len(self.written)
        self.requests.datagramReceived(data, client)
        return self.since(before)

    def say(self, datagram: Any, client: Any = CLIENT, port: int | None = None) -> list[Any]:
        """Send a datagram to the data port that wrote last; what came back."""
        before = len(self.written)
        port = self.written[-1][0] if port is None else port
        data = datagram if isinstance(datagram, bytes) else datagram.to_wire()
        self.server.doors[port - 50000].datagramReceived(data, client)
        return self.since(before)

    def acknowledge(self, block: int, **more: Any) -> list[Any]:
        """Send an ACK; what came back."""
        return self.say(tftp.Acknowledgement(block), **more)

    def pass_time(self, seconds: float) -> list[Any]:
        """Let time pass with a sweep every quarter of a second; what was written."""
        before = len(self.written)
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            self.server.deliveries.sweep()
        return self.since(before)

    def since(self, before: int) -> list[Any]:
        """What was written after that, read."""
        return [tftp.from_wire(data) for _, data, _ in self.written[before:]]

    def live(self) -> int:
        """Transfers that are not over."""
        return len(self.server.deliveries.table)

    def fetch(self, name: bytes, **options: str) -> bytes:
        """A whole transfer in lock-step."""
        [answer] = self.ask(name, **options)
        if isinstance(answer, tftp.OptionAcknowledgement):
            [answer] = self.acknowledge(0)
        content, size = answer.payload, int(options.get("blksize", "512"))
        while len(answer.payload) == size:
            [answer] = self.acknowledge(answer.block)
            content += answer.payload
        self.assertEqual(self.acknowledge(answer.block), [])
        return content


class TransferTests(Serving):
    """One file."""

    def test_boot_rom(self) -> None:
        """The boot ROM's request without options is answered with DATA 1 at once, and ends with the short block."""
        self.files.contents[b"bootcode.bin"] = b"a" * 512 + b"b" * 5
        self.assertEqual(self.request(captures.ROM_REQUEST), [tftp.Data(1, b"a" * 512)])
        self.assertEqual(self.acknowledge(1), [tftp.Data(2, b"b" * 5)])
        self.assertEqual(self.acknowledge(2), [])
        self.assertEqual(self.live(), 0)
        self.assertTrue(self.files.opened[0].is_closed)

    def test_bootcode(self) -> None:
        """The answer to bootcode.bin is, byte for byte, the OACK that it was seen to take."""
        self.files.contents[b"89eb9bb9/config.txt"] = bytes(2075)
        self.request(captures.BOOTCODE_REQUEST)
        self.assertEqual(self.written[-1][1:], (captures.BOOTCODE_REPLY, CLIENT))

    def test_eeprom(self) -> None:
        """A Pi 4 gets its block size and the file's size, and the blocks after its ACK 0."""
        content = bytes(range(256)) * 10
        self.files.contents[b"e0ff06da/start4.elf"] = content
        [answer] = self.request(captures.EEPROM_REQUEST)
        self.assertEqual(list(answer.options.items()), [("tsize", "2560"), ("blksize", "1468")])
        self.assertEqual(self.acknowledge(0), [tftp.Data(1, content[:1468])])
        self.assertEqual(self.acknowledge(1), [tftp.Data(2, content[1468:])])

    def test_empty_file(self) -> None:
        """An empty file is a size of 0 and one empty block."""
        self.files.contents[b"empty"] = b""
        self.assertEqual(self.ask(b"empty", tsize="0"), [tftp.OptionAcknowledgement({"tsize": "0"})])
        self.assertEqual(self.acknowledge(0), [tftp.Data(1, b"")])
        self.acknowledge(1)
        self.assertEqual(self.live(), 0)

    def test_whole_blocks(self) -> None:
        """A file that fills its blocks ends with an empty one."""
        self.files.contents[b"file"] = b"x" * 1024
        self.assertEqual(self.fetch(b"file"), b"x" * 1024)

    def test_number_wraps(self) -> None:
        """After block 65535 comes 0."""
        content = bytes(i % 251 for i in range(8 * 65540))
        self.files.contents[b"file"] = content
        self.assertTrue(self.fetch(b"file", blksize="8") == content)

    def test_counts(self) -> None:
        """Transfers are counted by how they ended, bytes as the client confirmed them, and names that are not there."""
        self.files.contents[b"file"] = b"x" * 1500
        self.fetch(b"file")
        self.ask(b"file", ("172.30.4.11", 50001), tsize="0")
        self.say(tftp.Error(0, "Early terminate"), ("172.30.4.11", 50001))
        self.ask(b"file")
        self.acknowledge(1)
        self.pass_time(60)
        self.ask(b"nothing")
        counts = self.server.deliveries.counts
        self.assertEqual((counts.whole, counts.ended, counts.aborted, self.server.missing), (1, 1, 1, 1))
        self.assertEqual((counts.bytes, counts.retransmits > 0), (2012, True))

    def test_netascii(self) -> None:
        """netascii is translated, and its size is not promised."""
        self.files.contents[b"file"] = b"a\nb\n"
        self.assertEqual(self.ask(b"file", mode="netascii", tsize="0"), [tftp.Data(1, b"a\r\nb\r\n")])

    def test_other_modes(self) -> None:
        """Other modes are an illegal operation."""
        self.files.contents[b"file"] = b"x"
        [answer] = self.ask(b"file", mode="mail")
        self.assertEqual(answer.code, tftp.ErrorCode.ILLEGAL_OPERATION)

    def test_window(self) -> None:
        """With a window as many blocks go out at once, and an ACK amid them begins anew behind it."""
        self.files.contents[b"file"] = content = bytes(range(100))
        self.ask(b"file", blksize="8", windowsize="4")
        blocks = [tftp.Data(i + 1, content[i * 8 : i * 8 + 8]) for i in range(13)]
        self.assertEqual(self.acknowledge(0), blocks[0:4])
        self.assertEqual(self.acknowledge(2), blocks[2:6])
        self.assertEqual(self.acknowledge(2), [])
        self.assertEqual(self.acknowledge(6), blocks[6:10])
        self.assertEqual(self.acknowledge(10), blocks[10:13])
        self.assertEqual(self.acknowledge(13), [])
        self.assertEqual(self.live(), 0)

    def test_changed_while_sent(self) -> None:
        """A file that changes is never mixed: the client gets an ERROR and the operator an event."""
        self.files.contents[b"file"] = bytes(1 << 18)
        self.ask(b"file")
        self.files.opened[0].is_broken = True
        answers: list[Any] = []
        block = 0
        while not answers or isinstance(answers[-1], tftp.Data):
            block += 1
            answers = self.acknowledge(block)
        self.assertEqual(answers, [tftp.Error(0, "the file changed while it was read")])
        [event] = self.events.of(TransferAborted)
        reason = "the file changed while it was read"
        sizes = {"block_bytes": 512, "size_bytes": self.files.opened[0].size_bytes}
        self.assertEqual(event, TransferAborted(mac=MAC, name="file", block=128, reason=reason, **sizes))
        self.assertEqual((self.live(), self.files.opened[0].is_closed), (0, True))

    def test_two_clients(self) -> None:
        """Transfers of different ports do not touch each other."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file")
        first_port = self.written[-1][0]
        self.ask(b"file", client=(HOST, 49153))
        self.assertEqual(self.acknowledge(1, client=(HOST, 49153)), [tftp.Data(2, bytes(88))])
        self.assertEqual(self.acknowledge(1, port=first_port), [tftp.Data(2, bytes(88))])


class RefusalTests(Serving):
    """What is not served."""

    def test_missing(self) -> None:
        """A missing file is ERROR 1, at once, every time."""
        for _ in range(3):
            self.assertEqual(self.ask(b"recovery.elf", tsize="0"), [tftp.Error(1, "File not found")])
        self.assertEqual(self.live(), 0)

    def test_refused(self) -> None:
        """What must not be served is ERROR 2."""
        [answer] = self.ask(b"../secret")
        self.assertEqual(answer.code, tftp.ErrorCode.ACCESS_VIOLATION)

    def test_write(self) -> None:
        """Uploads are refused politely."""
        self.assertEqual(self.request(tftp.WriteRequest(b"x").to_wire()), [tftp.Error(2, "this server takes no files")])

    def test_manager_in_trouble(self) -> None:
        """When the manager cannot open files just now it says nothing, so that the firmware asks again."""
        self.files.contents[b"file"] = b"x"
        self.files.failure = OSError(24, "Too many open files")
        self.assertEqual(self.ask(b"file"), [])
        self.assertEqual(self.events.events, [])
        self.files.failure = None
        self.assertEqual(self.ask(b"file"), [tftp.Data(1, b"x")])

    def test_off_subnet(self) -> None:
        """Clients outside the subnet get no answer to anything."""
        self.files.contents[b"file"] = b"x"
        self.assertEqual(self.ask(b"file", client=FAR), [])
        self.assertEqual(self.ask(b"missing", client=FAR), [])
        self.assertEqual(self.acknowledge(1, client=FAR, port=50000), [])

    def test_port_zero(self) -> None:
        """Nobody can be answered at port 0."""
        self.assertEqual(self.ask(b"missing", client=(HOST, 0)), [])

    def test_garbage(self) -> None:
        """The well-known port answers requests only: no error in reply to an error, nothing to DATA, ACK or garbage."""
        for data in (
            b"",
            b"\0\1",
            b"GET / HTTP/1.0\r\n",
            tftp.Error(5, "Unknown transfer ID").to_wire(),
            tftp.Data(1, b"").to_wire(),
            tftp.Acknowledgement(0).to_wire(),
            tftp.ReadRequest(b"x" * 2000).to_wire(),
        ):
            self.assertEqual(self.request(data), [], data)


class StrayTests(Serving):
    """Datagrams at data sockets that belong to no transfer there."""

    def test_unknown_client(self) -> None:
        """An ACK of somebody never served gets ERROR 5, as RFC 1350 asks."""
        self.assertEqual(self.acknowledge(7, port=50001), [tftp.Error(5, "Unknown transfer ID")])

    def test_never_in_reply_to_others(self) -> None:
        """DATA, ERROR and garbage get none, so that two servers cannot answer each other for ever."""
        for datagram in (tftp.Data(1, b""), tftp.Error(5, ""), tftp.Error(0, "Early terminate"), b"", b"\xff\xff"):
            self.assertEqual(self.say(datagram, port=50001), [])

    def test_late_acknowledgement(self) -> None:
        """A repeated last ACK of a finished transfer gets nothing."""
        self.files.contents[b"file"] = b"x"
        self.ask(b"file")
        self.acknowledge(1)
        self.assertEqual(self.acknowledge(1), [])

    def test_other_door(self) -> None:
        """An ACK at another data socket than the transfer's changes nothing."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file")
        port = self.written[-1][0]
        other = 50000 + (port - 50000 + 1) % 4
        self.assertEqual(self.acknowledge(1, port=other), [])
        self.assertEqual(self.acknowledge(1, port=port), [tftp.Data(2, bytes(88))])

    def test_garbage_amid_transfer(self) -> None:
        """Garbage amid a transfer changes nothing."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file")
        for datagram in (b"", b"\0\4", b"\0\4\1", b"\xff" * 9, tftp.Data(1, b""), tftp.ReadRequest(b"file")):
            self.assertEqual(self.say(datagram), [])
        self.assertEqual(self.acknowledge(1), [tftp.Data(2, bytes(88))])


class ClosedSocketTests(Serving):
    """Data sockets that were closed."""

    def test_not_used(self) -> None:
        """No answer leaves by a data socket that is closed; the others go on taking turns."""
        self.server.doors[1].doStop()
        for _ in range(6):
            self.ask(b"missing")
        self.assertEqual(sorted(port for port, _, _ in self.written), [50000] * 2 + [50002] * 2 + [50003] * 2)


class SamePortTests(Serving):
    """Clients that use a port again."""

    def test_next_file(self) -> None:
        """A new request from a live port replaces the transfer, from another data socket."""
        self.files.contents = {b"config.txt": bytes(600), b"start.elf": b"new"}
        self.ask(b"config.txt")
        old = self.written[-1][0]
        self.clock.advance(0.0007)
        self.assertEqual(self.ask(b"start.elf"), [tftp.Data(1, b"new")])
        self.assertNotEqual(self.written[-1][0], old)
        self.assertEqual((self.live(), self.files.opened[0].is_closed), (1, True))
        self.assertEqual(self.acknowledge(1, port=old), [])
        self.assertEqual(self.events.of(TransferAborted), [])

    def test_missing_next(self) -> None:
        """So does one for a file that is missing."""
        self.files.contents[b"config.txt"] = bytes(600)
        self.ask(b"config.txt")
        self.assertEqual(self.ask(b"recovery.elf"), [tftp.Error(1, "File not found")])
        self.assertEqual(self.live(), 0)

    def test_consecutive_sockets_differ(self) -> None:
        """Ten files in a row from one port never use one data socket twice in a row."""
        self.files.contents[b"file"] = b"x"
        ports = []
        for _ in range(10):
            self.fetch(b"file")
            ports.append(self.written[-1][0])
        self.assertTrue(all(one != next_one for one, next_one in pairwise(ports)), ports)

    def test_repeated_request(self) -> None:
        """The same request within a second is a repetition: no second OACK; the timer will repeat the first."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file", tsize="0")
        self.clock.advance(0.9)
        self.assertEqual(self.ask(b"file", tsize="0"), [])
        self.assertEqual(self.acknowledge(0), [tftp.Data(1, bytes(512))])

    def test_request_anew(self) -> None:
        """The same request later begins anew."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file", tsize="0")
        self.clock.advance(1.0)
        self.assertEqual(self.ask(b"file", tsize="0"), [tftp.OptionAcknowledgement({"tsize": "600"})])
        self.assertEqual(self.live(), 1)


class SilenceTests(Serving):
    """Datagrams that get lost."""

    def test_repetition_doubles(self) -> None:
        """A block is repeated after 1, 2, 4 and 8 seconds, and the transfer ends after 15."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file")
        [block] = self.acknowledge(1)
        sent_at = [second for second in range(1, 16) if self.pass_time(1) == [block]]
        self.assertEqual(sent_at, [1, 3, 7])
        self.assertEqual(self.live(), 0)
        reason = "no answer for 15 seconds"
        aborted = TransferAborted(mac=MAC, name="file", block=1, reason=reason, block_bytes=512, size_bytes=2000)
        self.assertEqual(self.events.of(TransferAborted), [aborted])

    def test_answer_begins_anew(self) -> None:
        """After an answer the next block waits one second again."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file")
        self.acknowledge(1)
        self.assertEqual(len(self.pass_time(4)), 2)
        self.acknowledge(2)
        self.assertEqual(self.pass_time(0.75), [])
        self.assertEqual([block.block for block in self.pass_time(0.25)], [3])

    def test_option_acknowledgement_repeated_twice(self) -> None:
        """An OACK that nobody takes is sent three times in all, and its end is no alarm: the client saw the size."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file", tsize="0")
        self.assertEqual(self.pass_time(20), [tftp.OptionAcknowledgement({"tsize": "2000"})] * 2)
        self.assertEqual((self.live(), self.events.of(TransferAborted)), (0, []))

    def test_duplicate_acknowledgement(self) -> None:
        """A doubled ACK is never answered (RFC 1123, 4.2.3.1)."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file")
        self.acknowledge(1)
        self.assertEqual([self.acknowledge(1), self.acknowledge(1), self.acknowledge(0)], [[], [], []])
        self.assertEqual(self.acknowledge(2), [tftp.Data(3, bytes(512))])

    def test_window_repeated(self) -> None:
        """With a window all of it is repeated."""
        self.files.contents[b"file"] = bytes(100)
        self.ask(b"file", blksize="8", windowsize="4")
        first = self.acknowledge(0)
        self.assertEqual(self.pass_time(1), first)

    def test_clients_timeout(self) -> None:
        """The client's timeout sets the first repetition, and not how long it may be silent."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file", timeout="5")
        self.acknowledge(0)
        self.assertEqual(self.pass_time(4.75), [])
        self.assertEqual(self.pass_time(0.25), [tftp.Data(1, bytes(512))])
        self.pass_time(9.75)
        self.assertEqual(self.live(), 1)
        self.pass_time(0.25)
        self.assertEqual(self.live(), 0)

    def test_long_timeout(self) -> None:
        """A timeout that is too long for us is left out of the OACK and prolongs nothing."""
        self.files.contents[b"file"] = bytes(2000)
        [answer] = self.ask(b"file", timeout="255", blksize="1024")
        self.assertEqual(answer.options, {"blksize": "1024"})
        self.acknowledge(0)
        self.assertEqual(self.pass_time(1), [tftp.Data(1, bytes(1024))])
        self.pass_time(14)
        self.assertEqual(self.live(), 0)


class OffSubnetTests(Serving):
    """A server that answers everybody."""

    settings = {"off_subnet": True}

    def test_one_datagram(self) -> None:
        """Somebody far away and unknown gets exactly one datagram until he answers."""
        self.files.contents[b"file"] = bytes(2000)
        self.assertEqual(len(self.ask(b"file", client=FAR)), 1)
        self.assertEqual(self.pass_time(20), [])
        self.assertEqual(self.live(), 0)

    def test_answered(self) -> None:
        """Once he answers, lost blocks are repeated to him."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file", client=FAR)
        self.acknowledge(1, client=FAR)
        self.assertEqual(self.pass_time(1), [tftp.Data(2, bytes(512))])

    def test_bound(self) -> None:
        """Who holds an address of ours is no stranger, wherever he is."""
        self.book.bindings[IPv4Address(FAR[0])] = MAC
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file", client=FAR)
        self.assertEqual(len(self.pass_time(10)), 2)

    def test_no_event_without_node(self) -> None:
        """Events are about nodes: a client that is none makes none."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file", client=FAR)
        self.acknowledge(1, client=FAR)
        self.pass_time(60)
        self.assertEqual((self.live(), self.events.events), (0, []))


class LimitTests(Serving):
    """Clients that ask for too much."""

    settings = {"transfers": 5, "transfers_per_client": 3, "strangers": 2}

    def test_per_client(self) -> None:
        """A client's fourth transfer costs it the oldest that it never answered."""
        self.book.bindings[IPv4Address(HOST)] = MAC
        self.files.contents[b"file"] = bytes(600)
        ports = []
        for port in (1, 2, 3):
            self.ask(b"file", client=(HOST, port))
            ports.append(self.written[-1][0])
            self.clock.advance(1)
        self.acknowledge(1, client=(HOST, 1), port=ports[0])
        self.assertEqual(len(self.ask(b"file", client=(HOST, 4))), 1)
        table = self.server.deliveries.table
        self.assertEqual([table.at((HOST, port)) is None for port in (1, 2, 3, 4)], [False, True, False, False])

    def test_in_all(self) -> None:
        """Beyond the total nobody is answered, not even with an ERROR, until there is room."""
        self.load_from_nodes(5)
        self.assertEqual(self.ask(b"file"), [])
        self.assertTrue(self.files.opened[-1].is_closed)
        self.pass_time(20)
        self.assertEqual(len(self.ask(b"file")), 1)

    def test_unanswered_give_way(self) -> None:
        """When all places are taken, the oldest transfer that nobody answered gives way to a client with a lease."""
        self.load_from_nodes(3)
        for last in (61, 62):
            self.book.bindings[IPv4Address(f"172.30.4.{last}")] = MAC
            self.ask(b"file", client=(f"172.30.4.{last}", 1))
        self.book.bindings[IPv4Address(HOST)] = MAC
        self.assertEqual(self.ask(b"file"), [tftp.Data(1, bytes(512))])
        hosts = sorted(transfer.client[0] for transfer in self.server.deliveries.table)
        self.assertEqual(hosts, [HOST, *(f"172.30.4.{last}" for last in (50, 51, 52, 62))])
        self.assertEqual(self.events.of(TransferAborted), [])

    def test_not_to_strangers(self) -> None:
        """To a client without a lease no other does."""
        self.load_from_nodes(4)
        self.book.bindings[IPv4Address(HOST)] = MAC
        self.ask(b"file")
        self.assertEqual(self.ask(b"file", client=("172.30.4.99", 1)), [])

    def test_strangers(self) -> None:
        """Clients without a lease have two places; a third takes that of one which never answered, or gets none."""
        self.files.contents[b"file"] = bytes(2000)
        strangers = [(f"172.30.4.{last}", 1) for last in (97, 98, 99, 100)]
        for stranger in strangers[:3]:
            self.assertEqual(len(self.ask(b"file", client=stranger)), 1)
        self.acknowledge(1, client=strangers[2])
        self.assertEqual([transfer.client for transfer in self.server.deliveries.table], strangers[1:3])
        self.ask(b"file", client=strangers[3])
        self.acknowledge(1, client=strangers[3])
        self.assertEqual(self.ask(b"file", client=strangers[0]), [])
        self.assertEqual([transfer.client for transfer in self.server.deliveries.table], strangers[2:])

    def test_turned_away_is_no_loading(self) -> None:
        """A node that is turned away has not begun to load, and nothing is reported of it."""
        self.load_from_nodes(5)
        before = len(self.events.events)
        self.assertEqual(self.ask(b"file"), [])
        self.pass_time(12)
        self.assertEqual([event for event in self.events.events[before:] if event.mac == MAC], [])

    def test_turned_away_amid_loading(self) -> None:
        """A loading that runs is not over while its node is turned away."""
        self.files.contents[b"config.txt"] = b"x"
        self.fetch(b"config.txt")
        self.load_from_nodes(5)
        for _ in range(3):
            self.assertEqual(self.ask(b"file"), [])
            self.pass_time(5)
        self.assertEqual(self.events.of(BootFilesServed), [])
        self.pass_time(6)
        self.assertEqual(len(self.events.of(BootFilesServed)), 1)

    def load_from_nodes(self, count: int) -> None:
        """So many clients with leases have begun to load and go on answering for the next seconds."""
        self.files.contents[b"file"] = bytes(2000)
        for last in range(50, 50 + count):
            self.book.bindings[IPv4Address(f"172.30.4.{last}")] = OTHER
            self.assertEqual(len(self.ask(b"file", client=(f"172.30.4.{last}", 1))), 1)
            self.acknowledge(1, client=(f"172.30.4.{last}", 1))


class EventTests(Serving):
    """What the operator hears."""

    def boot(self) -> None:
        """Some files, a probe and missing ones."""
        self.files.contents = {b"config.txt": bytes(100), b"start4.elf": bytes(1000)}
        self.ask(b"e0ff06da/start4.elf")
        self.fetch(b"config.txt")
        self.ask(b"start4.elf", tsize="0")
        self.say(captures.EARLY_TERMINATE)
        self.ask(b"recovery.elf")
        self.ask(b"recovery.elf")
        self.clock.advance(2)
        self.fetch(b"start4.elf")

    def test_one_boot(self) -> None:
        """A boot is one beginning and one report: whole files, bytes, each missing name once, and the time it took."""
        self.boot()
        self.assertEqual(self.events.events, [LoadingStarted(mac=MAC, name="e0ff06da/start4.elf")])
        self.pass_time(9.75)
        self.assertEqual(len(self.events.events), 1)
        self.pass_time(0.5)
        missing = ("e0ff06da/start4.elf", "recovery.elf")
        report = BootFilesServed(
            mac=MAC,
            files=2,
            bytes=1100,
            retransmits=0,
            missing=missing,
            seconds=2.0,
            served=("config.txt", "start4.elf"),
        )
        self.assertEqual(self.events.events[1:], [report])
        self.pass_time(60)
        self.assertEqual(len(self.events.events), 2)

    def test_asking_in_vain(self) -> None:
        """A node that never stops asking, because a file is missing, is told of about once a minute."""
        for _ in range(26):
            self.ask(b"start4.elf")
            self.pass_time(5)
        self.assertEqual(
            [type(event) for event in self.events.events],
            [LoadingStarted, BootFilesServed, LoadingStarted, BootFilesServed, LoadingStarted],
        )
        self.assertEqual([report.missing for report in self.events.of(BootFilesServed)], [("start4.elf",)] * 2)

    def test_report_amid_a_file(self) -> None:
        """A file that was on its way while the node was told of belongs to the next report."""
        self.files.contents[b"file"] = bytes(600)
        for _ in range(11):
            self.ask(b"absent")
            self.pass_time(5)
        self.ask(b"file", client=(CLIENT[0], 40_000))
        port = self.written[-1][0]
        self.pass_time(6)
        self.ask(b"absent")
        self.say(tftp.Acknowledgement(1), client=(CLIENT[0], 40_000), port=port)
        self.say(tftp.Acknowledgement(2), client=(CLIENT[0], 40_000), port=port)
        self.pass_time(20)
        reports = [(report.missing, report.served) for report in self.events.of(BootFilesServed)]
        self.assertEqual(reports, [(("absent",), ()), (("absent",), ("file",))])

    def test_next_boot(self) -> None:
        """The next boot begins anew."""
        self.boot()
        self.pass_time(30)
        self.boot()
        self.pass_time(30)
        kinds: list[type[Event]] = [LoadingStarted, BootFilesServed] * 2
        self.assertEqual([type(event) for event in self.events.events], kinds)

    def test_power_gone(self) -> None:
        """A board whose power is taken away amid a file: no fault, and its next request at once is of a new boot."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file")
        self.acknowledge(1)
        self.server.deliveries.power_gone(OTHER_MAC)
        self.assertEqual(self.live(), 1)
        self.server.deliveries.power_gone(MAC)
        self.assertEqual((self.live(), self.acknowledge(2)), (0, []))
        self.pass_time(3)
        self.ask(b"file")
        self.acknowledge(1)
        self.assertEqual(
            [type(event) for event in self.events.events], [LoadingStarted, BootFilesServed, LoadingStarted]
        )
        self.server.deliveries.power_gone(MAC)
        self.server.deliveries.power_gone(MAC)
        self.pass_time(30)
        self.assertEqual((len(self.events.events), self.events.of(TransferAborted)), (4, []))

    def test_long_file(self) -> None:
        """A file that takes longer than the quiet time does not end the boot."""
        self.files.contents[b"kernel8.img"] = bytes(512 * 40)
        self.ask(b"kernel8.img")
        for block in range(1, 40):
            self.acknowledge(block)
            self.pass_time(0.5)
        self.assertEqual([type(event) for event in self.events.events], [LoadingStarted])

    def test_early_terminate(self) -> None:
        """An early termination ends the transfer and alarms nobody."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file", tsize="0")
        self.assertEqual(self.say(captures.EARLY_TERMINATE), [])
        self.assertEqual((self.live(), self.events.of(TransferAborted)), (0, []))

    def test_client_gives_up(self) -> None:
        """An ERROR amid the file is an event with the client's words."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file")
        self.acknowledge(1)
        self.assertEqual(self.say(tftp.Error(3, "disk full")), [])
        reason = "the client said error 3: disk full"
        aborted = TransferAborted(mac=MAC, name="file", block=1, reason=reason, block_bytes=512, size_bytes=2000)
        self.assertEqual(self.events.of(TransferAborted), [aborted])

    def test_retransmits_are_counted(self) -> None:
        """Repeated blocks are counted."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file")
        self.acknowledge(1)
        self.pass_time(3)
        self.acknowledge(2)
        self.pass_time(20)
        [report] = self.events.of(BootFilesServed)
        assert isinstance(report, BootFilesServed)
        self.assertEqual((report.files, report.retransmits), (1, 2))

    def test_missing_names_are_bounded(self) -> None:
        """Of many missing names the first 64 are kept, and long ones are cut."""
        self.ask(b"y" * 1000)
        for number in range(100):
            self.ask(b"x%d" % number)
        self.pass_time(20)
        [report] = self.events.of(BootFilesServed)
        assert isinstance(report, BootFilesServed)
        self.assertEqual((len(report.missing), report.missing[0]), (64, "y" * 256))

    def test_touch(self) -> None:
        """Each request that is answered keeps the client's address alive, missing files too; nobody else's does."""
        self.files.contents[b"file"] = b"x"
        self.ask(b"file")
        self.ask(b"missing")
        self.ask(b"file", client=FAR)
        self.assertEqual(self.book.touched, [IPv4Address(HOST)] * 2)


class LogTests(Serving):
    """What the maintainer reads, and what a flood may write there."""

    settings = {"transfers": 5}

    def setUp(self) -> None:
        """Listen to the log."""
        super().setUp()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def hear(self, event: Any) -> None:
        """Keep the lines of TFTP."""
        if event["log_namespace"].startswith(("piman.tftp", "piman.loading")):
            self.lines.append(formatEvent(event))

    def lines_of(self, flood: Callable[[int], Any], seconds: int = 3) -> int:
        """How many lines are written in some seconds with a hundred of something in each."""
        before = len(self.lines)
        for _ in range(seconds):
            for number in range(100):
                flood(number)
            self.clock.advance(1)
        return len(self.lines) - before

    def test_malformed(self) -> None:
        """Of malformed requests one a second is told."""
        self.assertEqual(self.lines_of(lambda number: self.request(b"\0\1", (HOST, 1 + number))), 3)
        self.assertEqual(self.lines[0], "ignored ('172.30.4.11', 1): a request has a file name and a mode")

    def test_outside(self) -> None:
        """Of datagrams from outside the subnet one a second is told, at whichever socket they came."""
        self.assertEqual(self.lines_of(lambda number: self.ask(b"x", (f"10.0.0.{number}", 1))), 3)
        self.assertEqual(self.lines_of(lambda number: self.acknowledge(1, client=FAR, port=50000)), 3)

    def test_kinds(self) -> None:
        """One kind of nonsense does not hide another."""
        self.ask(b"x", FAR)
        self.request(b"\0\1")
        self.assertEqual(len(self.lines), 2)

    def test_amid_transfer(self) -> None:
        """Of garbage amid a transfer one a second is told."""
        self.files.contents[b"file"] = bytes(600)
        self.ask(b"file")
        self.assertEqual(self.lines_of(lambda number: self.say(b"\0\4")), 3)

    def test_forgotten(self) -> None:
        """A client that asks again and again from one port costs one line a second; another is heard beside it."""
        self.files.contents[b"file"] = bytes(600)
        self.assertEqual(self.lines_of(lambda number: self.ask(b"file", tsize=str(number))), 3)
        self.ask(b"file", ("172.30.4.12", 1))
        self.ask(b"file", ("172.30.4.12", 1), tsize="0")
        self.assertEqual(self.lines[-1], "'file' to ('172.30.4.12', 1) ended: 'asked anew from the same port'")

    def test_many_hosts(self) -> None:
        """However many hosts take part, a second has at most 64 lines of ends."""
        self.files.contents[b"file"] = bytes(600)

        def probe(number: int) -> None:
            client = (f"172.30.4.{number + 1}", 1)
            self.ask(b"file", client, tsize="0")
            self.say(captures.EARLY_TERMINATE, client)

        self.assertEqual(self.lines_of(probe), 3 * 64)

    def test_trouble(self) -> None:
        """A trouble of the manager is a warning once a second, not for each request."""
        self.files.failure = OSError(24, "Too many open files")
        self.assertEqual(self.lines_of(lambda number: self.ask(b"file", (HOST, 1 + number))), 3)
        self.assertIn("Too many open files", self.lines[0])

    def test_full(self) -> None:
        """So is a table that keeps running full."""
        self.files.contents[b"file"] = bytes(600)

        def fill(number: int) -> None:
            for last in range(6):
                self.ask(b"file", (f"172.30.4.{50 + last}", 1))
            for transfer in self.server.deliveries.table:
                self.server.deliveries.forget(transfer, "gone")
            self.ask(b"file")

        self.lines_of(fill)
        self.assertEqual(len([line for line in self.lines if line.startswith("5 TFTP transfers run")]), 3)

    def test_nothing_of_the_network_controls_a_terminal(self) -> None:
        """Escape sequences in names and messages come out harmless."""
        self.files.contents[b"\x1b[2J"] = bytes(600)
        self.ask(b"\x1b[31m\nmissing")
        self.ask(b"\x1b[2J")
        self.say(tftp.Error(0, "Early terminate \x1b]0;x\x07"))
        self.assertEqual(len(self.lines), 2)
        self.assertTrue(all(line.isprintable() for line in self.lines), self.lines)

    def test_long_message(self) -> None:
        """Of a client's endless ERROR 256 characters are kept."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file")
        self.acknowledge(1)
        self.say(tftp.Error(3, "x" * 60_000))
        [event] = self.events.of(TransferAborted)
        assert isinstance(event, TransferAborted)
        self.assertEqual(event.reason, "the client said error 3: " + "x" * 256)


class TroubleTests(Serving):
    """Our own mistakes."""

    def test_sweep_goes_on(self) -> None:
        """A transfer that trips over a mistake of ours does not keep the others from being looked after."""
        self.files.contents[b"file"] = bytes(2000)
        self.ask(b"file", client=(HOST, 1))
        self.acknowledge(1, client=(HOST, 1))
        self.ask(b"file", client=(HOST, 2))
        self.acknowledge(1, client=(HOST, 2))
        broken = self.server.deliveries.table.at((HOST, 1))
        assert broken is not None
        broken.resend_at = "mistake"  # type: ignore[assignment]
        self.assertEqual(self.pass_time(1), [tftp.Data(2, bytes(512))])
        self.assertTrue(self.flushLoggedErrors(TypeError))


class ServiceTests(SynchronousTestCase):
    """Sockets and timers."""

    def service(self, reactor: MemoryDatagramReactor, **settings: Any) -> Any:
        """The service on a reactor in memory."""
        return tftp_service(
            reactor,
            settings=TFTPSettings(network=NETWORK, address=SERVER_HOST, **settings),
            files=memory_files(),
            addresses=MemoryAddressBook(),
            events=CapturedEvents(),
            plain=True,
        )

    def test_binds_early(self) -> None:
        """All ports are bound while we may bind them, at the server's address."""
        reactor = MemoryDatagramReactor()
        service = self.service(reactor, data_ports=(50_000, 50_999))
        service.privilegedStartService()
        hosts = [port.getHost() for port in reactor.ports]
        self.assertEqual([host.port for host in hosts], [69, 50_000, 50_001, 50_002, 50_003])
        self.assertEqual({host.host for host in hosts}, {SERVER_HOST})
        self.assertEqual((service.port_number, service.data_port_numbers), (69, (50_000, 50_001, 50_002, 50_003)))
        self.successResultOf(service.stopService())

    def test_stops_clean(self) -> None:
        """After it stopped no port listens, no file is open and no timer waits."""
        reactor = MemoryDatagramReactor()
        files = memory_files()
        files.contents[b"file"] = bytes(600)
        service = tftp_service(
            reactor,
            settings=TFTPSettings(network=NETWORK),
            files=files,
            addresses=MemoryAddressBook(),
            events=CapturedEvents(),
            plain=True,
        )
        service.privilegedStartService()
        service.startService()
        reactor.ports[0].protocol.datagramReceived(tftp.ReadRequest(b"file").to_wire(), CLIENT)
        self.assertFalse(files.opened[0].is_closed)
        self.successResultOf(service.stopService())
        self.assertTrue(files.opened[0].is_closed)
        self.assertEqual([port.listening for port in reactor.ports], [False] * 5)
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        """However many transfers run, one timer waits."""
        reactor = MemoryDatagramReactor()
        files = memory_files()
        files.contents[b"file"] = bytes(600)
        service = tftp_service(
            reactor,
            settings=TFTPSettings(network=NETWORK),
            files=files,
            addresses=MemoryAddressBook(),
            events=CapturedEvents(),
            plain=True,
        )
        service.startService()
        for port in range(1, 11):
            reactor.ports[0].protocol.datagramReceived(tftp.ReadRequest(b"file").to_wire(), (HOST, port))
        self.assertEqual(len(reactor.getDelayedCalls()), 1)
        before = sum(len(port.written) for port in reactor.ports)
        reactor.pump([0.25] * 5)
        self.assertEqual(sum(len(port.written) for port in reactor.ports), before + 10)
        self.successResultOf(service.stopService())

    def test_taken_port(self) -> None:
        """A taken port stops the start."""
        reactor = MemoryDatagramReactor()
        self.service(reactor).privilegedStartService()
        self.assertRaises(CannotListenError, self.service(reactor).privilegedStartService)

    def test_one_data_socket_is_too_few(self) -> None:
        """Two data sockets are the least with which consecutive transfers can differ."""
        self.assertRaises(ValueError, TFTPSettings, network=NETWORK, data_sockets=1)

    def test_block_limit(self) -> None:
        """On Ethernet a block has 1468 bytes at most: 1500 less 20 for IP, 8 for UDP and 4 for TFTP."""
        self.assertEqual(TFTPSettings(network=NETWORK).limits.block_bytes, 1468)

    def test_few_ports(self) -> None:
        """With two free ports of a range, two files in a row still leave from different ones."""
        reactor = MemoryDatagramReactor()
        for taken in (50_001, 50_003):
            reactor.listenUDP(taken, DatagramProtocol(), SERVER_HOST)
        service = self.service(reactor, data_ports=(50_001, 50_004))
        service.startService()
        self.assertEqual(service.data_port_numbers, (50_002, 50_004))
        requests, *doors = (port for port in reactor.ports if port.getHost().port not in (50_001, 50_003))
        for _ in range(6):
            requests.protocol.datagramReceived(tftp.ReadRequest(b"missing").to_wire(), CLIENT)
        self.assertEqual([len(door.written) for door in doors], [3, 3])
        self.successResultOf(service.stopService())

    def test_starts_again(self) -> None:
        """A service that was stopped serves again, from ports that are open."""
        reactor = MemoryDatagramReactor()
        service = self.service(reactor)
        service.startService()
        self.successResultOf(service.stopService())
        service.startService()
        opened = [port for port in reactor.ports if port.listening]
        for _ in range(8):
            opened[0].protocol.datagramReceived(tftp.ReadRequest(b"missing").to_wire(), CLIENT)
        self.assertEqual([len(port.written) for port in opened], [0, 2, 2, 2, 2])
        self.successResultOf(service.stopService())
