# -*- test-case-name: tests.test_ctl_images -*-
"""
Words about images: ``images`` shows who has and who gets which, ``image`` says who is to get one.

Without a manager ``images`` tells what the files say, and what a manager has left in its databases, where these may be
read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail
from twisted.python import usage
from zope.interface import implementer

from piman.boot.images import ImageLibrary, in_thread
from piman.config import Config
from piman.ctl.client import JSON, NoManager
from piman.ctl.folding import folded
from piman.ctl.options import Asking
from piman.ctl.printing import clock, harmless, show_json, show_table
from piman.fleet.assignment import assigned
from piman.fleet.events import Event
from piman.fleet.interfaces import IEventSink, IImageChoiceStore, IImages, StoreFailed
from piman.fleet.model import ImageChoice
from piman.fleet.nodes import NodeRegistry
from piman.fleet.state.history import statuses_in
from piman.fleet.state.image_choices import ImageChoices
from piman.fleet.state.store import read_image_choices
from piman.fleet.walltime import WallTime
from piman.fleet.wording import size
from piman.power import atlas_of
from piman.settings.tags import tag_images
from piman.web.shelf import HASHING, Shelf

DONE, FAILED = 0, 1
DIRECT_HASHING_SECONDS = 3600.0
"""Without a manager a list is waited for until all is hashed; more than the largest image on the slowest disk takes."""
SHORT = 12
"""Digits of a digest that a table shows."""


# Options


class ImagesOptions(Asking):
    """``piman images``"""

    command = "piman images"
    longdesc = (
        "Lists the images, which nodes have each of them on their cards, and which get it when they are installed "
        "next.  Without a manager: as its files have it.  Exit status 1: an image that nodes are to get is not "
        "there, or cannot be read."
    )
    examples = (
        "  piman images\n"
        "  piman images --json | jq '.older[].nodes[].name'     nodes with an image that is no more\n"
    )
    optFlags: ClassVar = [["names", None, "Only the names of all images, and tag:NAME of all tags, one a line"]]


class ImageOptions(Asking):
    """``piman image``"""

    command = "piman image"
    synopsis = "[options] set-default NAME | assign NAME NODES | unassign NODES"
    longdesc = (
        "Says which image nodes get when they are installed next: all of them (set-default), or nodes and tags "
        "(assign; tag:NAME).  It stands before what piman.yaml says, until it is taken back (unassign, or set-default "
        "default).  "
        "Nothing is installed by it: piman reinstall does that.  NODES: names, addresses or MACs."
    )
    examples = (
        "  piman image set-default lite             all nodes without another image\n"
        "  piman image assign lab pi2 pi3           two nodes\n"
        "  piman image assign kiosk tag:kiosks      those that piman.yaml names under tags\n"
        "  piman image unassign pi2 tag:kiosks      as the files say\n"
        "  piman image set-default default          the image of that name again\n"
    )

    def parseArgs(self, *words: str) -> None:
        """What to do, and with what."""
        act, *rest = words or ("",)
        if act not in ACTS:
            found = repr(act) if act else "nothing"
            raise usage.UsageError(f"found {found}, expected {', '.join(ACTS)}")
        expected, least, most = ACTS[act]
        if not least <= len(rest) <= most:
            raise usage.UsageError(f"{act}: found {' '.join(rest) or 'nothing'}, expected {expected}")
        self["act"], self["words"] = act, rest


MANY = 10_000
ACTS = {
    "set-default": ("one name of an image", 1, 1),
    "assign": ("the name of an image, and nodes or tag:NAME", 2, MANY),
    "unassign": ("nodes or tag:NAME", 1, MANY),
}
"""What ``image`` can do: the words that it takes, and how many of them."""


# Listing


async def images(reactor: Any, options: ImagesOptions, answer: Any) -> int:
    """List images, by the manager, else as the configuration has them."""
    try:
        found = await options.client(reactor).get("/api/v1/images")
    except NoManager as reason:
        if options["socket"] or options["names"]:
            raise
        text = f"piman: {reason}: as the files have it, and as a manager has seen nodes last"
        print(text, file=sys.stderr)
        found = await images_directly(reactor, options.configuration())
    if options["names"]:
        names = [*(image["name"] for image in found["images"]), *(f"tag:{tag['name']}" for tag in found["tags"])]
        answer.write("".join(f"{harmless(name)}\n" for name in names))
        return DONE
    if options["json"]:
        show_json(answer, found)
    else:
        _show(found, answer)
    return FAILED if found["missing"] or any(_is_lost(image) for image in found["images"]) else DONE


def _is_lost(image: JSON) -> bool:
    """Nodes are to get it, and it cannot be read; one that is being hashed is there."""
    is_there = image["digest"] is not None or image["note"] == HASHING
    return not is_there and bool(image["assigned"] or image["default"])


def _show(found: JSON, answer: Any) -> None:
    rows = [_row(image) for image in found["images"]]
    rows += [_older_row(older) for older in found["older"]]
    show_table(answer, ("image", "size", "digest", "modified", "installed on", "assigned to", "remark"), rows)
    if found["unknown"]:
        print(f"What is on their cards is not known: {_some(found['unknown'])}", file=answer)
    for missing in found["missing"]:
        print(f"There is no image {harmless(missing['image'])}, which is for {_some(missing['nodes'])}", file=answer)
    for choice in found["choices"]:
        print(_choice_line(choice), file=answer)


def _row(image: JSON) -> tuple[object, ...]:
    digest = image["digest"][:SHORT] if image["digest"] else "-"
    bytes_ = size(image["size_bytes"]) if image["size_bytes"] is not None else "-"
    modified = clock(image["modified"])[:16] if image["modified"] else "-"
    remark = "; ".join(filter(None, ("the default" if image["default"] else "", image["note"])))
    return image["name"], bytes_, digest, modified, _some(image["installed"]), _some(image["assigned"]), remark


def _older_row(older: JSON) -> tuple[object, ...]:
    """What is on cards and no image any more."""
    name = f"older {older['image']}" if older["image"] else "older"
    return name, "-", older["digest"][:SHORT], "-", _some(older["nodes"]), "-", "no image has this digest any more"


def _some(nodes: Sequence[JSON]) -> str:
    """How many nodes, and the first of them."""
    return f"{len(nodes)}: {harmless(folded(node['name'] for node in nodes))}" if nodes else "-"


def _choice_line(choice: JSON) -> str:
    what = {"default": "the default", "tag": f"tag {choice['name']}", "node": choice["node"] or choice["name"]}
    who = f" by {choice['who']}" if choice["who"] else ""
    when = f", {clock(choice['chosen'])}" if choice["chosen"] else ""
    return f"{harmless(choice['image'])} was chosen for {harmless(what[choice['scope']])}{harmless(who)}{when}"


# Without a manager


@implementer(IImageChoiceStore, IEventSink)
class _Written:
    """What stands in a state.db that is another's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load_image_choices(self) -> list[ImageChoice]:
        """All; none, and a word about it, when it cannot be read."""
        try:
            return read_image_choices(self._path)
        except StoreFailed as reason:
            print(f"piman: what was chosen by command is not known: {reason}", file=sys.stderr)
            return []

    def save_image_choices(self, made: Sequence[ImageChoice], withdrawn: Sequence[ImageChoice]) -> "Deferred[None]":
        """Not here: it is another's."""
        return fail(StoreFailed(f"{self._path} is only read"))

    def emit(self, event: Event) -> None:
        """To nobody."""


