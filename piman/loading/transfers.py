# -*- test-case-name: tests.test_loading_transfers -*-
"""
A TFTP transfer as a record and pure decisions: what is agreed, what an ACK confirms, what silence means.

No state machine and no object per block: 200 boards that load a kernel ask 100,000 times a second.

1. RFC 1350 (the protocol), RFC 2347 (options), RFC 2348 (blksize), RFC 2349 (timeout, tsize), RFC 7440 (windowsize)
2. RFC 1123, 4.2.3.1: a duplicate ACK is never answered ("Sorcerer's Apprentice")
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Protocol

import attrs

from piman.fleet.interfaces import BootFile
from piman.fleet.model import MACAddress
from piman.loading.blocks import Edition
from piman.wire import tftp

Address = tuple[str, int]

FIRST_REPLY_RESENDS = 2
"""How often a first reply, which nobody has confirmed, is repeated to a client that is known or near."""
FIRST_REPLY_SECONDS = 7.0
"""How long a first reply may stay unanswered, whatever was asked for: sent at 0, 1 and 3 s, and 4 s for the last."""
LONGEST_TIMEOUT_SECONDS = 7
"""
The longest ``timeout`` that is agreed to: curl asks for 6, U-Boot for 5.

RFC 2349 allows 255, and a server to leave the option out: how long we wait for silent clients is ours to say.
"""
NOTHING_CONFIRMED = -1
REMEMBERED_CLIENTS = 16_384
"""Client addresses and ports whose last data socket is remembered."""
IGNORED = -2
"""What :func:`acknowledge` says of an ACK that changes nothing."""

# What client and server agree on


@attrs.frozen(kw_only=True)
class Limits:
    """The most that the server agrees to."""

    block_bytes: int
    window_blocks: int


@attrs.frozen(kw_only=True)
class Terms:
    """What client and server agree on."""

    block_bytes: int = tftp.DEFAULT_BLOCK_BYTES
    window_blocks: int = 1
    timeout_seconds: int | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)
    """The OACK; empty: none is sent, and the first reply is DATA 1."""


def negotiate(asked: Mapping[str, str], size_bytes: int | None, limits: Limits) -> Terms:
    """
    Agree to the options that were asked for, in their order, and to no other.

    RFC 2347: "The server must not include in the OACK any option which had not been specifically requested by the
    client."  Values that their RFC does not allow are ignored, as if the option were not there, and so is a longer
    ``timeout`` than ours: an OACK may only repeat the value or leave the option out (RFC 2349).

    :param size_bytes: None: not known beforehand.
    """
    agreed: dict[str, str] = {}
    chosen: dict[str, int] = {}
    for name, value in asked.items():
        number = _number(value)
        if name == "tsize" and number is not None and size_bytes is not None:
            agreed[name] = str(size_bytes)
        elif name == "timeout" and number is not None and 1 <= number <= LONGEST_TIMEOUT_SECONDS:
            chosen["timeout_seconds"], agreed[name] = number, value
        elif name == "blksize" and number is not None and number >= tftp.MINIMUM_BLOCK_BYTES:
            chosen["block_bytes"] = min(number, limits.block_bytes, tftp.MAXIMUM_BLOCK_BYTES)
            agreed[name] = str(chosen["block_bytes"])
        elif name == "windowsize" and number is not None and 1 <= number <= 65535:
            chosen["window_blocks"] = min(number, limits.window_blocks)
            agreed[name] = str(chosen["window_blocks"])
    return Terms(**chosen, options=agreed)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


# The transfer


class IDoor(Protocol):
    """A data socket."""

    def send(self, data: bytes, client: Address) -> None:
        """Send one datagram."""


@attrs.define(eq=False, kw_only=True, slots=True)
class Transfer:
    """One file on its way to one client.  Blocks are counted from 1 and do not wrap here."""

    client: Address
    mac: MACAddress | None
    request: bytes
    """The datagram that asked for it."""
    door: IDoor
    """The data socket it uses."""
    file: BootFile
    terms: Terms
    edition: Edition
    full_bytes: int
    """A DATA datagram shorter than this is the last."""
    is_trusted: bool
    """Whether its client is known or near, so that the first reply may be repeated."""
    has_lease: bool
    """Whether its client holds an address of ours; the others are strangers."""
    started: float
    heard: float
    """When the client last said something new."""
    resend_at: float
    patience_seconds: float
    """How long the client may be silent once it has answered."""
    first_interval: float
    """Silence before the first repetition."""
    interval: float
    """Silence before the next one."""
    confirmed: int = NOTHING_CONFIRMED
    """The last block that the client has, 0 after an OACK that it took."""
    sent: int = 0
    last: int | None = None
    """The number of the last block, once it was seen."""
    last_bytes: int = 0
    """What the last block holds."""
    is_answered: bool = False
    """Whether the client has confirmed anything; :meth:`TransferTable.answered` says so."""
    resends: int = 0
    """Since the client last said something new."""
    retransmits: int = 0

    @property
    def is_probe(self) -> bool:
        """Whether the client has only looked at the size so far, as boot firmware does."""
        return self.confirmed <= 0 and "tsize" in self.terms.options

    @property
    def bytes_confirmed(self) -> int:
        """How much of the file the client has."""
        blocks = max(0, self.confirmed)
        if blocks == self.last:
            return (blocks - 1) * self.terms.block_bytes + self.last_bytes
        return blocks * self.terms.block_bytes


def acknowledge(transfer: Transfer, block: int) -> int:
    """
    The block that an ACK confirms, counted without wrapping, or :data:`IGNORED`.

    Only a block that was sent and is not confirmed yet counts.  A repeated ACK is ignored, also with a window: if it
    were answered, one doubled datagram would double all that follow (RFC 1123, 4.2.3.1).  An ACK amid a window says
    that the next block was lost (RFC 7440, 4), and the window begins anew behind it.
    """
    ahead = (block - transfer.confirmed) & 0xFFFF
    if 1 <= ahead <= transfer.sent - transfer.confirmed:
        return transfer.confirmed + ahead
    return IGNORED


class Overdue(Enum):
    """What silence calls for."""

    WAIT = "wait"
    RESEND = "resend"
    GIVE_UP = "give up"


def overdue(transfer: Transfer, now: float) -> Overdue:
    """What the client's silence calls for."""
    # Who only asked may be nobody: a forged request must not hold a place for long.
    if now - transfer.heard >= (transfer.patience_seconds if transfer.is_answered else FIRST_REPLY_SECONDS):
        return Overdue.GIVE_UP
    if now < transfer.resend_at:
        return Overdue.WAIT
    if transfer.is_answered:
        return Overdue.RESEND
    # A forged request must not make us send more than one datagram to its victim.
    allowed = FIRST_REPLY_RESENDS if transfer.is_trusted else 0
    return Overdue.RESEND if transfer.resends < allowed else Overdue.WAIT


