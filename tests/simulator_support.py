"""
A bench for one virtual board: a Clock, a cable whose other end is the test.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from random import Random
from typing import Any

import attrs
from twisted.internet.task import Clock

from piman.simulator.booting.boards import KINDS, Board, board_number
from piman.simulator.booting.journal import Journal
from piman.simulator.booting.machine import Machine, Program
from piman.simulator.pi import MODELS, Pi
from piman.simulator.running.plan import places
from piman.simulator.wiring.surroundings import Address, Closed, Datagram, Deliver, Event, Opened, Received
from piman.wire import tftp
from piman.wire.dhcp import Message, MessageType, Operation, Option, encode_options
from piman.wire.pi import boot_menu

SERVER = IPv4Address("172.30.4.1")
ADDRESS = IPv4Address("172.30.4.13")
ROUTER = IPv4Address("172.30.4.254")


class BenchSocket:
    """A UDP socket of the board."""

    def __init__(self, network: "BenchNetwork", at: Address, deliver: Deliver) -> None:
        self.at = at
        self.sent: list[tuple[bytes, Address]] = []
        self.is_open = True
        self._network = network
        self._deliver = deliver

    def send(self, data: bytes, destination: Address) -> None:
        """Keep it, and let the other end answer."""
        self.sent.append((data, destination))
        self._network.sent.append((self._network.clock.seconds(), data, destination))
        for answer in self._network.answer(data, destination, self.at):
            self._network.clock.callLater(0, self.deliver, *answer)

    def deliver(self, data: bytes, source: Address) -> None:
        """Something arrives."""
        if self.is_open:
            self._deliver(Datagram(data, source))

    def close(self) -> None:
        """Close it."""
        self.is_open = False


class BenchStream:
    """A TCP connection of the board."""

    def __init__(self, peer: Address, deliver: Deliver) -> None:
        self.peer = peer
        self.written = b""
        self.is_open = True
        self.has_power = True
        self._deliver = deliver

    def say(self, event: Event) -> None:
        """Something happens on it."""
        if self.is_open:
            self._deliver(event)

    def open(self) -> None:
        """It is connected."""
        self.say(Opened(self))

    def receive(self, data: bytes) -> None:
        """Bytes arrive."""
        self.say(Received(self, data))

    def end(self) -> None:
        """The peer ends it."""
        self.say(Closed(self, "ended"))

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def close(self) -> None:
        """Close it."""
        self.is_open = False

    def vanish(self) -> None:
        """The power went."""
        self.is_open = self.has_power = False

    def lines(self) -> list[str]:
        """What the board has written, and forget it."""
        lines, self.written = self.written.decode().splitlines(), b""
        return lines


class BenchNetwork:
    """
    Keeps what the board sends.

    :ivar files: when given, TFTP requests are answered at once.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sockets: list[BenchSocket] = []
        self.streams: list[BenchStream] = []
        self.sent: list[tuple[float, bytes, Address]] = []
        self.files: Mapping[str, bytes] | None = None
        self.asked: list[str] = []
        self.agrees = True
        self._content = b""

    def dhcp(self, deliver: Deliver, address: IPv4Address | None = None) -> BenchSocket:
        """A DHCP client's socket."""
        return self._socket((str(address or "0.0.0.0"), 68), deliver)

    def udp(self, address: IPv4Address, port: int, deliver: Deliver) -> BenchSocket:
        """A socket."""
        return self._socket((str(address), port), deliver)

    def _socket(self, at: Address, deliver: Deliver) -> BenchSocket:
        self.sockets.append(BenchSocket(self, at, deliver))
        return self.sockets[-1]

    def connect(self, address: IPv4Address, peer: Address, deliver: Deliver) -> BenchStream:
        """A stream, not yet open."""
        self.streams.append(BenchStream(peer, deliver))
        return self.streams[-1]

    def answer(self, data: bytes, destination: Address, source: Address) -> list[tuple[bytes, Address]]:
        """A TFTP server that loses nothing."""
        if self.files is None or source[1] == 68:
            return []
        datagram = tftp.from_wire(data)
        peer = str(SERVER), 1_000 + source[1] % 1_000
        if isinstance(datagram, tftp.ReadRequest):
            return [(self._begin(datagram), peer)]
        if isinstance(datagram, tftp.Acknowledgement):
            block = self._content[datagram.block * self._block : (datagram.block + 1) * self._block]
            is_over = datagram.block * self._block > len(self._content)
            return [] if is_over else [(tftp.Data(datagram.block + 1, block).to_wire(), peer)]
        return []

    def _begin(self, request: tftp.ReadRequest) -> bytes:
        name = request.filename.decode()
        self.asked.append(name)
        content = (self.files or {}).get(name)
        if content is None:
            return tftp.Error(1, "File not found").to_wire()
        self._content, self._block = content, 512
        if not request.options or not self.agrees:
            return tftp.Data(1, content[:512]).to_wire()
        self._block = int(request.options.get("blksize", "512"))
        agreed = {"tsize": str(len(content)), "blksize": str(self._block)}
        return tftp.OptionAcknowledgement({name: agreed[name] for name in request.options}).to_wire()


