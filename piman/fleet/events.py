# -*- test-case-name: tests.test_fleet_events -*-
"""
The catalogue: one frozen class per thing that can happen.

An event is data for the operator and the program.  ``durable`` says whether it is stored; renewals, readings and
per-file trifles are not.  ``mac`` is the node it is about, or None.  :attr:`Recorded.id` orders them all.
Texts in events come from the network: show them escaped.
"""

from ipaddress import IPv4Address
from typing import ClassVar

import attrs

from piman.fleet.model import MACAddress, Moment, Stage


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened."""

    durable: ClassVar[bool] = True
    mac: MACAddress | None = None


@attrs.frozen(kw_only=True)
class Recorded:
    """An event as the log stamped it."""

    id: int
    """Grows by one with each event, across restarts; after a crash it jumps, and is never given twice."""
    time: Moment
    event: Event


# The manager itself


@attrs.frozen(kw_only=True)
class ManagerStarted(Event):
    """The manager's services run."""

    version: str


@attrs.frozen(kw_only=True)
class ClockStepped(Event):
    """The host's clock was set forward, or back (less than 0): nothing waits by it, but times in logs jump."""

    seconds: float


@attrs.frozen(kw_only=True)
class ConfigurationReloaded(Event):
    """SIGHUP: the files were read again and are in force."""

    nodes: int
    warnings: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ConfigurationEdited(Event):
    """Somebody changed ``file`` through piman; the old one is ``backup``, beside it (empty: there was none)."""

    file: str
    who: str
    source: str
    backup: str


@attrs.frozen(kw_only=True)
class ConfigurationRejected(Event):
    """SIGHUP: the files have mistakes; nothing changed."""

    problems: tuple[str, ...]


@attrs.frozen(kw_only=True)
class StoreReplaced(Event):
    """A database file could not be read and was moved aside; a new one was begun."""

    path: str
    moved_to: str
    reason: str


@attrs.frozen(kw_only=True)
class RecordsRejected(Event):
    """Records of a database could not be read: they do not count, and are kept in ``kept_in``, a file beside it."""

    path: str
    table: str
    records: int
    kept_in: str
    """Empty: that file could not be written, and they stay where they are."""
    reason: str
    """What is wrong with the first."""


# The web site


@attrs.frozen(kw_only=True)
class LoggedIn(Event):
    """A user logged in on the web site; ``source`` is the address."""

    who: str
    source: str


@attrs.frozen(kw_only=True)
class LoginRefused(Event):
    """
    A login with a wrong password, or (``who`` is empty) with a name that no user has; ``held_back`` more before it.
    """

    who: str
    source: str
    held_back: int = 0


# Power and the operator's orders


@attrs.frozen(kw_only=True)
class OperationStarted(Event):
    """Somebody ordered something of a set of nodes; ``source`` is where the order came from."""

    operation: str
    action: str
    who: str
    source: str
    targets: int


@attrs.frozen(kw_only=True)
class OperationCancelled(Event):
    """Somebody took an order back: what had not begun is not done."""

    operation: str
    who: str
    source: str


@attrs.frozen(kw_only=True)
class OperationEnded(Event):
    """Nothing more will be done for an order."""

    operation: str
    action: str
    done: int
    failed: int
    cancelled: int


@attrs.frozen(kw_only=True)
class PowerRemoved(Event):
    """The port was switched off and seen to deliver no power."""

    port: str
    operation: str


@attrs.frozen(kw_only=True)
class PowerGiven(Event):
    """The port was switched on."""

    port: str
    operation: str


@attrs.frozen(kw_only=True)
class PowerCycled(Event):
    """The port was seen without power and was switched on again."""

    port: str
    operation: str
    dark_seconds: float


@attrs.frozen(kw_only=True)
class PowerCycleFailed(Event):
    """The port could not be switched as ordered."""

    port: str
    operation: str
    reason: str


# Which image nodes get


@attrs.frozen(kw_only=True)
class ImageChosen(Event):
    """Somebody chose an image for a ``scope``: ``default``, ``tag`` or ``node``; the next installation brings it."""

    scope: str
    name: str
    """The tag or the node; empty: the default."""
    image: str
    who: str
    source: str


