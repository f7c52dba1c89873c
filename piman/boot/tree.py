# -*- test-case-name: tests.test_boot_files -*-
"""
Opening regular files that lie inside given directories, and nothing else.

The kernel resolves the name once, to a descriptor that can do nothing but be asked questions (O_PATH); where that
descriptor really leads decides.  So no symbolic link, rename or race between check and use gets out of the tree, and
devices and pipes are never opened.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""Other errors are no property of the name: they must not look like a missing file."""


@attrs.frozen
class Found:
    """A regular file, resolved but not yet opened for reading."""

    descriptor: int
    path: bytes
    """Where it really lies."""
    status: os.stat_result

    def open(self) -> int:
        """
        A descriptor to read it with.

        :raises OSError: when it may not be read.
        """
        return os.open(b"/proc/self/fd/%d" % self.descriptor, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)

    def is_under(self, directory: bytes) -> bool:
        """Whether it lies below this real path."""
        return is_under(self.path, directory)


def is_under(path: bytes, directory: bytes) -> bool:
    """Whether ``path`` is ``directory`` or lies below it; both are real paths."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


@contextmanager
def opened_directory(path: bytes) -> Iterator[tuple[int, bytes] | None]:
    """
    A descriptor of a directory and its real path; None when there is no such directory.

    :raises OSError: when it may not be entered, or the manager is short of descriptors.
    """
    descriptor = _resolved(path, os.O_DIRECTORY)
    if descriptor is None:
        yield None
        return
    try:
        yield descriptor, _real_path(descriptor)
    finally:
        os.close(descriptor)


def real_folder(directory: int, relative: bytes) -> bytes | None:
    """
    Where the folder of that name, as seen from a directory, really lies; None when there is none.

    :raises OSError: as :func:`opened_directory`.
    """
    descriptor = _resolved(relative, os.O_DIRECTORY, directory)
    if descriptor is None:
        return None
    try:
        return _real_path(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def found_file(directory: int, relative: bytes) -> Iterator[Found | None]:
    """
    The regular file of that name as seen from a directory; None when there is none.

    Where it really lies is for the caller to judge.

    :raises OSError: when a folder may not be searched, or the manager is short of descriptors.
    """
    descriptor = _resolved(relative, 0, directory)
    if descriptor is None:
        yield None
        return
    try:
        status = os.fstat(descriptor)
        is_file = stat.S_ISREG(status.st_mode)
        yield Found(descriptor, _real_path(descriptor, status), status) if is_file else None
    finally:
        os.close(descriptor)


def _resolved(path: bytes, flags: int, directory: int | None = None) -> int | None:
    """A descriptor that can only be asked; None when nothing has that name."""
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC | flags, dir_fd=directory)
    except OSError as reason:
        if reason.errno in _ABSENT:
            return None
        raise


def _real_path(descriptor: int, status: os.stat_result | None = None) -> bytes:
    path = os.readlink(b"/proc/self/fd/%d" % descriptor)
    if status is not None and status.st_nlink == 0:  # replaced just now: proc(5) says so in the name
        path = path.removesuffix(b" (deleted)")
    return path
