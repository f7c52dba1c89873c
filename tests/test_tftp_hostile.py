"""
The TFTP server over real boot files, against clients and file systems that mean it no good.
"""

import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.boot.content import SMALL_BYTES
from piman.boot.files import BootFiles
from piman.fleet.events import BootFilesServed, TransferAborted
from piman.fleet.model import MACAddress, Node
from piman.testing.fakes import CapturedEvents, MemoryAddressBook, MemoryBootFiles, MemoryDirectory, MemoryNeighbours
from piman.testing.udp import FakeDatagramTransport
from piman.tftp import DataProtocol, RequestProtocol, TFTPServer, TFTPSettings
from piman.wire import tftp

NETWORK = IPv4Network("172.30.4.0/24")
MAC = MACAddress.parse("b8:27:eb:00:00:01")
HOST, STRANGER, FAR = "172.30.4.11", "172.30.4.99", "10.0.0.9"
SECRET = b"nobody may read this"
SMALL = bytes(range(256)) * 5
LARGE = bytes(number % 251 for number in range(SMALL_BYTES + 100))
WINDOW = 64

names = st.sampled_from([b"small", b"/small", b"x//small", b"large", b"link", b"missing", b"../secret", b"small\n"])
options = st.dictionaries(
    st.sampled_from(["blksize", "tsize", "timeout", "windowsize", "BLKSIZE", "x"]),
    st.sampled_from(["0", "1", "7", "8", "64", "512", "1468", "65464", "65535", "-1", "", "9" * 30, "\xb9", "1 "]),
)
modes = st.sampled_from(["octet", "OCTET", "netascii", "mail", ""])
requests = st.builds(tftp.ReadRequest, names, modes, options).map(tftp.ReadRequest.to_wire)
replies = st.one_of(
    st.binary(max_size=8),
    st.integers(0, 65535).map(lambda block: tftp.Acknowledgement(block).to_wire()),
    st.sampled_from([0, 3, 8]).map(lambda code: tftp.Error(code, "Early terminate").to_wire()),
)
clients = st.tuples(st.sampled_from([HOST, STRANGER, FAR]), st.sampled_from([0, 1, 2, 65535]))


