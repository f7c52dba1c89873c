# -*- test-case-name: tests.test_fleet_store -*-
"""
``state.db``: what must never be forgotten, leases, intents, the operator's orders and choices of images.

What is merely good to know lies in another file (:mod:`piman.fleet.state.history`), with a writer thread of its own, so
that nothing that happens there can delay an answer to a board.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.fleet.events import StoreReplaced
from piman.fleet.interfaces import (
    IEventSink,
    IImageChoiceStore,
    IIntentStore,
    ILeaseStore,
    IOperationStore,
    StoreFailed,
)
from piman.fleet.model import ImageChoice, Intent, Lease, LeaseState, MACAddress, Stage
from piman.fleet.operations.orders import Operation, TargetReport
from piman.fleet.state.aside import Aside, Rejected
from piman.fleet.state.database import SIDE_FILES, Database, Reactor, Schema
from piman.fleet.state.records import UnreadableRecord, from_json, to_json

Value = TypeVar("Value")

DAY = 86_400.0
MAC_BYTES = 6

STATE = Schema(
    synchronous="FULL",
    migrations=(
        (
            "CREATE TABLE leases (address INTEGER PRIMARY KEY, mac BLOB NOT NULL, state TEXT NOT NULL, "
            "expires REAL NOT NULL, stage TEXT NOT NULL)",
            "CREATE TABLE intents (id TEXT PRIMARY KEY, opened REAL NOT NULL, final INTEGER NOT NULL, "
            "payload TEXT NOT NULL) WITHOUT ROWID",
            "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        ),
        (
            "CREATE TABLE operations (id TEXT PRIMARY KEY, created REAL NOT NULL, final INTEGER NOT NULL, "
            "payload TEXT NOT NULL) WITHOUT ROWID",
            "CREATE TABLE reports (operation TEXT NOT NULL, number INTEGER NOT NULL, payload TEXT NOT NULL, "
            "PRIMARY KEY (operation, number)) WITHOUT ROWID",
        ),
        (
            "CREATE TABLE image_choices (scope TEXT NOT NULL, name TEXT NOT NULL, payload TEXT NOT NULL, "
            "PRIMARY KEY (scope, name)) WITHOUT ROWID",
        ),
    ),
)

KEEP_SECONDS = 90 * DAY
"""Final intents and operations older than this are deleted at the start; their events tell the story longer."""

QUIET_SECONDS = 60.0
"""That the file cannot be written is logged at most once in this time."""

SAVE_LEASE = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)"
SAVE_INTENT = "INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?)"
SAVE_OPERATION = "INSERT OR REPLACE INTO operations VALUES (?, ?, ?, ?)"
SAVE_REPORT = "INSERT OR REPLACE INTO reports VALUES (?, ?, ?)"
LOAD_OPERATIONS = (
    "SELECT id, payload FROM operations WHERE NOT final "
    "OR id IN (SELECT id FROM operations WHERE final ORDER BY created DESC LIMIT ?) ORDER BY created"
)
LOAD_REPORTS = "SELECT number, payload FROM reports WHERE operation = ? ORDER BY number"
FORGET_OPERATIONS = "DELETE FROM operations WHERE final AND created < ?"
FORGET_REPORTS = "DELETE FROM reports WHERE operation NOT IN (SELECT id FROM operations)"
FORGET_INTENTS = "DELETE FROM intents WHERE final AND opened < ?"
LOAD_IMAGE_CHOICES = "SELECT scope, name, payload FROM image_choices ORDER BY scope, name"
SAVE_IMAGE_CHOICE = "INSERT OR REPLACE INTO image_choices VALUES (?, ?, ?)"
FORGET_IMAGE_CHOICE = "DELETE FROM image_choices WHERE scope = ? AND name = ?"
SAVE_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


@implementer(ILeaseStore, IIntentStore, IOperationStore, IImageChoiceStore)
class StateStore:
    """
    Leases, intents, operations, choices of images.

    When a Deferred of this class fires, a power cut cannot take it back.

    :ivar database: the file.
    """

    _log = Logger()

    def __init__(self, path: Path, *, reactor: Reactor, events: IEventSink | None = None) -> None:
        self._reactor = reactor
        self.database = Database(path, STATE, reactor=reactor)
        self._aside = Aside(self.database, reactor, events)
        self._lost_leases = False
        self._failing_since: float | None = None
        self._warned = float("-inf")

    @property
    def is_new(self) -> bool:
        """
        Whether leases of before are not known, so that the pool must be probed.

        The file was begun just now, or :meth:`load_leases` found a row that cannot be read.
        """
        return self.database.is_new or self._lost_leases

    def open(self) -> StoreReplaced | None:
        """
        Open the file, start the writer thread; see :meth:`Database.open`.

        :raises StoreFailed: when there is no way to use the file.
        """
        replaced = self.database.open()
        tidied = self.database.submit(_Tidying(self._reactor.seconds() - KEEP_SECONDS))
        tidied.addErrback(lambda failure: self._log.warn("old records stay: {why}", why=failure.getErrorMessage()))
        return replaced

    def close(self) -> "Deferred[None]":
        """Write the rest and close."""
        return self.database.close()

    def load_leases(self) -> list[Lease]:
        """All bindings, in the order of their addresses; rows that cannot be read are set aside."""
        found, rejected = _sorted(
            "leases",
            ("address", "mac", "state", "expires", "stage"),
            self.database.read("SELECT address, mac, state, expires, stage FROM leases ORDER BY address"),
            _lease,
        )
        self._lost_leases = bool(rejected)
        self._aside.take(rejected)
        return found

    def commit(self, leases: Sequence[Lease]) -> "Deferred[None]":
        """Put them on disk with whatever else waits."""
        rows = [
            (int(lease.address), lease.mac.octets, lease.state.value, lease.expires, lease.stage.value)
            for lease in leases
        ]
        return self._save(SAVE_LEASE, rows) if rows else succeed(None)

    def load_intents(self) -> list[Intent]:
        """All intents that are not final, oldest first; rows that cannot be read are set aside."""
        rows = self.database.read("SELECT id, payload FROM intents WHERE NOT final ORDER BY opened, id")
        found, rejected = _sorted("intents", ("id", "payload"), rows, lambda _, payload: from_json(Intent, payload))
        self._aside.take(rejected)
        return found

    def load_intent(self, intent: str) -> Intent | None:
        """The intent of this id, final or not; None also when it cannot be read."""
        rows = self.database.read("SELECT id, payload FROM intents WHERE id = ?", (intent,))
        found, _ = _sorted("intents", ("id", "payload"), rows, lambda _, payload: from_json(Intent, payload))
        return found[0] if found else None

    def save_intent(self, intent: Intent) -> "Deferred[None]":
        """Put it on disk with whatever else waits."""
        row = intent.id, intent.opened, intent.state.is_final, to_json(intent)
        return self._save(SAVE_INTENT, [row])

    def load_operations(self, limit: int) -> list[Operation]:
        """
        All that are not final and the newest others, oldest first.

        One that cannot be read is set aside with all its reports, also when only one of these cannot: nothing is
        switched by half an order.
        """
        rows = self.database.read(LOAD_OPERATIONS, (limit,))
        reports: dict[Any, list[Any]] = {key: self._reports_of(key) for key, _ in rows}
        found, rejected = _sorted(
            "operations", ("id", "payload"), rows, lambda key, payload: _operation(payload, reports[key])
        )
        self._aside.take(
            [
                *rejected,
                *(
                    Rejected(
                        table="reports",
                        content={"operation": row.content["id"], "number": number, "payload": payload},
                        reason=row.reason,
                    )
                    for row in rejected
                    for number, payload in reports[row.content["id"]]
                ),
            ]
        )
        return found

    def _reports_of(self, operation: Any) -> list[Any]:
        return self.database.read(LOAD_REPORTS, (operation,))

    def save_operation(self, operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """Put it and these of its reports on disk with whatever else waits."""
        bare = to_json(attrs.evolve(operation, reports=()))
        head = operation.id, operation.created, operation.is_final, bare
        rows = [(operation.id, index, to_json(operation.reports[index])) for index in indexes]

        def work(file: sqlite3.Connection) -> None:
            file.execute(SAVE_OPERATION, head)
            file.executemany(SAVE_REPORT, rows)

        return self._submit(work)

    def load_image_choices(self) -> list[ImageChoice]:
        """All of them; rows that cannot be read are set aside."""
        found, rejected = _sorted(
            "image_choices", ("scope", "name", "payload"), self.database.read(LOAD_IMAGE_CHOICES), _image_choice
        )
        self._aside.take(rejected)
        return found

    def save_image_choices(self, made: Sequence[ImageChoice], withdrawn: Sequence[ImageChoice]) -> "Deferred[None]":
        """Put them on disk, and take those away, with whatever else waits."""
        rows = [(choice.scope.value, choice.name, to_json(choice)) for choice in made]
        gone = [(choice.scope.value, choice.name) for choice in withdrawn]

        def work(file: sqlite3.Connection) -> None:
            file.executemany(FORGET_IMAGE_CHOICE, gone)
            file.executemany(SAVE_IMAGE_CHOICE, rows)

        return self._submit(work)

    def load_meta(self) -> dict[str, str]:
        """Whatever else is to be remembered, by name."""
        return dict(self.database.read("SELECT name, value FROM meta"))

    def save_meta(self, name: str, value: str) -> "Deferred[None]":
        """Remember this by that name; fires when durable."""
        return self._save(SAVE_META, [(name, value)])

    def _save(self, statement: str, rows: list[tuple[Any, ...]]) -> "Deferred[None]":
        def work(file: sqlite3.Connection) -> None:
            file.executemany(statement, rows)

        return self._submit(work)

    def _submit(self, work: Callable[[sqlite3.Connection], None]) -> "Deferred[None]":
        return self.database.submit(work).addCallbacks(self._written, self._not_written)

    def _written(self, result: None) -> None:
        if self._failing_since is not None:
            seconds = self._reactor.seconds() - self._failing_since
            self._failing_since = None
            self._log.info("state.db can be written again, after {seconds:.0f} s", seconds=seconds)

    def _not_written(self, failure: Failure) -> Failure:
        """Say it once for all who wait, and again only now and then."""
        now = self._reactor.seconds()
        if self._failing_since is None:
            self._failing_since = now
        if now >= self._warned + QUIET_SECONDS:
            self._warned = now
            self._log.warn(
                "state.db cannot be written, so no board gets a new address and no card is formatted: {why}",
                why=failure.getErrorMessage(),
            )
        return failure


# Rows


def _sorted(
    table: str, names: Sequence[str], rows: Sequence[Sequence[Any]], read: Callable[..., Value]
) -> tuple[list[Value], list[Rejected]]:
    """What the rows mean, and those that mean nothing."""
    found: list[Value] = []
    rejected: list[Rejected] = []
    for row in rows:
        try:
            found.append(read(*row))
        except (TypeError, ValueError) as reason:  # UnreadableRecord is one
            rejected.append(Rejected(table=table, content=dict(zip(names, row, strict=True)), reason=str(reason)))
    return found, rejected


def _lease(address: Any, mac: Any, state: Any, expires: Any, stage: Any) -> Lease:
    if not isinstance(mac, bytes) or len(mac) != MAC_BYTES:
        raise UnreadableRecord(f"Lease: {mac!r} is not {MAC_BYTES} octets")
    if not isinstance(expires, int | float):
        raise UnreadableRecord(f"Lease: {expires!r} is no time")
    return Lease(
        address=IPv4Address(address),
        mac=MACAddress(mac),
        state=LeaseState(state),
        expires=expires,
        stage=Stage(stage),
    )


def _image_choice(scope: str, name: str, payload: str) -> ImageChoice:
    found = from_json(ImageChoice, payload)
    if (found.scope.value, found.name) != (scope, name):
        raise UnreadableRecord(f"ImageChoice: it is about {found.scope.value} {found.name!r}, not {scope} {name!r}")
    return found


def read_image_choices(path: Path) -> list[ImageChoice]:
    """
    The choices of a file that perhaps a manager uses right now; for words that do without one.  Writes nothing.

    A file that nobody has open is read as one that nobody changes, as :func:`piman.fleet.state.history.statuses_in`
    does: SQLite would leave side files of ours beside it.

    :raises StoreFailed: when it cannot be read.
    """
    if not path.exists():
        return []
    in_use = all(Path(f"{path}{suffix}").exists() for suffix in SIDE_FILES)
    mode = "mode=ro" if in_use else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=1.0)) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'image_choices'").fetchall()
            rows = connection.execute(LOAD_IMAGE_CHOICES).fetchall() if tables else []
    except sqlite3.Error as reason:
        raise StoreFailed(f"{path}: {reason}") from reason
    return _sorted("image_choices", ("scope", "name", "payload"), rows, _image_choice)[0]


def _operation(payload: str, rows: Sequence[tuple[int, str]]) -> Operation:
    """Reports are known by their place: with one missing all after it would be taken for others."""
    numbers = [number for number, _ in rows]
    if numbers != list(range(len(numbers))):
        raise UnreadableRecord(f"Operation: only its reports {numbers} are there")
    reports = tuple(from_json(TargetReport, text) for _, text in rows)
    return attrs.evolve(from_json(Operation, payload), reports=reports)


@attrs.frozen
class _Tidying:
    """Forget what is over and older than this."""

    before: float

    def __call__(self, file: sqlite3.Connection) -> None:
        for statement in (FORGET_INTENTS, FORGET_OPERATIONS):
            file.execute(statement, (self.before,))
        file.execute(FORGET_REPORTS)
