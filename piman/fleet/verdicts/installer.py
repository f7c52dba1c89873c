# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
Where the installer of a node stopped: between the start of its kernel and the order to boot.
"""

from collections.abc import Iterator
from typing import Any

from piman.fleet import events
from piman.fleet.events import Event, Recorded
from piman.fleet.model import NodeStatus, Phase
from piman.fleet.verdicts.address import address_trouble, name_it
from piman.fleet.verdicts.case import Case, Verdict
from piman.fleet.verdicts.complaints import fault_of
from piman.fleet.verdicts.firmware import missing_file
from piman.fleet.verdicts.needs import INITRAMFS, needed
from piman.fleet.verdicts.power import power_trouble
from piman.fleet.verdicts.remedies import Fault
from piman.fleet.wording import shown, size

PROGRESS = (
    events.FormatOrdered,
    events.Installed,
    events.NodeUp,
    events.LoadingStarted,
    events.PowerGiven,
    events.PowerCycled,
)
"""What gives the installer new time."""
SUCCESS = (events.Installed, events.NodeUp)
"""What makes older complaints of it old stories."""


def silent_installer(case: Case) -> Verdict | None:
    """The kernel runs; an initramfs that it did not get is the likeliest reason, if there is one."""
    if not case.is_late(case.status.since, Phase.STARTING):
        return None
    reports = case.all(events.BootFilesServed)
    served = [name for report in reports for name in report.served]
    lacked = needed(served, [name for report in reports for name in report.missing if INITRAMFS.fullmatch(name)])
    sentence = f"its kernel has an address for {case.ago(case.status.since)}, but its installer does not call"
    return (
        power_trouble(case)
        or address_trouble(case)
        or missing_file(case, lacked, served + lacked)
        or _unknown_installer(case)
        or case.say(Fault.INSTALLER_SILENT, sentence)
    )


def _unknown_installer(case: Case) -> Verdict | None:
    unknown = case.last(events.InstallerUnknown)
    if unknown is None:
        return None
    if case.evidence.node is None:
        return name_it(case)
    sentence = f"an installer calls from {unknown.address}, and nobody knows whose: {shown(unknown.reason)}"
    return case.say(Fault.INSTALLER_UNKNOWN, sentence)


def stuck_installer(case: Case) -> Verdict | None:
    """It has called; a node that is turned away calls again and again."""
    trouble = list(_complaints(case, PROGRESS))
    if not trouble and _work(case.status) is not None:
        return stuck_installation(case)
    since = trouble[-1].time if trouble else case.status.since
    if not case.is_late(since, Phase.STUCK if trouble else case.status.phase):
        return None
    return power_trouble(case) or _complaint(case) or _mute(case)


def _work(status: NodeStatus) -> Phase | None:
    """What it does with its card; the work of an installer that calls again goes on."""
    phases = [phase for phase, _ in status.timeline[-2:] if phase is not Phase.GREETING]
    return phases[-1] if phases and phases[-1] in (Phase.FORMATTING, Phase.IMAGING) else None


def _complaints(case: Case, unless: tuple[type[Event], ...]) -> Iterator[Recorded]:
    """Complaints since the last of these events, newest first."""
    for recorded in reversed(case.evidence.events):
        if isinstance(recorded.event, unless):
            return
        if isinstance(recorded.event, events.InstallerFailed) or _is_exchanged(recorded.event):
            yield recorded


def _is_exchanged(event: Event) -> bool:
    return isinstance(event, events.IntentClosed) and "in the place of board" in event.reason


def _complaint(case: Case) -> Verdict | None:
    """The latest complaint that says more than that there was one before."""
    found: Verdict | None = None
    for recorded in _complaints(case, SUCCESS):
        event: Any = recorded.event
        if isinstance(event, events.IntentClosed):
            return case.say(Fault.WRONG_BOARD, f"it is not installed: {shown(event.reason)}")
        fault = fault_of(event.code, event.reason)
        found = case.say(fault, f"its installer cannot go on: {shown(event.reason)}")
        if fault is not Fault.INSTALL_PAUSED:
            return found
    return found


def _mute(case: Case) -> Verdict:
    if case.status.phase is Phase.STUCK:
        told = shown(case.status.detail) or "says no more"
        return case.say(Fault.INSTALLER_FAILED, f"its installer cannot go on: it {told}")
    since = case.ago(case.status.since)
    return case.say(Fault.INSTALLER_SILENT, f"its installer called {since} ago and has not said what is on its card")


def stuck_installation(case: Case) -> Verdict | None:
    """It works on its card, and has long said nothing of it."""
    status = case.status
    since = max(status.since, status.last_seen)
    phase = _work(status) or status.phase
    if not case.is_late(since, phase):
        return None
    known = power_trouble(case)
    broken = case.last(events.ImageInterrupted, unless=(events.ImageSent,))
    if known is None and broken is not None:
        sentence = f"the stream of its image broke off after {size(broken.sent_bytes)}: {shown(broken.reason)}"
        return case.say(Fault.IMAGE_BROKEN, sentence)
    work = "formatting its card" if phase is Phase.FORMATTING else "putting the image on its card"
    return known or case.say(Fault.INSTALL_STALLS, f"it was {work} and has said nothing for {case.ago(since)}")
