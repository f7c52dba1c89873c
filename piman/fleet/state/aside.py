# -*- test-case-name: tests.test_fleet_store -*-
"""
Rows that cannot be read: taken out of the database, kept in a file beside it, told in one line and one event.

One of them must not cost the others, nor the start of the manager.  ``state.db.rejected`` holds a line of JSON for each
row, with all that was in it: enough for a person to put it back.
"""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.logger import Logger

from piman.fleet.events import RecordsRejected
from piman.fleet.interfaces import IEventSink
from piman.fleet.state.database import FILE_MODE, Database, Reactor
from piman.fleet.wording import counted

SUFFIX = ".rejected"


@attrs.frozen(kw_only=True)
class Rejected:
    """
    A row that cannot be read.

    :ivar content: its columns by name, as they are in the file, the key first.
    """

    table: str
    content: Mapping[str, Any]
    reason: str


class Aside:
    """Takes such rows out of one database."""

    _log = Logger()

    def __init__(self, database: Database, clock: Reactor, events: IEventSink | None = None) -> None:
        self._database = database
        self._clock = clock
        self._events = events
        self._path = Path(f"{database.path}{SUFFIX}")

    def take(self, rejected: Sequence[Rejected]) -> None:
        """Keep these rows in the file and delete them; when the file cannot be written they stay where they are."""
        if not rejected:
            return
        kept_in = str(self._path)
        try:
            self._append(rejected)
        except OSError as reason:
            kept_in = ""
            self._log.warn("{path} cannot be written: {reason}", path=str(self._path), reason=reason.strerror)
        else:
            self._delete(rejected)
        self._say(rejected, kept_in)

    def _append(self, rejected: Sequence[Rejected]) -> None:
        lines = "".join(self._line(row) for row in rejected)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with open(os.open(self._path, flags, FILE_MODE), "a", encoding="ascii") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def _line(self, row: Rejected) -> str:
        content = {name: _shown(value) for name, value in row.content.items()}
        head = {"time": self._clock.seconds(), "table": row.table, "reason": row.reason}
        return json.dumps({**head, "row": content}) + "\n"

    def _delete(self, rejected: Sequence[Rejected]) -> None:
        def work(file: sqlite3.Connection) -> None:
            for row in rejected:
                # The names are our own columns; "IS" is an equality that holds for NULL, too.
                where = " AND ".join(_equal(name, value) for name, value in row.content.items())
                values = [_stored(value) for value in row.content.values()]
                file.execute(f"DELETE FROM {row.table} WHERE {where}", values)

        deleted = self._database.submit(work)
        deleted.addErrback(lambda failure: self._log.warn("{why}", why=failure.getErrorMessage()))

    def _say(self, rejected: Sequence[Rejected], kept_in: str) -> None:
        first = rejected[0]
        tables = ", ".join(dict.fromkeys(row.table for row in rejected))
        event = RecordsRejected(
            path=str(self._database.path), table=tables, records=len(rejected), kept_in=kept_in, reason=first.reason
        )
        self._log.warn(
            "{records} of {table} in {path} cannot be read and do not count ({reason}); {where}",
            records=counted(len(rejected), "record"),
            table=tables,
            path=event.path,
            reason=event.reason,
            where=f"kept in {kept_in}" if kept_in else "they stay where they are",
        )
        if self._events is not None:
            self._events.emit(event)


def _shown(value: Any) -> Any:
    return f"hex:{value.hex()}" if isinstance(value, bytes) else value


def _equal(name: str, value: Any) -> str:
    """Texts are compared as octets: they may not be UTF-8."""
    return f"CAST({name} AS BLOB) IS ?" if isinstance(value, str) else f"{name} IS ?"


def _stored(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
