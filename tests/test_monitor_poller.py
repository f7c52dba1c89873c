"""
Tests for :mod:`piman.monitor.poller`.
"""

import json
from collections.abc import Callable
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from piman.fleet.events import Event, NodeRecovered, NodeSilent, NodeUp, Recorded
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase
from piman.fleet.nodes import NodeRegistry
from piman.monitor.agent import AgentPages
from piman.monitor.poller import EARLY, EARLY_SECONDS, PATHS, Poller, PollerService, PollerSettings, poller_service
from piman.monitor.readings import LARGEST_ANSWER_BYTES, Card, Reading
from piman.monitor.sampling import Sampler

READING = {"time": 1.5, "cpu_percent": 12.5, "memory_percent": 40.0, "disk_percent": 63.0, "num_pids": 97}
REST = {"memory_percent": 40.0, "disk_percent": 63.0, "temp": 51.5, "uptime_seconds": 77.5, "under_voltage": True}
SETTINGS = PollerSettings(interval_seconds=30, timeout_seconds=10, misses=3, concurrency=2)

Answer = Callable[[Request], Any]


def _mac(last: int) -> MACAddress:
    return MACAddress(bytes([0xB8, 0x27, 0xEB, 0, 0, last]))


def _node(last: int) -> Node:
    return Node(mac=_mac(last), address=IPv4Address(f"172.30.4.{last}"))


def good(request: Request) -> bytes:
    """An agent of today."""
    return json.dumps(READING).encode() if request.path == b"/events" else _status(request, 404)


def original(request: Request) -> bytes:
    """An agent of the original: it knows only /event/."""
    return json.dumps(READING).encode() if request.path == b"/event/" else _status(request, 404)


def mute(request: Request) -> int:
    """Takes the question and says nothing."""
    return NOT_DONE_YET


def _status(request: Request, code: int) -> bytes:
    request.setResponseCode(code)
    return b"nothing here"


class Fleet(Resource):
    """Every node's agent in one, told apart by the address in the question."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def render(self, request: Request) -> Any:
        """Let the node answer."""
        host = request.getRequestHostname().decode()
        self.asked.append(f"{host}{request.path.decode()}")
        return self.answers[host](request)


class Feedback:
    """Keeps events and folds them into the registry, as the event log does."""

    def __init__(self, registry: NodeRegistry) -> None:
        self.events: list[Event] = []
        self._registry = registry

    def emit(self, event: Event) -> None:
        """Keep and fold."""
        self.events.append(event)
        self._registry.observe(Recorded(id=1_000 + len(self.events), time=0.0, event=event))


class Refusing:
    """A network in which nobody listens; or, without a failure, one in which nothing ever arrives."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure
        self.waiting = 0
        self.most = 0

    def get(self, url: str, **options: Any) -> "Deferred[Any]":
        """Fail, or wait."""
        if self.failure is not None:
            return fail(self.failure)
        self.waiting += 1
        self.most = max(self.most, self.waiting)

        def drop(deferred: "Deferred[Any]") -> None:
            self.waiting -= 1

        return Deferred(drop)


class _Case(SynchronousTestCase):
    """A poller, a registry and agents that are not there."""

    def setUp(self) -> None:
        """No nodes yet."""
        self.clock = Clock()
        self.fleet = Fleet()

    def poller(self, *statuses: NodeStatus, agent: Any = None, settings: PollerSettings = SETTINGS) -> Poller:
        """A poller of nodes in these phases, each with the reserved address of its number."""
        nodes = [_node(status.mac.octets[-1]) for status in statuses]
        self.registry = NodeRegistry(nodes, (), statuses)
        self.events = Feedback(self.registry)
        for node in nodes:
            self.fleet.answers.setdefault(str(node.address), good)
        client = agent or StubTreq(self.fleet)
        return Poller(self.clock, settings=settings, nodes=self.registry, events=self.events, agent=client)

    def tearDown(self) -> None:
        """No timer is left."""
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def sweep(self, poller: Poller) -> None:
        """One whole sweep, timeouts included."""
        done = poller.sweep()
        while self.clock.getDelayedCalls():
            self.clock.advance(SETTINGS.timeout_seconds)
        self.successResultOf(done)


def _up(last: int) -> NodeStatus:
    return NodeStatus(mac=_mac(last), phase=Phase.UP, has_agent=True)


