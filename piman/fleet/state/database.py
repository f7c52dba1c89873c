# -*- test-case-name: tests.test_fleet_store -*-
"""
One SQLite file with a writer thread of its own.

Everything that is submitted while a commit runs goes into the next transaction (group commit), so that a burst
of requests costs one flush to disk.  The thread begins in :meth:`Database.open` and not in the constructor:
threads do not survive the fork of a daemon.  A file that is no database any more is moved aside, loudly; a file
of a newer version is left alone.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from piman.distribution import Distribution
from piman.fleet.events import StoreReplaced
from piman.fleet.interfaces import StoreFailed, StoreFull

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

BATCH_LIMIT = 5_000
"""Jobs in one transaction: bounds how long the first of them waits for the last."""

BUSY_SECONDS = 5.0
"""How long another process (a backup, ``sqlite3``) may lock the file before a commit fails."""

FILE_MODE = 0o640
"""The files name the tokens of running installations."""

SIDE_FILES = ("", "-wal", "-shm")
"""What belongs to one database (https://www.sqlite.org/tempfiles.html)."""


class StoreTooNew(StoreFailed):
    """The file was written by a newer piman; it was not touched."""


class StoreUnavailable(StoreFailed):
    """The file cannot be opened here and now: rights, a missing disk, no space."""


class Reactor(Protocol):
    """What a database asks of the reactor."""

    def seconds(self) -> float:
        """The time."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:
        """Run this in the reactor's thread, soon."""


@attrs.frozen(kw_only=True)
class Schema:
    """What is in the file and how safely it is written."""

    migrations: tuple[tuple[str, ...], ...]
    """Statements that lead from each version to the next; ``PRAGMA user_version`` counts those that were done."""
    synchronous: str
    """``FULL``: a commit is on the disk; ``NORMAL``: a power cut may take the newest commits, never the file."""


class _Corrupt(Exception):
    """The file is no database, or a damaged one."""


@attrs.define(eq=False)
class _Job:
    work: Work[Any]
    done: "Deferred[Any]"
    result: Any = None


class Database:
    """
    :ivar is_new: after :meth:`open`: whether the file was begun just now.
    :ivar seconds: how long transactions took, those that failed included.
    :ivar failures: transactions that failed.
    """

    _log = Logger()

    def __init__(self, path: Path, schema: Schema, *, reactor: Reactor) -> None:
        self.path = path
        self.is_new = False
        self.seconds = Distribution()
        self.failures = 0
        self._schema = schema
        self._reactor = reactor
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closing: Deferred[None] | None = None

    # Beginning

    def open(self) -> StoreReplaced | None:
        """
        Open or create the file and start the writer thread; what went wrong with an old file is the answer.

        :raises StoreTooNew: the file is of a newer version.
        :raises StoreUnavailable: it cannot be opened, and is not corrupt.
        """
        replaced = None
        try:
            connection = self._connect()
        except _Corrupt as reason:
            replaced = self._move_aside(str(reason))
            connection = self._connect()
        self._thread = Thread(target=self._write, args=(connection,), name=f"writer of {self.path.name}", daemon=True)
        self._thread.start()
        return replaced

    def _connect(self) -> sqlite3.Connection:
        try:
            self._create()
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as reason:
            raise StoreUnavailable(f"{self.path}: {reason}") from reason
        connection.text_factory = _text
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.touch(mode=FILE_MODE)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            self._refuse_newer(version)
            self.is_new = version == 0
            _check(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._schema.synchronous}")
            for number, statements in enumerate(self._schema.migrations[version:], start=version + 1):
                _migrate(connection, number, statements)
        except sqlite3.Error as reason:
            if _is_corrupt(reason):
                raise _Corrupt(str(reason)) from reason
            raise StoreUnavailable(f"{self.path}: {reason}") from reason

    def _refuse_newer(self, version: int) -> None:
        known = len(self._schema.migrations)
        if version > known:
            raise StoreTooNew(
                f"{self.path} is of version {version}, this piman knows {known}: install the newer piman again, "
                f"or move the file away"
            )

    def _move_aside(self, reason: str) -> StoreReplaced:
        target = self._free_name(f"{self.path}.corrupt-{self._reactor.seconds():.0f}")
        for suffix in SIDE_FILES:
            if Path(f"{self.path}{suffix}").exists():
                Path(f"{self.path}{suffix}").rename(f"{target}{suffix}")
        self._log.critical(
            "{path} could not be read ({reason}); it was moved to {target}, and an empty one takes its place",
            path=str(self.path),
            reason=reason,
            target=target,
        )
        return StoreReplaced(path=str(self.path), moved_to=target, reason=reason)

    @staticmethod
    def _free_name(wanted: str) -> str:
        name, number = wanted, 1
        while Path(name).exists():
            name, number = f"{wanted}.{number}", number + 1
        return name

    # Use

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """
        Rows, at once and in this thread: for the start, before anything is served.

        :raises StoreFailed: when the file cannot be read.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as connection:
                connection.text_factory = _text
                return connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as reason:
            raise self._failure(reason) from reason

    @property
    def waiting(self) -> int:
        """Jobs that no transaction has taken yet."""
        return self._jobs.qsize()

    def submit(self, work: Work[Result]) -> "Deferred[Result]":
        """
        Run ``work`` in the writer thread, within the next transaction; fires with its result when that is committed.

        Fails with :class:`StoreFailed`, for everybody in the transaction; the next one starts afresh.
        """
        if self._thread is None or self._closing is not None:
            return fail(StoreFailed(f"{self.path} is not open"))
        job = _Job(work, Deferred())
        self._jobs.put(job)
        return job.done

    def close(self) -> "Deferred[None]":
        """Write what was submitted, end the thread, close the file; fires when all is done."""
        if self._thread is None:
            return succeed(None)
        if self._closing is None:
            self._closing = Deferred()
            self._jobs.put(None)
        waiter: Deferred[None] = Deferred()
        self._closing.addCallback(lambda _: waiter.callback(None))
        return waiter

    # The writer thread

    def _write(self, connection: sqlite3.Connection) -> None:
        with closing(connection):
            while jobs := self._next_jobs():
                began = self._reactor.seconds()
                failure = self._transact(connection, jobs)
                self.seconds.take(self._reactor.seconds() - began)
                self.failures += failure is not None
                self._reactor.callFromThread(_answer, jobs, failure)
        self._reactor.callFromThread(self._ended)

    def _next_jobs(self) -> list[_Job]:
        """Wait for a job, then take all that are there; empty: time to end."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == BATCH_LIMIT:
                return jobs
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._jobs.put(None)
        return jobs

    def _transact(self, connection: sqlite3.Connection, jobs: list[_Job]) -> StoreFailed | None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.result = job.work(connection)
            connection.execute("COMMIT")
        except Exception as reason:
            _roll_back(connection)
            return self._failure(reason)
        return None

    def _failure(self, reason: Exception) -> StoreFailed:
        kind = StoreFull if _code(reason) == sqlite3.SQLITE_FULL else StoreFailed
        failure = kind(f"{self.path}: {reason}")
        failure.__cause__ = reason
        return failure

    # In the reactor's thread again

    def _ended(self) -> None:
        if self._thread is not None:
            self._thread.join()
        closing, self._thread, self._closing = self._closing, None, None
        if closing is not None:
            closing.callback(None)


def _answer(jobs: list[_Job], failure: StoreFailed | None) -> None:
    for job in jobs:
        if failure is None:
            job.done.callback(job.result)
        else:
            job.done.errback(failure)


def _text(stored: bytes) -> str:
    """Text that is not UTF-8 must not make the rows around it unreadable."""
    return stored.decode("utf-8", "surrogateescape")


def _check(connection: sqlite3.Connection) -> None:
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _Corrupt(" ".join(str(verdict).split()))


def _migrate(connection: sqlite3.Connection, number: int, statements: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    """Some errors have rolled back already (https://www.sqlite.org/lang_transaction.html)."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        pass


def _is_corrupt(reason: Exception) -> bool:
    return _code(reason) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(reason: Exception) -> int:
    """The primary result code of SQLite: the low byte of the extended one; -1 when the error is not SQLite's."""
    return getattr(reason, "sqlite_errorcode", -1) & 0xFF if isinstance(reason, sqlite3.Error) else -1
