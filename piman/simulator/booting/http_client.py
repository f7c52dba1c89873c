# -*- test-case-name: tests.test_simulator_booting_installer -*-
"""
The installer's HTTP client: one GET that goes on where the last one broke off, hashed as it comes.
"""

from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from piman.simulator.booting.machine import Machine, Program
from piman.simulator.wiring.surroundings import Closed, Received, Stream

CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 300.0
"""The installer gives up after so long without a byte."""
CHUNK_SECONDS = 60.0
PAUSE_SECONDS = 2.0
LONGEST_HEAD_BYTES = 65_536
REPORT_BYTES = 4 << 20
"""The installer says how far it is after each chunk of this size."""


class Refused(Exception):
    """The server says no; asking again is of no use."""


class _Busy(Exception):
    """The server cannot answer now."""


class Download:
    """
    An image as far as it has come.

    :param report: called with the number of bytes now and then, and at the end.
    :ivar offset: how many bytes of it are here.
    """

    def __init__(self, url: str, digest: str, size: int, report: Callable[[int], None] = lambda offset: None) -> None:
        parts = urlsplit(url)
        self.peer = (parts.hostname or "", parts.port or 80)
        self.offset = 0
        self.size = size
        self._target = f"{parts.path}?{parts.query}"
        self._netloc = parts.netloc
        self._digest = digest
        self._hash = sha256()
        self._report = report
        self._head: bytearray | None = bytearray()

    @property
    def is_complete(self) -> bool:
        """Whether every byte is here."""
        return self.offset >= self.size

    @property
    def digest(self) -> str:
        """Of what is here."""
        return self._hash.hexdigest()

    def request(self) -> bytes:
        """Ask for the rest."""
        self._head = bytearray()
        return (
            f"GET {self._target} HTTP/1.1\r\nHost: {self._netloc}\r\nRange: bytes={self.offset}-\r\n"
            f'If-Range: "{self._digest}"\r\nConnection: close\r\n\r\n'
        ).encode("ascii")

    def take(self, data: bytes) -> None:
        """
        Bytes of the answer.

        :raises Refused: when the status says that the image is not to be had.
        """
        if self._head is None:
            self._keep(data)
            return
        self._head += data
        head, separator, body = bytes(self._head).partition(b"\r\n\r\n")
        if separator:
            self._check(head)
            self._head = None
            self._keep(body)
        elif len(self._head) > LONGEST_HEAD_BYTES:
            raise Refused("the answer has no end of its head")

    def _keep(self, data: bytes) -> None:
        wanted = data[: self.size - self.offset]
        self._hash.update(wanted)
        before, self.offset = self.offset, self.offset + len(wanted)
        if self.is_complete or before // REPORT_BYTES < self.offset // REPORT_BYTES:
            self._report(self.offset)

    def _check(self, head: bytes) -> None:
        status = head.split(b" ", 2)[1:2]
        if status == [b"206"] or (status == [b"200"] and self.offset == 0):
            return
        if status and status[0].startswith(b"5"):
            raise _Busy
        shown = status[0].decode("ascii", "replace") if status else "no status"
        raise Refused(f"the manager refuses the image: HTTP {shown}")


def download(machine: Machine, address: IPv4Address, work: Download) -> Program[None]:
    """
    Fetch until all is here, going on where it broke off; ends early after five minutes without a byte.

    :raises Refused: see :meth:`Download.take`.
    """
    moved = machine.now()
    while not work.is_complete and machine.now() - moved < SILENCE_SECONDS:
        before = work.offset
        stream = yield from machine.connect(address, work.peer, CONNECT_SECONDS)
        if stream is not None:
            try:
                yield from _receive(machine, stream, work)
            finally:
                machine.hang_up(stream)
        if work.offset > before:
            moved = machine.now()
        if not work.is_complete:
            machine.journal.resends += 1
            yield from machine.wait(PAUSE_SECONDS)


def _receive(machine: Machine, stream: Stream, work: Download) -> Program[None]:
    stream.write(work.request())
    while not work.is_complete:
        event = yield machine.now() + CHUNK_SECONDS
        if event is None or (isinstance(event, Closed) and event.stream is stream):
            return
        if isinstance(event, Received) and event.stream is stream:
            try:
                work.take(event.data)
            except _Busy:
                return