class PhaseTests(_Case):
    """What an answer means depends on what was known."""

    def test_first_answer(self) -> None:
        """In every phase in which a system may run, the first answer says that the node is up."""
        for phase in set(Phase) - EARLY - {Phase.UP, Phase.SILENT}:
            self.sweep(self.poller(NodeStatus(mac=_mac(2), phase=phase)))
            self.assertEqual(self.events.events, [NodeUp(mac=_mac(2), evidence="agent")], phase)

    def test_counts(self) -> None:
        """Answers, misses and the time of whole sweeps are counted; a node that is not asked is none of them."""
        self.fleet.answers["172.30.4.3"] = mute
        up = NodeStatus(mac=_mac(2), phase=Phase.UP), NodeStatus(mac=_mac(3), phase=Phase.UP)
        poller = self.poller(*up, NodeStatus(mac=_mac(4), phase=Phase.OFF))
        self.sweep(poller)
        self.assertEqual((poller.answered, poller.missed), (1, 1))
        self.assertEqual((poller.sweeps.total, poller.sweeps.sum), (1, SETTINGS.timeout_seconds))

    def test_early_phases(self) -> None:
        """A node whose firmware is at work, or that is off, is not asked."""
        self.assertGreater(len(EARLY), 3)
        for phase in EARLY:
            self.sweep(self.poller(NodeStatus(mac=_mac(2), phase=phase, since=self.clock.seconds())))
        self.assertEqual(self.fleet.asked, [])

    def test_early_before_the_start(self) -> None:
        """What was seen before this manager is no reason to wait: a node that came up meanwhile is found so at once."""
        self.clock.advance(100.0)
        poller = self.poller(NodeStatus(mac=_mac(2), phase=Phase.LOADING, since=99.0))
        self.sweep(poller)
        self.assertEqual(self.events.events, [NodeUp(mac=_mac(2), evidence="agent")])

    def test_early_for_long(self) -> None:
        """One that seems to load for minutes is asked: a manager that was killed may have missed that it came up."""
        poller = self.poller(NodeStatus(mac=_mac(2), phase=Phase.LOADING, since=self.clock.seconds()))
        self.clock.advance(EARLY_SECONDS - 1)
        self.sweep(poller)
        self.assertEqual(self.events.events, [])
        self.clock.advance(1)
        self.sweep(poller)
        self.assertEqual(self.events.events, [NodeUp(mac=_mac(2), evidence="agent")])

    def test_once(self) -> None:
        """The second answer is no news."""
        poller = self.poller(NodeStatus(mac=_mac(2), phase=Phase.BOOTING))
        self.sweep(poller)
        self.sweep(poller)
        self.assertEqual(len(self.events.events), 1)

    def test_up_by_address(self) -> None:
        """A node that counted as up for another reason is told to have an agent, once."""
        poller = self.poller(NodeStatus(mac=_mac(2), phase=Phase.UP))
        self.sweep(poller)
        self.sweep(poller)
        self.assertEqual(self.events.events, [NodeUp(mac=_mac(2), evidence="agent")])

    def test_restart(self) -> None:
        """After a restart of the manager, an answer of a node known to be up with its agent is no news."""
        self.sweep(self.poller(_up(2)))
        self.assertEqual(self.events.events, [])

    def test_silent(self) -> None:
        """Three missed answers in a row: the node is silent, said once, with the reason; then it is back, said once."""
        poller = self.poller(_up(2))
        self.fleet.answers["172.30.4.2"] = mute
        for _ in range(2):
            self.sweep(poller)
        self.assertEqual(self.events.events, [])
        for _ in range(3):
            self.sweep(poller)
        silent = NodeSilent(mac=_mac(2), misses=3, reason="no answer in time")
        self.assertEqual(self.events.events, [silent])
        self.fleet.answers["172.30.4.2"] = good
        self.sweep(poller)
        self.sweep(poller)
        self.assertEqual(self.events.events, [silent, NodeRecovered(mac=_mac(2))])

    def test_misses_in_a_row(self) -> None:
        """An answer in between begins the count anew."""
        poller = self.poller(_up(2))
        for answer in (mute, mute, good, mute, mute):
            self.fleet.answers["172.30.4.2"] = answer
            self.sweep(poller)
        self.assertEqual(self.events.events, [])

    def test_node_without_agent(self) -> None:
        """A node that is up and whose agent never answered does not fall silent: it may have none."""
        poller = self.poller(NodeStatus(mac=_mac(2), phase=Phase.UP))
        self.fleet.answers["172.30.4.2"] = mute
        for _ in range(5):
            self.sweep(poller)
        self.assertEqual(self.events.events, [])


