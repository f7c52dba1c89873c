# -*- test-case-name: tests.scenario.test_boot -*-
"""
Whole boots in virtual time: virtual boards, the manager's real services, one Clock, no sockets.

What the manager keeps on disk is kept in memory here and outlives :meth:`Scenario.kill_manager`.  The boards hang on a
switch in memory, each on the port of its number; whoever powers a board otherwise pulls and puts in its cable.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256, shake_256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from piman.boot.files import BootFiles
from piman.boot.image_http import ImageHTTPSettings, image_http_service
from piman.boot.image_tcp import ImageSettings, image_service
from piman.boot.images import ImageLibrary
from piman.dhcp import DHCPSettings, dhcp_service
from piman.fleet.arrivals import Arrivals
from piman.fleet.casebook import Casebook
from piman.fleet.clock_steps import ClockSteps
from piman.fleet.eventlog import EventLog
from piman.fleet.events import Event, Recorded
from piman.fleet.interfaces import IEventObserver, IPowerSwitch
from piman.fleet.model import Intent, MACAddress, Node, SwitchPort
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations
from piman.fleet.operations.orders import Action, Operation
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.targets import Atlas, Place
from piman.fleet.state.intents import IntentBook
from piman.fleet.state.leases import LeaseTable
from piman.fleet.state.pool import Pool
from piman.fleet.walltime import WallTime, WallTimedIntents, WallTimedLeases, WallTimedOperations
from piman.hello import HelloSettings, hello_service
from piman.monitor.poller import PollerSettings, poller_service
from piman.simulator.booting.boards import KINDS, Board, board_number
from piman.simulator.booting.journal import Journal
from piman.simulator.pi import MODELS, Pi
from piman.simulator.running import plan
from piman.simulator.running.harness import Harness, PowerCuts
from piman.simulator.wiring.faults import NO_DEFECTS, Damage, Defects, Faults, FaultyNetwork
from piman.testing.fakes import MemoryIntentStore, MemoryLeaseStore, MemoryNeighbours, MemoryOperationStore
from piman.testing.lan import VirtualLAN
from piman.testing.power import MemoryPowerSwitch
from piman.testing.virtual_board import BoardNetwork
from piman.testing.virtual_host import VirtualHost, VirtualLink
from piman.tftp import TFTPSettings, tftp_service

NETWORK = IPv4Network("172.30.4.0/24")
SERVER = IPv4Address("172.30.4.1")
SWITCH = IPv4Address("172.30.4.254")
FIRST_NODE = IPv4Address("172.30.4.10")
POOL_FIRST, POOL_LAST = IPv4Address("172.30.4.100"), IPv4Address("172.30.4.199")
READING = (
    b'{"time": 1, "cpu_percent": 1, "memory_percent": 1, "disk_percent": 1, "num_pids": 80, "temp": 40}'
)
"""What an agent tells."""
BEGINNING = 1_750_000_000.0
"""A time at which a clock can be set."""
SMALL_BYTES = 3_000
"""No boot file is larger: a boot shall take milliseconds."""


class VirtualManager:
    """
    The manager's services on a virtual host.

    :ivar events: the log.
    """

    def __init__(self, scenario: "Scenario", host: VirtualHost, *, first_id: int) -> None:
        self.host = host
        self.registry = NodeRegistry(scenario.nodes)
        self.wall = WallTime(host, scenario.wall_clock)
        for recorded in scenario.recorded:
            self.registry.observe(recorded)
        self.events = EventLog(host, first_id=first_id)
        self.arrivals = Arrivals(nodes=self.registry, events=self.events)
        self.casebook = Casebook(host, nodes=self.registry, switches=lambda: scenario.switches)
        self.casebook.recall(scenario.recorded)
        self.leases = LeaseTable(host, nodes=self.registry, pool=Pool(POOL_FIRST, POOL_LAST))
        self.intents = IntentBook(WallTimedIntents(scenario.intent_store, self.wall), host, self.events)
        self.intents.load()
        self.operations = self._operations(scenario)
        for observer in (self.registry, self.casebook, self.operations, scenario, self.arrivals):
            self.events.add_observer(observer)
        self.images = ImageLibrary({"default": str(scenario.image)}, run=_at_once)
        anew = self.leases, self.registry, self.intents, self.operations
        self.clock_steps = ClockSteps(host, self.wall, self.events, write_anew=[each.write_anew for each in anew])
        self.clock_steps.begin()
        self._services = self._parts(scenario)
        for service in self._services:
            service.privilegedStartService()
            service.startService()
        self.operations.resume()

    def _operations(self, scenario: "Scenario") -> Operations:
        place = Place(address=SWITCH, label="rack-a")
        operations = Operations(
            self.host,
            desk=PowerDesk(self.host, {SWITCH: scenario.switch}),
            atlas=lambda: Atlas(places=(place,), nodes=scenario.nodes),
            nodes=self.registry,
            store=WallTimedOperations(scenario.operation_store, self.wall),
            intents=self.intents,
            events=self.events,
            explain=self.casebook.explain,
            is_stuck=self.casebook.is_stuck,
        )
        operations.load()
        return operations

    def _parts(self, scenario: "Scenario") -> list[IService]:
        neighbours = MemoryNeighbours()
        shared: dict[str, Any] = {"addresses": self.leases, "intents": self.intents, "events": self.events}
        hello = hello_service(
            self.host,
            settings=HelloSettings(address=str(SERVER)),
            neighbours=neighbours,
            nodes=self.registry,
            images=self.images,
            wall=self.wall,
            **shared,
        )
        files = BootFiles(
            scenario.boot_dir,
            nodes=self.registry,
            addresses=self.leases,
            neighbours=neighbours,
            server_address=SERVER,
        )
        monitor = poller_service(
            self.host,
            settings=PollerSettings(),
            nodes=self.registry,
            events=self.events,
            agent=VirtualAgents(scenario),
        )
        return [
            *([monitor] if scenario.has_agents else []),
            tftp_service(
                self.host,
                settings=TFTPSettings(network=NETWORK),
                files=files,
                addresses=self.leases,
                events=self.events,
                plain=True,
            ),
            hello,
            image_service(self.host, settings=ImageSettings(), installers=hello, images=self.images, **shared),
            image_http_service(self.host, settings=ImageHTTPSettings(), images=self.images, **shared),
            dhcp_service(
                self.host,
                settings=DHCPSettings(server_address=SERVER, network=NETWORK),
                nodes=self.registry,
                leases=self.leases,
                store=WallTimedLeases(scenario.lease_store, self.wall),
                events=self.events,
                link=VirtualLink(scenario.lan),
                plain=True,
            ),
        ]

    def stop(self) -> None:
        """Stop switching, then all services, the last one first."""
        Deferred.fromCoroutine(self.operations.stop())
        for service in reversed(self._services):
            maybeDeferred(service.stopService)
        self.clock_steps.end()


def _at_once(work: Callable[[], str]) -> "Deferred[str]":
    return succeed(work())


@implementer(IEventObserver)
class Scenario:
    """
    A rack in virtual time.

    :param directory: where boot files are written.
    :param kinds: the boards, in this order.
    :param pooled: whether boards take their addresses from the pool instead of having their own.
    :param version: of the hello protocol.
    :param defects: what is wrong with every board.
    :param has_agents: whether installed systems have an agent, and the manager asks it.
    :ivar recorded: every event, through all managers.
    :ivar switches: those that the manager can ask about power.
    :ivar switch: where the boards hang.
    :ivar lines: the boards' cables.
    :ivar aheads: by how much the clock of the manager's computer was before the true time, one after the other.
    """

    def __init__(
        self,
        directory: Path,
        kinds: Sequence[str] = MODELS,
        *,
        seed: int = 1,
        faults: Faults | None = None,
        power_cuts: PowerCuts | None = None,
        pooled: bool = False,
        version: int = 2,
        defects: Defects = NO_DEFECTS,
        has_agents: bool = False,
    ) -> None:
        self.has_agents = has_agents
        self.switches: dict[IPv4Address, IPowerSwitch] = {}
        self.pis: list[Pi] = []
        self.clock = Clock()
        self.clock.advance(BEGINNING)
        self.aheads = [0.0]
        self.lan = VirtualLAN(self.clock)
        self.recorded: list[Recorded] = []
        self.lease_store = MemoryLeaseStore()
        self.intent_store = MemoryIntentStore()
        self.operation_store = MemoryOperationStore()
        self.damage = Damage()
        self._random = Random(seed)
        self._write(directory)
        self.boards = [board_number(number, KINDS[kind]) for number, kind in enumerate(kinds, start=1)]
        self.switch = MemoryPowerSwitch(range(1, len(self.boards) + 1), changed=self._switched, label="rack-a")
        self.nodes = tuple(
            _node(board, None if pooled else FIRST_NODE + number - 1, number)
            for number, board in enumerate(self.boards, start=1)
        )
        self.lines: list[FaultyNetwork] = []
        self.manager: VirtualManager | None = None
        self.start_manager()
        self.pis = [self._pi(board, faults or Faults(), version, defects) for board in self.boards]
        self.harness = Harness(self.pis, clock=self.clock, random=self._random, power_cuts=power_cuts)

    def _write(self, directory: Path) -> None:
        self.boot_dir = directory / "boot"
        for name in (*plan.BOOT_FILES, *plan.TEXT_FILES):
            file = self.boot_dir / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(plan.content_of(name)[:SMALL_BYTES])
        self.image = directory / "rootfs.tgz"
        self.image.write_bytes(shake_256(b"rootfs").digest(200_000))
        self.digest = sha256(self.image.read_bytes()).hexdigest()

    def _pi(self, board: Board, faults: Faults, version: int, defects: Defects) -> Pi:
        line = FaultyNetwork(
            BoardNetwork(self.lan, board.mac),
            faults,
            clock=self.clock,
            random=Random(self._random.getrandbits(64)),
            damage=self.damage,
            defects=defects,
        )
        self.lines.append(line)
        journal = Journal(check=lambda name, content: content == self.shown(name))
        random = Random(self._random.getrandbits(64))
        return Pi(
            board,
            clock=self.clock,
            network=line,
            journal=journal,
            random=random,
            version=version,
            defects=defects,
        )

    def shown(self, name: str) -> bytes:
        """What a board must get when it asks for a file."""
        content = (self.boot_dir / name.lstrip("/")).read_bytes()
        return content.replace(b"MASTER", str(SERVER).encode()) if name.lstrip("/") == "cmdline.txt" else content

    # Power

    def _switched(self, port: int, on: bool) -> None:
        pi = self.pis[port - 1]
        if on:
            pi.power_on()
        else:
            pi.power_off()

    def pull_cable(self, pi: Pi, seconds: float) -> None:
        """Pull a board's cable, and put it in again after so long."""
        port = self.pis.index(pi) + 1
        pi.power_off()
        self.clock.callLater(seconds, lambda: pi.power_on() if self.switch.delivering(port) else None)

    # The operator

    def order(self, action: Action, *words: str) -> Operation:
        """
        Plan an order and begin with it, however many nodes it is for.

        :raises OperationRefused: when the manager will not.
        """
        found: list[Operation | Failure] = []
        self.ordering(action, *words).addBoth(found.append)
        (result,) = found
        if isinstance(result, Failure):
            result.raiseException()
        assert isinstance(result, Operation)
        return result

    def ordering(self, action: Action, *words: str) -> "Deferred[Operation]":
        """The same, where the disk may be slow: fires when the order is on it."""
        assert self.manager is not None
        return Deferred.fromCoroutine(_order(self.manager.operations, action, words))

    def now(self, operation: Operation) -> Operation:
        """The operation as it is on disk by now."""
        return self.operation_store.operations[operation.id]

    # The manager

    def observe(self, recorded: Recorded) -> None:
        """Remember every event."""
        self.recorded.append(recorded)

    def start_manager(self) -> None:
        """A new process with the files of the old one."""
        last = self.recorded[-1].id if self.recorded else 0
        self.manager = VirtualManager(
            self, VirtualHost(self.lan, SERVER, ahead=self.aheads[-1]), first_id=last + 1
        )

    def wall_clock(self) -> float:
        """What the clock of the manager's computer shows."""
        return self.clock.seconds() + self.aheads[-1]

    def step_clock(self, seconds: float) -> None:
        """Somebody sets the clock of the manager's computer forward, or back."""
        self.aheads.append(self.aheads[-1] + seconds)

    def kill_manager(self) -> None:
        """SIGKILL."""
        if self.manager is not None:
            self.manager.host.crash()
            self.manager = None

    def events(self, kind: type[Event], pi: Pi | None = None) -> list[Any]:
        """The events of one class, of all boards or of one."""
        return [
            one.event
            for one in self.recorded
            if isinstance(one.event, kind) and (pi is None or one.event.mac == MACAddress(pi.board.mac))
        ]

    @property
    def intents(self) -> list[Intent]:
        """All intents on disk."""
        return list(self.intent_store.intents.values())

    # Time

    def run(self, seconds: float = 1800.0) -> bool:
        """Power everything on; whether all boards come up in this time."""
        self.harness.start()
        return self.run_until(lambda: all(pi.is_up for pi in self.pis), seconds)

    def run_until(self, condition: Callable[[], bool], seconds: float = 1800.0) -> bool:
        """Let time pass until something holds; whether it did in this time."""
        end = self.clock.seconds() + seconds
        while not condition():
            calls = self.clock.getDelayedCalls()
            moment = min((call.getTime() for call in calls), default=end)
            if moment > end or not calls:
                return False
            self.clock.advance(max(0.0, moment - self.clock.seconds()))
        return True

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.clock.seconds() + seconds
        while (moment := min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)) < end:
            self.clock.advance(max(0.0, moment - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def finish(self) -> Sequence[Any]:
        """Power off, stop the manager; the delayed calls that are left over (none, if all is well)."""
        self.harness.stop()
        if self.manager is not None:
            self.manager.stop()
        self.clock.advance(1.0)
        return self.clock.getDelayedCalls()


class VirtualAgents:
    """The agents of the boards: those that are up answer."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def get(self, url: str, **options: Any) -> "Deferred[Any]":
        """Ask for a page."""
        host = urlsplit(url).hostname
        for pi in self._scenario.pis:
            if str(pi.address) == host and pi.is_up:
                return succeed(_Page(READING))
        return fail(ConnectError(string="no route to host"))


@attrs.frozen
class _Page:
    """An answer of an agent."""

    body: bytes
    code: int = 200

    def deliverBody(self, protocol: Protocol) -> None:
        """All at once."""
        protocol.dataReceived(self.body)
        protocol.connectionLost(Failure(ResponseDone()))


async def _order(operations: Operations, action: Action, words: Sequence[str]) -> Operation:
    plan = await operations.plan(action, words)
    return await operations.begin(plan, who="ada", source="scenario", yes=True)


def _node(board: Board, address: IPv4Address | None, port: int) -> Node:
    return Node(
        mac=MACAddress(board.mac), hostname=board.hostname, address=address, port=SwitchPort(SWITCH, port)
    )
