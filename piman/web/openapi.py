# -*- test-case-name: tests.test_web_openapi -*-
"""
The API, described as an OpenAPI 3.1 document.  Pure; tests compare it with the routes, and answers with its schemas.
"""

from typing import Any

from piman.fleet.model import Phase, Stage
from piman.fleet.operations.orders import Action, Step
from piman.web import image_schemas
from piman.web.editing import schemas as files
from piman.web.recalled import MOST_POINTS, USUAL_POINTS
from piman.web.schema import BOARD as _BOARD
from piman.web.schema import SECURITY_SCHEMES, guarded
from piman.web.schema import TIME as _TIME
from piman.web.schema import answers as _answers
from piman.web.schema import content as _content
from piman.web.schema import flag as _flag
from piman.web.schema import getting as _get
from piman.web.schema import listed as _list
from piman.web.schema import number as _number
from piman.web.schema import one_of as _one_of
from piman.web.schema import or_null as _or_null
from piman.web.schema import parameter as _parameter
from piman.web.schema import record as _object
from piman.web.schema import ref as _ref
from piman.web.schema import text as _text
from piman.web.schema import typed as _type
from piman.web.schema import whole as _whole
from piman.web.wishes import LARGEST_NUMBER, MOST_EVENTS, USUAL_EVENTS

JSON = dict[str, Any]

# Schemas


_SILENT = _list(
    _object("A switch that did not tell.", switch=_text(), reason=_text()), "Switches that did not tell what they see."
)
_COUNT: JSON = {"minimum": 0, "maximum": LARGEST_NUMBER}
_STAGE = {"phase": _one_of(Phase), "time": _TIME}

_NODE: JSON = {
    "id": _BOARD,
    "known": _flag("Whether a file names it."),
    "name": _text("The hostname, else the MAC."),
    "hostname": _text(),
    "address": _or_null(_text("Its reserved address.")),
    "port": _or_null(_ref("Port")),
    "tags": _list(_text(), "Those of piman.yaml that name it."),
    "image": _or_null(_text("What it gets when it is installed next.")),
    "image_rule": _text("Why that one."),
    "operation": _or_null(_text("The operation that it is in.")),
    "status": _ref("Status"),
}

_SUMMARY: JSON = {
    "id": _text("8 hexadecimal digits."),
    "action": _one_of(Action),
    "who": _text("The user that ordered it."),
    "source": _text("From where."),
    "created": _TIME,
    "finished": _TIME,
    "final": _flag("Nothing more will be done."),
    "at_most": _whole("So many targets at a time; 0: as many as is good."),
    "stop_after": _whole("Nothing more is begun after so many failures; 0: never."),
    "image": _text("Empty: each node's own."),
    "cancelled_by": _text(),
    "counts": _object("Targets by step.", **{step.value: _whole() for step in Step}),
}

