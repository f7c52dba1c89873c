"""
The small SNMP agent.  Its datagrams were captured from net-snmp 5.9.3 (``snmpget -d`` and its sisters).
"""

from collections.abc import Sequence

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.wiring.snmp_agent import (
    MOST_BINDINGS,
    NO_ACCESS,
    NO_SUCH_NAME,
    NOT_WRITABLE,
    OID,
    VERSION_1,
    VERSION_2C,
    AgentProtocol,
    Communities,
    Gauge,
    Message,
    Missing,
    Operation,
    Table,
    Value,
    respond,
)
from piman.testing.udp import FakeDatagramTransport
from piman.wire.layout import MalformedDatagram

ADMIN: OID = (1, 3, 6, 1, 2, 1, 105, 1, 1, 1, 3)

# snmpget -v2c -c public@1 ... 1.3.6.1.2.1.105.1.1.1.6.1.1
GET = bytes.fromhex(
    "302f 020101 0408 7075626c69634031"  # message, version 2c, public@1
    "a020 0204533c7ef6 020100 020100"  # GetRequest, request-id, no error, no index
    "3012 3010 060c2b060102016901010106 0101 0500"  # detection status of 1.1, NULL
)
# snmpset -v2c -c private@1 ... 1.3.6.1.2.1.105.1.1.1.3.1.2 i 2
SET = bytes.fromhex(
    "3031 020101 0409 707269766174654031"
    "a321 020419b3b0ae 020100 020100"
    "3013 3011 060c2b060102016901010103 0102 020102"
)
# snmpbulkget -v2c -c public@1 -Cn0 -Cr3 ... 1.3.6.1.2.1.105.1.1.1.3
BULK = bytes.fromhex(
    "302d 020101 0408 7075626c69634031"
    "a51e 02043f677318 020100 020103"  # GetBulkRequest, no non-repeaters, 3 repetitions
    "3010 300e 060a2b060102016901010103 0500"
)
# snmpget -v1 -c public@1 ... 1.3.6.1.2.1.105.1.1.1.3.1.9
GET_1 = bytes.fromhex(
    "302f 020100 0408 7075626c69634031"
    "a020 02045e4f7d61 020100 020100"
    "3012 3010 060c2b060102016901010103 0109 0500"
)


class Numbers(Table):
    """Objects that can be written below 1.1."""

    def __init__(self, rows: dict[OID, Value]) -> None:
        self.values = rows
        super().__init__({oid: lambda oid=oid: self.values[oid] for oid in rows})  # type: ignore[misc]

    def refusal(self, oid: OID, value: Value) -> int:
        """Why not."""
        return 0 if oid[:2] == (1, 1) else NOT_WRITABLE

    def put(self, oid: OID, value: Value) -> None:
        """Write."""
        self.values[oid] = value


def numbers() -> Numbers:
    """Four objects."""
    return Numbers({(1, 1, 1): 1, (1, 1, 2): 2, (1, 2, 1): b"x", (1, 10, 1): Gauge(5)})


def ask(operation: Operation, *oids: OID, version: int = VERSION_2C, **more: int) -> Message:
    """A request."""
    bindings = tuple((oid, Missing.NULL) for oid in oids)
    return Message(
        version=version, community=b"c", operation=operation, request_id=7, bindings=bindings, **more
    )


def _damaged(whole: bytes) -> "st.SearchStrategy[bytes]":
    """One octet is another, or the end is missing."""
    places = st.integers(0, len(whole) - 1)
    changed = st.builds(lambda at, octet: whole[:at] + bytes([octet]) + whole[at + 1 :], places, st.integers(0, 255))
    return changed | places.map(lambda at: whole[:at])


