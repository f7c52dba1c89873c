# -*- test-case-name: tests.test_boot_files -*-
"""
The content of boot files, held so that nobody is served a mixture of two versions.

Small files are read whole, once, into a bounded cache.  Large ones are read from a descriptor that all transfers of
one version share: replacing the file by a rename leaves that version readable, rewriting it in place ends its
transfers.
"""

import errno
import os
from collections.abc import Hashable

import attrs

from piman.boot.tree import Found

SMALL_BYTES = 1 << 20
_ATTEMPTS = 3

Identity = tuple[int, ...]
"""Device, inode, size, time of modification, time of change."""


def identity_of(status: os.stat_result) -> Identity:
    """What tells one version of one file from all others."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class ContentChanged(OSError):
    """The file is not what it was when it was opened."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ESTALE, "the file changed while it was read", name)


@attrs.frozen
class WholeFile:
    """A boot file in memory."""

    name: str
    identity: Hashable
    content: bytes = attrs.field(repr=False)

    @property
    def size_bytes(self) -> int:
        """The length of the content."""
        return len(self.content)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``."""
        return self.content[offset : offset + count]

    def close(self) -> None:
        """Nothing to let go."""


@attrs.define(eq=False)
class Descriptor:
    """An open file and the number of transfers that read it."""

    number: int
    identity: Identity
    readers: int = 0

    def read(self, name: str, offset: int, count: int) -> bytes:
        """
        Read without moving anything.

        :raises ContentChanged: when size or time of modification are not what they were.
        """
        data = os.pread(self.number, count, offset)
        # The time of change is left out: it moves when a rename takes the name away, which harms nobody.
        if identity_of(os.fstat(self.number))[:4] != self.identity[:4]:
            raise ContentChanged(name)
        return data


class OpenedFile:
    """A large boot file, read piece by piece."""

    def __init__(self, name: str, shelf: "Shelf", descriptor: Descriptor) -> None:
        self.name = name
        self.identity: Hashable = descriptor.identity
        self.size_bytes = descriptor.identity[2]
        self._shelf = shelf
        self._descriptor: Descriptor | None = descriptor

    def read(self, offset: int, count: int) -> bytes:
        """
        Up to ``count`` bytes from ``offset``.

        :raises OSError: when the file changed, cannot be read or is closed.
        """
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the file is closed", self.name)
        return self._descriptor.read(self.name, offset, count)

    def close(self) -> None:
        """Let go; the last one closes the descriptor."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._shelf.release(descriptor)


class Shelf:
    """
    All content that is in use or was lately.

    :param cache_bytes: how much content of small files is kept.
    """

    def __init__(self, cache_bytes: int) -> None:
        self._cache_bytes = cache_bytes
        self._cached_bytes = 0
        self._contents: dict[Identity, bytes] = {}
        self._descriptors: dict[Identity, Descriptor] = {}

    @property
    def cached_bytes(self) -> int:
        """How much is kept now."""
        return self._cached_bytes

    @property
    def open_descriptors(self) -> int:
        """How many large files are open."""
        return len(self._descriptors)

    def whole(self, name: str, found: Found) -> WholeFile:
        """
        The content of a small file.

        :raises OSError: when it cannot be read, or is being rewritten right now.
        """
        identity = identity_of(found.status)
        content = self._contents.get(identity)
        if content is None:
            identity, content = _read_whole(name, found)
            self._keep(identity, content)
        return WholeFile(name, identity, content)

    def opened(self, name: str, found: Found) -> OpenedFile:
        """
        A large file.

        :raises OSError: when it cannot be read.
        """
        descriptor = self._descriptors.get(identity_of(found.status))
        if descriptor is None:
            number = found.open()
            descriptor = Descriptor(number, identity_of(os.fstat(number)))
            descriptor = self._descriptors.setdefault(descriptor.identity, descriptor)
            if descriptor.number != number:  # it changed between the two looks, into one that is open already
                os.close(number)
        descriptor.readers += 1
        return OpenedFile(name, self, descriptor)

    def release(self, descriptor: Descriptor) -> None:
        """One reader less."""
        descriptor.readers -= 1
        if not descriptor.readers:
            del self._descriptors[descriptor.identity]
            os.close(descriptor.number)

    def _keep(self, identity: Identity, content: bytes) -> None:
        if identity in self._contents or len(content) > self._cache_bytes:
            return
        self._contents[identity] = content
        self._cached_bytes += len(content)
        while self._cached_bytes > self._cache_bytes:
            oldest = next(iter(self._contents))
            self._cached_bytes -= len(self._contents.pop(oldest))


def _read_whole(name: str, found: Found) -> tuple[Identity, bytes]:
    """The content of one version, with that version's identity."""
    number = found.open()
    try:
        for _ in range(_ATTEMPTS):
            identity = identity_of(os.fstat(number))
            content = os.pread(number, SMALL_BYTES + 1, 0)
            if len(content) == identity[2] and identity_of(os.fstat(number))[:4] == identity[:4]:
                return identity, content
    finally:
        os.close(number)
    raise ContentChanged(name)
