# -*- test-case-name: tests.test_importing_disk -*-
"""
The programs of Debian that know partition tables, FAT and ext4: where they are, and running them.

None of them needs root: they read a file.  ``docs/decisions/importing-images.md`` says why programs and no library.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from piman.importing.refusal import ImportRefused

NEEDED = {
    "blkid": "util-linux",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mcopy": "mtools",
    "sfdisk": "fdisk",
}
"""Each program, and the Debian package that has it."""

PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""Users without root rarely have the folders of such programs in their PATH."""

_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "MTOOLSRC": os.devnull,
    "MTOOLS_SKIP_CHECK": "1",
    "HOME": os.devnull,
    "DEBUGFS_PAGER": "__none__",
}
"""Nothing of the operator's surroundings changes what the programs do."""


class Programs:
    """
    Debian's programs.

    :param places: the folders to look in, as in PATH.
    """

    def __init__(self, places: str = PLACES) -> None:
        self._places = places

    def check(self) -> None:
        """
        Make sure that all are there.

        :raises ImportRefused: naming the missing ones and their packages.
        """
        missing = [name for name in NEEDED if shutil.which(name, path=self._places) is None]
        if missing:
            packages = sorted({NEEDED[name] for name in missing})
            raise ImportRefused(
                f"this machine has no {', '.join(missing)}",
                expected="Debian's programs for partitions and file systems",
                remedy=f"apt-get install {' '.join(packages)}",
            )

    def run(self, name: str, *arguments: str, folder: Path, **more: str) -> "subprocess.CompletedProcess[bytes]":
        """Run to the end inside a folder; ``more`` is added to its environment."""
        return subprocess.run(
            [self._path(name), *arguments],
            cwd=folder,
            env=self._environment(more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )

    def start(self, name: str, *arguments: str, folder: Path, complaints: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start it inside a folder; its output is a pipe, its complaints go to a file."""
        return subprocess.Popen(
            [self._path(name), *arguments],
            cwd=folder,
            env=self._environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            bufsize=1 << 20,
        )

    def _path(self, name: str) -> str:
        path = shutil.which(name, path=self._places)
        if path is None:
            self.check()
            raise FileNotFoundError(name)
        return path

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**_ENVIRONMENT, "PATH": self._places, **more}
