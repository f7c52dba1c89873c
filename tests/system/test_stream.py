"""
The stream over a real UNIX socket: a reader that does not read is cut off, and costs no more than its bound.
"""

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from piman.fleet import events
from piman.web.control_socket import ControlSocket
from piman.web.stream import MOST_WAITING_BYTES
from tests.web_support import PI2, Half

REQUEST = b"GET /api/v1/events/stream HTTP/1.1\r\nHost: piman\r\n\r\n"
LOOKS = 500
"""Times a test lets the reactor work before it fails; none needs so many."""


class SlowReaderTests(TestCase):
    """Readers at the other end of a socket."""

    def setUp(self) -> None:
        """The API of a half in memory, on a socket."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "control.sock")
        self.half = Half()
        self.service = ControlSocket(reactor, self.path, self.half.api.resource(), self.half.stream.close)
        self.service.startService()
        self.addCleanup(self.service.stopService)

    async def reader(self) -> socket.socket:
        """Somebody who has asked for the stream."""
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.connect(str(self.path))
        connection.sendall(REQUEST)
        connection.setblocking(False)
        count = len(self.half.stream.readers)
        await self.until(lambda: len(self.half.stream.readers) > count)
        return connection

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the reactor work until it is so."""
        for _ in range(LOOKS):
            if condition():
                return
            await deferLater(reactor, 0.01)
        raise AssertionError("it did not come to pass")

    def happen(self, count: int) -> None:
        """Events of a tenth of what may wait."""
        for _ in range(count):
            self.half.log.emit(events.InstallerFailed(mac=PI2, reason="x" * (MOST_WAITING_BYTES // 10)))

    async def test_cut_off(self) -> None:
        """Who reads nothing is cut off; who reads goes on; what the first one is sent ends in the middle."""
        slow, quick = await self.reader(), await self.reader()
        received = bytearray()

        def read_on() -> bool:
            try:
                received.extend(quick.recv(1 << 20))
            except BlockingIOError:
                pass
            return received.count(b"event: event\n") == 30

        for _ in range(30):
            self.happen(1)
            await deferLater(reactor, 0.01)
            read_on()
        await self.until(read_on)
        self.assertEqual(len(self.half.stream.readers), 1)
        slow.setblocking(True)
        slow.settimeout(30)
        sent = 0
        while piece := slow.recv(1 << 20):
            sent += len(piece)
        self.assertLess(sent, MOST_WAITING_BYTES)
        quick.close()
        await self.until(lambda: not self.half.stream.readers)

    async def test_end(self) -> None:
        """When the manager stops the stream ends as HTTP wants it: with an empty chunk."""
        reader = await self.reader()
        await self.service.stopService()
        received = b""

        def is_over() -> bool:
            nonlocal received
            try:
                received += reader.recv(1 << 16)
            except BlockingIOError:
                pass
            return received.endswith(b"0\r\n\r\n")

        await self.until(is_over)
        reader.close()
        await deferLater(reactor, 0.05)
