# -*- test-case-name: tests.test_web_grafana -*-
"""
The two data sources on one resource: below ``/grafana/`` of the site, or at the root of a port of its own.

Everything is a question, though most come as POST: nothing here changes anything.  docs/reference/grafana.md
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect

from piman.fleet.events import Recorded
from piman.fleet.interfaces import IReadings, StoreFailed
from piman.fleet.model import MACAddress
from piman.fleet.nodes import NodeRegistry
from piman.fleet.walltime import WallTime
from piman.web.grafana import happenings
from piman.web.grafana.happenings import annotation, choice_of
from piman.web.grafana.questions import MOST_POINTS, MOST_SERIES, Query, Range, Target, body_of, query_of, range_of
from piman.web.grafana.rack import (
    TAGS,
    TITLES,
    VALUES,
    Labels,
    Rack,
    Seen,
    check_tag,
    milliseconds,
    split_target,
    value_named,
)
from piman.web.recalled import with_gaps
from piman.web.wishes import MOST_BODY_BYTES, Refusal

TABLES = ("nodes", "events")
"""Targets that are no series."""
MOST_CHOICES = 50_000
"""Names in one list: all values of 10,000 nodes."""


class TimedHistory(Protocol):
    """What annotations ask of the history."""

    def events_between(
        self, start: float, end: float, *, kinds: Collection[str], limit: int, macs: Collection[MACAddress]
    ) -> "Deferred[list[Recorded]]":
        """As :meth:`piman.fleet.state.history.HistoryStore.events_between`."""


class Grafana:
    """
    All routes, relative to where the resource hangs.

    :param labels: what people call the switches, by address, as of now.
    :param gap_seconds: readings further apart than this have a gap between them, as of now.
    """

    app = Klein()
    _log = Logger()

    def __init__(
        self,
        *,
        nodes: NodeRegistry,
        labels: Callable[[], Labels],
        readings: IReadings,
        history: TimedHistory,
        wall: WallTime,
        gap_seconds: Callable[[], float],
    ) -> None:
        self._rack = Rack(nodes, labels, wall)
        self._readings = readings
        self._history = history
        self._wall = wall
        self._gap_seconds = gap_seconds

    def resource(self) -> IResource:
        """All routes as one resource."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/", methods=["GET"])
    def test(self, request: Any) -> bytes:
        """What "Save & test" asks."""
        _head(request, 200, b"text/plain; charset=utf-8")
        return b"piman answers Grafana here.\n"

    # Lists of what can be asked for

    @app.route("/search", methods=["POST"])
    def search(self, request: IRequest) -> bytes:
        """SimpleJson: the names of all series, or of those that contain what was typed, if any do."""
        typed = body_of(_body(request)).get("target")
        found = [f"{one.address} {title}" for one in self._rack.seen() if one.address for title in VALUES]
        wanted = typed.lower() if isinstance(typed, str) else ""
        matching = [name for name in found if wanted in name.lower()] or found
        return _answer(request, matching[:MOST_CHOICES])

    @app.route("/metrics", methods=["POST"])
    def metrics(self, request: IRequest) -> bytes:
        """simPod: what a panel can show."""
        body_of(_body(request))
        node = {"name": "node", "label": "Node", "type": "multi-select", "placeholder": "all nodes"}
        values = [{"label": title, "value": value, "payloads": [node]} for title, value in VALUES.items()]
        tables: list[Any] = [{"label": name.capitalize(), "value": name, "payloads": []} for name in TABLES]
        return _answer(request, [*values, *tables])

    @app.route("/metric-payload-options", methods=["POST"])
    def payload_options(self, request: IRequest) -> bytes:
        """simPod: the nodes that can be chosen."""
        name = body_of(_body(request)).get("name")
        if name != "node":
            raise Refusal(400, "no-such-payload", f"name: found {name!r:.60}, expected 'node'")
        return _answer(request, [{"label": _shown(one), "value": one.node.name} for one in self._rack.seen()])

    @app.route("/variable", methods=["POST"])
    def variable(self, request: IRequest) -> bytes:
        """simPod: the values of a variable: ``nodes``, or a tag."""
        payload = body_of(_body(request)).get("payload")
        target = payload.get("target") if isinstance(payload, dict) else payload
        if target in ("nodes", "", None):
            pairs = [(_shown(one), one.node.name) for one in self._rack.seen()]
        else:
            pairs = [(value, value) for value in self._tag_values(str(target))]
        return _answer(request, [{"__text": text, "__value": value} for text, value in pairs])

    @app.route("/tag-keys", methods=["POST"])
    def tag_keys(self, request: IRequest) -> bytes:
        """Both: what can be filtered by."""
        body_of(_body(request))
        return _answer(request, [{"type": "string", "text": tag} for tag in TAGS])

    @app.route("/tag-values", methods=["POST"])
    def tag_values(self, request: IRequest) -> bytes:
        """Both: the values of a tag that there are."""
        key = body_of(_body(request)).get("key")
        return _answer(request, [{"text": value} for value in self._tag_values(str(key))])

    def _tag_values(self, key: str) -> list[str]:
        check_tag(key)
        return sorted({one.tag(key) for one in self._rack.seen()} - {""})

    # Values

    @app.route("/query", methods=["POST"])
    async def query(self, request: IRequest) -> bytes:
        """Both: series and tables."""
        query = query_of(body_of(_body(request)))
        seen = self._rack.seen(query.filters)
        names = self._rack.by_name(seen)
        known = names if not query.filters else self._rack.by_name(self._rack.seen())
        lines = [(target, self._series_of(target, seen, names, known)) for target in query.targets]
        count = sum(len(line) for _, line in lines)
        if count > MOST_SERIES:
            hint = "Name nodes, or filter by a switch; Prometheus is made for the whole fleet at once."
            raise Refusal(400, "too-many-series", f"found {count} series, expected at most {MOST_SERIES}", hint)
        most = max(1, min(query.most_points, MOST_POINTS // max(1, count)))
        answers: list[Any] = []
        for target, line in lines:
            if target.name == "nodes":
                answers.append(self._rack.table(seen))
            elif target.name == "events":
                answers.append(await self._events_table(query, names))
            for name, one, value in line:
                points = await self._points(one, value, query.range, most)
                answers.append(_table(name, points) if target.is_table else {"target": name, "datapoints": points})
        return _answer(request, answers)

    def _series_of(
        self, target: Target, seen: list[Seen], names: Mapping[str, Seen], known: Mapping[str, Seen]
    ) -> list[tuple[str, Seen | None, str]]:
        """
        The series that a target means, each with its node and value; none of a table.

        A node that is known no more has a series without points; one that a filter takes away has none.
        """
        if target.name in TABLES:
            return []
        value = value_named(target.name)
        if value is None:
            host, value = split_target(target.name)
            is_filtered = host in known and host not in names
            return [] if is_filtered else [(target.name, names.get(host), value)]
        chosen = [names[each] for each in target.nodes if each in names] if target.nodes else seen
        return [(f"{one.node.name} {TITLES[value]}", one, value) for one in chosen]

    async def _points(self, one: Seen | None, value: str, span: Range, most: int) -> list[list[float | None]]:
        if one is None:
            return []
        ahead = self._wall.ahead
        found = await self._readings.series(one.node.mac, value, span.start - ahead, span.end - ahead, most)
        gap = max(self._gap_seconds(), 2 * (span.end - span.start) / most)
        return [[number, milliseconds(time + ahead)] for time, number in with_gaps(found, gap)]

    # Annotations

    @app.route("/annotations", methods=["POST"])
    async def annotations(self, request: IRequest) -> bytes:
        """SimpleJson: events as annotations."""
        body = body_of(_body(request))
        asked = body.get("annotation")
        if not isinstance(asked, dict):
            raise Refusal(400, "bad-request", f"annotation: found {asked!r:.60}, expected an object")
        query = asked.get("query") or ""
        found = await self._annotations(range_of(body), str(query), self._rack.by_name(self._rack.seen()))
        return _answer(request, [{"annotation": asked, **each} for each in found])

    async def _annotations(self, span: Range, query: str, names: Mapping[str, Seen]) -> list[dict[str, Any]]:
        choice, ahead = choice_of(query, names), self._wall.ahead
        found = await self._history.events_between(
            span.start - ahead, span.end - ahead, kinds=choice.kinds, macs=choice.macs, limit=happenings.MOST
        )
        called = {one.node.mac: one.node.name for one in names.values()}
        return [annotation(self._wall.to_wall(each), called) for each in found]

    async def _events_table(self, query: Query, names: Mapping[str, Seen]) -> dict[str, Any]:
        """simPod has no route for annotations: they are a query like any other."""
        return happenings.as_table(await self._annotations(query.range, "", names))

    # What goes wrong

    @app.handle_errors(Exception)
    def failed(self, request: Any, failure: Failure) -> bytes:
        """The one place where errors become answers."""
        match failure.value:
            case Refusal() as refusal:
                pass
            case StoreFailed() as reason:
                refusal = Refusal(503, "no-history", f"the history cannot be read: {reason}", "See the log.")
            case RequestRedirect() if not request.postpath:  # the address without its slash: simPod's source asks so
                return self.test(request)
            case MethodNotAllowed() if request.method == b"OPTIONS":  # what a browser asks before it asks
                _head(request, 204, b"text/plain")
                return b""
            case MethodNotAllowed() as reason:
                allowed = ", ".join(sorted(reason.valid_methods or ()))
                request.setHeader(b"allow", allowed.encode("ascii"))
                refusal = Refusal(405, "method-not-allowed", f"expected {allowed}", f"Use {allowed}.")
            case NotFound():
                refusal = Refusal(
                    404, "no-such-path", "found nothing here", "docs/reference/grafana.md names all paths."
                )
            case HTTPException() as reason:
                refusal = Refusal(reason.code or 400, "bad-request", reason.name, reason.description or "")
            case _:
                self._log.failure("{path} failed", failure, path=request.path)
                refusal = Refusal(500, "our-mistake", "the manager made a mistake", "Its log tells which.")
        error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
        return _answer(request, {"error": error}, refusal.status)


def _table(name: str, points: list[list[float | None]]) -> dict[str, Any]:
    columns = [{"text": "Time", "type": "time"}, {"text": name, "type": "number"}]
    return {"type": "table", "columns": columns, "rows": [[time, value] for value, time in points]}


def _shown(one: Seen) -> str:
    return f"{one.node.name} ({one.address})" if one.address else one.node.name


def _body(request: Any) -> bytes:
    return bytes(request.content.read(MOST_BODY_BYTES + 1))


def _head(request: IRequest, status: int, content_type: bytes) -> None:
    request.setResponseCode(status)
    request.setHeader(b"content-type", content_type)
    request.setHeader(b"cache-control", b"no-store")


def _answer(request: IRequest, value: Any, status: int = 200) -> bytes:
    _head(request, status, b"application/json")
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