class QuestionTests(_Case):
    """How a node is asked."""

    def test_remembers_the_path(self) -> None:
        """An agent of the original is asked for /events once and from then on for /event/."""
        poller = self.poller(_up(2))
        self.fleet.answers["172.30.4.2"] = original
        self.sweep(poller)
        self.sweep(poller)
        self.assertEqual(self.fleet.asked, ["172.30.4.2/events", "172.30.4.2/event/", "172.30.4.2/event/"])
        self.assertEqual(poller.readings[_mac(2)][1].num_pids, 97)

    def test_agent_replaced(self) -> None:
        """When the remembered path is gone, the other one is tried."""
        poller = self.poller(_up(2))
        self.fleet.answers["172.30.4.2"] = original
        self.sweep(poller)
        self.fleet.answers["172.30.4.2"] = good
        self.sweep(poller)
        self.assertEqual(self.fleet.asked[2:], ["172.30.4.2/event/", "172.30.4.2/events"])
        self.assertEqual(self.events.events, [])

    def test_our_agent(self) -> None:
        """What our own agent's pages say is understood, key by key."""
        told = Reading(time=1.5, cpu_percent=12.5, num_pids=3, throttled=0x50005, card=Card(name="SD16G"), **REST)
        pages = AgentPages(cast(Sampler, SimpleNamespace(reading=lambda: told))).resource()
        poller = self.poller(_up(2), agent=StubTreq(pages))
        self.sweep(poller)
        self.assertEqual(poller.readings[_mac(2)][1], told)

    def test_other_agents(self) -> None:
        """Agents with ctime text, numbers as text or missing keys are up; what they lack is logged once."""
        odd = {"time": "Sun Jan 26 00:53:20 2020", "cpu_percent": "12.5%", "num_pids": 97}
        self.fleet.answers["172.30.4.2"] = lambda request: json.dumps(odd).encode()
        lines: list[LogEvent] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        poller = self.poller(NodeStatus(mac=_mac(2), phase=Phase.BOOTING))
        for _ in range(3):
            self.sweep(poller)
        reading = poller.readings[_mac(2)][1]
        self.assertEqual((reading.cpu_percent, reading.num_pids, reading.disk_percent), (12.5, 97, None))
        self.assertEqual(self.events.events, [NodeUp(mac=_mac(2), evidence="agent")])
        said = [formatEvent(line) for line in lines if "complaints" in line]
        self.assertEqual(said, [f"{_mac(2)}'s agent: no memory_percent, no disk_percent"])

    def test_leased_address(self) -> None:
        """The address that the node was seen with counts before the one in the files; without one it is not asked."""
        self.fleet.answers["172.30.4.99"] = good
        self.sweep(self.poller(attrs.evolve(_up(2), address=IPv4Address("172.30.4.99"))))
        self.assertEqual(self.fleet.asked, ["172.30.4.99/events"])
        poller = self.poller()
        self.registry.replace_nodes([Node(mac=_mac(3))], ())
        self.sweep(poller)
        self.assertEqual(len(self.fleet.asked), 1)

    def test_reading(self) -> None:
        """The latest reading is kept with the manager's time and handed to every listener."""
        poller = self.poller(_up(2))
        heard: list[tuple[MACAddress, Reading]] = []
        poller.listeners += [lambda mac, reading: 1 / 0, lambda mac, reading: heard.append((mac, reading))]
        self.clock.advance(77.0)
        self.sweep(poller)
        self.assertEqual(poller.readings[_mac(2)], (77.0, Reading(**READING)))
        self.assertEqual(heard, [(_mac(2), Reading(**READING))])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_forgets(self) -> None:
        """Of a node that left the files nothing is remembered."""
        poller = self.poller(_up(2))
        self.sweep(poller)
        self.registry.replace_nodes([], ())
        self.sweep(poller)
        self.assertEqual(poller.readings, {})


