"""
What the tests of the API share: a manager's half in memory, and a schema checker.
"""

import json
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import urlencode

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from piman.fleet.assignment import assigned
from piman.fleet.diagnosis import Verdict
from piman.fleet.eventlog import EventLog
from piman.fleet.events import Recorded
from piman.fleet.interfaces import IEventObserver, IImages, ImageMissing
from piman.fleet.model import Image, MACAddress, Node, Slot, SwitchPort
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations, OperationSettings
from piman.fleet.operations.contract import Explanation
from piman.fleet.operations.orders import Operation
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
from piman.web.openapi import SCHEMAS
from piman.web.recalled import Recalled
from piman.web.shelf import Shelf
from piman.web.standings import Standings
from piman.web.stream import Stream

RACK = IPv4Address("172.30.4.254")
PI2, PI3, STRANGER = (MACAddress.parse(f"b8:27:eb:00:00:{number:02x}") for number in (2, 3, 9))
NODES = (
    Node(mac=PI2, hostname="pi2", address=IPv4Address("172.30.4.2"), port=SwitchPort(RACK, 2)),
    Node(mac=PI3, hostname="pi3", address=IPv4Address("172.30.4.3"), port=SwitchPort(RACK, 3)),
)
SLOTS = (Slot(address=IPv4Address("172.30.4.5"), port=SwitchPort(RACK, 5)),)
DEFAULT_DIGEST = "ab" * 32
NOW = 1_750_000_000.0
VERSION = "2.0.0"


@implementer(IEventObserver)
class MemoryHistory:
    """Keeps durable events; what :class:`piman.fleet.state.history.HistoryStore` does, without a disk."""

    def __init__(self) -> None:
        self.kept: list[Recorded] = []

    def observe(self, recorded: Recorded) -> None:
        """Keep it."""
        if recorded.event.durable:
            self.kept.append(recorded)

    def events(
        self,
        *,
        mac: MACAddress | None = None,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        newest: bool = False,
        kinds: Collection[str] = (),
    ) -> "Deferred[list[Recorded]]":
        """As the history does."""
        found = [
            each
            for each in self.kept
            if after < each.id < (before or float("inf"))
            and mac in (None, each.event.mac)
            and (not kinds or type(each.event).__name__ in kinds)
        ]
        return succeed(found[-limit:] if newest else found[:limit])


@implementer(IImages)
class MemoryImages:
    """
    One image with a digest, one without a file, those of :attr:`slow` that are never hashed, those of :attr:`more`.

    :ivar more: digests by name.
    :ivar troubles: what is wrong with an image, by name.
    """

    def __init__(self) -> None:
        self.slow: list[str] = []
        self.more: dict[str, str] = {}
        self.troubles: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return ("default", "lost", *self.slow, *self.more)

    def image(self, name: str) -> "Deferred[Image]":
        """The image."""
        if name == "lost":
            return fail(ImageMissing("lost: no such file"))
        if name in self.slow:
            return Deferred()
        digest = self.more.get(name, DEFAULT_DIGEST)
        return succeed(Image(name=name, path="/srv/rootfs.tgz", digest=digest, size_bytes=7, modified_ns=5 * 10**9))

    def trouble(self, name: str) -> "Deferred[str]":
        """What the test says of it."""
        if name == "lost":
            return fail(ImageMissing("lost: no such file"))
        return succeed(self.troubles.get(name, ""))


