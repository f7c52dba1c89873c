# -*- test-case-name: tests.test_fleet_model -*-
"""
The frozen values that everything else speaks of.

What the operator wants (:class:`Node`, :class:`Slot`) and what was seen (:class:`NodeStatus`) are different
types and are never merged.  Times are a :data:`Moment` each.
"""

import re
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, TypeAlias

import attrs

Moment: TypeAlias = Annotated[float, "moment"]
"""
Seconds on the manager's clock, which is the host's (since 1970) when the manager starts and never steps; 0: never.

Fields of this type are translated when they are stored or shown: :mod:`piman.fleet.walltime`.
"""

_MAC_TEXT = re.compile(r"[0-9a-f]{2}(?:[:-]?[0-9a-f]{2}){5}", re.IGNORECASE)


@attrs.frozen(order=True, cache_hash=True, repr=False)
class MACAddress:
    """An Ethernet hardware address: the identity of a node."""

    octets: bytes = attrs.field(validator=[attrs.validators.min_len(6), attrs.validators.max_len(6)])

    @classmethod
    def parse(cls, text: str) -> "MACAddress":
        """
        Read ``b8:27:eb:00:00:01``, with colons, dashes or neither, in either case.

        :raises ValueError: when the text is anything else.
        """
        if not _MAC_TEXT.fullmatch(text.strip()):
            raise ValueError(f"{text!r} is not a MAC address like b8:27:eb:12:34:56")
        return cls(bytes.fromhex(re.sub("[:-]", "", text.strip())))

    def __str__(self) -> str:
        return self.octets.hex(":")

    def __repr__(self) -> str:
        return f"MACAddress({self})"


class Phase(Enum):
    """Where a node is on its way from dark to up (design: the flow of a boot)."""

    UNKNOWN = "unknown"
    OFF = "off"
    POWERED = "powered"
    OFFERED = "offered"
    LEASED = "leased"
    LOADING = "loading"
    STARTING = "starting"
    GREETING = "greeting"
    FORMATTING = "formatting"
    IMAGING = "imaging"
    BOOTING = "booting"
    UP = "up"
    SILENT = "silent"
    STUCK = "stuck"


class Stage(Enum):
    """Which program on the board sent a DHCP message."""

    ROM = "rom"
    """Mask ROM or bootcode.bin of a Pi 1, 2, 3, CM3 or Zero 2: takes an OFFER without a REQUEST."""
    EEPROM = "eeprom"
    """Boot loader of a Pi 4, 5 or their compute modules."""
    KERNEL = "kernel"
    """Linux ``ip=dhcp``."""
    INITRAMFS = "initramfs"
    """busybox udhcpc before the installed system."""
    OS = "os"
    """The installed system."""
    OTHER = "other"
    """U-Boot, iPXE, UEFI and whatever else asks."""

    @property
    def is_firmware(self) -> bool:
        """Whether a DISCOVER of this stage begins a new boot."""
        return self in (Stage.ROM, Stage.EEPROM)


@attrs.frozen(order=True)
class SwitchPort:
    """A numbered port of a PoE switch."""

    switch: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.switch} port {self.port}"


@attrs.frozen(kw_only=True)
class PortPower:
    """The power of one port as its switch tells it; None: the switch does not say."""

    port: int
    admin_on: bool | None = None
    """Whether the switch is told to give power there."""
    delivering: bool | None = None
    """Whether it does."""
    state: str = ""
    """``disabled``, ``searching``, ``delivering``, ``fault``, ``test`` or ``other fault``."""
    power_class: int | None = None
    """0 to 4, or above (IEEE 802.3); known while power is delivered."""
    watts: float | None = None
    link_up: bool | None = None
    name: str = ""
    """What the switch calls the port's network interface."""


@attrs.frozen(kw_only=True)
class PowerBudget:
    """What a switch, or the group of its ports that piman uses, can give and gives."""

    total_watts: float | None = None
    used_watts: float | None = None
    state: str = ""
    """``on``, ``off`` or ``faulty``."""


@attrs.frozen(kw_only=True)
class Node:
    """A node as the operator wants it: the union of its hosts.csv row and its pi_addresses entry."""

    mac: MACAddress
    address: IPv4Address | None = None
    """The reserved address; None takes one from the pool."""
    hostname: str = ""
    port: SwitchPort | None = None
    """Where its power comes from; None: no power control."""
    tags: tuple[str, ...] = ()
    """The tags of piman.yaml that name it, in the order of the file."""
    image: str = "default"
    """What it is given when it is installed next."""
    image_rule: str = "the default"
    """Why that one, in plain words (:mod:`piman.fleet.assignment`)."""

    @property
    def name(self) -> str:
        """What people call it: the hostname, else the MAC."""
        return self.hostname or str(self.mac)