class FailureTests(_Case):
    """Whatever a node does, it is its own miss."""

    def reason(self, answer: Answer | None = None, agent: Any = None) -> str:
        """Why a node that does this counts as silent; its neighbour is heard all the same."""
        self.fleet.answers["172.30.4.2"] = answer or good
        poller = self.poller(_up(2), NodeStatus(mac=_mac(3), phase=Phase.BOOTING), agent=agent)
        for _ in range(3):
            self.sweep(poller)
        if agent is None:
            self.assertIn(NodeUp(mac=_mac(3), evidence="agent"), self.events.events)
        (silent,) = [event for event in self.events.events if isinstance(event, NodeSilent)]
        self.assertEqual(silent.mac, _mac(2))
        return silent.reason

    def test_status(self) -> None:
        """An error status is no answer."""
        self.assertEqual(self.reason(lambda request: _status(request, 500)), "the agent answers with status 500")
        self.assertEqual(self.reason(lambda request: _status(request, 404)), "the agent answers with status 404")

    def test_redirect(self) -> None:
        """A redirection is not followed: a node cannot send the manager elsewhere."""

        def elsewhere(request: Request) -> bytes:
            request.redirect(b"http://172.30.4.3/events")
            return b""

        self.assertEqual(self.reason(elsewhere), "the agent answers with status 302")

    def test_nonsense(self) -> None:
        """An answer that is no reading is no answer."""
        self.assertEqual(self.reason(lambda request: b"hello"), "the answer is not JSON")

    def test_endless(self) -> None:
        """An answer without end is dropped."""
        self.assertEqual(self.reason(lambda request: b"x" * (LARGEST_ANSWER_BYTES + 1)), "the answer is too long")

    def test_half(self) -> None:
        """An answer that begins and never ends has its time, like silence."""

        def half(request: Request) -> int:
            request.write(b'{"time": ')
            return NOT_DONE_YET

        self.assertEqual(self.reason(half), "no answer in time")

    def test_refused(self) -> None:
        """A refused connection is told as such."""
        self.assertIn("refused", self.reason(agent=Refusing(ConnectionRefusedError())))

    def test_our_mistake(self) -> None:
        """A failure of our own (here: the event sink) is logged and costs the other nodes nothing."""
        poller = self.poller(NodeStatus(mac=_mac(2), phase=Phase.BOOTING), NodeStatus(mac=_mac(3), phase=Phase.BOOTING))
        emit, self.events.emit = self.events.emit, lambda event: emit(event) if event.mac == _mac(3) else 1 / 0
        self.sweep(poller)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.events, [NodeUp(mac=_mac(3), evidence="agent")])


class SweepTests(_Case):
    """A sweep asks everybody, some at a time."""

    def test_everybody(self) -> None:
        """Many nodes, few at a time: each is asked once."""
        poller = self.poller(*(_up(last) for last in range(2, 40)))
        self.sweep(poller)
        self.assertEqual(sorted(self.fleet.asked), sorted(f"172.30.4.{last}{PATHS[0]}" for last in range(2, 40)))

    def test_bounded(self) -> None:
        """Never more nodes than allowed are asked at the same time."""
        network = Refusing(None)
        poller = self.poller(*(_up(last) for last in range(2, 40)), agent=network)
        self.sweep(poller)
        self.assertEqual((network.most, network.waiting), (SETTINGS.concurrency, 0))

    def service(self, *statuses: NodeStatus) -> PollerService:
        """The service with a real poller."""
        poller = self.poller(*statuses)
        service = poller_service(
            self.clock, settings=SETTINGS, nodes=self.registry, events=self.events, agent=poller._agent
        )
        assert isinstance(service, PollerService)
        return service

    def test_interval(self) -> None:
        """The service sweeps at once and then at every interval, until it stops."""
        service = self.service(_up(2))
        service.startService()
        self.assertEqual(len(self.fleet.asked), 1)
        self.clock.advance(29.9)
        self.assertEqual(len(self.fleet.asked), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.fleet.asked), 2)
        service.stopService()
        self.clock.advance(60)
        self.assertEqual(len(self.fleet.asked), 2)

    def test_slow_sweep(self) -> None:
        """A sweep that outlasts the interval is not overtaken by the next."""
        service = self.service(*(_up(last) for last in range(2, 12)))
        for address in self.fleet.answers:
            self.fleet.answers[address] = mute
        service.startService()
        for _ in range(4):
            self.clock.advance(10)
            self.assertEqual(len(self.fleet.asked), len(set(self.fleet.asked)))
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual(len(self.fleet.asked), 12)
        service.stopService()

    def test_stop_in_a_sweep(self) -> None:
        """Stopping lets go of whoever is being asked, asks nobody else, and says nothing about them."""
        service = self.service(*(_up(last) for last in range(2, 12)))
        for address in self.fleet.answers:
            self.fleet.answers[address] = mute
        service.reconfigure(attrs.evolve(SETTINGS, misses=1))
        service.startService()
        service.stopService()
        self.assertEqual(len(self.fleet.asked), SETTINGS.concurrency)
        self.assertEqual(self.events.events, [])

    def test_sweep_after_an_error(self) -> None:
        """An error of the directory costs one sweep, not the service."""
        service = self.service(_up(2))
        nodes, self.registry.nodes = self.registry.nodes, lambda: 1 / 0
        service.startService()
        self.registry.nodes = nodes
        self.clock.advance(30)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.fleet.asked), 1)
        service.stopService()

    def test_reconfigure(self) -> None:
        """A new interval counts from the next sweep on."""
        service = self.service(_up(2))
        service.startService()
        service.reconfigure(attrs.evolve(SETTINGS, interval_seconds=5))
        self.clock.advance(30)
        self.clock.advance(5)
        self.assertEqual(len(self.fleet.asked), 3)
        service.stopService()
