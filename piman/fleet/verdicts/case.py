# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
The evidence over a node, in order, and the verdict over it as values.
"""

from ipaddress import IPv4Address
from typing import TypeVar

import attrs

from piman.fleet.events import Event, Recorded
from piman.fleet.model import Node, NodeStatus, Phase, PortPower, PowerBudget
from piman.fleet.operations.following import PATIENCE
from piman.fleet.verdicts.boots import RESTART_SECONDS, Boot, boots_of, vain
from piman.fleet.verdicts.remedies import ADVICE, Fault
from piman.fleet.wording import shown

Kind = TypeVar("Kind", bound=Event)


@attrs.frozen(kw_only=True)
class Evidence:
    """What is known of a node."""

    now: float
    status: NodeStatus
    node: Node | None = None
    """The operator's entry; None: a stranger."""
    events: tuple[Recorded, ...] = ()
    """Those of this boot and of a few before, oldest first; fewer make the verdict less certain."""
    power: PortPower | None = None
    """Its port, as it was last read; None: not known."""
    budget: PowerBudget | None = None
    watched_since: float = 0.0
    """Since when the manager would have heard of it."""
    free_address: IPv4Address | None = None
    """Of a stranger: the address that is expected at its port."""
    is_given_up: bool = False
    """Whoever asks has waited long enough: what is on its way is late."""


@attrs.frozen
class Verdict:
    """Why a node is where it is, and what to do; no fault: it is well, or on its way."""

    fault: Fault | None
    sentence: str
    remedy: str = ""


@attrs.frozen
class Case:
    """
    The evidence, in order.

    :ivar boots: all that matter, and :attr:`latest`, those at the end that belong together.
    :ivar recent: the events since the first of these began, or since its power was switched.
    """

    evidence: Evidence
    boots: tuple[Boot, ...]
    latest: tuple[Boot, ...]
    recent: tuple[Recorded, ...]

    @classmethod
    def of(cls, evidence: Evidence) -> "Case":
        """Tell boots from each other."""
        boots = boots_of(evidence.status, evidence.events if _needs_history(evidence) else ())
        latest = vain(boots)
        since = latest[0].began if latest[0].furthest is not None else 0.0
        if evidence.status.phase in (Phase.OFF, Phase.POWERED):  # whatever was before is over
            since = evidence.status.since
        recent = tuple(recorded for recorded in evidence.events if recorded.time >= since)
        return cls(evidence, boots, latest, recent)

    @property
    def status(self) -> NodeStatus:
        """The node's."""
        return self.evidence.status

    def is_late(self, since: float, phase: Phase) -> bool:
        """Whether what began then has had its time."""
        return self.has_passed(since, PATIENCE[phase])

    def has_passed(self, since: float, seconds: float) -> bool:
        """Whether it was so long ago, or has been waited for long enough."""
        return self.evidence.is_given_up or self.evidence.now >= since + seconds

    def ago(self, time: float) -> str:
        """How long ago it was, as people say it."""
        return duration(self.evidence.now - time)

    def all(self, *kinds: type[Kind]) -> list[Kind]:
        """The recent events of these classes."""
        return [recorded.event for recorded in self.recent if isinstance(recorded.event, kinds)]

    def last(self, kind: type[Kind], *, unless: tuple[type[Event], ...] = ()) -> Kind | None:
        """The latest recent event of a class, unless one of others came after it."""
        for recorded in reversed(self.recent):
            if isinstance(recorded.event, kind):
                return recorded.event
            if isinstance(recorded.event, unless):
                return None
        return None

    def say(self, fault: Fault, sentence: str, **fields: object) -> Verdict:
        """A verdict with the remedy of its fault."""
        name = self.evidence.node.name if self.evidence.node is not None else str(self.status.mac)
        words = {key: shown(value) for key, value in fields.items()}
        return Verdict(fault, sentence, ADVICE[fault].remedy.format_map({"name": shown(name), **words}))


def _needs_history(evidence: Evidence) -> bool:
    """Whether earlier boots can matter: to tell them from events costs a thousand times more than to do without."""
    current = Boot(evidence.status.timeline)
    return not current.passed_firmware or evidence.now < current.began + RESTART_SECONDS


def duration(seconds: float) -> str:
    """A time as people say it; a clock that was set back is no time."""
    seconds = max(0.0, seconds)
    for unit, name in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}" if seconds < 1e12 else "ages"
    return f"{seconds:.0f} s"
