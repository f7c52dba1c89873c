"""
Tests for :mod:`piman.web.control_socket`: who may connect, and what is in the way.
"""

import os
import socket
import stat
import tempfile
from pathlib import Path

from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from piman.ordered import StartupError
from piman.web.control_socket import MODE, ControlSocket, make_way, user_name


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        """A folder with a short name: the path of a socket has room for 107 bytes."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "control.sock")

    def listen(self) -> socket.socket:
        """Somebody listens there."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(str(self.path))
        listener.listen()
        return listener


class WayTests(_Case):
    """What a manager before this one left."""

    def test_nothing(self) -> None:
        """Where nothing is, nothing is done."""
        make_way(self.path)
        self.assertFalse(self.path.exists())

    def test_stale(self) -> None:
        """A socket where nobody answers is removed."""
        self.listen().close()
        make_way(self.path)
        self.assertFalse(self.path.exists())

    def test_alive(self) -> None:
        """A socket where somebody answers stays, and the start stops with its name."""
        self.listen()
        reason = self.assertRaises(StartupError, make_way, self.path)
        self.assertIn(f"another manager answers at {self.path}", str(reason))
        self.assertTrue(self.path.is_socket())

    def test_no_socket(self) -> None:
        """A file that is no socket stays as it is."""
        self.path.write_text("precious")
        reason = self.assertRaises(StartupError, make_way, self.path)
        self.assertIn("no socket", str(reason))
        self.assertEqual(self.path.read_text(), "precious")

    def test_link(self) -> None:
        """A symbolic link is no socket, whatever it leads to: what it leads to is not ours to remove."""
        self.path.with_name("other").touch()
        self.path.symlink_to(self.path.with_name("other"))
        self.assertRaises(StartupError, make_way, self.path)
        self.assertTrue(self.path.is_symlink())


class ServiceTests(_Case):
    """The service."""

    def test_opened_late(self) -> None:
        """The socket is opened in startService, when rights have been dropped, and not before."""
        reactor = MemoryReactor()
        service = ControlSocket(reactor, self.path, Resource(), lambda: None)
        service.privilegedStartService()
        self.assertEqual(reactor.unixServers, [])
        service.startService()
        ((path, *_, mode, _),) = reactor.unixServers
        self.assertEqual((path, mode), (str(self.path), MODE))

    def test_umask(self) -> None:
        """While the socket is made nobody but user and group may use it, and the process' umask is as before."""
        seen: list[int] = []

        class Reactor(MemoryReactor):
            def listenUNIX(self, path: str, *arguments: object, **options: object) -> object:
                with socket.socket(socket.AF_UNIX) as made:
                    made.bind(path)
                seen.append(stat.S_IMODE(os.stat(path).st_mode))
                return super().listenUNIX(path, *arguments, **options)

        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        ControlSocket(Reactor(), self.path, Resource(), lambda: None).startService()
        self.assertEqual([oct(mode) for mode in seen], ["0o660"])
        self.assertEqual(os.umask(0o022), 0o022)

    def test_streams_end_first(self) -> None:
        """Stopping ends the streams, which would go on for ever; a service that never ran has none."""
        ended: list[bool] = []
        service = ControlSocket(MemoryReactor(), self.path, Resource(), lambda: ended.append(True))
        self.successResultOf(service.stopService())
        self.assertEqual(ended, [])
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(ended, [True])


class NameTests(SynchronousTestCase):
    """Names of users."""

    def test_known(self) -> None:
        """The user 0 is called root on every Linux."""
        self.assertEqual(user_name(0), "root")

    def test_unknown(self) -> None:
        """A user without a name, as in a container, is its number."""
        self.assertEqual(user_name(2**31 - 7), "uid 2147483641")
