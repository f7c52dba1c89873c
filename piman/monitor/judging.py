# -*- test-case-name: tests.test_monitor_judging -*-
"""
What is wrong with a node, from what its agent says, reading by reading: :func:`judge`.

A condition is raised once, held while it lasts, and resolved once.  Pure: what is remembered of a node comes in and
goes out as a value, and so does the time.
"""

import math
from collections.abc import Iterator, Mapping
from enum import Enum

import attrs

from piman.fleet.limits import Limit
from piman.monitor.readings import Reading

SILENT = "silent"
"""The name of the condition that an agent does not answer; other conditions have the names of readings."""


class Step(Enum):
    """What becomes of a condition."""

    RAISED = "raised"
    HELD = "held"
    RESOLVED = "resolved"


class Why(Enum):
    """Why a condition is resolved."""

    BACK = "back"
    """The value has come back; the agent answers."""
    NOT_WATCHED = "not watched"
    """There is no limit any more."""
    NOT_TOLD = "not told"
    """The agent does not tell the value any more."""


@attrs.frozen(kw_only=True)
class Condition:
    """Something that is wrong with a node."""

    name: str
    since: float
    """When it began: the first value that was too high, the first answer that was missing."""
    value: float
    """The latest one; of silence, how many answers are missing."""
    worst: float
    limit: Limit | None
    """That of the latest value; of silence none."""


@attrs.frozen(kw_only=True)
class Finding:
    """What one reading, or its absence, says about one condition."""

    step: Step
    condition: Condition
    at: float
    why: Why | None = None
    """Only of resolved ones."""


@attrs.frozen(kw_only=True)
class Watched:
    """What is remembered of a node from one reading to the next."""

    at: float = -math.inf
    """When it was judged last."""
    has_answered: bool = False
    """Only who has answered can fall silent: others may have no agent."""
    misses: int = 0
    missing_since: float = 0.0
    pending: Mapping[str, float] = attrs.field(factory=dict)
    """What is too high, but not for long enough, and since when."""
    raised: Mapping[str, Condition] = attrs.field(factory=dict)
    untold: Mapping[str, int] = attrs.field(factory=dict)
    """How many readings in a row were without a value that is pending or raised."""


