# -*- test-case-name: tests.test_fleet_nodes -*-
"""
How an event changes what is known of a node: :func:`advance` folds it into the status.

``advance`` is total and idempotent: power fails, packets repeat, a manager starts in the middle of a boot.  So no
event is impossible in any phase, and an event that was folded in already changes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from piman.fleet import events
from piman.fleet.events import Event, Recorded
from piman.fleet.model import NodeStatus, Phase, Stage
from piman.fleet.wording import describe

OFFER_RETRY_SECONDS = 120.0
"""Firmware that asks again within this time is still at the same boot; it asks every 5 to 45 s."""

BOOTCODE_SECONDS = 60.0
"""
A ROM-family board asks for an address a second time after it has loaded bootcode.bin, within this time.

Seen with the bootcode.bin of 2019 and later on Pi 2, 3 and 3B+: the same boot, though it is a DISCOVER.
"""

TIMELINE_LENGTH = 32
"""Phases of one boot that are remembered; of a longer story the newest."""

FIRMWARE = frozenset({Phase.OFFERED, Phase.LEASED, Phase.LOADING})
"""Phases in which the firmware of the board is at work."""

INSTALLING = frozenset({Phase.GREETING, Phase.FORMATTING, Phase.IMAGING, Phase.BOOTING})
"""Phases in which the initramfs has called."""


def advance(status: NodeStatus, recorded: Recorded) -> NodeStatus:
    """The status after the event; the very same status when the event is old, another node's or of no meaning."""
    event = recorded.event
    fold = FOLDS.get(type(event))
    if fold is None or event.mac != status.mac or recorded.id <= status.last_event_id:
        return status
    return attrs.evolve(fold(status, event, recorded.time), last_event_id=recorded.id)


# What an event can do to a status


def _enter(status: NodeStatus, phase: Phase, time: float, *, anew: bool = False) -> NodeStatus:
    """The status in this phase; when it is there already nothing changes, unless the phase begins anew."""
    if phase is status.phase and not anew:
        return status
    timeline = (*status.timeline, (phase, time))[-TIMELINE_LENGTH:]
    return attrs.evolve(status, phase=phase, since=time, timeline=timeline)


def _begin(status: NodeStatus, phase: Phase, time: float) -> NodeStatus:
    """A new boot that is in this phase; when the power was switched on for it, it began then."""
    powered = status.phase is Phase.POWERED
    return attrs.evolve(
        status,
        attempt=status.attempt + 1,
        boot_started=status.since if powered else time,
        phase=phase,
        since=time,
        timeline=((Phase.POWERED, status.since), (phase, time)) if powered else ((phase, time),),
    )


def _reach(status: NodeStatus, phase: Phase, time: float, same_boot: frozenset[Phase]) -> NodeStatus:
    """Enter the phase, within the boot at hand if it was in one of these phases, else in a new one."""
    return _enter(status, phase, time) if status.phase in same_boot else _begin(status, phase, time)


def _seen(status: NodeStatus, event: Any, time: float) -> NodeStatus:
    """The node gave a sign of life."""
    return attrs.evolve(status, last_seen=time)


def _told(status: NodeStatus, event: Any, time: float) -> NodeStatus:
    """Something worth telling, which is no sign of life."""
    return attrs.evolve(status, detail=describe(event))


def _spoke(status: NodeStatus, event: Any, time: float) -> NodeStatus:
    """A sign of life that is worth telling."""
    return attrs.evolve(status, last_seen=time, detail=describe(event))


def _identified(status: NodeStatus, event: Any, time: float) -> NodeStatus:
    """A sign of life that says which board it is; what it does not say stays as it was."""
    return attrs.evolve(
        _spoke(status, event, time),
        stage=event.stage,
        serial=event.serial or status.serial,
        model=event.model or status.model,
    )


# Power


def _dark(status: NodeStatus, event: Any, time: float) -> NodeStatus:
    return _enter(_told(status, event, time), Phase.OFF, time)


def _powered(status: NodeStatus, event: Any, time: float) -> NodeStatus:
    """Also when it was so before: each time that power comes, a boot may begin."""
    return _enter(_told(status, event, time), Phase.POWERED, time, anew=True)


# DHCP


