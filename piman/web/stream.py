# -*- test-case-name: tests.test_web_stream -*-
"""
Events and changes of operations as they happen: server-sent events, resumable, never buffered without end.

A message ``event`` carries a recorded event, its number is the message's id; ``operation`` carries an operation with
the reports that changed since the last one (all of them in the first).  A reader that comes back with
``Last-Event-ID`` is given the stored events since; one that reads too slowly is cut off, and may come back likewise.
Who wants ``nodes`` is told how all nodes stand, and then in one message a second which of them changed.
Messages are gathered for 0.1 s at most: readers must not cost the boards their answers.

1. WHATWG HTML, 9.2 Server-sent events
"""

import json
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from zope.interface import implementer

from piman.fleet.events import Recorded
from piman.fleet.interfaces import IEventObserver
from piman.fleet.model import MACAddress
from piman.fleet.operations.book import Operations
from piman.fleet.operations.orders import Operation
from piman.fleet.walltime import WallTime
from piman.web import shapes
from piman.web.standings import Standings
from piman.web.wishes import Refusal

MOST_READERS = 64
MOST_WAITING_BYTES = 1 << 20
"""What waits for one reader besides what the kernel and the transport hold (some 100 KB)."""
PAGE = 500
"""Stored events that are read at a time for a reader that comes back."""
BEAT_SECONDS = 15.0
"""Between two comments that keep a silent stream alive: proxies and clients give up after 30 to 60 s."""
TURN_SECONDS = 0.02
TURNS = 5
"""
Messages are gathered and written to a fifth of the readers at a time.  A rack that boots has 200 events a second: each
of them written to each of 50 readers at once held up the boards (benchmarks/streams.py).
"""
GATHERED_BYTES = 1 << 16
"""More is written at once."""
RETRY_MS = 1000


class History(Protocol):
    """What is needed of the history of events."""

    def events(
        self,
        *,
        mac: MACAddress | None = None,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        newest: bool = False,
        kinds: Collection[str] = (),
    ) -> "Deferred[list[Recorded]]":
        """Stored events with numbers above ``after`` and below ``before``, of these kinds or of all."""


