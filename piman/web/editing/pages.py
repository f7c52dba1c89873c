# -*- test-case-name: tests.test_web_editing_pages -*-
"""
The pages ``/config`` and ``/hosts-csv``: forms, and both files as text.

A script judges what is typed by asking the API.  Without one the pages can be read, and the text can be checked and
applied as a plain form.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from piman.editing.desk import CONFIG, HOSTS_FILE
from piman.fleet.model import MACAddress
from piman.web.api import Caller
from piman.web.asking import whole
from piman.web.editing.documents import Documents, MistakesFound
from piman.web.editing.shapes import JSON
from piman.web.refusals import refuse, see_other
from piman.web.rendering import page
from piman.web.wishes import Refusal

ADDRESSES = {CONFIG: "/config", HOSTS_FILE: "/hosts-csv"}
TEMPLATES = {CONFIG: "config.html", HOSTS_FILE: "hosts.html"}
MOST_ROWS = 1000
"""Rows that the form of hosts.csv shows; more are for the text."""

OPENED = frozenset({"The LAN", "dhcp"})
"""Groups of piman.yaml that nobody needs to open."""

Context = Callable[[IRequest], dict[str, Any]]


class EditingPages:
    """
    The pages.

    :param context: what every template gets, for a request.
    :param caller: who sent a request.
    :param strangers: boards that no file names: ``mac``, ``model``, ``address``.
    :param free: addresses of ports whose board nobody has written down.
    :param is_alone: whether these are all pages there are, and no manager stands behind them.
    :param note: what else is to be said on top.
    """

    app = Klein()

    def __init__(
        self,
        documents: Documents,
        *,
        context: Context,
        caller: Callable[[IRequest], Caller],
        strangers: Callable[[], list[Mapping[str, str]]] = list,
        free: Callable[[], list[str]] = list,
        is_alone: bool = False,
        note: Callable[[], str] = str,
    ) -> None:
        self._documents = documents
        self._context = context
        self._caller = caller
        self._strangers = strangers
        self._free = free
        self._is_alone = is_alone
        self._note = note

    def resource(self) -> IResource:
        """All pages as one resource."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/config", methods=["GET"], endpoint="config")
    @app.route("/hosts-csv", methods=["GET"], endpoint="hosts")
    async def show(self, request: IRequest) -> bytes:
        """A file."""
        kind = _kind(request)
        return self._page(request, kind, await self._documents.sheet(kind))

    @app.route("/config", methods=["POST"], endpoint="post_config")
    @app.route("/hosts-csv", methods=["POST"], endpoint="post_hosts")
    async def post(self, request: IRequest) -> bytes:
        """A text, sent as a plain form: checked, or applied."""
        kind = _kind(request)
        text = _field(request, "text").replace("\r\n", "\n")
        sheet = await self._documents.sheet(kind)
        try:
            if _field(request, "step") == "apply":
                caller, digest = self._caller(request), _field(request, "digest")
                await whole(self._documents.keep(kind, {"text": text}, digest, caller))
                return see_other(request, f"{ADDRESSES[kind]}?applied=1")
            verdict = await self._documents.judge(kind, {"text": text})
            return self._page(request, kind, sheet, typed=text, verdict=verdict)
        except MistakesFound as reason:
            return self._page(request, kind, sheet, 422, typed=text, verdict=reason.verdict)
        except Refusal as reason:
            told = f"{reason.message}. {reason.hint}"
            return self._page(request, kind, sheet, reason.status, typed=text, told=told)

    def _page(
        self,
        request: Any,
        kind: str,
        sheet: JSON,
        status: int = 200,
        *,
        typed: str | None = None,
        verdict: JSON | None = None,
        told: str = "",
    ) -> bytes:
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        shown = verdict if verdict is not None else sheet
        values: dict[str, Any] = {
            "kind": kind,
            "name": PurePath(sheet["path"]).name,
            "action": ADDRESSES[kind],
            "sheet": sheet,
            "typed": sheet["text"] if typed is None else typed,
            "verdict": verdict,
            "told": told,
            "problems": shown["problems"],
            "warnings": shown["warnings"],
            "by_key": _by_key(sheet["problems"]),
            "is_alone": self._is_alone,
            "note": self._note(),
            "is_applied": "applied" in _names(request),
        }
        if kind == HOSTS_FILE:
            values |= self._rows(request, sheet)
        else:
            values["sections"] = list(sections_of(sheet["form"], values["by_key"])) if sheet["form"] else []
        context = {**self._context(request), "page": ADDRESSES[kind].lstrip("/")}
        return page(TEMPLATES[kind], context, **values)

    def _rows(self, request: Any, sheet: JSON) -> JSON:
        known = {row["columns"]["mac"].lower() for row in sheet["rows"]}
        return {
            "rows": sheet["rows"][:MOST_ROWS],
            "hidden_rows": max(0, len(sheet["rows"]) - MOST_ROWS),
            "strangers": [each for each in self._strangers() if each["mac"] not in known],
            "free": self._free(),
            "added": _mac(_argument(request, "add")),
        }

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """What goes wrong, as a page."""
        error: Any = failure.value
        context = self._context(request)
        if isinstance(error, Refusal):
            return refuse(request, error.status, error.code, error.message, error.hint, context)
        if isinstance(error, HTTPException):
            path = request.path.decode("utf-8", "replace")
            return refuse(request, error.code or 400, "no-such-path", f"found nothing at {path}", context=context)
        failure.raiseException()
        raise AssertionError("it raises")


