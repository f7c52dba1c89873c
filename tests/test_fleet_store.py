"""
The files: what is on disk when, and what happens to files that are not as they should be.
"""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.eventlog import EventLog
from piman.fleet.events import (
    BootOrdered,
    ClockSet,
    Event,
    LeaseRenewed,
    ManagerStarted,
    NodeRecovered,
    NodeUp,
    Recorded,
    StoreReplaced,
)
from piman.fleet.interfaces import StoreFailed, StoreFull
from piman.fleet.model import Intent, IntentOrigin, IntentState, Lease, LeaseState, MACAddress, NodeStatus, Stage
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.orders import Action, Operation, TargetReport
from piman.fleet.operations.targets import Target
from piman.fleet.state import history
from piman.fleet.state.database import BATCH_LIMIT, Database, Schema, StoreTooNew, StoreUnavailable
from piman.fleet.state.history import (
    RESERVED_IDS,
    RETRY_SECONDS,
    TIDY_SECONDS,
    HistorySettings,
    HistoryStore,
    statuses_in,
)
from piman.fleet.state.store import KEEP_SECONDS, QUIET_SECONDS, StateStore
from piman.fleet.walltime import WallTime
from piman.testing.fakes import CapturedEvents
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC, ThreadedClock, any_event, instances

SCHEMA = Schema(synchronous="FULL", migrations=(("CREATE TABLE words (word TEXT)",),))
KIND_OF_GARBAGE = b"Sector not found. Abort, retry, fail? " * 500


def say(word: str) -> Callable[[sqlite3.Connection], str]:
    """Work: keep the word, answer it."""

    def work(file: sqlite3.Connection) -> str:
        file.execute("INSERT INTO words VALUES (?)", (word,))
        return word

    return work


class _InFolder(SynchronousTestCase):
    """Tests with a folder, a reactor, and stores that are closed whatever happens."""

    def setUp(self) -> None:
        """A folder that is not there yet."""
        self.folder = Path(self.mktemp()).resolve()
        self.clock = ThreadedClock()

    def opened(self, store: Any) -> Any:
        """The store, open, until the test ends."""
        store.open()
        self.addCleanup(lambda: self.clock.wait(store.close()))
        return store

    def settle(self, deferred: "Deferred[Any]") -> Any:
        """Wait for a writer thread."""
        return self.clock.wait(deferred)

    def query(self, name: str, statement: str) -> list[Any]:
        """What somebody else finds in the file."""
        with closing(sqlite3.connect(self.folder / name)) as file:
            return file.execute(statement).fetchall()

    def logged(self, level: LogLevel) -> list[Any]:
        """The list in which log events of this level will appear."""
        seen: list[Any] = []

        def observer(event: Any) -> None:
            if event["log_level"] is level:
                seen.append(event)

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return seen


class DatabaseTests(_InFolder):
    """One file and its writer thread."""

    def database(self, schema: Schema = SCHEMA) -> Database:
        """Not open yet."""
        return Database(self.folder / "words.db", schema, reactor=self.clock)

    def words(self) -> list[str]:
        """What is in the file, in the order of its coming."""
        return [word for (word,) in self.query("words.db", "SELECT word FROM words ORDER BY rowid")]

    def hold(self, database: Database) -> Callable[[], None]:
        """Keep the writer busy; returns what lets it go on."""
        started, go_on = threading.Event(), threading.Event()

        def work(file: sqlite3.Connection) -> None:
            started.set()
            go_on.wait(30)

        database.submit(work)
        self.assertTrue(started.wait(30))
        return go_on.set

    def test_written_and_answered(self) -> None:
        """When the Deferred fires, with what the work returned, another process sees the row."""
        database = self.opened(self.database())
        self.assertEqual(self.settle(database.submit(say("one"))), "one")
        self.assertEqual(self.words(), ["one"])

    def test_answered_in_the_reactors_thread(self) -> None:
        """Callbacks run where the reactor runs."""
        database = self.opened(self.database())
        where = database.submit(say("one")).addCallback(lambda _: threading.current_thread())
        self.assertIs(self.settle(where), threading.current_thread())

    def test_no_thread_before_open(self) -> None:
        """Neither thread nor file is there before open: the process may still fork."""
        self.database()
        self.assertNotIn("writer of words.db", [thread.name for thread in threading.enumerate()])
        self.assertFalse(self.folder.exists())

    def test_group_commit(self) -> None:
        """Whatever is submitted while a commit runs goes into one transaction, in order."""
        database = self.opened(self.database())
        statements: list[str] = []
        self.settle(database.submit(lambda file: file.set_trace_callback(statements.append)))
        release = self.hold(database)
        waiting = [database.submit(say(str(number))) for number in range(200)]
        statements.clear()
        release()
        self.assertEqual([self.settle(each) for each in waiting], [str(number) for number in range(200)])
        self.assertEqual(statements.count("BEGIN IMMEDIATE"), 1)
        self.assertEqual(self.words(), [str(number) for number in range(200)])

    def test_batches_are_bounded(self) -> None:
        """More than fits into one transaction goes into the next one."""
        database = self.opened(self.database())
        release = self.hold(database)
        waiting = [database.submit(say("x")) for _ in range(BATCH_LIMIT + 1)]
        release()
        self.settle(waiting[-1])
        self.assertEqual(len(self.words()), BATCH_LIMIT + 1)

    def test_full_disk(self) -> None:
        """When no space is left, all of the transaction fail with StoreFull, nothing of it stays, later ones work."""
        database = self.opened(self.database())
        limit = self.settle(database.submit(lambda file: file.execute("PRAGMA max_page_count = 1").fetchone()[0]))
        release = self.hold(database)
        waiting = [database.submit(say("small")), database.submit(say("x" * 100_000))]
        release()
        for each in waiting:
            self.assertRaises(StoreFull, self.settle, each)
        self.settle(database.submit(lambda file: file.execute(f"PRAGMA max_page_count = {limit + 1000}").fetchone()))
        self.settle(database.submit(say("y" * 100_000)))
        self.assertEqual(self.words(), ["y" * 100_000])

    def test_failing_work(self) -> None:
        """Work that raises fails its transaction with StoreFailed, which names the file and keeps the cause."""

        def work(file: sqlite3.Connection) -> None:
            file.execute("INSERT INTO words VALUES ('half')")
            raise ZeroDivisionError("our bug")

        database = self.opened(self.database())
        with self.assertRaises(StoreFailed) as caught:
            self.settle(database.submit(work))
        self.assertIn("words.db: our bug", str(caught.exception))
        self.assertIsInstance(caught.exception.__cause__, ZeroDivisionError)
        self.settle(database.submit(say("whole")))
        self.assertEqual(self.words(), ["whole"])

    def test_cancelled(self) -> None:
        """Who does not want the answer any more costs the others nothing."""
        database = self.opened(self.database())
        release = self.hold(database)
        unwanted, wanted = database.submit(say("one")), database.submit(say("two"))
        unwanted.addErrback(lambda _: None)
        unwanted.cancel()
        release()
        self.assertEqual(self.settle(wanted), "two")

    def test_close(self) -> None:
        """Closing writes what was submitted, ends the thread and leaves one whole file."""
        database = self.opened(self.database())
        release = self.hold(database)
        last = database.submit(say("last"))
        closed, closed_again = database.close(), database.close()
        late = database.submit(say("too late"))
        release()
        self.settle(closed)
        self.successResultOf(closed_again)
        self.assertEqual(self.successResultOf(last), "last")
        self.failureResultOf(late, StoreFailed)
        self.assertNotIn("writer of words.db", [thread.name for thread in threading.enumerate()])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["words.db"])
        self.assertEqual(self.words(), ["last"])

    def test_never_open(self) -> None:
        """A database that is not open refuses work, and closing it is harmless."""
        database = self.database()
        self.failureResultOf(database.submit(say("one")), StoreFailed)
        self.successResultOf(database.close())

    def test_read(self) -> None:
        """Rows can be read at once; a statement that fails raises StoreFailed."""
        database = self.opened(self.database())
        self.settle(database.submit(say("one")))
        self.assertEqual(database.read("SELECT word FROM words"), [("one",)])
        self.assertRaises(StoreFailed, database.read, "SELECT * FROM nothing")


