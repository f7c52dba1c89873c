# -*- test-case-name: tests.test_boot_images -*-
"""
The root file systems: where they are, their digests, and opening them.

A digest is computed in a thread, once for each (device, inode, size, mtime) of a file, and remembered in a small JSON
file.  An opened image tells whether its file changed since it was hashed, so that no node is given a mixture of two.
All who have the same content open share one file descriptor: whoever reads says from where.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.boot.soundness import trouble
from piman.fleet.interfaces import IImages, ImageMissing
from piman.fleet.model import Image

_CHUNK_BYTES = 1 << 20
_HASHINGS = 3
"""How often a file that changes while it is read is read again."""

Work = Callable[[], str]
Run = Callable[[Work], "Deferred[str]"]
"""Does a piece of work where it blocks nobody."""


@attrs.frozen
class FileIdentity:
    """What makes two openings of a path the same content."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileIdentity":
        """The identity behind what stat said."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def __str__(self) -> str:
        return f"{self.device}:{self.inode}:{self.size_bytes}:{self.mtime_ns}"


class ImageChanged(Exception):
    """The image's file is not the one that was hashed; the text says which."""


class NoDescriptorLeft(ImageMissing):
    """The image cannot be read because too many files and connections are open, for now."""


@attrs.define(eq=False)
class _Opened:
    """A file, and how many :class:`ImageFile` read it."""

    descriptor: int
    identity: FileIdentity
    readers: int = 0


class ImageFile:
    """An image, opened for reading with explicit offsets (``os.pread``, ``os.sendfile``)."""

    def __init__(self, image: Image, opened: _Opened, forget: Callable[[_Opened], None]) -> None:
        self.image = image
        self.descriptor = opened.descriptor
        self._identity = opened.identity
        self._opened = opened
        self._forget = forget
        opened.readers += 1

    def check(self) -> None:
        """
        Make sure that the file still has the content that was hashed.

        :raises ImageChanged: when it was written to or removed.
        """
        status = os.fstat(self.descriptor)
        if FileIdentity.of(status) != self._identity:
            raise ImageChanged(f"the file of image {self.image.name} was changed while it was sent: {self.image.path}")

    def close(self) -> None:
        """Let go; harmless twice.  The last one closes the file."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        self._opened.readers -= 1
        if not self._opened.readers:
            self._forget(self._opened)
            os.close(descriptor)


def in_thread(reactor: IReactorThreads) -> Run:
    """Run work in the reactor's thread pool."""
    return lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work)


def hash_file(path: str) -> str:
    """
    ``IDENTITY DIGEST`` of a file, as read at one go.

    :raises OSError: when it cannot be read.
    :raises ImageChanged: when somebody kept writing to it.
    """
    for _ in range(_HASHINGS):
        with open(path, "rb", buffering=0) as file:
            before = FileIdentity.of(os.fstat(file.fileno()))
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
            if FileIdentity.of(os.fstat(file.fileno())) == before:
                return f"{before} {digest.hexdigest()}"
    raise ImageChanged(f"somebody keeps writing to {path}")


