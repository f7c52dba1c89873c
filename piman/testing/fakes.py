# -*- test-case-name: tests.contract -*-
"""
In-memory stand-ins for the seams of :mod:`piman.fleet.interfaces`.
"""

import errno
from collections.abc import Hashable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from piman.boot.content import ContentChanged
from piman.boot.names import components_of
from piman.fleet.events import Event
from piman.fleet.interfaces import (
    BootFileMissing,
    IAddressBook,
    IBootFiles,
    IEventSink,
    IImageChoiceStore,
    IIntentStore,
    ILeaseStore,
    INeighbours,
    INodeDirectory,
    IOperationStore,
    StoreFailed,
)
from piman.fleet.model import ImageChoice, Intent, Lease, MACAddress, Node, NodeStatus
from piman.fleet.operations.orders import Operation


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

    def load_intent(self, intent: str) -> Intent | None:
        """The intent of this id."""
        return self.intents.get(intent)

    def save_intent(self, intent: Intent) -> "Deferred[None]":
        """Keep it."""
        if self.failure is not None:
            return fail(self.failure)
        self.intents[intent.id] = intent
        return succeed(None)


@implementer(IImageChoiceStore)
class MemoryImageChoiceStore:
    """
    Choices of images that survive only in memory.

    :ivar failure: when set, saves fail with it and keep nothing, as on a full disk.
    """

    def __init__(self, choices: Iterable[ImageChoice] = ()) -> None:
        self.choices = {choice.key: choice for choice in choices}
        self.failure: StoreFailed | None = None

    def load_image_choices(self) -> list[ImageChoice]:
        """All of them, in the order of their scopes and names."""
        return sorted(self.choices.values(), key=lambda choice: (choice.scope.value, choice.name))

    def save_image_choices(self, made: Sequence[ImageChoice], withdrawn: Sequence[ImageChoice]) -> "Deferred[None]":
        """Keep these, forget those."""
        if self.failure is not None:
            return fail(self.failure)
        for choice in withdrawn:
            self.choices.pop(choice.key, None)
        self.choices.update({choice.key: choice for choice in made})
        return succeed(None)


class MemoryBootFile:
    """
    A boot file in memory.

    :ivar is_closed: whether it was let go; then it reads no more.
    :ivar is_broken: when set, reads fail as those of a file that was rewritten in place.
    """

    def __init__(self, name: str, content: bytes, identity: Hashable) -> None:
        self.name = name
        self.identity = identity
        self.is_closed = False
        self.is_broken = False
        self._content = content

    @property
    def size_bytes(self) -> int:
        """The length of the content."""
        return len(self._content)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``."""
        if self.is_closed:
            raise OSError(errno.EBADF, "the file is closed", self.name)
        if self.is_broken:
            raise ContentChanged(self.name)
        return self._content[offset : offset + count]

    def close(self) -> None:
        """Let go."""
        self.is_closed = True


@implementer(IBootFiles)
class MemoryBootFiles:
    """
    Boot files as a plain dictionary, the same for every client.

    :ivar contents: by name, without leading and doubled slashes.
    :ivar opened: all files that were opened, in order.
    :ivar failure: when set, nothing can be opened, as when the manager is out of descriptors.
    """

    def __init__(
        self, contents: Mapping[bytes, bytes] | None = None, nodes: Mapping[IPv4Address, MACAddress] | None = None
    ) -> None:
        self.contents = dict(contents or {})
        self.opened: list[MemoryBootFile] = []
        self.failure: OSError | None = None
        self._nodes = dict(nodes or {})

    def open(self, client: IPv4Address, name: bytes) -> MemoryBootFile:
        """A new handle."""
        path = b"/".join(components_of(name))
        if self.failure is not None:
            raise self.failure
        if path not in self.contents:
            raise BootFileMissing("no such file")
        content = self.contents[path]
        self.opened.append(MemoryBootFile(name.decode("utf-8", "backslashreplace"), content, (path, content)))
        return self.opened[-1]

    def node_at(self, client: IPv4Address, name: bytes) -> MACAddress | None:
        """The node at this address, whatever it asks for."""
        return self._nodes.get(client)


@implementer(IOperationStore)
class MemoryOperationStore:
    """
    Operations that survive only in memory, report by report as they were saved.

    :ivar failure: when set, saves fail with it and keep nothing, as on a full disk.
    """

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self.failure: StoreFailed | None = None

    def load_operations(self, limit: int) -> list[Operation]:
        """All that are not final and the newest others, oldest first."""
        known = sorted(self.operations.values(), key=lambda operation: operation.created)
        final = [operation for operation in known if operation.is_final]
        forgotten = {operation.id for operation in final[: max(0, len(final) - limit)]}
        return [operation for operation in known if operation.id not in forgotten]

    def save_operation(self, operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """Keep it and these of its reports."""
        if self.failure is not None:
            return fail(self.failure)
        known = self.operations.get(operation.id)
        reports = list(known.reports if known else operation.reports)
        for index in indexes:
            reports[index] = operation.reports[index]
        self.operations[operation.id] = attrs.evolve(operation, reports=tuple(reports))
        return succeed(None)
