# -*- test-case-name: tests.test_web_access_login -*-
"""
``/login`` and ``/logout``.

A name that no user has is told to nobody, in no event and no log: it may be a password in the wrong field.
"""

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from piman.fleet.events import LoggedIn, LoginRefused
from piman.fleet.interfaces import IEventSink
from piman.fleet.throttle import Throttle
from piman.settings.people import User
from piman.web.access.guard import FORM, Guard, cookie_name
from piman.web.access.hosts import host_of
from piman.web.access.passwords import LONGEST_PASSWORD, Checker, TooBusy
from piman.web.access.tries import Tries
from piman.web.access.visitors import Way, visitor_of
from piman.web.refusals import refuse_http, see_other
from piman.web.rendering import page

TOLD_SECONDS = 60.0
"""Refused logins of one address are an event at most so often."""
BUSY_SECONDS = 2


def safe_next(text: str) -> str:
    """
    Where to go after a login: a path of this site, or the first page.

    Browsers take ``//host``, ``/\\\\host`` and paths with tabs or line ends in them for other sites.
    """
    is_path = text.startswith("/") and not text.startswith(("//", "/\\", "/login", "/logout"))
    return text if is_path and text.isascii() and text.isprintable() and "\\" not in text else "/"


class Login:
    """
    The two routes.

    :param context: what every template gets, for a request.
    """

    app = Klein()
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        guard: Guard,
        checker: Checker,
        events: IEventSink,
        context: Callable[[IRequest], dict[str, Any]],
    ) -> None:
        self._guard = guard
        self._checker = checker
        self._events = events
        self._context = context
        self._tries = Tries(clock)
        self._told = Throttle(clock, TOLD_SECONDS)

    def resource(self) -> IResource:
        """Both routes as one resource."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/login", methods=["GET"])
    def form(self, request: Any) -> bytes:
        """The form; whoever is logged in goes on."""
        wanted = safe_next(request.args.get(b"next", [b""])[0].decode("utf-8", "replace"))
        if visitor_of(request).way is Way.SESSION:
            return see_other(request, wanted)
        return self._shown(request, 200, wanted)

    @app.route("/login", methods=["POST"])
    async def login(self, request: Any) -> bytes:
        """Try a password."""
        fields = _fields(request)
        name, password = fields.get("name", "").strip(), fields.get("password", "")
        wanted, source = safe_next(fields.get("next", "")), visitor_of(request).source
        wait = self._tries.wait_seconds(source, name)
        if wait > 0:
            return self._wait(request, wanted, math.ceil(wait), "There were too many attempts.")
        self._tries.spend(source, name)
        user = self._guard.settings.users.get(name)
        try:
            is_right = await self._checker.check(password[:LONGEST_PASSWORD], user.password_hash if user else None)
        except TooBusy:
            return self._wait(request, wanted, BUSY_SECONDS, "Too many logins wait already.", status=503)
        if user is None or not is_right:
            self._refused(user, source)
            return self._shown(request, 403, wanted, name=name, mistake="Name and password do not belong together.")
        self._tries.forgive(source, name)
        self._events.emit(LoggedIn(who=user.name, source=source))
        self._begin(request, user)
        return see_other(request, wanted)

    @app.route("/logout", methods=["POST"])
    def logout(self, request: Any) -> bytes:
        """End the session."""
        visitor = visitor_of(request)
        if visitor.way is Way.SESSION:
            self._guard.sessions.close(visitor.session)
            self._log.info("{who} logged out ({source})", who=visitor.who, source=visitor.source)
            _set_cookie(request, "", "; Max-Age=0")
        return see_other(request, "/login")

    @app.handle_errors(HTTPException)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """There is nothing below these addresses."""
        error: Any = failure.value
        return refuse_http(request, error, self._context(request))

    def _begin(self, request: Any, user: User) -> None:
        """A session of its own for each login: an id that was known before is worth nothing."""
        self._guard.sessions.close(visitor_of(request).session)
        _set_cookie(request, self._guard.sessions.open(user.name, user.password_hash))

    def _refused(self, user: User | None, source: str) -> None:
        if self._told.passes(source):
            who = user.name if user else ""
            self._events.emit(LoginRefused(who=who, source=source, held_back=self._told.take_held_back()))

    def _wait(self, request: Any, wanted: str, seconds: int, why: str, status: int = 429) -> bytes:
        request.setHeader(b"retry-after", str(seconds).encode("ascii"))
        return self._shown(request, status, wanted, mistake=f"{why} Try again in {seconds} s.")

    def _shown(self, request: Any, status: int, wanted: str, name: str = "", mistake: str = "") -> bytes:
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        values = {"next": wanted, "name": name, "mistake": mistake, "has_users": bool(self._guard.settings.users)}
        return page("login.html", self._context(request), **values)


def _fields(request: Any) -> dict[str, str]:
    """The fields of a form; of one that is there twice, nothing."""
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != FORM.encode("ascii"):
        return {}
    try:
        found = parse_qs(request.content.read().decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _set_cookie(request: Any, value: str, more: str = "") -> None:
    hosts = [each.decode("latin-1") for each in request.requestHeaders.getRawHeaders(b"host", [])]
    host = host_of(hosts)
    assert host is not None  # the guard has seen to it
    is_secure = visitor_of(request).speaks_https
    name = cookie_name(host, is_secure=is_secure)
    text = f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}{more}"
    request.responseHeaders.addRawHeader(b"set-cookie", text.encode("ascii"))
