# -*- test-case-name: tests.test_fleet_store -*-
"""
``state.db``: what must never be forgotten, leases, intents and the operator's orders.

What is merely good to know lies in another file (:mod:`piman.fleet.history`), with a writer thread of its own, so
that nothing that happens there can delay an answer to a board.
"""

import sqlite3
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from piman.fleet.database import Database, Reactor, Schema
from piman.fleet.events import StoreReplaced
from piman.fleet.interfaces import IIntentStore, ILeaseStore, IOperationStore
from piman.fleet.model import Intent, Lease, LeaseState, MACAddress, Stage
from piman.fleet.orders import Operation, TargetReport
from piman.fleet.records import from_json, to_json

DAY = 86_400.0

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
    ),
)

KEEP_SECONDS = 90 * DAY
"""Final intents and operations older than this are deleted at the start; their events tell the story longer."""

SAVE_LEASE = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)"
SAVE_INTENT = "INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?)"
SAVE_OPERATION = "INSERT OR REPLACE INTO operations VALUES (?, ?, ?, ?)"
SAVE_REPORT = "INSERT OR REPLACE INTO reports VALUES (?, ?, ?)"
LOAD_OPERATIONS = (
    "SELECT payload FROM operations WHERE NOT final "
    "OR id IN (SELECT id FROM operations WHERE final ORDER BY created DESC LIMIT ?) ORDER BY created"
)
FORGET_OPERATIONS = "DELETE FROM operations WHERE final AND created < ?"
FORGET_REPORTS = "DELETE FROM reports WHERE operation NOT IN (SELECT id FROM operations)"
FORGET_INTENTS = "DELETE FROM intents WHERE final AND opened < ?"
SAVE_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


@implementer(ILeaseStore, IIntentStore, IOperationStore)
class StateStore:
    """Leases, intents and operations: when a Deferred of this class fires, a power cut cannot take it back."""

    _log = Logger()

    def __init__(self, path: Path, *, reactor: Reactor) -> None:
        self._reactor = reactor
        self._database = Database(path, STATE, reactor=reactor)

    @property
    def is_new(self) -> bool:
        """Whether the file was begun just now: no lease of before is known, so the pool must be probed."""
        return self._database.is_new

    def open(self) -> StoreReplaced | None:
        """
        Open the file, start the writer thread; see :meth:`Database.open`.

        :raises StoreFailed: when there is no way to use the file.
        """
        replaced = self._database.open()
        tidied = self._database.submit(_Tidying(self._reactor.seconds() - KEEP_SECONDS))
        tidied.addErrback(lambda failure: self._log.warn("old records stay: {why}", why=failure.getErrorMessage()))
        return replaced

    def close(self) -> "Deferred[None]":
        """Write the rest and close."""
        return self._database.close()

    def load_leases(self) -> list[Lease]:
        """All bindings, in the order of their addresses."""
        return [
            Lease(
                address=IPv4Address(address),
                mac=MACAddress(mac),
                state=LeaseState(state),
                expires=expires,
                stage=Stage(stage),
            )
            for address, mac, state, expires, stage in self._database.read("SELECT * FROM leases ORDER BY address")
        ]

    def commit(self, leases: Sequence[Lease]) -> "Deferred[None]":
        """Put them on disk with whatever else waits."""
        rows = [
            (int(lease.address), lease.mac.octets, lease.state.value, lease.expires, lease.stage.value)
            for lease in leases
        ]
        return self._save(SAVE_LEASE, rows) if rows else succeed(None)

    def load_intents(self) -> list[Intent]:
        """All intents that are not final, oldest first."""
        rows = self._database.read("SELECT payload FROM intents WHERE NOT final ORDER BY opened, id")
        return [from_json(Intent, payload) for (payload,) in rows]

    def load_intent(self, intent: str) -> Intent | None:
        """The intent of this id, final or not."""
        rows = self._database.read("SELECT payload FROM intents WHERE id = ?", (intent,))
        return from_json(Intent, rows[0][0]) if rows else None

    def save_intent(self, intent: Intent) -> "Deferred[None]":
        """Put it on disk with whatever else waits."""
        row = intent.id, intent.opened, intent.state.is_final, to_json(intent)
        return self._save(SAVE_INTENT, [row])

    def load_operations(self, limit: int) -> list[Operation]:
        """All that are not final and the newest others, oldest first."""
        rows = self._database.read(LOAD_OPERATIONS, (limit,))
        return [self._with_reports(from_json(Operation, payload)) for (payload,) in rows]

    def _with_reports(self, operation: Operation) -> Operation:
        statement = "SELECT payload FROM reports WHERE operation = ? ORDER BY number"
        rows = self._database.read(statement, (operation.id,))
        return attrs.evolve(operation, reports=tuple(from_json(TargetReport, payload) for (payload,) in rows))

    def save_operation(self, operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """Put it and these of its reports on disk with whatever else waits."""
        bare = to_json(attrs.evolve(operation, reports=()))
        head = operation.id, operation.created, operation.is_final, bare
        rows = [(operation.id, index, to_json(operation.reports[index])) for index in indexes]

        def work(file: sqlite3.Connection) -> None:
            file.execute(SAVE_OPERATION, head)
            file.executemany(SAVE_REPORT, rows)

        return self._database.submit(work)

    def load_meta(self) -> dict[str, str]:
        """Whatever else is to be remembered, by name."""
        return dict(self._database.read("SELECT name, value FROM meta"))

    def save_meta(self, name: str, value: str) -> "Deferred[None]":
        """Remember this by that name; fires when durable."""
        return self._save(SAVE_META, [(name, value)])

    def _save(self, statement: str, rows: list[tuple[Any, ...]]) -> "Deferred[None]":
        def work(file: sqlite3.Connection) -> None:
            file.executemany(statement, rows)

        return self._database.submit(work)


@attrs.frozen
class _Tidying:
    """Forget what is over and older than this."""

    before: float

    def __call__(self, file: sqlite3.Connection) -> None:
        for statement in (FORGET_INTENTS, FORGET_OPERATIONS):
            file.execute(statement, (self.before,))
        file.execute(FORGET_REPORTS)
