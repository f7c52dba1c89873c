"""
Tests for :mod:`piman.ctl.progress` and :mod:`piman.ctl.printing`: what an operator sees, on any terminal.
"""

from io import StringIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from piman.ctl.printing import age, harmless, table
from piman.ctl.progress import ORDER, Document, Lines, Table, outcome, stages, title, view_for
from piman.fleet.operations.orders import Step
from tests.ctl_support import Output

NOW = 1_750_000_060.0


def report(index: int, step: str, **more: Any) -> dict[str, Any]:
    """One target's report, a minute after it was begun."""
    return {
        "index": index,
        "target": {
            "name": f"pi{index}",
            "node": None,
            "port": {"switch": "172.30.4.254", "label": "rack-a", "port": index},
            "rule": "",
        },
        "step": step,
        "final": step in ("done", "failed", "cancelled"),
        "phase": None,
        "stages": [],
        "started": NOW - 60 if step != "waiting" else 0.0,
        "off_at": 0.0,
        "on_at": 0.0,
        "finished": NOW if step in ("done", "failed") else 0.0,
        "tries": 1,
        "dark": False,
        "reason": "",
        "remedy": "",
        **more,
    }


def operation(*reports: dict[str, Any]) -> dict[str, Any]:
    """An operation."""
    final = all(each["final"] for each in reports)
    return {"id": "1a2b3c4d", "action": "restart", "created": NOW - 60, "final": final, "reports": list(reports)}


def screen(width: int, height: int, *reports: dict[str, Any], note: str = "") -> list[str]:
    """The lines of a live table."""
    file = StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=False, color_system=None)
    view = Table(console, lambda: NOW)
    view.progress.update(operation(*reports))
    view._note = note
    console.print(view.draw(width, height))
    return [line.rstrip() for line in file.getvalue().splitlines()]


FAILED = report(
    3, "failed", reason="no DHCP request since its port gave power", remedy="Is its network cable in port 3?", tries=3
)


class TableTests(SynchronousTestCase):
    """The live table."""

    def test_small(self) -> None:
        """On 80 columns everything of a few nodes is there, those that failed first."""
        shown = screen(80, 24, report(1, "done"), report(2, "following", phase="loading"), FAILED)
        self.assertEqual(
            shown,
            [
                "restart 1a2b3c4d: 1 done, 1 following, 1 failed",
                "node  step           phase       seconds  why",
                "pi3   failed                     60       no DHCP request since its port gave …",
                "pi2   following      loading     60",
                "pi1   done                       60",
            ],
        )

    def test_never_too_large(self) -> None:
        """On any terminal, with any texts, no line is too wide, none too many; hidden nodes are counted."""
        reports = [report(index, ORDER[index % len(ORDER)], reason="x " * 99) for index in range(100)]
        for width, height in ((40, 10), (80, 24), (120, 40), (200, 7)):
            shown = screen(width, height, *reports, note="the manager is away; the operation goes on when it is back")
            self.assertLessEqual(max(map(len, shown)), width, (width, height))
            self.assertLessEqual(len(shown), height - 2, (width, height))
            (rest,) = [line for line in shown if line.startswith("and ")]
            hidden = int(rest.split()[1])
            self.assertEqual(hidden + sum(line.startswith("pi") for line in shown), 100)

    def test_columns_stay(self) -> None:
        """Columns do not jump when steps and phases change."""
        headers = {screen(80, 24, report(1, step))[1] for step in ("off", "following", "switching off")}
        self.assertEqual(len(headers), 1)

    def test_order_knows_all(self) -> None:
        """Every step has its place."""
        self.assertEqual(set(ORDER), {step.value for step in Step})

    def test_ends_with_outcomes(self) -> None:
        """At the end the terminal keeps the outcome of each node, in whole sentences."""
        file = Output()
        console = Console(file=file, width=100, force_terminal=True, color_system=None)
        view = Table(console, lambda: NOW)
        view.update(operation(FAILED))
        view.finish()
        self.assertIn("pi3: failed after 60 s: no DHCP request since its port gave power", file.getvalue())
        self.assertIn("  Is its network cable in port 3?", file.getvalue())


class LineTests(SynchronousTestCase):
    """Lines in a pipe."""

    def test_only_news(self) -> None:
        """A line for each new step or phase, none for what has not changed, and the outcome whole."""
        file = Output()
        view = Lines(file, lambda: NOW)
        view.update(operation(report(1, "off"), report(3, "waiting")))
        view.update(operation(report(1, "off", off_at=NOW)))
        view.update(operation(report(1, "following", phase="loading")))
        view.update(operation(FAILED))
        view.finish()
        self.assertEqual(
            file.getvalue().splitlines(),
            [
                "  60.0 s  pi1: off",
                "  60.0 s  pi3: waiting",
                "  60.0 s  pi1: following loading",
                "          pi3: failed after 60 s: no DHCP request since its port gave power",
                "            Is its network cable in port 3?",
                "restart 1a2b3c4d: 1 following, 1 failed",
            ],
        )

    def test_which_view(self) -> None:
        """A terminal gets the table, a pipe lines, a program a document."""
        terminal, pipe = Output(), Output()
        terminal.is_terminal = True
        self.assertIsInstance(view_for(terminal, lambda: NOW, json=False), Table)
        self.assertIsInstance(view_for(pipe, lambda: NOW, json=False), Lines)
        self.assertIsInstance(view_for(terminal, lambda: NOW, json=True), Document)


class WordTests(SynchronousTestCase):
    """In words."""

    def test_stages(self) -> None:
        """How long each stage took; the last is where it is."""
        found = [
            {"phase": "powered", "time": NOW},
            {"phase": "offered", "time": NOW + 4},
            {"phase": "up", "time": NOW + 30},
        ]
        self.assertEqual(stages(report(1, "done", stages=found)), "powered 4 s, offered 26 s, up")
        self.assertEqual(stages(report(1, "done")), "")

    def test_dark(self) -> None:
        """A port that is off because of us is never left unsaid."""
        told = list(outcome(report(1, "failed", reason="the switch does not answer", dark=True)))
        self.assertIn("rack-a port 1 may be off", told[1])

    def test_title(self) -> None:
        """Counts, the good ones first."""
        reports = [report(1, "done"), report(2, "failed"), report(3, "done")]
        self.assertEqual(title(operation(*reports), reports), "restart 1a2b3c4d: 2 done, 1 failed")

    def test_ages(self) -> None:
        """Ages in the unit that a person would use."""
        self.assertEqual([age(each) for each in (5, 119, 600, 8000, 400_000)], ["5 s", "119 s", "10 min", "2 h", "5 d"])

    @given(some.text(alphabet=some.characters(exclude_categories=())))
    def test_harmless(self, text: str) -> None:
        """Whatever a text holds, what is printed is one printable line."""
        self.assertTrue(harmless(text).isprintable())

    def test_markup(self) -> None:
        """Brackets in a text are no markup."""
        file = StringIO()
        Console(file=file, width=80).print(table(("node",), [["[red]pi[/red]"]]))
        self.assertIn("[red]pi[/red]", file.getvalue())
