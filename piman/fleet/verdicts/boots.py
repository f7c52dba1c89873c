# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
The boots of a node, told from its events: how far each came, and whether somebody had ordered it.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import attrs

from piman.fleet.events import Recorded
from piman.fleet.model import NodeStatus, Phase
from piman.fleet.progress import FIRMWARE, advance

RANKS = (
    Phase.OFFERED,
    Phase.LEASED,
    Phase.LOADING,
    Phase.STARTING,
    Phase.GREETING,
    Phase.FORMATTING,
    Phase.IMAGING,
    Phase.BOOTING,
    Phase.UP,
)
"""The way of a boot, step by step."""


RESTART_SECONDS = 600.0
"""Boots that began within this time may be a series of accidents."""


@attrs.frozen
class Boot:
    """One boot, as its phases with the time when each began."""

    phases: tuple[tuple[Phase, float], ...]

    @property
    def began(self) -> float:
        """When it began."""
        return self.phases[0][1] if self.phases else 0.0

    @property
    def was_ordered(self) -> bool:
        """Whether its power was switched on for it."""
        return bool(self.phases) and self.phases[0][0] is Phase.POWERED

    @property
    def is_whole(self) -> bool:
        """Whether its beginning was seen: the firmware at work."""
        first = [phase for phase, _ in self.phases if phase is not Phase.POWERED][:1]
        return bool(first) and first[0] in FIRMWARE

    @property
    def furthest(self) -> Phase | None:
        """How far it came."""
        reached = [RANKS.index(phase) for phase, _ in self.phases if phase in RANKS]
        return RANKS[max(reached)] if reached else None

    @property
    def passed_firmware(self) -> bool:
        """Whether a kernel was started."""
        return self.furthest is not None and self.furthest not in FIRMWARE

    def reached(self, phase: Phase) -> float | None:
        """When this phase began first."""
        return next((time for found, time in self.phases if found is phase), None)


def boots_of(status: NodeStatus, events: Iterable[Recorded]) -> tuple[Boot, ...]:
    """The boots, oldest first; the last one is that of the status, whatever the events tell."""
    folded = NodeStatus(mac=status.mac)
    earlier = []
    for recorded in events:
        after = advance(folded, recorded)
        if after.attempt != folded.attempt:
            earlier.append(Boot(folded.timeline))
        folded = after
    current = Boot(status.timeline)
    return (*(boot for boot in earlier if boot.furthest and boot.began < current.began), current)


def vain(boots: Sequence[Boot]) -> tuple[Boot, ...]:
    """
    The boots at the end that belong together: firmware that begins anew by itself and never starts a kernel.

    The last boot alone, when it came further.
    """
    found = [boots[-1]]
    if not boots[-1].passed_firmware:
        for boot in reversed(boots[:-1]):
            if found[0].was_ordered or boot.passed_firmware:
                break
            found.insert(0, boot)
    return tuple(found)


def first_reached(boots: Iterable[Boot], phase: Phase) -> float | None:
    """When one of these boots first reached the phase."""
    times = (boot.reached(phase) for boot in boots)
    return min((time for time in times if time is not None), default=None)


def restarts(boots: Sequence[Boot], since: float) -> tuple[Boot, ...]:
    """
    The boots that broke off and were followed by one that nobody had ordered, begun since then.

    An order ends the series: what was before it is over.
    """
    found: list[Boot] = []
    for broken, after in pairwise(boots):
        if after.was_ordered:
            found.clear()
        elif after.is_whole and after.began >= since:
            found.append(broken)
    return tuple(found)
