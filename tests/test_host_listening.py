"""
The port that does not spin when the process has no file descriptor left.
"""

import resource
import socket

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from piman.host.listening import BACKLOG, PatientPort, listen


@implementer(IReactorFDSet)
class Readers(Clock):
    """A clock that notes which descriptors a reactor would look at."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()

    def addReader(self, reader: object) -> None:
        """Look at it."""
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        """Look at it no more."""
        self.readers.discard(reader)

    def removeWriter(self, writer: object) -> None:
        """Nothing is written here."""


class Accepted(Factory):
    """Keeps the connections."""

    protocol = Protocol

    def __init__(self) -> None:
        self.protocols: list[Protocol] = []

    def buildProtocol(self, addr: object) -> Protocol:
        """One more."""
        self.protocols.append(Protocol())
        return self.protocols[-1]


class PatientPortTests(SynchronousTestCase):
    """A real listening socket, and a reactor by hand."""

    def setUp(self) -> None:
        """Somebody waits in the kernel's queue."""
        self.reactor = Readers()
        self.accepted = Accepted()
        self.port = PatientPort(0, self.accepted, BACKLOG, "127.0.0.1", self.reactor)
        self.port.startListening()
        self.addCleanup(self.port.socket.close)
        self.client = socket.create_connection(self.port.socket.getsockname())
        self.addCleanup(self.client.close)

    def read_without_descriptors(self) -> None:
        """The process may open no more file, and the reactor says that somebody calls."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            self.port.doRead()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.flushLoggedErrors(OSError)  # Twisted could not take its spare descriptor again

    def test_accepts(self) -> None:
        """With descriptors it is a port like any other."""
        self.port.doRead()
        self.assertEqual(len(self.accepted.protocols), 1)
        self.assertIn(self.port, self.reactor.readers)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.accepted.protocols[0].transport.abortConnection()

    def test_pauses(self) -> None:
        """Without one it looks away for a second; who waited is served afterwards."""
        self.read_without_descriptors()
        self.assertEqual(self.accepted.protocols, [])
        self.assertNotIn(self.port, self.reactor.readers)
        self.reactor.advance(1.0)
        self.assertIn(self.port, self.reactor.readers)
        self.port.doRead()
        self.assertEqual(len(self.accepted.protocols), 1)
        self.accepted.protocols[0].transport.abortConnection()

    def test_closed_meanwhile(self) -> None:
        """A port that was closed in its pause stays closed."""
        self.read_without_descriptors()
        self.port.stopListening()
        self.reactor.advance(1.0)
        self.assertNotIn(self.port, self.reactor.readers)

    def test_reactor_without_sockets(self) -> None:
        """A reactor of a test gets the call that any reactor gets."""
        reactor = MemoryReactorClock()
        listen(reactor, 3333, self.accepted, "127.0.0.1")
        self.assertEqual(reactor.tcpServers, [(3333, self.accepted, BACKLOG, "127.0.0.1")])
