"""
The catalogue: whole, frozen, and documented.
"""

import ast
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.fleet.events import CATALOGUE, Event

TREE = Path(events.__file__)
REFERENCE = TREE.parents[2] / "docs" / "reference" / "events.md"


def documented(kind: type[Event]) -> str:
    """The row of an event class in the reference: made of the class itself."""
    fields = ", ".join(f"`{field.name}`" for field in attrs.fields(kind) if field.name != "mac")
    sentence = " ".join((kind.__doc__ or "").split()).replace(":class:", "").replace("``", "`")
    return f"| `{kind.__name__}` | {'yes' if kind.durable else 'no'} | {fields or '-'} | {sentence} |"


class CatalogueTests(SynchronousTestCase):
    """What every event class owes its readers."""

    def test_complete(self) -> None:
        """Each class of the module that is an event is in the catalogue, in the order of the page."""
        classes = [node.name for node in ast.parse(TREE.read_text()).body if isinstance(node, ast.ClassDef)]
        self.assertGreater(len(CATALOGUE), 30)
        self.assertEqual([kind.__name__ for kind in CATALOGUE], [n for n in classes if n not in ("Event", "Recorded")])

    def test_frozen(self) -> None:
        """No event can be changed after it happened."""
        for kind in CATALOGUE:
            self.assertTrue(attrs.fields(kind), kind)
            self.assertIsNot(kind.__setattr__, object.__setattr__, kind)

    def test_explained(self) -> None:
        """Each class says in one sentence what happened."""
        for kind in CATALOGUE:
            self.assertTrue((kind.__doc__ or "").strip().endswith("."), kind)

    def test_durability(self) -> None:
        """What a fleet does all day is stored nowhere; these classes and no others."""
        fleeting = {kind.__name__ for kind in CATALOGUE if not kind.durable}
        self.assertLessEqual({"LeaseRenewed", "ClockSet", "InstallerReported"}, fleeting)
        self.assertNotIn("Installed", fleeting)

    def test_documented(self) -> None:
        """The reference has the row of each class, as the class is now; a missing one is shown ready to paste."""
        rows = set(REFERENCE.read_text().splitlines())
        missing = [documented(kind) for kind in CATALOGUE if documented(kind) not in rows]
        self.assertEqual(missing, [], "rows missing in docs/reference/events.md:\n" + "\n".join(missing))

    def test_nothing_stale(self) -> None:
        """The reference speaks of no class that there is not."""
        named = {line.split("`")[1] for line in REFERENCE.read_text().splitlines() if line.startswith("| `")}
        self.assertLessEqual(named, {kind.__name__ for kind in CATALOGUE})
