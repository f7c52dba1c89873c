# -*- test-case-name: tests.test_host_unix_socket -*-
"""
UNIX sockets with long names.

The kernel takes 108 bytes of a path with its closing zero; a state folder deep in a tree has more.  The way round: a
descriptor of the folder, and the socket below that in ``/proc/self/fd``.

1. unix(7), sun_path
2. proc(5), /proc/pid/fd
"""

import os
from pathlib import Path

LONGEST = 107
"""Bytes of a path, besides the closing zero."""


class SocketAddress:
    """
    The address of a UNIX socket, whatever the length of its path; :meth:`close` it when the socket is closed.

    :ivar text: what bind and connect take.
    :raises OSError: when the path is too long and its folder cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._folder: int | None = None
        self.text = str(path)
        if len(os.fsencode(path)) > LONGEST:
            self._folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.text = f"/proc/self/fd/{self._folder}/{path.name}"

    def close(self) -> None:
        """Let go; harmless twice."""
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)
