# -*- test-case-name: tests.test_web_access_guard -*-
"""
The guard: every request of the site passes here before anything else looks at it.

In this order: is it for us (Host), does it come from our own pages (Origin) where it would change something, and is it
no part of a page elsewhere (Sec-Fetch-Mode) where it would not, who is it, may they, and did their browser mean it
(CSRF token).  It answers with a :class:`Visitor` or a :class:`Denial`.

1. RFC 9110: 7.2 Host, 15.5.2 401, 15.5.20 421 Misdirected Request
2. RFC 6750 Bearer Token Usage
3. OWASP Cross-Site Request Forgery Prevention Cheat Sheet
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import parse_qs, unquote_to_bytes

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.settings.people import Role, Token, User
from piman.web.access.hosts import Authority, HostRule, Whence, host_of, is_loopback, is_own
from piman.web.access.rules import METHODS, Need, need
from piman.web.access.sessions import ID_BYTES, Sessions
from piman.web.access.visitors import Visitor, Way

LOCAL = "local"
_SIMPLE = frozenset({"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""What a page elsewhere can POST without asking first (Fetch, CORS-safelisted request-header)."""
_SEPARATING = re.compile(r"[/\\\x00-\x1f\x7f]")
FORM = "application/x-www-form-urlencoded"


@attrs.frozen(kw_only=True)
class AccessSettings:
    """What the configuration says."""

    hosts: HostRule = attrs.field(factory=HostRule)
    users: Mapping[str, User] = attrs.field(factory=dict)
    tokens: Mapping[str, Token] = attrs.field(factory=dict)
    """By SHA-256."""
    always: bool = False
    """Whether those on this machine must log in, too."""

    @classmethod
    def of(
        cls, hosts: HostRule, users: Sequence[User], tokens: Sequence[Token], *, always: bool = False
    ) -> "AccessSettings":
        """From lists."""
        by_name = {user.name: user for user in users}
        return cls(hosts=hosts, users=by_name, tokens={token.token_hash: token for token in tokens}, always=always)


@attrs.frozen(kw_only=True)
class Asked:
    """
    A request, as far as the guard looks at it.

    :ivar target: as it stands in the request line, with its query.
    :ivar form: reads the body of a form.
    """

    method: str
    target: str
    hosts: Sequence[str]
    peer: str = "127.0.0.1"
    local: str = "127.0.0.1"
    is_secure: bool = False
    whence: Whence = attrs.field(factory=Whence)
    authorizations: Sequence[str] = ()
    cookies: Sequence[str] = ()
    """Values of Cookie."""
    is_forwarded: bool = False
    """Whether a proxy says that it speaks for somebody else."""
    is_forwarded_secure: bool = False
    csrf_token: str | None = None
    """X-CSRF-Token."""
    content_type: str = ""
    """Without parameters, lower case."""
    form: Callable[[], bytes] = bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def first(self) -> str:
        """The first segment of the path, decoded as the site does it."""
        return unquote_to_bytes(self.path.split("/")[1]).decode("utf-8", "replace")

    @property
    def speaks_https(self) -> bool:
        """Whether the browser does."""
        return self.is_secure or (self.is_forwarded and self.is_forwarded_secure)


@attrs.frozen(kw_only=True)
class Denial:
    """Why somebody is not let in."""

    status: int
    code: str
    message: str
    hint: str = ""
    headers: Sequence[tuple[str, str]] = ()

    @property
    def asks_for_login(self) -> bool:
        """Whether a login would help."""
        return self.code == "login-needed"


