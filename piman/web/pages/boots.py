# -*- test-case-name: tests.test_web_pages_boots -*-
"""
The boots of a node, from its stored events: how long each stage took.  Pure.

Phases are decided in :func:`piman.fleet.progress.advance` and nowhere else: the events are folded again.
"""

from collections.abc import Iterable, Mapping

import attrs

from piman.fleet.events import Recorded
from piman.fleet.model import MACAddress, NodeStatus, Phase
from piman.fleet.progress import advance

MOST_BOOTS = 8
"""That are shown."""
ENDS = frozenset({Phase.UP, Phase.SILENT, Phase.OFF})
"""Phases that are no part of a boot."""


@attrs.frozen(kw_only=True)
class StageTime:
    """One stage of a boot."""

    phase: Phase
    start: float
    """Seconds since the boot began."""
    seconds: float


@attrs.frozen(kw_only=True)
class Boot:
    """One boot of a node."""

    number: int
    began: float
    """Seconds since 1970."""
    stages: tuple[StageTime, ...]
    outcome: str
    """``up``, ``going on``, ``off`` (its power was taken away) or ``broken off`` (it began anew)."""

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return max((stage.start + stage.seconds for stage in self.stages), default=0.0)


def boots(mac: MACAddress, recorded: Iterable[Recorded], now: float) -> list[Boot]:
    """
    The latest boots, the newest first.

    :param recorded: events of the node in the host's time, oldest first.  Of a boot whose beginning is not among
        them nothing is told.
    """
    status, latest = NodeStatus(mac=mac), {}
    for each in recorded:
        status = advance(status, each)
        if status.attempt:
            latest[status.attempt] = status
    found = [_boot(status, latest, now) for status in latest.values()]
    return found[: -MOST_BOOTS - 1 : -1]


def _boot(status: NodeStatus, latest: Mapping[int, NodeStatus], now: float) -> Boot:
    after = latest.get(status.attempt + 1)
    parts = []
    for phase, time in status.timeline:
        if time < status.boot_started:
            continue
        parts.append((phase, time))
        if phase in ENDS:
            break
    ended = parts[-1] if parts and parts[-1][0] in ENDS else None
    steps = parts[:-1] if ended else parts
    end = ended[1] if ended else after.boot_started if after else now
    times = [time for _, time in steps] + [end]
    return Boot(
        number=status.attempt,
        began=status.boot_started,
        stages=tuple(
            StageTime(phase=phase, start=time - status.boot_started, seconds=max(0.0, until - time))
            for (phase, time), until in zip(steps, times[1:], strict=True)
        ),
        outcome=_outcome(ended[0] if ended else None, after is not None),
    )


def _outcome(ended: Phase | None, is_followed: bool) -> str:
    if ended is Phase.UP or ended is Phase.SILENT:
        return "up"
    if ended is Phase.OFF:
        return "off"
    return "broken off" if is_followed else "going on"
