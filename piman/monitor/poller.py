# -*- test-case-name: tests.test_monitor_poller -*-
"""
Asks the agent of every node how it is, again and again, and says who is up, who fell silent, who is back.

A sweep asks each node once, many at a time.  Nothing that one node does, or fails to do, stops the sweep or the next
one; a sweep that outlasts the interval makes the next one late, never parallel.
"""

from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, Protocol, cast

import attrs
from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults, maybeDeferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, _HTTP11ClientFactory

from piman.distribution import PATIENT, Distribution
from piman.fleet.events import NodeRecovered, NodeSilent, NodeUp
from piman.fleet.interfaces import IEventSink, INodeDirectory
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase
from piman.monitor.readings import LARGEST_ANSWER_BYTES, Reading

PATHS = ("/events", "/event/")
"""Today's path first; the deployed agents of the original know only the second."""

EARLY = frozenset({Phase.OFF, Phase.POWERED, Phase.OFFERED, Phase.LEASED, Phase.LOADING})
"""Phases in which no system runs yet.  A node of which nothing is known is asked: it may have been up for weeks."""
EARLY_SECONDS = 120.0
"""A node that stays longer in such a phase is asked, too: something may have been missed."""


@attrs.frozen(kw_only=True)
class PollerSettings:
    """The knobs of the poller."""

    interval_seconds: float = 30.0
    """From the beginning of a sweep to the beginning of the next."""
    timeout_seconds: float = 10.0
    """For one node, everything included."""
    agent_port: int = 3000
    misses: int = 3
    """So many answers in a row must be missing before a node counts as silent."""
    concurrency: int = 200
    """So many nodes are asked at the same time."""


class NoAnswer(Exception):
    """A node's agent did not say how the node is; the text says why."""


class HTTPGetter(Protocol):
    """What is needed of treq."""

    def get(self, url: str, **options: Any) -> "Deferred[Any]":
        """Ask for a page."""


Listener = Callable[[MACAddress, Reading], None]


class _QuietFactory(_HTTP11ClientFactory):
    """
    A factory that does not log that it starts and stops: that is twice a node a sweep.

    It is private to Twisted, and the seam to it, ``HTTPConnectionPool._factory``, too; there is no public one.
    """

    noisy = False


class _QuietPool(HTTPConnectionPool):
    """Quiet connections, of this pool alone."""

    _factory = _QuietFactory


def web_client(reactor: Any, settings: PollerSettings) -> HTTPGetter:
    """A client that keeps no connections: thousands of nodes are asked twice a minute, not twice a second."""
    pool = _QuietPool(reactor, persistent=False)
    client: Any = HTTPClient(Agent(reactor, connectTimeout=settings.timeout_seconds, pool=pool))
    return cast(HTTPGetter, client)


# One answer