SCHEMAS: JSON = {
    "Error": _object(
        "What went wrong.",
        error=_object(
            "What went wrong.",
            code=_text("For programs; never changes."),
            message=_text("What was found, what was expected."),
            hint=_text("What to do."),
        ),
    ),
    "Port": _object(
        "A port of a switch.", switch=_text("Its address."), label=_text("What people call it."), port=_whole()
    ),
    "Status": _object(
        "What was seen of a board.",
        phase=_one_of(Phase),
        since=_TIME,
        last_seen=_TIME,
        last_event=_whole("The number of the newest event in it."),
        attempt=_whole("Boots seen so far."),
        boot_started=_TIME,
        timeline=_list(_object("A phase of this boot.", **_STAGE)),
        address=_or_null(_text("The address that it has.")),
        stage=_or_null(_one_of(Stage, "Which of its programs asked for an address last.")),
        serial=_or_null(_text()),
        model=_or_null(_text()),
        detail=_text("The latest thing worth telling."),
        has_agent=_flag(),
        digest=_or_null(_text("SHA-256 of the image on its card; null: not known, or no whole one.")),
        image=_text("What that image was called when it was installed."),
        installed=_TIME,
    ),
    "Node": _object("A node, or a stranger.", **_NODE),
    "NodeWithWhy": _object("A node, and why it is where it is.", **_NODE, why=_ref("Explanation")),
    "Explanation": _object("Why, and what to do.", sentence=_text(), remedy=_text()),
    "Why": _object(
        "Why a node is where it is.",
        id=_BOARD,
        name=_text(),
        phase=_one_of(Phase),
        since=_TIME,
        sentence=_text(),
        remedy=_text(),
    ),
    "Nodes": _object(
        "All of them.",
        nodes=_list(_ref("Node")),
        strangers=_list(_ref("Node"), "Boards that no file names."),
        slots=_list(_object("A place whose board nobody has written down.", address=_text(), port=_ref("Port"))),
        counts=_object("Nodes by phase.", **{phase.value: _whole() for phase in Phase}),
    ),
    "Event": _object(
        "Something that happened.",
        id=_whole("Grows, never given twice."),
        time=_TIME,
        kind=_text("A class of docs/reference/events.md."),
        node=_or_null(_BOARD),
        text=_text("In plain words; characters that a terminal would obey are escaped."),
        fields=_type("object", "As docs/reference/events.md says; texts come from the network."),
    ),
    "Events": _object("Oldest first.", events=_list(_ref("Event"))),
    "Readings": _object(
        "What a node's agent told over time.",
        id=_BOARD,
        since=_TIME,
        until=_TIME,
        series=_list(
            _object(
                "One value.",
                metric=_text("Like cpu_percent."),
                unit=_text("%, °C; empty: a count."),
                points=_list(
                    _object("A reading.", time=_TIME, value=_or_null(_number("null: nothing was read."))),
                    "Oldest first; of more than asked for, the means of equal spans of time.",
                ),
            )
        ),
    ),
    "PortPower": _object(
        "The power of a port as its switch tells it.",
        port=_whole(),
        admin_on=_or_null(_flag("Whether it is told to give power.")),
        delivering=_or_null(_flag("Whether it does.")),
        state=_text(),
        power_class=_or_null(_whole()),
        watts=_or_null(_number()),
        link_up=_or_null(_flag()),
        name=_text(),
    ),
    "Switch": _object(
        "A switch.",
        address=_text(),
        label=_text(),
        protected_ports=_list(_whole()),
        ports=_list(
            _object(
                "One of its ports.",
                port=_whole(),
                node=_or_null(_BOARD),
                name=_or_null(_text()),
                expected=_or_null(_text("The address of a board that is expected here.")),
                protected=_flag(),
                power=_or_null(_ref("PortPower")),
            )
        ),
        answer=_object(
            "How it answers.",
            reachable=_or_null(_flag("null: it has not answered yet.")),
            reason=_text(),
            remedy=_text(),
            budget=_or_null(
                _object(
                    "What it can give.",
                    total_watts=_or_null(_number()),
                    used_watts=_or_null(_number()),
                    state=_text(),
                )
            ),
        ),
    ),
    "Switches": _object("All of them.", switches=_list(_ref("Switch"))),
    "Whereabouts": _object(
        "Where a board hangs.",
        id=_BOARD,
        name=_or_null(_text()),
        known=_flag(),
        port=_or_null(_ref("Port")),
        configured=_or_null(_ref("Port")),
        seen=_list(_ref("Port"), "Where it alone was learned."),
        behind=_list(_ref("Port"), "Where others were learned, too."),
        remark=_text(),
        silent=_SILENT,
    ),
    "Map": _object(
        "Ports in order, then boards without one.",
        rows=_list(
            _object(
                "A port, a board, or both.",
                port=_or_null(_ref("Port")),
                node=_or_null(_BOARD),
                name=_or_null(_text()),
                address=_or_null(_text()),
                phase=_or_null(_one_of(Phase)),
                remark=_text(),
                hosts_line=_or_null(_text("The line for hosts.csv that makes a stranger a node.")),
            )
        ),
        silent=_SILENT,
    ),
    "Target": _object(
        "What is switched.", name=_text(), node=_or_null(_BOARD), port=_or_null(_ref("Port")), rule=_text()
    ),
    "Report": _object(
        "How far an operation has come with one target.",
        index=_whole("Its place in the operation."),
        target=_ref("Target"),
        step=_one_of(Step),
        final=_flag("Nothing more will be done for it."),
        phase=_or_null(_one_of(Phase)),
        stages=_list(_object("A phase since the power went.", **_STAGE)),
        started=_TIME,
        off_at=_TIME,
        on_at=_TIME,
        finished=_TIME,
        tries=_whole("Power cycles."),
        dark=_flag("The port is off because of us and could not be switched on again yet."),
        reason=_text(),
        remedy=_text(),
    ),
    "Summary": _object("An operation without its reports.", **_SUMMARY),
    "Operation": _object("An operation.", **_SUMMARY, reports=_list(_ref("Report"))),
    "Operations": _object("The newest last.", operations=_list(_ref("Summary"))),
    "Plan": _object(
        "What would be done.",
        action=_one_of(Action),
        targets=_list(_ref("Target")),
        at_most=_whole(),
        stop_after=_whole(),
        image=_text(),
        images=_list(_ref("Outlook"), "For reinstall: what each node gets, and what it has."),
        notes=_list(_text()),
        expected_seconds=_number(),
        power=_list(_ref("SwitchPower")),
        needs_yes=_flag("It is carried out only with yes."),
    ),
    "SwitchPower": _object(
        "What the targets on a switch may draw, and what it can give and gives now, in watts; null: it does not say.",
        switch=_text(),
        label=_text(),
        ports=_whole(),
        watts=_number(),
        total_watts=_or_null(_number()),
        used_watts=_or_null(_number()),
    ),
    "Ordered": _object(
        "What was ordered.", plan=_ref("Plan"), operation={"anyOf": [_ref("Operation"), {"type": "null"}]}
    ),
    "Order": {
        "type": "object",
        "description": "What to do.",
        "properties": {
            "action": _one_of(Action),
            "nodes": _list(
                {"type": ["string", "integer"]},
                "Names, addresses, MACs; or a switch and its ports, as in rack-a 2-4; or all.",
                minItems=1,
            ),
            "dry_run": _flag("Only plan."),
            "image": _text("For reinstall; empty: each node's own."),
            "at_most": _whole("So many at a time; 0: as many as is good.", **_COUNT),
            "stop_after": _whole("Begin nothing more after so many failures; 0: never.", **_COUNT),
            "yes": _flag("Needed for more than max_blast nodes."),
        },
        "required": ["action", "nodes"],
        "additionalProperties": False,
    },
    **image_schemas.SCHEMAS,
    "Health": _object("The manager runs.", status=_text(), version=_text(), time=_TIME),
    **files.SCHEMAS,
}