# The form of piman.yaml


def sections_of(form: JSON, by_key: Mapping[str, str]) -> Iterator[JSON]:
    """
    What stands below one another: groups of fields, and lists of sections after the group that they belong to.

    :param by_key: mistakes; a group with one is open.
    """
    repeated = {tuple(each["path"]): each for each in form["repeated"]}
    for group in form["groups"]:
        fields = list(map(_controlled, group["fields"]))
        own = [each for each in repeated.values() if each["title"] == group["title"]]
        if own:
            yield {**_elements(repeated.pop(tuple(own[0]["path"])), by_key), "fields": fields}
            continue
        is_used = any(field["state"] != "unset" or field["key"] in by_key for field in fields)
        is_open = is_used or group["title"] in OPENED or group["name"] in OPENED
        yield {"repeated": False, "title": group["title"], "fields": fields, "open": is_open, "used": is_used}
        for path in [path for path in repeated if path[0] == group["name"]]:
            yield _elements(repeated.pop(path), by_key)
    for each in repeated.values():
        yield _elements(each, by_key)


def _elements(found: JSON, by_key: Mapping[str, str]) -> JSON:
    title = found["title"].removesuffix("es") if found["title"].endswith("ches") else found["title"].removesuffix("s")
    elements = [_element(fields, f"{title} {number}", by_key) for number, fields in enumerate(found["elements"], 1)]
    empty = _element(found["empty"], f"New {title.lower()}", by_key)
    return {**found, "repeated": True, "fields": [], "one": title.lower(), "elements": elements, "empty": empty}


def _element(fields: list[JSON], title: str, by_key: Mapping[str, str]) -> JSON:
    """An element: what everybody fills in, and behind a fold what few do."""
    shown = list(map(_controlled, fields))
    few = [field for field in shown if _is_for_few(field["key"])]
    names = [field["value"] for field in shown if field["path"][-1] == "name" or field["key"].endswith("_address")]
    return {
        "title": next((name for name in reversed(names) if isinstance(name, str)), title),
        "fields": [field for field in shown if field not in few],
        "few": few,
        "open": any(field["state"] != "unset" or field["key"] in by_key for field in few),
    }


def _is_for_few(key: str) -> bool:
    return ".snmp." in key or key.endswith((".group", ".power"))


def _controlled(field: JSON) -> JSON:
    """A field with what it is edited with."""
    return {**field, "control": _control(field)}


def _control(field: JSON) -> str:
    kind, value = field["shape"]["kind"], field["value"]
    if field["state"] == "elsewhere" or field["shape"]["item"] == "plugin":
        return "as-text"
    if kind == "list":
        is_plain = value is None or (
            isinstance(value, list) and all((each is None or isinstance(each, str)) for each in value)
        )
        return "list" if is_plain else "as-text"
    if kind == "mapping":
        is_plain = value is None or (
            isinstance(value, dict) and all((each is None or isinstance(each, str)) for each in value.values())
        )
        return "mapping" if is_plain else "as-text"
    if value is not None and not isinstance(value, str):
        return "as-text"
    if kind == "choice":
        return "choice"
    return "secret" if field["secret"] else "text"


def _by_key(problems: list[JSON]) -> dict[str, str]:
    """Mistakes by the field that they belong to; those of elements at their list."""
    found: dict[str, list[str]] = {}
    for problem in problems:
        key, item = problem["key"], re.search(r"\[(\d+)\]$", problem["key"])
        if item is not None:
            key = key[: item.start()]
        text = f"element {int(item[1]) + 1}: {problem['text']}" if item is not None else problem["text"]
        found.setdefault(key, []).append(text)
    return {key: "; ".join(texts) for key, texts in found.items()}


def _kind(request: Any) -> str:
    return HOSTS_FILE if request.path.startswith(b"/hosts") else CONFIG


def _names(request: Any) -> set[str]:
    return {name.decode("utf-8", "replace") for name in request.args}


def _argument(request: Any, name: str) -> str:
    values = request.args.get(name.encode("ascii"), [b""])
    return bytes(values[-1]).decode("utf-8", "replace")


def _field(request: Any, name: str) -> str:
    """
    A field of a form.

    :raises Refusal: when it is missing.
    """
    if name.encode("ascii") not in request.args:
        raise Refusal(400, "bad-request", f"found no field {name}", "Load the page again.")
    return _argument(request, name)


def _mac(text: str) -> str:
    """A MAC as hosts.csv has it; empty: it is none."""
    try:
        return str(MACAddress.parse(text)).upper()
    except ValueError:
        return ""