class Denied(Exception):
    """Carries a :class:`Denial` out of the guard's steps."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", **headers: str) -> None:
        super().__init__(message)
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.denial = Denial(status=status, code=code, message=message, hint=hint, headers=named)


class Guard:
    """
    Judges requests.

    :ivar settings: may be replaced while it runs.
    """

    def __init__(self, clock: IReactorTime, settings: AccessSettings) -> None:
        self.settings = settings
        self.sessions = Sessions(clock)
        self._local_token = secrets.token_urlsafe(ID_BYTES)

    def judge(self, asked: Asked) -> Visitor | Denial:
        """Whether a request is let in, and as whose."""
        try:
            return self._judge(asked)
        except Denied as denied:
            return denied.denial

    def _judge(self, asked: Asked) -> Visitor:
        check_target(asked)
        host = self._host(asked)
        if asked.method not in METHODS:
            allowed = ", ".join(sorted(METHODS))
            raise Denied(
                405, "method-not-allowed", f"found {asked.method[:20]}, expected one of {allowed}", allow=allowed
            )
        needed = need(asked.method, asked.first)
        if needed.is_change:
            check_origin(asked, host)
        elif asked.whence.is_drawn_in:
            raise Denied(403, "foreign-origin", "a page that is not this manager's asks for a part of itself")
        visitor = self.visitor(asked, host)
        if needed.role is not None:
            self._check_role(visitor, needed)
            if needed.is_change:
                self._check_proof(asked, visitor)
        return visitor

    def _host(self, asked: Asked) -> Authority:
        host = host_of(asked.hosts)
        if host is None:
            raise Denied(400, "bad-host", f"found {len(asked.hosts)} Host headers, or a strange one, expected one name")
        if not self.settings.hosts.admits(host, asked.local):
            raise Denied(
                421,
                "foreign-host",
                f"this manager does not go by the name {host.name}",
                f"If it should, add {host.name} to web.allowed_hosts in piman.yaml and say kill -HUP.",
            )
        return host

    # Who it is

    def visitor(self, asked: Asked, host: Authority) -> Visitor:
        """
        Who sent it.

        :raises Denied: when it shows a token that is none.
        """
        found = self._with_token(asked) if asked.authorizations else None
        found = found or self._with_session(asked, host) or self._without(asked)
        return attrs.evolve(found, speaks_https=asked.speaks_https)

    def _with_token(self, asked: Asked) -> Visitor:
        scheme, _, secret = asked.authorizations[0].partition(" ")
        digest = sha256(secret.strip().encode("utf-8", "surrogateescape")).hexdigest()
        found = self.settings.tokens.get(digest)
        if len(asked.authorizations) != 1 or scheme.lower() != "bearer" or found is None:
            hint = "Send Authorization: Bearer TOKEN with one that piman-ctl passwd --token made."
            raise Denied(401, "bad-token", "the token is not known", hint, www_authenticate='Bearer realm="piman"')
        return Visitor(who=found.name, source=asked.peer, way=Way.TOKEN, role=Role(found.role))

    def _with_session(self, asked: Asked, host: Authority) -> Visitor | None:
        """A cookie that is there twice was put there by somebody else, and neither counts."""
        values = cookie_values(asked.cookies, cookie_name(host, is_secure=asked.speaks_https))
        session = self.sessions.find(values[0]) if len(values) == 1 else None
        user = self.settings.users.get(session.user) if session else None
        if session is None or user is None or user.password_hash != session.password_hash:
            return None
        return Visitor(
            who=user.name,
            source=asked.peer,
            way=Way.SESSION,
            role=Role(user.role),
            csrf_token=session.csrf_token,
            session=values[0],
        )

    def _without(self, asked: Asked) -> Visitor:
        if is_loopback(asked.peer) and not asked.is_forwarded and not self.settings.always:
            token = self._local_token
            return Visitor(who=LOCAL, source=asked.peer, way=Way.LOCAL, role=Role.OPERATOR, csrf_token=token)
        return Visitor(who="", source=asked.peer, way=Way.NOBODY)

    # What they may

    def _check_role(self, visitor: Visitor, needed: Need) -> None:
        if visitor.way is Way.NOBODY:
            raise self._login_needed()
        if needed.role is Role.OPERATOR and not visitor.is_operator:
            hint = f"Give {visitor.who} role: operator in piman.yaml, or ask somebody who has it."
            raise Denied(403, "not-allowed", f"{visitor.who} is a viewer: this needs an operator", hint)

    def _login_needed(self) -> Denied:
        if not self.settings.users and not self.settings.tokens:
            return Denied(
                403,
                "no-users",
                "nobody can log in: piman.yaml names no web.users and no web.tokens",
                "Make a user with piman-ctl passwd, or come from this machine: ssh -L 5000:127.0.0.1:5000 MANAGER.",
            )
        return Denied(
            401,
            "login-needed",
            "this needs a login",
            "Log in at /login, or send Authorization: Bearer TOKEN.",
            www_authenticate='Bearer realm="piman"',
        )

    def _check_proof(self, asked: Asked, visitor: Visitor) -> None:
        """
        A browser sends its cookies, and comes from its own machine, whoever's page makes it; a token is sent by those
        alone who mean it.
        """
        if visitor.way is Way.TOKEN:
            return
        shown = asked.csrf_token if asked.csrf_token is not None else form_field(asked, "csrf_token")
        if shown is not None and compare_digest(shown.encode("utf-8", "replace"), visitor.csrf_token.encode()):
            return
        must_ask_first = asked.method != "POST" or asked.content_type not in _SIMPLE
        if shown is None and visitor.way is Way.LOCAL and must_ask_first:
            return
        hint = "Load the page again."
        if visitor.way is Way.LOCAL:
            hint = "Load the page again; a program sends Content-Type: application/json."
        raise Denied(403, "no-csrf-token", "the request does not show that it was meant", hint)


# Pieces


def check_target(asked: Asked) -> None:
    """
    A path, and nothing that two readers could read as two paths.

    :raises Denied: for anything else: a whole URL (for proxies), encoded slashes, steps back.
    """
    is_plain = asked.target.isascii() and asked.target.isprintable()
    is_path = asked.path.startswith("/") and not asked.path.startswith("//")
    if not is_plain or not is_path or any(map(_is_strange, asked.path.split("/"))):
        raise Denied(400, "bad-target", "found a strange path, expected one like /api/v1/nodes")


def _is_strange(segment: str) -> bool:
    """Whether a segment is none when it is decoded."""
    try:
        found = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return True
    return found in (".", "..") or bool(_SEPARATING.search(found))


def check_origin(asked: Asked, host: Authority) -> None:
    """
    Whether a change comes from our own pages, or from no page.

    :raises Denied: when it does not.
    """
    schemes: Sequence[str] = ("https",) if asked.speaks_https else ("http",)
    if asked.is_forwarded:
        schemes = ("http", "https")
    if not is_own(asked.whence, host, schemes):
        hint = "Use the manager's own pages; behind a proxy, let it pass the Host header on."
        raise Denied(403, "foreign-origin", "the request comes from a page that is not this manager's", hint)


def cookie_name(host: Authority, *, is_secure: bool) -> str:
    """
    The name of the session's cookie.

    Browsers do not tell ports apart in cookies: two managers behind ``ssh -L`` would log each other out.
    """
    port = host.port or (443 if is_secure else 80)
    return f"__Host-piman-{port}" if is_secure else f"piman-{port}"


def cookie_values(headers: Sequence[str], name: str) -> list[str]:
    """All values of a cookie (RFC 6265, 5.4 says nothing of which one is right)."""
    pairs = (pair.strip().partition("=") for header in headers for pair in header.split(";"))
    return [value for found, _, value in pairs if found == name]


def form_field(asked: Asked, name: str) -> str | None:
    """A field of a form; None: it is not there, or more than once."""
    if asked.content_type != FORM:
        return None
    try:
        found = parse_qs(asked.form().decode("utf-8"), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        return None
    values = found.get(name, [])
    return values[0] if len(values) == 1 else None