def values_of(reading: Reading) -> dict[str, float]:
    """The values that limits can be set for; what is true or false as 1 or 0."""
    life = reading.card.life_used_percent if reading.card else None
    found = {
        "cpu_percent": reading.cpu_percent,
        "memory_percent": reading.memory_percent,
        "disk_percent": reading.disk_percent,
        "num_pids": reading.num_pids,
        "temp": reading.temp,
        "under_voltage": reading.under_voltage,
        "root_read_only": reading.root_read_only,
        "root_errors": reading.root_errors,
        "disk_stalled_seconds": reading.disk_stalled_seconds,
        "card_life_used_percent": life,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def judge(
    before: Watched, reading: Reading | None, now: float, limits: Mapping[str, Limit], *, misses: int
) -> tuple[Watched, tuple[Finding, ...]]:
    """
    What a reading changes.

    :param reading: None: the agent did not answer.
    :param now: the manager's time; one before the last one counts as the last one.
    :param limits: the node's, see :meth:`piman.fleet.limits.Limits.of_node`.
    :param misses: so many answers in a row must be missing before a node is silent; after so many readings in a row
        without a value a condition of it ends.
    :return: what to remember, and a finding for each condition that there is or was, by name.
    """
    judgement = _Judgement(before, max(now, before.at), limits, misses)
    if reading is None:
        judgement.miss()
    else:
        judgement.answer(values_of(reading))
    return judgement.after(), tuple(sorted(judgement.findings, key=lambda finding: finding.condition.name))


class _Judgement:
    """One call of :func:`judge` on its way."""

    def __init__(self, before: Watched, now: float, limits: Mapping[str, Limit], misses: int) -> None:
        self.findings: list[Finding] = []
        self._before = before
        self._now = now
        self._limits = limits
        self._most_misses = misses
        self._has_answered = before.has_answered
        self._misses, self._missing_since = before.misses, before.missing_since
        self._pending = dict(before.pending)
        self._raised = dict(before.raised)
        self._untold = dict(before.untold)

    def after(self) -> Watched:
        """What to remember."""
        open_ones = {*self._pending, *self._raised}
        return Watched(
            at=self._now,
            has_answered=self._has_answered,
            misses=self._misses,
            missing_since=self._missing_since,
            pending=self._pending,
            raised=self._raised,
            untold={name: count for name, count in self._untold.items() if name in open_ones},
        )

    # The agent

    def miss(self) -> None:
        """It did not answer: of the values nothing is known, so conditions stay as they are."""
        if self._has_answered:
            self._misses += 1
            self._missing_since = self._missing_since if self._misses > 1 else self._now
            if SILENT in self._raised:
                self._hold(SILENT, self._misses, None)
            elif self._misses >= self._most_misses:
                self._raise(SILENT, self._missing_since, self._misses, None)
                self._pending.clear()
        for name in self._names():
            if name not in self._limits:
                self._forget(name)
            elif name in self._raised:
                self._hold(name, self._raised[name].value, self._limits[name])

    def answer(self, values: Mapping[str, float]) -> None:
        """It answered."""
        self._has_answered, self._misses = True, 0
        if SILENT in self._raised:
            self._resolve(SILENT, Why.BACK)
        for name in self._names():
            limit, value = self._limits.get(name), values.get(name)
            if limit is None:
                self._forget(name)
            elif value is None:
                self._pass_over(name, limit)
            else:
                self._untold.pop(name, None)
                self._weigh(name, value, limit)

    def _names(self) -> Iterator[str]:
        yield from sorted({*self._limits, *self._pending, *self._raised} - {SILENT})

    # One value

    def _weigh(self, name: str, value: float, limit: Limit) -> None:
        if value <= limit.clear:
            self._pending.pop(name, None)
            if name in self._raised:
                self._resolve(name, Why.BACK, value)
        elif name in self._raised:
            self._hold(name, value, limit)
        elif value > limit.above:
            since = self._pending.setdefault(name, self._now)
            if self._now - since >= limit.for_seconds:
                self._raise(name, since, value, limit)

    def _pass_over(self, name: str, limit: Limit) -> None:
        """A value is missing: for a while that says nothing."""
        self._untold[name] = self._untold.get(name, 0) + 1
        is_gone = self._untold[name] >= self._most_misses
        if is_gone:
            self._pending.pop(name, None)
        if name in self._raised:
            if is_gone:
                self._resolve(name, Why.NOT_TOLD)
            else:
                self._hold(name, self._raised[name].value, limit)

    def _forget(self, name: str) -> None:
        self._pending.pop(name, None)
        if name in self._raised:
            self._resolve(name, Why.NOT_WATCHED)

    # One condition

    def _raise(self, name: str, since: float, value: float, limit: Limit | None) -> None:
        self._pending.pop(name, None)
        condition = Condition(name=name, since=since, value=value, worst=value, limit=limit)
        self._raised[name] = condition
        self.findings.append(Finding(step=Step.RAISED, condition=condition, at=self._now))

    def _hold(self, name: str, value: float, limit: Limit | None) -> None:
        held = self._raised[name]
        held = attrs.evolve(held, value=value, worst=max(held.worst, value), limit=limit)
        self._raised[name] = held
        self.findings.append(Finding(step=Step.HELD, condition=held, at=self._now))

    def _resolve(self, name: str, why: Why, value: float | None = None) -> None:
        ended = self._raised.pop(name)
        if value is not None:
            ended = attrs.evolve(ended, value=value)
        self.findings.append(Finding(step=Step.RESOLVED, condition=ended, at=self._now, why=why))
