# -*- test-case-name: tests.test_web_grafana -*-
"""
What Grafana asks, read and checked.  Pure.

1. SimpleJson: https://github.com/grafana/simple-json-datasource, README.md
2. simPod JSON: https://github.com/simPod/GrafanaJsonDatasource, README.md and openapi.yaml

Both send variables in the form of a regular expression: a value with its special characters escaped, several values as
``(one|other)`` (``templateSrv.replace(text, vars, "regex")`` in their sources).  :func:`alternatives` undoes that.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

import attrs

from piman.web.wishes import MOST_BODY_BYTES, Refusal

USUAL_POINTS = 1000
MOST_POINTS = 200_000
"""In one answer, all series together."""
MOST_SERIES = 500
"""In one answer."""
OPERATORS = ("=", "!=")

_GROUP = re.compile(r"\(((?:[^()\\]|\\.)*)\)")
_PIECE = re.compile(r"\\.|[^\\]|\\$", re.DOTALL)


def _bad(message: str, hint: str = "") -> Refusal:
    return Refusal(400, "bad-request", message, hint)


@attrs.frozen
class Range:
    """A span of the host's time, seconds since 1970."""

    start: float
    end: float


@attrs.frozen(kw_only=True)
class Filter:
    """An ad-hoc filter."""

    key: str
    value: str
    is_equal: bool


@attrs.frozen(kw_only=True)
class Target:
    """One line of a panel."""

    name: str
    nodes: tuple[str, ...] = ()
    """From simPod's payload; empty: not told."""
    is_table: bool = False


@attrs.frozen(kw_only=True)
class Query:
    """What a panel wants."""

    range: Range
    targets: tuple[Target, ...]
    most_points: int = USUAL_POINTS
    filters: tuple[Filter, ...] = ()


def body_of(data: bytes) -> Mapping[str, Any]:
    """
    A body; an empty one is an empty object.

    :raises Refusal: when it is no JSON object, or too long.
    """
    if len(data) > MOST_BODY_BYTES:
        raise Refusal(413, "too-large", f"found more than {MOST_BODY_BYTES} bytes", "Ask for fewer targets.")
    try:
        found = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError) as reason:
        raise Refusal(400, "no-json", "found a body that is no JSON", "Grafana sends JSON by itself.") from reason
    if not isinstance(found, dict):
        raise Refusal(400, "no-object", f"found {type(found).__name__}, expected a JSON object")
    return found


def query_of(body: Mapping[str, Any]) -> Query:
    """
    The body of ``/query``.

    :raises Refusal: with what is wrong with it.
    """
    targets = body.get("targets")
    if not isinstance(targets, list):
        raise _bad(f"targets: found {targets!r:.60}, expected a list of objects with a target each")
    return Query(
        range=range_of(body),
        targets=tuple(target for each in targets for target in _targets(each)),
        most_points=_most_points(body.get("maxDataPoints")),
        filters=tuple(_filters(body.get("adhocFilters") or body.get("filters") or [])),
    )


def _targets(found: Any) -> Iterator[Target]:
    """None of a line that is hidden or empty; several where variables have several values."""
    if not isinstance(found, dict):
        raise _bad(f"targets: found {found!r:.60}, expected an object with a target")
    name, payload = found.get("target"), found.get("payload")
    if found.get("hide") or name is None or name == "":
        return
    if not isinstance(name, str):
        raise _bad(f"target: found {name!r:.60}, expected a text like '172.30.4.2 CPU'")
    payload = payload if isinstance(payload, dict) else {}
    nodes = payload.get("node") or []
    nodes = nodes if isinstance(nodes, list) else [nodes]
    named = tuple(each for node in nodes for each in alternatives(str(node)))
    is_table = "table" in (found.get("type"), payload.get("type"))
    for each in alternatives(name):
        yield Target(name=each, nodes=named, is_table=is_table)


def alternatives(text: str) -> Sequence[str]:
    """
    The texts that variables in the form of a regular expression mean; a text without any means itself.

    :raises Refusal: when they are too many.
    """
    parts: list[Sequence[str]] = []
    at = 0
    for group in _GROUP.finditer(text):
        parts += [(text[at : group.start()],), _parted(group[1])]
        at = group.end()
    parts.append((text[at:],))
    count = 1
    for part in parts:
        count *= len(part)
    if count > MOST_SERIES:
        raise _bad(f"target: found {count} combinations, expected at most {MOST_SERIES}", "Choose fewer values.")
    return list(dict.fromkeys(re.sub(r"\\(.)", r"\1", "".join(each)) for each in product(*parts)))


def _parted(text: str) -> Sequence[str]:
    """What stands between bars that are not escaped."""
    parts = [""]
    for piece in _PIECE.findall(text):
        if piece == "|":
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _most_points(found: Any) -> int:
    if found is None:
        return USUAL_POINTS
    if isinstance(found, bool) or not isinstance(found, int | float) or not 1 <= found < float("inf"):
        raise _bad(f"maxDataPoints: found {found!r:.60}, expected a number of 1 or more")
    return min(int(found), MOST_POINTS)


def _filters(found: Any) -> Iterator[Filter]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _bad(f"filters: found {found!r:.60}, expected a list of objects with key, operator and value")
    for each in found:
        operator = each.get("operator")
        if operator not in OPERATORS:
            raise _bad(f"filters: found operator {operator!r:.20}, expected = or !=")
        yield Filter(key=str(each.get("key")), value=str(each.get("value")), is_equal=operator == "=")


def range_of(body: Mapping[str, Any]) -> Range:
    """
    The ``range`` of a body.

    :raises Refusal: when there is none, or it ends before it begins.
    """
    found = body.get("range")
    if not isinstance(found, dict):
        raise _bad(f"range: found {found!r:.60}, expected an object with from and to")
    start, end = (_moment(name, found.get(name)) for name in ("from", "to"))
    if end < start:
        raise _bad("range: found one that ends before it begins", "Exchange from and to.")
    return Range(start, end)


def _moment(name: str, found: Any) -> float:
    """ISO 8601; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(found)
    except (TypeError, ValueError) as reason:
        expected = "a time like 2026-11-25T01:00:00.000Z"
        raise _bad(f"range.{name}: found {found!r:.60}, expected {expected}") from reason
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
