# -*- test-case-name: tests.test_web_recalled -*-
"""
What is answered about the readings of a node over time: the API sends it, the page of the node draws it.
"""

from collections.abc import Callable, Sequence

import attrs

from piman.fleet.interfaces import IReadings, Series
from piman.fleet.model import MACAddress
from piman.fleet.walltime import WallTime
from piman.web import wishes
from piman.web.shapes import JSON
from piman.web.wishes import Parameters, Refusal

UNITS = {"cpu_percent": "%", "memory_percent": "%", "disk_percent": "%", "num_pids": "", "temp": "°C"}
"""Of each value of a reading; empty: a count."""
USUAL_SECONDS = 6 * 3600.0
"""So far back it is told when nobody says how far."""
USUAL_POINTS = 360
"""One a minute in that time."""
MOST_POINTS = 5_000


@attrs.frozen(kw_only=True)
class Question:
    """Which readings are asked for."""

    metrics: tuple[str, ...]
    since: float
    """Seconds since 1970."""
    points: int


class Recalled:
    """
    The readings that are kept, in the host's time.

    :param gap_seconds: readings further apart than this have a gap between them, as of now.
    """

    def __init__(self, readings: IReadings, wall: WallTime, gap_seconds: Callable[[], float]) -> None:
        self._readings = readings
        self._wall = wall
        self._gap_seconds = gap_seconds

    def question(self, parameters: Parameters) -> Question:
        """
        What the parameters of a request mean.

        :raises Refusal: when one means nothing.
        """
        wishes.only(parameters, "metric", "since", "points")
        names: Sequence[str] = self._readings.names
        metric = wishes.word(parameters, "metric")
        if metric is not None and metric not in names:
            message = f"metric: found {metric!r:.60}, expected one of: {', '.join(names)}"
            raise Refusal(400, "bad-parameter", message, "Without it all are told.")
        usual = max(0, int(self._wall.now() - USUAL_SECONDS))
        points = wishes.number(parameters, "points", USUAL_POINTS, MOST_POINTS)
        if points == 0:
            message = f"points: found '0', expected a whole number from 1 to {MOST_POINTS}"
            raise Refusal(400, "bad-parameter", message, "Mend it.")
        since = wishes.number(parameters, "since", usual)
        return Question(metrics=(metric,) if metric else tuple(names), since=float(since), points=points)

    async def series(self, mac: MACAddress, metric: str, since: float, until: float, points: int) -> Series:
        """One value of a node in the host's time, both ends included; None in the middle of each gap."""
        ahead = self._wall.ahead
        found = await self._readings.series(mac, metric, since - ahead, until - ahead, points)
        gap = max(self._gap_seconds(), 2 * (until - since) / points)
        return [(time + ahead, value) for time, value in with_gaps(found, gap)]

    async def answer(self, mac: MACAddress, question: Question) -> JSON:
        """What was asked for, until now."""
        until = self._wall.now()
        return {
            "id": str(mac),
            "since": question.since,
            "until": until,
            "series": [
                {
                    "metric": metric,
                    "unit": UNITS.get(metric, ""),
                    "points": await self._points(mac, metric, question, until),
                }
                for metric in question.metrics
            ],
        }

    async def _points(self, mac: MACAddress, metric: str, question: Question, until: float) -> list[JSON]:
        found = await self.series(mac, metric, question.since, until, question.points)
        return [{"time": time, "value": value} for time, value in found]


def with_gaps(points: Series, longest: float) -> Series:
    """The points, with a None in the middle of each pause that is longer: nobody draws a line through it."""
    found: list[tuple[float, float | None]] = []
    for time, value in points:
        if found and time - found[-1][0] > longest:
            found.append(((time + found[-1][0]) / 2, None))
        found.append((time, value))
    return found