@attrs.frozen(kw_only=True)
class ImageChoiceWithdrawn(Event):
    """Somebody took such a choice back: what the files say counts again."""

    scope: str
    name: str
    image: str
    who: str
    source: str
@attrs.frozen(kw_only=True)
class RecoveryBegun(Event):
    """The node makes no progress, and its power is cycled without anybody's order, for the ``attempt``-th time."""

    operation: str
    attempt: int
    of: int
    """So many times, then it is left."""
    reason: str
    """The verdict over it."""


@attrs.frozen(kw_only=True)
class RecoveryEnded(Event):
    """Power cycles do not help the node: it is left with its verdict."""

    attempts: int
    reason: str


@attrs.frozen(kw_only=True)
class RecoveryHeldBack(Event):
    """So many nodes are stuck at once that it is not their own fault: none of them is power-cycled."""

    where: str
    """The switch, or all switches."""
    stuck: int
    nodes: int
    """That hang there in all."""
    fault: str
    """The most frequent one."""


# DHCP


@attrs.frozen(kw_only=True)
class StrangerSeen(Event):
    """A board that no file of the operator names asked for an address and got none."""

    stage: Stage
    serial: str | None = None
    model: str | None = None


@attrs.frozen(kw_only=True)
class AddressOffered(Event):
    """A DHCPOFFER was sent."""

    address: IPv4Address
    stage: Stage
    serial: str | None = None
    model: str | None = None


@attrs.frozen(kw_only=True)
class AddressLeased(Event):
    """A DHCPACK was sent after its binding was on disk, to a client that selects or reboots."""

    address: IPv4Address
    stage: Stage
    expires: Moment
    serial: str | None = None
    model: str | None = None


@attrs.frozen(kw_only=True)
class LeaseRenewed(Event):
    """A DHCPACK to RENEWING or REBINDING: changes no phase, stored nowhere."""

    durable: ClassVar[bool] = False
    address: IPv4Address
    stage: Stage
    expires: Moment


@attrs.frozen(kw_only=True)
class AddressRefused(Event):
    """A DHCPNAK was sent."""

    address: IPv4Address
    reason: str


@attrs.frozen(kw_only=True)
class AddressDeclined(Event):
    """DHCPDECLINE: somebody else answers on the address."""

    address: IPv4Address


@attrs.frozen(kw_only=True)
class AddressReleased(Event):
    """DHCPRELEASE."""

    address: IPv4Address


@attrs.frozen(kw_only=True)
class AddressHeld(Event):
    """A node waits for its reserved address because ``holder`` still has it."""

    address: IPv4Address
    holder: MACAddress


@attrs.frozen(kw_only=True)
class PoolExhausted(Event):
    """No address of the pool is free for this client."""

    pool: str


@attrs.frozen(kw_only=True)
class AddressOccupied(Event):
    """Somebody without a lease answers on an address of the pool: nobody else is given it for an hour."""

    address: IPv4Address
    holder: MACAddress


@attrs.frozen(kw_only=True)
class OtherServerChosen(Event):
    """The client's REQUEST names another DHCP server."""

    server: IPv4Address


# What happens too often


@attrs.frozen(kw_only=True)
class EventRepeated(Event):
    """The same as ``event``, which has happened to this board too often lately to be stored again."""

    durable: ClassVar[bool] = False
    event: Event


@attrs.frozen(kw_only=True)
class RepeatsCounted(Event):
    """So many more events of class ``what`` (empty: of any) of this board, or of too many others, were not stored."""

    what: str
    count: int


# TFTP


@attrs.frozen(kw_only=True)
class LoadingStarted(Event):
    """The node asked for its first boot file."""

    name: str


@attrs.frozen(kw_only=True)
class BootFilesServed(Event):
    """What the node loaded in one boot, said when it asks for nothing more, or has asked for a minute and goes on."""

    files: int
    bytes: int
    retransmits: int
    missing: tuple[str, ...]
    """Names asked for that do not exist, first 64; most are normal probes."""
    seconds: float
    served: tuple[str, ...] = ()
    """Names of the files that the node has whole, first 64."""