class OpenTests(_InFolder):
    """Files as they may be found."""

    def setUp(self) -> None:
        """The folder is there."""
        super().setUp()
        self.folder.mkdir()
        self.path = self.folder / "words.db"

    def database(self, schema: Schema = SCHEMA) -> Database:
        """Not open yet."""
        database = Database(self.path, schema, reactor=self.clock)
        self.addCleanup(lambda: self.clock.wait(database.close()))
        return database

    def filled(self, rows: int = 1) -> None:
        """A sound file with words."""
        database = self.database()
        database.open()
        for number in range(rows):
            database.submit(say(f"word {number} " + "x" * 500))
        self.settle(database.close())

    def test_new(self) -> None:
        """A file that is not there, or empty, is begun, and readable for its group alone: it holds tokens."""
        database = self.database()
        self.assertIsNone(database.open())
        self.assertTrue(database.is_new)
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_found_again(self) -> None:
        """A sound file is used as it is."""
        self.filled()
        database = self.database()
        self.assertIsNone(database.open())
        self.assertFalse(database.is_new)
        self.assertEqual(len(database.read("SELECT * FROM words")), 1)

    def test_no_database(self) -> None:
        """A file that is no database is moved aside, unchanged, loudly, and a new one is begun."""
        self.path.write_bytes(KIND_OF_GARBAGE)
        self.clock.advance(1_700_000_000)
        loud = self.logged(LogLevel.critical)
        database = self.database()
        replaced = database.open()
        moved = self.folder / "words.db.corrupt-1700000000"
        self.assertEqual(
            replaced, StoreReplaced(path=str(self.path), moved_to=str(moved), reason="file is not a database")
        )
        self.assertEqual(moved.read_bytes(), KIND_OF_GARBAGE)
        self.assertTrue(database.is_new)
        self.assertEqual(self.settle(database.submit(say("one"))), "one")
        self.assertEqual(len(loud), 1)

    def test_damaged(self) -> None:
        """A database with a page that was overwritten is moved aside, though it can be opened."""
        self.filled(rows=200)
        content = bytearray(self.path.read_bytes())
        content[8192:12288] = b"\xee" * 4096
        self.path.write_bytes(content)
        self.logged(LogLevel.critical)
        replaced = self.database().open()
        assert replaced is not None
        self.assertEqual(Path(replaced.moved_to).read_bytes(), bytes(content))

    def test_twice_in_a_second(self) -> None:
        """A second corrupt file never overwrites the first."""
        for number in range(2):
            self.path.write_bytes(KIND_OF_GARBAGE + bytes([number]))
            database = self.database()
            database.open()
            self.settle(database.close())
        moved = sorted(path.name for path in self.folder.iterdir())
        self.assertEqual(moved, ["words.db", "words.db.corrupt-0", "words.db.corrupt-0.1"])

    def test_side_files(self) -> None:
        """The write-ahead log of a damaged file is never replayed into the new one."""
        live = self.database()
        live.open()
        for number in range(200):
            live.submit(say(f"word {number} " + "x" * 500))
        self.settle(live.submit(say("the last before the log")))
        with closing(sqlite3.connect(self.path)) as file:
            file.execute("PRAGMA wal_checkpoint")
        self.settle(live.submit(say("only in the log")))
        crashed = Path(self.mktemp())
        shutil.copytree(self.folder, crashed)
        self.assertIn(b"only in the log", (crashed / "words.db-wal").read_bytes())
        with open(crashed / "words.db", "r+b") as file:
            file.seek(8192)
            file.write(b"\xee" * 4096)
        self.logged(LogLevel.critical)
        database = self.opened(Database(crashed / "words.db", SCHEMA, reactor=self.clock))
        self.assertTrue(database.is_new)
        self.assertEqual(database.read("SELECT * FROM words"), [])

    def test_newer(self) -> None:
        """A file of a newer piman is refused with a text that says so, and not one byte of it changes."""
        self.filled()
        with closing(sqlite3.connect(self.path)) as file:
            file.execute("PRAGMA user_version = 2")
        before = self.path.read_bytes()
        with self.assertRaises(StoreTooNew) as caught:
            self.database().open()
        self.assertIn("version 2, this piman knows 1", str(caught.exception))
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["words.db"])

    def test_unavailable(self) -> None:
        """What cannot be opened for other reasons is no corrupt file: it stays where it is."""
        (self.folder / "file").write_bytes(b"")
        for path in (self.folder / "file" / "words.db", self.folder):
            database = Database(path, SCHEMA, reactor=self.clock)
            self.assertRaises(StoreUnavailable, database.open)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["file"])

    def test_migrated(self) -> None:
        """A file of an older version is led to the newest one, with what is in it."""
        self.filled()
        newer = attrs.evolve(SCHEMA, migrations=(*SCHEMA.migrations, ("ALTER TABLE words ADD length INTEGER",)))
        for _ in range(2):
            database = self.database(newer)
            self.assertIsNone(database.open())
            self.assertEqual(database.read("SELECT length FROM words"), [(None,)])
            self.assertEqual(database.read("PRAGMA user_version"), [(2,)])
            self.settle(database.close())

    def test_migration_fails(self) -> None:
        """A migration that fails leaves the file as it was."""
        self.filled()
        broken = attrs.evolve(SCHEMA, migrations=(*SCHEMA.migrations, ("DROP TABLE words", "DROP TABLE nothing")))
        self.assertRaises(StoreUnavailable, self.database(broken).open)
        database = self.database()
        database.open()
        self.assertEqual(len(database.read("SELECT * FROM words")), 1)

    def test_safe_settings(self) -> None:
        """The real files use the write-ahead log; the state waits for the disk, the history does not."""
        state = StateStore(self.folder / "state.db", reactor=self.clock)
        past = HistoryStore(self.folder / "history.db", reactor=self.clock, clock=self.clock)
        for store, synchronous in ((state, 2), (past, 1)):
            self.opened(store)
            asked = ("PRAGMA journal_mode", "PRAGMA synchronous")
            answers = [
                self.settle(store.database.submit(lambda file, a=a: file.execute(a).fetchone()[0])) for a in asked
            ]
            self.assertEqual(answers, ["wal", synchronous])


