"""
What the tests of the pages share: racks of any size in every state, and a small site around the pages.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.static import File
from zope.interface import implementer

from piman.fleet import events
from piman.fleet.casebook import Casebook
from piman.fleet.eventlog import EventLog
from piman.fleet.events import Event, Recorded
from piman.fleet.interfaces import IEventObserver
from piman.fleet.model import MACAddress, Node, Slot, Stage, SwitchPort
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations, OperationSettings
from piman.fleet.operations.contract import Explanation
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.targets import Atlas, Place
from piman.fleet.state.image_choices import ImageChoices
from piman.fleet.state.intents import IntentBook
from piman.fleet.walltime import WallTime
from piman.monitor.recent import RecentReadings
from piman.testing.fakes import MemoryImageChoiceStore, MemoryIntentStore, MemoryOperationStore
from piman.testing.power import MemoryPowerSwitch
from piman.web.answers import Answers
from piman.web.api import API, Caller
from piman.web.pages.resource import Pages
from piman.web.recalled import Recalled
from piman.web.shelf import Shelf
from piman.web.standings import Standings
from piman.web.stream import Stream
from tests.web_support import MemoryHistory, MemoryImages

STATIC = Path(__file__).resolve().parent.parent / "piman/web/static"
NOW = 1_780_000_000.0
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
IMAGE_DIGEST = "ab" * 32


def mac_of(number: int) -> MACAddress:
    """The MAC of the board of this number."""
    return MACAddress(b"\xb8\x27\xeb" + number.to_bytes(3, "big"))


class Wall:
    """
    A rack of switches and boards, as the manager knows it.

    :ivar nodes: in the order of their ports.
    """

    def __init__(self, switches: int, ports: int, *, clock: Any = None, names: str = "pi-{switch}-{port:02}") -> None:
        if clock is None:
            clock = Clock()
            clock.advance(NOW)
        self.clock = clock
        self.places = tuple(
            Place(address=IPv4Address(f"10.77.{number}.254"), label=f"rack-{number}")
            for number in range(1, switches + 1)
        )
        self.nodes = tuple(
            Node(
                mac=mac_of(place * 1000 + port),
                hostname=names.format(switch=place + 1, port=port),
                address=IPv4Address(f"10.77.{place + 1}.{port}"),
                port=SwitchPort(self.places[place].address, port),
            )
            for place in range(switches)
            for port in range(1, ports + 1)
        )
        self.slots: tuple[Slot, ...] = ()
        self.registry = NodeRegistry(self.nodes, self.slots)
        self.casebook = Casebook(self.clock, nodes=self.registry)
        self.log, self.history, self.images = EventLog(self.clock), MemoryHistory(), MemoryImages()
        numbers = range(1, ports + 1)
        self.switches = {place.address: MemoryPowerSwitch(numbers, label=place.label) for place in self.places}
        self.operations = Operations(
            self.clock,
            desk=PowerDesk(self.clock, dict(self.switches)),
            atlas=self.atlas,
            nodes=self.registry,
            store=MemoryOperationStore(),
            intents=IntentBook(MemoryIntentStore(), self.clock, self.log),
            events=self.log,
            explain=self.casebook.explain,
            settings=OperationSettings(),
        )
        self.standings = Standings(self.clock, registry=self.registry, judge=self.casebook.why)
        self.stream = Stream(
            self.clock,
            operations=self.operations,
            history=self.history,
            last_id=lambda: self.log.last_id,
            labels=lambda: {place.address: place.label for place in self.places},
            standings=self.standings,
        )
        for observer in (self.registry, self.casebook, self.operations, self.history, self.stream):
            self.log.add_observer(observer)
        wall = WallTime(clock)
        self.shelf = Shelf(
            clock,
            images=self.images,
            choices=ImageChoices(MemoryImageChoiceStore(), self.log),
            registry=self.registry,
            atlas=self.atlas,
            tags=lambda: {},
            wall=wall,
        )
        self.recent = RecentReadings(clock)
        self.answers = Answers(
            clock,
            registry=self.registry,
            operations=self.operations,
            atlas=self.atlas,
            history=self.history,
            why=self._why,
            wall=wall,
            recalled=Recalled(self.recent, WallTime(clock), lambda: 105.0),
        )
        self.api = API(
            self.answers,
            registry=self.registry,
            operations=self.operations,
            atlas=self.atlas,
            shelf=self.shelf,
            stream=self.stream,
            caller=lambda request: Caller("ada", "127.0.0.1"),
            version="2.0.0",
            wall=wall,
        )
        self.is_away = False
        self.role, self.user = "operator", "ada"
        self.readings: dict[MACAddress, Any] = {}
        self.pages = Pages(
            self.answers,
            self.standings,
            images=self.shelf.images,
            context=self._context,
            readings=self.readings.get,
        )

    def atlas(self) -> Atlas:
        """What words can name."""
        return Atlas(places=self.places, nodes=self.nodes, slots=self.slots)

    async def _why(self, mac: MACAddress) -> Explanation:
        found = self.casebook.why(mac)
        return Explanation(found.sentence, found.remedy)

    def _context(self, request: IRequest) -> dict[str, Any]:
        return {
            "csrf_token": "t0ken",
            "user": self.user,
            "role": self.role,
            "site_name": "Hall 9",
            "version": "2.0.0",
            "page": "",
        }

    def away(self, is_away: bool) -> None:
        """The manager's stream ends, and nobody can open one until it is back."""
        self.is_away = is_away
        if is_away:
            self.stream.close()

    # What happens

    def emit(self, event: Event) -> None:
        """Something happens."""
        self.log.emit(event)

    def boot(self, node: Node, until: str = "up", seconds: float = 0.0) -> None:
        """
        A boot of a node, up to this phase.

        :param seconds: between two stages, on a clock that can be advanced.
        """
        for phase, event in boot_of(node):
            self.emit(event)
            if phase == until:
                return
            if seconds:
                self.clock.advance(seconds)

    def mix(self) -> None:
        """Bring the nodes into all states, most of them up, always the same ones."""
        ends = ("up", "up", "offered", "up", "up", "loading", "up", "imaging", "up", "starting", "up", "formatting")
        chance = Random(7)
        for index, node in enumerate(self.nodes):
            self.boot(node, "up")
            choice = chance.choice(ends)
            if choice != "up":
                self.boot(node, choice)
            if index % 29 == 3:
                self.emit(events.InstallerFailed(mac=node.mac, reason="the card has no room", code=5))
            elif index % 31 == 5:
                self.emit(events.NodeSilent(mac=node.mac, misses=3, reason="no answer"))
            elif index % 37 == 6:
                self.emit(events.PowerRemoved(mac=node.mac, port=str(node.port), operation=""))
        for number in range(3):
            self.emit(events.StrangerSeen(mac=mac_of(900_000 + number), stage=Stage.ROM, serial="0a0b0c0d", model="3B"))


