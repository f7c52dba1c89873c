# -*- test-case-name: tests.test_web_api -*-
"""
The API, ``/api/v1``: what pages, ``piman-ctl`` and foreign tools ask.  docs/reference/api.md

Each route asks, shapes, returns; whatever goes wrong becomes ``{"error": {"code", "message", "hint"}}`` in one place.
Whatever changes something is a POST, and its event names who asked, and from where.
"""

from collections.abc import Callable
from typing import Any

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from piman.fleet.interfaces import StoreFailed
from piman.fleet.model import MACAddress
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations
from piman.fleet.operations.orders import Action
from piman.fleet.operations.planning import OperationRefused
from piman.fleet.operations.targets import Atlas, BadTargets
from piman.fleet.walltime import WallTime
from piman.fleet.whereabouts import chart, find, survey
from piman.web import shapes, wishes
from piman.web.answers import Answers
from piman.web.asking import answer as _answer
from piman.web.asking import body as _body
from piman.web.asking import parameters as _parameters
from piman.web.asking import whole
from piman.web.image_routes import add_image_routes
from piman.web.openapi import document
from piman.web.shelf import Asked, Shelf
from piman.web.stream import Stream
from piman.web.wishes import Refusal


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
        answers: Answers,
        *,
        registry: NodeRegistry,
        operations: Operations,
        atlas: Callable[[], Atlas],
        shelf: Shelf,
        stream: Stream,
        caller: Callable[[IRequest], Caller],
        version: str,
        wall: WallTime,
    ) -> None:
        self.answers = answers
        self.shelf = shelf
        self._wall = wall
        self._registry = registry
        self._operations = operations
        self._atlas = atlas
        self._stream = stream
        self._caller = caller
        self._version = version

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
        return _answer(request, self.answers.nodes())

    @app.route("/api/v1/nodes/<name>", methods=["GET"])
    async def node(self, request: IRequest, name: str) -> bytes:
        """One node, and why it is where it is."""
        return _answer(request, await self.answers.node(self.answers.board(name)))

    @app.route("/api/v1/nodes/<name>/why", methods=["GET"])
    async def node_why(self, request: IRequest, name: str) -> bytes:
        """Why a node is where it is."""
        return _answer(request, await self.answers.why(self.answers.board(name)))

    @app.route("/api/v1/nodes/<name>/events", methods=["GET"])
    async def node_events(self, request: IRequest, name: str) -> bytes:
        """The stored events of a node."""
        return await self._events(request, self.answers.board(name))

    @app.route("/api/v1/nodes/<name>/readings", methods=["GET"])
    async def node_readings(self, request: IRequest, name: str) -> bytes:
        """What a node's agent told over time."""
        recalled = self.answers.recalled
        question = recalled.question(_parameters(request))
        return _answer(request, await recalled.answer(self.answers.board(name), question))

    # Events

    @app.route("/api/v1/events", methods=["GET"])
    async def events(self, request: IRequest) -> bytes:
        """Stored events of all nodes, or of one."""
        name = wishes.word(_parameters(request), "node")
        return await self._events(request, self.answers.board(name) if name is not None else None)

    async def _events(self, request: IRequest, mac: MACAddress | None) -> bytes:
        parameters = _parameters(request)
        wishes.only(parameters, "after", "limit", "node")
        after = wishes.number(parameters, "after", 0)
        limit = wishes.number(parameters, "limit", wishes.USUAL_EVENTS, wishes.MOST_EVENTS)
        newest = wishes.word(parameters, "after") is None
        found = await self.answers.recorded(mac=mac, after=after, limit=limit, newest=newest)
        return _answer(request, {"events": list(map(shapes.event, found))})

    @app.route("/api/v1/events/stream", methods=["GET"])
    def stream(self, request: IRequest) -> "Deferred[None] | bytes":
        """Events and changes of operations as they happen."""
        parameters = _parameters(request)
        wishes.only(parameters, "node", "operation", "after", "nodes")
        name, operation = wishes.word(parameters, "node"), wishes.word(parameters, "operation")
        if operation is not None:
            self.answers.find_operation(operation)
        mac = self.answers.board(name) if name is not None else None
        nodes = bool(wishes.number(parameters, "nodes", 0, 1))
        after = _resume_after(request)
        if request.method == b"HEAD":  # a stream without a body would never end, and take the place of a reader
            request.setHeader(b"content-type", b"text/event-stream")
            return b""
        return self._stream.open(request, after=after, mac=mac, operation=operation, nodes=nodes)

    # Switches, and what hangs on them

    @app.route("/api/v1/switches", methods=["GET"])
    async def switches(self, request: IRequest) -> bytes:
        """All switches, with the power of their ports where they answer."""
        wishes.only(_parameters(request))
        return _answer(request, await self.answers.switches())

    @app.route("/api/v1/ports/<name>", methods=["GET"])
    async def find_port(self, request: IRequest, name: str) -> bytes:
        """Where a board hangs."""
        atlas = self._atlas()
        node = atlas.node(name)
        seen = await whole(survey(self._operations.desk, atlas))
        found = find(node.mac if node else wishes.mac(name), atlas, seen.learned)
        return _answer(request, shapes.whereabouts(found, self.answers.labels(), seen.silent))

    @app.route("/api/v1/map", methods=["GET"])
    async def map(self, request: IRequest) -> bytes:
        """Which board hangs on which port, who it is, and the lines that would make strangers nodes."""
        wishes.only(_parameters(request))
        atlas, registry = self._atlas(), self._registry
        seen = await whole(survey(self._operations.desk, atlas))
        rows = chart(atlas, seen.learned, [status.mac for status in registry.strangers()])
        labels, to_wall = self.answers.labels(), self._wall.to_wall
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
        return _answer(request, self.answers.operations())

    @app.route("/api/v1/operations/<identity>", methods=["GET"])
    def operation(self, request: IRequest, identity: str) -> bytes:
        """One operation."""
        return _answer(request, self.answers.operation(self.answers.find_operation(identity)))

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
        shown = shapes.plan(plan, self.answers.labels())
        if wish.action is Action.REINSTALL:
            macs = [each.target.mac for each in plan.targets if each.target.mac is not None]
            shown["images"] = self.shelf.outlook(macs, wish.image)
        if wish.dry_run:
            return _answer(request, {"plan": shown, "operation": None})
        caller = self._caller(request)
        begun = await whole(self._operations.begin(plan, who=caller.who, source=caller.source, yes=wish.yes))
        request.setHeader(b"location", f"/api/v1/operations/{begun.id}".encode("ascii"))
        return _answer(request, {"plan": shown, "operation": self.answers.operation(begun)}, 201)

    @app.route("/api/v1/operations/<identity>/cancel", methods=["POST"])
    async def cancel(self, request: IRequest, identity: str) -> bytes:
        """Begin with nothing more of an operation."""
        self.answers.find_operation(identity)
        caller = self._caller(request)
        cancelled = await whole(self._operations.cancel(identity, who=caller.who, source=caller.source))
        return _answer(request, self.answers.operation(cancelled))

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
        refusal = refusal_of(failure.value, request)
        if refusal is None:
            self._log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
            hint = "Its log tells which: please report it."
            refusal = Refusal(500, "our-mistake", "the manager made a mistake", hint)
        error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
        return _answer(request, {"error": error}, refusal.status)


def refusal_of(error: BaseException | None, request: IRequest) -> Refusal | None:
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
