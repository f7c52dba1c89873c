# -*- test-case-name: tests.test_simulator_wiring_faults -*-
"""
What goes wrong between a board's own socket and the wire: loss, duplication, reordering, stalls, cut streams.

Each way separately, by a seeded random: the same seed makes the same faults for the same traffic.  Beside these
accidents there are :class:`Defects`, which are there for good: each is one of the faults that a verdict names.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.simulator.wiring.surroundings import (
    DHCP_PORT,
    HELLO_PORT,
    TFTP_PORT,
    Address,
    Closed,
    Datagram,
    Deliver,
    Event,
    Network,
    Opened,
    Received,
    Socket,
    Stream,
)
from piman.simulator.wiring.uplink import Uplink

OVERTAKEN_SECONDS = 0.05
"""A datagram that is to be overtaken waits for the next one, at most so long."""
DUPLICATE_SECONDS = 0.01
"""A copy arrives so much later."""


@attrs.frozen(kw_only=True)
class Faults:
    """
    Shares from 0 to 1.

    :ivar loss: datagrams that get lost, each way.
    :ivar duplicate: datagrams that arrive twice, each way.
    :ivar reorder: datagrams that are overtaken by the next one, each way.
    :ivar stall: datagrams at which the board's line stands still for :attr:`stall_seconds`; nothing gets lost.
    :ivar cut: pieces of a TCP stream at which the connection breaks.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    stall: float = 0.0
    stall_seconds: float = 2.0
    cut: float = 0.0

    @property
    def are_any(self) -> bool:
        """Whether anything goes wrong at all."""
        return any((self.loss, self.duplicate, self.reorder, self.stall, self.cut))


@attrs.frozen(kw_only=True)
class Defects:
    """
    What is wrong with one board, its settings, its card or its line, and does not pass.

    :ivar no_netboot: its firmware never asks the network.
    :ivar wrong_vlan: its line leads to another network: nobody hears it.
    :ivar blocked_seconds: after power comes, spanning tree lets nothing through for so long.
    :ivar ignores_offer: answers of DHCP servers do not reach it.
    :ivar no_tftp: its requests for files do not reach the manager.
    :ivar prefix: its EEPROM asks for files in this folder (``TFTP_PREFIX=1``) instead of that of its serial.
    :ivar stalls_at_block: of every boot file, nothing comes after this block.
    :ivar kernel_silent: its kernel does not get so far as to ask for an address.
    :ivar installer_silent: its initramfs calls nobody.
    :ivar wrong_card: what is in place of its card is none.
    :ivar corrupt_image: it reads another image than it was sent.
    :ivar stream_ends_at: of all streams but the conversation, so many bytes come through in all.
    :ivar never_up: its installed system does not start.
    :ivar dies_after: so many seconds after its system came up, the system is gone.
    :ivar flaps_after: its power breaks down so many seconds after it came, at least and at most, for a second.
    """

    no_netboot: bool = False
    wrong_vlan: bool = False
    blocked_seconds: float = 0.0
    ignores_offer: bool = False
    no_tftp: bool = False
    prefix: str = ""
    stalls_at_block: int | None = None
    kernel_silent: bool = False
    installer_silent: bool = False
    wrong_card: bool = False
    corrupt_image: bool = False
    stream_ends_at: int | None = None
    never_up: bool = False
    dies_after: float | None = None
    flaps_after: tuple[float, float] | None = None

    def loses_sent(self, destination: Address) -> bool:
        """Whether a datagram of the board gets lost."""
        return self.wrong_vlan or (self.no_tftp and destination[1] == TFTP_PORT)

    def loses_received(self, data: bytes, source: Address) -> bool:
        """Whether a datagram to the board gets lost."""
        is_dhcp = source[1] == DHCP_PORT
        is_late_block = (
            self.stalls_at_block is not None
            and not is_dhcp
            and data[:2] == DATA
            and int.from_bytes(data[2:4], "big") > self.stalls_at_block
        )
        return self.wrong_vlan or (self.ignores_offer and is_dhcp) or is_late_block


NO_DEFECTS = Defects()
DATA = b"\0\3"
"""What a block of a boot file begins with (RFC 1350)."""


@attrs.define
class Damage:
    """What the faults did, counted."""

    lost: int = 0
    doubled: int = 0
    overtaken: int = 0
    stalled: int = 0
    cut: int = 0


