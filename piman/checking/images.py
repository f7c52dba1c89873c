# -*- test-case-name: tests.test_checking_images -*-
"""
The root file systems: readable, of the kind that nodes unpack, and hashed.

Nodes unpack with ``gunzip | tar -x``.  Only the head is unpacked here; that the rest is what was meant is what the
digest is for.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from twisted.internet.defer import Deferred

from piman.boot.soundness import head_trouble
from piman.checking.findings import Finding, fail, fine
from piman.fleet.assignment import Choices, default_image, spoken, without_image
from piman.fleet.interfaces import IImages, ImageMissing
from piman.fleet.model import ImageChoice, Node, Scope
from piman.fleet.wording import counted

SUBJECT = "images"
REMEDY = "Make it again, as tar -czf makes it."


async def judge_image(
    name: str, path: Path, images: IImages, in_thread: "Callable[[Callable[[], str]], Deferred[str]]", use: str = ""
) -> Finding:
    """
    One image, its digest computed or remembered.

    :param use: for whom it is, in words; empty: for nobody yet.
    """
    shown = f"{name} ({use})" if use else name
    try:
        trouble = await in_thread(lambda: head_trouble(path))
        if trouble:
            return fail(SUBJECT, f"{shown}: {path}: {trouble}", _remedy(trouble, name))
        image = await images.image(name)
    except OSError as reason:
        return fail(SUBJECT, f"{shown}: {path} cannot be read: {reason.strerror}", "Give the manager's user the right.")
    except ImageMissing as reason:
        return fail(SUBJECT, f"{shown}: {reason}", REMEDY)
    return fine(SUBJECT, f"{shown}: {image.size_bytes / 1e6:,.1f} MB, sha256 {image.digest[:12]}")


def uses(nodes: Iterable[Node], choices: Choices) -> dict[str, str]:
    """For whom each image is, in words: the default, and so many nodes."""
    counts = Counter(node.image for node in nodes)
    default = default_image(choices).image
    return {
        name: ", ".join(filter(None, ("the default" if name == default else "", _counted(counts[name]))))
        for name in {default, *counts}
    }


def _counted(nodes: int) -> str:
    return f"for {counted(nodes, 'node')}" if nodes else ""


def judge_choices(choices: Choices, names: Iterable[str]) -> list[Finding]:
    """Choices by command of images that piman.yaml does not name, or no more."""
    return [
        fail(
            SUBJECT,
            f"{choice.image}: it was chosen for {spoken(choice)}{_maker(choice)}, and images does not name it",
            f"Name it under images, or say: {_undo(choice)}; until then nobody who gets it is installed.",
        )
        for choice in without_image(choices, names)
    ]


def _maker(choice: ImageChoice) -> str:
    return f" by {choice.who}" if choice.who else ""


def _undo(choice: ImageChoice) -> str:
    """The command that takes the choice back."""
    if choice.scope is Scope.DEFAULT:
        return "piman image set-default default"
    return f"piman image unassign {'tag:' if choice.scope is Scope.TAG else ''}{choice.name}"


def _remedy(trouble: str, name: str) -> str:
    if trouble == "it is not there":
        return f"Put the root file system there, or name another file under images.{name}; until then nothing installs."
    return REMEDY