# Paths


_NAME = _parameter("name", "path", _text(), "A MAC, a hostname or an address.")
_IDENTITY = _parameter("identity", "path", _text(), "The id of an operation.")
_AFTER = _parameter("after", "query", _whole(**_COUNT), "Only events with larger numbers, the oldest of them.")
_LIMIT = _parameter(
    "limit", "query", _whole(minimum=0, maximum=MOST_EVENTS), f"At most so many ({USUAL_EVENTS}; up to {MOST_EVENTS})."
)
_METRIC = _parameter("metric", "query", _text(), "Only this value, like cpu_percent.")
_SINCE = _parameter("since", "query", _whole(**_COUNT), "From this time on, seconds since 1970 (6 hours ago).")
_POINTS = _parameter(
    "points",
    "query",
    _whole(minimum=1, maximum=MOST_POINTS),
    f"So many points of each are enough ({USUAL_POINTS}; 1 to {MOST_POINTS}).",
)
_NODE_QUERY = _parameter("node", "query", _text(), "Only those of this node.")
_OPERATION_QUERY = _parameter("operation", "query", _text(), "Only changes of this operation, and no events.")
_NODES_QUERY = _parameter(
    "nodes", "query", _whole(minimum=0, maximum=1), "1: also how all nodes stand, and which of them changed."
)
_LAST_EVENT = _parameter(
    "Last-Event-ID", "header", _whole(**_COUNT), "The last event that is known: what came since is sent."
)