@implementer(IImages)
class ImageLibrary:
    """
    The registered images.

    :param images: name -> path.
    :param run: where hashing happens, for example :func:`in_thread`.
    :param cache: where digests are remembered; None: nowhere.
    """

    _log = Logger()

    def __init__(self, images: Mapping[str, str], *, run: Run, cache: Path | None = None) -> None:
        self._paths = dict(images)
        self._run = run
        self._cache = cache
        self._digests: dict[str, str] = _remembered(cache)
        self._hashing: dict[str, list[Deferred[str]]] = {}
        self._opened: dict[FileIdentity, _Opened] = {}
        self._sound: set[FileIdentity] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all registered images."""
        return tuple(self._paths)

    def replace_images(self, images: Mapping[str, str]) -> None:
        """The operator changed the list; digests stay known."""
        self._paths = dict(images)

    def image(self, name: str) -> "Deferred[Image]":
        """The image with its digest; fails with :class:`ImageMissing`."""
        try:
            path = self._path(name)
            identity = FileIdentity.of(os.stat(path))
        except (ImageMissing, OSError) as reason:
            return fail(_missing(name, reason))
        known = self._digests.get(str(identity))
        if known is not None:
            return succeed(_image(name, path, identity, known))
        return self._hashed(path).addCallbacks(
            lambda line: self._from_line(name, path, line), lambda failure: _give_up(name, failure)
        )

    def trouble(self, name: str) -> "Deferred[str]":
        """
        What is wrong with an image, read to its end in a thread; empty: nothing.

        Fails with :class:`ImageMissing`.  A file that was found sound is not read again until it changes.
        """
        try:
            path = self._path(name)
            identity = FileIdentity.of(os.stat(path))
        except (ImageMissing, OSError) as reason:
            return fail(_missing(name, reason))
        if identity in self._sound:
            return succeed("")
        return self._run(lambda: trouble(Path(path))).addCallbacks(
            self._judged, lambda failure: _no_verdict(name, failure), callbackArgs=(identity,)
        )

    def _judged(self, found: str, identity: FileIdentity) -> str:
        if not found:
            self._sound.add(identity)
        return found

    def open(self, image: Image) -> ImageFile:
        """
        Open an image that was hashed.

        :raises NoDescriptorLeft: there is no file descriptor for it.
        :raises ImageMissing: its file cannot be read.
        :raises ImageChanged: its file has another content by now.
        """
        try:
            opened = self._opened.get(FileIdentity.of(os.stat(image.path))) or self._open(image.path)
        except OSError as reason:
            raise _missing(image.name, reason) from reason
        if self._digests.get(str(opened.identity)) != image.digest:
            if not opened.readers:
                os.close(opened.descriptor)
            raise ImageChanged(f"the file of image {image.name} was changed since it was ordered: {image.path}")
        self._opened[opened.identity] = opened
        return ImageFile(image, opened, self._forget)

    def _open(self, path: str) -> _Opened:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _Opened(descriptor, FileIdentity.of(os.fstat(descriptor)))

    def _forget(self, opened: _Opened) -> None:
        """Nobody reads it any more."""
        if self._opened.get(opened.identity) is opened:
            del self._opened[opened.identity]

    def _path(self, name: str) -> str:
        if name not in self._paths:
            known = ", ".join(self._paths) or "none"
            raise ImageMissing(f"there is no image {name!r}; configured: {known}")
        return self._paths[name]

    def _hashed(self, path: str) -> "Deferred[str]":
        """One thread hashes a path, however many wait."""
        waiting: Deferred[str] = Deferred()
        waiters = self._hashing.setdefault(path, [])
        waiters.append(waiting)
        if len(waiters) == 1:
            self._run(lambda: hash_file(path)).addBoth(self._tell, path)
        return waiting

    def _tell(self, outcome: str | Failure, path: str) -> None:
        if isinstance(outcome, str):
            identity, digest = outcome.split()
            self._digests[identity] = digest
            self._remember()
        for waiting in self._hashing.pop(path):
            waiting.callback(outcome)

    def _from_line(self, name: str, path: str, line: str) -> Image:
        identity, digest = line.split()
        return _image(name, path, FileIdentity(*map(int, identity.split(":"))), digest)

    def _remember(self) -> None:
        if self._cache is None:
            return
        fresh = self._cache.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(self._digests, indent=1))
            os.replace(fresh, self._cache)
        except OSError as reason:
            self._log.warn("digests of images are not remembered: {reason}", reason=str(reason))


def _image(name: str, path: str, identity: FileIdentity, digest: str) -> Image:
    return Image(
        name=name, path=path, digest=digest, size_bytes=identity.size_bytes, modified_ns=identity.mtime_ns
    )


def _remembered(cache: Path | None) -> dict[str, str]:
    """What the file remembers; nothing when it cannot be read: images are hashed again then."""
    if cache is None:
        return {}
    try:
        known: Any = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {identity: digest for identity, digest in known.items() if isinstance(digest, str)}


def _missing(name: str, reason: Exception) -> ImageMissing:
    if isinstance(reason, OSError) and reason.errno in (errno.EMFILE, errno.ENFILE):
        return NoDescriptorLeft(f"image {name} cannot be read now: {reason.strerror}")
    if isinstance(reason, OSError):
        return ImageMissing(f"image {name} cannot be read: {reason.filename}: {reason.strerror}")
    return reason if isinstance(reason, ImageMissing) else ImageMissing(f"image {name}: {reason}")


def _no_verdict(name: str, failure: Failure) -> str:
    failure.trap(OSError)
    raise _missing(name, failure.value)  # type: ignore[arg-type]  # it is an OSError


def _give_up(name: str, failure: Failure) -> Image:
    failure.trap(OSError, ImageChanged)
    raise _missing(name, failure.value)  # type: ignore[arg-type]  # both are Exceptions
