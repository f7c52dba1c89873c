# -*- test-case-name: tests.test_fleet_store -*-
"""
``history.db``: what is good to know, the durable events and the latest status of each node.
"""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.fleet.events import Recorded, StoreReplaced, event_classes
from piman.fleet.interfaces import IEventObserver, IEventSink, StoreFailed
from piman.fleet.model import MACAddress, Moment, NodeStatus
from piman.fleet.state.aside import Aside, Rejected
from piman.fleet.state.database import SIDE_FILES, Database, Reactor, Schema
from piman.fleet.state.records import UnreadableRecord, from_json, to_json
from piman.fleet.walltime import WallTime

Value = TypeVar("Value")

DAY = 86_400.0

HISTORY = Schema(
    synchronous="NORMAL",
    migrations=(
        (
            "CREATE TABLE events (id INTEGER PRIMARY KEY, time REAL NOT NULL, mac BLOB, kind TEXT NOT NULL, "
            "payload TEXT NOT NULL)",
            "CREATE INDEX events_of_node ON events (mac, id)",
            "CREATE TABLE snapshots (mac BLOB PRIMARY KEY, event INTEGER NOT NULL, payload TEXT NOT NULL) "
            "WITHOUT ROWID",
            "CREATE TABLE last (id INTEGER NOT NULL)",
            "INSERT INTO last VALUES (0)",
        ),
        (
            "ALTER TABLE last ADD COLUMN covered INTEGER NOT NULL DEFAULT 0",
            "UPDATE last SET covered = id",
        ),
        ("CREATE INDEX events_by_time ON events (time)",),
    ),
)

SAVE_EVENT = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)"
SAVE_SNAPSHOT = "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)"
COVER = "UPDATE last SET covered = max(covered, ?)"
UNCOVERED = (
    "SELECT id, time, kind, payload FROM events WHERE mac IS NOT NULL AND id > (SELECT covered FROM last) ORDER BY id"
)
OLDEST = "SELECT id, time FROM events ORDER BY id LIMIT ?"

RESERVED_IDS = 1_000_000
"""Event numbers that are set aside on disk in advance: after a crash none is given twice."""

RETRY_SECONDS = 5.0
"""The pause after a write that failed."""

QUIET_SECONDS = 60.0
"""Trouble with the file is logged at most once in this time."""

TIDY_SECONDS = 3600.0
TIDY_ROWS = 10_000
"""Rows deleted in one transaction, so that writes between them do not wait long."""


@attrs.frozen(kw_only=True)
class HistorySettings:
    """The knobs of the history."""

    batch_seconds: float = 0.25
    batch_events: int = 500
    queue_events: int = 50_000
    """Events that wait in memory while the disk does not take them; more are dropped and counted."""
    keep_events: int = 1_000_000
    keep_days: float = 90.0
    keep_snapshots: int = 65_536
    """One for each address of the largest subnet; the latest ones stay."""


