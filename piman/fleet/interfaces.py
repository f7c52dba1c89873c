# -*- test-case-name: tests.contract -*-
"""
The seams: what each part asks of the others.

Every interface has a contract suite in ``tests/contract`` that the real thing and its fake both pass.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from piman.fleet.events import Event, Recorded
from piman.fleet.model import (
    Image,
    ImageChoice,
    Intent,
    Lease,
    MACAddress,
    Moment,
    Node,
    NodeStatus,
    PortPower,
    PowerBudget,
)
from piman.fleet.operations.orders import Operation


class IEventSink(Interface):
    """Where whoever sees something happen says so."""

    def emit(event: Event) -> None:
        """Take one event.  Never raises, never blocks."""


class IEventObserver(Interface):
    """Who is told of recorded events; a failure is logged and costs the other observers nothing."""

    def observe(recorded: Recorded) -> None:
        """Take one recorded event."""


class INodeDirectory(Interface):
    """Who the operator's nodes are and what was seen of them."""

    def node(mac: MACAddress) -> Node | None:
        """The operator's entry for this board; None: a stranger."""

    def reserved_by(address: IPv4Address) -> Node | None:
        """The node to which the operator gave this address."""

    def with_serial(serial: str) -> Node | None:
        """
        The known node that was seen with this serial (8 lower-case hexadecimal digits).

        None also when two nodes show the same one.
        """

    def status(mac: MACAddress) -> NodeStatus:
        """What was seen of the board; an empty status when nothing was."""

    def nodes() -> Iterable[Node]:
        """All of the operator's nodes, in the order of the files."""


class IAddressBook(Interface):
    """Which board an address belongs to right now, offers included."""

    def holder_of(address: IPv4Address) -> MACAddress | None:
        """The board with a live binding or offer of the address."""

    def address_of(mac: MACAddress) -> IPv4Address | None:
        """The live address of a board."""

    def touch(address: IPv4Address) -> None:
        """The holder is at work (TFTP, hello): its unrequested lease lives on."""


class INeighbours(Interface):
    """The kernel's neighbour (ARP) table."""

    def mac_at(address: IPv4Address) -> MACAddress | None:
        """The hardware address that the kernel has seen there lately."""


class StoreFailed(Exception):
    """What was handed to a store is not on disk; the text says why.  The next call may work again."""


class StoreFull(StoreFailed):
    """No space is left where the store's file lies."""


class ILeaseStore(Interface):
    """Where leases survive."""

    is_new = Attribute("Whether leases of before are not known: the store was begun just now, or lost some, a bool.")

    def load_leases() -> list[Lease]:
        """All bindings on disk; called once, before anything is served."""

    def commit(leases: Sequence[Lease]) -> "Deferred[None]":
        """
        Put these bindings on disk, one row per address, the newest wins.

        Fires when they are durable; fails with :class:`StoreFailed` when they are not.  Calls that wait together
        share one transaction.
        """


class IIntentStore(Interface):
    """Where intents survive."""

    def load_intents() -> list[Intent]:
        """All intents that are not final, oldest first."""

    def load_intent(intent: str) -> Intent | None:
        """The intent of this id, final or not; at once: for the start."""

    def save_intent(intent: Intent) -> "Deferred[None]":
        """Insert or replace by id; fires when durable; fails with :class:`StoreFailed` when it is not."""


