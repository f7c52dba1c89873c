# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
From what is known of a node to one plain sentence with a remedy: why it is where it is, and what to do.  Pure.

A phase that has not lasted its time (:data:`piman.fleet.operations.following.PATIENCE`) is on its way, and no fault.
Firmware that begins anew by itself does not begin a new wait: its time counts from when it first came so far.  Total:
any evidence has a verdict, the most certain one that it allows.  The table of faults:
:mod:`piman.fleet.verdicts.remedies`.
"""

from collections.abc import Callable, Mapping

from piman.fleet import events
from piman.fleet.model import Phase
from piman.fleet.operations.following import PATIENCE
from piman.fleet.verdicts.address import name_it
from piman.fleet.verdicts.boots import RESTART_SECONDS, restarts
from piman.fleet.verdicts.case import Case, Evidence, Verdict, duration
from piman.fleet.verdicts.firmware import stuck_firmware
from piman.fleet.verdicts.installer import silent_installer, stuck_installation, stuck_installer
from piman.fleet.verdicts.power import dark, unheard
from piman.fleet.verdicts.remedies import Fault
from piman.fleet.verdicts.system import fallen_silent, not_coming_up, not_up
from piman.fleet.wording import counted

__all__ = ["Evidence", "Fault", "Verdict", "verdict"]

RESTARTS = 3
"""So many starts without an order within :data:`RESTART_SECONDS` are no accident."""

WORK: Mapping[Phase, str] = {
    Phase.UNKNOWN: "nothing was heard of it yet",
    Phase.OFF: "it is switched off",
    Phase.POWERED: "its power is on, and its firmware starts",
    Phase.OFFERED: "its firmware was offered an address",
    Phase.LEASED: "its firmware has an address",
    Phase.LOADING: "it loads its boot files",
    Phase.STARTING: "its kernel starts",
    Phase.GREETING: "its installer has called",
    Phase.FORMATTING: "its card is being formatted",
    Phase.IMAGING: "it fetches its image",
    Phase.BOOTING: "it starts its system",
    Phase.UP: "it is up",
    Phase.SILENT: "its agent has missed some answers",
    Phase.STUCK: "its installer has met trouble and calls again",
}
"""What a node does that is on its way."""


def verdict(evidence: Evidence) -> Verdict:
    """The verdict over a node."""
    case = Case.of(evidence)
    for judge in (_stranger, _flapping, JUDGES[evidence.status.phase]):
        found = judge(case)
        if found is not None:
            return Verdict(found.fault, found.sentence + _in_vain(evidence), found.remedy)
    return Verdict(None, _on_its_way(case))


def _in_vain(evidence: Evidence) -> str:
    """What recovery has tried since the node was last up, if it has left it by now."""
    for recorded in reversed(evidence.events):
        if isinstance(recorded.event, events.RecoveryEnded):
            cycles = counted(recorded.event.attempts, "power cycle")
            return f"; {cycles} by recovery did not help, and it is left to people"
        if isinstance(recorded.event, events.NodeUp):
            break
    return ""


def _on_its_way(case: Case) -> str:
    status = case.status
    work = WORK[status.phase]
    if status.phase in (Phase.UNKNOWN, Phase.OFF):
        return work
    if status.phase is Phase.UP:
        up = case.last(events.NodeUp)
        is_guess = up is not None and up.evidence == "time"
        return f"{work}, as far as one can tell: it was told to boot and called no more" if is_guess else work
    return f"{work}, {case.ago(status.since)} so far of {duration(PATIENCE[status.phase])} at most"


# Before anything else


def _stranger(case: Case) -> Verdict | None:
    """A board of which no file speaks will not get on, however long one waits."""
    if case.evidence.node is not None or case.status.phase is not Phase.UNKNOWN:
        return None
    return name_it(case) if case.last(events.StrangerSeen) or case.status.last_seen else None


def _flapping(case: Case) -> Verdict | None:
    """Boots that break off behind the firmware, several in a few minutes, none of them ordered."""
    is_over = case.status.phase in (Phase.OFF, Phase.POWERED)
    broken = () if is_over else restarts(case.boots, case.evidence.now - RESTART_SECONDS)
    passed = [boot for boot in broken if boot.passed_firmware]
    if len(broken) < RESTARTS or len(passed) < RESTARTS - 1:
        return None
    often = f"it started anew {len(broken)} times in {case.ago(broken[0].began)} without an order"
    if all(boot.furthest is Phase.BOOTING for boot in broken):
        return case.say(Fault.NOT_UP, f"{often}, each time when its system should have come up")
    last = broken[-1].furthest
    return case.say(Fault.FLAPPING, f"{often}; the last boot broke off in phase {last.value if last else 'unknown'}")


# Each phase

Judge = Callable[[Case], Verdict | None]

JUDGES: Mapping[Phase, Judge] = {
    Phase.UNKNOWN: unheard,
    Phase.OFF: dark,
    Phase.POWERED: unheard,
    Phase.OFFERED: stuck_firmware,
    Phase.LEASED: stuck_firmware,
    Phase.LOADING: stuck_firmware,
    Phase.STARTING: silent_installer,
    Phase.GREETING: stuck_installer,
    Phase.FORMATTING: stuck_installation,
    Phase.IMAGING: stuck_installation,
    Phase.BOOTING: not_coming_up,
    Phase.UP: not_up,
    Phase.SILENT: fallen_silent,
    Phase.STUCK: stuck_installer,
}
