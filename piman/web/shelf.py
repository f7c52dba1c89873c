# -*- test-case-name: tests.test_web_images -*-
"""
What is answered about images: which there are, which nodes have each, and which get each; and how that is changed.

A change installs nothing: it says what the next installation brings.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from piman.fleet.assignment import DEFAULT, Held, default_image, held
from piman.fleet.interfaces import IImages, ImageMissing
from piman.fleet.model import Image, ImageChoice, MACAddress, Node, Scope
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.targets import Atlas, nearest
from piman.fleet.state.image_choices import ImageChoices
from piman.fleet.walltime import WallTime
from piman.web.shapes import JSON
from piman.web.switchboard import within
from piman.web.wishes import Refusal

HASHING_SECONDS = 2.0
"""So long a list of images waits for the digests of new ones."""
HASHING = "its digest is being computed"
TAG = "tag:"
"""What stands before the name of a tag among names of nodes."""

Key = tuple[Scope, str]


@attrs.frozen(kw_only=True)
class Asked:
    """Who asks for a change, and from where."""

    who: str
    source: str


class Shelf:
    """
    All images.

    :param atlas: what words can name, as of now.
    :param tags: the tags that there are, as of now.
    :param wall: the host's time, in which moments are shown.
    :param hashing_seconds: so long a list waits for the digests of new images.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        images: IImages,
        choices: ImageChoices,
        registry: NodeRegistry,
        atlas: Callable[[], Atlas],
        tags: Callable[[], Iterable[str]],
        wall: WallTime,
        hashing_seconds: float = HASHING_SECONDS,
    ) -> None:
        self._clock = clock
        self._hashing_seconds = hashing_seconds
        self._images = images
        self._choices = choices
        self._registry = registry
        self._atlas = atlas
        self._tags = tags
        self._wall = wall

    # Asking

    async def images(self) -> JSON:
        """All images, who has them and who gets them; hashing a new one is not waited for."""
        looked = {name: Deferred.fromCoroutine(self._look(name)) for name in self._images.names}
        found = {name: await looking for name, looking in looked.items()}
        digests = {name: image.digest for name, image in found.items() if isinstance(image, Image)}
        nodes = list(self._registry.nodes())
        holdings = {node.mac: held(self._registry.status(node.mac), digests) for node in nodes}
        default = default_image(self._choices.all).image
        return {
            "images": [
                {
                    **_shown(name, image),
                    "default": name == default,
                    "installed": _named(node for node in nodes if _has(holdings[node.mac], name)),
                    "assigned": _named(node for node in nodes if node.image == name),
                }
                for name, image in found.items()
            ],
            "default": default,
            "older": _older(nodes, holdings),
            "unknown": _named(node for node in nodes if holdings[node.mac].digest is None),
            "missing": _missing(nodes, found),
            "choices": [self._choice(choice) for choice in self._choices.all.values()],
            "tags": [
                {"name": tag, "nodes": _named(node for node in nodes if tag in node.tags)} for tag in self._tags()
            ],
        }

    async def _look(self, name: str) -> Image | str:
        """An image, or why its digest is not known."""
        try:
            return await within(self._clock, self._hashing_seconds, self._images.image(name), HASHING)
        except ImageMissing as reason:
            return str(reason)

    def _choice(self, choice: ImageChoice) -> JSON:
        seen = self._wall.to_wall(choice)
        node = self._registry.node(MACAddress.parse(choice.name)) if choice.scope is Scope.NODE else None
        return {
            "scope": choice.scope.value,
            "name": choice.name,
            "node": node.name if node else None,
            "image": choice.image,
            "who": choice.who,
            "source": choice.source,
            "chosen": seen.chosen,
        }

    def outlook(self, macs: Iterable[MACAddress], ordered: str = "") -> list[JSON]:
        """
        What nodes get when they are installed next, beside what they have, as far as that is known at once.

        :param ordered: the image that an order names, for all of them.
        """
        digests = {name: image.digest for name in self._images.names if (image := self._at_once(name)) is not None}
        nodes = [node for mac in macs if (node := self._registry.node(mac)) is not None]
        return [self._outlook(node, digests, ordered) for node in nodes]

    def _outlook(self, node: Node, digests: Mapping[str, str], ordered: str) -> JSON:
        found = held(self._registry.status(node.mac), digests)
        return {
            "id": str(node.mac),
            "name": node.name,
            "image": ordered or node.image,
            "rule": "ordered" if ordered else node.image_rule,
            "installed": {"image": found.image, "digest": found.digest, "older": found.is_older},
        }

    def _at_once(self, name: str) -> Image | None:
        """The image if its digest is known; else hashing it begins."""
        found: list[Image] = []
        self._images.image(name).addCallbacks(found.append, lambda failure: None)
        return found[0] if found else None

    # Changing

    async def set_default(self, name: str, asked: Asked) -> JSON:
        """
        Give an image to all nodes for which nothing else is said.

        :raises Refusal: when there is none of that name, or it cannot be unpacked.
        :raises StoreFailed: when it cannot be written.
        """
        await self._check(name)
        if name == DEFAULT:
            await self._choices.withdraw([(Scope.DEFAULT, "")], who=asked.who, source=asked.source)
        else:
            await self._choices.choose([self._made((Scope.DEFAULT, ""), name, asked)])
        rule = default_image(self._choices.all).rule
        return self._outcome(name, [node for node in self._registry.nodes() if node.image_rule == rule])

    async def assign(self, name: str, words: Sequence[str], asked: Asked) -> JSON:
        """
        Give an image to nodes and tags; raises as :meth:`set_default`.

        :param words: names, addresses or MACs of nodes, and ``tag:NAME``.
        """
        keys = self._keys(words)
        await self._check(name)
        await self._choices.choose([self._made(key, name, asked) for key in dict.fromkeys(keys)])
        return self._outcome(name, self._of(keys))

    async def unassign(self, words: Sequence[str], asked: Asked) -> JSON:
        """
        Let what the files say count again.

        :raises Refusal: when nothing was chosen for one of them; nothing has changed then.
        :raises StoreFailed: when it cannot be written.
        """
        keys = self._keys(words, gone_too=True)
        problems = [self._not_chosen(word, key) for word, key in zip(words, keys, strict=True) if not self._has(key)]
        if problems:
            hint = "piman images shows what was chosen; what piman.yaml says is changed there."
            raise Refusal(409, "not-chosen", "; ".join(problems), hint)
        await self._choices.withdraw(dict.fromkeys(keys), who=asked.who, source=asked.source)
        return self._outcome("", self._of(keys))

    def _has(self, key: Key) -> bool:
        return key in self._choices.all

    def _not_chosen(self, word: str, key: Key) -> str:
        node = self._registry.node(MACAddress.parse(key[1])) if key[0] is Scope.NODE else None
        what = f"; it gets {node.image} ({node.image_rule})" if node else ""
        return f"{word}: found no image that was chosen for it by command{what}"

    def _made(self, key: Key, image: str, asked: Asked) -> ImageChoice:
        scope, name = key
        now = self._clock.seconds()
        return ImageChoice(scope=scope, name=name, image=image, who=asked.who, source=asked.source, chosen=now)

    def _outcome(self, image: str, nodes: Iterable[Node]) -> JSON:
        return {"image": image, "nodes": self.outlook(node.mac for node in nodes)}

    def _of(self, keys: Sequence[Key]) -> list[Node]:
        """The nodes that keys are about."""
        wanted = set(keys)
        return [
            node
            for node in self._registry.nodes()
            if (Scope.NODE, str(node.mac)) in wanted or any((Scope.TAG, tag) in wanted for tag in node.tags)
        ]

    # Checking

    def require(self, name: str) -> None:
        """
        Make sure that there is an image of this name.

        :raises Refusal: when there is none.
        """
        known = self._images.names
        if name in known:
            return
        close = get_close_matches(name, known, n=3)
        near = f"Did you mean {' or '.join(close)}? " if close else ""
        hint = f"{near}Name one of them, or add it under images in piman.yaml."
        message = f"image: found {name!r}, expected one of: {', '.join(known) or 'none'}"
        raise Refusal(422, "no-such-image", message, hint)

    async def _check(self, name: str) -> None:
        """An image that nodes could not unpack is given to none."""
        self.require(name)
        hint = "Make or import it again (piman import-image); nothing was changed."
        try:
            trouble = await self._images.trouble(name)
        except ImageMissing as reason:
            raise Refusal(422, "bad-image", f"found {reason}, expected a gzipped tar archive", hint) from reason
        if trouble:
            message = f"found image {name}, of which {trouble}; expected a whole gzipped tar archive"
            raise Refusal(422, "bad-image", message, hint)

    def _keys(self, words: Sequence[str], *, gone_too: bool = False) -> list[Key]:
        """
        What words mean.

        :param gone_too: also what no file names any more, if something was chosen for it.
        :raises Refusal: with all that mean nothing.
        """
        problems: list[str] = []
        keys = [self._key(word, gone_too, problems) for word in words]
        if problems:
            raise Refusal(422, "bad-targets", "; ".join(problems), "Nothing was changed.")
        return keys

    def _key(self, word: str, gone_too: bool, problems: list[str]) -> Key:
        if word.startswith(TAG):
            key = Scope.TAG, word.removeprefix(TAG)
            if key[1] not in self._tags() and not (gone_too and self._has(key)):
                problems.append(_no_tag(word, list(self._tags())))
            return key
        atlas = self._atlas()
        node = atlas.node(word)
        key = Scope.NODE, str(node.mac) if node else word.lower()
        if node is None and not (gone_too and self._has(key)):
            problems.append(nearest(word, attrs.evolve(atlas, places=())))
        return key


