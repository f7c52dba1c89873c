# -*- test-case-name: tests.test_editing_keeping -*-
"""
A file of the operator, replaced as a whole or not at all.

The new content is written beside it, synchronised and renamed over it; the old one stays as a backup.  Whatever goes
wrong before the rename leaves the file as it is.

1. rename(2): "If newpath already exists, it will be atomically replaced"
"""

import errno
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

from piman.host.regular import NotRegular, read_regular

MOST_BACKUPS = 10
"""Beside each file; the oldest goes."""
NEW_MODE = 0o640
"""Of a file that was not there: it may come to hold secrets."""

_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}(?:\.\d+)?")
_HINTS = {
    errno.ENOSPC: "Free space on its disk, then apply again; nothing that you typed is lost.",
    errno.EDQUOT: "Free space within the quota, then apply again.",
    errno.EFBIG: "Something limits the size of files here (ulimit -f, or the file system).",
    errno.EROFS: "Its file system is read-only: mount it for writing, or edit the file where it comes from.",
    errno.EACCES: "Let piman's user write in its folder, or edit the file by hand and say kill -HUP.",
    errno.EPERM: "Let piman's user write in its folder, or edit the file by hand and say kill -HUP.",
}


class NotKept(OSError):
    """
    The file could not be written, and is as it was.

    :ivar hint: what to do.
    """

    def __init__(self, number: int, reason: str, path: Path, hint: str) -> None:
        super().__init__(number, reason, str(path))
        self.hint = hint


class ChangedMeanwhile(Exception):
    """Somebody else has changed the file."""


class KeptFile:
    """
    One file.

    :param path: as the operator names it; a symbolic link is followed, and stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """
        The content; None: there is no file.

        :raises OSError: when it cannot be read, or is no regular file.
        """
        try:
            return read_regular(self.path)
        except FileNotFoundError:
            return None

    def replace(self, content: bytes, *, before: bytes | None, now: float) -> Path | None:
        """
        Put new content in the place of the old.

        :param before: the content that is to be replaced; None: no file.
        :param now: seconds since 1970, for the name of the backup.
        :return: the backup; None: there was nothing.
        :raises ChangedMeanwhile: when the file says something else.
        :raises NotKept: when it could not be written.
        """
        target = Path(os.path.realpath(self.path))
        fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
        try:
            self._write(fresh, target, content)
            if self.read() != before:
                raise ChangedMeanwhile(str(self.path))
            backup = _back_up(target, before, now) if before is not None else None
            os.rename(fresh, target)
        except OSError as reason:
            raise _told(reason, self.path) from reason
        finally:
            with suppress(OSError):
                fresh.unlink()
        with suppress(OSError):  # it is done, whatever becomes of the rest
            _synchronise(target.parent)
            _prune(target)
        return backup

    def _write(self, fresh: Path, target: Path, content: bytes) -> None:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            _dress(descriptor, target)
            file.write(content)
            file.flush()
            os.fsync(descriptor)


def _dress(descriptor: int, target: Path) -> None:
    """Mode, owner and extended attributes (among them access control lists) of the old file."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        os.fchmod(descriptor, NEW_MODE)
        return
    if not stat.S_ISREG(found.st_mode):
        raise NotRegular(errno.EINVAL, "no regular file", str(target))
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
    with suppress(OSError):  # a file system without them
        for name in os.listxattr(target):
            with suppress(OSError):  # those that only the kernel sets
                os.setxattr(descriptor, name, os.getxattr(target, name))


def _back_up(target: Path, content: bytes, now: float) -> Path:
    """Keep the old file under another name: the file itself, where the file system has links."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now))
    number = 1
    while True:
        backup = target.with_name(f"{target.name}.{stamp}" + (f".{number}" if number > 1 else ""))
        try:
            os.link(target, backup)
        except FileExistsError:
            number += 1
            continue
        except OSError as reason:
            if reason.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            _copy(target, backup, content)
        return backup


def _copy(target: Path, backup: Path, content: bytes) -> None:
    descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            _dress(descriptor, target)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        backup.unlink(missing_ok=True)
        raise


def backups_of(path: Path) -> list[Path]:
    """The backups of a file, the oldest first."""
    target = Path(os.path.realpath(path))
    prefix = f"{target.name}."
    return sorted(
        (
            each
            for each in target.parent.iterdir()
            if each.name.startswith(prefix) and _STAMP.fullmatch(each.name.removeprefix(prefix))
        ),
        key=lambda each: (each.name.removeprefix(prefix)[:19], len(each.name), each.name),
    )


def _prune(target: Path) -> None:
    for old in backups_of(target)[:-MOST_BACKUPS]:
        old.unlink(missing_ok=True)


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _told(reason: OSError, path: Path) -> NotKept:
    number = reason.errno or errno.EIO
    text = reason.strerror or str(reason)
    return NotKept(number, text, path, _HINTS.get(number, "The file is as it was."))
