"""
Tests for :mod:`piman.editing.form` and :mod:`piman.editing.schema`: the form is the declarations, in the file's words.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.editing.form import Field, form_of, label_of, reference
from piman.editing.schema import configuration, is_opaque
from piman.settings.readers import keys_of
from piman.settings.sections import Document
from tests.editing_support import YAML

CAPTURE = Path(__file__).parent / "captures" / "original.yaml"


def fields(text: str) -> Iterator[Field]:
    """All fields; of lists of sections those of the elements, and of one that is not there."""
    form = form_of(configuration(text))
    for group in form.groups:
        yield from group.fields
    for repeated in form.repeated:
        for element in (*repeated.elements, repeated.empty):
            yield from element


class FormTests(SynchronousTestCase):
    """The form."""

    def test_all_keys(self) -> None:
        """Every key that the loader knows is a field, with the default that the reference shows."""
        shown = {re.sub(r"\[-1\]", "[]", field.key): field.default for field in fields("")}
        self.assertEqual(shown, dict(keys_of(Document)))

    def test_help(self) -> None:
        """Every key has the words of the reference, as plain text."""
        told = {re.sub(r"\[-1\]", "[]", field.key): field.help for field in fields("")}
        self.assertEqual([key for key, text in told.items() if not text or re.search(r"`|\*\*|\]\(", text)], [])
        self.assertGreater(len(reference()), 70)

    def test_values(self) -> None:
        """Values are shown as they are written; spellings of the original count."""
        found = {field.key: field for field in fields(YAML)}
        self.assertEqual(found["switches[1].switch_address"].value, "172.30.4.253")
        self.assertEqual(found["switches[0].ports"].value, {"1": "172.30.4.13", "2": "172.30.4.14"})
        self.assertEqual((found["dhcp.pool"].state, found["dhcp.router"].state), ("written", "unset"))
        self.assertEqual(found["dhcp.unknown_hosts"].shape.words, ("deny", "allow"))
        self.assertTrue(found["switches[0].snmp.community"].secret)
        self.assertEqual(
            [key for key, field in found.items() if field.required and "[" not in key],
            ["server_address", "subnet_mask", "interface"],
        )

    def test_original(self) -> None:
        """The original's example is a form of two switches."""
        found = {field.key: field.value for field in fields(CAPTURE.read_text())}
        self.assertEqual(len(found["switches[0].pi_addresses"]), 8)
        self.assertEqual(found["switches[1].switch_address"], "172.30.4.128")

    def test_blanks(self) -> None:
        """The original's skeleton, as its README prints it, is a form with blanks."""
        text = "private_number:\ninterface: \nswitches:\n  - swtich_0_address:\n    pi_addresses:\n      -\n      -\n"
        found = {field.key: field for field in fields(text)}
        self.assertEqual(found["switches[0].switch_address"].state, "blank")
        self.assertEqual(found["switches[0].pi_addresses"].value, [None, None])

    def test_wrong_kinds(self) -> None:
        """A list where a section should be, an alias, a mapping where a word should be: a form all the same."""
        found = {
            field.key: field for field in fields("dhcp: [1]\nswitches: x\ninterface: {a: b}\nweb: &w {}\nntp: *w\n")
        }
        self.assertEqual(found["dhcp.pool"].state, "unset")
        self.assertEqual(found["interface"].value, {"a": "b"})

    def test_opaque(self) -> None:
        """What belongs to a plugin is told apart from piman's own."""
        self.assertTrue(is_opaque(("switches", 0, "power", "on")))
        self.assertTrue(is_opaque(("alerts", 0, "retries")))
        self.assertFalse(is_opaque(("switches", 0, "ports", "1")))
        self.assertFalse(is_opaque(("dhcp", "pool")))

    def test_labels(self) -> None:
        """Keys become words."""
        self.assertEqual(label_of("snmp_read_community"), "SNMP read community")
        self.assertEqual(label_of("pi_addresses"), "Pi addresses")
