# -*- test-case-name: tests.test_tftp -*-
"""
TFTP transfers under way: blocks out, ACKs in, silence noticed.

One timer looks after all of them.  A transfer ends whole, by an ERROR of its client that is normal (the firmware has
seen the size), because it was replaced, or it is aborted, and only that is worth an event of its own.
"""

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from piman.fleet.answer_times import AnswerTimes
from piman.fleet.events import TransferAborted
from piman.fleet.interfaces import IEventSink
from piman.fleet.model import MACAddress
from piman.fleet.throttle import Throttle
from piman.loading.blocks import Blocks
from piman.loading.reports import LoadingReports
from piman.loading.transfers import (
    IGNORED,
    Address,
    IDoor,
    Overdue,
    Transfer,
    TransferTable,
    acknowledge,
    is_normal_end,
    overdue,
)
from piman.wire import MalformedDatagram, tftp

ACK = tftp.Opcode.ACKNOWLEDGEMENT.to_bytes(2, "big")
"""What nearly every datagram at a data socket begins with."""

ENDED = "{name!r} to {client} ended: {reason!r}"
"""Both come from the network and may hold anything."""
LINES_PER_SECOND = 64
"""The most that is logged of transfers, one of a kind for each host: a flood must not cost more than its packets."""
LONGEST_MESSAGE = 256
"""Characters of a client's ERROR that are kept; a datagram has room for 65,000."""


@attrs.define
class Counts:
    """What came of transfers so far."""

    whole: int = 0
    """The client has all of the file."""
    ended: int = 0
    """Ended early as is normal: the size was asked for, the file was asked for anew, the client gave way."""
    aborted: int = 0
    """Ended early by silence or error."""
    bytes: int = 0
    """Confirmed by clients, counted when their transfer ends."""
    retransmits: int = 0
    """Blocks sent again."""


