# -*- test-case-name: tests.test_web_api -*-
"""
The API, ``/api/v1``: what pages, ``piman-ctl`` and foreign tools ask.  docs/reference/api.md

Each route asks, shapes, returns; whatever goes wrong becomes ``{"error": {"code", "message", "hint"}}`` in one place.
Whatever changes something is a POST, and its event names who asked, and from where.
"""

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from piman.fleet.events import Recorded
from piman.fleet.interfaces import StoreFailed
from piman.fleet.model import MACAddress
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import OperationRefused, Operations
from piman.fleet.operations.orders import Action, Operation
from piman.fleet.operations.target_run import Explanation
from piman.fleet.operations.targets import Atlas, BadTargets, Place
from piman.fleet.walltime import WallTime
from piman.fleet.whereabouts import chart, find, survey
from piman.web import shapes, wishes
from piman.web.asking import answer as _answer
from piman.web.asking import body as _body
from piman.web.asking import parameters as _parameters
from piman.web.asking import whole
from piman.web.image_routes import add_image_routes
from piman.web.openapi import document
from piman.web.shapes import JSON
from piman.web.shelf import Asked, Shelf
from piman.web.stream import History, Stream
from piman.web.switchboard import WAITING, Answer, Switchboard
from piman.web.wishes import Refusal

Why = Callable[[MACAddress], Awaitable[Explanation]]
Labels = Mapping[IPv4Address, str]


@attrs.frozen
class Caller:
    """Who asks."""

    who: str
    """The name of a user."""
    source: str
    """From where: ``control socket``, an address."""