class FaultyNetwork:
    """
    The network of one board with the faults on its own line.

    :param defects: what is wrong with it for good.
    :param uplink: behind that line, shared with other boards; datagrams alone cross it.
    :ivar damage: what was done by the faults; may be shared between boards.
    :ivar streamed: bytes that streams other than conversations have brought.
    """

    def __init__(
        self,
        network: Network,
        faults: Faults,
        *,
        clock: IReactorTime,
        random: Random,
        damage: Damage | None = None,
        defects: Defects = NO_DEFECTS,
        uplink: Uplink | None = None,
    ) -> None:
        self.uplink = uplink
        self.damage = damage if damage is not None else Damage()
        self.faults = faults
        self.defects = defects
        self.streamed = 0
        self.powered_at = float("-inf")
        self.clock = clock
        self.random = random
        self._network = network
        self._stands_until = 0.0

    def dhcp(self, deliver: Deliver, address: IPv4Address | None = None) -> Socket:
        """A socket for DHCP."""
        return _FaultySocket(self, deliver, lambda receive: self._network.dhcp(receive, address))

    def udp(self, address: IPv4Address, port: int, deliver: Deliver) -> Socket:
        """A socket at this address and port."""
        return _FaultySocket(self, deliver, lambda receive: self._network.udp(address, port, receive))

    def connect(self, address: IPv4Address, peer: Address, deliver: Deliver) -> Stream:
        """Begin to connect."""
        is_image = peer[1] != HELLO_PORT
        return _FaultyStream(
            self, deliver, lambda receive: self._network.connect(address, peer, receive), is_image=is_image
        )

    def is_blocked(self) -> bool:
        """Whether the switch lets nothing through yet."""
        return self.clock.seconds() < self.powered_at + self.defects.blocked_seconds

    def ends_stream(self, data: bytes) -> bool:
        """Whether a stream has come to where it always ends."""
        self.streamed += len(data)
        return self.defects.stream_ends_at is not None and self.streamed > self.defects.stream_ends_at

    def happens(self, share: float) -> bool:
        """Whether a fault of that share strikes now."""
        return bool(share) and self.random.random() < share

    def delay(self) -> float:
        """How long the line still stands."""
        now = self.clock.seconds()
        if self.happens(self.faults.stall):
            self.damage.stalled += 1
            self._stands_until = max(self._stands_until, now + self.faults.stall_seconds)
        return max(0.0, self._stands_until - now)


class _Way:
    """One direction of one socket."""

    def __init__(self, line: FaultyNetwork) -> None:
        self._line = line
        self._held: Callable[[], None] | None = None
        self.is_open = True

    def carry(self, pass_on: Callable[[], None]) -> None:
        """A datagram sets out."""
        line, faults = self._line, self._line.faults
        crossing = line.uplink.cross() if line.uplink is not None else 0.0
        if crossing is None or line.happens(faults.loss):
            line.damage.lost += 1
            return
        if line.happens(faults.duplicate):
            line.damage.doubled += 1
            line.clock.callLater(DUPLICATE_SECONDS, self._arrive, pass_on)
        delay = max(line.delay(), crossing)
        if delay:
            line.clock.callLater(delay, self._arrive, pass_on)
        elif self._held is None and line.happens(faults.reorder):
            line.damage.overtaken += 1
            self._held = pass_on
            line.clock.callLater(OVERTAKEN_SECONDS, self._release)
        else:
            self._arrive(pass_on)
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._arrive(held)

    def _arrive(self, pass_on: Callable[[], None]) -> None:
        if self.is_open:
            pass_on()


class _FaultySocket:
    """A UDP socket behind the faults."""

    def __init__(self, line: FaultyNetwork, deliver: Deliver, open_socket: Callable[[Deliver], Socket]) -> None:
        self._deliver = deliver
        self._line = line
        self._out, self._in = _Way(line), _Way(line)
        self._socket = open_socket(self._arrived)

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram."""
        if not self._line.is_blocked() and not self._line.defects.loses_sent(destination):
            self._out.carry(lambda: self._socket.send(data, destination))

    def _arrived(self, event: Event) -> None:
        assert isinstance(event, Datagram)
        if not self._line.is_blocked() and not self._line.defects.loses_received(event.data, event.source):
            self._in.carry(lambda: self._deliver(event))

    def close(self) -> None:
        """Nothing more arrives."""
        self._out.is_open = self._in.is_open = False
        self._socket.close()


class _FaultyStream:
    """A TCP connection that may break: no byte of one that holds is lost, the kernels see to that."""

    def __init__(
        self, line: FaultyNetwork, deliver: Deliver, connect: Callable[[Deliver], Stream], *, is_image: bool
    ) -> None:
        self._line = line
        self._is_image = is_image
        self._deliver = deliver
        self._is_over = False
        self._stream = connect(self._arrived)

    def _arrived(self, event: Event) -> None:
        if self._is_over:
            return
        is_cut = isinstance(event, Received) and self._line.happens(self._line.faults.cut)
        self._line.damage.cut += is_cut
        if is_cut or (isinstance(event, Received) and self._is_image and self._line.ends_stream(event.data)):
            self._stream.close()
            event = Closed(self, "the connection broke")
        self._is_over = isinstance(event, Closed)
        self._deliver(self._own(event))

    def _own(self, event: Event) -> Event:
        """The same, said of this stream instead of the one behind it."""
        if isinstance(event, Received):
            return Received(self, event.data)
        return Closed(self, event.reason) if isinstance(event, Closed) else Opened(self)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._stream.write(data)

    def close(self) -> None:
        """End it."""
        self._is_over = True
        self._stream.close()

    def vanish(self) -> None:
        """The power went."""
        self._is_over = True
        self._stream.vanish()