LEASES = st.lists(instances(Lease, expires=st.floats(allow_nan=False)), max_size=20)


class StateTests(_InFolder):
    """Leases and intents; what every such store promises is in tests/contract."""

    def store(self) -> StateStore:
        """Not open yet."""
        return StateStore(self.folder / "state.db", reactor=self.clock)

    def test_new(self) -> None:
        """Who asks learns whether anything of before can be known."""
        for expected in (True, False):
            store = self.store()
            store.open()
            self.assertIs(store.is_new, expected)
            self.settle(store.close())

    @settings(max_examples=20, deadline=None)
    @given(LEASES)
    def test_any_leases(self, leases: list[Lease]) -> None:
        """Any leases come back as they were, the newest of each address."""
        path = self.folder / "any" / "state.db"
        shutil.rmtree(path.parent, ignore_errors=True)
        store = StateStore(path, reactor=self.clock)
        store.open()
        try:
            self.settle(store.commit(leases))
            expected = {lease.address: lease for lease in leases}
            self.assertEqual({lease.address: lease for lease in store.load_leases()}, expected)
        finally:
            self.settle(store.close())

    def test_meta(self) -> None:
        """Whatever else is to be remembered is kept by name, the newest value of each."""
        store = self.opened(self.store())
        for value in ("1", "2"):
            self.settle(store.save_meta("sweep", value))
        self.assertEqual(store.load_meta(), {"sweep": "2"})

    def test_old_intents_are_forgotten(self) -> None:
        """Final intents go after a while; one that is still alive never does."""
        store = self.store()
        store.open()
        for state in (IntentState.OPEN, IntentState.FULFILLED):
            intent = Intent(id=state.value, mac=MAC, origin=IntentOrigin.NODE, opened=0.0, state=state)
            self.settle(store.save_intent(intent))
        self.settle(store.close())
        self.clock.advance(KEEP_SECONDS + 1)
        self.settle(self.opened(self.store()).save_meta("after", "the deletion"))
        self.assertEqual(self.query("state.db", "SELECT id FROM intents"), [("open",)])

    def test_full_disk(self) -> None:
        """While nothing can be written that is one line a minute, however many wait; when it can again, one more."""
        store = self.opened(self.store())
        limit = "PRAGMA max_page_count"
        (size,) = self.settle(store.database.submit(lambda file: file.execute(f"{limit} = 1").fetchone()))
        warned, told = self.logged(LogLevel.warn), self.logged(LogLevel.info)
        for _ in range(3):
            self.assertRaises(StoreFull, self.settle, store.save_meta("much", "x" * 100_000))
        (line,) = [formatEvent(event) for event in warned]
        self.assertIn("state.db cannot be written, so no board gets a new address and no card is formatted: ", line)
        self.assertIn("database or disk is full", line)
        self.clock.advance(QUIET_SECONDS)
        self.assertRaises(StoreFull, self.settle, store.save_meta("much", "x" * 100_000))
        self.assertEqual((len(warned), told), (2, []))
        self.settle(store.database.submit(lambda file: file.execute(f"{limit} = {size + 1000}").fetchone()))
        for _ in range(2):
            self.settle(store.save_meta("much", "x" * 100_000))
        self.assertEqual([formatEvent(event) for event in told], ["state.db can be written again, after 60 s"])

    def test_corrupt(self) -> None:
        """Without a readable file nothing of before is known, and the event says where the old file is."""
        self.folder.mkdir()
        (self.folder / "state.db").write_bytes(KIND_OF_GARBAGE)
        store = self.store()
        self.addCleanup(lambda: self.clock.wait(store.close()))
        self.assertIsInstance(store.open(), StoreReplaced)
        self.assertTrue(store.is_new)
        self.assertEqual((store.load_leases(), store.load_intents()), ([], []))


SPOILT_LEASES = (
    "UPDATE leases SET state = 'nonsense' WHERE address = 1",
    "UPDATE leases SET mac = x'b827' WHERE address = 1",
    "UPDATE leases SET mac = 'b827eb' WHERE address = 1",
    "UPDATE leases SET expires = 'soon' WHERE address = 1",
    "UPDATE leases SET stage = CAST(x'ff00' AS TEXT) WHERE address = 1",
    "UPDATE leases SET address = -5 WHERE address = 1",
)
"""What a person with sqlite3, or a bad disk that SQLite does not notice, may leave in one row of three."""