class API:
    """
    All routes.

    :param atlas: what words can name, as of now.
    :param shelf: what is known of images.
    :param why: why a node is where it is, and what to do; it may ask the node's switch first.
    :param caller: who sent a request.
    :param wall: the host's time, in which moments are shown.
    """

    app = Klein()
    add_image_routes(app)
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        registry: NodeRegistry,
        operations: Operations,
        atlas: Callable[[], Atlas],
        history: History,
        shelf: Shelf,
        stream: Stream,
        why: Why,
        caller: Callable[[IRequest], Caller],
        version: str,
        wall: WallTime | None = None,
    ) -> None:
        self._clock = clock
        self._wall = wall or WallTime(clock)
        self._registry = registry
        self._operations = operations
        self._atlas = atlas
        self._history = history
        self.shelf = shelf
        self._stream = stream
        self._why = why
        self._caller = caller
        self._version = version
        self._switchboard = Switchboard(clock, operations.desk)

    def asked(self, request: IRequest) -> Asked:
        """Who asks for a change of images."""
        caller = self._caller(request)
        return Asked(who=caller.who, source=caller.source)

    def resource(self) -> IResource:
        """All routes as one resource."""
        resource: IResource = self.app.resource()
        return resource

    # Nodes

    @app.route("/api/v1/nodes", methods=["GET"])
    def nodes(self, request: IRequest) -> bytes:
        """All nodes, expected places and strangers."""
        wishes.only(_parameters(request))
        atlas, registry = self._atlas(), self._registry
        labels = _labels(atlas)
        busy = self._busy()
        nodes = [self._node(node.mac, labels, busy) for node in registry.nodes()]
        strangers = [self._node(status.mac, labels, busy) for status in registry.strangers()]
        counts = {phase.value: count for phase, count in registry.counts().items()}
        slots = [shapes.slot(slot, labels) for slot in registry.slots()]
        return _answer(request, {"nodes": nodes, "strangers": strangers, "slots": slots, "counts": counts})

    @app.route("/api/v1/nodes/<name>", methods=["GET"])
    async def node(self, request: IRequest, name: str) -> bytes:
        """One node, and why it is where it is."""
        mac = self._board(name)
        why = shapes.explanation(await self._why(mac))
        return _answer(request, {**self._node(mac, _labels(self._atlas()), self._busy()), "why": why})

    @app.route("/api/v1/nodes/<name>/why", methods=["GET"])
    async def node_why(self, request: IRequest, name: str) -> bytes:
        """Why a node is where it is."""
        mac = self._board(name)
        why = shapes.explanation(await self._why(mac))
        node = self._registry.node(mac)
        known = {"id": str(mac), "name": node.name if node else str(mac)}
        status = self._wall.to_wall(self._registry.status(mac))
        seen = {"phase": status.phase.value, "since": status.since}
        return _answer(request, {**known, **seen, **why})

    @app.route("/api/v1/nodes/<name>/events", methods=["GET"])
    def node_events(self, request: IRequest, name: str) -> "Deferred[bytes]":
        """The stored events of a node."""
        return self._events(request, self._board(name))

    def _board(self, name: str) -> MACAddress:
        return wishes.board(name, self._atlas(), self._registry.strangers())

    def _node(self, mac: MACAddress, labels: Labels, busy: Mapping[MACAddress, Operation]) -> JSON:
        seen = self._wall.to_wall(self._registry.status(mac))
        return shapes.node(self._registry.node(mac), seen, busy.get(mac), labels)

    def _busy(self) -> Mapping[MACAddress, Operation]:
        """The operations that boards are in."""
        return {
            report.target.mac: operation
            for operation in self._operations.operations()
            for report in operation.reports
            if report.target.mac is not None and not report.step.is_final
        }

    # Events

    @app.route("/api/v1/events", methods=["GET"])
    def events(self, request: IRequest) -> "Deferred[bytes]":
        """Stored events of all nodes, or of one."""
        name = wishes.word(_parameters(request), "node")
        return self._events(request, self._board(name) if name is not None else None)

    def _events(self, request: IRequest, mac: MACAddress | None) -> "Deferred[bytes]":
        parameters = _parameters(request)
        wishes.only(parameters, "after", "limit", "node")
        after = wishes.number(parameters, "after", 0)
        limit = wishes.number(parameters, "limit", wishes.USUAL_EVENTS, wishes.MOST_EVENTS)
        newest = wishes.word(parameters, "after") is None
        found = self._history.events(mac=mac, after=after, limit=limit, newest=newest)
        return found.addCallback(self._events_shown, request)

    def _events_shown(self, events: list[Recorded], request: IRequest) -> bytes:
        return _answer(request, {"events": [shapes.event(self._wall.to_wall(recorded)) for recorded in events]})

    @app.route("/api/v1/events/stream", methods=["GET"])
    def stream(self, request: IRequest) -> "Deferred[None]":
        """Events and changes of operations as they happen."""
        parameters = _parameters(request)
        wishes.only(parameters, "node", "operation", "after")
        name, operation = wishes.word(parameters, "node"), wishes.word(parameters, "operation")
        if operation is not None:
            self._operation(operation)
        mac = self._board(name) if name is not None else None
        return self._stream.open(request, after=_resume_after(request), mac=mac, operation=operation)

    # Switches, and what hangs on them

    @app.route("/api/v1/switches", methods=["GET"])
    async def switches(self, request: IRequest) -> bytes:
        """All switches, with the power of their ports where they answer."""
        wishes.only(_parameters(request))
        atlas = self._atlas()
        answers = await self._switchboard.answers()
        shown = [self._switch(place, atlas, answers.get(place.address, WAITING)) for place in atlas.places]
        return _answer(request, {"switches": shown})

    def _switch(self, place: Place, atlas: Atlas, answer: Answer) -> JSON:
        nodes = {node.port.port: node for node in atlas.nodes if node.port and node.port.switch == place.address}
        slots = {slot.port.port: slot for slot in atlas.slots if slot.port.switch == place.address}
        powers = {power.port: power for power in answer.ports}
        ports = [
            {
                "port": number,
                "node": str(nodes[number].mac) if number in nodes else None,
                "name": nodes[number].name if number in nodes else None,
                "expected": str(slots[number].address) if number in slots else None,
                "protected": number in place.protected_ports,
                "power": shapes.power(powers[number]) if number in powers else None,
            }
            for number in sorted({*nodes, *slots, *powers, *place.protected_ports})
        ]
        told = {"reachable": answer.reachable, "reason": answer.reason, "remedy": answer.remedy}
        budget = attrs.asdict(answer.budget) if answer.budget else None
        return shapes.switch(place, ports, {**told, "budget": budget})

    @app.route("/api/v1/ports/<name>", methods=["GET"])
    async def find_port(self, request: IRequest, name: str) -> bytes:
        """Where a board hangs."""
        atlas = self._atlas()
        node = atlas.node(name)
        seen = await whole(survey(self._operations.desk, atlas))
        found = find(node.mac if node else wishes.mac(name), atlas, seen.learned)
        return _answer(request, shapes.whereabouts(found, _labels(atlas), seen.silent))

    @app.route("/api/v1/map", methods=["GET"])
    async def map(self, request: IRequest) -> bytes:
        """Which board hangs on which port, who it is, and the lines that would make strangers nodes."""
        wishes.only(_parameters(request))
        atlas, registry = self._atlas(), self._registry
        seen = await whole(survey(self._operations.desk, atlas))
        rows = chart(atlas, seen.learned, [status.mac for status in registry.strangers()])
        labels, to_wall = _labels(atlas), self._wall.to_wall
        shown = [
            shapes.row(row, to_wall(registry.status(row.board.mac)) if row.board else None, labels) for row in rows
        ]
        silent = [{"switch": str(address), "reason": reason} for address, reason in seen.silent.items()]
        return _answer(request, {"rows": shown, "silent": silent})

    # Operations

    @app.route("/api/v1/operations", methods=["GET"])
    def operations(self, request: IRequest) -> bytes:
        """All operations that are remembered, without their reports, the newest last."""
        wishes.only(_parameters(request))
        known = map(self._wall.to_wall, self._operations.operations())
        return _answer(request, {"operations": list(map(shapes.summary, known))})

    @app.route("/api/v1/operations/<identity>", methods=["GET"])
    def operation(self, request: IRequest, identity: str) -> bytes:
        """One operation."""
        return _answer(request, self._shape(self._operation(identity)))

    @app.route("/api/v1/operations", methods=["POST"])
    async def order(self, request: IRequest) -> bytes:
        """Plan an order, and carry it out unless it is a dry run."""
        wish = wishes.read_wish(wishes.read_body(_body(request)))
        if wish.image:
            self.shelf.require(wish.image)
        plan = await whole(
            self._operations.plan(
                wish.action, wish.nodes, image=wish.image, at_most=wish.at_most, stop_after=wish.stop_after
            )
        )
        shown = shapes.plan(plan, _labels(self._atlas()))
        if wish.action is Action.REINSTALL:
            macs = [each.target.mac for each in plan.targets if each.target.mac is not None]
            shown["images"] = self.shelf.outlook(macs, wish.image)
        if wish.dry_run:
            return _answer(request, {"plan": shown, "operation": None})
        caller = self._caller(request)
        begun = await whole(self._operations.begin(plan, who=caller.who, source=caller.source, yes=wish.yes))
        request.setHeader(b"location", f"/api/v1/operations/{begun.id}".encode("ascii"))
        return _answer(request, {"plan": shown, "operation": self._shape(begun)}, 201)

    @app.route("/api/v1/operations/<identity>/cancel", methods=["POST"])
    async def cancel(self, request: IRequest, identity: str) -> bytes:
        """Begin with nothing more of an operation."""
        self._operation(identity)
        caller = self._caller(request)
        cancelled = await whole(self._operations.cancel(identity, who=caller.who, source=caller.source))
        return _answer(request, self._shape(cancelled))

    def _operation(self, identity: str) -> Operation:
        found = self._operations.operation(identity)
        if found is None:
            hint = "GET /api/v1/operations (piman-ctl operations) names those that are remembered."
            raise Refusal(404, "no-such-operation", f"found no operation {identity!r}", hint)
        return found

    def _shape(self, operation: Operation) -> JSON:
        return shapes.operation(self._wall.to_wall(operation), _labels(self._atlas()))

    # The rest

    @app.route("/healthz", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """That the manager runs."""
        return _answer(request, {"status": "ok", "version": self._version, "time": self._wall.now()})

    @app.route("/openapi.json", methods=["GET"])
    def openapi(self, request: IRequest) -> bytes:
        """This API, described for programs."""
        return _answer(request, document(self._version))

    # What goes wrong

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """The one place where errors become answers."""
        refusal = _refusal(failure.value, request)
        if refusal is None:
            self._log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
            hint = "Its log tells which: please report it."
            refusal = Refusal(500, "our-mistake", "the manager made a mistake", hint)
        error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
        return _answer(request, {"error": error}, refusal.status)


def _refusal(error: BaseException | None, request: IRequest) -> Refusal | None:
    """What an error means to whoever asked; None: it is our own mistake."""
    match error:
        case Refusal():
            return error
        case BadTargets():
            return Refusal(422, "bad-targets", "; ".join(error.problems), "Nothing was changed.")
        case OperationRefused():
            hint = error.hint[:1].upper() + error.hint[1:]
            return Refusal(409, "refused", error.reason, hint or "Nothing was changed.")
        case StoreFailed():
            reason = f"the manager could not write it down: {error}"
            return Refusal(503, "not-on-disk", reason, "Free space on its disk.")
        case MethodNotAllowed():
            allowed = ", ".join(sorted(error.valid_methods or ()))
            request.setHeader(b"allow", allowed.encode("ascii"))
            method = request.method.decode("ascii", "replace")
            return Refusal(405, "method-not-allowed", f"found {method}, expected {allowed}", f"Use {allowed}.")
        case NotFound():
            path = request.path.decode("utf-8", "replace")
            return Refusal(404, "no-such-path", f"found nothing at {path}", "GET /openapi.json names all paths.")
        case HTTPException():
            return Refusal(error.code or 400, "bad-request", error.name, error.description or "")
    return None


def _labels(atlas: Atlas) -> Labels:
    return {place.address: place.label for place in atlas.places}


def _resume_after(request: Any) -> int | None:
    """
    The number of the last event that a reader of the stream knows: what its browser says counts more than its address.

    :raises Refusal: when it is no number.
    """
    parameters = _parameters(request)
    header = request.getHeader(b"last-event-id")
    if header:
        return wishes.number({b"after": [header]}, "after", 0)
    return wishes.number(parameters, "after", 0) if b"after" in parameters else None