def boot_of(node: Node) -> Iterator[tuple[str, Event]]:
    """A boot, event by event, with the phase that each leads to."""
    assert node.address is not None
    mac, address = node.mac, node.address
    known: dict[str, Any] = {"serial": mac.octets[2:].hex(), "model": "4B"}
    yield "powered", events.PowerCycled(mac=mac, port=str(node.port), operation="", dark_seconds=2.1)
    yield "offered", events.AddressOffered(mac=mac, address=address, stage=Stage.EEPROM, **known)
    yield "leased", events.AddressLeased(mac=mac, address=address, stage=Stage.EEPROM, expires=NOW + 9e6, **known)
    yield "loading", events.LoadingStarted(mac=mac, name="start4.elf")
    yield "starting", events.AddressLeased(mac=mac, address=address, stage=Stage.KERNEL, expires=NOW + 9e6, **known)
    yield "greeting", events.InstallerConnected(mac=mac, address=address, version=2)
    yield "formatting", events.FormatOrdered(
        mac=mac, intent="1" * 32, attempt=1, image="default", digest=IMAGE_DIGEST
    )
    yield "imaging", events.ImageStarted(mac=mac, intent="1" * 32, door="tcp")
    yield "booting", events.Installed(mac=mac, intent="1" * 32, digest=IMAGE_DIGEST)
    yield "up", events.NodeUp(mac=mac, evidence="agent")


@implementer(IEventObserver)
class Life:
    """
    Boards that boot when their ports are given power.

    :param seconds: of each stage, for the board of this number.
    """

    def __init__(self, wall: Wall, seconds: Callable[[int], float]) -> None:
        self._wall = wall
        self._seconds = seconds
        self._nodes = {node.mac: (index, node) for index, node in enumerate(wall.nodes)}
        wall.log.add_observer(self)

    def observe(self, recorded: Recorded) -> None:
        """Power is given, by an operation."""
        event = recorded.event
        if isinstance(event, (events.PowerCycled, events.PowerGiven)) and event.operation and event.mac in self._nodes:
            index, node = self._nodes[event.mac]
            pace = self._seconds(index)
            for place, (_, later) in enumerate(boot_of(node)):
                if place:
                    self._wall.clock.callLater(place * pace, self._wall.emit, later)


class SmallSite(Resource):
    """The pages, the API and the static files under one root, with the policy that the site sends."""

    isLeaf = True

    def __init__(self, wall: Wall) -> None:
        super().__init__()
        self.wall = wall
        self._api, self._pages = wall.api.resource(), wall.pages.resource()

    def render(self, request: Any) -> Any:
        """By the first part of the path."""
        request.setHeader(b"content-security-policy", POLICY.encode())
        first = request.postpath[0] if request.postpath else b""
        if first == b"static":
            request.postpath.pop(0)
            found: IResource = getChildForRequest(File(str(STATIC)), request)
            return found.render(request)
        if self.wall.is_away:
            request.setResponseCode(503)
            return b""
        if first in (b"api", b"healthz", b"openapi.json"):
            return self._api.render(request)
        return self._pages.render(request)
