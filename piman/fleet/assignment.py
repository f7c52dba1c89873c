# -*- test-case-name: tests.test_fleet_assignment -*-
"""
Which image a node is given when it is installed next.  Pure.  docs/decisions/images-assignment.md

The most particular word counts: of the node, of a tag that it has, of all nodes; and of each of these what was chosen
by command before what the files say.  Of several tags the first that has an image counts, in the order of piman.yaml.
"""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from piman.fleet.model import ImageChoice, Node, NodeStatus, Scope

DEFAULT = "default"
"""The image that everybody gets for whom nothing is said."""

Choices = Mapping[tuple[Scope, str], ImageChoice]
"""By :attr:`ImageChoice.key`."""


@attrs.frozen
class Wanted:
    """An image, and by which rule it is that one, in plain words."""

    image: str
    rule: str


def wanted(node: Node, tag_images: Mapping[str, str], choices: Choices) -> Wanted:
    """
    What a node is given.

    :param tag_images: the images that the files give to tags.
    """
    return next(_words(node, tag_images, choices))


def _words(node: Node, tag_images: Mapping[str, str], choices: Choices) -> Iterator[Wanted]:
    """All that is said of a node, the most particular first."""
    chosen = choices.get((Scope.NODE, str(node.mac)))
    if chosen is not None:
        yield Wanted(chosen.image, "chosen for this node")
    for tag in node.tags:
        chosen = choices.get((Scope.TAG, tag))
        if chosen is not None:
            yield Wanted(chosen.image, f"chosen for tag {tag}")
        elif tag_images.get(tag):
            yield Wanted(tag_images[tag], f"tag {tag} in the configuration")
    yield default_image(choices)


def default_image(choices: Choices) -> Wanted:
    """What a node is given for which nothing else is said."""
    chosen = choices.get((Scope.DEFAULT, ""))
    return Wanted(DEFAULT, "the default") if chosen is None else Wanted(chosen.image, "the default, as chosen")


def assigned(nodes: Iterable[Node], tag_images: Mapping[str, str], choices: Choices) -> tuple[Node, ...]:
    """The nodes, each with the image that it is given."""
    return tuple(_with(node, wanted(node, tag_images, choices)) for node in nodes)


def _with(node: Node, found: Wanted) -> Node:
    if (node.image, node.image_rule) == (found.image, found.rule):
        return node
    return attrs.evolve(node, image=found.image, image_rule=found.rule)


def rivals(node: Node, tag_images: Mapping[str, str]) -> list[str]:
    """The tags of a node that the files give different images: the first counts, which not everybody expects."""
    found = [tag for tag in node.tags if tag_images.get(tag)]
    return found if len({tag_images[tag] for tag in found}) > 1 else []


def without_image(choices: Choices, names: Iterable[str]) -> list[ImageChoice]:
    """The choices of images that there are not."""
    known = set(names)
    return [choice for choice in choices.values() if choice.image not in known]


def spoken(choice: ImageChoice) -> str:
    """For what it is, in plain words."""
    return "the default" if choice.scope is Scope.DEFAULT else f"{choice.scope.value} {choice.name}"


# What a card holds


@attrs.frozen(kw_only=True)
class Held:
    """The image on a node's card, as far as it is known."""

    image: str = ""
    """The name of that image; of one that is not there any more: its name of then; empty: not known."""
    digest: str | None = None
    """None: not known, or no whole image."""
    is_older: bool = False
    """No image has this digest: its file was replaced since, or it was never one of ours."""


def held(seen: NodeStatus, digests: Mapping[str, str]) -> Held:
    """
    What is on the card of a node.

    :param digests: of all images, by name.
    """
    if seen.digest is None:
        return Held()
    if digests.get(seen.image) == seen.digest:
        return Held(image=seen.image, digest=seen.digest)
    same = next((name for name, digest in digests.items() if digest == seen.digest), None)
    return Held(image=seen.image if same is None else same, digest=seen.digest, is_older=same is None)
