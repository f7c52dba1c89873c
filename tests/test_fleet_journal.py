"""
The log files and the words in them.
"""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.fleet.events import CATALOGUE, BootOrdered, ClockSet, Event, Recorded
from piman.fleet.model import Node, Stage
from piman.fleet.state import journal
from piman.fleet.state.journal import FLUSH_SECONDS, JournalWriter, Line, describe, json_line, text_line
from piman.fleet.walltime import WallTime
from piman.fleet.wording import LIST_LIMIT, TEXT_LIMIT, WORDING, shown, size
from piman.testing.fakes import MemoryDirectory
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC, any_event

START = 1_777_887_000.25


class DescribeTests(SynchronousTestCase):
    """Events in plain words."""

    def test_every_class_has_its_words(self) -> None:
        """Each class of the catalogue is worded, and nothing else is in the table."""
        self.assertEqual(set(WORDING), set(CATALOGUE))

    @given(any_event())
    def test_total(self, event: Event) -> None:
        """Whatever is in an event, its words are one printable line of a sane length."""
        words = describe(event)
        self.assertTrue(words.isprintable(), repr(words))
        self.assertTrue(0 < len(words) < 20_000)

    def test_words(self) -> None:
        """What an operator reads."""
        for event, words in (
            (events.AddressOffered(mac=MAC, address=ADDRESS, stage=Stage.ROM), "was offered 172.30.4.13 (rom stage)"),
            (
                events.AddressLeased(
                    mac=MAC, address=ADDRESS, stage=Stage.EEPROM, expires=5.0, serial="89eb9bb9", model="4B"
                ),
                "has the address 172.30.4.13 (eeprom stage, Pi 4B, serial 89eb9bb9)",
            ),
            (
                events.BootFilesServed(
                    mac=MAC, files=3, bytes=9_400_000, retransmits=2, missing=("a", "b"), seconds=4.25
                ),
                "loaded 3 boot files, 9.4 MB in 4.2 s, 2 blocks sent again, not there: a, b",
            ),
            (events.AddressHeld(mac=MAC, address=ADDRESS, holder=OTHER_MAC),
             "waits for 172.30.4.13, which b8:27:eb:00:00:02 still holds"),
            (events.InstallerReported(mac=MAC, text="unpacking", fraction=0.5), "installer: unpacking (50%)"),
            (events.InstallerReported(mac=MAC, text="no card"), "installer: no card"),
            (events.AddressRefused(mac=MAC, address=ADDRESS, reason=""), "was refused 172.30.4.13"),
            (events.NodeUp(mac=MAC, evidence="address"), "is up: its system asked for its address"),
            (events.NodeUp(mac=MAC, evidence="console"), "is up (console)"),
            (events.ConfigurationReloaded(nodes=3), "configuration read again: 3 nodes"),
            (
                events.ConfigurationReloaded(nodes=3, warnings=("line 4",)),
                "configuration read again: 3 nodes, 1 warning: line 4",
            ),
        ):  # fmt: skip
            self.assertEqual(describe(event), words)

    def test_escaped(self) -> None:
        """What a board sends cannot draw on the terminal nor break a line; other scripts stay readable."""
        event = events.LoadingStarted(mac=MAC, name="\x1b[2J\n\u202egnp.exe\x00 b\u00fccher \udc80")
        self.assertEqual(
            describe(event), "loads its boot files, first \\x1b[2J\\n\\u202egnp.exe\\x00 b\u00fccher \\udc80"
        )

    def test_bounded(self) -> None:
        """Long texts and long lists are cut, and say so."""
        self.assertEqual(shown("x" * 1000), "x" * (TEXT_LIMIT - 3) + "...")
        self.assertEqual(shown(("n",) * (LIST_LIMIT + 2)), "n, n, n, n, n and 2 more")

    def test_sizes(self) -> None:
        """Sizes are told in the unit that fits."""
        self.assertEqual([size(512), size(52_000), size(3_210_000_000)], ["512 bytes", "0.1 MB", "3.21 GB"])

    def test_foreign_class(self) -> None:
        """An event of a plugin's class is shown by its name."""

        class PluginEvent(Event):
            pass

        self.assertTrue(describe(PluginEvent()).startswith("PluginEvent "))


