"""
Tests for :mod:`piman.monitor.readings`.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.monitor.readings import MalformedReading, Reading

# The keys and kinds of the original's README, "Monitoring", table of GET /events.
ORIGINAL = {
    "time": 1580000000.25,
    "cpu_percent": 12.5,
    "memory_percent": 40.1,
    "disk_percent": 63.0,
    "num_pids": 97,
}

finite = some.floats(allow_nan=False, allow_infinity=False)
readings = some.builds(
    Reading,
    time=finite | some.text(max_size=64),
    cpu_percent=finite,
    memory_percent=finite,
    disk_percent=finite,
    num_pids=some.integers(0, 2**31),
    temp=some.none() | finite,
    throttled=some.none() | some.integers(0, 2**20),
)


def _with(**changes: Any) -> bytes:
    return json.dumps({**ORIGINAL, **changes}).encode()


class AnswerTests(SynchronousTestCase):
    """Answers of agents, old and new."""

    def test_original(self) -> None:
        """The answer that the original documents is understood; what its board does not tell is None."""
        reading = Reading.from_json(_with())
        expected = Reading(time=1580000000.25, cpu_percent=12.5, memory_percent=40.1, disk_percent=63.0, num_pids=97)
        self.assertEqual(reading, expected)
        self.assertIsNone(reading.temp)

    def test_ctime(self) -> None:
        """Old agents tell the time as text."""
        self.assertEqual(Reading.from_json(_with(time="Sun Jan 26 00:53:20 2020")).time, "Sun Jan 26 00:53:20 2020")

    def test_more(self) -> None:
        """Later keys are read, unknown ones ignored."""
        reading = Reading.from_json(_with(temp=51.5, throttled=0x50005, fan="on"))
        self.assertEqual((reading.temp, reading.throttled), (51.5, 0x50005))

    def test_null(self) -> None:
        """A temperature of null is none."""
        self.assertIsNone(Reading.from_json(_with(temp=None)).temp)

    def test_malformed(self) -> None:
        """What is no reading says what is wrong with it."""
        for answer, words in (
            (b"", "not JSON"),
            (b"<html>", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "time is None"),
            (_with(time=True), "time is True"),
            (_with(time="x" * 65), "time is"),
            (_with(cpu_percent="12"), "cpu_percent is '12', no number"),
            (_with(num_pids=None), "num_pids is None"),
            (_with(temp="hot"), "temp is 'hot'"),
            (_with(disk_percent=float("nan")), "disk_percent is not finite"),
            (_with(memory_percent=10**400), "memory_percent is not finite"),
        ):
            error = self.assertRaises(MalformedReading, Reading.from_json, answer)
            self.assertIn(words, str(error))

    @given(
        some.binary()
        | some.recursive(some.none() | some.booleans() | some.floats() | some.text(), some.lists).map(
            lambda value: json.dumps({**ORIGINAL, "time": value, "temp": value}).encode()
        )
    )
    def test_anything(self, answer: bytes) -> None:
        """Whatever comes, it is a reading or MalformedReading."""
        try:
            self.assertIsInstance(Reading.from_json(answer), Reading)
        except MalformedReading:
            pass

    @given(readings)
    def test_round_trip(self, reading: Reading) -> None:
        """What an agent writes, the manager reads."""
        self.assertEqual(Reading.from_json(reading.to_json()), reading)


class MetricsTests(SynchronousTestCase):
    """Prometheus' text format."""

    def test_text(self) -> None:
        """Each value is one gauge with help and type; of what the board does not tell there is no line."""
        reading = Reading(time=1.0, cpu_percent=12.5, memory_percent=40.0, disk_percent=63.0, num_pids=97, temp=51.5)
        lines = reading.to_metrics().decode().splitlines()
        self.assertEqual(
            [line for line in lines if not line.startswith("#")],
            [
                "piman_node_cpu_percent 12.5",
                "piman_node_memory_percent 40.0",
                "piman_node_disk_percent 63.0",
                "piman_node_num_pids 97",
                "piman_node_temperature_celsius 51.5",
            ],
        )
        self.assertIn("# TYPE piman_node_temperature_celsius gauge", lines)
        self.assertEqual(len([line for line in lines if line.startswith("# HELP ")]), 5)
