"""
Tests for :mod:`piman.monitor.sampling`.
"""

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import psutil
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from piman.monitor.board import Power, RootFileSystem
from piman.monitor.readings import Card, Reading
from piman.monitor.sampling import (
    SAMPLE_SECONDS,
    STALE_SECONDS,
    Board,
    Disk,
    ProcessorTime,
    Sampler,
    SamplerService,
    in_daemon_thread,
    load_percent,
    temperature,
)

DISK = Disk(percent=63.0, image_digest="ab" * 32)
BOARD = Board(
    temp=51.5,
    power=Power(throttled=0x50005, under_voltage=True),
    root=RootFileSystem(is_read_only=False, errors=0),
    card=Card(type="SD", name="SD16G"),
)


class FakeSystem:
    """A machine whose processors have spent what the test says."""

    def __init__(self) -> None:
        self.times = {"user": 10.0, "system": 10.0, "idle": 70.0, "iowait": 10.0, "guest": 5.0}

    def cpu_times(self) -> Any:
        """As psutil shows them: guest is a part of user."""
        return SimpleNamespace(_asdict=lambda: self.times)

    def spend(self, **seconds: float) -> None:
        """Time passes."""
        self.times = {name: before + seconds.get(name, 0.0) for name, before in self.times.items()}

    def virtual_memory(self) -> Any:
        """40 per cent."""
        return SimpleNamespace(percent=40.0)

    def disk_usage(self, path: str) -> Any:
        """The disk is no concern of the fast part."""
        raise AssertionError(path)

    def pids(self) -> Sequence[int]:
        """Three processes."""
        return [1, 2, 30]


class Threads:
    """Runs at once; or keeps waiting what is said to hang."""

    def __init__(self) -> None:
        self.hanging: set[Callable[[], Any]] = set()
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.ran: list[Callable[[], Any]] = []

    def __call__(self, function: Callable[[], Any]) -> "Deferred[Any]":
        self.ran.append(function)
        if function not in self.hanging:
            return maybeDeferred(function)
        done: Deferred[Any] = Deferred()
        self.waiting.append((function, done))
        return done

    def release(self) -> None:
        """What hung comes back."""
        waiting, self.waiting, self.hanging = self.waiting, [], set()
        for function, done in waiting:
            maybeDeferred(function).chainDeferred(done)


def disk() -> Disk:
    """The disk."""
    return DISK


def look() -> Board:
    """Sensors and counters."""
    return BOARD


def broken() -> Any:
    """A measurement that fails."""
    raise OSError("no such thing")


