# -*- test-case-name: tests.scenario.test_boot -*-
"""
The manager of a scenario: all its real services on a virtual host, and the agents that it asks.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from piman.boot.files import BootFiles
from piman.boot.image_http import ImageHTTPSettings, image_http_service
from piman.boot.image_tcp import ImageSettings, image_service
from piman.boot.images import ImageLibrary
from piman.dhcp import DHCPSettings, dhcp_service
from piman.fleet.answer_times import AnswerTimes
from piman.fleet.arrivals import Arrivals
from piman.fleet.casebook import Casebook
from piman.fleet.clock_steps import ClockSteps
from piman.fleet.eventlog import EventLog
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.recovery import LOOK_SECONDS, Recovery
from piman.fleet.operations.targets import Atlas, Place
from piman.fleet.state.intents import IntentBook
from piman.fleet.state.leases import LeaseTable
from piman.fleet.state.pool import Pool
from piman.fleet.walltime import WallTime, WallTimedIntents, WallTimedLeases, WallTimedOperations
from piman.hello import HelloSettings, hello_service
from piman.monitor.poller import PollerSettings, poller_service
from piman.testing.fakes import MemoryNeighbours
from piman.testing.virtual_host import VirtualHost, VirtualLink
from piman.tftp import TFTPSettings, tftp_service

if TYPE_CHECKING:
    from piman.testing.scenario import Scenario

NETWORK = IPv4Network("172.30.4.0/22")
SERVER = IPv4Address("172.30.4.1")
FIRST_SWITCH = IPv4Address("172.30.4.254")
POOL_FIRST, POOL_LAST = IPv4Address("172.30.4.100"), IPv4Address("172.30.4.199")
READING = (
    b'{"time": 1, "cpu_percent": 1, "memory_percent": 1, "disk_percent": 1, "num_pids": 80, "temp": 40}'
)
"""What an agent tells."""

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
        self.answers = AnswerTimes(host)
        self.operations = self._operations(scenario)
        self.recovery = Recovery(
            host,
            book=self.operations,
            casebook=self.casebook,
            nodes=self.registry,
            intents=self.intents,
            events=self.events,
            label=label_of,
            settings=scenario.recovery,
        )
        self._looking = LoopingCall(lambda: Deferred.fromCoroutine(self.recovery.look()))
        self._looking.clock = host
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
        if scenario.recovery.enabled:
            self._looking.start(LOOK_SECONDS, now=False)

    def _operations(self, scenario: "Scenario") -> Operations:
        operations = Operations(
            self.host,
            desk=PowerDesk(self.host, scenario.racks),
            atlas=lambda: Atlas(places=tuple(_place(scenario, each) for each in scenario.racks), nodes=scenario.nodes),
            nodes=self.registry,
            store=WallTimedOperations(scenario.operation_store, self.wall),
            intents=self.intents,
            events=self.events,
            explain=self.casebook.explain,
            is_stuck=self.casebook.is_stuck,
            is_crowded=self.answers.is_crowded,
            settings=scenario.settings,
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
        tftp = tftp_service(
            self.host,
            settings=TFTPSettings(network=NETWORK),
            files=files,
            addresses=self.leases,
            events=self.events,
            answers=self.answers,
            plain=True,
        )
        self.events.add_observer(tftp)
        return [
            *([monitor] if scenario.has_agents else []),
            tftp,
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
        if self._looking.running:
            self._looking.stop()
        Deferred.fromCoroutine(self.operations.stop())
        for service in reversed(self._services):
            maybeDeferred(service.stopService)
        self.clock_steps.end()


def _at_once(work: Callable[[], str]) -> "Deferred[str]":
    return succeed(work())


class VirtualAgents:
    """The agents of the boards: those that are up answer."""

    def __init__(self, scenario: "Scenario") -> None:
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


def _place(scenario: "Scenario", switch: IPv4Address) -> Place:
    protected = frozenset(port.port for port in scenario.protected if port.switch == switch)
    return Place(address=switch, label=label_of(switch), protected_ports=protected)


def label_of(switch: IPv4Address) -> str:
    """What the operator calls a switch: ``rack-a`` is the one at 172.30.4.254, the others follow downwards."""
    return f"rack-{chr(ord('a') + (int(FIRST_SWITCH) - int(switch)) // 256)}"