SPOILT_PAYLOADS = ("'{'", "'[]'", "x'ff'", "CAST(x'7bff' AS TEXT)", "x'31'", "'" + "[" * 100_000 + "'")


class UnreadableTests(_InFolder):
    """One row that cannot be read costs neither the start nor any other row."""

    def setUp(self) -> None:
        """A place for events."""
        super().setUp()
        self.events = CapturedEvents()
        self.logged(LogLevel.warn)

    def store(self) -> StateStore:
        """Open, until the test ends."""
        store: StateStore = self.opened(StateStore(self.folder / "state.db", reactor=self.clock, events=self.events))
        return store

    def spoil(self, name: str, *statements: str) -> None:
        """Somebody else writes to the file."""
        with closing(sqlite3.connect(self.folder / name)) as file, file:
            for statement in statements:
                file.execute(statement)

    def kept(self, name: str) -> list[Any]:
        """What was set aside; the file is removed."""
        path = self.folder / f"{name}.rejected"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.unlink()
        return lines

    def test_leases(self) -> None:
        """The row is kept aside, told once, and gone from the database; the pool is looked at as without memory."""
        macs = [MACAddress(bytes([2, 0, 0, 0, 0, number])) for number in (1, 2, 3)]
        leases = [
            Lease(address=IPv4Address(number), mac=mac, state=LeaseState.BOUND, expires=9.0)
            for number, mac in enumerate(macs, start=1)
        ]
        for statement in SPOILT_LEASES:
            store = self.store()
            self.settle(store.commit(leases))
            self.spoil("state.db", "DELETE FROM leases WHERE address < 1", statement)
            self.settle(store.close())
            store = self.store()
            self.assertFalse(store.is_new)
            self.assertEqual(store.load_leases(), leases[1:], statement)
            self.assertTrue(store.is_new)
            (line,) = self.kept("state.db")
            self.assertEqual((line["table"], line["row"]["expires"] in (9.0, "soon")), ("leases", True))
            self.assertEqual(list(line["row"]), ["address", "mac", "state", "expires", "stage"])
            self.settle(store.save_meta("after", "the deletion"))
            self.assertEqual(self.query("state.db", "SELECT count(*) FROM leases"), [(2,)])
            self.settle(store.close())
            store = self.store()
            self.assertEqual(store.load_leases(), leases[1:])
            self.assertFalse((self.folder / "state.db.rejected").exists())
            self.settle(store.close())
        self.assertEqual([event.records for event in self.events.events], [1] * len(SPOILT_LEASES))

    def test_nothing_to_tell(self) -> None:
        """A sound database makes neither file nor event."""
        store = self.store()
        self.settle(store.commit([Lease(address=ADDRESS, mac=MAC, state=LeaseState.BOUND, expires=9.0)]))
        self.assertEqual((len(store.load_leases()), store.load_intents(), store.load_operations(9)), (1, [], []))
        self.assertEqual(self.events.events, [])
        self.assertFalse((self.folder / "state.db.rejected").exists())

    def test_intents(self) -> None:
        """The other intents live on; the one that cannot be read is no order to format anything."""
        good = Intent(id="good", mac=MAC, origin=IntentOrigin.NODE, opened=1.0)
        for payload in SPOILT_PAYLOADS:
            store = self.store()
            self.settle(store.save_intent(good))
            self.settle(store.save_intent(attrs.evolve(good, id="bad", mac=OTHER_MAC)))
            self.spoil("state.db", f"UPDATE intents SET payload = {payload} WHERE id = 'bad'")
            self.assertIsNone(store.load_intent("bad"))
            self.assertEqual(store.load_intents(), [good], payload[:20])
            (line,) = self.kept("state.db")
            self.assertEqual(line["row"]["id"], "bad")
            self.settle(store.close())

    def test_operations(self) -> None:
        """An order of which one report cannot be read, or is missing, is set aside whole; the others stay."""
        target = Target(port=None, mac=MAC)
        for statement in (
            "UPDATE reports SET payload = '{' WHERE operation = 'bad' AND number = 0",
            "DELETE FROM reports WHERE operation = 'bad' AND number = 0",
            "UPDATE operations SET payload = '{' WHERE id = 'bad'",
        ):
            store = self.store()
            reports = (TargetReport(target=target), TargetReport(target=target))
            good = Operation(id="good", action=Action.RESTART, created=5.0, reports=reports)
            for operation in (good, attrs.evolve(good, id="bad", created=6.0)):
                self.settle(store.save_operation(operation, range(2)))
            self.spoil("state.db", statement)
            self.assertEqual(store.load_operations(10), [good], statement)
            kept = [line["table"] for line in self.kept("state.db")]
            self.assertEqual(kept, ["operations"] + ["reports"] * (1 if "DELETE" in statement else 2))
            self.settle(store.save_meta("after", "the deletion"))
            self.assertEqual(self.query("state.db", "SELECT count(*) FROM reports WHERE operation = 'bad'"), [(0,)])
            self.settle(store.close())

    def test_no_room_for_it(self) -> None:
        """Where the row cannot be kept aside it stays in the database, and the event says so."""
        store = self.store()
        self.settle(store.commit([Lease(address=ADDRESS, mac=MAC, state=LeaseState.BOUND, expires=9.0)]))
        self.spoil("state.db", "UPDATE leases SET state = 'nonsense'")
        (self.folder / "state.db.rejected").mkdir()
        self.assertEqual(store.load_leases(), [])
        self.settle(store.save_meta("after", "what would be the deletion"))
        self.assertEqual(self.query("state.db", "SELECT count(*) FROM leases"), [(1,)])
        self.assertEqual([event.kept_in for event in self.events.events], [""])

    def test_history(self) -> None:
        """Statuses and events that cannot be read are set aside; without a last number it goes on with room."""
        store = HistoryStore(self.folder / "history.db", reactor=self.clock, clock=self.clock)
        self.opened(store)
        for number in (1, 2, 3):
            store.observe(Recorded(id=number, time=float(number), event=BootOrdered(mac=MAC)))
        self.settle(store.save_snapshots([NodeStatus(mac=MAC), NodeStatus(mac=OTHER_MAC)]))
        self.settle(store.close())
        self.spoil(
            "history.db",
            "UPDATE snapshots SET payload = 5 WHERE mac = x'" + MAC.octets.hex() + "'",
            "UPDATE events SET payload = '{' WHERE id = 1",
            "UPDATE events SET time = 'noon' WHERE id = 2",
            "UPDATE last SET covered = 0",
        )
        store = HistoryStore(self.folder / "history.db", reactor=self.clock, clock=self.clock, sink=self.events)
        self.opened(store)
        self.assertEqual(store.load_snapshots(), [NodeStatus(mac=OTHER_MAC)])
        self.assertEqual([found.id for found in store.load_uncovered()], [3])
        self.assertEqual([line["table"] for line in self.kept("history.db")], ["snapshots", "events", "events"])
        self.assertEqual([event.records for event in self.events.events], [1, 2])
        self.settle(store.close())
        for statement in ("DELETE FROM last", "UPDATE last SET id = 'x'", "INSERT INTO last (id) VALUES (7)"):
            self.spoil("history.db", statement)
            store = HistoryStore(self.folder / "history.db", reactor=self.clock, clock=self.clock)
            self.opened(store)
            self.assertGreaterEqual(store.last_event_id(), RESERVED_IDS, statement)
            self.settle(store.close())
            (number,) = self.query("history.db", "SELECT id FROM last")
            self.assertGreaterEqual(number[0], 0)

    def test_told(self) -> None:
        """One line in the log, whatever the number of rows: how many, of what, what is wrong, where they are."""
        store = self.store()
        leases = [Lease(address=IPv4Address(n), mac=MAC, state=LeaseState.BOUND, expires=9.0) for n in range(1, 9)]
        self.settle(store.commit(leases))
        self.spoil("state.db", "UPDATE leases SET state = 'nonsense' WHERE address > 1")
        warned = self.logged(LogLevel.warn)
        self.assertEqual(store.load_leases(), leases[:1])
        (line,) = [formatEvent(event) for event in warned]
        self.assertEqual(
            line,
            f"7 records of leases in {self.folder}/state.db cannot be read and do not count ('nonsense' is not a valid "
            f"LeaseState); kept in {self.folder}/state.db.rejected",
        )