@attrs.frozen(kw_only=True)
class Slot:
    """A place that is expected to hold a node whose MAC nobody has written down yet."""

    address: IPv4Address
    port: SwitchPort


@attrs.frozen(kw_only=True)
class NodeStatus:
    """A node as it was seen: folded from events by :func:`piman.fleet.nodes.advance`, never written otherwise."""

    mac: MACAddress
    phase: Phase = Phase.UNKNOWN
    since: Moment = 0.0
    """When the phase began."""
    last_event_id: int = 0
    """The newest event folded in; older ones and this one change nothing."""
    last_seen: Moment = 0.0
    attempt: int = 0
    """Boots seen so far: each begins with a firmware DISCOVER after another phase."""
    boot_started: Moment = 0.0
    timeline: tuple[tuple[Phase, Moment], ...] = ()
    """Phases of this boot with the time when each began."""
    address: IPv4Address | None = None
    stage: Stage | None = None
    serial: str | None = None
    """Low 32 bits, 8 hexadecimal digits."""
    model: str | None = None
    """``3B``, ``3B+``, ``4B``, ``400``, ``CM4``, ``5``, ... as far as it is known."""
    detail: str = ""
    """The latest thing worth telling, in plain words."""
    has_agent: bool = False
    """Whether its agent has answered since it was last installed: only such a node can fall silent."""
    digest: str | None = None
    """SHA-256 of the image on its card; None: not known, or its card holds no whole one."""
    image: str = ""
    """What that image was called when it was installed; empty: not known."""
    installed: Moment = 0.0
    """When it was; 0: not known."""


class LeaseState(Enum):
    """What a binding of an address means."""

    OFFERED = "offered"
    """An OFFER that is a lease already, for clients that never send a REQUEST."""
    BOUND = "bound"
    RELEASED = "released"
    DECLINED = "declined"
    """Somebody else answered on the address: kept away until it expires."""
    OCCUPIED = "occupied"
    """A probe was answered by ``mac``, which has no lease: kept away from everybody else until it expires."""


@attrs.frozen(kw_only=True)
class Lease:
    """Who holds an address until when."""

    address: IPv4Address
    mac: MACAddress
    state: LeaseState
    expires: Moment
    stage: Stage = Stage.OTHER


class IntentState(Enum):
    """The life of the wish to install: ``open -> ordered -> delivered -> fulfilled | failed | expired``."""

    OPEN = "open"
    ORDERED = "ordered"
    DELIVERED = "delivered"
    FULFILLED = "fulfilled"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self in (IntentState.FULFILLED, IntentState.FAILED, IntentState.EXPIRED)


class IntentOrigin(Enum):
    """Who wants the installation."""

    OPERATOR = "operator"
    NODE = "node"
    """The node said ``IS_UNINSTALLED`` by itself."""


@attrs.frozen(kw_only=True)
class Intent:
    """One wish to install one node, durable before every act."""

    id: str
    """Unique for ever; 32 hexadecimal digits."""
    mac: MACAddress
    origin: IntentOrigin
    opened: Moment
    state: IntentState = IntentState.OPEN
    changed: Moment = 0.0
    image: str = "default"
    digest: str | None = None
    """SHA-256 of the image once it was ordered, lower-case hexadecimal."""
    token: str | None = None
    """What the node shows at the HTTP door; bound to this intent and MAC."""
    attempts: int = 0
    """How often ``format`` was ordered."""
    serial: str | None = None
    """The board's serial when the intent was opened, if it was known."""
    reason: str = ""
    """Why it failed or expired."""


class Scope(Enum):
    """For whom an image is chosen."""

    DEFAULT = "default"
    """All nodes for which nothing else is said."""
    TAG = "tag"
    NODE = "node"


@attrs.frozen(kw_only=True)
class ImageChoice:
    """Which image somebody chose by command: it stands before what the files say of the same scope."""

    scope: Scope
    name: str = ""
    """The tag, or the MAC of the node; empty: the default."""
    image: str
    who: str = ""
    source: str = ""
    """From where."""
    chosen: Moment = 0.0
    """When."""

    @property
    def key(self) -> tuple[Scope, str]:
        """For what it is: there is one choice of each key."""
        return self.scope, self.name


@attrs.frozen(kw_only=True)
class Image:
    """A root file system that can be put on a card."""

    name: str
    path: str
    digest: str
    """SHA-256, lower-case hexadecimal."""
    size_bytes: int
    modified_ns: int = 0
    """When its file was written last: nanoseconds since 1970 by the host's clock; 0: not known."""