@implementer(IEventObserver)
class HistoryStore:
    """
    Durable events and the latest statuses, written in batches behind everybody's back.

    Nothing waits for it: when the disk fails, events wait in memory up to a bound and are written when it works
    again; what exceeds the bound is dropped, counted and logged.

    :param wall: the times in the file; the clock's unless given.
    :ivar database: the file.
    :ivar dropped: events that were not written.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        *,
        reactor: Reactor,
        clock: IReactorTime,
        settings: HistorySettings | None = None,
        wall: WallTime | None = None,
        sink: IEventSink | None = None,
    ) -> None:
        self._clock = clock
        self._wall = wall or WallTime(clock)
        self._settings = settings or HistorySettings()
        self.database = Database(path, HISTORY, reactor=reactor)
        self._aside = Aside(self.database, reactor, sink)
        self._open = False
        self._waiting: list[Recorded] = []
        self._writing = False
        self._is_failing = False
        self._flush_call: IDelayedCall | None = None
        self._tidy_call: IDelayedCall | None = None
        self._found = 0
        self._newest = 0
        self._reserved = 0
        self._warned = float("-inf")
        self.dropped = 0
        """Events that were never written."""

    # Beginning and end

    def open(self) -> StoreReplaced | None:
        """
        Open the file, start the writer thread; see :meth:`Database.open`.

        :raises StoreFailed: when there is no way to use the file.
        """
        replaced = self.database.open()
        self._found = self._last_number()
        self._newest = max(self._newest, self._found)
        self._open = True
        self._flush()
        self._tidy()
        return replaced

    def _last_number(self) -> int:
        """What ``last`` says; where it says nothing, a number that no event can have exceeded."""
        rows = self.database.read("SELECT id FROM last WHERE typeof(id) = 'integer' AND id >= 0")
        if len(rows) == 1:
            return int(rows[0][0])
        newest = self.database.read("SELECT coalesce(max(id), 0) FROM events")[0][0]
        path = str(self.database.path)
        self._log.warn("{path} does not say which event was the last: numbers go on with a gap", path=path)
        self.database.submit(_renew_last).addErrback(lambda failure: self._warn("{reason}", failure.getErrorMessage()))
        return int(newest) + RESERVED_IDS

    def close(self) -> "Deferred[None]":
        """Write what waits and the number of the newest event, and close."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._open = False
        for call in (self._flush_call, self._tidy_call):
            if call is not None and call.active():
                call.cancel()
        self._flush_call = self._tidy_call = None
        batch, self._waiting, self._reserved = self._waiting, [], self._newest
        try:
            await self.database.submit(_Batch(batch, self._newest))
        except StoreFailed as reason:
            self._drop(len(batch), str(reason))
        await self.database.close()

    # Events

    def observe(self, recorded: Recorded) -> None:
        """Take the event if it is durable, and its number in any case."""
        self._newest = recorded.id
        if recorded.event.durable:
            self._keep([self._wall.to_wall(recorded)])
        if self._open and not self._writing and self._is_due:
            self._schedule(self._settings.batch_seconds if len(self._waiting) < self._settings.batch_events else 0)

    @property
    def _is_due(self) -> bool:
        """Whether there is something to write: events, or more numbers to be set aside."""
        return bool(self._waiting) or self._newest > self._reserved - RESERVED_IDS // 2

    def _keep(self, batch: list[Recorded]) -> None:
        room = max(0, self._settings.queue_events - len(self._waiting))
        self._waiting.extend(batch[:room])
        if len(batch) > room:
            self._drop(len(batch) - room, "too many wait for the disk")

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        self._warn("{dropped} events are missing in the history so far: {reason}", reason)

    def _warn(self, message: str, reason: str) -> None:
        now = self._clock.seconds()
        if now >= self._warned + QUIET_SECONDS:
            self._warned = now
            self._log.warn(message, reason=reason, dropped=self.dropped, waiting=len(self._waiting))

    def _schedule(self, seconds: float) -> None:
        if self._flush_call is not None and self._flush_call.active():
            if self._flush_call.getTime() <= self._clock.seconds() + seconds:
                return
            self._flush_call.cancel()
        self._flush_call = self._clock.callLater(seconds, self._flush)

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        self._reserved = max(self._reserved, self._newest + RESERVED_IDS)
        self._writing = True
        written = self.database.submit(_Batch(batch, self._reserved))
        written.addCallbacks(self._written, self._not_written, errbackArgs=(batch,))

    def _written(self, _: None) -> None:
        self._writing = False
        if self._is_failing:
            self._is_failing = False
            self._log.info("{path} can be written again", path=str(self.database.path))
        if self._open and self._is_due:
            self._schedule(self._settings.batch_seconds)

    def _not_written(self, failure: Failure, batch: list[Recorded]) -> None:
        self._writing = False
        if not self._open:
            self._drop(len(batch), failure.getErrorMessage())
            return
        self._is_failing = True
        later, self._waiting = self._waiting, batch
        self._keep(later)
        self._warn("events wait for the history to be writable, {waiting} so far: {reason}", failure.getErrorMessage())
        self._schedule(RETRY_SECONDS)

    def last_event_id(self) -> int:
        """
        A number that no event of an earlier process exceeds, known after :meth:`open`: the log goes on after it.

        After a clean end it is the newest event's; after a crash it lies up to :data:`RESERVED_IDS` above it.
        """
        return self._found

    @property
    def waiting(self) -> int:
        """Events that are not on their way to the disk yet."""
        return len(self._waiting)

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
        """
        Stored events with numbers above ``after``, oldest first, of one node or of all; what waits is written first.

        :param before: only numbers below it.
        :param newest: take the last ``limit`` of them instead of the first.
        :param kinds: only events of these classes; none given: of all.
        """
        names = {f"kind{index}": kind for index, kind in enumerate(kinds)}
        statement = "SELECT id, time, kind, payload FROM events WHERE id > :after"
        statement += " AND id < :before" if before is not None else ""
        statement += " AND mac = :mac" if mac is not None else ""
        statement += f" AND kind IN ({', '.join(f':{name}' for name in names)})" if names else ""
        statement += " ORDER BY id DESC LIMIT :limit" if newest else " ORDER BY id LIMIT :limit"
        values = {"after": after, "before": before, "mac": mac and mac.octets, "limit": limit, **names}
        if self._waiting:
            self._flush()
        rows = self.database.submit(lambda file: file.execute(statement, values).fetchall())
        return rows.addCallback(lambda found: self._events(found[::-1] if newest else found))

    def events_between(
        self, start: Moment, end: Moment, *, kinds: Collection[str], limit: int, macs: Collection[MACAddress] = ()
    ) -> "Deferred[list[Recorded]]":
        """
        Stored events of these classes from ``start`` to ``end``, both included, oldest first: the newest ``limit``.

        :param kinds: names of event classes.
        :param macs: only events of these nodes; none given: of all, and those of no node.
        """
        ahead = self._wall.ahead
        statement = f"SELECT id, time, kind, payload FROM events WHERE time BETWEEN ? AND ? AND kind {_one_of(kinds)}"
        statement += f" AND mac {_one_of(macs)}" if macs else ""
        statement += " ORDER BY time DESC, id DESC LIMIT ?"
        values = (start + ahead, end + ahead, *kinds, *(mac.octets for mac in macs), limit)
        if self._waiting:
            self._flush()
        rows = self.database.submit(lambda file: file.execute(statement, values).fetchall())
        return rows.addCallback(lambda found: self._events(found[::-1]))

    def _events(self, rows: Iterable[tuple[int, float, str, str]]) -> list[Recorded]:
        return [self._wall.from_wall(recorded) for recorded in _recorded(rows)]

    # Statuses

    def save_snapshots(self, statuses: Iterable[NodeStatus], covered: int = 0) -> "Deferred[None]":
        """
        Keep these as the latest of their nodes; fires when written, fails with :class:`StoreFailed`.

        :param covered: the number of the newest event that is folded into all statuses, these and those kept before.
        """
        values = tuple(map(self._wall.to_wall, statuses))

        def work(file: sqlite3.Connection) -> None:
            rows = ((status.mac.octets, status.last_event_id, to_json(status)) for status in values)
            file.executemany(SAVE_SNAPSHOT, rows)
            file.execute(COVER, (covered,))

        return self.database.submit(work)

    def load_snapshots(self) -> list[NodeStatus]:
        """The latest statuses, least recently changed first; those that cannot be read are set aside."""
        found: list[NodeStatus] = []
        rejected: list[Rejected] = []
        for mac, payload in self.database.read("SELECT mac, payload FROM snapshots ORDER BY event"):
            try:
                found.append(self._wall.from_wall(from_json(NodeStatus, payload)))
            except UnreadableRecord as reason:
                content = {"mac": mac, "payload": payload}
                rejected.append(Rejected(table="snapshots", content=content, reason=str(reason)))
        self._aside.take(rejected)
        return found

    def load_uncovered(self) -> list[Recorded]:
        """
        The stored events of nodes that no snapshot has taken in, oldest first: what a kill left between two snapshots.

        They are few: snapshots follow each other within seconds.  Those that cannot be read are set aside.
        """
        rows = self.database.read(UNCOVERED)
        found = self._events(rows)
        readable, known = {recorded.id for recorded in found}, event_classes()
        self._aside.take(
            [
                Rejected(
                    table="events",
                    content={"id": number, "time": time, "kind": kind, "payload": payload},
                    reason=f"{kind}: its time or its fields cannot be read",
                )
                for number, time, kind, payload in rows
                if kind in known and number not in readable
            ]
        )
        return found

    # Retention

    def _tidy(self) -> None:
        oldest = self._wall.now() - self._settings.keep_days * DAY
        tidied = self.database.submit(lambda file: _delete_old(file, oldest, self._settings))
        tidied.addCallbacks(self._tidied, lambda failure: self._tidied(False))

    def _tidied(self, more: bool) -> None:
        if self._open:
            self._tidy_call = self._clock.callLater(0 if more else TIDY_SECONDS, self._tidy)