def message(kind: str, value: Any, number: int | None = None) -> bytes:
    """One message of the stream; JSON has no raw line ends, so one line of data is enough."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode("ascii")


@implementer(IPushProducer)
class Reader:
    """
    Who reads the stream.

    :ivar done: fires when the stream is over; cancelling it is the reader's end.
    :param wake: is told that something waits, so that :meth:`flush` is called soon.
    :param mac: only events of this board.
    :param operation: only changes of this operation, and no events.
    :param nodes: also how nodes stand.
    """

    def __init__(
        self,
        request: IRequest,
        gone: Callable[["Reader"], None],
        wake: Callable[["Reader"], None],
        *,
        mac: MACAddress | None,
        operation: str | None,
        nodes: bool,
    ) -> None:
        self.mac = mac
        self.operation = operation
        self.nodes = nodes
        self.done: Deferred[None] = Deferred(lambda _: self._end())
        self._request: Any = request
        self._gone = gone
        self._wake = wake
        self._is_over = False
        self._is_paused = False
        self._is_replaying = False
        self._waiting: deque[tuple[int | None, bytes]] = deque()
        self._waiting_bytes = 0
        self._may_go_on: Deferred[None] | None = None

    def begin(self) -> None:
        """Send the head."""
        self._request.setHeader(b"content-type", b"text/event-stream")
        self._request.setHeader(b"cache-control", b"no-store")
        self._request.registerProducer(self, True)
        self._request.write(f"retry: {RETRY_MS}\n\n".encode("ascii"))

    def wants(self, recorded: Recorded) -> bool:
        """Whether an event is for this reader."""
        return self.operation is None and (self.mac is None or recorded.event.mac == self.mac)

    def send(self, data: bytes, number: int | None = None) -> None:
        """Send it soon, or when it can be taken; a reader for whom too much waits is cut off."""
        if self._is_over:
            return
        self._waiting.append((number, data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > GATHERED_BYTES:
            self.flush()
        if self._waiting_bytes > MOST_WAITING_BYTES:
            self.cut()
        elif self._waiting:
            self._wake(self)

    async def replay(
        self, history: History, after: int | None, wall: WallTime, first: Sequence[bytes] = ()
    ) -> None:
        """
        Send what is stored since, then what came meanwhile.

        :param after: None: nothing that is stored.
        :param first: messages that come before all this, as fast as the reader takes them.
        """
        self._is_replaying = True
        for data in first:
            await self._write(data)
        while after is not None and not self._is_over:
            page = await history.events(mac=self.mac, after=after, limit=PAGE)
            for recorded in page:
                after = recorded.id
                await self._write(message("event", shapes.event(wall.to_wall(recorded)), recorded.id))
            if len(page) < PAGE:
                break
        self._is_replaying = False
        known = after or 0
        self._waiting = deque(each for each in self._waiting if each[0] is None or each[0] > known)
        self._waiting_bytes = sum(len(data) for _, data in self._waiting)
        self.flush()

    async def _write(self, data: bytes) -> None:
        while self._is_paused and not self._is_over:
            self._may_go_on = Deferred()
            await self._may_go_on
        if not self._is_over:
            self._request.write(data)

    # What the transport says

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """The transport can take more."""
        self._is_paused = False
        waiting, self._may_go_on = self._may_go_on, None
        if waiting is not None:
            waiting.callback(None)
        else:
            self.flush()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._end()

    def flush(self) -> None:
        """Write what waits, if it may be written: some of it at a time, for the transport may have enough."""
        while self._waiting and not self._is_paused and not self._is_over and not self._is_replaying:
            some: list[bytes] = []
            size = 0
            while self._waiting and size < GATHERED_BYTES:
                some.append(self._waiting.popleft()[1])
                size += len(some[-1])
            self._waiting_bytes -= size
            self._request.write(b"".join(some))

    # The end

    def close(self) -> None:
        """The stream is over: the reader gets what it was sent, and the end."""
        if not self._is_over:
            self.flush()
            self._end()
            self._request.unregisterProducer()
            self.done.callback(None)

    def cut(self) -> None:
        """Drop the connection at once, with all that waits."""
        self._end()
        self._request.transport.abortConnection()

    def _end(self) -> None:
        self._is_over = True
        self._waiting.clear()
        self._gone(self)
        waiting, self._may_go_on = self._may_go_on, None
        if waiting is not None:
            waiting.callback(None)


@implementer(IEventObserver)
class Stream:
    """
    The readers, and what they are told: an observer of events, and a watcher of operations.

    :param last_id: the number of the newest event.
    :param labels: what people call the switches.
    :param standings: how nodes stand; without it nobody is told.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        operations: Operations,
        history: History,
        last_id: Callable[[], int],
        labels: Callable[[], Mapping[Any, str]],
        wall: WallTime | None = None,
        standings: Standings | None = None,
    ) -> None:
        self._wall = wall or WallTime(clock)
        self._standings = standings
        if standings is not None:
            standings.tell = self._send_standings
        self.readers: list[Reader] = []
        self._clock = clock
        self._behind: dict[Reader, None] = {}
        self._turn: IDelayedCall | None = None
        self._operations = operations
        self._history = history
        self._last_id = last_id
        self._labels = labels
        self._told: dict[str, Operation] = {}
        self._beat = LoopingCall(self._send_beat)
        self._beat.clock = clock
        operations.watchers.append(self.operation_changed)

    def open(
        self,
        request: IRequest,
        *,
        after: int | None = None,
        mac: MACAddress | None = None,
        operation: str | None = None,
        nodes: bool = False,
    ) -> "Deferred[None]":
        """
        Begin to tell this request; fires when the stream is over.

        :param after: the number of the last event that it knows; None: it wants only what comes.
        :param nodes: also how nodes stand.
        :raises Refusal: when there are too many readers.
        """
        if len(self.readers) >= MOST_READERS:
            hint = "Close some: each page and each piman-ctl --follow is one."
            raise Refusal(503, "too-many-readers", f"{MOST_READERS} readers follow the stream already", hint)
        reader = Reader(request, self._forget, self._gather, mac=mac, operation=operation, nodes=nodes)
        self.readers.append(reader)
        if not self._beat.running:
            self._beat.start(BEAT_SECONDS, now=False)
        reader.begin()
        self._send_operations(reader)
        if operation is None and after is None:
            reader.send(message("open", {"last": self._last_id()}, self._last_id()))
        reader.flush()
        self._send_past(reader, after if operation is None else None)
        return reader.done

    def _send_past(self, reader: Reader, after: int | None) -> None:
        """How nodes stand, and what was since ``after``."""
        standings = self._standings if reader.nodes else None
        if standings is not None:
            standings.follow()
        if standings is not None or after is not None:
            whole = standings.whole() if standings is not None else ()
            replayed = Deferred.fromCoroutine(reader.replay(self._history, after, self._wall, whole))
            replayed.addErrback(self._replay_failed, reader)

    def _replay_failed(self, failure: Failure, reader: Reader) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("a reader of the stream could not be told what was before", failure)
        reader.cut()

    def _send_operations(self, reader: Reader) -> None:
        if reader.mac is not None:
            return
        for operation in self._operations.operations():
            if operation.id == reader.operation or (reader.operation is None and not operation.is_final):
                reader.send(message("operation", self._operation(operation)))

    # Turns

    def _gather(self, reader: Reader) -> None:
        self._behind[reader] = None
        if self._turn is None:
            self._turn = self._clock.callLater(TURN_SECONDS, self._take_turn)

    def _take_turn(self) -> None:
        """Write to some of the readers that have waited the longest; the boards come between this and the next."""
        self._turn = None
        for reader in list(self._behind)[: -(-len(self.readers) // TURNS)]:
            del self._behind[reader]
            reader.flush()
        if self._behind:
            self._turn = self._clock.callLater(TURN_SECONDS, self._take_turn)

    def flush(self) -> None:
        """Write what was gathered."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        for reader in list(self._behind):
            reader.flush()
        self._behind.clear()

    def _forget(self, reader: Reader) -> None:
        self._behind.pop(reader, None)
        if reader in self.readers:
            self.readers.remove(reader)
            if reader.nodes and self._standings is not None:
                self._standings.leave()
        if not self.readers and self._beat.running:
            self._beat.stop()

    def _send_beat(self) -> None:
        """A script in a browser cannot hear comments, and must know whether its connection lives."""
        beat = message("beat", {})
        for reader in list(self.readers):
            reader.send(beat if reader.nodes else b":\n\n")

    def close(self) -> None:
        """End all streams."""
        for reader in list(self.readers):
            reader.close()
        self.flush()
        if self._standings is not None:
            self._standings.close()

    # What happens

    def observe(self, recorded: Recorded) -> None:
        """Tell an event."""
        readers = [reader for reader in self.readers if reader.wants(recorded)]
        if not readers:
            return
        data = message("event", shapes.event(self._wall.to_wall(recorded)), recorded.id)
        for reader in readers:
            reader.send(data, recorded.id)

    def _send_standings(self, data: bytes) -> None:
        for reader in list(self.readers):
            if reader.nodes:
                reader.send(data)

    def _operation(self, operation: Operation, indexes: Sequence[int] | None = None) -> shapes.JSON:
        return shapes.operation(self._wall.to_wall(operation), self._labels(), indexes)

    def operation_changed(self, operation: Operation) -> None:
        """Tell what has changed of an operation since it was told last."""
        told = self._told.get(operation.id)
        self._told[operation.id] = operation
        if operation.is_final:
            del self._told[operation.id]
        readers = [reader for reader in self.readers if reader.mac is None and reader.operation in (None, operation.id)]
        if readers:
            data = message("operation", self._operation(operation, _changed(told, operation)))
            for reader in readers:
                reader.send(data)


def _changed(before: Operation | None, after: Operation) -> list[int]:
    """The places of the reports that are not the same values as before."""
    if before is None:
        return list(range(len(after.reports)))
    pairs = enumerate(zip(before.reports, after.reports, strict=True))
    return [index for index, (old, new) in pairs if old is not new]
