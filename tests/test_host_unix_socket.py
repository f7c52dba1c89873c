"""
Tests for :mod:`piman.host.unix_socket`: with real sockets, whose limit is the kernel's.
"""

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.host.unix_socket import LONGEST, SocketAddress


class SocketAddressTests(SynchronousTestCase):
    """Paths of any length."""

    def setUp(self) -> None:
        """A folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def path_of(self, length: int) -> Path:
        """A path of a socket with so many bytes, in a folder that is there."""
        folder = self.folder
        while len(str(folder)) < length - 60:
            folder = folder / "folder"
            folder.mkdir()
        return folder / ("s" * (length - len(str(folder)) - 1))

    def test_long(self) -> None:
        """Two programs meet at a path of 300 bytes, and the file is where it should be."""
        path = self.path_of(300)
        self.assertRaises(OSError, socket.socket(socket.AF_UNIX).bind, str(path))
        server, client = SocketAddress(path), SocketAddress(path)
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
            listener.bind(server.text)
            listener.listen()
            caller.connect(client.text)
            self.assertTrue(path.is_socket())
        server.close()
        client.close()

    def test_short(self) -> None:
        """A path that fits is taken as it is, and nothing is opened."""
        path = Path("/" + "s" * (LONGEST - 1))
        before = os.listdir("/proc/self/fd")
        self.assertEqual(SocketAddress(path).text, str(path))
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_descriptor_goes(self) -> None:
        """Closing gives the folder's descriptor back, once."""
        before = len(os.listdir("/proc/self/fd"))
        address = SocketAddress(self.path_of(300))
        address.close()
        address.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
