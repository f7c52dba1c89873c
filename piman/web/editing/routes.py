# -*- test-case-name: tests.test_web_editing -*-
"""
Routes of the two files: ``/api/v1/config`` and ``/api/v1/hosts``, and the addresses of the original.

A write names the version that it was made for (``If-Match``): without it 428, with an old one 412.

1. RFC 9110: 8.8.3 ETag, 13.1.1 If-Match, 13.1.2 If-None-Match
2. RFC 6585, 3: 428 Precondition Required
"""

import json
import re
from collections.abc import Callable
from typing import Any

import yaml
from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from piman.editing.desk import CONFIG, HOSTS_FILE
from piman.web import wishes
from piman.web.api import Caller
from piman.web.asking import whole
from piman.web.editing.documents import Documents, MistakesFound
from piman.web.wishes import Refusal

KINDS = {"config": CONFIG, "hosts": HOSTS_FILE}
MOST_BODY_BYTES = 8 << 20
"""A text of 10,000 boards, twice, with every character escaped."""
_ETAG = re.compile(r'\s*(?:W/)?"([^"]*)"\s*')


class DocumentRoutes:
    """
    The routes.

    :param caller: who sent a request.
    """

    app = Klein()
    _log = Logger()

    def __init__(self, documents: Documents, caller: Callable[[IRequest], Caller]) -> None:
        self._documents = documents
        self._caller = caller

    def resource(self) -> IResource:
        """All routes as one resource."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/api/v1/config", methods=["GET"], endpoint="config")
    @app.route("/api/v1/hosts", methods=["GET"], endpoint="hosts")
    async def sheet(self, request: IRequest) -> bytes:
        """A file as it is, without secrets."""
        wishes.only(_parameters(request))
        kind = _kind(request)
        known = _etags(request, "if-none-match")
        if known and await self._documents.digest(kind) in known:
            request.setResponseCode(304)
            return b""
        found = await self._documents.sheet(kind)
        request.setHeader(b"etag", f'"{found["digest"]}"'.encode("ascii"))
        return _answer(request, found)

    @app.route("/api/v1/config", methods=["PUT"], endpoint="put_config")
    @app.route("/api/v1/hosts", methods=["PUT"], endpoint="put_hosts")
    async def keep(self, request: IRequest) -> bytes:
        """Write a file and apply it."""
        kind = _kind(request)
        wanted = _etags(request, "if-match")
        if len(wanted) != 1:
            hint = 'Send If-Match: "DIGEST" with the ETag of the version that you looked at.'
            raise Refusal(428, "needs-if-match", f"found {len(wanted)} versions in If-Match, expected one", hint)
        sent = _body(request)
        done = await whole(self._documents.keep(kind, sent, wanted[0], self._caller(request)))
        request.setHeader(b"etag", f'"{done["verdict"]["digest"]}"'.encode("ascii"))
        return _answer(request, done)

    @app.route("/api/v1/config/validate", methods=["POST"], endpoint="judge_config")
    @app.route("/api/v1/hosts/validate", methods=["POST"], endpoint="judge_hosts")
    async def judge(self, request: IRequest) -> bytes:
        """What would become of a proposal."""
        return _answer(request, await self._documents.judge(_kind(request), _body(request)))

    @app.route("/api/v1/config/apply", methods=["POST"])
    async def apply(self, request: IRequest) -> bytes:
        """Read the files again, as SIGHUP does."""
        return _answer(request, await whole(self._documents.apply()))

    # As the original had them

    @app.route("/get_config", methods=["GET"])
    async def get_config(self, request: IRequest) -> bytes:
        """piman.yaml as JSON, without secrets."""
        found = await self._documents.sheet(CONFIG)
        try:
            value = yaml.load(found["text"], Loader=_Plain) if found["exists"] else {}
        except (yaml.YAMLError, RecursionError, ValueError):
            raise Refusal(503, "no-yaml", "piman.yaml is no YAML as it stands", "Mend it as text.") from None
        return _answer(request, value)

    @app.route("/get_hosts_csv", methods=["GET"])
    async def get_hosts(self, request: IRequest) -> bytes:
        """The lines of hosts.csv."""
        found = await self._documents.sheet(HOSTS_FILE)
        return _answer(request, found["text"].splitlines(keepends=True) if found["exists"] else [])

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Errors become answers."""
        error = failure.value
        match error:
            case MistakesFound():
                return _answer(request, {**_told(error), "verdict": error.verdict}, error.status)
            case Refusal():
                return _answer(request, _told(error), error.status)
            case MethodNotAllowed():
                allowed = ", ".join(sorted(error.valid_methods or ()))
                request.setHeader(b"allow", allowed.encode("ascii"))
                method = request.method.decode("ascii", "replace")
                refusal = Refusal(405, "method-not-allowed", f"found {method}, expected {allowed}", f"Use {allowed}.")
            case NotFound():
                path = request.path.decode("utf-8", "replace")
                refusal = Refusal(404, "no-such-path", f"found nothing at {path}", "GET /openapi.json names all paths.")
            case HTTPException():
                refusal = Refusal(error.code or 400, "bad-request", error.name, error.description or "")
            case _:
                self._log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
                refusal = Refusal(500, "our-mistake", "the manager made a mistake", "Its log tells which: report it.")
        return _answer(request, _told(refusal), refusal.status)


class _Plain(yaml.SafeLoader):
    """What JSON has: dates stay text."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class WithDocuments(Resource):
    """
    The API with the routes of the two files before it.

    Both see the whole path.
    """

    isLeaf = True

    def __init__(self, documents: IResource, api: IResource) -> None:
        super().__init__()
        self._documents = documents
        self._api = api

    def render(self, request: Any) -> Any:
        """Whoever knows the path."""
        path = [segment.decode("ascii", "replace") for segment in request.postpath]
        is_file = path[:2] == ["api", "v1"] and len(path) > 2 and path[2] in KINDS
        chosen = self._documents if is_file or path[:1] in (["get_config"], ["get_hosts_csv"]) else self._api
        return chosen.render(request)


def _told(refusal: Refusal) -> dict[str, Any]:
    return {"error": {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}}


def _kind(request: Any) -> str:
    return KINDS[request.path.split(b"/")[3].decode("ascii")]


def _etags(request: Any, name: str) -> list[str]:
    """The versions of a condition; ``*`` is none."""
    found: list[str] = []
    for value in request.requestHeaders.getRawHeaders(name, []):
        found += [match[1] for match in (_ETAG.fullmatch(each) for each in value.split(",")) if match]
    return found


def _answer(request: IRequest, value: Any, status: int = 200) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(value, separators=(",", ":"), default=str).encode("ascii") + b"\n"


def _parameters(request: Any) -> dict[bytes, list[bytes]]:
    return dict(request.args)


def _body(request: Any) -> Any:
    """
    The JSON of a body.

    :raises Refusal: when it is none, or too long.
    """
    hint = 'Send {"text": ...} or {"changes": [...]}.'
    body = request.content.read(MOST_BODY_BYTES + 1)
    if len(body) > MOST_BODY_BYTES:
        raise Refusal(413, "too-large", f"found more than {MOST_BODY_BYTES} bytes", "Edit such a file on the manager.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as reason:
        raise Refusal(400, "no-json", f"found a body that is no JSON ({reason}), expected an object", hint) from None
