# -*- test-case-name: tests.test_host_regular -*-
"""
The operator's files, read without ever waiting for somebody: regular files only, of a sane size.

A named pipe, a terminal or a device in the place of a file would stop the reactor, and with it every service.
"""

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 64 * 1024 * 1024
"""More is no file that a person wrote: 10,000 boards are half a megabyte."""

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
"""inode(7): what a name may stand for, besides a file."""


class NotRegular(OSError):
    """What stands there is no file that can be read; ``strerror`` says what it is."""


def read_regular(path: Path) -> bytes:
    """
    The content of a regular file, symbolic links followed.

    :raises NotRegular: when something else stands there, or it is larger than :data:`MOST_BYTES`.
    :raises OSError: when it cannot be read.
    """
    _refuse(path, os.stat(path))  # before it is opened: to open a device may do something
    # open(2): "Opening for read-only (with O_NONBLOCK) a FIFO will return immediately", should one come between.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _refuse(path, os.fstat(file.fileno()))
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _too_large(path)
    return content


def _refuse(path: Path, found: os.stat_result) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise NotRegular(errno.EINVAL, f"{KINDS.get(kind, 'something else')}, not a regular file", str(path))
    if found.st_size > MOST_BYTES:
        raise _too_large(path)


def _too_large(path: Path) -> NotRegular:
    return NotRegular(errno.EFBIG, f"larger than {MOST_BYTES >> 20} MiB", str(path))
