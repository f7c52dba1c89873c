# -*- test-case-name: tests.test_fleet_pace -*-
"""
How long nodes take for the phases of a start, as seen lately: so what hangs is told from what is slow.

A board that stands still while its peers pass is not waited for as long as the slowest board that there is may take.
When many are late, that is no sign that they hang but that there is a load: then all are waited for to the end.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

from piman.fleet.model import Moment, Phase
from piman.fleet.operations.following import PATIENCE

LEARNED = frozenset({Phase.POWERED, Phase.OFFERED, Phase.LEASED, Phase.LOADING})
"""Phases of the firmware: what it does there differs little from boot to boot."""
REMEMBERED = 128
"""Of each phase, and of nodes."""
ENOUGH = 16
"""From fewer nothing is learned."""
LATE = 3.0
"""So many times as long as 95 of 100 have taken."""
SHORTEST_SECONDS = 30.0
"""Firmware is silent so long though all is well: a mask ROM makes five tries of five seconds."""
FREE_CUTS = 2
CUTS_SHARE = 0.1
"""So many boards, and this share of the latest, are given up early; those beyond have the whole time."""


class Pace:
    """What was learned from the nodes that passed."""

    def __init__(self) -> None:
        self._phases: dict[Phase, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._cuts: deque[bool] = deque(maxlen=REMEMBERED)

    def passed(self, stages: Sequence[tuple[Phase, Moment]]) -> None:
        """A node got through these phases; the last of them is the one that it is in now."""
        self._cuts.append(False)
        for (phase, since), (_, until) in pairwise(stages):
            if phase in LEARNED:
                self._phases[phase].append(until - since)

    def patience(self, phase: Phase) -> float:
        """Seconds without progress after which a board is late in this phase."""
        seen = self._phases.get(phase, ())
        if len(seen) < ENOUGH:
            return PATIENCE[phase]
        return min(PATIENCE[phase], max(SHORTEST_SECONDS, LATE * _most_of(seen)))

    def may_cut(self) -> bool:
        """Whether one more board may be taken for hung before its whole time is over."""
        return sum(self._cuts) < FREE_CUTS + CUTS_SHARE * len(self._cuts)

    def cut(self) -> None:
        """One was."""
        self._cuts.append(True)


def _most_of(seen: Iterable[float]) -> float:
    """95 of 100 are not above."""
    ordered = sorted(seen)
    return ordered[int(0.95 * (len(ordered) - 1))]
