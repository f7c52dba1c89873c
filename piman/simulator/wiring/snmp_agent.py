# -*- test-case-name: tests.test_simulator_wiring_snmp_agent -*-
"""
An SNMP agent in small: what it answers, given a table of objects.  Versions 1 and 2c, GET, GETNEXT, GETBULK and SET.

pysnmp's codec, but not its engine: a rack has a dozen agents in one process, pysnmp's command responder finds the
asyncio loop by itself, wants a MIB registered with it, and takes 0.1 s to make, each.  Here decoding a GET of four
objects and encoding the answer takes 0.5 ms.  What is malformed, and what shows a community that the agent does not
know, is not answered.

1. RFC 1157, RFC 3416: the operations
2. RFC 3584, section 4.4: version 2's errors in the words of version 1
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

import attrs
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api, rfc1905
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from piman.wire.layout import MalformedDatagram

VERSION_1, VERSION_2C = 0, 1
"""As the message says them."""

NO_ERROR, NO_SUCH_NAME, BAD_VALUE, GEN_ERR = 0, 2, 3, 5
NO_ACCESS, WRONG_TYPE, WRONG_VALUE, NO_CREATION, NOT_WRITABLE = 6, 7, 10, 11, 17
"""RFC 3416, section 3."""

_IN_VERSION_1: Mapping[int, int] = {
    NO_ACCESS: NO_SUCH_NAME,
    WRONG_TYPE: BAD_VALUE,
    WRONG_VALUE: BAD_VALUE,
    NO_CREATION: NO_SUCH_NAME,
    NOT_WRITABLE: NO_SUCH_NAME,
}

MOST_BINDINGS = 50
"""In one answer to GETBULK: some 1,200 octets."""

OID = tuple[int, ...]


class Gauge(int):
    """A number that the MIB calls Gauge32."""


class Missing(Enum):
    """What stands in place of a value."""

    INSTANCE = "noSuchInstance"
    END = "endOfMibView"
    NULL = "null"


Value = int | bytes | OID | Missing
Binding = tuple[OID, Value]


# Wire


class Operation(Enum):
    """What a PDU is, by pysnmp's name for it."""

    GET = "GetRequestPDU"
    NEXT = "GetNextRequestPDU"
    BULK = "GetBulkRequestPDU"
    SET = "SetRequestPDU"
    RESPONSE = "GetResponsePDU"


_OPERATIONS: Mapping[str, Operation] = {**{each.value: each for each in Operation}, "ResponsePDU": Operation.RESPONSE}
_MODULES: Mapping[int, Any] = {VERSION_1: api.PROTOCOL_MODULES[VERSION_1], VERSION_2C: api.PROTOCOL_MODULES[VERSION_2C]}


