# -*- test-case-name: tests.test_simulator_booting_tftp_client -*-
"""
The TFTP clients of the boards' boot loaders: lock-step, a new source port for each request, their known habits.

Known: which options each stage sends, tsize probes that end in "Early terminate" or in silence, no windowsize, block
numbers that do not wrap in older releases.  Guessed: after how long a client repeats itself (nobody has published
it): 2 s here, and the boot ROM never repeats a request, so that a lost one hangs the board as it does in racks.
"""

from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv4Address
from math import inf

import attrs

from piman.simulator.booting.machine import Machine, Program
from piman.simulator.wiring.surroundings import TFTP_PORT, Address, Datagram, Socket
from piman.wire.layout import MalformedDatagram
from piman.wire.tftp import (
    DEFAULT_BLOCK_BYTES,
    Acknowledgement,
    Data,
    Error,
    OptionAcknowledgement,
    ReadRequest,
    from_wire,
)

EARLY_TERMINATE = Error(0, "Early terminate").to_wire()
LAST_BLOCK = 65_535
SILENT_PROBES = 0.25
"""Share of probes that end without a word; the same file is asked for again while the server still waits."""


@attrs.frozen(kw_only=True)
class Habits:
    """
    How one stage of a boot loader asks.

    :ivar silence_seconds: without a word of the server, then the file is given up.
    :ivar file_seconds: for a whole file; None: as long as it goes on.
    :ivar resend_seconds: None: never repeats itself.
    :ivar wraps: whether block 0 may follow block 65535.
    """

    options: Mapping[str, str]
    silence_seconds: float
    file_seconds: float | None = None
    resend_seconds: float | None
    wraps: bool = False


ROM = Habits(options={}, silence_seconds=10.0, resend_seconds=None)
START_ELF = Habits(options={"tsize": "0"}, silence_seconds=10.0, resend_seconds=2.0)
EEPROM = Habits(
    options={"tsize": "0", "blksize": "1468"}, silence_seconds=30.0, file_seconds=30.0, resend_seconds=2.0, wraps=True
)
OLD_EEPROM = attrs.evolve(EEPROM, options={"tsize": "0", "blksize": "1024"}, wraps=False)
"""Releases of 2019-10 to 2022-09."""


class Outcome(Enum):
    """How a request ended."""

    READ = "read"
    SIZED = "sized"
    """Only the length was wanted."""
    MISSING = "missing"
    NO_ANSWER = "no answer"
    BROKEN = "broken"
    """The server broke off, broke the rules, or sent another length than it had said."""


@attrs.frozen(kw_only=True)
class Fetched:
    """What a request led to."""

    outcome: Outcome
    content: bytes = b""
    size: int | None = None
    """As the server's OACK said."""
    agreed: bool = True
    """Whether the server answered the options that were sent, with an OACK."""

    @property
    def is_there(self) -> bool:
        """Whether the server has the file."""
        return self.outcome in (Outcome.READ, Outcome.SIZED)


class Transfer:
    """One request: what was agreed, what has come, what to send again."""

    def __init__(self, name: str, habits: Habits, *, only_size: bool, goodbye: bytes = EARLY_TERMINATE) -> None:
        self.last_sent = ReadRequest(name.encode(), options=habits.options).to_wire()
        self.result: Fetched | None = None
        self._habits = habits
        self._only_size = only_size
        self._goodbye = goodbye
        self._size: int | None = None
        self._block_bytes = DEFAULT_BLOCK_BYTES
        self._parts: list[bytes] = []
        self._agreed = not habits.options

    def receive(self, data: bytes) -> bytes:
        """Take a datagram of the server; what is to be sent now, or nothing."""
        try:
            datagram = from_wire(data)
        except MalformedDatagram:
            return b""
        if isinstance(datagram, Data):
            return self._take(datagram)
        if isinstance(datagram, OptionAcknowledgement):
            return self._agree(datagram.options)
        if isinstance(datagram, Error):
            missing = not self._parts and datagram.code == 1
            self.result = Fetched(outcome=Outcome.MISSING if missing else Outcome.BROKEN)
        return b""

    def _agree(self, options: Mapping[str, str]) -> bytes:
        asked = self._habits.options
        if self._agreed and (not asked or self._parts):
            return b""
        try:
            sizes = {name: int(value) for name, value in options.items()}
        except ValueError:
            return self._refuse()
        if not sizes.keys() <= asked.keys() or sizes.get("blksize", 512) > int(asked.get("blksize", 512)):
            return self._refuse()
        self._agreed = True
        self._size = sizes.get("tsize")
        self._block_bytes = sizes.get("blksize", DEFAULT_BLOCK_BYTES)
        if not self._only_size:
            return Acknowledgement(0).to_wire()
        self.result = Fetched(outcome=Outcome.SIZED, size=self._size)
        return self._goodbye

    def _refuse(self) -> bytes:
        self.result = Fetched(outcome=Outcome.BROKEN)
        return Error(8, "Bad options").to_wire()

    def _take(self, datagram: Data) -> bytes:
        have = len(self._parts)
        if self._only_size:
            self.result = Fetched(outcome=Outcome.SIZED, agreed=False)
            return EARLY_TERMINATE
        if datagram.block != (have + 1) & LAST_BLOCK:
            # Seen before: our acknowledgement may have been lost.
            return Acknowledgement(datagram.block).to_wire() if datagram.block == have & LAST_BLOCK and have else b""
        self._parts.append(datagram.payload)
        is_last = len(datagram.payload) < self._block_bytes
        if is_last or (have + 1 == LAST_BLOCK and not self._habits.wraps):
            self._finish()
        return Acknowledgement(datagram.block).to_wire()

    def _finish(self) -> None:
        content = b"".join(self._parts)
        is_whole = self._size is None or self._size == len(content)
        outcome = Outcome.READ if is_whole else Outcome.BROKEN
        self.result = Fetched(outcome=outcome, content=content, size=self._size, agreed=self._agreed)


def fetch(
    machine: Machine, address: IPv4Address, server: IPv4Address, name: str, habits: Habits, *, only_size: bool = False
) -> Program[Fetched]:
    """Ask for a file, or only for its length."""
    is_silent = machine.random.random() < SILENT_PROBES
    goodbye = Acknowledgement(0).to_wire() if is_silent else EARLY_TERMINATE
    transfer = Transfer(name, habits, only_size=only_size, goodbye=goodbye)
    socket = machine.udp_socket(address)
    try:
        yield from _converse(machine, socket, transfer, (str(server), TFTP_PORT), habits)
    finally:
        machine.close(socket)
    return transfer.result or Fetched(outcome=Outcome.NO_ANSWER)


def _converse(
    machine: Machine, socket: Socket, transfer: Transfer, peer: Address, habits: Habits
) -> Program[None]:
    """Until there is a result, or the time for the file is over."""
    began = heard = said = machine.now()
    socket.send(transfer.last_sent, peer)
    is_bound = False
    while transfer.result is None:
        give_up = min(heard + habits.silence_seconds, began + (habits.file_seconds or inf))
        event = yield min(said + (habits.resend_seconds or inf), give_up)
        if not isinstance(event, Datagram):
            if machine.now() >= give_up:
                return
            machine.journal.resends += 1
            socket.send(transfer.last_sent, peer)
            said = machine.now()
            continue
        if event.source[0] != peer[0] or (is_bound and event.source != peer):
            continue
        peer, is_bound, heard = event.source, True, machine.now()
        answer = transfer.receive(event.data)
        if answer:
            transfer.last_sent = answer
            socket.send(answer, peer)
            said = heard
