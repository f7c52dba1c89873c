"""
Tests for :mod:`piman.monitor.judging`.
"""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.limits import READINGS, Limit
from piman.monitor.judging import SILENT, Condition, Finding, Step, Watched, Why, judge, values_of
from piman.monitor.readings import Card, Reading

MISSES = 3
AT_ONCE = Limit(above=80.0, clear=70.0, for_seconds=0.0)
PATIENT = Limit(above=80.0, clear=70.0, for_seconds=60.0)


def hot(temp: float | None) -> Reading:
    """A reading of this temperature."""
    return Reading(num_pids=1, temp=temp)


class Story:
    """What is said of one node, one reading every thirty seconds."""

    def __init__(self, **limits: Limit) -> None:
        self.limits: dict[str, Limit] = limits
        self.watched = Watched()
        self.now = 0.0

    def tell(self, *readings: Reading | None) -> list[str]:
        """The findings of each reading, in words; a node that did not answer is None."""
        return [" ".join(self._words(finding) for finding in self.judge(reading)) for reading in readings]

    def judge(self, reading: Reading | None) -> tuple[Finding, ...]:
        """The findings of one reading."""
        self.watched, findings = judge(self.watched, reading, self.now, self.limits, misses=MISSES)
        self.now += 30.0
        return findings

    def _words(self, finding: Finding) -> str:
        return f"{finding.condition.name} {finding.step.value}" + (f" ({finding.why.value})" if finding.why else "")

    def temps(self, *temps: float | None) -> list[str]:
        """The findings of readings with these temperatures."""
        return self.tell(*(hot(temp) for temp in temps))


class LimitTests(SynchronousTestCase):
    """Values and limits."""

    def test_life(self) -> None:
        """A condition is raised, held and resolved, each once."""
        story = Story(temp=AT_ONCE)
        self.assertEqual(story.temps(60, 81, 90, 70, 60), ["", "temp raised", "temp held", "temp resolved (back)", ""])

    def test_strictly(self) -> None:
        """The limit itself is not too high, as with the original; the clear value itself is back."""
        self.assertEqual(Story(temp=AT_ONCE).temps(80.0, 80.1), ["", "temp raised"])
        self.assertEqual(Story(temp=AT_ONCE).temps(81, 70.1, 70.0)[1:], ["temp held", "temp resolved (back)"])

    def test_flapping(self) -> None:
        """A value that goes up and down between limit and clear value is one condition."""
        found = Story(temp=AT_ONCE).temps(*[81, 75] * 20)
        self.assertEqual(found, ["temp raised"] + ["temp held"] * 39)

    def test_for(self) -> None:
        """A value must be too high for as long as the operator says, and one that comes back meanwhile is no news."""
        self.assertEqual(Story(temp=PATIENT).temps(81, 81, 81, 81), ["", "", "temp raised", "temp held"])
        self.assertEqual(Story(temp=PATIENT).temps(81, 81, 60, 81, 81, 81)[:5], [""] * 5)

    def test_for_while_flapping(self) -> None:
        """In between it is still waited for, but only a value that is too high raises anything."""
        self.assertEqual(Story(temp=PATIENT).temps(81, 75, 75, 75, 81), ["", "", "", "", "temp raised"])

    def test_since(self) -> None:
        """A condition tells when it began, its latest and its worst value."""
        story = Story(temp=PATIENT)
        story.temps(81, 95, 85, 90)
        self.assertEqual(
            story.watched.raised["temp"], Condition(name="temp", since=0.0, value=90.0, worst=90.0, limit=PATIENT)
        )
        (finding,) = story.judge(hot(65))
        self.assertEqual((finding.condition.value, finding.condition.worst, finding.at), (65.0, 90.0, 120.0))

    def test_several(self) -> None:
        """Conditions are told in the order of their names."""
        story = Story(temp=AT_ONCE, cpu_percent=AT_ONCE, num_pids=AT_ONCE)
        found = story.tell(Reading(num_pids=100, temp=90, cpu_percent=100.0))
        self.assertEqual(found, ["cpu_percent raised num_pids raised temp raised"])

    def test_flags(self) -> None:
        """What is true counts as one: a limit of zero tells it."""
        story = Story(under_voltage=Limit.of(0.0, for_seconds=0.0))
        found = story.tell(*(Reading(num_pids=1, under_voltage=flag) for flag in (False, True, False)))
        self.assertEqual(found, ["", "under_voltage raised", "under_voltage resolved (back)"])

    def test_missing_value(self) -> None:
        """A value that is missing says nothing for a while; then nobody can say that the condition lasts."""
        story = Story(temp=AT_ONCE)
        found = story.temps(81, None, None, 90, None, None, None, None)
        self.assertEqual(
            found,
            [
                "temp raised",
                "temp held",
                "temp held",
                "temp held",
                "temp held",
                "temp held",
                "temp resolved (not told)",
                "",
            ],
        )

    def test_missing_value_meanwhile(self) -> None:
        """One missing value does not begin the wait anew, several do."""
        self.assertEqual(Story(temp=PATIENT).temps(81, None, 81), ["", "", "temp raised"])
        self.assertEqual(Story(temp=PATIENT).temps(81, None, None, None, 81, 81)[4:], ["", ""])

    def test_never_told(self) -> None:
        """A limit of something that the board never tells comes to nothing."""
        self.assertEqual(Story(temp=AT_ONCE).temps(*[None] * 10), [""] * 10)

    def test_limit_gone(self) -> None:
        """A condition whose limit the operator takes away is resolved, with the next reading or without one."""
        for next_one in (hot(99), None):
            story = Story(temp=AT_ONCE)
            story.temps(81)
            story.limits = {}
            self.assertEqual(story.tell(next_one, next_one), ["temp resolved (not watched)", ""])

    def test_limit_moved(self) -> None:
        """A new limit counts from the next reading on."""
        story = Story(temp=AT_ONCE)
        story.temps(85)
        story.limits = {"temp": Limit.of(95.0)}
        self.assertEqual(story.temps(85), ["temp resolved (back)"])

    def test_values(self) -> None:
        """Every reading that a limit can be set for is a value, and no other."""
        whole = Reading(
            cpu_percent=1.0,
            memory_percent=2.0,
            disk_percent=3.0,
            num_pids=4,
            temp=5.0,
            under_voltage=True,
            root_read_only=False,
            root_errors=6,
            disk_stalled_seconds=7.0,
            card=Card(life_used_percent=8.0),
        )
        self.assertEqual(list(values_of(whole)), list(READINGS))
        self.assertEqual(list(values_of(whole).values()), [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 0.0, 6.0, 7.0, 8.0])
        self.assertEqual(values_of(Reading(card=Card())), {})


