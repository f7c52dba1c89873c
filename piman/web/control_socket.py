# -*- test-case-name: tests.test_web_control_socket -*-
"""
The control socket: the API on a UNIX socket.  Who may connect is decided by the file's mode and group, and who it is
by the kernel; there is nothing to log in to.  docs/decisions/control-socket.md

1. unix(7), SO_PEERCRED
"""

import os
import pwd
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from piman.host.unix_socket import SocketAddress
from piman.ordered import StartupError
from piman.web.api import Caller

MODE = 0o660
"""The manager's user and group, and nobody else."""
SOURCE = "control socket"
IDLE_SECONDS = 60.0
Result = TypeVar("Result")
_UCRED = struct.Struct("=iII")
"""``pid``, ``uid``, ``gid``."""


def caller_of(request: IRequest) -> Caller:
    """The user at the other end of the control socket, as the kernel knows it."""
    channel: Any = request.channel  # type: ignore[attr-defined]
    connection: socket.socket = channel.transport.socket
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    return Caller(user_name(uid), SOURCE)


def user_name(uid: int) -> str:
    """The user's name; ``uid N`` for one that has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def make_way(path: Path) -> None:
    """
    Remove a socket that a manager before this one left behind.

    :raises StartupError: when somebody answers there, or what is there is no socket.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StartupError(f"{path} is in the way and no socket: move it, or name another control.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        address = SocketAddress(path)
        try:
            probe.connect(address.text)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as reason:
            raise StartupError(f"{path}: whether a manager answers there cannot be told: {reason.strerror}") from reason
        finally:
            address.close()
    raise StartupError(f"another manager answers at {path}: stop it, or name another control.socket")


class ControlRequest(Request):
    """A request that need not say which host it means: there is one."""

    def getRequestHostname(self) -> bytes:
        """The Host header, else a name; Twisted's would ask the socket for the address that it does not have."""
        return super().getRequestHostname() if self.getHeader(b"host") else b"piman"


class ControlSocket(Service):
    """
    The API on a UNIX socket; it opens in ``startService``, so the socket belongs to the final user.

    :param end: called before the socket is closed: streams go on for ever by themselves.
    """

    def __init__(self, reactor: Any, path: Path, resource: IResource, end: Callable[[], object]) -> None:
        self._reactor = reactor
        self._path = path
        self._end = end
        self._port: IListeningPort | None = None
        self._address: SocketAddress | None = None
        self._site = Site(resource, requestFactory=ControlRequest, timeout=IDLE_SECONDS)
        self._site.noisy = False
        self._site.log = lambda request: None  # type: ignore[method-assign]

    def startService(self) -> None:
        """
        Open the socket; nobody outside user and group can reach it, not even for a moment.

        :raises StartupError: when it cannot be had.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._address = SocketAddress(self._path)
        make_way(self._path)
        before = os.umask(0o777 & ~MODE)
        try:
            self._port = self._reactor.listenUNIX(self._address.text, self._site, mode=MODE)
        finally:
            os.umask(before)
        super().startService()

    def stopService(self) -> "Deferred[None]":
        """Close it; the file goes."""
        super().stopService()
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        self._end()
        closed: Deferred[None] = maybeDeferred(port.stopListening)  # type: ignore[call-overload]
        return closed.addBoth(self._let_go)

    def _let_go(self, result: Result) -> Result:
        if self._address is not None:
            self._address.close()
        return result
