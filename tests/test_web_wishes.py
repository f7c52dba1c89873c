"""
Tests for :mod:`piman.web.wishes`: what is asked, whatever it is, is a wish or a refusal.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.operations.orders import Action
from piman.web.wishes import Refusal, Wish, number, only, read_body, read_wish, word

ANYTHING: Any = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=5,
)
KEYS = some.sampled_from(["action", "nodes", "dry_run", "image", "at_most", "stop_after", "yes"]) | some.text()


class WishTests(SynchronousTestCase):
    """Orders."""

    def test_whole(self) -> None:
        """Every key is read; numbers of ports are words like others."""
        body = {
            "action": "reinstall",
            "nodes": ["rack-a", 2, "3-4"],
            "dry_run": True,
            "image": "lab",
            "at_most": 4,
            "stop_after": 2,
            "yes": True,
        }
        self.assertEqual(
            read_wish(body),
            Wish(
                action=Action.REINSTALL,
                nodes=("rack-a", "2", "3-4"),
                dry_run=True,
                image="lab",
                at_most=4,
                stop_after=2,
                yes=True,
            ),
        )

    def test_least(self) -> None:
        """Action and nodes are enough."""
        self.assertEqual(
            read_wish({"action": "power-off", "nodes": ["pi2"]}), Wish(action=Action.POWER_OFF, nodes=("pi2",))
        )

    @given(some.dictionaries(KEYS, ANYTHING))
    def test_any_object(self, body: dict[str, Any]) -> None:
        """Any object is a wish, or refused with a reason."""
        try:
            read_wish(body)
        except Refusal as refusal:
            self.assertEqual((refusal.status, refusal.code), (400, "bad-order"))
            self.assertIn("expected", refusal.message)

    @given(some.binary())
    def test_any_bytes(self, body: bytes) -> None:
        """Any bytes are an object, or refused."""
        try:
            self.assertEqual(read_body(body), json.loads(body))
        except Refusal as refusal:
            self.assertEqual(refusal.status, 400)


class ParameterTests(SynchronousTestCase):
    """Parameters."""

    @given(some.binary())
    def test_any_number(self, text: bytes) -> None:
        """Any bytes are a number up to the limit, or refused."""
        try:
            self.assertIn(number({b"limit": [text]}, "limit", 0, 100), range(101))
        except Refusal as refusal:
            self.assertEqual(refusal.code, "bad-parameter")

    def test_default(self) -> None:
        """What is not there is the default."""
        self.assertEqual((number({}, "limit", 7), word({}, "node")), (7, None))

    @given(some.binary())
    def test_unknown(self, name: bytes) -> None:
        """A parameter of any other name is refused."""
        if name != b"limit":
            self.assertRaises(Refusal, only, {name: [b""]}, "limit")