class Served(SynchronousTestCase):
    """Files on disk, a server over them, and what it sent."""

    def setUp(self) -> None:
        """Lay out the files; a node is at HOST."""
        self.base = Path(self.mktemp()).absolute()
        self.boot = self.base / "boot"
        self.boot.mkdir(parents=True)
        (self.base / "secret").write_bytes(SECRET)
        (self.boot / "link").symlink_to("../secret")
        self.put("small", SMALL)
        self.put("large", LARGE)
        self.start()

    def start(self) -> None:
        """A new server."""
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.events = CapturedEvents()
        book = MemoryAddressBook({IPv4Address(HOST): MAC})
        self.files = BootFiles(
            self.boot,
            nodes=MemoryDirectory([Node(mac=MAC)]),
            addresses=book,
            neighbours=MemoryNeighbours(),
            server_address=IPv4Address("172.30.4.1"),
        )
        limits = TFTPSettings(network=NETWORK, transfers=6, transfers_per_client=3)
        self.server = TFTPServer(self.clock, settings=limits, files=self.files, addresses=book, events=self.events)
        self.transports = [FakeDatagramTransport("172.30.4.1", 50_000 + index) for index in range(4)]
        for transport in self.transports:
            DataProtocol(self.server).makeConnection(transport)
        self.requests = RequestProtocol(self.server)

    def put(self, name: str, content: bytes) -> None:
        """Put a file there by a rename, as the manual says."""
        new = self.base / "new"
        new.write_bytes(content)
        new.rename(self.boot / name)

    def sent(self) -> int:
        """How many datagrams left so far."""
        return sum(len(transport.written) for transport in self.transports)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the sweeps."""
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            self.server.deliveries.sweep()

    def descriptors(self) -> list[str]:
        """The files below the base that this process has open."""
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:  # the descriptor of the listing itself
                continue
        return [path for path in found if path.startswith(str(self.base))]


class AnyClientTests(Served):
    """Clients that send anything in any order."""

    def deliver(self, client: Any, action: Any) -> None:
        """One datagram, or some time."""
        kind, value = action
        if kind == "request":
            self.requests.datagramReceived(value, client)
        elif kind == "reply":
            self.server.doors[value[0]].datagramReceived(value[1], client)
        elif kind == "right":
            self.acknowledge_rightly(client)
        else:
            self.pass_time(value)

    def acknowledge_rightly(self, client: Any) -> None:
        """Confirm all that was sent to this client."""
        transfer = self.server.deliveries.table.at(client)
        if transfer is not None:
            assert isinstance(transfer.door, DataProtocol)
            transfer.door.datagramReceived(tftp.Acknowledgement(transfer.sent & 0xFFFF).to_wire(), client)

    actions = st.one_of(
        st.tuples(st.just("request"), requests | st.binary(max_size=40)),
        st.tuples(st.just("reply"), st.tuples(st.integers(0, 3), replies)),
        st.tuples(st.just("right"), st.none()),
        st.tuples(st.just("time"), st.sampled_from([0.25, 1.0, 5.0])),
    )

    @settings(deadline=None)
    @given(st.lists(st.tuples(clients, actions), max_size=30))
    @example([((HOST, 1), ("request", tftp.ReadRequest(b"large", "octet", {"windowsize": "65535"}).to_wire()))] * 2)
    def test_any_sequence(self, sequence: list[Any]) -> None:
        """
        Nothing raises; one datagram is answered with a window at most, whoever is far away with nothing; nobody is sent
        the secret; the limits hold; and when all fall silent nothing is left open.
        """
        self.start()
        for client, action in sequence:
            before = self.sent()
            self.deliver(client, action)
            if action[0] != "time":
                self.assertTrue(self.sent() - before <= WINDOW)
            self.assertTrue(len(self.server.deliveries.table) <= 6)
        for data, address in (sent for transport in self.transports for sent in transport.written):
            tftp.from_wire(data)
            self.assertNotIn(SECRET, data)
            self.assertNotEqual(address[0], FAR)
            self.assertNotEqual(address[1], 0)
        for _ in range(60):
            self.pass_time(0.25)
            self.clock.advance(10)
        self.assertEqual((len(self.server.deliveries.table), self.descriptors()), (0, []))

    @settings(deadline=None)
    @given(st.lists(st.tuples(clients, requests), min_size=2, max_size=12))
    def test_sockets_differ(self, asked: list[Any]) -> None:
        """Two answers in a row to one address and port never come from one socket, whatever is asked."""
        self.start()
        last: dict[Any, int] = {}
        for client, request in asked:
            before = [len(transport.written) for transport in self.transports]
            self.requests.datagramReceived(request, client)
            after = [len(transport.written) for transport in self.transports]
            answering = [index for index in range(4) if after[index] != before[index]]
            if answering:
                self.assertEqual(len(answering), 1)
                self.assertNotEqual(answering[0], last.get(client))
                last[client] = answering[0]

    @settings(deadline=None)
    @given(st.binary(max_size=80))
    def test_any_request(self, body: bytes) -> None:
        """Any bytes behind the opcode of a read request are answered with one datagram at most."""
        self.start()
        self.requests.datagramReceived(b"\0\1" + body, (HOST, 1))
        self.assertTrue(self.sent() <= 1)


class FloodTests(SynchronousTestCase):
    """Requests from forged addresses, which nobody answers, against a server with its usual limits."""

    def setUp(self) -> None:
        """A server, and a board with a lease."""
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.book = MemoryAddressBook({IPv4Address(HOST): MAC})
        self.server = TFTPServer(
            self.clock,
            settings=TFTPSettings(network=IPv4Network("172.30.0.0/16")),
            files=MemoryBootFiles({b"kernel8.img": SMALL}),
            addresses=self.book,
            events=CapturedEvents(),
        )
        self.transports = [FakeDatagramTransport("172.30.4.1", 50_000 + index) for index in range(4)]
        for transport in self.transports:
            DataProtocol(self.server).makeConnection(transport)

    def ask(self, host: str, port: int, **options: str) -> None:
        """One request."""
        self.server.request_arrived(tftp.ReadRequest(b"kernel8.img", "octet", options).to_wire(), (host, port))

    def flood(self, **options: str) -> None:
        """257 addresses ask sixteen times each, in four tenths of a second."""
        for number in range(257):
            for port in range(16):
                self.ask(f"172.30.{8 + number // 256}.{number % 256}", 1024 + port, **options)
                self.clock.advance(0.4 / (257 * 16))

    def is_loading(self, host: str) -> bool:
        """Whether this board is given its file."""
        client = (host, 49152)
        self.ask(*client)
        transfer = self.server.deliveries.table.at(client)
        if transfer is None:
            return False
        assert isinstance(transfer.door, DataProtocol)
        for block in range(1, 4):
            transfer.door.datagramReceived(tftp.Acknowledgement(block).to_wire(), client)
        return self.server.deliveries.table.at(client) is None

    def test_of_strangers(self) -> None:
        """Addresses without a lease take few places; neither a board with a lease nor one without waits for them."""
        self.flood(timeout="255")
        self.assertEqual(len(self.server.deliveries.table), 256)
        self.assertTrue(self.is_loading(HOST))
        self.assertTrue(self.is_loading("172.30.4.99"))

    def test_of_nodes(self) -> None:
        """Nor does it when the addresses are those of nodes."""
        for number in range(257):
            address = IPv4Address(f"172.30.{8 + number // 256}.{number % 256}")
            self.book.bindings[address] = MACAddress.parse(f"b8:27:eb:01:{number // 256:02x}:{number % 256:02x}")
        for _ in range(2):
            self.flood(timeout="255")
            self.assertEqual(len(self.server.deliveries.table), 4096)
            self.assertTrue(self.is_loading(HOST))

    def test_is_over_soon(self) -> None:
        """Seven seconds after a flood nothing of it is left, whatever timeout it asked for."""
        for timeout in ("1", "5", "255"):
            self.flood(timeout=timeout)
            self.clock.advance(7)
            self.server.deliveries.sweep()
            self.assertEqual(len(self.server.deliveries.table), 0, timeout)


class Fetching(Served):
    """A client that does as it should while something happens to the file."""

    def fetch(self, name: bytes, amid: Callable[[], object] = lambda: None, **asked: str) -> bytes:
        """
        Load a file; after its first block ``amid`` is called.

        :raises AssertionError: with the server's ERROR.
        """
        client, number = (HOST, 49152), 0
        content: list[bytes] = []
        self.requests.datagramReceived(tftp.ReadRequest(name, "octet", asked).to_wire(), client)
        while True:
            [(transport, answers)] = [(one, self.read(one)) for one in self.transports if one.written]
            for answer in answers:
                if isinstance(answer, tftp.Error):
                    raise AssertionError(answer.message)
                if isinstance(answer, tftp.Data):
                    number += 1
                    self.assertEqual(answer.block, number & 0xFFFF)
                    content.append(answer.payload)
            if number == 1:
                amid()
            door = self.server.doors[self.transports.index(transport)]
            door.datagramReceived(tftp.Acknowledgement(number & 0xFFFF).to_wire(), client)
            if not transport.written:
                return b"".join(content)

    def read(self, transport: FakeDatagramTransport) -> list[Any]:
        """Take what was sent there."""
        taken, transport.written[:] = [tftp.from_wire(data) for data, _ in transport.written], []
        return taken

    def assertFetched(self, name: bytes, expected: bytes, amid: Callable[[], object] = lambda: None) -> None:
        """The file arrives like this, and its end closes it."""
        self.assertTrue(self.fetch(name, amid) == expected, name)
        self.assertEqual((len(self.server.deliveries.table), self.descriptors()), (0, []))
        self.assertEqual(self.events.of(TransferAborted), [])


class FileTests(Fetching):
    """Files that change while they are sent."""

    def test_replaced(self) -> None:
        """A file that is replaced by a rename arrives as it was, the next time as it is."""
        for name, old in ((b"small", SMALL), (b"large", LARGE)):
            new = old[::-1]
            self.assertFetched(name, old, lambda name=name, new=new: self.put(name.decode(), new))  # type: ignore[misc]
            self.assertFetched(name, new)

    def test_removed(self) -> None:
        """So does one that is removed."""
        for name, content in ((b"small", SMALL), (b"large", LARGE)):
            self.assertFetched(name, content, (self.boot / name.decode()).unlink)
            self.assertRaisesRegex(AssertionError, "File not found", self.fetch, name)

    def test_truncated(self) -> None:
        """A large file that is truncated ends with an ERROR, not with a short block; a small one stays whole."""
        self.assertFetched(b"small", SMALL, lambda: os.truncate(self.boot / "small", 10))
        with self.assertRaisesRegex(AssertionError, "the file changed while it was read"):
            self.fetch(b"large", lambda: os.truncate(self.boot / "large", 70_000))
        self.assertEqual(len(self.events.of(TransferAborted)), 1)
        self.assertEqual((len(self.server.deliveries.table), self.descriptors()), (0, []))

    def test_grown(self) -> None:
        """A large file that grows ends with an ERROR, too: nobody is sent two versions."""

        def grow() -> None:
            with open(self.boot / "large", "ab") as file:
                file.write(b"more")

        self.assertRaisesRegex(AssertionError, "the file changed", self.fetch, b"large", grow)

    def test_link_swapped(self) -> None:
        """A link that is turned to the outside while its file is sent: that goes on, the next request is refused."""

        def turn() -> None:
            (self.base / "turned").symlink_to("../secret")
            (self.base / "turned").rename(self.boot / "to")

        for name, content in (("small", SMALL), ("large", LARGE)):
            (self.boot / "to").unlink(missing_ok=True)
            (self.boot / "to").symlink_to(name)
            self.assertFetched(b"to", content, turn)
            self.assertRaisesRegex(AssertionError, "leads out", self.fetch, b"to")

    def test_folder_turned(self) -> None:
        """A folder on the way that becomes a link to the outside is refused from then on."""
        (self.boot / "overlays").mkdir()
        self.put("overlays/secret", b"harmless")

        def turn() -> None:
            (self.boot / "overlays").rename(self.boot / "moved")
            (self.boot / "overlays").symlink_to("..")

        self.assertFetched(b"overlays/secret", b"harmless", turn)
        self.assertRaisesRegex(AssertionError, "leads out", self.fetch, b"overlays/secret")


class LongTransferTests(Fetching):
    """Block numbers that wrap."""

    def test_twice_around(self) -> None:
        """A file of 131,085 blocks of 8 bytes wraps twice and arrives whole, also when windows straddle the wrap."""
        for window in ("64", "63"):
            self.assertTrue(self.fetch(b"large", blksize="8", windowsize=window) == LARGE, window)
        self.pass_time(20)
        [report] = self.events.of(BootFilesServed)
        assert isinstance(report, BootFilesServed)
        self.assertEqual((report.files, report.bytes, report.retransmits), (2, 2 * len(LARGE), 0))

    def test_ends_at_the_wrap(self) -> None:
        """Files of 65,534 to 65,537 blocks end where they should."""
        for blocks in range(65_534, 65_538):
            content = LARGE[: 8 * blocks - 1]
            self.put("edge", content)
            self.assertTrue(self.fetch(b"edge", blksize="8", windowsize="60") == content, blocks)
