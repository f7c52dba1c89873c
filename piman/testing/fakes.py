# -*- test-case-name: tests.contract -*-
"""
In-memory stand-ins for the seams of :mod:`piman.fleet.interfaces`.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from piman.fleet.events import Event
from piman.fleet.interfaces import (
    IAddressBook,
    IEventSink,
    IIntentStore,
    ILeaseStore,
    INeighbours,
    INodeDirectory,
    StoreFailed,
)
from piman.fleet.model import Intent, Lease, MACAddress, Node, NodeStatus


@implementer(IEventSink)
class CapturedEvents:
    """Keeps what was emitted, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        """The captured events of one class."""
        return [event for event in self.events if isinstance(event, kind)]


@implementer(INodeDirectory)
class MemoryDirectory:
    """A directory of the nodes it was given."""

    def __init__(self, nodes: Iterable[Node] = (), statuses: Iterable[NodeStatus] = ()) -> None:
        self._nodes = {node.mac: node for node in nodes}
        self._statuses = {status.mac: status for status in statuses}

    def node(self, mac: MACAddress) -> Node | None:
        """The entry for this board."""
        return self._nodes.get(mac)

    def reserved_by(self, address: IPv4Address) -> Node | None:
        """The node that reserves this address."""
        return next((node for node in self._nodes.values() if node.address == address), None)

    def with_serial(self, serial: str) -> Node | None:
        """The node whose status has this serial; None also when two nodes show the same one."""
        found = [status.mac for status in self._statuses.values() if status.serial == serial]
        known = [self._nodes[mac] for mac in found if mac in self._nodes]
        return known[0] if len(known) == 1 else None

    def status(self, mac: MACAddress) -> NodeStatus:
        """The status it was given, else an empty one."""
        return self._statuses.get(mac) or NodeStatus(mac=mac)

    def nodes(self) -> Iterable[Node]:
        """All nodes."""
        return tuple(self._nodes.values())


@implementer(IAddressBook)
class MemoryAddressBook:
    """Bindings as a plain dictionary."""

    def __init__(self, bindings: dict[IPv4Address, MACAddress] | None = None) -> None:
        self.bindings = dict(bindings or {})
        self.touched: list[IPv4Address] = []

    def holder_of(self, address: IPv4Address) -> MACAddress | None:
        """The board bound to the address."""
        return self.bindings.get(address)

    def address_of(self, mac: MACAddress) -> IPv4Address | None:
        """The address bound to the board."""
        return next((address for address, holder in self.bindings.items() if holder == mac), None)

    def touch(self, address: IPv4Address) -> None:
        """Note that the holder is at work."""
        self.touched.append(address)


@implementer(INeighbours)
class MemoryNeighbours:
    """A neighbour table as a plain dictionary."""

    def __init__(self, entries: dict[IPv4Address, MACAddress] | None = None) -> None:
        self.entries = dict(entries or {})

    def mac_at(self, address: IPv4Address) -> MACAddress | None:
        """The hardware address seen there."""
        return self.entries.get(address)


@implementer(ILeaseStore)
class MemoryLeaseStore:
    """
    Leases that survive only in memory.

    :ivar held: when set, commits wait in :attr:`waiting` until :meth:`flush`.
    :ivar failure: when set, commits fail with it and keep nothing, as on a full disk.
    """

    def __init__(self, leases: Iterable[Lease] = ()) -> None:
        self.leases = {lease.address: lease for lease in leases}
        self.held = False
        self.failure: StoreFailed | None = None
        self.waiting: list[tuple[Sequence[Lease], Deferred[None]]] = []

    @property
    def is_new(self) -> bool:
        """Whether it holds nothing."""
        return not self.leases

    def load_leases(self) -> list[Lease]:
        """All leases, in the order of their addresses."""
        return sorted(self.leases.values(), key=lambda lease: lease.address)

    def commit(self, leases: Sequence[Lease]) -> "Deferred[None]":
        """Keep them, at once or at the next :meth:`flush`."""
        if self.failure is not None:
            return fail(self.failure)
        if self.held:
            waiting: Deferred[None] = Deferred()
            self.waiting.append((leases, waiting))
            return waiting
        self.leases.update({lease.address: lease for lease in leases})
        return succeed(None)

    def flush(self) -> None:
        """Complete the commits that wait, as one transaction; or fail them, if :attr:`failure` is set."""
        waiting, self.waiting = self.waiting, []
        if self.failure is not None:
            for _, done in waiting:
                done.errback(self.failure)
            return
        for leases, _ in waiting:
            self.leases.update({lease.address: lease for lease in leases})
        for _, done in waiting:
            done.callback(None)


@implementer(IIntentStore)
class MemoryIntentStore:
    """
    Intents that survive only in memory.

    :ivar failure: when set, saves fail with it and keep nothing, as on a full disk.
    """

    def __init__(self, intents: Iterable[Intent] = ()) -> None:
        self.intents = {intent.id: intent for intent in intents}
        self.failure: StoreFailed | None = None

    def load_intents(self) -> list[Intent]:
        """All intents that are not final, oldest first."""
        unfinished = [intent for intent in self.intents.values() if not intent.state.is_final]
        return sorted(unfinished, key=lambda intent: (intent.opened, intent.id))

    def save_intent(self, intent: Intent) -> "Deferred[None]":
        """Keep it."""
        if self.failure is not None:
            return fail(self.failure)
        self.intents[intent.id] = intent
        return succeed(None)