WRITER = """
import itertools, os, signal, sys
from ipaddress import IPv4Address
from pathlib import Path
from twisted.internet import reactor
from piman.fleet.model import Lease, LeaseState, MACAddress
from piman.fleet.state.store import StateStore

store = StateStore(Path(sys.argv[1]), reactor=reactor)
store.open()
numbers = itertools.count(1)
answers = itertools.count(1)
last_answer = int(sys.argv[2])

def acknowledge(number):
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    if next(answers) == last_answer:
        os.kill(os.getpid(), signal.SIGKILL)
    commit()

def commit(_=None):
    number = next(numbers)
    lease = Lease(
        address=IPv4Address(number), mac=MACAddress(number.to_bytes(6, "big")), state=LeaseState.BOUND, expires=1e9
    )
    store.commit([lease]).addCallback(lambda _: acknowledge(number))

for _ in range(1000):
    commit()
reactor.run()
"""


class KillTests(_InFolder):
    """The power cord, as far as a process can have one."""

    def writer(self, name: str, last_answer: int = 0) -> "subprocess.Popen[bytes]":
        """A process that commits as fast as it can, and kills itself right after that answer."""
        command = [sys.executable, "-c", WRITER, str(self.folder / name), str(last_answer)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(history.__file__).parents[2])

    def check(self, name: str, writer: "subprocess.Popen[bytes]", answers: list[bytes]) -> None:
        """Every lease that was acknowledged in a whole line is in the file, as it was committed."""
        self.assertEqual(writer.returncode, -signal.SIGKILL)
        acknowledged = {int(line) for line in answers if line.endswith(b"\n")}
        store = self.opened(StateStore(self.folder / name, reactor=self.clock))
        self.assertFalse(store.is_new)
        kept = {int(lease.address): lease.mac for lease in store.load_leases()}
        self.assertEqual(acknowledged - set(kept), set())
        for number in acknowledged:
            self.assertEqual(kept[number], MACAddress(number.to_bytes(6, "big")))

    def test_killed_at_work(self) -> None:
        """Of a writer that is killed in the middle of its work every acknowledged lease is in the file."""
        with self.writer("state.db") as writer:
            assert writer.stdout is not None
            answers = [writer.stdout.readline() for _ in range(3000)]
            writer.send_signal(signal.SIGKILL)
            answers += writer.stdout.readlines()
        self.check("state.db", writer, answers)

    def test_killed_right_after_an_answer(self) -> None:
        """Not even a process that dies with the answer on its lips has acknowledged what is not in the file."""
        for last_answer in (1, 2, 1500):
            name = f"state-{last_answer}.db"
            with self.writer(name, last_answer) as writer:
                assert writer.stdout is not None
                answers = writer.stdout.readlines()
            self.assertEqual(len(answers), last_answer)
            self.check(name, writer, answers)


def recorded(number: int, event: Event | None = None, time: float = 0.0) -> Recorded:
    """An event with this number."""
    return Recorded(id=number, time=time, event=event or BootOrdered(mac=MAC))