class SlowStore(MemoryOperationStore):
    """
    A store whose disk takes its time.

    :ivar waiting: saves that are not on disk; None: it is fast.
    """

    waiting: "list[Deferred[None]] | None" = None

    def save_operation(self, operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """Keep it; say so at once or when the test does."""
        saved = super().save_operation(operation, indexes)
        if self.waiting is None:
            return saved
        self.waiting.append(Deferred())
        return self.waiting[-1]


class Half:
    """The manager's half that the API speaks of."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.switch = MemoryPowerSwitch(label="rack-a")
        self.registry = NodeRegistry(NODES, SLOTS)
        self.log = EventLog(self.clock)
        self.history, self.images, self.store = MemoryHistory(), MemoryImages(), SlowStore()
        self.desk = PowerDesk(self.clock, {RACK: self.switch})
        self.caller = Caller("ada", "control socket")
        places = (Place(address=RACK, label="rack-a", protected_ports=frozenset({8})),)
        atlas = Atlas(places=places, nodes=NODES, slots=SLOTS)
        self.operations = Operations(
            self.clock,
            desk=self.desk,
            atlas=lambda: atlas,
            nodes=self.registry,
            store=self.store,
            intents=IntentBook(MemoryIntentStore(), self.clock, self.log),
            events=self.log,
            settings=OperationSettings(**settings),
        )
        self.choices_store = MemoryImageChoiceStore()
        self.choices = ImageChoices(self.choices_store, self.log)
        self.tags: dict[str, tuple[MACAddress, ...]] = {}
        self.tag_images: dict[str, str] = {}
        self.choices.watchers.append(self.assign_images)
        self.shelf = Shelf(
            self.clock,
            images=self.images,
            choices=self.choices,
            registry=self.registry,
            atlas=lambda: atlas,
            tags=lambda: self.tags,
            wall=WallTime(self.clock),
        )
        self.faults: dict[MACAddress, Verdict] = {}
        self.standings = Standings(
            self.clock, registry=self.registry, judge=lambda mac: self.faults.get(mac, Verdict(None, "It is well."))
        )
        self.stream = Stream(
            self.clock,
            operations=self.operations,
            history=self.history,
            last_id=lambda: self.log.last_id,
            labels=lambda: {RACK: "rack-a"},
            standings=self.standings,
        )
        for observer in (self.registry, self.operations, self.history, self.stream):
            self.log.add_observer(observer)
        self.recent = RecentReadings(self.clock)
        self.answers = Answers(
            self.clock,
            registry=self.registry,
            operations=self.operations,
            atlas=lambda: atlas,
            history=self.history,
            why=lambda mac: succeed(Explanation(f"why {mac}", "Do something.")),
            wall=WallTime(self.clock),
            recalled=Recalled(self.recent, WallTime(self.clock), lambda: 105.0),
        )
        self.api = API(
            self.answers,
            registry=self.registry,
            operations=self.operations,
            atlas=lambda: atlas,
            shelf=self.shelf,
            stream=self.stream,
            caller=lambda request: self.caller,
            version=VERSION,
            wall=WallTime(self.clock),
        )
        self.treq = StubTreq(self.api.resource())

    def assign_images(self) -> None:
        """What the manager does when a choice or a file changes."""
        tagged = [
            attrs.evolve(node, tags=tuple(tag for tag, members in self.tags.items() if node.mac in members))
            for node in NODES
        ]
        self.registry.replace_nodes(assigned(tagged, self.tag_images, self.choices.all), SLOTS)


class InHalf(SynchronousTestCase):
    """Asks the API of a half."""

    def setUp(self) -> None:
        """A half at rest."""
        self.half = Half()

    def ask(self, method: str, path: str, body: bytes | None = None, **parameters: Any) -> tuple[int, Any]:
        """Status and body of an answer that is there at once."""
        status, found = self.successResultOf(self.ask_slowly(method, path, body, **parameters))
        return status, found

    def ask_slowly(
        self, method: str, path: str, body: bytes | None = None, **parameters: Any
    ) -> "Deferred[tuple[int, Any]]":
        """Status and body, when it is there."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return Deferred.fromCoroutine(self._ask(method, f"http://piman{path}{query}", body))

    async def _ask(self, method: str, url: str, body: bytes | None) -> tuple[int, Any]:
        response = await self.half.treq.request(method, url, data=body)
        text = await response.content()
        return response.code, json.loads(text)

    def get(self, path: str, schema: str, **parameters: Any) -> Any:
        """The body of a good answer, which fits its schema."""
        status, found = self.ask("GET", path, **parameters)
        self.assertEqual(status, 200, found)
        self.fits(found, schema)
        return found

    def refused(
        self, method: str, path: str, body: bytes | None = None, **parameters: Any
    ) -> tuple[int, str, str, str]:
        """Status, code, message and hint of a refusal."""
        status, found = self.ask(method, path, body, **parameters)
        self.fits(found, "Error")
        error = found["error"]
        return status, error["code"], error["message"], error["hint"]

    def order(self, **body: Any) -> tuple[int, Any]:
        """POST an order."""
        return self.ask("POST", "/api/v1/operations", json.dumps(body).encode())

    def fits(self, value: Any, schema: str) -> None:
        """A value fits a schema of the OpenAPI document."""
        self.assertEqual(mistakes(value, {"$ref": f"#/components/schemas/{schema}"}), [])


TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def mistakes(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Where a value does not fit a schema: the part of JSON Schema that the document uses, and nothing else."""
    unknown = (
        set(schema)
        - {"$ref", "anyOf", "type", "enum", "items", "properties", "required"}
        - {
            "additionalProperties",
            "description",
            "pattern",
        }
    )
    if unknown:
        return [f"{where}: the checker does not know {sorted(unknown)}"]
    if "$ref" in schema:
        return mistakes(value, SCHEMAS[schema["$ref"].removeprefix("#/components/schemas/")], where)
    if "anyOf" in schema:
        tried = [mistakes(value, each, where) for each in schema["anyOf"]]
        return [] if [] in tried else [each for found in tried for each in found]
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, TYPES[name]) and (name == "boolean") == isinstance(value, bool) for name in names):
        return [f"{where}: {value!r} is no {names}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if isinstance(value, list):
        return [
            each for index, item in enumerate(value) for each in mistakes(item, schema["items"], f"{where}[{index}]")
        ]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        found = [f"{where}: {name} is missing" for name in schema["required"] if name not in value]
        found += [f"{where}: {name} is not described" for name in value if name not in known]
        return found + [
            each
            for name, item in value.items()
            if name in known
            for each in mistakes(item, known[name], f"{where}.{name}")
        ]
    return []