class _Body(StreamProtocol):
    """Collects a body, but not without end; cancelling it drops the connection."""

    def __init__(self) -> None:
        self._received = bytearray()
        self.whole: Deferred[bytes] = Deferred(lambda deferred: self._drop())

    def _drop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep it, up to the limit."""
        self._received += data
        if len(self._received) > LARGEST_ANSWER_BYTES and not self.whole.called:
            self._drop()
            self.whole.errback(NoAnswer("the answer is too long"))

    def connectionLost(self, reason: Failure = ResponseDone) -> None:  # type: ignore[assignment]
        """The body ends, or breaks off (then what came is no JSON)."""
        if not self.whole.called:
            self.whole.callback(bytes(self._received))


async def _fetch(agent: HTTPGetter, url: str) -> tuple[int, bytes]:
    response = await agent.get(url, unbuffered=True, allow_redirects=False)
    body = _Body()
    response.deliverBody(body)
    return response.code, await body.whole


def _why(failure: BaseException) -> str:
    """A failure to ask, in words for the operator."""
    reasons = getattr(failure, "reasons", None)
    inner = reasons[0].value if reasons else failure
    if isinstance(inner, TimeoutError | CancelledError | ConnectingCancelledError):
        return "no answer in time"
    return str(inner) or type(inner).__name__


# The poller


@attrs.define
class _Memory:
    """What the poller remembers of one node."""

    path: str = PATHS[0]
    misses: int = 0
    complaints: tuple[str, ...] = ()


class Poller:
    """
    Sweeps over the nodes.

    :ivar readings: the latest reading of each node with the manager's time of its arrival.
    :ivar listeners: called with each reading; a failing one is logged and costs the others nothing.
    :ivar answered: agents that answered, in all sweeps.
    :ivar missed: agents that did not, though they were asked.
    :ivar sweeps: how long whole sweeps took.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        settings: PollerSettings,
        nodes: INodeDirectory,
        events: IEventSink,
        agent: HTTPGetter,
    ) -> None:
        self.settings = settings
        self.readings: dict[MACAddress, tuple[float, Reading]] = {}
        self.listeners: list[Listener] = []
        self.answered = 0
        self.missed = 0
        self.sweeps = Distribution(PATIENT)
        self._clock = clock
        self._began = clock.seconds()
        self._nodes = nodes
        self._events = events
        self._agent = agent
        self._memories: dict[MACAddress, _Memory] = {}
        self._queue: deque[Node] = deque()
        self._workers: list[Deferred[None]] = []
        self._stopping = False

    # A sweep

    def sweep(self) -> "Deferred[None]":
        """Ask every node once; fires when all have answered or had their time, and never fails."""
        nodes = list(self._nodes.nodes())
        self._forget_others(nodes)
        self._stopping = False
        self._queue = deque(nodes)
        count = min(self.settings.concurrency, len(nodes))
        self._workers = [Deferred.fromCoroutine(self._work()) for _ in range(count)]
        return gatherResults(self._workers).addCallback(self._swept, self._clock.seconds())

    def _swept(self, ignored: object, began: float) -> None:
        if not self._stopping:
            self.sweeps.take(self._clock.seconds() - began)

    def stop(self) -> None:
        """End the sweep: who is being asked is let go, which says nothing about them."""
        self._stopping = True
        self._queue.clear()
        for worker in self._workers:
            worker.cancel()

    def _forget_others(self, nodes: list[Node]) -> None:
        macs = {node.mac for node in nodes}
        self._memories = {mac: memory for mac, memory in self._memories.items() if mac in macs}
        self.readings = {mac: reading for mac, reading in self.readings.items() if mac in macs}

    async def _work(self) -> None:
        """Ask one node of the queue after another, beside other workers."""
        while self._queue:
            node = self._queue.popleft()
            try:
                await self._visit(node)
            except Exception:
                self._log.failure("asking {node} failed", node=node.name)

    async def _visit(self, node: Node) -> None:
        status = self._nodes.status(node.mac)
        address = status.address or node.address
        if address is None or self._is_early(status):
            self._memories.pop(node.mac, None)
            return
        asking = Deferred.fromCoroutine(self._ask(node, address))
        try:
            reading = await asking.addTimeout(self.settings.timeout_seconds, self._clock)
        except Exception as failure:
            if not self._stopping:
                self._missed(node, _why(failure))
        else:
            self._answered(node, reading)

    # One node

    def _is_early(self, status: NodeStatus) -> bool:
        """What a manager before this one saw last is no reason not to ask: it was killed, and the node went on."""
        is_fresh = status.since >= self._began and self._clock.seconds() - status.since < EARLY_SECONDS
        return is_fresh and status.phase in EARLY

    async def _ask(self, node: Node, address: IPv4Address) -> Reading:
        """The path that worked last time first, the other one where that is not found."""
        memory = self._memories.setdefault(node.mac, _Memory())
        code = 0
        for path in sorted(PATHS, key=lambda path: path != memory.path):
            code, body = await _fetch(self._agent, f"http://{address}:{self.settings.agent_port}{path}")
            if code == 200:
                memory.path = path
                return Reading.from_json(body)
            if code != 404:
                break
        raise NoAnswer(f"the agent answers with status {code}")

    def _answered(self, node: Node, reading: Reading) -> None:
        self.answered += 1
        memory = self._memories.setdefault(node.mac, _Memory())
        memory.misses = 0
        if reading.complaints != memory.complaints:
            memory.complaints = reading.complaints
            self._log.info(
                "{node}'s agent: {complaints}", node=node.name, complaints=", ".join(reading.complaints) or "all right"
            )
        self.readings[node.mac] = (self._clock.seconds(), reading)
        status = self._nodes.status(node.mac)
        if status.phase is Phase.SILENT:
            self._events.emit(NodeRecovered(mac=node.mac))
        elif status.phase is not Phase.UP or not status.has_agent:
            self._events.emit(NodeUp(mac=node.mac, evidence="agent"))
        self._tell(node.mac, reading)

    def _missed(self, node: Node, reason: str) -> None:
        """Only a node whose agent has answered can fall silent; others may have none."""
        self.missed += 1
        memory = self._memories.setdefault(node.mac, _Memory())
        memory.misses += 1
        status = self._nodes.status(node.mac)
        if status.phase is Phase.UP and status.has_agent and memory.misses >= self.settings.misses:
            self._events.emit(NodeSilent(mac=node.mac, misses=memory.misses, reason=reason))

    def _tell(self, mac: MACAddress, reading: Reading) -> None:
        for listener in tuple(self.listeners):
            try:
                listener(mac, reading)
            except Exception:
                self._log.failure("{listener} failed at {mac}", listener=listener, mac=str(mac))


class PollerService(Service):
    """Sweeps at intervals."""

    _log = Logger()

    def __init__(self, reactor: Any, poller: Poller) -> None:
        self.poller = poller
        self._loop = LoopingCall(self._sweep)
        self._loop.clock = reactor

    def _sweep(self) -> "Deferred[None]":
        """A LoopingCall stops for good after one error, so there is none."""
        return maybeDeferred(self.poller.sweep).addErrback(
            lambda failure: self._log.failure("a sweep failed", failure=failure)
        )

    def startService(self) -> None:
        """Begin to sweep."""
        super().startService()
        self._loop.start(self.poller.settings.interval_seconds)

    def stopService(self) -> None:
        """Ask no more."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        self.poller.stop()

    def reconfigure(self, settings: PollerSettings) -> None:
        """Take new settings; the interval counts from the next sweep on."""
        self.poller.settings = settings
        self._loop.interval = settings.interval_seconds


def poller_service(
    reactor: Any,
    *,
    settings: PollerSettings,
    nodes: INodeDirectory,
    events: IEventSink,
    agent: HTTPGetter | None = None,
) -> "PollerService":
    """
    The poller.

    :param agent: asks for pages; :func:`web_client` unless given.
    """
    getter = agent or web_client(reactor, settings)
    poller = Poller(reactor, settings=settings, nodes=nodes, events=events, agent=getter)
    return PollerService(reactor, poller)