async def images_directly(reactor: Any, config: Config, library: IImages | None = None) -> JSON:
    """
    The same, without a manager: nodes have what one has seen last, and hashing is waited for.

    :param library: the images; None: those of the configuration.
    """
    state = config.state_dir
    if library is None:
        cache = state / "images.json" if state.is_dir() else None
        paths = {name: str(path) for name, path in config.images.items()}
        library = ImageLibrary(paths, run=in_thread(reactor), cache=cache)
    written = _Written(state / "state.db")
    choices = ImageChoices(written, written)
    choices.load()
    nodes = assigned(config.nodes, tag_images(config.tags), choices.all)
    shelf = Shelf(
        reactor,
        images=library,
        choices=choices,
        registry=NodeRegistry(nodes, config.slots, statuses_in(state / "history.db")),
        atlas=lambda: atlas_of(config, {}),
        tags=lambda: config.tags,
        wall=WallTime(reactor),
        hashing_seconds=DIRECT_HASHING_SECONDS,
    )
    return await shelf.images()


# Changing


async def image(reactor: Any, options: ImageOptions, answer: Any) -> int:
    """Say which image nodes get."""
    client = options.client(reactor)
    act, words = options["act"], options["words"]
    if act == "unassign":
        changed = await client.post("/api/v1/images/unassign", {"nodes": words})
    else:
        name, *nodes = words
        path, body = ("default", {}) if act == "set-default" else ("assign", {"nodes": nodes})
        changed = await client.post(f"/api/v1/images/{path}", {"image": name, **body})
    if options["json"]:
        show_json(answer, changed)
    else:
        _show_change(changed, answer)
    return DONE


def _show_change(changed: JSON, answer: Any) -> None:
    """Who gets what now, and who would have to be installed for it."""
    nodes = changed["nodes"]
    for name in dict.fromkeys(node["image"] for node in nodes):
        getting = [node for node in nodes if node["image"] == name]
        print(f"{harmless(name)} is for {_some(getting)}", file=answer)
    if not nodes:
        print(f"{harmless(changed['image']) or 'done'}: there is no node that it is for now", file=answer)
    waiting = [node for node in nodes if not _has_it(node)]
    if waiting:
        print(f"It comes with their next installation (piman reinstall) to {_some(waiting)}", file=answer)


def _has_it(node: JSON) -> bool:
    installed = node["installed"]
    return bool(installed["image"] == node["image"] and installed["digest"] and not installed["older"])