@attrs.frozen(kw_only=True)
class TransferAborted(Event):
    """A transfer ended early by silence or error (not by "Early terminate", which is normal)."""

    name: str
    block: int
    """The last one that the client has, counted from 1 without wrapping."""
    reason: str
    block_bytes: int = 0
    size_bytes: int = 0
    """Of the whole file; 0: not known."""


# Hello and images


@attrs.frozen(kw_only=True)
class InstallerConnected(Event):
    """The initramfs called on the hello port."""

    address: IPv4Address
    version: int


@attrs.frozen(kw_only=True)
class InstallerUnknown(Event):
    """Somebody without a binding called on the hello port, or the neighbour table shows another MAC than the lease."""

    address: IPv4Address
    reason: str


@attrs.frozen(kw_only=True)
class ClockSet(Event):
    """The node took the date."""

    durable: ClassVar[bool] = False


@attrs.frozen(kw_only=True)
class IntentOpened(Event):
    """Somebody wants the node installed."""

    intent: str
    origin: str


@attrs.frozen(kw_only=True)
class IntentClosed(Event):
    """An intent failed or expired; success is :class:`Installed`."""

    intent: str
    state: str
    reason: str


@attrs.frozen(kw_only=True)
class BootOrdered(Event):
    """The node was told to boot its card; ``digest`` is that of the image on it, as the node says, or empty."""

    digest: str = ""


@attrs.frozen(kw_only=True)
class FormatOrdered(Event):
    """The node was told to format its card."""

    intent: str
    attempt: int
    image: str
    digest: str


@attrs.frozen(kw_only=True)
class InstallerReported(Event):
    """What the installer says of its work: progress, or an error in its own words."""

    durable: ClassVar[bool] = False
    text: str
    fraction: float | None = None


@attrs.frozen(kw_only=True)
class InstallerFailed(Event):
    """The installer said that it cannot go on."""

    reason: str
    code: str = ""
    """One of the codes of docs/protocols/hello.md; empty: the installer tells only the reason."""


@attrs.frozen(kw_only=True)
class WordUnexpected(Event):
    """A word of the hello protocol that is impossible in this state; it changed nothing."""

    word: str
    state: str


@attrs.frozen(kw_only=True)
class ImageStarted(Event):
    """The node began to fetch its image."""

    intent: str
    door: str
    """``tcp`` (the raw stream) or ``http``."""


@attrs.frozen(kw_only=True)
class ImageSent(Event):
    """Every byte of the image was acknowledged by the node's kernel."""

    intent: str
    door: str
    bytes: int
    seconds: float


@attrs.frozen(kw_only=True)
class ImageInterrupted(Event):
    """The stream ended before the image did."""

    intent: str
    door: str
    sent_bytes: int
    reason: str


@attrs.frozen(kw_only=True)
class Installed(Event):
    """The card holds the image; the intent is fulfilled."""

    intent: str
    digest: str
    image: str = ""
    """The name of the image."""


# After the boot


@attrs.frozen(kw_only=True)
class NodeUp(Event):
    """The node runs its system; ``evidence``: ``agent``, ``address`` (an OS-stage lease) or ``time``."""

    evidence: str


@attrs.frozen(kw_only=True)
class NodeSilent(Event):
    """A node that was up answers no more."""

    misses: int
    reason: str


@attrs.frozen(kw_only=True)
class NodeRecovered(Event):
    """A silent node answers again."""


def event_classes() -> dict[str, type[Event]]:
    """
    Every event class by its name, those that plugins have added included.

    ``attrs`` makes a slotted class anew; the class it was made of lingers until the garbage is collected.
    """
    return {kind.__name__: kind for kind in Event.__subclasses__() if "__attrs_attrs__" in vars(kind)}


CATALOGUE: tuple[type[Event], ...] = tuple(event_classes().values())
"""Every event class, in the order of this page."""
