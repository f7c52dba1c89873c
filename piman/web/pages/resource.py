# -*- test-case-name: tests.test_web_pages_resource -*-
"""
The pages: rack, nodes, events, images, operations.  Each route asks, shapes, renders; nothing here changes anything.

What a page shows comes from :class:`piman.web.answers.Answers`, the values that the API sends.  Orders go from the
browser to the API.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import NotFound

from piman.fleet.model import MACAddress
from piman.web import shapes, wishes
from piman.web.answers import Answers
from piman.web.api import refusal_of
from piman.web.pages import listing, orders
from piman.web.pages.boots import boots
from piman.web.pages.charts import CHARTED, Chart, beat, chart
from piman.web.pages.rack import rack
from piman.web.recalled import UNITS, USUAL_POINTS, USUAL_SECONDS
from piman.web.refusals import refuse
from piman.web.rendering import page as render
from piman.web.shapes import JSON
from piman.web.standings import Standings
from piman.web.wishes import Refusal

SWITCH_SECONDS = 0.5
"""So long the rack waits for its switches; what they say is there when it is asked for again."""
BOOT_EVENTS = 1000
"""Events of which the boots of a node are made."""
NODE_EVENTS = 25
"""Events on the page of a node."""

Context = Callable[[IRequest], Mapping[str, Any]]
Readings = Callable[[MACAddress], JSON | None]
Images = Callable[[], Awaitable[JSON]]


class Pages:
    """
    All pages.

    :param images: all images, who has and who gets them, as the API tells it.
    :param context: what the frame shows for a request: ``csrf_token``, ``user``, ``role``, ``site_name``, ``version``.
    :param readings: the latest reading of a node's agent, with the ``time`` when it came; None: there is none.
    """

    app = Klein()
    _log = Logger()

    def __init__(
        self,
        answers: Answers,
        standings: Standings,
        *,
        images: Images,
        context: Context,
        readings: Readings = lambda mac: None,
    ) -> None:
        self._answers = answers
        self._standings = standings
        self._images = images
        self._context = context
        self._readings = readings

    def resource(self) -> IResource:
        """All pages as one resource."""
        resource: IResource = self.app.resource()
        return resource

    def _page(self, request: Any, template: str, page: str, status: int = 200, **values: Any) -> bytes:
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        context = {**self._context(request), "page": page, "now": self._answers.now()}
        return render(template, context, **values)

    # The rack

    @app.route("/", methods=["GET", "HEAD"])
    async def rack(self, request: IRequest) -> bytes:
        """All switches with what hangs on them."""
        words = wishes.word(_parameters(request), "q") or ""
        await self._standings.look()
        switches = await self._answers.switches(SWITCH_SECONDS)
        shown = rack(self._answers.nodes(), switches, self._fault, words)
        return self._page(request, "rack.html", "rack", rack=shown, running=self._running())

    def _fault(self, mac: str) -> str:
        return self._standings.fault(MACAddress.parse(mac))

    def _running(self) -> list[JSON]:
        now = self._answers.now()
        return [orders.progress(each, now) for each in reversed(self._answers.running())]

    # Nodes

    @app.route("/nodes/<name>", methods=["GET", "HEAD"])
    async def node(self, request: IRequest, name: str) -> bytes:
        """One node: who it is, why it is where it is, its boots."""
        mac = self._answers.board(name)
        await self._standings.look()
        node = await self._answers.node(mac)
        recorded = await self._answers.recorded(mac=mac, limit=BOOT_EVENTS, newest=True)
        found = boots(mac, recorded, self._answers.now())
        return self._page(
            request,
            "node.html",
            "rack",
            node=node,
            fault=self._standings.fault(mac),
            boots=found,
            longest=max((boot.seconds for boot in found), default=0.0) or 1.0,
            events=[shapes.event(each) for each in recorded[: -NODE_EVENTS - 1 : -1]],
            trouble=listing.TROUBLE,
            reading=self._readings(mac),
            charts=await self._charts(mac),
        )

    async def _charts(self, mac: MACAddress) -> list[Chart]:
        """What its agent told over the last hours; of a value that it never told there is none."""
        end = beat(self._answers.now())
        found = []
        for metric, title in CHARTED:
            points = await self._answers.recalled.series(mac, metric, end - USUAL_SECONDS, end, USUAL_POINTS)
            found.append(chart(metric, title, UNITS[metric], points, end, USUAL_SECONDS))
        return [each for each in found if each is not None]

    # Events

    @app.route("/events", methods=["GET", "HEAD"])
    async def events(self, request: IRequest) -> bytes:
        """Stored events, the newest first."""
        wanted = listing.Wanted.of(_parameters(request))
        mac, mistake = self._board_or_mistake(wanted.node)
        found = listing.Found(events=()) if mistake else await listing.find(self._answers, wanted, mac)
        return self._page(
            request,
            "events.html",
            "events",
            wanted=wanted,
            found=found,
            mistake=mistake,
            mac=mac or "",
            names=self._names(),
            kinds=listing.KINDS,
            trouble=listing.TROUBLE,
        )

    def _names(self) -> Mapping[str, str]:
        """What people call the boards."""
        return {node["id"]: node["name"] for node in self._answers.nodes()["nodes"]}

    def _board_or_mistake(self, name: str) -> tuple[MACAddress | None, str]:
        if not name:
            return None, ""
        try:
            return self._answers.board(name), ""
        except Refusal as refusal:
            return None, f"There is no node {name}. {refusal.hint}"

    @app.route("/events/<int:number>", methods=["GET", "HEAD"])
    async def event(self, request: IRequest, number: int) -> bytes:
        """One event, for links."""
        found = await self._answers.recorded(after=number - 1, limit=1) if number < wishes.LARGEST_NUMBER else []
        if not found or found[0].id != number:
            hint = "It was never stored, or is so old that it was removed."
            raise Refusal(404, "no-such-event", f"There is no event {number}", hint)
        return self._page(
            request,
            "event.html",
            "events",
            event=shapes.event(found[0]),
            around=await self._around(number),
            names=self._names(),
            trouble=listing.TROUBLE,
        )

    async def _around(self, number: int) -> tuple[int | None, int | None]:
        """The numbers of the events before and after."""
        older = await self._answers.recorded(before=number, limit=1, newest=True)
        newer = await self._answers.recorded(after=number, limit=1)
        return (older[0].id if older else None), (newer[0].id if newer else None)

    # Images

    @app.route("/images", methods=["GET", "HEAD"])
    async def images(self, request: IRequest) -> bytes:
        """All images, and which nodes have them."""
        return self._page(request, "images.html", "images", known=await self._images())

    # Operations

    @app.route("/operations", methods=["GET", "HEAD"])
    def operations(self, request: IRequest) -> bytes:
        """All operations that are remembered, the newest first."""
        now = self._answers.now()
        whole = {each["id"]: each for each in self._answers.running()}
        known = reversed(self._answers.operations()["operations"])
        shown = [orders.progress(whole.get(each["id"], each), now) for each in known]
        return self._page(request, "operations.html", "operations", operations=shown)

    @app.route("/operations/<identity>", methods=["GET", "HEAD"])
    def operation(self, request: IRequest, identity: str) -> bytes:
        """One operation with all its targets."""
        now = self._answers.now()
        operation = self._answers.operation(self._answers.find_operation(identity))
        reports = [{**each, "spent": orders.stages(each, now)} for each in operation["reports"]]
        shown = orders.progress(operation, now)
        return self._page(request, "operation.html", "operations", operation=shown, reports=reports)

    # What goes wrong

    @app.handle_errors(Exception)
    def failed(self, request: Any, failure: Failure) -> bytes:
        """The one place where errors become pages."""
        refusal = refusal_of(failure.value, request)
        if refusal is None:
            self._log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
            hint = "Its log tells which: please report it."
            refusal = Refusal(500, "our-mistake", "the manager made a mistake", hint)
        if failure.check(NotFound):
            path = request.path.decode("utf-8", "replace")
            refusal = Refusal(404, "no-such-path", f"found nothing at {path}", "The pages above are all there are.")
        context = {**self._context(request), "page": ""}
        return refuse(request, refusal.status, refusal.code, refusal.message, refusal.hint, context=context)


def _parameters(request: Any) -> Mapping[bytes, list[bytes]]:
    return dict(request.args)