def is_normal_end(transfer: Transfer, error: tftp.Error) -> bool:
    """
    Whether a client's ERROR is its way to be content.

    Boot firmware opens a file for its size and ends with error 0 ("Early terminate"); a client that cannot live with
    an option says 8 (RFC 2347) and asks again.
    """
    if error.code == tftp.ErrorCode.OPTION_REFUSED:
        return True
    return error.code == tftp.ErrorCode.UNDEFINED and (transfer.confirmed <= 0 or "terminate" in error.message.lower())


GIVING_WAY = ((False, False), (False, True), (True, False))
"""Which transfers lose their places, by whether they have a lease and an answer, the first to go first."""


class TransferTable:
    """All transfers that are not over, who gives way to new ones, and which data socket each client had last."""

    def __init__(self) -> None:
        self._transfers: dict[Address, Transfer] = {}
        self._of_host: dict[str, dict[Address, Transfer]] = {}
        """The same, by the client's address: a flood of one host must not cost a look at all others."""
        self._queues: dict[tuple[bool, bool], dict[Address, Transfer]] = {
            (has_lease, is_answered): {} for has_lease in (False, True) for is_answered in (False, True)
        }
        """The same, by lease and answer, the oldest first: a flood of many hosts must not cost that look either."""
        self._last_door: dict[Address, int] = {}
        self._rotation = 0
        self.at = self._transfers.get
        """The transfer to this address and port, or None."""

    def __len__(self) -> int:
        return len(self._transfers)

    def __iter__(self) -> Iterator[Transfer]:
        return iter(tuple(self._transfers.values()))

    def add(self, transfer: Transfer) -> None:
        """A transfer begins; there is no other to this address and port."""
        self._transfers[transfer.client] = transfer
        self._of_host.setdefault(transfer.client[0], {})[transfer.client] = transfer
        self._queue_of(transfer)[transfer.client] = transfer

    def remove(self, transfer: Transfer) -> None:
        """A transfer is over."""
        host = transfer.client[0]
        del self._transfers[transfer.client]
        del self._queue_of(transfer)[transfer.client]
        del self._of_host[host][transfer.client]
        if not self._of_host[host]:
            del self._of_host[host]

    def answered(self, transfer: Transfer) -> None:
        """The client of a transfer confirmed something for the first time."""
        del self._queue_of(transfer)[transfer.client]
        transfer.is_answered = True
        self._queue_of(transfer)[transfer.client] = transfer

    def _queue_of(self, transfer: Transfer) -> dict[Address, Transfer]:
        return self._queues[transfer.has_lease, transfer.is_answered]

    @property
    def strangers(self) -> int:
        """How many transfers clients without a lease have."""
        return len(self._queues[False, False]) + len(self._queues[False, True])

    def giving_way(self, has_lease: bool) -> Transfer | None:
        """
        The transfer whose place a new one may take; None: none.

        A client without a lease takes only the place of one like it that has not answered.
        """
        for kind in GIVING_WAY if has_lease else GIVING_WAY[:1]:
            for oldest in self._queues[kind].values():
                return oldest
        return None

    def count_of(self, host: str) -> int:
        """How many transfers one address has."""
        return len(self._of_host.get(host, ()))

    def most_neglected(self, host: str) -> Transfer:
        """The transfer of one address from which nothing was heard at all, or nothing for longest."""
        return min(self._of_host[host].values(), key=lambda transfer: (transfer.is_answered, transfer.heard))

    def was_served(self, client: Address) -> bool:
        """Whether this address and port was answered lately."""
        return client in self._last_door

    def next_door(self, client: Address, doors: int) -> int:
        """Which of so many data sockets to use: not the one of the last answer to this address and port."""
        self._rotation += 1
        door = (self._last_door.pop(client, self._rotation) + 1) % doors
        self._last_door[client] = door
        if len(self._last_door) > REMEMBERED_CLIENTS:
            del self._last_door[next(iter(self._last_door))]
        return door
