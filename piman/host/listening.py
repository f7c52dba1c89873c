# -*- test-case-name: tests.test_host_listening -*-
"""
A TCP port that does not spin when the process has no file descriptor left.

Twisted's own port closes those who wait, by a descriptor that it keeps for that; once another part of the
process has taken that one, it tries again at once and for ever, because the kernel still says that somebody waits.
"""

import errno
import os
import resource

from twisted.internet import tcp
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP, IReactorTime
from twisted.internet.posixbase import PosixReactorBase

PAUSE_SECONDS = 1.0
"""Callers wait in the kernel's queue meanwhile."""
BACKLOG = 1024


class PatientPort(tcp.Port):
    """A listening port that waits for a while when there is no descriptor for the next caller."""

    def doRead(self) -> None:
        """Somebody calls."""
        super().doRead()
        if self.connected and next_descriptor() is None:
            self.stopReading()
            IReactorTime(self.reactor).callLater(PAUSE_SECONDS, self._listen_again)

    def _listen_again(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()


def file_limit() -> int | None:
    """How many descriptors this process may have, as of now; None: any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def next_descriptor() -> int | None:
    """
    The descriptor that the next file or connection gets; None: there is no more.

    open(2): "the lowest-numbered file descriptor not currently open for the process", and accept(2) is no
    exception; so all below it are in use.  To ask costs a few microseconds.
    """
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        if problem.errno in (errno.EMFILE, errno.ENFILE):
            return None
        raise
    os.close(descriptor)
    return descriptor


def listen(
    reactor: IReactorTCP,
    port: int,
    factory: IProtocolFactory,
    interface: str,
    kind: type[PatientPort] = PatientPort,
) -> IListeningPort:
    """
    What ``reactor.listenTCP`` does, with a port that is patient when the reactor is one that has real sockets.

    :param kind: a patient port with other connections.
    :raises CannotListenError: when the port is taken or forbidden.
    """
    if not isinstance(reactor, PosixReactorBase):
        return reactor.listenTCP(port, factory, backlog=BACKLOG, interface=interface)  # type: ignore[arg-type]
    listening = kind(port, factory, BACKLOG, interface, reactor)
    listening.startListening()
    return listening
