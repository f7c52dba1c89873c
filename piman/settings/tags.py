# -*- test-case-name: tests.test_config -*-
"""
Tags: words for several nodes, and the images that these are given.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

import attrs
import yaml

from piman.fleet.assignment import rivals
from piman.fleet.model import Node
from piman.settings.readers import line, list_of, read_section, setting, word
from piman.settings.yamlfile import Report, Value

_nodes = list_of(
    line("a node's hostname, address or MAC"), "a list of nodes, like [pi2, pi3], or {nodes: [...], image: NAME}"
)


@attrs.frozen(kw_only=True)
class Tag:
    """A word for several nodes, and the image that they are given."""

    nodes: tuple[str, ...] = setting(_nodes, ())
    image: str | None = setting(word, None)


def read_tag(value: Value, report: Report) -> Tag:
    """``[NODE, ...]``, or ``{nodes: [NODE, ...], image: NAME}``."""
    if isinstance(value.node, yaml.MappingNode):
        return read_section(Tag, value, report)
    return Tag(nodes=_nodes(value, report))


def tag_images(tags: Mapping[str, Tag]) -> dict[str, str]:
    """The images that the file gives to tags."""
    return {name: tag.image for name, tag in tags.items() if tag.image is not None}


def tagged(nodes: Iterable[Node], tags: Mapping[str, Tag]) -> tuple[Node, ...]:
    """The nodes, each with its tags, in the order of the file."""
    members = {name: frozenset(map(str.lower, tag.nodes)) for name, tag in tags.items()}
    if not members:
        return tuple(nodes)
    return tuple(
        attrs.evolve(node, tags=tuple(name for name, words in members.items() if words & _names(node)))
        for node in nodes
    )


def odd_tags(nodes: Iterable[Node], tags: Mapping[str, Tag], report: Report) -> Iterator[str]:
    """What is odd, but harms nothing: words that name no node, and a node with two tags that differ."""
    with_tags = tagged(nodes, tags)
    yield from _unknown(with_tags, tags, report)
    images = tag_images(tags)
    for node in with_tags:
        if found := rivals(node, images):
            yield f"{node.name}: tags {', '.join(found)} give it different images; the first counts: {images[found[0]]}"


def _unknown(nodes: Iterable[Node], tags: Mapping[str, Tag], report: Report) -> Iterator[str]:
    known = frozenset(name for node in nodes for name in _names(node))
    for name, tag in tags.items():
        for index, member in enumerate(tag.nodes):
            if member.lower() in known:
                continue
            places = f"tags.{name}.nodes[{index}]", f"tags.{name}[{index}]"
            place = next((key for key in places if key in report.lines), f"tags.{name}")
            close = get_close_matches(member.lower(), known, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            yield f"{report.file}:{report.lines.get(place, 0)}: {place}: no board has the name {member!r}{meant}"


def _names(node: Node) -> frozenset[str]:
    """What a node answers to, in lower case."""
    address = {str(node.address)} if node.address else set()
    return frozenset({str(node.mac), str(node.mac).replace(":", "-"), node.hostname.lower()} | address) - {""}