class SilenceTests(SynchronousTestCase):
    """Agents that do not answer."""

    def test_silent(self) -> None:
        """After so many missing answers a node is silent, once, and the first answer ends it."""
        found = Story().tell(hot(60), None, None, None, None, hot(60), None, None, hot(60))
        self.assertEqual(found, ["", "", "", "silent raised", "silent held", "silent resolved (back)", "", "", ""])

    def test_never_answered(self) -> None:
        """Who has never answered may have no agent."""
        self.assertEqual(Story().tell(*[None] * 10), [""] * 10)

    def test_since(self) -> None:
        """Silence began with the first missing answer, and counts them."""
        story = Story()
        story.tell(hot(60), None, None, None, None)
        self.assertEqual(
            story.watched.raised[SILENT], Condition(name=SILENT, since=30.0, value=4.0, worst=4.0, limit=None)
        )

    def test_other_conditions(self) -> None:
        """What was wrong before a node fell silent stays as it is until it is known to be over."""
        story = Story(temp=AT_ONCE)
        self.assertEqual(
            story.tell(hot(81), None, None, None)[1:], ["temp held", "temp held", "silent raised temp held"]
        )
        self.assertEqual(story.temps(60), ["silent resolved (back) temp resolved (back)"])

    def test_waiting(self) -> None:
        """One missing answer does not begin a wait anew; silence does."""
        self.assertEqual(Story(temp=PATIENT).tell(hot(81), None, hot(81)), ["", "", "temp raised"])
        self.assertEqual(Story(temp=PATIENT).tell(hot(81), None, None, None, hot(81))[4:], ["silent resolved (back)"])

    def test_time_stands(self) -> None:
        """A time before the last one counts as the last one."""
        story = Story(temp=PATIENT)
        story.now = 1000.0
        story.temps(81)
        story.now = 10.0
        story.temps(81)
        self.assertEqual(story.watched.at, 1000.0)


