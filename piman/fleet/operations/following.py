# -*- test-case-name: tests.test_fleet_following -*-
"""
Whether a node that was given power is back, on its way, or to be given up.  Pure.

The proof of a restart is a DISCOVER, or an INIT-REBOOT REQUEST, of that board after its port was seen not delivering.
An agent that answers is none: a board with a second power supply never went away.
"""

from collections.abc import Callable, Mapping
from enum import Enum

import attrs

from piman.fleet.model import NodeStatus, Phase
from piman.fleet.operations.orders import Action, TargetReport

PATIENCE: Mapping[Phase, float] = {
    Phase.UNKNOWN: 60.0,
    Phase.OFF: 60.0,
    Phase.POWERED: 60.0,
    Phase.OFFERED: 60.0,
    Phase.LEASED: 60.0,
    Phase.LOADING: 120.0,
    Phase.STARTING: 120.0,
    Phase.GREETING: 150.0,
    Phase.FORMATTING: 1800.0,
    Phase.IMAGING: 1800.0,
    Phase.BOOTING: 240.0,
    Phase.UP: 60.0,
    Phase.SILENT: 60.0,
    Phase.STUCK: 60.0,
}
"""
Seconds without a sign of life after which a node makes no progress in a phase.

Firmware asks for an address within 15 s of power (netboot reference: 5 s a Pi 4, 8-11 s a Pi 5, 7-15 s the mask ROM)
and gives up after 25 to 60 s; nodes are silent for minutes while they unpack.
"""

PROOFS = frozenset(Phase) - {Phase.UNKNOWN, Phase.OFF, Phase.POWERED, Phase.UP, Phase.SILENT, Phase.STUCK}
"""Phases that only DHCP, TFTP and the installer lead to."""


class Outcome(Enum):
    """How it stands with a node that was given power."""

    ON_ITS_WAY = "on its way"
    BACK = "back"
    OVERDUE = "overdue"
    """No sign of life for longer than its phase may take."""
    UNMOVED = "unmoved"
    """It runs, and shows no sign that it ever stopped."""


@attrs.frozen
class Standing:
    """The judgement, and when to judge again though nothing happens."""

    outcome: Outcome
    again_at: float = float("inf")


def restarted(report: TargetReport, status: NodeStatus) -> bool:
    """Whether the board has asked for an address, or more, since its port was seen without power."""
    return any(phase in PROOFS and time >= report.off_at for phase, time in status.timeline)


def stages(report: TargetReport, status: NodeStatus) -> tuple[tuple[Phase, float], ...]:
    """The phases of the node since its power came back, with the time when each began."""
    return tuple((phase, time) for phase, time in status.timeline if time >= report.off_at)


def judge(
    report: TargetReport,
    status: NodeStatus,
    now: float,
    *,
    action: Action,
    installed: bool,
    patience: Callable[[Phase], float] = PATIENCE.__getitem__,
) -> Standing:
    """
    How it stands with the node of a target that is being followed.

    :param installed: whether the intent of a reinstallation is fulfilled.
    :param patience: seconds without a sign of life after which a node makes no progress in a phase.
    """
    has_restarted = restarted(report, status)
    is_up = status.phase is Phase.UP
    if has_restarted and is_up and (installed or action is not Action.REINSTALL):
        return Standing(Outcome.BACK)
    if action is Action.POWER_ON and is_up:  # it had power all the time
        return Standing(Outcome.BACK)
    waits_since = max(report.on_at, status.last_seen if has_restarted else 0.0, status.since if has_restarted else 0.0)
    phase = status.phase if has_restarted else Phase.POWERED
    overdue_at = waits_since + patience(phase)
    if now < overdue_at:
        return Standing(Outcome.ON_ITS_WAY, overdue_at)
    return Standing(Outcome.UNMOVED if is_up and not has_restarted else Outcome.OVERDUE)
