# -*- test-case-name: tests.test_monitor_sampling -*-
"""
Takes readings of the machine it runs on, at its own pace: who asks gets the latest one from memory.

What may hang is measured in threads: the root file system when its card dies, the firmware.  Such a thread cannot be
stopped, so there is never more than one of a kind; what it should have told is missing meanwhile.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import attrs
import psutil
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from piman.monitor import board
from piman.monitor.readings import Card, Reading

SAMPLE_SECONDS = 10.0
"""Between two samples; the processor's load is that of the time between them."""

STALE_SECONDS = 30.0
"""What a thread measured longer ago is told no more."""

PROCESSOR_SENSORS = ("cpu_thermal", "cpu-thermal", "soc_thermal", "coretemp", "k10temp")
"""Names of the processor's sensor, a Raspberry Pi's first."""

T = TypeVar("T")
InThread = Callable[[Callable[[], T]], "Deferred[T]"]


class System(Protocol):
    """What is needed of psutil."""

    def cpu_times(self) -> Any:
        """Seconds that the processors have spent on this and that since the start."""

    def virtual_memory(self) -> Any:
        """Memory; ``.percent`` in use."""

    def disk_usage(self, path: str) -> Any:
        """A file system; ``.percent`` in use."""

    def pids(self) -> Sequence[int]:
        """Processes."""


def temperature(system: Any) -> float | None:
    """The processor's temperature; None where the board does not tell."""
    try:
        sensors: Mapping[str, Sequence[Any]] = system.sensors_temperatures()
    except (AttributeError, OSError):
        return None
    for name in (*PROCESSOR_SENSORS, *sensors):
        if sensors.get(name):
            return float(sensors[name][0].current)
    return None


# Load


@attrs.frozen
class ProcessorTime:
    """Seconds of all processors since the start."""

    all: float = 0.0
    idle: float = 0.0

    @classmethod
    def of(cls, system: System) -> "ProcessorTime":
        """As the kernel counts it: the time of guests is in ``user`` and ``nice`` already (proc(5), /proc/stat)."""
        times = system.cpu_times()._asdict()
        every = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
        return cls(every, times["idle"] + times.get("iowait", 0.0))


def load_percent(before: ProcessorTime, after: ProcessorTime) -> float | None:
    """How busy the processors were between two moments; None when no time has passed."""
    spent = after.all - before.all
    if spent <= 0:
        return None
    busy = spent - (after.idle - before.idle)
    return round(min(max(100.0 * busy / spent, 0.0), 100.0), 1)


# Threads


def in_daemon_thread(reactor: IReactorFromThreads) -> "InThread[Any]":
    """
    Runs functions in threads of their own, which do not keep the process from ending.

    The reactor's own threads would: it waits for them at its end, and who waits for a dead card waits for ever.
    """

    def run(function: Callable[[], T]) -> "Deferred[T]":
        done: Deferred[T] = Deferred()

        def work() -> None:
            try:
                reactor.callFromThread(done.callback, function())
            except BaseException:
                reactor.callFromThread(done.errback, Failure())

        threading.Thread(target=work, name="sample", daemon=True).start()
        return done

    return run


class Watch(Generic[T]):
    """What one function measures in a thread, again and again, and its latest result."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, measure: Callable[[], T], run: "InThread[T]") -> None:
        self._clock = clock
        self._measure = measure
        self._run = run
        self._begun: float | None = None
        self._latest: tuple[float, T] | None = None
        self._is_failing = False

    def look(self) -> None:
        """Measure, unless the last time has not ended yet."""
        if self._begun is None:
            self._begun = self._clock.seconds()
            self._run(self._measure).addCallbacks(self._measured, self._failed)

    def _measured(self, result: T) -> None:
        self._begun = None
        self._is_failing = False
        self._latest = (self._clock.seconds(), result)

    def _failed(self, failure: Failure) -> None:
        """Said once: a line every ten seconds would wear the card."""
        self._begun = None
        if not self._is_failing:
            self._log.warn("cannot measure: {reason}", reason=failure.value)
        self._is_failing = True

    def latest(self) -> T | None:
        """What was measured last, if it is not too old."""
        if self._latest is None or self._clock.seconds() - self._latest[0] > STALE_SECONDS:
            return None
        return self._latest[1]

    def stalled_seconds(self) -> float | None:
        """For how long the function has not come back, once that is longer than it may be."""
        if self._begun is None:
            return None
        seconds = self._clock.seconds() - self._begun
        return seconds if seconds > STALE_SECONDS else None


# The sampler


@attrs.frozen(kw_only=True)
class Disk:
    """What the card itself is asked."""

    percent: float
    image_digest: str | None


@attrs.frozen(kw_only=True)
class Board:
    """What kernel and firmware are asked."""

    temp: float | None
    power: board.Power
    root: board.RootFileSystem
    card: Card | None


def look_at_disk(system: System = psutil) -> Disk:
    """The root file system; waits for the card."""
    return Disk(percent=system.disk_usage("/").percent, image_digest=board.image_digest())


def look_at_board(system: System = psutil) -> Board:
    """Sensors and counters; waits for the firmware."""
    return Board(temp=temperature(system), power=board.power(), root=board.root_file_system(), card=board.card())


class Sampler:
    """
    Takes readings.

    :param wall: the host's time, seconds since 1970.
    :param disk: see :func:`look_at_disk`; :param look: see :func:`look_at_board`; both run by ``run``.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        wall: Callable[[], float],
        run: "InThread[Any]",
        system: System = psutil,
        disk: Callable[[], Disk] = look_at_disk,
        look: Callable[[], Board] = look_at_board,
        uptime: Callable[[], float | None] = board.uptime_seconds,
    ) -> None:
        self._system = system
        self._wall = wall
        self._uptime = uptime
        self._disk = Watch(clock, disk, run)
        self._board = Watch(clock, look, run)
        self._processors = ProcessorTime()
        self._quick = Reading()

    def sample(self) -> None:
        """Measure what never waits, and begin to measure what may."""
        processors = ProcessorTime.of(self._system)
        load = load_percent(self._processors, processors)
        self._processors = processors
        self._quick = Reading(
            time=self._wall(),
            cpu_percent=load,
            memory_percent=self._system.virtual_memory().percent,
            num_pids=len(self._system.pids()),
            uptime_seconds=self._uptime(),
        )
        self._disk.look()
        self._board.look()

    def reading(self) -> Reading:
        """The latest sample, with what the threads have found last."""
        disk, found = self._disk.latest(), self._board.latest()
        return attrs.evolve(
            self._quick,
            disk_percent=disk and disk.percent,
            image_digest=disk and disk.image_digest,
            disk_stalled_seconds=self._disk.stalled_seconds(),
            temp=found and found.temp,
            throttled=found and found.power.throttled,
            under_voltage=found and found.power.under_voltage,
            root_read_only=found and found.root.is_read_only,
            root_errors=found and found.root.errors,
            card=found and found.card,
        )


class SamplerService(Service):
    """Takes a sample every :data:`SAMPLE_SECONDS`, the first one at once."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, sampler: Sampler) -> None:
        self._sampler = sampler
        self._is_failing = False
        self._loop = LoopingCall(self._sample)
        self._loop.clock = clock

    def _sample(self) -> None:
        """A LoopingCall stops for good after one error, so there is none; and one of a row is said."""
        try:
            self._sampler.sample()
        except Exception:
            if not self._is_failing:
                self._log.failure("cannot take a sample")
            self._is_failing = True
        else:
            self._is_failing = False

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._loop.start(SAMPLE_SECONDS)

    def stopService(self) -> None:
        """Sample no more."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