class LineTests(SynchronousTestCase):
    """One event in each of the two files."""

    def test_text(self) -> None:
        """Local time, number, node and what happened."""
        line = Line(Recorded(id=7, time=START, event=BootOrdered(mac=MAC)), "pi13")
        local = datetime.fromtimestamp(START).strftime("%Y-%m-%d %H:%M:%S.250")
        self.assertEqual(text_line(line), f"{local} #7 pi13 b8:27:eb:00:00:01 was told to boot its card\n")

    def test_text_without_name(self) -> None:
        """A board without a hostname is shown once, an event about no node without any."""
        for mac, name, about in ((MAC, str(MAC), f"{MAC} "), (MAC, "", f"{MAC} "), (None, "", "")):
            line = text_line(Line(Recorded(id=7, time=START, event=BootOrdered(mac=mac)), name))
            self.assertIn(f"#7 {about}was told", line)

    def test_json(self) -> None:
        """All fields of the event, its class, its number, its time, its node's name."""
        event = events.AddressOffered(mac=MAC, address=ADDRESS, stage=Stage.ROM)
        self.assertEqual(
            json.loads(json_line(Line(Recorded(id=7, time=START, event=event), "pi13"))),
            {"id": 7, "time": START, "kind": "AddressOffered", "node": "pi13", "mac": str(MAC), "address": str(ADDRESS),
             "stage": "rom", "serial": None, "model": None},
        )  # fmt: skip

    @given(any_event())
    def test_one_line_each(self, event: Event) -> None:
        """Whatever is in an event, it is one line in either file, and the JSON can be read."""
        line = Line(Recorded(id=7, time=START, event=event), "pi13")
        self.assertEqual(len(text_line(line).splitlines()), 1)
        self.assertEqual(json_line(line).count("\n"), 1)
        self.assertEqual(json.loads(json_line(line))["kind"], type(event).__name__)