@attrs.frozen
class _Batch:
    """The work of one write: events, and the number up to which none may be given again."""

    recorded: Sequence[Recorded]
    last_id: int

    def __call__(self, file: sqlite3.Connection) -> None:
        file.executemany(SAVE_EVENT, map(_row, self.recorded))
        file.execute("UPDATE last SET id = ?", (self.last_id,))


def _renew_last(file: sqlite3.Connection) -> None:
    """One row, as it should be; ``covered`` says that all is, as after an upgrade."""
    file.execute("DELETE FROM last")
    file.execute("INSERT INTO last (id, covered) SELECT 0, coalesce(max(id), 0) FROM events")


def _one_of(values: Collection[object]) -> str:
    return f"IN ({', '.join('?' * len(values))})"


def _row(recorded: Recorded) -> tuple[int, float, bytes | None, str, str]:
    event = recorded.event
    mac = event.mac.octets if event.mac is not None else None
    return recorded.id, recorded.time, mac, type(event).__name__, to_json(event)


def _recorded(rows: Iterable[tuple[int, float, str, str]]) -> list[Recorded]:
    """Events as they were; those that cannot be read, or of classes that this piman does not have, are left out."""
    kinds = event_classes()
    found = (
        (number, time, _readable(kinds[kind], payload))
        for number, time, kind, payload in rows
        if kind in kinds and isinstance(time, int | float)
    )
    return [Recorded(id=number, time=time, event=event) for number, time, event in found if event is not None]


