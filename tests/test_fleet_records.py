"""
Values to JSON and back, whatever is in them.
"""

import json
from ipaddress import IPv4Address
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.events import CATALOGUE, AddressOffered, BootOrdered, Event
from piman.fleet.model import Intent, Lease, Node, NodeStatus, Phase, Slot, Stage
from piman.fleet.state.records import UnreadableRecord, as_plain, from_json, from_plain, to_json
from tests.fleet_support import ADDRESS, MAC, any_event, instances


class RoundTripTests(SynchronousTestCase):
    """What is written is read back as it was."""

    @given(any_event())
    def test_events(self, event: Event) -> None:
        """Every event of the catalogue, with any content."""
        self.assertEqual(from_json(type(event), to_json(event)), event)

    @given(st.one_of(*(instances(kind) for kind in (NodeStatus, Intent, Lease, Node, Slot))))
    def test_values(self, value: Any) -> None:
        """Statuses, intents, leases and what the operator wants, with any content."""
        self.assertEqual(from_json(type(value), to_json(value)), value)

    @given(any_event())
    def test_one_ascii_line(self, event: Event) -> None:
        """Nothing that the network sent breaks the line or its encoding."""
        text = to_json(event)
        self.assertTrue(text.isascii())
        self.assertNotIn("\n", text)

    def test_every_class_can_be_read(self) -> None:
        """No class of the catalogue has a field whose annotation cannot be read."""
        for kind in CATALOGUE:
            self.assertRaises(UnreadableRecord, from_plain, kind, {"mac": 5})


class FormTests(SynchronousTestCase):
    """What others read in the files."""

    def test_form(self) -> None:
        """Addresses and MACs are texts, enumerations their values."""
        event = AddressOffered(mac=MAC, address=ADDRESS, stage=Stage.ROM)
        self.assertEqual(
            json.loads(to_json(event)),
            {"mac": "b8:27:eb:00:00:01", "address": "172.30.4.13", "stage": "rom", "serial": None, "model": None},
        )

    def test_nested(self) -> None:
        """A timeline is a list of pairs."""
        status = NodeStatus(mac=MAC, timeline=((Phase.UP, 2.5),))
        self.assertEqual(as_plain(status)["timeline"], [["up", 2.5]])

    def test_foreign_values(self) -> None:
        """A plugin's value without a form of its own becomes its text, and a mapping stays one."""
        self.assertEqual(
            as_plain({"when": IPv4Address("1.2.3.4"), 5: {1: b"x"}}), {"when": "1.2.3.4", "5": {"1": "b'x'"}}
        )


class OtherVersionTests(SynchronousTestCase):
    """Files outlive the classes that wrote them."""

    def test_missing_field(self) -> None:
        """A field that the file does not have takes its default."""
        self.assertEqual(from_json(BootOrdered, "{}"), BootOrdered())

    def test_unknown_field(self) -> None:
        """A field that the class does not have any more is dropped."""
        self.assertEqual(from_json(BootOrdered, '{"mac":null,"colour":"red"}'), BootOrdered())

    def test_unreadable(self) -> None:
        """What does not fit raises UnreadableRecord and nothing else."""
        for text in (
            "",
            "[]",
            "5",
            "{",
            '{"address":"x","stage":"rom"}',
            '{"stage":"rom"}',
            '{"address":"1.2.3.4","stage":7}',
        ):
            self.assertRaises(UnreadableRecord, from_json, AddressOffered, text)

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        )
    )
    def test_any_json(self, plain: Any) -> None:
        """No JSON of any shape raises anything else."""
        try:
            from_plain(NodeStatus, plain)
        except UnreadableRecord:
            pass

    def test_unsupported_annotation(self) -> None:
        """A class with a field that cannot be told apart is refused, not misread."""

        @attrs.frozen
        class Ambiguous:
            value: int | str

        self.assertRaises(UnreadableRecord, from_plain, Ambiguous, {"value": 5})