class SamplerTests(SynchronousTestCase):
    """Readings of the machine."""

    def setUp(self) -> None:
        """A machine at a known time."""
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.system = FakeSystem()
        self.threads = Threads()

    def sampler(self, **measures: Any) -> Sampler:
        """A sampler of the machine, whose host's clock is five hundred million seconds ahead."""
        measures = {"disk": disk, "look": look, **measures}
        return Sampler(
            self.clock,
            wall=lambda: self.clock.seconds() + 5e8,
            run=self.threads,
            system=self.system,
            uptime=lambda: 350735.47,
            **measures,
        )

    def test_values(self) -> None:
        """Each value comes from where it should; the time is the host's."""
        sampler = self.sampler()
        sampler.sample()
        expected = Reading(
            time=500001000.0,
            cpu_percent=20.0,
            memory_percent=40.0,
            disk_percent=63.0,
            num_pids=3,
            temp=51.5,
            uptime_seconds=350735.47,
            image_digest="ab" * 32,
            throttled=0x50005,
            under_voltage=True,
            root_read_only=False,
            root_errors=0,
            card=Card(type="SD", name="SD16G"),
        )
        self.assertEqual(sampler.reading(), expected)

    def test_load(self) -> None:
        """The first load is that since the boot, each further one that since the last sample."""
        sampler = self.sampler()
        sampler.sample()
        self.system.spend(user=3.0, idle=6.0, iowait=1.0)
        sampler.sample()
        self.assertEqual(sampler.reading().cpu_percent, 30.0)

    def test_asking(self) -> None:
        """Asking measures nothing, however often."""
        sampler = self.sampler()
        sampler.sample()
        for _ in range(100):
            sampler.reading()
        self.assertEqual(self.threads.ran, [disk, look])

    def test_hung_disk(self) -> None:
        """A disk that hangs is one thread, costs only what it should have told, and is told after a while."""
        sampler = self.sampler()
        sampler.sample()
        self.threads.hanging = {disk}
        while self.clock.seconds() < 1000.0 + 2 * STALE_SECONDS:
            self.clock.advance(SAMPLE_SECONDS)
            sampler.sample()
        reading = sampler.reading()
        self.assertEqual((reading.disk_percent, reading.image_digest), (None, None))
        self.assertEqual(reading.disk_stalled_seconds, 2 * STALE_SECONDS - SAMPLE_SECONDS)
        self.assertEqual((reading.memory_percent, reading.temp), (40.0, 51.5))
        self.assertEqual(len(self.threads.waiting), 1)

    def test_disk_is_back(self) -> None:
        """When the disk answers again, so does the agent."""
        self.threads.hanging = {disk}
        sampler = self.sampler()
        sampler.sample()
        self.clock.advance(10 * STALE_SECONDS)
        self.threads.release()
        reading = sampler.reading()
        self.assertEqual((reading.disk_percent, reading.disk_stalled_seconds), (63.0, None))
        sampler.sample()
        self.assertEqual(self.threads.ran.count(disk), 2)

    def test_slow_disk(self) -> None:
        """A disk that is only slow is not told as hanging, and what it said last counts meanwhile."""
        sampler = self.sampler()
        sampler.sample()
        self.threads.hanging = {disk}
        self.clock.advance(SAMPLE_SECONDS)
        sampler.sample()
        reading = sampler.reading()
        self.assertEqual((reading.disk_percent, reading.disk_stalled_seconds), (63.0, None))

    def test_failure(self) -> None:
        """What cannot be measured is missing, which is logged once; the rest is told, and it is tried again."""
        lines: list[LogEvent] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        sampler = self.sampler(disk=broken)
        sampler.sample()
        sampler.sample()
        self.assertEqual([formatEvent(line) for line in lines], ["cannot measure: no such thing"])
        self.assertEqual((sampler.reading().disk_percent, sampler.reading().temp), (None, 51.5))
        self.assertEqual(self.threads.ran.count(broken), 2)

    def test_service(self) -> None:
        """Samples are taken at once and every ten seconds, also after one that failed, until the end."""
        sampler = self.sampler()
        service = SamplerService(self.clock, sampler)
        service.startService()
        self.assertEqual(sampler.reading().time, 500001000.0)
        pids, self.system.pids = self.system.pids, broken  # type: ignore[method-assign]
        self.clock.pump([SAMPLE_SECONDS] * 5)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1, "said once")
        self.system.pids = pids  # type: ignore[method-assign]
        self.clock.advance(SAMPLE_SECONDS)
        self.assertEqual(sampler.reading().time, 500001000.0 + 6 * SAMPLE_SECONDS)
        service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LoadTests(SynchronousTestCase):
    """The load between two moments."""

    def test_bounds(self) -> None:
        """It is between 0 and 100, also when the kernel's counters step back; without time there is none."""
        for before, after, expected in (
            ((0.0, 0.0), (100.0, 100.0), 0.0),
            ((0.0, 0.0), (100.0, 0.0), 100.0),
            ((100.0, 50.0), (110.0, 45.0), 100.0),
            ((100.0, 50.0), (110.0, 65.0), 0.0),
            ((100.0, 50.0), (100.0, 50.0), None),
            ((100.0, 50.0), (90.0, 40.0), None),
        ):
            self.assertEqual(load_percent(ProcessorTime(*before), ProcessorTime(*after)), expected)

    def test_this_machine(self) -> None:
        """The counters are those of /proc/stat's first line: in clock ticks, as proc(5) describes it."""
        first = ProcessorTime.of(psutil)
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        second = ProcessorTime.of(psutil)
        self.assertTrue(first.all <= sum(ticks) / 100 + 0.1 and sum(ticks) / 100 <= second.all + 0.1, (first, ticks))


class TemperatureTests(SynchronousTestCase):
    """The processor's temperature."""

    def test_pi(self) -> None:
        """As psutil shows a Pi: the processor, and other sensors beside it."""
        sensors = {"rp1_adc": [SimpleNamespace(current=60.0)], "cpu_thermal": [SimpleNamespace(current=51.5)]}
        self.assertEqual(temperature(SimpleNamespace(sensors_temperatures=lambda: sensors)), 51.5)

    def test_other_sensor(self) -> None:
        """Where no sensor has a known name, the first one that tells anything counts."""
        sensors = {"a": [], "b": [SimpleNamespace(current=33.0)]}
        self.assertEqual(temperature(SimpleNamespace(sensors_temperatures=lambda: sensors)), 33.0)

    def test_no_sensors(self) -> None:
        """A board without sensors, or a platform without the call, has no temperature."""
        self.assertIsNone(temperature(SimpleNamespace()))
        self.assertIsNone(temperature(SimpleNamespace(sensors_temperatures=dict)))


class ThreadTests(TestCase):
    """Threads of the real reactor."""

    def test_result(self) -> "Deferred[None]":
        """The function runs in a thread that keeps no process alive, and its result comes back in the reactor's."""
        here = threading.current_thread()

        def measure() -> tuple[bool, bool]:
            return threading.current_thread() is here, threading.current_thread().daemon

        def check(result: tuple[bool, bool]) -> None:
            self.assertEqual(result, (False, True))
            self.assertIs(threading.current_thread(), here)

        return in_daemon_thread(reactor)(measure).addCallback(check)

    def test_failure(self) -> "Deferred[None]":
        """So does its failure."""
        return self.assertFailure(in_daemon_thread(reactor)(broken), OSError).addCallback(lambda _: None)