class WireTests(SynchronousTestCase):
    """Messages."""

    def test_get(self) -> None:
        """A GET of net-snmp, field by field."""
        message = Message.from_wire(GET)
        self.assertEqual(
            message,
            Message(
                community=b"public@1",
                operation=Operation.GET,
                request_id=0x533C7EF6,
                bindings=(((1, 3, 6, 1, 2, 1, 105, 1, 1, 1, 6, 1, 1), Missing.NULL),),
            ),
        )

    def test_set(self) -> None:
        """A SET of net-snmp holds the value."""
        message = Message.from_wire(SET)
        self.assertEqual((message.operation, message.bindings), (Operation.SET, (((*ADMIN, 1, 2), 2),)))

    def test_bulk(self) -> None:
        """A GETBULK of net-snmp says how often."""
        message = Message.from_wire(BULK)
        self.assertEqual((message.operation, message.status, message.index), (Operation.BULK, 0, 3))

    def test_version_1(self) -> None:
        """Version 1 is told from 2c."""
        self.assertEqual(Message.from_wire(GET_1).version, VERSION_1)

    def test_as_net_snmp(self) -> None:
        """What was read is written as net-snmp wrote it."""
        for data in (GET, SET, GET_1):
            self.assertEqual(Message.from_wire(data).to_wire(), data)

    def test_all_types(self) -> None:
        """Every type of value survives, also that of a number."""
        values: Sequence[Value] = (1, b"x", (1, 3, 6), Gauge(5), Missing.NULL, Missing.INSTANCE, Missing.END)
        sent = attrs.evolve(
            ask(Operation.RESPONSE), bindings=tuple(((1, 3, n), value) for n, value in enumerate(values))
        )
        read = Message.from_wire(sent.to_wire())
        self.assertEqual(read, sent)
        self.assertEqual([type(value) for _, value in read.bindings], [type(value) for value in values])

    @given(st.binary(max_size=80) | st.sampled_from([GET, SET, BULK]).flatmap(_damaged))
    def test_nonsense(self, data: bytes) -> None:
        """Any bytes are a message or malformed."""
        try:
            Message.from_wire(data)
        except MalformedDatagram:
            pass


class RespondTests(SynchronousTestCase):
    """Which answer a request gets."""

    def values(self, asked: Message, may_write: bool = False) -> list[tuple[OID, Value]]:
        """What stands in the answer."""
        answer = respond(asked, numbers(), may_write)
        self.assertEqual((answer.operation, answer.request_id), (Operation.RESPONSE, 7))
        return list(answer.bindings)

    def test_get(self) -> None:
        """Values, and the word for none (RFC 3416, 4.2.1)."""
        found = self.values(ask(Operation.GET, (1, 1, 1), (1, 5, 1)))
        self.assertEqual(found, [((1, 1, 1), 1), ((1, 5, 1), Missing.INSTANCE)])

    def test_get_in_version_1(self) -> None:
        """Version 1 fails as a whole and names the first that is missing (RFC 1157, 4.1.2)."""
        answer = respond(ask(Operation.GET, (1, 1, 1), (1, 5, 1), version=VERSION_1), numbers(), False)
        self.assertEqual((answer.status, answer.index), (NO_SUCH_NAME, 2))

    def test_next(self) -> None:
        """Identifiers are ordered as numbers, not as text; after the last one the view ends."""
        found = self.values(ask(Operation.NEXT, (1,), (1, 2), (1, 2, 1), (1, 10, 1)))
        expected = [((1, 1, 1), 1), ((1, 2, 1), b"x"), ((1, 10, 1), 5), ((1, 10, 1), Missing.END)]
        self.assertEqual(found, expected)

    def test_bulk(self) -> None:
        """Non-repeaters once, the others row by row, until all have ended (RFC 3416, 4.2.3)."""
        found = self.values(ask(Operation.BULK, (1, 2, 1), (1, 1, 1), (1, 2, 1), status=1, index=9))
        self.assertEqual(
            found,
            [
                ((1, 10, 1), 5),
                *(((1, 1, 2), 2), ((1, 10, 1), 5)),
                *(((1, 2, 1), b"x"), ((1, 10, 1), Missing.END)),
                *(((1, 10, 1), 5), ((1, 10, 1), Missing.END)),
                *(((1, 10, 1), Missing.END), ((1, 10, 1), Missing.END)),
            ],
        )

    def test_bulk_is_bounded(self) -> None:
        """Nobody gets more rows than fit into a datagram, whatever was asked for."""
        many = Numbers({(1, n): n for n in range(1, 500)})
        answer = respond(ask(Operation.BULK, (1,), index=2**31 - 1), many, False)
        self.assertEqual(len(answer.bindings), MOST_BINDINGS)

    def test_bulk_of_nothing(self) -> None:
        """No repetitions, or no objects: an empty answer."""
        self.assertEqual(self.values(ask(Operation.BULK, (1,), index=0)), [])
        self.assertEqual(self.values(ask(Operation.BULK, index=5)), [])

    def test_set(self) -> None:
        """What may be written is written, and the answer repeats it."""
        objects = numbers()
        asked = attrs.evolve(ask(Operation.SET), bindings=(((1, 1, 2), 9),))
        self.assertEqual(respond(asked, objects, True).bindings, asked.bindings)
        self.assertEqual(objects.values[1, 1, 2], 9)

    def test_set_is_whole(self) -> None:
        """One object that cannot be written: none is (RFC 3416, 4.2.5)."""
        objects = numbers()
        asked = attrs.evolve(ask(Operation.SET), bindings=(((1, 1, 2), 9), ((1, 2, 1), 9)))
        answer = respond(asked, objects, True)
        self.assertEqual((answer.status, answer.index, objects.values[1, 1, 2]), (NOT_WRITABLE, 2, 2))

    def test_set_without_right(self) -> None:
        """Who may only read is told so, in version 1 in its own words (RFC 3584, 4.4)."""
        for version, status in ((VERSION_2C, NO_ACCESS), (VERSION_1, NO_SUCH_NAME)):
            asked = attrs.evolve(ask(Operation.SET, version=version), bindings=(((1, 1, 2), 9),))
            self.assertEqual(respond(asked, numbers(), False).status, status)