def _stranger_seen(status: NodeStatus, event: events.StrangerSeen, time: float) -> NodeStatus:
    return _enter(_identified(status, event, time), Phase.UNKNOWN, time)


def _offered(status: NodeStatus, event: events.AddressOffered, time: float) -> NodeStatus:
    seen = _identified(status, event, time)
    if event.stage.is_firmware:
        return _firmware_offered(status, attrs.evolve(seen, address=event.address), event, time)
    if event.stage is Stage.OTHER and status.phase in (Phase.UNKNOWN, Phase.OFF, Phase.POWERED):
        return _begin(seen, Phase.OFFERED, time)
    return seen


def _firmware_offered(status: NodeStatus, seen: NodeStatus, event: events.AddressOffered, time: float) -> NodeStatus:
    if status.phase is Phase.OFFERED and time - status.last_seen <= OFFER_RETRY_SECONDS:
        return seen
    if status.phase is Phase.LOADING and event.stage is Stage.ROM and time - status.since <= BOOTCODE_SECONDS:
        return seen
    return _begin(seen, Phase.OFFERED, time)


def _leased(status: NodeStatus, event: events.AddressLeased, time: float) -> NodeStatus:
    seen = attrs.evolve(_identified(status, event, time), address=event.address)
    if event.stage.is_firmware:
        return seen if status.phase is Phase.LOADING else _reach(seen, Phase.LEASED, time, FIRMWARE)
    if event.stage is Stage.OS:
        return seen if status.phase in (Phase.UP, Phase.SILENT) else _enter(seen, Phase.BOOTING, time)
    if event.stage is Stage.OTHER:
        early = status.phase in (Phase.UNKNOWN, Phase.OFF, Phase.POWERED, Phase.OFFERED)
        return _reach(seen, Phase.LEASED, time, FIRMWARE) if early else seen
    return _linux_leased(status, seen, event, time)


def _linux_leased(status: NodeStatus, seen: NodeStatus, event: events.AddressLeased, time: float) -> NodeStatus:
    """The kernel asks once, before the initramfs runs; the initramfs may ask at any time of its work."""
    if event.stage is Stage.INITRAMFS and status.phase in INSTALLING:
        return seen
    return _reach(seen, Phase.STARTING, time, FIRMWARE | INSTALLING | {Phase.STARTING})


def _renewed(status: NodeStatus, event: events.LeaseRenewed, time: float) -> NodeStatus:
    return attrs.evolve(status, last_seen=time, address=event.address)


def _gave_up_address(status: NodeStatus, event: Any, time: float) -> NodeStatus:
    kept = None if status.address == event.address else status.address
    return attrs.evolve(_spoke(status, event, time), address=kept)


def _went_elsewhere(status: NodeStatus, event: events.OtherServerChosen, time: float) -> NodeStatus:
    return attrs.evolve(_spoke(status, event, time), address=None)


# What happens too often


def _repeated(status: NodeStatus, event: events.EventRepeated, time: float) -> NodeStatus:
    """What is not stored changes the status all the same."""
    fold = FOLDS.get(type(event.event))
    return status if fold is None else fold(status, event.event, time)


def _counted(status: NodeStatus, event: events.RepeatsCounted, time: float) -> NodeStatus:
    """It comes late: what was told since then is newer."""
    return status


# TFTP, hello, images


def _loading(status: NodeStatus, event: events.LoadingStarted, time: float) -> NodeStatus:
    return _reach(_spoke(status, event, time), Phase.LOADING, time, FIRMWARE)


def _loaded(status: NodeStatus, event: events.BootFilesServed, time: float) -> NodeStatus:
    """Said some time after the last file: by then there may be later things to tell."""
    return _told(status, event, time) if status.phase is Phase.LOADING else status


def _connected(status: NodeStatus, event: events.InstallerConnected, time: float) -> NodeStatus:
    seen = attrs.evolve(_spoke(status, event, time), address=event.address)
    return _reach(seen, Phase.GREETING, time, FIRMWARE | INSTALLING | {Phase.STARTING})


def _to(phase: Phase) -> Callable[[NodeStatus, Any, float], NodeStatus]:
    """The node is at work and in this phase now."""
    return lambda status, event, time: _enter(_spoke(status, event, time), phase, time)


