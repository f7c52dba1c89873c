# -*- test-case-name: tests.test_web_pages_charts -*-
"""
Readings over time as charts: coordinates for SVG, and beside them the same in numbers.  Pure.

A chart is drawn in units of its ``viewBox``; a template turns it into elements, with attributes only.
"""

from collections.abc import Iterable, Sequence
from math import ceil, floor

import attrs

from piman.fleet.interfaces import Series

CHARTED = (
    ("cpu_percent", "Processor"),
    ("memory_percent", "Memory"),
    ("temp", "Temperature"),
    ("disk_percent", "Disk"),
)
"""Values of a reading, in the order of the charts, with what people call them."""
STEP_SECONDS = 30.0
"""A chart moves on so seldom: until then the page of a node that is asked for again has the same chart."""
SHORTEST_SECONDS = 300.0
"""A chart spans so much at least: two readings are no hour."""
WIDTH, HEIGHT = 400, 132
LEFT, RIGHT, TOP, BOTTOM = 46.0, 388.0, 8.0, 106.0
"""Of what is drawn in, inside the labels."""
TICK_SECONDS = (60, 120, 300, 600, 1200, 1800, 3600, 7200)
MOST_TICKS = 4
"""Of time, besides now."""
LEAST_DEGREES = 20


@attrs.frozen(kw_only=True)
class Tick:
    """A place on an axis."""

    at: float
    """Its coordinate."""
    label: str


@attrs.frozen(kw_only=True)
class Chart:
    """One value of a node over time."""

    metric: str
    title: str
    unit: str
    lines: tuple[str, ...]
    """The ``points`` of polylines, one for each time without a gap."""
    dots: tuple[tuple[float, float], ...]
    """Readings alone between two gaps: a line has two ends."""
    times: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    lowest: float
    highest: float
    last: float
    last_time: float
    """Seconds since 1970."""
    gaps: int
    """So often nothing was read for a while."""


def beat(now: float) -> float:
    """The moment until which charts tell."""
    return now // STEP_SECONDS * STEP_SECONDS


def chart(metric: str, title: str, unit: str, points: Series, end: float, most_seconds: float) -> Chart | None:
    """
    A chart until ``end``; None when there is nothing to draw.

    :param points: in order, with None where nothing was read.
    :param most_seconds: it goes back so far, or as far as there are readings.
    """
    told = [(time, value) for time, value in points if value is not None]
    if not told:
        return None
    span = min(most_seconds, max(SHORTEST_SECONDS, end - told[0][0]))
    values = [value for _, value in told]
    low, high = _levels(unit, min(values), max(values))

    def place(time: float, value: float) -> tuple[float, float]:
        x = RIGHT - (end - time) / span * (RIGHT - LEFT)
        y = BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP)
        return round(min(max(x, LEFT), RIGHT), 1), round(min(max(y, TOP), BOTTOM), 1)

    runs = [[place(*each) for each in run] for run in _runs(points)]
    return Chart(
        metric=metric,
        title=title,
        unit=unit,
        lines=tuple(" ".join(f"{x:g},{y:g}" for x, y in run) for run in runs if len(run) > 1),
        dots=tuple(run[0] for run in runs if len(run) == 1),
        times=tuple(_times(span)),
        levels=tuple(
            Tick(at=place(end, level)[1], label=f"{level:g} {unit}") for level in (low, (low + high) / 2, high)
        ),
        lowest=min(values),
        highest=max(values),
        last=values[-1],
        last_time=told[-1][0],
        gaps=len(runs) - 1,
    )


def _runs(points: Series) -> Iterable[Sequence[tuple[float, float]]]:
    """The points between two gaps."""
    run: list[tuple[float, float]] = []
    for time, value in points:
        if value is not None:
            run.append((time, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _levels(unit: str, lowest: float, highest: float) -> tuple[float, float]:
    """Where the axis of values begins and ends: a share of the whole is shown as one, degrees more closely."""
    if unit == "%":
        return 0.0, 100.0
    low, high = floor(lowest / 10) * 10, ceil(highest / 10) * 10
    return float(low), float(max(high, low + LEAST_DEGREES))


def _times(span: float) -> Iterable[Tick]:
    """Now, and round times before it."""
    step = next((each for each in TICK_SECONDS if span / each <= MOST_TICKS), TICK_SECONDS[-1])
    yield Tick(at=RIGHT, label="now")
    for number in range(1, int(span // step) + 1):
        seconds = number * step
        label = f"{seconds // 3600} h ago" if seconds % 3600 == 0 else f"{seconds // 60} min ago"
        yield Tick(at=round(RIGHT - seconds / span * (RIGHT - LEFT), 1), label=label)
