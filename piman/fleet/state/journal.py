# -*- test-case-name: tests.test_fleet_journal -*-
"""
The log files of a run: one line a durable event, in plain words and, beside it, as JSON.

``2026-05-04_09:30.log`` is for people, ``2026-05-04_09:30.jsonl`` for programs; times are local, as in the file
name.  A second start within the minute writes ``2026-05-04_09:30_2.log``.  Formatting and writing happen once a second
in a thread, and never raise into the event log: what a full disk does not take is lost, counted, and told in the file
when it can be written again.
"""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from piman.fleet.events import Recorded
from piman.fleet.interfaces import IEventObserver, INodeDirectory
from piman.fleet.state.records import as_plain, to_json
from piman.fleet.walltime import WallTime
from piman.fleet.wording import describe

__all__ = ["FILE_NAME", "JournalWriter", "describe", "json_line", "text_line"]

FILE_NAME = "%Y-%m-%d_%H:%M"
"""As the original program named its files."""

SUFFIXES = ".log", ".jsonl"

FLUSH_SECONDS = 1.0

QUEUE_EVENTS = 50_000
"""Events that wait in memory while a write takes its time; more are dropped and counted."""

FILE_BYTES = 64 * 1024 * 1024
"""A text file that has grown beyond this is followed by a new one, so that old ones can be deleted."""

QUIET_SECONDS = 60.0
"""Trouble with the files is logged at most once in this time."""

InThread = Callable[[Callable[[], int]], "Deferred[int]"]
"""Runs a function in a thread: ``partial(deferToThreadPool, reactor, reactor.getThreadPool())``."""


@attrs.frozen
class Line:
    """An event, in the host's time, and the name that its node had when it happened."""

    recorded: Recorded
    name: str


def text_line(line: Line) -> str:
    """``2026-05-04 09:30:01.250 #7 pi13 b8:27:eb:00:00:0d was offered 172.30.4.13 (rom stage)``."""
    recorded = line.recorded
    moment = datetime.fromtimestamp(recorded.time).isoformat(sep=" ", timespec="milliseconds")
    mac = recorded.event.mac
    about = "" if mac is None else f"{mac} " if line.name in ("", str(mac)) else f"{line.name} {mac} "
    return f"{moment} #{recorded.id} {about}{describe(recorded.event)}\n"


def json_line(line: Line) -> str:
    """The event with all of its fields, its class as ``kind``."""
    recorded = line.recorded
    kind = type(recorded.event).__name__
    head = {"id": recorded.id, "time": recorded.time, "kind": kind, "node": line.name}
    return to_json({**head, **as_plain(recorded.event)}) + "\n"


def append(stem: str, lines: Sequence[Line], missing: str) -> int:
    """
    Add the lines to both files; returns how large the one for people is.

    :param missing: when the write before this one failed, what to say of it: it may have ended within a line.
    :raises OSError: when the disk does not take them.
    """
    torn = "\n" if missing else ""
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    _append(f"{stem}.jsonl", torn + "".join(map(json_line, lines)))
    return _append(f"{stem}.log", torn + missing + "".join(map(text_line, lines)))


def _append(path: str, text: str) -> int:
    with open(path, "ab") as file:
        file.write(text.encode("utf-8", "backslashreplace"))
        return file.tell()


@implementer(IEventObserver)
class JournalWriter:
    """
    Writes the files of one run.

    :param in_thread: how to run what may wait for the disk.
    :param nodes: gives nodes their names; None: MACs alone.
    :param wall: the times in the files and in their names; the clock's unless given.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        folder: Path,
        *,
        in_thread: InThread,
        nodes: INodeDirectory | None = None,
        wall: WallTime | None = None,
    ) -> None:
        self._clock = clock
        self._wall = wall or WallTime(clock)
        self._folder = folder
        self._in_thread = in_thread
        self._nodes = nodes
        self._waiting: list[Line] = []
        self._stem = ""
        self._lost = 0
        self._reason = ""
        self._warned = float("-inf")
        self._ended: Deferred[LoopingCall] | None = None
        self._loop = LoopingCall(self._flush)
        self._loop.clock = clock

    def open(self) -> None:
        """Begin to write each second; the files begin with the first event."""
        self._ended = self._loop.start(FLUSH_SECONDS, now=False)

    def close(self) -> "Deferred[None]":
        """Write the rest; fires when it is done."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._ended is not None and self._loop.running:
            self._loop.stop()
            await self._ended
        await self._flush()

    def observe(self, recorded: Recorded) -> None:
        """Take the event if it is durable."""
        if not recorded.event.durable:
            return
        if len(self._waiting) < QUEUE_EVENTS:
            self._waiting.append(Line(self._wall.to_wall(recorded), self._name(recorded)))
        else:
            self._lose(1, "the disk is too slow")

    def _name(self, recorded: Recorded) -> str:
        mac = recorded.event.mac
        node = self._nodes.node(mac) if self._nodes is not None and mac is not None else None
        return node.name if node is not None else ""

    def _flush(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        self._stem = self._stem or self._new_stem()
        lost, missing = self._lost, self._missing()
        try:
            size = await self._in_thread(partial(append, self._stem, lines, missing))
        except Exception as reason:
            self._lose(len(lines), str(reason))
            return
        self._lost -= lost
        if lost:
            self._log.info("the log files in {folder} can be written again", folder=str(self._folder))
        if size > FILE_BYTES:
            self._stem = ""

    def _new_stem(self) -> str:
        """The minute, and which file of that minute it is, from the second one on."""
        wanted = str(self._folder / datetime.fromtimestamp(self._wall.now()).strftime(FILE_NAME))
        names = (wanted if number == 1 else f"{wanted}_{number}" for number in count(1))
        return next(name for name in names if not any(os.path.lexists(f"{name}{suffix}") for suffix in SUFFIXES))

    def _missing(self) -> str:
        return f"{self._lost} events are missing here: {self._reason}\n" if self._lost else ""

    def _lose(self, count: int, reason: str) -> None:
        self._lost += count
        self._reason = reason
        now = self._clock.seconds()
        if now >= self._warned + QUIET_SECONDS:
            self._warned = now
            self._log.warn(
                "{lost} events are missing in the log files in {folder}: {reason}",
                lost=self._lost,
                folder=str(self._folder),
                reason=reason,
            )
