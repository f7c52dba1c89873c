"""
What the tests of the web site share: the site in memory, asked in raw HTTP from any address.
"""

import json
from collections.abc import Mapping
from http.client import HTTPResponse
from io import BytesIO
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from piman.settings.people import PasswordHash, Token, User
from piman.web.access.guard import AccessSettings, Guard
from piman.web.access.hosts import HostRule
from piman.web.access.visitors import caller_of
from piman.web.connections import BoundedSite, Bounds
from piman.web.pages.resource import Pages
from piman.web.site import Root, context_for, knows
from piman.web.static_files import StaticFiles
from tests.web_support import Half

HERE, ELSEWHERE = "127.0.0.1", "172.30.4.99"
MANAGER = "172.30.4.1"
# Digests: printf viewing-token | sha256sum, of coreutils.
VIEWER_TOKEN = "viewing-token"
VIEWER_DIGEST = "b2e806dc819ffac3b2461a590370c10f149ce941d239ebb5013993b26ffcb8d6"
OPERATOR_TOKEN = "operating-token"
OPERATOR_DIGEST = "3f7122c3631ef18c6e404aff52b3f3252490c3e55f6287389d48cf357d693ef8"
TOKENS = (
    Token(name="prometheus", token_hash=VIEWER_DIGEST),
    Token(name="robot", token_hash=OPERATOR_DIGEST, role="operator"),
)


@implementer(ISSLTransport)
class SecureTransport(StringTransport):
    """A transport that says it is TLS."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing waits here."""


@attrs.frozen
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a refusal."""
        return str(self.json["error"]["code"])


class _Socket:
    """What http.client reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> BytesIO:
        """The bytes."""
        return BytesIO(self._data)


def read_reply(data: bytes, method: str = "GET") -> Reply:
    """An answer, as Python's own client reads it."""
    response = HTTPResponse(_Socket(data), method=method)  # type: ignore[arg-type]
    response.begin()
    headers: dict[str, list[str]] = {}
    for name, value in response.getheaders():
        headers.setdefault(name.lower(), []).append(value)
    return Reply(response.status, headers, response.read())


class InSite(SynchronousTestCase):
    """Asks a site."""

    users: tuple[User, ...] = ()
    tokens: tuple[Token, ...] = ()
    always = False
    allowed_hosts: tuple[str, ...] = ()
    bounds = Bounds()

    def setUp(self) -> None:
        """A site at rest."""
        self.half = Half()
        hosts = HostRule.of((MANAGER,), self.allowed_hosts)
        settings = AccessSettings.of(hosts, self.users, self.tokens, always=self.always)
        self.guard = Guard(self.half.clock, settings)
        self.half.api._caller = caller_of
        self.context = context_for("Lab 4", "2.0.0")
        api = self.half.api.resource()
        self.parts = {"api": api, "healthz": api, "openapi.json": api, **self.further_parts()}
        half = self.half
        rest = Pages(half.answers, half.standings, images=half.shelf.images, context=self.context).resource()
        self.site = BoundedSite(
            Root(self.guard, self.parts, rest), reactor=self.half.clock, knows=knows(self.guard), bounds=self.bounds
        )

    def further_parts(self) -> dict[str, Any]:
        """Parts of the site besides the API."""
        return {"static": StaticFiles({"style.css": b"main {}\n" * 400, "icons/up.svg": b"<svg/>"})}

    def connect(self, peer: str = HERE, *, secure: bool = False, local: str = MANAGER) -> tuple[Any, StringTransport]:
        """A connection: the server's protocol, and what it writes to."""
        kind = IPv6Address if ":" in peer else IPv4Address
        protocol: Any = self.site.buildProtocol(kind("TCP", peer, 40_000))
        transport = (SecureTransport if secure else StringTransport)(
            peerAddress=kind("TCP", peer, 40_000), hostAddress=IPv4Address("TCP", local, 5000)
        )
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return protocol, transport

    def raw(self, data: bytes, peer: str = HERE, *, secure: bool = False, method: str = "GET") -> Reply:
        """The answer to bytes."""
        protocol, transport = self.connect(peer, secure=secure)
        protocol.dataReceived(data)
        return read_reply(transport.value(), method)

    def ask(
        self,
        method: str,
        path: str,
        *,
        peer: str = HERE,
        host: str = "localhost:5000",
        body: bytes = b"",
        secure: bool = False,
        **headers: str,
    ) -> Reply:
        """The answer to a request; underscores in the names of headers are dashes."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body or method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines) + "\r\n\r\n"
        return self.raw(head.encode("latin-1") + body, peer, secure=secure, method=method)

    def ask_json(self, method: str, path: str, value: Any = None, **more: Any) -> Reply:
        """The answer to a request with JSON."""
        body = json.dumps(value).encode() if value is not None else b""
        return self.ask(method, path, body=body, content_type="application/json", **more)


def password_hash(digest: bytes = b"d" * 32) -> PasswordHash:
    """A hash of no password in particular, cheap to try."""
    return PasswordHash(ln=10, r=1, p=1, salt=b"s" * 16, digest=digest)