_ORDER: JSON = {
    "operationId": "order",
    "summary": "Plan an order, and carry it out unless dry_run is true.",
    "requestBody": {"required": True, "content": _content(_ref("Order"))},
    "responses": {
        **_answers("It was begun.", _content(_ref("Ordered")), 400, 409, 413, 422, 503, status=201),
        "200": {"description": "The plan of a dry run.", "content": _content(_ref("Ordered"))},
    },
}

_CANCEL: JSON = {
    "operationId": "cancel",
    "summary": "Begin with nothing more; what is switched off is switched on again.",
    "parameters": [_IDENTITY],
    "responses": _answers("The operation.", _content(_ref("Operation")), 404, 503),
}

_STREAM: JSON = {
    "operationId": "stream",
    "summary": "Events, changes of operations and of nodes as they happen (messages event, operation, nodes).",
    "parameters": [_NODE_QUERY, _OPERATION_QUERY, _NODES_QUERY, _AFTER, _LAST_EVENT],
    "responses": _answers("Server-sent events.", _content(_text(), "text/event-stream"), 400, 404, 503),
}

PATHS: JSON = {
    "/api/v1/nodes": {"get": _get("nodes", "All nodes, strangers and expected places.", "Nodes", 400)},
    "/api/v1/nodes/{name}": {"get": _get("node", "One node, and why.", "NodeWithWhy", 404, parameters=(_NAME,))},
    "/api/v1/nodes/{name}/why": {
        "get": _get("node_why", "Why a node is where it is.", "Why", 404, parameters=(_NAME,))
    },
    "/api/v1/nodes/{name}/events": {
        "get": _get("node_events", "Stored events of a node.", "Events", 400, 404, parameters=(_NAME, _AFTER, _LIMIT))
    },
    "/api/v1/nodes/{name}/readings": {
        "get": _get(
            "node_readings",
            "What a node's agent told over time.",
            "Readings",
            400,
            404,
            parameters=(_NAME, _METRIC, _SINCE, _POINTS),
        )
    },
    "/api/v1/events": {
        "get": _get(
            "events",
            "Stored events: the newest, or those after a number.",
            "Events",
            400,
            404,
            parameters=(_AFTER, _LIMIT, _NODE_QUERY),
        )
    },
    "/api/v1/events/stream": {"get": _STREAM},
    "/api/v1/switches": {"get": _get("switches", "All switches, with the power of their ports.", "Switches", 400)},
    "/api/v1/ports/{name}": {"get": _get("find_port", "Where a board hangs.", "Whereabouts", 400, parameters=(_NAME,))},
    "/api/v1/map": {"get": _get("map", "Which board hangs on which port.", "Map", 400)},
    "/api/v1/operations": {
        "get": _get("operations", "All operations that are remembered.", "Operations", 400),
        "post": _ORDER,
    },
    "/api/v1/operations/{identity}": {
        "get": _get("operation", "One operation.", "Operation", 404, parameters=(_IDENTITY,))
    },
    "/api/v1/operations/{identity}/cancel": {"post": _CANCEL},
    **image_schemas.PATHS,
    "/healthz": {"get": {**_get("health", "That the manager runs.", "Health"), "security": []}},
    "/openapi.json": {
        "get": {
            "operationId": "openapi",
            "summary": "This document.",
            "responses": _answers("This document.", _content(_type("object"))),
        }
    },
    **files.PATHS,
}


def document(version: str) -> JSON:
    """The document, of this version of piman."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "piman", "version": version, "description": "Network boot and management for Raspberry Pis."},
        "security": [{"token": []}],
        "paths": guarded(PATHS),
        "components": {"schemas": SCHEMAS, "securitySchemes": SECURITY_SCHEMES},
    }
