"""
Tests for :mod:`piman.monitor.readings`.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.monitor.readings import LARGEST_ANSWER_BYTES, Card, MalformedReading, Reading, flags

# The keys and kinds of the original's README, "Monitoring", table of GET /events.
ORIGINAL = {
    "time": 1580000000.25,
    "cpu_percent": 12.5,
    "memory_percent": 40.1,
    "disk_percent": 63.0,
    "num_pids": 97,
}

finite = some.floats(allow_nan=False, allow_infinity=False)
names = some.none() | some.text(max_size=128)
cards = some.builds(
    Card,
    type=names,
    name=names,
    serial=names,
    manfid=names,
    date=names,
    life_used_percent=some.none() | finite,
    pre_eol=names,
)
readings = some.builds(
    Reading,
    time=some.none() | finite | some.text("SunMoTeWdhFriat JanFb:-", max_size=64),
    cpu_percent=finite,
    memory_percent=some.none() | finite,
    disk_percent=some.none() | finite,
    num_pids=some.none() | some.integers(0, 2**31),
    temp=some.none() | finite,
    uptime_seconds=some.none() | finite,
    image_digest=names,
    throttled=some.none() | some.integers(0, 2**20),
    under_voltage=some.none() | some.booleans(),
    root_read_only=some.none() | some.booleans(),
    root_errors=some.none() | some.integers(0, 2**31),
    disk_stalled_seconds=some.none() | finite,
    card=some.none() | cards,
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

    def test_text_numbers(self) -> None:
        """Numbers may be text, with a sign of per cent behind them."""
        answer = _with(cpu_percent="12.5%", memory_percent=" 40 % ", num_pids="97", time="1580000000")
        reading = Reading.from_json(answer)
        expected = (12.5, 40.0, 97, 1580000000.0, ())
        found = (reading.cpu_percent, reading.memory_percent, reading.num_pids, reading.time, reading.complaints)
        self.assertEqual(found, expected)

    def test_more(self) -> None:
        """Later keys are read, unknown ones ignored."""
        reading = Reading.from_json(_with(temp=51.5, throttled=0x50005, card={"name": "SD16G", "x": 1}, fan="on"))
        self.assertEqual((reading.temp, reading.throttled, reading.card), (51.5, 0x50005, Card(name="SD16G")))
        self.assertEqual(reading.complaints, ())

    def test_missing(self) -> None:
        """A missing key of the original is a complaint; the others count."""
        reading = Reading.from_json(b'{"cpu_percent": 12.5, "disk_percent": null}')
        self.assertEqual((reading.cpu_percent, reading.disk_percent, reading.time), (12.5, None, None))
        self.assertEqual(reading.complaints, ("no time", "no memory_percent", "no disk_percent", "no num_pids"))

    def test_not_understood(self) -> None:
        """What cannot be understood is missing, and what it was is told; nothing is guessed."""
        for changes, complaint in (
            ({"cpu_percent": "much"}, "cpu_percent is 'much', no number"),
            ({"cpu_percent": "1_0"}, "cpu_percent is '1_0', no number"),
            ({"cpu_percent": True}, "cpu_percent is True, no number"),
            ({"cpu_percent": [1]}, "cpu_percent is a list, no number"),
            ({"disk_percent": float("nan")}, "disk_percent is nan, not finite"),
            ({"memory_percent": 10**400}, f"memory_percent is {10**400}, not finite"[:200]),
            ({"temp": "1e999"}, "temp is '1e999', not finite"),
            ({"time": {}}, "time is an object, no text of up to 128 characters"),
            ({"time": "x" * 129}, f"time is '{'x' * 129}', no text of up to 128 characters"),
            ({"under_voltage": 1}, "under_voltage is 1, neither true nor false"),
            ({"card": {"name": 5}}, "card.name is 5, no text of up to 128 characters"),
        ):
            reading = Reading.from_json(_with(**changes))
            self.assertEqual(reading.complaints, (complaint,))
            self.assertIsNone(getattr(reading, next(iter(changes)), None) if "card" not in changes else None)

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
            (b"{}", "none of the keys of an agent: cpu_percent, memory_percent"),
            (b'{"time": 1.5, "status": "ok"}', "none of the keys of an agent"),
        ):
            error = self.assertRaises(MalformedReading, Reading.from_json, answer)
            self.assertIn(words, str(error))

    @given(
        some.binary()
        | some.recursive(some.none() | some.booleans() | some.floats() | some.text(), some.lists).map(
            lambda value: json.dumps({**ORIGINAL, "time": value, "temp": value, "card": {"name": value}}).encode()
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

    @given(readings)
    def test_size(self, reading: Reading) -> None:
        """No reading is longer than a manager takes."""
        self.assertLess(len(reading.to_json()), LARGEST_ANSWER_BYTES / 4)

    def test_original_keys(self) -> None:
        """The five keys of the original keep their names and kinds, so that its own manager can ask this agent."""
        reading = Reading(**ORIGINAL)
        self.assertEqual(json.loads(reading.to_json()), ORIGINAL)

    def test_left_out(self) -> None:
        """What the board does not tell is no key; complaints are the reader's own."""
        answer = json.loads(Reading(num_pids=3, card=Card(name="SD16G"), complaints=("no time",)).to_json())
        self.assertEqual(answer, {"num_pids": 3, "card": {"name": "SD16G"}})


class FlagTests(SynchronousTestCase):
    """The bits of get_throttled by their names."""

    def test_captured(self) -> None:
        """0x50005, as in raspberrypi/firmware issue 615: under-voltage and throttled, now and before."""
        self.assertEqual(flags(0x50005, since_boot=False), ("under-voltage", "throttled"))
        self.assertEqual(flags(0x50005, since_boot=True), ("under-voltage", "throttled"))

    def test_hot(self) -> None:
        """0x80008, as in sensor.rpi_power issue 6: the soft limit of temperature; unknown bits have no name."""
        self.assertEqual(flags(0x80008 | 1 << 12, since_boot=False), ("soft-temperature-limit",))
        self.assertEqual(flags(0x80000, since_boot=False), ())
        self.assertEqual(flags(0x80000, since_boot=True), ("soft-temperature-limit",))

    def test_told(self) -> None:
        """An agent tells them in words, too."""
        answer = json.loads(Reading(throttled=0x50001).to_json())
        self.assertEqual(answer["throttled_now"], ["under-voltage"])
        self.assertEqual(answer["throttled_since_boot"], ["under-voltage", "throttled"])