class WriterTests(SynchronousTestCase):
    """The files of a run."""

    def setUp(self) -> None:
        """A writer whose thread is at once."""
        self.clock = Clock()
        self.clock.advance(START)
        self.folder = Path(self.mktemp()) / "logs"
        self.held: list[tuple[Callable[[], int], Deferred[int]]] | None = None
        self.number = 0
        self.writer = self.make()

    def make(self) -> JournalWriter:
        """A writer, writing."""
        nodes = MemoryDirectory([Node(mac=MAC, hostname="pi13")])
        writer = JournalWriter(self.clock, self.folder, in_thread=self.in_thread, nodes=nodes)
        writer.open()
        return writer

    def in_thread(self, work: Callable[[], int]) -> "Deferred[int]":
        """Run it now, or keep it when threads are slow."""
        if self.held is None:
            return execute(work)
        done: Deferred[int] = Deferred()
        self.held.append((work, done))
        return done

    def happen(self, event: Event | None = None) -> None:
        """Tell the writer."""
        self.number += 1
        self.writer.observe(Recorded(id=self.number, time=self.clock.seconds(), event=event or BootOrdered(mac=MAC)))

    def tick(self) -> None:
        """A second passes."""
        self.clock.advance(FLUSH_SECONDS)

    @property
    def stem(self) -> str:
        """The name of the file of this start."""
        return datetime.fromtimestamp(START + 1).strftime("%Y-%m-%d_%H:%M")

    def text(self) -> list[str]:
        """The lines for people, without their times."""
        return [line.split(" ", 2)[-1] for line in (self.folder / f"{self.stem}.log").read_text().splitlines()]

    def ids(self) -> list[int]:
        """The numbers in the lines for programs; a torn line would not be read."""
        lines = (self.folder / f"{self.stem}.jsonl").read_text().splitlines()
        return [json.loads(line)["id"] for line in lines if line]

    def warnings(self) -> list[Any]:
        """Where warnings will appear."""
        return self.logged(LogLevel.warn)

    def logged(self, level: Any) -> list[Any]:
        """Where lines of this level will appear."""
        seen: list[Any] = []

        def observer(event: Any) -> None:
            if event["log_level"] is level:
                seen.append(event)

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return seen

    def test_two_clocks(self) -> None:
        """Names of files and times of events are the host's, those of an event as they were when it happened."""
        ahead = [7200.0]
        wall = WallTime(self.clock, lambda: self.clock.seconds() + ahead[0])
        self.writer = JournalWriter(self.clock, self.folder, in_thread=self.in_thread, wall=wall)
        self.writer.open()
        self.happen()
        ahead[0] = 3600.0
        self.happen()
        self.tick()
        [path] = self.folder.glob("*.jsonl")
        self.assertEqual(path.stem, datetime.fromtimestamp(START + 3601).strftime("%Y-%m-%d_%H:%M"))
        times = [json.loads(line)["time"] for line in path.read_text().splitlines()]
        self.assertEqual(times, [START + 7200.0, START + 3600.0])

    def test_files(self) -> None:
        """Both files lie in a folder that was made, named by the local time of the start, and hold the same events."""
        self.happen()
        self.happen(events.ManagerStarted(version="2.0"))
        self.tick()
        self.assertEqual({path.name for path in self.folder.iterdir()}, {f"{self.stem}.log", f"{self.stem}.jsonl"})
        self.assertEqual(self.text(), ["#1 pi13 b8:27:eb:00:00:01 was told to boot its card", "#2 piman 2.0 started"])
        self.assertEqual(self.ids(), [1, 2])

    def test_batched(self) -> None:
        """Nothing is written before the second is over, and nothing at all when nothing happens."""
        self.happen()
        self.assertFalse(self.folder.exists())
        self.tick()
        before = (self.folder / f"{self.stem}.log").stat().st_mtime_ns
        self.tick()
        self.assertEqual((self.folder / f"{self.stem}.log").stat().st_mtime_ns, before)

    def test_one_file_a_start(self) -> None:
        """A run keeps its file, however long it lasts."""
        for _ in range(3):
            self.happen()
            self.tick()
            self.clock.pump([1] * 100)
        self.assertEqual(self.ids(), [1, 2, 3])

    def test_started_twice_in_a_minute(self) -> None:
        """Each start has files of its own: later ones of the same minute are numbered from 2 on."""
        for _ in range(3):
            self.happen()
            self.tick()
            self.successResultOf(self.writer.close())
            self.writer = self.make()
        self.assertEqual(self.ids(), [1])
        names = {f"{self.stem}{number}{suffix}" for number in ("", "_2", "_3") for suffix in (".log", ".jsonl")}
        self.assertEqual({path.name for path in self.folder.iterdir()}, names)
        (line,) = (self.folder / f"{self.stem}_3.jsonl").read_text().splitlines()
        self.assertEqual(json.loads(line)["id"], 3)

    def test_durable_only(self) -> None:
        """Trifles are not written."""
        self.happen(ClockSet(mac=MAC))
        self.happen()
        self.tick()
        self.assertEqual(self.ids(), [2])

    def test_close(self) -> None:
        """The rest is written at the end, and no timer is left."""
        self.happen()
        self.successResultOf(self.writer.close())
        self.assertEqual(self.ids(), [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_while_writing(self) -> None:
        """The end waits for the thread, and then writes what came meanwhile."""
        self.held = []
        self.happen()
        self.tick()
        self.happen()
        closed = self.writer.close()
        self.assertNoResult(closed)
        ((work, done),), self.held = self.held, None
        done.callback(work())
        self.successResultOf(closed)
        self.assertEqual(self.ids(), [1, 2])

    def test_never_opened(self) -> None:
        """A writer that never began still writes what it was told, when it ends."""
        writer = JournalWriter(self.clock, self.folder, in_thread=self.in_thread)
        writer.observe(Recorded(id=1, time=START, event=BootOrdered(mac=MAC)))
        self.successResultOf(writer.close())
        self.assertEqual(len(list(self.folder.iterdir())), 2)

    def test_trouble(self) -> None:
        """When the files cannot be written nobody is hurt, it is told once, and the gap is named afterwards."""
        warned = self.warnings()
        self.folder.parent.mkdir(exist_ok=True)
        self.folder.write_text("a file is in the way")
        for _ in range(3):
            self.happen()
            self.tick()
        self.assertEqual(len(warned), 1)
        told = self.logged(LogLevel.info)
        self.folder.unlink()
        self.happen()
        self.tick()
        self.happen()
        self.tick()
        lines = (self.folder / f"{self.stem}.log").read_text().splitlines()
        self.assertIn("3 events are missing here: ", lines[1])
        again = f"the log files in {self.folder} can be written again"
        self.assertEqual([formatEvent(event) for event in told], [again])
        self.assertEqual((len(lines), self.ids()), (4, [4, 5]))

    def test_torn_line(self) -> None:
        """A line that a full disk cut short does not spoil the line after it."""
        self.happen()
        self.tick()
        self.warnings()
        self.held = []
        self.happen()
        self.tick()
        ((_, done),), self.held = self.held, None
        with open(self.folder / f"{self.stem}.jsonl", "a") as file:
            file.write('{"id": 2, "ti')
        done.errback(OSError(28, "No space left on device"))
        self.happen()
        self.tick()
        lines = (self.folder / f"{self.stem}.jsonl").read_text().splitlines()
        self.assertEqual([json.loads(line)["id"] for line in lines if line and not line.endswith("ti")], [1, 3])

    def test_full_device(self) -> None:
        """A device without space raises OSError from the write, which is what the writer survives."""
        if not Path("/dev/full").exists():
            self.skipTest("no /dev/full here")
        self.assertRaises(OSError, journal._append, "/dev/full", "text")

    def test_bounded(self) -> None:
        """While a write takes its time, only so many events wait; what exceeds that is counted."""
        self.warnings()
        self.held = []
        self.happen()
        self.tick()
        for _ in range(journal.QUEUE_EVENTS + 5):
            self.happen()
        ((work, done),), self.held = self.held, None
        done.callback(work())
        self.tick()
        lines = (self.folder / f"{self.stem}.log").read_text().splitlines()
        self.assertEqual(lines[1:3], ["", "5 events are missing here: the disk is too slow"])
        self.assertEqual(len(self.ids()), journal.QUEUE_EVENTS + 1)

    def test_large_file(self) -> None:
        """A file that has grown large is followed by a new one."""
        self.happen()
        self.tick()
        with open(self.folder / f"{self.stem}.log", "ab") as file:
            file.truncate(journal.FILE_BYTES)
        self.happen()
        self.tick()
        self.clock.advance(59)
        self.happen()
        self.tick()
        self.assertEqual(len(list(self.folder.iterdir())), 4)
        self.assertEqual(self.ids(), [1, 2])