@attrs.frozen(kw_only=True)
class Message:
    """
    A message of version 1 or 2c.

    :ivar status: error-status; of GETBULK non-repeaters, which stands in the same place.
    :ivar index: error-index; of GETBULK max-repetitions.
    """

    version: int = VERSION_2C
    community: bytes
    operation: Operation
    request_id: int
    status: int = 0
    index: int = 0
    bindings: tuple[Binding, ...] = ()

    @classmethod
    def from_wire(cls, data: bytes) -> "Message":
        """
        Read one.

        :raises MalformedDatagram: when it is none, is of version 3, or a PDU that no agent gets.
        """
        try:
            return cls._read(data)
        except MalformedDatagram:
            raise
        except Exception as reason:  # pyasn1 and pysnmp raise what they like on what is no SNMP
            raise MalformedDatagram(f"no SNMP: {type(reason).__name__}") from reason

    @classmethod
    def _read(cls, data: bytes) -> "Message":
        version = int(api.decodeMessageVersion(data))
        if version not in _MODULES:
            raise MalformedDatagram(f"version {version}")
        module = _MODULES[version]
        message, _ = decoder.decode(data, asn1Spec=module.Message())
        pdu = module.apiMessage.get_pdu(message)
        operation = _OPERATIONS.get(type(pdu).__name__)
        if operation is None:
            raise MalformedDatagram(f"a {type(pdu).__name__}")
        is_bulk = operation is Operation.BULK
        reader = module.apiBulkPDU if is_bulk else module.apiPDU
        first, second = (
            (reader.get_non_repeaters, reader.get_max_repetitions)
            if is_bulk
            else (reader.get_error_status, reader.get_error_index)
        )
        return cls(
            version=version,
            community=bytes(module.apiMessage.get_community(message)),
            operation=operation,
            request_id=int(reader.get_request_id(pdu)),
            status=int(first(pdu)),
            index=0 if version == VERSION_1 and operation is not Operation.RESPONSE else int(second(pdu)),
            bindings=tuple((tuple(map(int, oid)), _value(module, value)) for oid, value in reader.get_varbinds(pdu)),
        )

    def to_wire(self) -> bytes:
        """Write one, of any kind but GETBULK, which only managers send."""
        module = _MODULES[self.version]
        pdu = getattr(module, self.operation.value)()
        module.apiPDU.set_defaults(pdu)
        module.apiPDU.set_request_id(pdu, self.request_id)
        module.apiPDU.set_error_status(pdu, self.status)
        module.apiPDU.set_error_index(pdu, self.index)
        module.apiPDU.set_varbinds(pdu, [(oid, _typed(module, value)) for oid, value in self.bindings])
        message = module.Message()
        module.apiMessage.set_defaults(message)
        module.apiMessage.set_community(message, self.community)
        module.apiMessage.set_pdu(message, pdu)
        return bytes(encoder.encode(message))


def _value(module: Any, value: Any) -> Value:
    kind = type(value).__name__
    if kind in ("NoSuchObject", "NoSuchInstance"):
        return Missing.INSTANCE
    if kind == "EndOfMibView":
        return Missing.END
    if kind in ("Null", "UnSpecified"):
        return Missing.NULL
    if isinstance(value, module.ObjectIdentifier):
        return tuple(map(int, value))
    if hasattr(value, "asOctets"):
        return bytes(value)
    return Gauge(value) if kind in ("Gauge", "Gauge32", "Unsigned32") else int(value)


def _typed(module: Any, value: Value) -> Any:
    if isinstance(value, Missing):
        return module.Null("") if value is Missing.NULL else _EXCEPTIONS[value]
    if isinstance(value, Gauge):
        return (module.Gauge if module is _MODULES[VERSION_1] else module.Gauge32)(value)
    if isinstance(value, int):
        return (module.Integer if module is _MODULES[VERSION_1] else module.Integer32)(value)
    return module.OctetString(value) if isinstance(value, bytes) else module.ObjectIdentifier(value)


_EXCEPTIONS = {Missing.INSTANCE: rfc1905.noSuchInstance, Missing.END: rfc1905.endOfMibView}


# Decision


class Objects(Protocol):
    """The objects of an agent."""

    def get(self, oid: OID) -> Value | None:
        """The value; None: there is none."""

    def after(self, oid: OID) -> OID | None:
        """The next object in order; None: that was the last."""

    def refusal(self, oid: OID, value: Value) -> int:
        """Why this cannot be written, as an error status; 0: it can."""

    def put(self, oid: OID, value: Value) -> None:
        """Write what was not refused."""


class Table:
    """
    Objects that are computed when asked for, in the order of their identifiers.

    :param rows: what each object is now.
    """

    def __init__(self, rows: Mapping[OID, Callable[[], Value]]) -> None:
        self._rows = dict(rows)
        self._order: list[OID] | None = None

    def add(self, rows: Mapping[OID, Callable[[], Value]]) -> None:
        """More of them."""
        self._rows.update(rows)
        self._order = None

    def remove(self, oids: Iterable[OID]) -> None:
        """Forget some; harmless when they are not there."""
        for oid in oids:
            self._rows.pop(oid, None)
        self._order = None

    def get(self, oid: OID) -> Value | None:
        """The value; None: there is none."""
        found = self._rows.get(oid)
        return None if found is None else found()

    def after(self, oid: OID) -> OID | None:
        """The next object in order; None: that was the last."""
        if self._order is None:
            self._order = sorted(self._rows)
        place = bisect_right(self._order, oid)
        return self._order[place] if place < len(self._order) else None


