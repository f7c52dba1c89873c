# -*- test-case-name: tests.test_fleet_journal -*-
"""
Events in plain words, for the log, the terminal and the pages.

Texts that came from the network are shown with their control characters escaped and cut to a sane length, so
that no board can draw on the operator's terminal.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from piman.fleet import events
from piman.fleet.events import Event

TEXT_LIMIT = 200
"""Characters of one text from the network that are shown."""

LIST_LIMIT = 5
"""Members of a list that are shown by name."""


def describe(event: Event) -> str:
    """The event in plain words, without time and node; total, also over events that plugins add."""
    wording = WORDING.get(type(event))
    if wording is None:
        return f"{type(event).__name__} {shown(str(event))}"
    if callable(wording):
        return wording(event)
    return wording.format_map(_Fields(event))


def shown(value: Any) -> str:
    """A value as people read it, harmless to a terminal."""
    if isinstance(value, str):
        return _printable(value if len(value) <= TEXT_LIMIT else value[: TEXT_LIMIT - 3] + "...")
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        rest = f" and {len(value) - LIST_LIMIT} more" if len(value) > LIST_LIMIT else ""
        return ", ".join(shown(member) for member in value[:LIST_LIMIT]) + rest
    return "" if value is None else str(value)


def size(count: int) -> str:
    """A number of bytes as people read it."""
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def counted(count: int, what: str) -> str:
    """So many of something: ``1 warning``, ``2 warnings``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class _Fields(dict[str, Any]):
    """The fields of an event for :meth:`str.format_map`: numbers as they are, everything else as shown."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self._event = event

    def __missing__(self, name: str) -> Any:
        value = getattr(self._event, name)
        return value if isinstance(value, int | float) else shown(value)


def _board(event: Any) -> str:
    parts = [f"{shown(event.stage)} stage"]
    if event.model:
        parts.append(f"Pi {shown(event.model)}")
    if event.serial:
        parts.append(f"serial {shown(event.serial)}")
    return ", ".join(parts)


def _because(reason: str) -> str:
    return f": {shown(reason)}" if reason else ""


def _reloaded(event: events.ConfigurationReloaded) -> str:
    warnings = f", {counted(len(event.warnings), 'warning')}: {shown(event.warnings)}" if event.warnings else ""
    return f"configuration read again: {counted(event.nodes, 'node')}{warnings}"


def _rejected(event: events.RecordsRejected) -> str:
    where = f": kept in {shown(event.kept_in)}" if event.kept_in else ": they stay where they are"
    records = counted(event.records, "record")
    return f"{records} of {shown(event.table)} in {shown(event.path)} cannot be read ({shown(event.reason)}){where}"


def _login_refused(event: events.LoginRefused) -> str:
    whose = f"{shown(event.who)} with a wrong password" if event.who else "a name that no user has"
    more = f", and {event.held_back} more before it" if event.held_back else ""
    return f"login refused on the web site from {shown(event.source)}: {whose}{more}"


def _repeats(event: events.RepeatsCounted) -> str:
    what = f"{event.count} more {shown(event.what)}" if event.what else f"{event.count} events of too many boards"
    return f"{what} within a minute, which are not told"


def _files(event: events.BootFilesServed) -> str:
    again = f", {counted(event.retransmits, 'block')} sent again" if event.retransmits else ""
    absent = f", not there: {shown(event.missing)}" if event.missing else ""
    return f"loaded {counted(event.files, 'boot file')}, {size(event.bytes)} in {event.seconds:.1f} s{again}{absent}"


def _image(event: events.ImageSent) -> str:
    return f"has every byte of the image, {size(event.bytes)} in {event.seconds:.1f} s ({shown(event.door)})"


def _reported(event: events.InstallerReported) -> str:
    done = "" if event.fraction is None else f" ({event.fraction:.0%})"
    return f"installer: {shown(event.text)}{done}"


def _chosen(event: events.ImageChosen) -> str:
    return f"image {shown(event.image)} was chosen for {_scope(event)} by {shown(event.who)} ({shown(event.source)})"


def _withdrawn(event: events.ImageChoiceWithdrawn) -> str:
    whose = f"image {shown(event.image)} for {_scope(event)}"
    return f"{whose} was taken back by {shown(event.who)} ({shown(event.source)}): what the files say counts"


def _scope(event: Any) -> str:
    return {"default": "all nodes without another", "node": "this node"}.get(
        event.scope, f"{shown(event.scope)} {shown(event.name)}"
    )


EVIDENCE = {
    "agent": "is up: its agent answers",
    "address": "is up: its system asked for its address",
    "time": "is taken to be up: it was told to boot and called no more",
}

WORDING: Mapping[type[Event], str | Callable[[Any], str]] = {
    events.ManagerStarted: "piman {version} started",
    events.ClockStepped: "the clock of this host was stepped by {seconds:+.1f} s",
    events.ConfigurationReloaded: _reloaded,
    events.ConfigurationEdited: "{file} changed by {who} ({source})",
    events.ConfigurationRejected: "configuration not taken, nothing changed: {problems}",
    events.StoreReplaced: "database {path} could not be read ({reason}): moved to {moved_to}, a new one begun",
    events.RecordsRejected: _rejected,
    events.LoggedIn: "{who} logged in on the web site from {source}",
    events.LoginRefused: _login_refused,
    events.OperationStarted: "{action} of {targets} ordered by {who} ({source}): operation {operation}",
    events.OperationCancelled: "operation {operation} cancelled by {who} ({source})",
    events.OperationEnded: (
        "operation {operation} ({action}) ended: {done} done, {failed} failed, {cancelled} cancelled"
    ),
    events.PowerRemoved: "is without power ({port})",
    events.PowerGiven: "was given power ({port})",
    events.PowerCycled: "was power-cycled ({port}, dark for {dark_seconds:.1f} s)",
    events.PowerCycleFailed: lambda event: f"could not be power-cycled{_because(event.reason)}",
    events.ImageChosen: _chosen,
    events.ImageChoiceWithdrawn: _withdrawn,
    events.RecoveryBegun: lambda event: (
        f"is power-cycled by recovery, {event.attempt} of {event.of} times{_because(event.reason)}"
    ),
    events.RecoveryEnded: lambda event: (
        f"was power-cycled {counted(event.attempts, 'time')} in vain and is left to people{_because(event.reason)}"
    ),
    events.RecoveryHeldBack: (
        "recovery cycles none on {where}: {stuck} of {nodes} nodes are stuck (most: {fault}): look for what they share"
    ),
    events.StrangerSeen: lambda event: f"asked for an address; no file names this board ({_board(event)})",
    events.AddressOffered: lambda event: f"was offered {event.address} ({_board(event)})",
    events.AddressLeased: lambda event: f"has the address {event.address} ({_board(event)})",
    events.LeaseRenewed: "renewed {address}",
    events.AddressRefused: lambda event: f"was refused {event.address}{_because(event.reason)}",
    events.AddressDeclined: "declined {address}: somebody else answers there",
    events.AddressReleased: "gave {address} back",
    events.AddressHeld: "waits for {address}, which {holder} still holds",
    events.PoolExhausted: "got no address: the pool {pool} is full",
    events.AddressOccupied: "{address} of the pool is used by {holder}, which has no lease: nobody else gets it",
    events.OtherServerChosen: "took the offer of another DHCP server, {server}",
    events.EventRepeated: lambda event: describe(event.event),
    events.RepeatsCounted: _repeats,
    events.LoadingStarted: "loads its boot files, first {name}",
    events.BootFilesServed: _files,
    events.TransferAborted: lambda event: (
        f"gave up loading {shown(event.name)} at block {event.block}{_because(event.reason)}"
    ),
    events.InstallerConnected: "its installer called from {address} (version {version})",
    events.InstallerUnknown: lambda event: f"an unknown installer called from {event.address}{_because(event.reason)}",
    events.ClockSet: "set its clock",
    events.IntentOpened: "is to be installed ({origin})",
    events.IntentClosed: lambda event: f"installation {shown(event.state)}{_because(event.reason)}",
    events.BootOrdered: "was told to boot its card",
    events.FormatOrdered: "was told to format its card for image {image} (attempt {attempt})",
    events.InstallerReported: _reported,
    events.InstallerFailed: lambda event: f"its installer cannot go on{_because(event.reason)}",
    events.WordUnexpected: "said {word} while {state}: ignored",
    events.ImageStarted: "began to fetch its image ({door})",
    events.ImageSent: _image,
    events.ImageInterrupted: lambda event: (
        f"lost its image after {size(event.sent_bytes)} ({shown(event.door)}){_because(event.reason)}"
    ),
    events.Installed: lambda event: f"is installed (image {shown(event.digest[:12])})",
    events.NodeUp: lambda event: EVIDENCE.get(event.evidence, f"is up ({shown(event.evidence)})"),
    events.NodeSilent: lambda event: f"is silent after {event.misses} missed answers{_because(event.reason)}",
    events.NodeRecovered: "answers again",
}
"""One entry for each class of the catalogue."""
