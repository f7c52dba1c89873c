# -*- test-case-name: tests.test_fleet_operations -*-
"""
What the operator ordered, as values: an operation, and how far it has come with each of its targets.

Frozen; :mod:`piman.fleet.operations.book` makes the next one from the last.  Times are seconds since 1970.
"""

from collections import Counter
from enum import Enum

import attrs

from piman.fleet.model import Moment, Phase, SwitchPort
from piman.fleet.operations.targets import Target


class Action(Enum):
    """What can be done to a port and its node."""

    RESTART = "restart"
    REINSTALL = "reinstall"
    POWER_ON = "power-on"
    POWER_OFF = "power-off"

    @property
    def cycles(self) -> bool:
        """Whether the power goes off and on again."""
        return self in (Action.RESTART, Action.REINSTALL)


class Step(Enum):
    """How far an operation has come with one target."""

    WAITING = "waiting"
    """Its turn has not come."""
    SWITCHING_OFF = "switching off"
    """This is on disk; the switch is told to take the power away."""
    OFF = "off"
    """The port was seen not delivering."""
    SWITCHING_ON = "switching on"
    """The switch is told to give power."""
    FOLLOWING = "following"
    """The port gives power; the node is on its way."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be done."""
        return self in (Step.DONE, Step.FAILED, Step.CANCELLED)

    @property
    def may_be_dark(self) -> bool:
        """Whether a port whose power is cycled may be without it: at a start such a port is switched on."""
        return self in (Step.SWITCHING_OFF, Step.OFF, Step.SWITCHING_ON)

    @property
    def is_in_flight(self) -> bool:
        """Whether something is being done."""
        return not self.is_final and self is not Step.WAITING


@attrs.frozen(kw_only=True)
class TargetReport:
    """How far it is with one target."""

    target: Target
    step: Step = Step.WAITING
    started: Moment = 0.0
    """When its turn came."""
    off_at: Moment = 0.0
    """When the port was last seen not delivering."""
    on_at: Moment = 0.0
    """When power was last given again."""
    finished: Moment = 0.0
    tries: int = 0
    """Power cycles so far."""
    dark: bool = False
    """The port is off because of us, and could not be switched on again yet: that is tried on and on."""
    intent: str = ""
    """The id of the intent of a reinstallation."""
    stages: tuple[tuple[Phase, Moment], ...] = ()
    """Phases that the node went through since, with the time when each began."""
    reason: str = ""
    """Why it failed, or what it waits for: a plain sentence."""
    remedy: str = ""
    """What to do about it."""

    @property
    def seconds(self) -> float:
        """How long it took; 0: not finished."""
        return max(0.0, self.finished - self.started) if self.finished else 0.0


@attrs.frozen(kw_only=True)
class Operation:
    """One order of the operator."""

    id: str
    """Short enough to be typed: 8 hexadecimal digits."""
    action: Action
    who: str = ""
    """The user that ordered it."""
    source: str = ""
    """From where: ``control socket``, an address."""
    created: Moment = 0.0
    finished: Moment = 0.0
    at_most: int = 0
    """Rolling: so many targets at a time; 0: as many as the manager thinks good."""
    stop_after: int = 0
    """Begin with no more targets after so many have failed; 0: go on."""
    image: str = ""
    """What is installed; empty: each node's own."""
    cancelled_by: str = ""
    tries: int = 0
    """Power cycles for one target; 0: as many as the configuration says."""
    reports: tuple[TargetReport, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be done."""
        return all(report.step.is_final for report in self.reports)

    @property
    def failures(self) -> int:
        """Targets that failed."""
        return self.counts[Step.FAILED]

    @property
    def counts(self) -> "Counter[Step]":
        """Targets by step."""
        return Counter(report.step for report in self.reports)

    @property
    def ports(self) -> tuple[SwitchPort, ...]:
        """The ports of all targets."""
        return tuple(report.target.port for report in self.reports if report.target.port is not None)

    def with_report(self, index: int, **changes: object) -> "Operation":
        """The operation after something happened to one target."""
        reports = list(self.reports)
        reports[index] = attrs.evolve(reports[index], **changes)  # type: ignore[arg-type]
        return attrs.evolve(self, reports=tuple(reports))