def respond(asked: Message, objects: Objects, may_write: bool) -> Message:
    """The answer; what a SET orders is done when it returns."""
    if asked.operation is Operation.SET:
        return _write(asked, objects, may_write)
    if asked.operation is Operation.GET:
        found = [(oid, _or(objects.get(oid), Missing.INSTANCE)) for oid, _ in asked.bindings]
    elif asked.operation is Operation.NEXT:
        found = [_next(objects, oid) for oid, _ in asked.bindings]
    else:
        found = list(_bulk(asked, objects))
    if asked.version == VERSION_1:
        for number, (_, value) in enumerate(found, start=1):
            if isinstance(value, Missing):
                return _failed(asked, NO_SUCH_NAME, number)
    return attrs.evolve(asked, operation=Operation.RESPONSE, status=0, index=0, bindings=tuple(found))


def _or(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value


def _next(objects: Objects, oid: OID) -> Binding:
    following = objects.after(oid)
    return (oid, Missing.END) if following is None else (following, _or(objects.get(following), Missing.INSTANCE))


def _bulk(asked: Message, objects: Objects) -> Iterable[Binding]:
    """RFC 3416, 4.2.3: the answer may hold fewer rows than were asked for."""
    fixed, repeated = asked.bindings[: asked.status], [oid for oid, _ in asked.bindings[asked.status :]]
    yield from (_next(objects, oid) for oid, _ in fixed)
    turns = min(asked.index, (MOST_BINDINGS - len(fixed)) // len(repeated)) if repeated else 0
    for _ in range(max(turns, 0)):
        row = [_next(objects, oid) for oid in repeated]
        yield from row
        if all(value is Missing.END for _, value in row):
            return
        repeated = [oid for oid, _ in row]


def _write(asked: Message, objects: Objects, may_write: bool) -> Message:
    """RFC 3416, 4.2.5: all of it or nothing."""
    for number, (oid, value) in enumerate(asked.bindings, start=1):
        refusal = objects.refusal(oid, value) if may_write else NO_ACCESS
        if refusal:
            return _failed(asked, refusal, number)
    for oid, value in asked.bindings:
        objects.put(oid, value)
    return attrs.evolve(asked, operation=Operation.RESPONSE, status=0, index=0)


def _failed(asked: Message, status: int, number: int) -> Message:
    told = _IN_VERSION_1.get(status, status) if asked.version == VERSION_1 else status
    return attrs.evolve(asked, operation=Operation.RESPONSE, status=told, index=number)


# Protocol


@attrs.frozen(kw_only=True)
class Communities:
    """Who may ask, and who may also write."""

    read: Sequence[bytes]
    write: Sequence[bytes]


class AgentProtocol(DatagramProtocol):
    """
    The agent on a UDP port.

    :param delay: before an answer is sent, in seconds; None: it is not.
    :ivar asked: how many requests were understood, by operation.
    """

    _log = Logger()
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        objects: Objects,
        communities: Communities,
        delay: Callable[[], float | None] = lambda: 0.0,
    ) -> None:
        self.asked = dict.fromkeys(Operation, 0)
        self._clock = clock
        self._objects = objects
        self._communities = communities
        self._delay = delay

    def datagramReceived(self, data: bytes, address: Any) -> None:
        """Answer, unless there is nothing to answer."""
        delay = self._delay()
        if delay is None:
            return
        try:
            asked = Message.from_wire(data)
        except MalformedDatagram as reason:
            self._log.debug("ignored SNMP from {address}: {reason}", address=address, reason=reason)
            return
        may_write = asked.community in self._communities.write
        if asked.operation is Operation.RESPONSE or not (may_write or asked.community in self._communities.read):
            return
        self.asked[asked.operation] += 1
        answer = respond(asked, self._objects, may_write).to_wire()
        if delay:
            self._clock.callLater(delay, self._send, answer, address)
        else:
            self._send(answer, address)

    def _send(self, answer: bytes, address: Any) -> None:
        if self.transport is not None:  # closed meanwhile
            self.transport.write(answer, address)