def _readable(kind: type[Value], payload: str) -> Value | None:
    try:
        return from_json(kind, payload)
    except UnreadableRecord:
        return None


def _delete_old(file: sqlite3.Connection, oldest: float, settings: HistorySettings) -> bool:
    """Delete some of what is too old or too much; True: there may be more."""
    excess = file.execute("SELECT count(*) FROM events").fetchone()[0] - settings.keep_events
    rows = file.execute(OLDEST, (TIDY_ROWS,)).fetchall()
    doomed = [
        (number,)
        for place, (number, time) in enumerate(rows)
        if place < excess or (isinstance(time, int | float) and time < oldest)
    ]
    file.executemany("DELETE FROM events WHERE id = ?", doomed)
    file.execute(
        "DELETE FROM snapshots WHERE mac IN (SELECT mac FROM snapshots ORDER BY event DESC LIMIT -1 OFFSET ?)",
        (settings.keep_snapshots,),
    )
    return len(doomed) == TIDY_ROWS


def statuses_in(path: Path) -> list[NodeStatus]:
    """
    The statuses in a ``history.db`` that may belong to a running manager, in the host's time; nothing is written.

    Empty when there is no such file, or it cannot be read.
    """
    # Even a read-only connection makes the side files of a WAL when they are missing, as our user: the manager may be
    # another one, and could not write to them (https://www.sqlite.org/wal.html#read_only_databases).
    in_use = all(Path(f"{path}{suffix}").exists() for suffix in SIDE_FILES)
    mode = "mode=ro" if in_use else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=1.0)) as file:
            rows = file.execute("SELECT payload FROM snapshots ORDER BY event").fetchall()
    except sqlite3.Error:
        return []
    return [status for (payload,) in rows if (status := _readable(NodeStatus, payload)) is not None]
