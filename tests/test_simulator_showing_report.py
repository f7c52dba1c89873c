"""
What came of a run, in numbers and in words.
"""

from io import StringIO

import attrs
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.journal import Step
from piman.simulator.showing.report import Report, Spread, as_markdown, as_renderable
from piman.simulator.wiring.faults import Damage

GOOD = Report(
    boards=2,
    up=2,
    seconds=61.2,
    steps={Step.LOADING: Spread(count=2, median=1.0, most_of_them=2.0, largest=3.0)},
    whole=Spread(count=2, median=50.0, most_of_them=60.0, largest=61.0),
    boots=3,
    retries=0,
    power_cycles=1,
    hangs={"no bootcode.bin": 1},
    power_cuts=0,
    resends=4,
    files=18,
    loaded_bytes=400_000,
    installations=2,
    damage=Damage(lost=5),
    manager_starts=1,
    agent_answers=7,
    problems=(),
)


class SpreadTests(SynchronousTestCase):
    """Median, 95 % and the largest."""

    def test_hundred(self) -> None:
        """Of 1 to 100 in any order."""
        spread = Spread.of(float(number) for number in reversed(range(1, 101)))
        self.assertEqual(
            (spread.count, spread.median, spread.most_of_them, spread.largest), (100, 51.0, 96.0, 100.0)
        )

    def test_one(self) -> None:
        """A single number is all of them."""
        self.assertEqual(Spread.of([7.0]), Spread(count=1, median=7.0, most_of_them=7.0, largest=7.0))

    def test_none(self) -> None:
        """Of nothing all is zero, the count too."""
        self.assertEqual(Spread.of([]), Spread(count=0, median=0.0, most_of_them=0.0, largest=0.0))


class ReportTests(SynchronousTestCase):
    """Good and bad."""

    def test_good(self) -> None:
        """All up and nothing wrong."""
        self.assertTrue(GOOD.is_good)
        self.assertFalse(attrs.evolve(GOOD, up=1).is_good)
        self.assertFalse(attrs.evolve(GOOD, problems=("x",)).is_good)

    def test_markdown(self) -> None:
        """A table with a row for each step, the counts, the verdict."""
        text = as_markdown(GOOD)
        self.assertIn("| loading | 2 | 1.00 | 2.00 | 3.00 |", text)
        self.assertIn("| power-on to up | 2 | 50.00 | 60.00 | 61.00 |", text)
        self.assertIn("1 hung and were power-cycled (1 no bootcode.bin)", text)
        self.assertIn("manager started 1 time, agents answered 7 times", text)
        self.assertIn("no intent completed twice", text)

    def test_problems(self) -> None:
        """What is wrong is said, of very many the first twenty."""
        text = as_markdown(attrs.evolve(GOOD, problems=tuple(f"problem {number}" for number in range(30))))
        self.assertIn("wrong: problem 19", text)
        self.assertNotIn("problem 20", text)
        self.assertIn("and 10 more", text)
        self.assertNotIn("say the same", text)

    def test_terminal(self) -> None:
        """The same for people."""
        console = Console(file=StringIO(), width=200)
        console.print(as_renderable(attrs.evolve(GOOD, notes=("The manager was killed.",))))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        for part in ("loading", "power-on to up", "2 of 2 boards up after 61.2 s", "The manager was killed."):
            self.assertIn(part, text)