values = some.none() | some.sampled_from([0.0, 65.0, 70.0, 70.5, 75.0, 80.0, 80.5, 99.0])
answers = some.none() | some.builds(Reading, num_pids=some.none() | some.integers(0, 200), temp=values)
limits = some.dictionaries(
    some.sampled_from(["temp", "num_pids", "cpu_percent"]),
    some.builds(
        lambda above, margin, patience: Limit(above=above, clear=above - margin, for_seconds=patience),
        some.floats(60, 90),
        some.floats(0, 20),
        some.sampled_from([0.0, 30.0, 120.0]),
    ),
)
histories = some.lists(some.tuples(some.floats(-100, 100), answers, limits), max_size=30)
"""What happens: seconds since the last one (clocks step back, too), the answer, the limits then."""

History = Sequence[tuple[float, Reading | None, Mapping[str, Limit]]]


def told(history: History) -> list[tuple[Watched, tuple[Finding, ...]]]:
    """All that is found in a history, one after the other."""
    watched, now, steps = Watched(), 0.0, []
    for seconds, answer, limits_then in history:
        now += seconds
        watched, findings = judge(watched, answer, now, limits_then, misses=MISSES)
        steps.append((watched, findings))
    return steps


class PropertyTests(SynchronousTestCase):
    """Whatever happens."""

    @given(histories)
    def test_once(self, history: History) -> None:
        """Nothing is raised twice without being resolved; each is resolved once, and held only in between."""
        open_ones: set[str] = set()
        for watched, findings in told(history):
            names = [finding.condition.name for finding in findings]
            self.assertEqual(names, sorted(set(names)))
            for finding in findings:
                name = finding.condition.name
                self.assertEqual(name in open_ones, finding.step is not Step.RAISED)
                self.assertEqual(finding.why is not None, finding.step is Step.RESOLVED)
                open_ones ^= {name} if finding.step is not Step.HELD else set()
            self.assertEqual(set(watched.raised), open_ones)
            self.assertTrue(open_ones <= set(names), "what is open is told each time")

    @given(histories)
    def test_time(self, history: History) -> None:
        """Time goes forward only, and no condition began after it was raised, nor before anything was known."""
        last = -100_000.0
        for watched, findings in told(history):
            for at in (watched.at, *(finding.at for finding in findings)):
                self.assertGreaterEqual(at, last)
                self.assertEqual(at, watched.at)
            last = watched.at
            for finding in findings:
                self.assertLessEqual(finding.condition.since, finding.at)
                self.assertGreaterEqual(finding.condition.worst, finding.condition.value)

    @given(histories)
    def test_patience(self, history: History) -> None:
        """Nothing is raised before it has lasted as long as its limit says, nor by a value that is not too high."""
        for (_, answer, limits_then), (_, findings) in zip(history, told(history), strict=True):
            for finding in findings:
                if finding.step is Step.RAISED and finding.condition.name != SILENT:
                    limit = limits_then[finding.condition.name]
                    self.assertGreaterEqual(finding.at - finding.condition.since, limit.for_seconds)
                    assert answer is not None
                    self.assertGreater(values_of(answer)[finding.condition.name], limit.above)

    @given(histories)
    def test_comes_back(self, history: History) -> None:
        """When all is well in the end, one good reading leaves nothing open."""
        for watched, _ in told(history)[-1:]:
            rest = {name: condition.limit for name, condition in watched.raised.items() if condition.limit}
            good = Reading(num_pids=0, temp=-1000.0, cpu_percent=0.0)
            after, findings = judge(watched, good, watched.at, rest, misses=MISSES)
            self.assertEqual((after.raised, after.pending), ({}, {}))
            self.assertEqual({finding.why for finding in findings} - {Why.BACK}, set())

    @given(some.lists(some.floats(70.1, 1000.0), max_size=50))
    def test_flapping(self, temps: list[float]) -> None:
        """However a value moves above the clear value, it is one condition."""
        found = Story(temp=AT_ONCE).temps(99.0, *temps)
        self.assertEqual(found, ["temp raised"] + ["temp held"] * len(temps))

    @given(histories)
    def test_deterministic(self, history: History) -> None:
        """The same history gives the same findings."""
        self.assertEqual(told(history), told(history))
