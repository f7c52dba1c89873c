"""
Tests for :mod:`piman.web.pages.orders`: bars, and the time that remains.
"""

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.operations.orders import Action, Step
from piman.web.pages.orders import TITLES, progress, remaining_seconds, stages

CASES = json.loads(Path(__file__).with_name("estimates.json").read_text("utf-8"))
NOW = 1000.0


def reports(case: Any) -> list[dict[str, Any]]:
    """The reports of a case; ``busy`` are ages."""
    done = [{"step": "done", "final": True, "started": start, "finished": end} for start, end in case["done"]]
    busy = [{"step": "following", "final": False, "started": NOW - age, "finished": 0.0} for age in case["busy"]]
    waiting = [{"step": "waiting", "final": False, "started": 0.0, "finished": 0.0}] * case["waiting"]
    for each in done:  # 0 would mean that its turn never came
        each["started"] += 1
        each["finished"] += 1
    return [*done, *busy, *waiting]


class RemainingTests(SynchronousTestCase):
    """How long it still takes."""

    def test_cases(self) -> None:
        """Each case of tests/estimates.json; a browser counts the same ones."""
        for case in CASES:
            self.assertEqual(remaining_seconds(reports(case), case["at_most"], NOW), case["left"], case["case"])


class ProgressTests(SynchronousTestCase):
    """Bars."""

    def summary(self, **counts: int) -> dict[str, Any]:
        """An operation with so many targets in these steps."""
        by_step = {step.value: counts.get(step.name.lower(), 0) for step in Step}
        return {"action": "restart", "counts": by_step, "at_most": 0, "final": False}

    def test_bar(self) -> None:
        """The parts of the bar lie side by side and are all targets; whatever is at work is one part."""
        shown = progress(self.summary(done=3, failed=1, following=2, off=1, waiting=4), NOW)
        self.assertEqual((shown["total"], shown["over"], shown["parts"]["busy"]), (11, 4, 3))
        parts = [(each["name"], each["start"], each["count"]) for each in shown["segments"]]
        expected = [("done", 0, 3), ("failed", 3, 1), ("cancelled", 4, 0), ("busy", 4, 3), ("waiting", 7, 4)]
        self.assertEqual(parts, expected)

    def test_titles(self) -> None:
        """Each action has a title."""
        self.assertEqual(set(TITLES), {action.value for action in Action})

    def test_stages(self) -> None:
        """Each stage lasts until the next one, the last one until now; being up is no stage."""
        found = [{"phase": "offered", "time": 10.0}, {"phase": "loading", "time": 12.5}]
        going_on = stages({"stages": found, "finished": 0.0}, 20.0)
        self.assertEqual([each["seconds"] for each in going_on], [2.5, 7.5])
        over = stages({"stages": [*found, {"phase": "up", "time": 15.0}], "finished": 16.0}, 20.0)
        self.assertEqual([(each["phase"], each["seconds"]) for each in over], [("offered", 2.5), ("loading", 2.5)])