def _boot_ordered(status: NodeStatus, event: events.BootOrdered, time: float) -> NodeStatus:
    """A node of version 2 says what is on its card, also when another manager put it there."""
    booting = _enter(_spoke(status, event, time), Phase.BOOTING, time)
    if event.digest in ("", status.digest):
        return booting
    return attrs.evolve(booting, digest=event.digest, image="", installed=0.0)


def _format_ordered(status: NodeStatus, event: events.FormatOrdered, time: float) -> NodeStatus:
    """From now on its card holds no whole image."""
    formatting = _enter(_spoke(status, event, time), Phase.FORMATTING, time)
    return attrs.evolve(formatting, digest=None, image="", installed=0.0)


# After the boot


def _installed(status: NodeStatus, event: events.Installed, time: float) -> NodeStatus:
    """Whether the new system has an agent is not known yet."""
    spoke = attrs.evolve(_spoke(status, event, time), has_agent=False)
    holding = attrs.evolve(spoke, digest=event.digest or None, image=event.image, installed=time)
    return _enter(holding, Phase.BOOTING, time)


def _up(status: NodeStatus, event: events.NodeUp, time: float) -> NodeStatus:
    told = _told(status, event, time) if event.evidence == "time" else _spoke(status, event, time)
    has_agent = status.has_agent or event.evidence == "agent"
    return _enter(attrs.evolve(told, has_agent=has_agent), Phase.UP, time)


def _silent(status: NodeStatus, event: events.NodeSilent, time: float) -> NodeStatus:
    """Only a node that was up, or of which nothing is known, falls silent: one that boots is on its way."""
    told = _told(status, event, time)
    return _enter(told, Phase.SILENT, time) if status.phase in (Phase.UP, Phase.UNKNOWN) else told


Fold = Callable[[NodeStatus, Any, float], NodeStatus]

FOLDS: Mapping[type[Event], Fold | None] = {
    events.ManagerStarted: None,
    events.ClockStepped: None,
    events.ConfigurationReloaded: None,
    events.ConfigurationEdited: None,
    events.ConfigurationRejected: None,
    events.StoreReplaced: None,
    events.RecordsRejected: None,
    events.LoggedIn: None,
    events.LoginRefused: None,
    events.OperationStarted: None,
    events.OperationCancelled: None,
    events.OperationEnded: None,
    events.PowerRemoved: _dark,
    events.PowerGiven: _powered,
    events.PowerCycled: _powered,
    events.PowerCycleFailed: _told,
    events.ImageChosen: None,
    events.ImageChoiceWithdrawn: None,
    events.RecoveryBegun: _told,
    events.RecoveryEnded: _told,
    events.RecoveryHeldBack: None,
    events.StrangerSeen: _stranger_seen,
    events.AddressOffered: _offered,
    events.AddressLeased: _leased,
    events.LeaseRenewed: _renewed,
    events.AddressRefused: _spoke,
    events.AddressDeclined: _gave_up_address,
    events.AddressReleased: _gave_up_address,
    events.AddressHeld: _spoke,
    events.PoolExhausted: _spoke,
    events.AddressOccupied: None,
    events.OtherServerChosen: _went_elsewhere,
    events.EventRepeated: _repeated,
    events.RepeatsCounted: _counted,
    events.LoadingStarted: _loading,
    events.BootFilesServed: _loaded,
    events.TransferAborted: _told,
    events.InstallerConnected: _connected,
    events.InstallerUnknown: _told,
    events.ClockSet: _seen,
    events.IntentOpened: _told,
    events.IntentClosed: _told,
    events.BootOrdered: _boot_ordered,
    events.FormatOrdered: _format_ordered,
    events.InstallerReported: _spoke,
    events.InstallerFailed: _to(Phase.STUCK),
    events.WordUnexpected: _seen,
    events.ImageStarted: _to(Phase.IMAGING),
    events.ImageSent: _spoke,
    events.ImageInterrupted: _told,
    events.Installed: _installed,
    events.NodeUp: _up,
    events.NodeSilent: _silent,
    events.NodeRecovered: _to(Phase.UP),
}
"""What each class of the catalogue does to the status of its node; None: nothing."""
