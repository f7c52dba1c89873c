"""
Tests for :mod:`piman.fleet.assignment`: which word counts.
"""

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.assignment import assigned, default_image, rivals, spoken, wanted, without_image
from piman.fleet.model import ImageChoice, Node, Scope
from tests.fleet_support import MAC, OTHER_MAC

NODE = Node(mac=MAC, hostname="pi2", tags=("kiosks", "lab"))
FILES = {"lab": "bookworm"}


def chosen(*choices: ImageChoice) -> dict[tuple[Scope, str], ImageChoice]:
    """Choices by key."""
    return {choice.key: choice for choice in choices}


def choice(scope: Scope, name: str, image: str) -> ImageChoice:
    """One of them."""
    return ImageChoice(scope=scope, name=name, image=image)


OF_NODE = choice(Scope.NODE, str(MAC), "a")
OF_TAG = choice(Scope.TAG, "kiosks", "b")
OF_SECOND_TAG = choice(Scope.TAG, "lab", "c")
OF_ALL = choice(Scope.DEFAULT, "", "d")


class WantedTests(SynchronousTestCase):
    """Node, tag, default; a choice before the files."""

    def test_order(self) -> None:
        """Each row takes the most particular word away from the one before."""
        for choices, files, tags, image, rule in (
            ((OF_NODE, OF_TAG, OF_SECOND_TAG, OF_ALL), FILES, NODE.tags, "a", "chosen for this node"),
            ((OF_TAG, OF_SECOND_TAG, OF_ALL), FILES, NODE.tags, "b", "chosen for tag kiosks"),
            ((OF_SECOND_TAG, OF_ALL), FILES, NODE.tags, "c", "chosen for tag lab"),
            ((OF_ALL,), FILES, NODE.tags, "bookworm", "tag lab in the configuration"),
            ((OF_ALL,), {}, NODE.tags, "d", "the default, as chosen"),
            ((), {}, NODE.tags, "default", "the default"),
            ((OF_TAG,), FILES, (), "default", "the default"),
        ):
            found = wanted(attrs.evolve(NODE, tags=tags), files, chosen(*choices))
            self.assertEqual((found.image, found.rule), (image, rule))

    def test_first_tag(self) -> None:
        """Of several tags the first that has an image counts, whoever gave it."""
        files = {"kiosks": "kiosk", "lab": "bookworm"}
        self.assertEqual(wanted(NODE, files, chosen(OF_SECOND_TAG)).image, "kiosk")
        self.assertEqual(rivals(NODE, files), ["kiosks", "lab"])
        self.assertEqual(rivals(NODE, {"kiosks": "x", "lab": "x"}), [])

    def test_others(self) -> None:
        """A choice for one node is no other's."""
        other = Node(mac=OTHER_MAC)
        first, second = assigned((NODE, other), {}, chosen(OF_NODE))
        self.assertEqual((first.image, second), ("a", other))

    @given(some.lists(some.sampled_from([OF_NODE, OF_TAG, OF_SECOND_TAG, OF_ALL])), some.sampled_from([{}, FILES]))
    def test_taken_back(self, choices: list[ImageChoice], files: dict[str, str]) -> None:
        """Whatever was chosen before, without choices it is as the files say."""
        (before,) = assigned((NODE,), files, chosen(*choices))
        self.assertEqual(assigned((before,), files, {}), assigned((NODE,), files, {}))

    def test_default(self) -> None:
        """The default is the image of that name, or the one that was chosen."""
        self.assertEqual((default_image({}).image, default_image(chosen(OF_ALL)).image), ("default", "d"))

    def test_gone(self) -> None:
        """Choices of images that there are not are found."""
        self.assertEqual(without_image(chosen(OF_NODE, OF_TAG, OF_ALL), ("a", "d")), [OF_TAG])

    def test_words(self) -> None:
        """For what a choice is."""
        self.assertEqual([spoken(OF_ALL), spoken(OF_TAG)], ["the default", "tag kiosks"])
