# -*- test-case-name: tests.test_importing_images -*-
"""
The folder in which an import works, and what of it is finished.

Nothing half-written ever looks finished: a product is written under another name, brought to the disk, renamed, and
only then noted.  A step that is noted, for the same download, is not done again.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from piman.importing.refusal import ImportRefused

_FORMAT = 1
"""Raised when the products of a step change their form."""
_NOTES = "steps.json"
_LOCK = "lock"
_CHUNK_BYTES = 1 << 20


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Bring a folder and everything in it to the disk."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_durably(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file beside, bring it to the disk, then give it its name."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)


def copy_durably(source: Path, target: Path) -> None:
    """A copy that appears whole; everybody may read it."""
    with source.open("rb") as file:
        write_durably(target, lambda out: shutil.copyfileobj(file, out, _CHUNK_BYTES))
    os.chmod(target, 0o644)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class WorkFolder:
    """
    What is done of one import.

    :param path: the folder.
    :param identity: which download; the steps of another one do not count.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self._identity = identity
        self._steps: dict[str, Mapping[str, Any]] = {}

    def open(self) -> None:
        """Read the notes; what belongs to another download, or is in no note, is removed."""
        notes = _read(self.path / _NOTES)
        if notes.get("format") == _FORMAT and notes.get("identity") == self._identity:
            self._steps = dict(notes.get("steps", {}))
            return
        self._steps = {}
        for path in self.path.iterdir():
            if path.name != _LOCK:
                remove(path)

    def done(self, step: str) -> Mapping[str, Any] | None:
        """What is noted of a finished step."""
        return self._steps.get(step)

    def note(self, step: str, result: Mapping[str, Any]) -> None:
        """Note that a step is finished: its products are on the disk."""
        self._steps[step] = result
        notes = {"format": _FORMAT, "identity": self._identity, "steps": self._steps}
        write_durably(self.path / _NOTES, lambda file: _dump(notes, file))

    def forget(self, *steps: str) -> None:
        """These must be done again."""
        for step in steps:
            self._steps.pop(step, None)

    def fresh(self, name: str) -> Path:
        """A path in it with nothing there."""
        path = self.path / name
        remove(path)
        return path


def _dump(value: object, file: IO[bytes]) -> None:
    file.write(json.dumps(value, indent=1).encode("utf-8"))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        notes: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


@contextmanager
def work_folder(path: Path, identity: str) -> Iterator[WorkFolder]:
    """
    The folder, for one import at a time.

    :raises ImportRefused: when another import works in it.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    with (path / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as reason:
            raise ImportRefused(
                f"another import works in {path}",
                expected="one at a time under one name",
                remedy="wait for its end",
                passing=True,
            ) from reason
        folder = WorkFolder(path, identity)
        folder.open()
        yield folder
