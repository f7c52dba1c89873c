"""
Tests for :mod:`piman.host.regular`.
"""

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.host.regular import MOST_BYTES, NotRegular, read_regular


class ReadTests(SynchronousTestCase):
    """Whatever stands in the place of a file, nobody waits for it."""

    def setUp(self) -> None:
        """A folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "hosts.csv"

    def refusal(self, path: Path) -> str:
        """Why it is not read."""
        return str(self.assertRaises(NotRegular, read_regular, path).strerror)

    def test_file(self) -> None:
        """A file is read, also through a symbolic link."""
        self.path.write_bytes(b"B8:27:EB:00:00:01\n")
        (self.folder / "link").symlink_to(self.path)
        self.assertEqual(read_regular(self.folder / "link"), b"B8:27:EB:00:00:01\n")

    def test_named_pipe(self) -> None:
        """A pipe that nobody writes to is refused at once and by name."""
        os.mkfifo(self.path)
        self.assertEqual(self.refusal(self.path), "a named pipe, not a regular file")

    def test_device(self) -> None:
        """A device is refused, also one that would never end."""
        self.assertEqual(self.refusal(Path("/dev/zero")), "a device, not a regular file")

    def test_others(self) -> None:
        """A folder and a socket are told apart."""
        self.assertEqual(self.refusal(self.folder), "a folder, not a regular file")
        place = os.open(self.folder, os.O_RDONLY)  # the address of a socket is short, a test's folder is not
        self.addCleanup(os.close, place)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"/proc/self/fd/{place}/hosts.csv")
            self.assertEqual(self.refusal(self.path), "a socket, not a regular file")

    def test_too_large(self) -> None:
        """A file of more than 64 MiB is refused before it is in memory."""
        with self.path.open("wb") as file:
            file.truncate(MOST_BYTES + 1)
        self.assertEqual(self.refusal(self.path), "larger than 64 MiB")

    def test_missing(self) -> None:
        """A file that is not there is the usual exception."""
        self.assertRaises(FileNotFoundError, read_regular, self.path)