def dark_boards(count: int) -> list[Pi]:
    """Boards of all models, in turn, without power."""
    clock = Clock()
    return [
        Pi(place.board, clock=clock, network=BenchNetwork(clock), journal=Journal(), random=Random(1))
        for place in places(count, MODELS, 0.0)
    ]


class Bench:
    """
    One board whose programs a test runs.

    :ivar result: of the program, once it has ended; ``failure`` if it raised.
    """

    def __init__(self, kind: str = "4B", *, board: Board | None = None, seed: int = 1, speed: float = 1.0) -> None:
        self.clock = Clock()
        self.network = BenchNetwork(self.clock)
        self.journal = Journal()
        self.board = board or board_number(1, KINDS[kind])
        self.random = Random(seed)
        self.machine = Machine(
            self.board,
            clock=self.clock,
            network=self.network,
            journal=self.journal,
            random=self.random,
            speed=speed,
        )
        self.has_ended = False
        self.result: Any = None
        self.failure: Exception | None = None

    def run(self, program: Program[Any]) -> None:
        """Start it."""
        self.has_ended, self.result, self.failure = False, None, None
        self.machine.start(self._keep(program))

    def _keep(self, program: Program[Any]) -> Program[None]:
        try:
            self.result = yield from program
        except Exception as failure:
            self.failure = failure
        self.has_ended = True

    @property
    def socket(self) -> BenchSocket:
        """The socket opened last."""
        return self.network.sockets[-1]

    @property
    def stream(self) -> BenchStream:
        """The stream opened last."""
        return self.network.streams[-1]

    def messages(self) -> list[Message]:
        """The DHCP messages that the board has sent."""
        return [Message.from_wire(data) for _, data, at in self.network.sent if at[1] == 67]

    def times(self) -> list[float]:
        """When the board sent something."""
        return [time for time, _, _ in self.network.sent]

    def reply(self, kind: MessageType, server: IPv4Address = SERVER, **changes: Any) -> None:
        """A DHCP server answers what the board sent last."""
        asked = self.messages()[-1]
        options = {
            Option.MESSAGE_TYPE: kind,
            Option.SERVER_IDENTIFIER: server,
            Option.LEASE_SECONDS: 600,
            **changes.pop("options", {Option.TFTP_SERVER: str(server)}),
        }
        message = Message(
            op=Operation.REPLY,
            xid=asked.xid,
            chaddr=asked.chaddr,
            yiaddr=changes.pop("address", ADDRESS),
            siaddr=server,
            options=encode_options(options),
        )
        self.socket.deliver(attrs.evolve(message, **changes).to_wire(), (str(server), 67))


PADDED_MENU = {Option.VENDOR_SPECIFIC: boot_menu(padded=True)}
MENU = {Option.VENDOR_SPECIFIC: boot_menu()}
