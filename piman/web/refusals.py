# -*- test-case-name: tests.test_web_site -*-
"""
How the site says no: a page to whoever reads pages, JSON to everybody else.
"""

import json
from collections.abc import Mapping
from typing import Any

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from piman.web.rendering import page

PROGRAMS = frozenset({"api", "openapi.json", "healthz", "metrics", "sd", "grafana", "get_config", "get_hosts_csv"})
"""First segments that programs ask for, whatever they accept."""
TITLES = {
    400: "This request has a mistake",
    401: "Please log in",
    403: "This is not allowed",
    404: "There is nothing here",
    405: "This cannot be done here",
    421: "Not under this name",
    429: "Too many attempts",
    500: "The manager made a mistake",
    503: "Not now",
}
STRANGERS_CONTEXT: Mapping[str, str] = {"csrf_token": "", "user": "", "role": "", "site_name": "piman", "version": ""}
"""What a page shows to somebody who was not let in."""


def first_segment(request: Any) -> str:
    """The first segment of a request's path, decoded."""
    parts = [*request.prepath, *request.postpath]
    return bytes(parts[0]).decode("utf-8", "replace") if parts else ""


def wants_page(request: Any) -> bool:
    """Whether whoever asks would rather read a page than JSON."""
    if first_segment(request) in PROGRAMS and request.path.rstrip(b"/") != b"/api":
        return False
    return b"text/html" in b",".join(request.requestHeaders.getRawHeaders(b"accept", []))


def refuse(
    request: IRequest,
    status: int,
    code: str,
    message: str,
    hint: str = "",
    context: Mapping[str, Any] = STRANGERS_CONTEXT,
) -> bytes:
    """
    The body of a refusal; status and type are set.

    :param code: for programs; never changes.
    :param context: what every template gets.
    """
    request.setResponseCode(status)
    if wants_page(request):
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        title = TITLES.get(status, "This did not work")
        return page("error.html", {"page": "", **context}, title=title, message=_sentence(message), hint=hint)
    request.setHeader(b"content-type", b"application/json")
    error = {"code": code, "message": message, "hint": hint}
    return json.dumps({"error": error}, separators=(",", ":")).encode("ascii") + b"\n"


def headed(request: IRequest, body: bytes) -> bytes:
    """The body, or for HEAD only what the head says of it."""
    if request.method != b"HEAD":
        return body
    request.setHeader(b"content-length", str(len(body)).encode("ascii"))
    return b""


def refuse_http(request: IRequest, error: HTTPException, context: Mapping[str, Any]) -> bytes:
    """What Klein could not route: there is nothing, or not for this method."""
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        request.setHeader(b"allow", allowed.encode("ascii"))
        hint = f"Use {allowed}."
        return refuse(request, 405, "method-not-allowed", "this page cannot do that", hint, context=context)
    path = request.path.decode("utf-8", "replace")
    return refuse(request, error.code or 400, "no-such-path", f"found nothing at {path}", context=context)


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."


class Refused(Resource):
    """A refusal as a resource."""

    isLeaf = True

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__()
        self._refusal = status, code, message, hint

    def render(self, request: IRequest) -> bytes:
        """The refusal, whatever the method."""
        return headed(request, refuse(request, *self._refusal))


class Moved(Resource):
    """303: look there."""

    isLeaf = True

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def render(self, request: IRequest) -> bytes:
        """Where."""
        return see_other(request, self._where)


class Again(Resource):
    """
    The same address once more, asked for by a page of ours.

    Whoever follows a link in a mail brings no cookie that is ``SameSite=Strict``, though he is logged in.
    """

    isLeaf = True

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def render(self, request: IRequest) -> bytes:
        """A page that goes on by itself."""
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        return headed(request, page("again.html", {}, where=self._where))


def see_other(request: IRequest, where: str) -> bytes:
    """The body of a 303, which is none."""
    request.setResponseCode(303)
    request.setHeader(b"location", where.encode("ascii"))
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return b""