class ProtocolTests(SynchronousTestCase):
    """The agent on a port."""

    def setUp(self) -> None:
        """An agent that has one port of a PoE switch."""
        self.clock = Clock()
        self.delay: float | None = 0.0
        self.objects = Numbers({(*ADMIN, 1, 1): 1})
        communities = Communities(read=(b"public@1",), write=(b"private@1",))
        self.agent = AgentProtocol(self.clock, self.objects, communities, lambda: self.delay)
        self.transport = FakeDatagramTransport()
        self.agent.makeConnection(self.transport)

    def answers(self, data: bytes) -> list[bytes]:
        """What is sent back at once."""
        before = len(self.transport.written)
        self.agent.datagramReceived(data, ("127.0.0.1", 5_000))
        return [datagram for datagram, _ in self.transport.written[before:]]

    def test_answer(self) -> None:
        """A question gets its answer, to whoever asked, and is counted."""
        (answer,) = self.answers(BULK)
        self.assertEqual(Message.from_wire(answer).bindings[0], ((*ADMIN, 1, 1), 1))
        self.assertEqual(self.transport.written[-1][1], ("127.0.0.1", 5_000))
        self.assertEqual(self.agent.asked[Operation.BULK], 1)

    def test_unknown_community(self) -> None:
        """A stranger gets no answer (RFC 3584, 5.2.1)."""
        self.assertEqual(self.answers(GET.replace(b"public", b"puclib")), [])

    def test_reader_does_not_write(self) -> None:
        """The community for reading cannot write."""
        (answer,) = self.answers(attrs.evolve(Message.from_wire(SET), community=b"public@1").to_wire())
        self.assertEqual(Message.from_wire(answer).status, NO_ACCESS)

    def test_no_snmp(self) -> None:
        """What is no request gets no answer: neither noise nor an answer of somebody's."""
        (answer,) = self.answers(GET)
        for data in (b"", b"\x30\x82\xff", answer):
            self.assertEqual(self.answers(data), [])

    def test_silent(self) -> None:
        """A silent agent answers nothing and does nothing."""
        self.delay = None
        self.assertEqual(self.answers(SET), [])
        self.assertEqual(self.objects.values[*ADMIN, 1, 1], 1)

    def test_slow(self) -> None:
        """A slow agent answers later; one that was closed meanwhile does not."""
        self.delay = 2.0
        self.assertEqual(self.answers(GET), [])
        self.clock.advance(2)
        self.assertEqual(len(self.transport.written), 1)
        self.answers(GET)
        self.agent.transport = None
        self.clock.advance(2)
        self.assertEqual((len(self.transport.written), self.clock.getDelayedCalls()), (1, []))