class HistoryTests(_InFolder):
    """Events on disk."""

    def store(self, **knobs: Any) -> HistoryStore:
        """Not open yet."""
        return HistoryStore(
            self.folder / "history.db", reactor=self.clock, clock=self.clock, settings=HistorySettings(**knobs)
        )

    def ready(self, **knobs: Any) -> HistoryStore:
        """Open, and done with what it does at the start."""
        store: HistoryStore = self.opened(self.store(**knobs))
        self.quiet(store)
        return store

    def quiet(self, store: HistoryStore) -> None:
        """Wait until what was handed to the writer is written, or has failed."""
        try:
            self.settle(store.database.submit(lambda file: None))
        except StoreFailed:
            pass

    def stored(self) -> list[int]:
        """The numbers of the events in the file."""
        return [number for (number,) in self.query("history.db", "SELECT id FROM events ORDER BY id")]

    def fail_writing(self, store: HistoryStore) -> Callable[[], None]:
        """Let no event in; returns what ends that."""
        refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no entry'); END"
        self.settle(store.database.submit(lambda file: file.execute(refuse) and None))

        def repair() -> None:
            self.settle(store.database.submit(lambda file: file.execute("DROP TRIGGER refuse") and None))

        return repair

    def test_two_clocks(self) -> None:
        """In the file times are the host's; whoever asks is told the process's, and the next process its own."""
        self.clock.advance(1000.0)
        wall = WallTime(self.clock, lambda: self.clock.seconds() + 3600.0)
        store = HistoryStore(self.folder / "history.db", reactor=self.clock, clock=self.clock, wall=wall)
        self.opened(store)
        status = NodeStatus(mac=MAC, since=900.0, last_event_id=1)
        store.observe(recorded(1, time=1000.0))
        self.settle(store.save_snapshots([status]))
        self.assertEqual(self.settle(store.events()), [recorded(1, time=1000.0)])
        self.assertEqual((store.load_snapshots(), store.load_uncovered()), ([status], [recorded(1, time=1000.0)]))
        self.settle(store.close())
        self.assertEqual(self.query("history.db", "SELECT time FROM events"), [(4600.0,)])
        later = HistoryStore(self.folder / "history.db", reactor=self.clock, clock=self.clock)
        self.opened(later)
        self.assertEqual(later.load_snapshots(), [attrs.evolve(status, since=4500.0)])
        self.assertEqual(self.settle(later.events()), [recorded(1, time=4600.0)])

    def test_batches_by_time(self) -> None:
        """Events are written together a moment after the first of them."""
        store = self.ready()
        for number in (1, 2):
            store.observe(recorded(number))
        self.clock.advance(0.24)
        self.quiet(store)
        self.assertEqual(self.stored(), [])
        self.clock.advance(0.01)
        self.quiet(store)
        self.assertEqual(self.stored(), [1, 2])

    def test_batches_by_number(self) -> None:
        """Many events are written without waiting."""
        store = self.ready(batch_events=10)
        for number in range(10):
            store.observe(recorded(number))
        self.clock.advance(0)
        self.quiet(store)
        self.assertEqual(len(self.stored()), 10)

    def test_durable_only(self) -> None:
        """Renewals and their like are not stored."""
        store = self.ready()
        store.observe(recorded(1, LeaseRenewed(mac=MAC, address=ADDRESS, stage=Stage.OS, expires=5.0)))
        store.observe(recorded(2, ClockSet(mac=MAC)))
        store.observe(recorded(3))
        self.assertEqual([item.id for item in self.settle(store.events())], [3])

    @settings(max_examples=20, deadline=None)
    @given(st.lists(any_event(), max_size=20))
    def test_any_events(self, happened: list[Event]) -> None:
        """Whatever happened is read back as it was."""
        path = self.folder / "any" / "history.db"
        shutil.rmtree(path.parent, ignore_errors=True)
        store = HistoryStore(path, reactor=self.clock, clock=self.clock)
        store.open()
        try:
            story = [recorded(number, event, number / 8) for number, event in enumerate(happened, start=1)]
            for item in story:
                store.observe(item)
            self.assertEqual(self.settle(store.events()), [item for item in story if item.event.durable])
        finally:
            self.settle(store.close())

    def test_reading(self) -> None:
        """Events can be asked for by node, kind and number, the first or the last of them: always oldest first."""
        store = self.ready()
        for number in range(1, 9):
            store.observe(recorded(number, NodeRecovered(mac=MAC if number % 2 else OTHER_MAC)))
        store.observe(recorded(9, NodeUp(mac=MAC, evidence="agent")))
        for question, expected in (
            ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
            ({"mac": MAC}, [1, 3, 5, 7, 9]),
            ({"mac": OTHER_MAC, "after": 2}, [4, 6, 8]),
            ({"after": 3, "limit": 2}, [4, 5]),
            ({"after": 3, "limit": 2, "newest": True}, [8, 9]),
            ({"before": 4}, [1, 2, 3]),
            ({"before": 8, "limit": 2, "newest": True}, [6, 7]),
            ({"kinds": ("NodeUp",)}, [9]),
            ({"kinds": ("NodeUp", "NodeRecovered"), "mac": MAC, "after": 5}, [7, 9]),
            ({"kinds": ("x' OR 1",)}, []),
            ({"mac": MACAddress(b"nobody")}, []),
        ):
            found = self.settle(store.events(**question))
            self.assertEqual([item.id for item in found], expected, question)

    def test_between(self) -> None:
        """Events are found by time, both ends included, and by class; of too many the newest."""
        self.clock.advance(1000.0)
        wall = WallTime(self.clock, lambda: self.clock.seconds() + 3600.0)
        store = HistoryStore(self.folder / "history.db", reactor=self.clock, clock=self.clock, wall=wall)
        self.opened(store)
        for number in range(1, 9):
            event = NodeRecovered(mac=MAC) if number % 2 else BootOrdered(mac=MAC)
            store.observe(recorded(number, event, time=1000.0 + number))
        both = ("NodeRecovered", "BootOrdered")
        for start, end, kinds, limit, expected in (
            (1002.0, 1005.0, both, 10, [2, 3, 4, 5]),
            (1002.0, 1005.0, ("NodeRecovered",), 10, [3, 5]),
            (0.0, 9999.0, both, 3, [6, 7, 8]),
            (1009.0, 9999.0, both, 10, []),
            (0.0, 9999.0, ("NodeSilent",), 10, []),
        ):
            found = self.settle(store.events_between(start, end, kinds=kinds, limit=limit))
            self.assertEqual([(item.id, item.time) for item in found], [(each, 1000.0 + each) for each in expected])
        for macs, expected in (([OTHER_MAC], []), ([MAC, OTHER_MAC], [7, 8])):
            found = self.settle(store.events_between(0.0, 9999.0, kinds=both, macs=macs, limit=2))
            self.assertEqual([item.id for item in found], expected)

    def test_foreign_kinds(self) -> None:
        """Events of classes that this piman does not have, or cannot read, are left out."""
        store = self.ready()
        rows = [
            (1, 0.0, None, "Teleported", "{}"),
            (2, 0.0, None, "NodeUp", "{}"),
            (3, 0.0, None, "NodeUp", "nonsense"),
        ]
        self.settle(
            store.database.submit(
                lambda file: file.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows) and None
            )
        )
        store.observe(recorded(4, NodeUp(evidence="agent")))
        self.assertEqual([item.id for item in self.settle(store.events())], [4])

    def test_before_open_and_at_the_end(self) -> None:
        """Events that come before the file is open, or just before it closes, are written; no timer is left."""
        store = self.store()
        store.observe(recorded(1))
        store.open()
        store.observe(recorded(2))
        self.settle(store.close())
        self.assertEqual(self.stored(), [1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        store.observe(recorded(3))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_retried(self) -> None:
        """What could not be written waits, is told once, and is written when that is possible again."""
        store = self.ready()
        warned = self.logged(LogLevel.warn)
        repair = self.fail_writing(store)
        store.observe(recorded(1))
        self.clock.advance(0.25)
        self.quiet(store)
        store.observe(recorded(2))
        self.clock.advance(RETRY_SECONDS)
        self.quiet(store)
        self.assertEqual((self.stored(), len(warned), store.dropped), ([], 1, 0))
        told = self.logged(LogLevel.info)
        repair()
        self.clock.advance(RETRY_SECONDS)
        self.quiet(store)
        self.assertEqual(self.stored(), [1, 2])
        self.assertEqual([formatEvent(event) for event in told], [f"{self.folder}/history.db can be written again"])

    def test_bounded(self) -> None:
        """While the disk fails, only so many events wait; the others are counted and told of."""
        store = self.ready(queue_events=3)
        warned = self.logged(LogLevel.warn)
        repair = self.fail_writing(store)
        for number in range(1, 3):
            store.observe(recorded(number))
        self.clock.advance(0.25)
        self.quiet(store)
        self.clock.advance(100)
        for number in range(3, 8):
            store.observe(recorded(number))
        self.quiet(store)
        self.assertGreater(store.dropped, 0)
        self.assertTrue(warned)
        repair()
        self.clock.advance(100)
        self.quiet(store)
        stored = self.stored()
        self.assertEqual(stored[:2], [1, 2])
        self.assertEqual(len(stored) + store.dropped, 7)

    def test_lost_at_the_end(self) -> None:
        """What cannot be written when the manager ends is counted, and the end comes all the same."""
        store = self.ready()
        self.fail_writing(store)
        store.observe(recorded(1))
        self.settle(store.close())
        self.assertEqual(store.dropped, 1)


class NumberTests(_InFolder):
    """Event numbers across restarts."""

    def store(self, folder: Path) -> HistoryStore:
        """Not open yet."""
        return HistoryStore(folder / "history.db", reactor=self.clock, clock=self.clock)

    def crashed(self, store: HistoryStore) -> HistoryStore:
        """What a process finds after a crash: the files as they are now."""
        self.settle(store.database.submit(lambda file: None))
        copy = Path(self.mktemp())
        shutil.copytree(self.folder, copy)
        return self.opened(self.store(copy))

    def test_none_at_first(self) -> None:
        """Nothing has happened before the first start."""
        store = self.store(self.folder)
        store.open()
        self.settle(store.close())
        again = self.opened(self.store(self.folder))
        self.assertEqual(again.last_event_id(), 0)

    def test_clean_end(self) -> None:
        """After a clean end the numbers go on without a gap, also after events that are not stored."""
        store = self.store(self.folder)
        store.open()
        store.observe(recorded(1))
        store.observe(recorded(2, ClockSet()))
        self.settle(store.close())
        again = self.opened(self.store(self.folder))
        self.settle(again.database.submit(lambda file: None))
        self.assertEqual(again.last_event_id(), 2)

    def test_crash(self) -> None:
        """After a crash no number is given twice, whatever was not written."""
        store = self.opened(self.store(self.folder))
        for number in range(1, 2001):
            store.observe(recorded(number, ClockSet()))
        self.assertGreaterEqual(self.crashed(store).last_event_id(), 2000)

    def test_reserve_is_renewed(self) -> None:
        """Long before the numbers that were set aside run out, more are set aside."""
        store = self.opened(self.store(self.folder))
        self.settle(store.database.submit(lambda file: None))
        newest = RESERVED_IDS - 10
        store.observe(recorded(newest, ClockSet()))
        self.clock.advance(1)
        self.assertGreaterEqual(self.crashed(store).last_event_id(), newest + RESERVED_IDS // 2)

    def test_reserve_fails(self) -> None:
        """When numbers could not be set aside, that is tried again."""
        store = self.store(self.folder)
        store.open()
        self.settle(store.close())
        with closing(sqlite3.connect(self.folder / "history.db")) as file:
            file.execute("CREATE TRIGGER refuse BEFORE UPDATE ON last BEGIN SELECT RAISE(ABORT, 'no entry'); END")
        self.opened(store)
        store.observe(recorded(1, ClockSet()))
        try:
            self.settle(store.database.submit(lambda file: None))
        except StoreFailed:
            pass  # it shares the transaction of the first write, or comes after it
        self.settle(store.database.submit(lambda file: file.execute("DROP TRIGGER refuse") and None))
        self.clock.advance(RETRY_SECONDS)
        self.assertGreaterEqual(self.crashed(store).last_event_id(), RESERVED_IDS)


class SnapshotTests(_InFolder):
    """Statuses on disk."""

    def store(self, **knobs: Any) -> HistoryStore:
        """Not open yet."""
        return HistoryStore(
            self.folder / "history.db", reactor=self.clock, clock=self.clock, settings=HistorySettings(**knobs)
        )

    @settings(max_examples=20, deadline=None)
    @given(st.lists(instances(NodeStatus, last_event_id=st.integers(0, 2**62)), max_size=5, unique_by=lambda s: s.mac))
    def test_round_trip(self, statuses: list[NodeStatus]) -> None:
        """Any statuses come back as they were."""
        shutil.rmtree(self.folder, ignore_errors=True)
        store = self.store()
        store.open()
        try:
            self.settle(store.save_snapshots(statuses))
            self.assertCountEqual(store.load_snapshots(), statuses)
        finally:
            self.settle(store.close())

    def test_latest(self) -> None:
        """One status of each node is kept, the latest; the others stay when only one is saved."""
        store = self.opened(self.store())
        first, other = NodeStatus(mac=MAC, last_event_id=1), NodeStatus(mac=OTHER_MAC, last_event_id=2)
        self.settle(store.save_snapshots([first, other]))
        later = attrs.evolve(first, last_event_id=3, detail="later")
        self.settle(store.save_snapshots([later]))
        self.assertEqual(store.load_snapshots(), [other, later])

    def test_unreadable(self) -> None:
        """A status that cannot be read is left out: the node is unknown, no more."""
        store = self.opened(self.store())
        self.settle(store.save_snapshots([NodeStatus(mac=MAC), NodeStatus(mac=OTHER_MAC)]))
        spoil = "UPDATE snapshots SET payload = '{}' WHERE mac = ?"
        self.settle(store.database.submit(lambda file: file.execute(spoil, (MAC.octets,)) and None))
        self.assertEqual(store.load_snapshots(), [NodeStatus(mac=OTHER_MAC)])

    def test_read_beside_a_manager(self) -> None:
        """Somebody else reads the statuses while the store is open, and after its end; nothing is made or changed."""
        store = self.opened(self.store())
        self.settle(store.save_snapshots([NodeStatus(mac=MAC, model="4B"), NodeStatus(mac=OTHER_MAC)]))
        path = self.folder / "history.db"
        self.assertEqual([status.model for status in statuses_in(path)], ["4B", None])
        self.settle(store.close())
        before = {one.name: one.read_bytes() for one in self.folder.iterdir()}
        self.assertEqual({status.mac for status in statuses_in(path)}, {MAC, OTHER_MAC})
        self.assertEqual({one.name: one.read_bytes() for one in self.folder.iterdir()}, before)

    def test_nothing_to_read(self) -> None:
        """No file, and a file that is none of ours, hold no statuses; no file is made."""
        path = self.folder / "history.db"
        self.assertEqual(statuses_in(path), [])
        self.assertFalse(path.exists())
        path.parent.mkdir()
        path.write_bytes(KIND_OF_GARBAGE)
        self.assertEqual(statuses_in(path), [])

    def test_uncovered(self) -> None:
        """After a kill exactly the events that no snapshot has taken in are found, also of nodes without a snapshot."""
        store = self.opened(self.store())
        for number, mac in ((1, MAC), (2, OTHER_MAC), (3, MAC), (4, OTHER_MAC)):
            store.observe(recorded(number, NodeUp(mac=mac, evidence="agent")))
        store.observe(recorded(5, ManagerStarted(version="1")))
        self.settle(store.events())
        self.settle(store.save_snapshots([NodeStatus(mac=MAC, last_event_id=1)], covered=2))
        self.assertEqual([found.id for found in store.load_uncovered()], [3, 4])

    def test_covered_never_falls_back(self) -> None:
        """A snapshot run that knows of fewer events than an earlier one uncovers nothing."""
        store = self.opened(self.store())
        store.observe(recorded(1, NodeUp(mac=MAC, evidence="agent")))
        self.settle(store.events())
        self.settle(store.save_snapshots([], covered=1))
        self.settle(store.save_snapshots([], covered=0))
        self.assertEqual(store.load_uncovered(), [])

    def test_killed_between_snapshots(self) -> None:
        """A registry that takes the snapshots and then the uncovered events knows what the killed one knew."""
        store = self.opened(self.store())
        before, log = NodeRegistry(), EventLog(self.clock)
        for observer in (before, store):
            log.add_observer(observer)
        log.emit(BootOrdered(mac=MAC))
        self.settle(store.save_snapshots(before.take_changed(), covered=log.last_id))
        log.emit(NodeUp(mac=MAC, evidence="agent"))
        log.emit(BootOrdered(mac=OTHER_MAC))
        self.settle(store.events())
        after = NodeRegistry(statuses=store.load_snapshots())
        for found in store.load_uncovered():
            after.observe(found)
        self.assertEqual(after.statuses(), before.statuses())

    def test_bounded(self) -> None:
        """However many strangers came by, only so many statuses stay: the latest."""
        store = self.store(keep_snapshots=2)
        store.open()
        macs = [MACAddress(bytes(5) + bytes([number])) for number in range(5)]
        self.settle(store.save_snapshots([NodeStatus(mac=mac, last_event_id=mac.octets[5]) for mac in macs]))
        self.settle(store.close())
        again = self.opened(self.store(keep_snapshots=2))
        self.settle(again.database.submit(lambda file: None))
        self.assertEqual([status.mac for status in again.load_snapshots()], macs[3:])


class RetentionTests(_InFolder):
    """What becomes of old events."""

    def kept(self, **knobs: Any) -> list[int]:
        """The numbers that are left of 25,000 events, one a second, after the hourly cleaning."""
        store = self.opened(
            HistoryStore(
                self.folder / "history.db", reactor=self.clock, clock=self.clock, settings=HistorySettings(**knobs)
            )
        )
        for number in range(1, 25_001):
            store.observe(recorded(number, time=float(number)))
        self.settle(store.events(limit=1))
        self.clock.advance(TIDY_SECONDS)
        for _ in range(5):
            self.settle(store.database.submit(lambda file: None))
            self.clock.advance(0)
        return [number for (number,) in self.query("history.db", "SELECT id FROM events ORDER BY id")]

    def test_by_number(self) -> None:
        """Only the newest stay, also when more is to be deleted than goes into one transaction."""
        self.assertEqual(self.kept(keep_events=100), list(range(24_901, 25_001)))

    def test_by_age(self) -> None:
        """What is older than the given days goes."""
        self.clock.advance(86_400 + 10_000)
        self.assertEqual(self.kept(keep_days=1)[0], 10_000 + TIDY_SECONDS)

    def test_nothing_to_do(self) -> None:
        """What is neither too old nor too much stays."""
        self.assertEqual(len(self.kept()), 25_000)
