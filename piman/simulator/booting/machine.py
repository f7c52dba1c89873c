# -*- test-case-name: tests.test_simulator_booting_machine -*-
"""
The hardware of a virtual board: runs its programs, holds its sockets, wakes it up.

Firmware is a program, so it is written as one: a generator that yields the time until which it waits (None: for ever)
and gets the next event, or None when that time has come.  It touches neither sockets nor clocks: everything goes
through :class:`Machine`, so the same programs run on real sockets and in virtual time.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from random import Random
from typing import TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from piman.simulator.booting.boards import Board
from piman.simulator.booting.journal import Journal
from piman.simulator.wiring.surroundings import Address, Closed, Datagram, Event, Network, Opened, Socket, Stream

Result = TypeVar("Result")
Program = Generator[float | None, Event | None, Result]

FIRST_PORT = 49_152
"""The boot ROM's first source port; one more for each request."""
PORTS = 65_536 - FIRST_PORT


class Machine:
    """
    One board under power.

    :param speed: waits that nobody on the wire can observe pass this many times faster.
    :param prefix: what its firmware puts before the names of files; its serial, unless it was told otherwise.
    """

    _log = Logger()

    def __init__(
        self,
        board: Board,
        *,
        clock: IReactorTime,
        network: Network,
        journal: Journal,
        random: Random,
        speed: float = 1.0,
        prefix: str = "",
    ) -> None:
        self.board = board
        self.prefix = prefix or board.prefix
        self.random = random
        self.journal = journal
        self._clock = clock
        self._network = network
        self._speed = speed
        self._program: Program[None] | None = None
        self._running = False
        self._inbox: deque[Event | None] = deque()
        self._deadline: float | None = None
        self._timer: IDelayedCall | None = None
        self._sockets: list[Socket] = []
        self._streams: list[Stream] = []
        self._diverted: dict[Stream, Callable[[Event], None]] = {}
        self._port = FIRST_PORT

    # Power

    @property
    def is_running(self) -> bool:
        """Whether a program runs."""
        return self._program is not None

    def start(self, program: Program[None]) -> None:
        """Run a program from its beginning; the one before ends."""
        self.stop()
        self._program = program
        self._inbox.append(None)
        self._run()

    def stop(self) -> None:
        """Cut the power: the program ends where it is, sockets vanish."""
        program, self._program = self._program, None
        self._inbox.clear()
        self._deadline = None
        self._cancel()
        for socket in self._sockets:
            socket.close()
        for stream in self._streams:
            stream.vanish()
        self._sockets.clear()
        self._streams.clear()
        self._diverted.clear()
        if program is not None and not self._running:
            program.close()

    # Running

    def deliver(self, event: Event) -> None:
        """Something arrived."""
        if self._program is None:
            return
        aside = None if isinstance(event, Datagram) else self._diverted.get(event.stream)
        if aside is not None:
            aside(event)
            return
        self._inbox.append(event)
        self._run()

    def _run(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            while self._inbox and self._program is not None:
                self._resume(self._program, self._inbox.popleft())
        finally:
            self._running = False

    def _resume(self, program: Program[None], event: Event | None) -> None:
        try:
            deadline = program.send(event)
        except StopIteration:
            self._ended(program)
        except Exception:
            self._log.failure("the program of {mac} has a mistake", mac=self.board.mac.hex(":"))
            self.journal.mistakes += 1
            self._ended(program)
        else:
            if program is self._program:
                self._wait_until(deadline)

    def _ended(self, program: Program[None]) -> None:
        if program is self._program:
            self.stop()

    def _wait_until(self, deadline: float | None) -> None:
        """
        See to it that the program is woken then.

        A timer that is early only looks again: to move it with each datagram would cost more.
        """
        self._deadline = deadline
        if deadline is None:
            return
        if self._timer is not None and self._timer.getTime() > deadline:
            self._cancel()
        if self._timer is None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._deadline is None or self._program is None:
            return
        if self._deadline > self._clock.seconds():
            self._wait_until(self._deadline)
            return
        self._deadline = None
        self._inbox.append(None)
        self._run()

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # What programs ask for

    def now(self) -> float:
        """The time."""
        return self._clock.seconds()

    def wait(self, seconds: float) -> Program[None]:
        """Let time pass, deaf to what arrives."""
        deadline = self.now() + seconds
        while (yield deadline) is not None:
            pass

    def pause(self, seconds: float) -> Program[None]:
        """A wait that nobody on the wire can observe: scaled."""
        return self.wait(seconds / self._speed)

    def between(self, least: float, most: float) -> float:
        """A number of seconds."""
        return self.random.uniform(least, most)

    def dhcp_socket(self, address: IPv4Address | None = None) -> Socket:
        """A socket for DHCP, before there is an address or with the one at hand."""
        socket = self._network.dhcp(self.deliver, address)
        self._sockets.append(socket)
        return socket

    def udp_socket(self, address: IPv4Address) -> Socket:
        """A socket at the next source port."""
        for _ in range(PORTS):
            port, self._port = self._port, FIRST_PORT + (self._port + 1 - FIRST_PORT) % PORTS
            try:
                socket = self._network.udp(address, port, self.deliver)
            except OSError:  # another program has the port on all addresses
                continue
            self._sockets.append(socket)
            return socket
        raise OSError(f"no free UDP port at {address}")

    def restart_ports(self) -> None:
        """A new stage of the firmware counts its source ports from its own beginning."""
        self._port = FIRST_PORT + self.random.randrange(PORTS)

    def connect(self, address: IPv4Address, peer: Address, timeout_seconds: float) -> Program[Stream | None]:
        """Connect; None when it fails or takes too long."""
        stream = self._network.connect(address, peer, self.deliver)
        self._streams.append(stream)
        deadline = self.now() + timeout_seconds
        while (event := (yield deadline)) is not None:
            if isinstance(event, Opened) and event.stream is stream:
                return stream
            if isinstance(event, Closed) and event.stream is stream:
                break
        self.hang_up(stream)
        return None

    @contextmanager
    def diverted(self, stream: Stream, aside: Callable[[Event], None]) -> Iterator[None]:
        """Meanwhile the program is busy with something else: events of this stream go to ``aside``."""
        self._diverted[stream] = aside
        try:
            yield
        finally:
            self._diverted.pop(stream, None)

    def close(self, socket: Socket) -> None:
        """Let go of a socket."""
        socket.close()
        if socket in self._sockets:
            self._sockets.remove(socket)

    def hang_up(self, stream: Stream) -> None:
        """End a stream."""
        stream.close()
        if stream in self._streams:
            self._streams.remove(stream)
