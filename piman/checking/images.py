# -*- test-case-name: tests.test_checking_images -*-
"""
The root file systems: readable, of the kind that nodes unpack, and hashed.

Nodes unpack with ``gunzip | tar -x``.  Only the head is unpacked here; that the rest is what was meant is what the
digest is for.
"""

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred

from piman.checking.findings import Finding, fail, fine
from piman.fleet.interfaces import IImages, ImageMissing

SUBJECT = "images"
REMEDY = "Make it again, as tar -czf makes it."


def head_trouble(path: Path) -> str:
    """
    What is wrong with the beginning of an image; empty: nothing.

    :raises OSError: when it cannot be read.
    """
    if not path.is_file():
        return "it is not there" if not path.exists() else "it is no regular file"
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        with tarfile.open(path, "r|gz") as archive:
            return "" if archive.next() else "there is nothing in it"
    except (tarfile.ReadError, tarfile.CompressionError) as reason:
        return f"it is no gzipped tar archive ({reason})"
    except (EOFError, zlib.error) as reason:
        return f"it is damaged ({reason})"


async def judge_image(
    name: str, path: Path, images: IImages, in_thread: "Callable[[Callable[[], str]], Deferred[str]]"
) -> Finding:
    """One image, its digest computed or remembered."""
    try:
        trouble = await in_thread(lambda: head_trouble(path))
        if trouble:
            return fail(SUBJECT, f"{name}: {path}: {trouble}", _remedy(trouble, name))
        image = await images.image(name)
    except OSError as reason:
        return fail(SUBJECT, f"{name}: {path} cannot be read: {reason.strerror}", "Give the manager's user the right.")
    except ImageMissing as reason:
        return fail(SUBJECT, f"{name}: {reason}", REMEDY)
    return fine(SUBJECT, f"{name}: {image.size_bytes / 1e6:,.1f} MB, sha256 {image.digest[:12]}")


def _remedy(trouble: str, name: str) -> str:
    if trouble == "it is not there":
        return f"Put the root file system there, or name another file under images.{name}; until then nothing installs."
    return REMEDY