class Deliveries:
    """
    Carries transfers to their end.

    :param answers: told how long blocks take to be acknowledged.
    :ivar table: the transfers.
    :ivar counts: what came of those that are over.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        events: IEventSink,
        *,
        table: TransferTable,
        blocks: Blocks,
        reports: LoadingReports,
        answers: AnswerTimes | None = None,
    ) -> None:
        self.table = table
        self.counts = Counts()
        self._answers = answers if answers is not None else AnswerTimes(clock)
        self._clock = clock
        self._events = events
        self._blocks = blocks
        self._reports = reports
        self._said = Throttle(clock, 1.0, capacity=LINES_PER_SECOND)

    def begin(self, transfer: Transfer) -> None:
        """Send the first reply."""
        self.table.add(transfer)
        self._reports.began(transfer.mac)
        self._send_from(transfer, transfer.confirmed + 1)

    def arrived(self, door: IDoor, data: bytes, client: Address) -> bool:
        """
        Take a datagram that came to a data socket: nearly always an ACK.

        :return: False when there is no such transfer there.
        """
        transfer = self.table.at(client)
        if transfer is None or transfer.door is not door:
            return False
        if data.startswith(ACK) and len(data) >= tftp.HEADER_BYTES:
            number = acknowledge(transfer, data[2] << 8 | data[3])
            if number != IGNORED:
                self._confirmed(transfer, number)
        else:
            self._interrupted(transfer, data)
        return True

    def forget(self, transfer: Transfer, reason: str) -> None:
        """End a transfer in a way that nobody needs to hear of."""
        if self._said.passes(("forgotten", transfer.client[0])):
            self._log.debug(ENDED, name=transfer.file.name, client=transfer.client, reason=reason)
        self.counts.ended += 1
        self._end(transfer)

    def power_gone(self, mac: MACAddress) -> None:
        """Nobody is there to answer: end what the node loads, which is no fault; the next request is of a new boot."""
        if not self._reports.is_loading(mac):
            return
        for transfer in tuple(self.table):
            if transfer.mac == mac:
                self.forget(transfer, "the power of its board was taken away")
        self._reports.end(mac)

    def sweep(self) -> None:
        """Look after all that wait."""
        now = self._clock.seconds()
        for transfer in self.table:
            try:
                self._look_after(transfer, now)
            except Exception:
                self._log.failure("a transfer to {client} met a mistake of ours", client=transfer.client)
        self._reports.sweep(now)

    def close(self) -> None:
        """Let go of everything."""
        for transfer in self.table:
            self.forget(transfer, "the server stops")

    # Blocks and ACKs

    def _send_from(self, transfer: Transfer, first: int) -> None:
        """Send the OACK (block 0), or the window that begins with block ``first``."""
        if first == 0:
            transfer.door.send(tftp.OptionAcknowledgement(transfer.terms.options).to_wire(), transfer.client)
            return
        try:
            self._send_window(transfer, first)
        except OSError as reason:
            text = reason.strerror or "the file cannot be read"
            transfer.door.send(tftp.Error(tftp.ErrorCode.UNDEFINED, text).to_wire(), transfer.client)
            self._abort(transfer, text)

    def _send_window(self, transfer: Transfer, first: int) -> None:
        if transfer.terms.window_blocks == 1:
            self._send_block(transfer, first)
            return
        for number in range(first, first + transfer.terms.window_blocks):
            self._send_block(transfer, number)
            if number == transfer.last:
                return

    def _send_block(self, transfer: Transfer, number: int) -> None:
        datagram = self._blocks.datagram(transfer.file, transfer.edition, number)
        transfer.door.send(datagram, transfer.client)
        if number > transfer.sent:
            transfer.sent = number
        else:
            transfer.retransmits += 1
        if len(datagram) < transfer.full_bytes:
            transfer.last, transfer.last_bytes = number, len(datagram) - tftp.HEADER_BYTES

    def _confirmed(self, transfer: Transfer, number: int) -> None:
        """The client has the blocks up to ``number``."""
        now = self._clock.seconds()
        heard, transfer.heard = transfer.heard, now
        transfer.confirmed = number
        transfer.resend_at = now + transfer.first_interval
        if transfer.resends:  # nobody knows which of the two was answered (Karn and Partridge, 1987)
            transfer.resends = 0
            transfer.interval = transfer.first_interval
        else:
            self._answers.took(now - heard, now)
        if not transfer.is_answered:
            self.table.answered(transfer)
        if number == transfer.last:
            self.counts.whole += 1
            self._end(transfer, whole=True)
        else:
            self._send_from(transfer, number + 1)

    def _interrupted(self, transfer: Transfer, data: bytes) -> None:
        """Something other than an ACK came."""
        try:
            error = tftp.from_wire(data)
        except MalformedDatagram as reason:
            if self._said.passes("malformed"):
                self._log.debug("ignored {client}: {reason}", client=transfer.client, reason=reason)
            return
        if not isinstance(error, tftp.Error):
            return
        message = error.message[:LONGEST_MESSAGE]
        if is_normal_end(transfer, error):
            self.forget(transfer, message)
        else:
            self._abort(transfer, f"the client said error {error.code}: {message}")

    def _look_after(self, transfer: Transfer, now: float) -> None:
        due = overdue(transfer, now)
        if due is Overdue.RESEND:
            transfer.resends += 1
            transfer.interval *= 2
            transfer.resend_at = now + transfer.interval
            self._send_from(transfer, transfer.confirmed + 1)
        elif due is Overdue.GIVE_UP and (transfer.is_probe or not transfer.is_trusted):
            self.forget(transfer, "the client went silent")
        elif due is Overdue.GIVE_UP:
            self._abort(transfer, f"no answer for {now - transfer.heard:.0f} seconds")

    # The end

    def _end(self, transfer: Transfer, whole: bool = False) -> None:
        self.table.remove(transfer)
        transfer.file.close()
        self.counts.bytes += transfer.bytes_confirmed
        self.counts.retransmits += transfer.retransmits
        self._reports.ended(
            transfer.mac,
            name=transfer.file.name if whole else None,
            sent_bytes=transfer.bytes_confirmed,
            retransmits=transfer.retransmits,
            heard=transfer.heard,
        )

    def _abort(self, transfer: Transfer, reason: str) -> None:
        """The end of a transfer that should have gone on."""
        self.counts.aborted += 1
        self._end(transfer)
        name, block = transfer.file.name, max(0, transfer.confirmed)
        if transfer.mac is not None:
            aborted = TransferAborted(
                mac=transfer.mac,
                name=name,
                block=block,
                reason=reason,
                block_bytes=transfer.terms.block_bytes,
                size_bytes=transfer.file.size_bytes,
            )
            self._events.emit(aborted)
        elif self._said.passes(("aborted", transfer.client[0])):
            self._log.info(ENDED, name=name, client=transfer.client, reason=reason)