def _no_tag(word: str, tags: Sequence[str]) -> str:
    close = get_close_matches(word.removeprefix(TAG), tags, n=1)
    known = f"did you mean {TAG}{close[0]}?" if close else f"tags in piman.yaml: {', '.join(tags) or 'none'}"
    return f"{word}: no such tag; {known}"


def _has(found: Held, name: str) -> bool:
    return found.image == name and found.digest is not None and not found.is_older


def _named(nodes: Iterable[Node]) -> list[JSON]:
    return [{"id": str(node.mac), "name": node.name} for node in nodes]


def _shown(name: str, found: Image | str) -> JSON:
    if isinstance(found, str):
        return {"name": name, "path": None, "digest": None, "size_bytes": None, "modified": None, "note": found}
    return {
        "name": name,
        "path": found.path,
        "digest": found.digest,
        "size_bytes": found.size_bytes,
        "modified": found.modified_ns / 1e9,
        "note": "",
    }


def _older(nodes: Sequence[Node], holdings: Mapping[MACAddress, Held]) -> list[JSON]:
    """What is on cards and no image any more, by digest."""
    found: dict[str, tuple[str, list[Node]]] = {}
    for node in nodes:
        holding = holdings[node.mac]
        if holding.is_older and holding.digest is not None:
            found.setdefault(holding.digest, (holding.image, []))[1].append(node)
    return [
        {"digest": digest, "image": image, "nodes": _named(holders)} for digest, (image, holders) in found.items()
    ]


def _missing(nodes: Sequence[Node], found: Mapping[str, object]) -> list[JSON]:
    """Images that nodes are to get and that there are not."""
    wanted = dict.fromkeys(node.image for node in nodes if node.image not in found)
    return [{"image": image, "nodes": _named(node for node in nodes if node.image == image)} for image in wanted]


