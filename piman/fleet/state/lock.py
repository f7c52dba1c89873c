# -*- test-case-name: tests.test_fleet_lock -*-
"""
One manager for one ``state_dir``.

The lock is the kernel's (flock(2)), held for the life of the process and given up by its death, however it dies: there
is nothing to clean up.  The file itself stays; what is written in it only tells people who holds the lock.
"""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from piman.fleet.interfaces import StoreFailed

NAME = "lock"

_TAKEN = {errno.EWOULDBLOCK, errno.EACCES}


class StateLocked(StoreFailed):
    """Another process has the lock; the text names it."""


class StateLock:
    """
    The lock of one folder.

    To be taken after a daemon's fork: the file tells the process that took it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor: int | None = None

    def take(self) -> None:
        """
        Take it; nothing happens when it is ours already.

        :raises StateLocked: when another process has it.
        :raises StoreFailed: when the folder cannot be used.
        """
        if self._descriptor is not None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        except OSError as reason:
            raise StoreFailed(
                f"state_dir {self._path.parent} cannot be written to ({reason.strerror}): set state_dir: in piman.yaml "
                f"to a folder that can (as a service: /var/lib/piman)"
            ) from reason
        try:
            self._lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as reason:
            if reason.errno not in _TAKEN:
                raise StoreFailed(f"{self._path}: {reason.strerror}") from reason
            raise StateLocked(
                f"state_dir {self._path.parent} is in use by another manager (pid {_holder(descriptor)}): stop that "
                f"one, or give this one a state_dir of its own"
            ) from reason
        with suppress(OSError):  # a full disk: the lock holds without it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give it up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return text if text.isdecimal() else "unknown"