class IOperationStore(Interface):
    """Where the operator's orders survive."""

    def load_operations(limit: int) -> list[Operation]:
        """All that are not final and the newest ``limit`` others, oldest first."""

    def save_operation(operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """
        Insert or replace it by id; of its reports only these.

        Fires when durable; fails with :class:`StoreFailed` when it is not.
        """


class IImageChoiceStore(Interface):
    """Where choices of images survive."""

    def load_image_choices() -> list[ImageChoice]:
        """All of them, in the order of their scopes and names."""

    def save_image_choices(made: Sequence[ImageChoice], withdrawn: Sequence[ImageChoice]) -> "Deferred[None]":
        """
        Insert or replace these by key, and forget those.

        Fires when all is durable; fails with :class:`StoreFailed` when nothing is.
        """


class BootFile(Protocol):
    """An opened boot file: its content never changes while it is open."""

    @property
    def name(self) -> str:
        """The name it was asked by, as text."""

    @property
    def size_bytes(self) -> int:
        """The length of the content."""

    @property
    def identity(self) -> Hashable:
        """Equal identities have equal content: what is made from it may be shared between transfers."""

    def read(self, offset: int, count: int) -> bytes:
        """
        Up to ``count`` bytes from ``offset``.

        :raises OSError: when the file changed under the transfer or cannot be read.
        """

    def close(self) -> None:
        """Let go; harmless twice."""


class BootFileMissing(Exception):
    """The node has no file of that name; most such requests are normal probes."""


class BootFileRefused(Exception):
    """The request must not be served: a path out of the tree, an image file, an unknown client."""


class IBootFiles(Interface):
    """What a node sees when it asks for a file."""

    def open(client: IPv4Address, name: bytes) -> BootFile:
        """
        Open ``name`` in the view of the node at ``client``.

        :raises BootFileMissing: no such file there.
        :raises BootFileRefused: the request is not to be served.
        :raises OSError: the manager has a trouble that may pass; the client should ask again.
        """

    def node_at(client: IPv4Address, name: bytes) -> MACAddress | None:
        """The node whose view ``open`` would use."""


class IImages(Interface):
    """The root file systems."""

    names = Attribute("The names of all registered images, a tuple of str.")

    def image(name: str) -> "Deferred[Image]":
        """
        The image with its digest, hashed in a thread when it is not cached.

        Fails with :class:`ImageMissing` when there is no such image or its file cannot be read.
        """

    def trouble(name: str) -> "Deferred[str]":
        """
        What is wrong with an image, read to its end, in plain words; empty: nothing.

        Fails with :class:`ImageMissing` as :meth:`image`.
        """


class IInstallers(Interface):
    """The conversations on the hello port, as the image doors see them."""

    def intent_at_work(mac: MACAddress) -> Intent | None:
        """The intent by which the board's live conversation was told to format; None: it was not."""


class ImageMissing(Exception):
    """There is no image of that name, or its file cannot be read; the text says which."""


# Readings

Series = Sequence[tuple[Moment, float | None]]
"""Values with their times, oldest first; None: the board did not tell it then."""


class IReadings(Interface):
    """What the agents told of their nodes, as far back as it is kept."""

    names = Attribute("The values of a reading that can be asked for, a tuple of str, like cpu_percent.")

    def series(mac: MACAddress, name: str, start: Moment, end: Moment, most: int) -> "Deferred[Series]":
        """
        One value of a node from ``start`` to ``end``, both included; empty when nothing is known of that time.

        :param most: so many points are enough (1 or more): of more come the means of equal spans of time.
        """


# Power


class PowerFailed(Exception):
    """
    A power switch did not do, or did not tell, what it was asked.

    :ivar reason: a sentence that names the switch and, where there is one, the port.
    :ivar remedy: what the operator can do about it, a sentence.
    :ivar may_retry: whether the same order may succeed a little later.
    :ivar nothing_done: whether the port is certainly as it was before the order; False: nobody can tell.
    """

    may_retry = False
    nothing_done = False

    def __init__(self, reason: str, remedy: str = "", *, may_retry: bool | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        if may_retry is not None:
            self.may_retry = may_retry


class PowerUnreachable(PowerFailed):
    """The switch did not answer in time.  What it was ordered may have been done all the same."""

    may_retry = True


class PowerRefused(PowerFailed):
    """The switch answered, and will not do it until somebody changes something."""


class PowerNotObeyed(PowerFailed):
    """The switch accepted the order, but afterwards the port is not as ordered."""

    may_retry = True


class NoSuchPort(PowerRefused):
    """The switch has no such port, or it cannot switch the power of it."""


class AmbiguousPort(PowerFailed):
    """
    A board was learned where more than one board is: at an uplink.

    :ivar ports: the ports in question.
    """

    def __init__(self, reason: str, remedy: str = "", *, ports: Iterable[int] = ()) -> None:
        super().__init__(reason, remedy)
        self.ports = tuple(ports)


class IPowerSwitch(Interface):
    """
    What can give power to nodes and take it from them, port by port.

    Every method fails with :class:`PowerFailed`, and with nothing else, when it cannot do its work; none waits for
    ever.  :class:`piman.testing.power_contract.PowerSwitchMixin` is its contract suite.
    """

    def turn_on(port: int) -> "Deferred[None]":
        """
        Give power.

        Fires when the order was accepted *and* read back; that the node draws power is another matter (:meth:`read`).
        Fails with :class:`NoSuchPort`, :class:`PowerNotObeyed`, :class:`PowerRefused`, :class:`PowerUnreachable`.
        """

    def turn_off(port: int) -> "Deferred[None]":
        """Take power away; fires and fails like :meth:`turn_on`."""

    def read(port: int) -> "Deferred[PortPower]":
        """How the port is now; fails with :class:`NoSuchPort` when there is none."""

    def ports() -> "Deferred[list[PortPower]]":
        """All ports whose power can be switched, by number; an empty list when the switch cannot tell."""

    def budget() -> "Deferred[PowerBudget | None]":
        """What can be given in all, and is; None: the switch does not tell."""

    def locate(mac: MACAddress) -> "Deferred[int | None]":
        """
        The port where the switch has learned this board; None: nowhere, or it does not learn.

        Fails with :class:`AmbiguousPort` when other boards are on that port too.
        """

    def learned() -> "Deferred[Mapping[int, frozenset[MACAddress]]]":
        """The boards that the switch has learned, by port; empty: none, or it does not learn."""


@attrs.frozen(kw_only=True)
class PowerContext:
    """What a power switch is made of besides its own settings."""

    reactor: Any
    """Provides time, processes and UDP."""
    address: IPv4Address
    """The switch's."""
    label: str
    """What people call the switch."""
    access: Any = None
    """How to speak SNMP with it: the ``snmp`` section of the switch in ``piman.yaml``."""
    group: int = 1
    """The group of its ports in POWER-ETHERNET-MIB."""
    vlan: int = 1
    """The VLAN the nodes are in."""
    shared: Any = None
    """What switches of one kind share, whatever that is; see :meth:`IPowerSwitchKind.share`."""


@attrs.frozen
class SettingProblem:
    """A mistake in the settings of a plugin."""

    key: str
    """Dotted, without what leads to the settings; empty: the settings as a whole."""
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.key + ': ' if self.key else ''}found {self.found}, expected {self.expected}"


class BadSettings(Exception):
    """The settings of a plugin have mistakes: :attr:`problems`."""

    def __init__(self, problems: Iterable[SettingProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class IPowerSwitchKind(Interface):
    """A kind of power switch: a plugin in ``piman.plugins``.  What ``power:`` of a switch names."""

    name = Attribute("What stands behind ``power:`` or ``kind:`` in piman.yaml, a str.")

    def parse(settings: Mapping[str, Any]) -> Any:
        """
        Read the settings beside ``kind:``; values are text, numbers, true and false, lists and dictionaries.

        Looks at nothing but them: no file, no network.

        :raises BadSettings: with all mistakes.
        """

    def share(reactor: Any) -> Any:
        """Make what all switches of the kind share, once; None when there is nothing.  ``close()`` of it is called."""

    def make(settings: Any, context: PowerContext) -> IPowerSwitch:
        """A switch, from what :meth:`parse` returned.  Sends nothing yet."""
