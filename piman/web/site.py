# -*- test-case-name: tests.test_web_site -*-
"""
The web site: what answers at which address, behind one guard, on one TCP port.

Each part is a resource that sees the whole path (``isLeaf``); the first segment of the path chooses it.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from piman.web.access.guard import FORM, Asked, Denial, Denied, Guard
from piman.web.access.headers import usual_headers
from piman.web.access.hosts import Whence, host_of
from piman.web.access.visitors import IVisitor, Visitor, Way, visitor_of
from piman.web.connections import BoundedSite
from piman.web.refusals import Again, Moved, Refused, wants_page

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
_NAVIGATION = {"": "rack", "nodes": "rack"}
"""Which item of the navigation is current, where that is not the first segment itself."""


def _text(values: list[bytes]) -> list[str]:
    return [value.decode("utf-8", "surrogateescape") for value in values]


def asked_by(request: Any) -> Asked:
    """What the guard looks at."""

    def header(name: bytes) -> list[str]:
        return _text(request.requestHeaders.getRawHeaders(name, []))

    def form() -> bytes:
        body: bytes = request.content.read()
        request.content.seek(0)
        return body

    kind = (header(b"content-type") or [""])[0].partition(";")[0].strip().lower()
    return Asked(
        method=request.method.decode("ascii", "replace"),
        target=request.uri.decode("utf-8", "surrogateescape"),
        hosts=header(b"host"),
        peer=str(request.getClientAddress().host),
        local=str(getattr(request.getHost(), "host", "")),
        is_secure=bool(request.isSecure()),
        whence=Whence(
            origins=header(b"origin"),
            site=",".join(header(b"sec-fetch-site")) or None,
            mode=",".join(header(b"sec-fetch-mode")) or None,
        ),
        authorizations=header(b"authorization"),
        cookies=header(b"cookie"),
        is_forwarded=any(request.requestHeaders.hasHeader(name) for name in _FORWARDED),
        is_forwarded_secure=header(b"x-forwarded-proto") == ["https"],
        csrf_token=",".join(header(b"x-csrf-token")) if request.requestHeaders.hasHeader(b"x-csrf-token") else None,
        content_type=kind,
        form=form if kind == FORM else bytes,
    )


class Root(Resource):
    """
    The site: guards, then hands over.

    :param parts: by first segment of the path.
    :param rest: for all other paths: the pages.
    """

    def __init__(self, guard: Guard, parts: Mapping[str, IResource], rest: IResource) -> None:
        super().__init__()
        self._guard = guard
        self._parts = dict(parts)
        self._rest = rest

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        """What answers a request, or why it is not let in."""
        for name, value in usual_headers(is_secure=bool(request.isSecure())):
            request.setHeader(name.encode("ascii"), value.encode("ascii"))
        request.responseHeaders.removeHeader(b"server")
        asked = asked_by(request)
        verdict = self._guard.judge(asked)
        request.postpath.insert(0, request.prepath.pop())
        if isinstance(verdict, Denial):
            return _denied(request, asked, verdict)
        request.setComponent(IVisitor, verdict)
        return self._parts.get(path.decode("utf-8", "replace"), self._rest)


def _denied(request: Any, asked: Asked, denial: Denial) -> IResource:
    if denial.asks_for_login and asked.method in ("GET", "HEAD") and wants_page(request):
        if asked.whence.site == "cross-site" and not asked.cookies:
            return Again(asked.target)
        return Moved(f"/login?next={quote(asked.target, safe='', errors='replace')}")
    for name, value in denial.headers:
        request.setHeader(name.encode("ascii"), value.encode("ascii"))
    return Refused(denial.status, denial.code, denial.message, denial.hint)


def knows(guard: Guard) -> Callable[[IRequest], bool]:
    """Whether a request, of which only the head is there, comes from somebody who may send more than a login."""

    def is_known(request: IRequest) -> bool:
        asked = asked_by(request)
        host = host_of(asked.hosts)
        if host is None:
            return False
        try:
            return guard.visitor(asked, host).way is not Way.NOBODY
        except Denied:
            return False

    return is_known


def context_for(site_name: str, version: str) -> Callable[[IRequest], dict[str, Any]]:
    """
    What every template gets, for a request.

    :param site_name: whose rack it is.
    """

    def context(request: Any) -> dict[str, Any]:
        visitor: Visitor = visitor_of(request)
        first = [*request.prepath, *request.postpath, b""][0].decode("utf-8", "replace")
        return {
            "csrf_token": visitor.csrf_token,
            "user": visitor.who,
            "role": visitor.role.value if visitor.who else "",
            "site_name": site_name,
            "version": version,
            "page": _NAVIGATION.get(first, first),
        }

    return context


# The service


class SiteService(Service):
    """
    The site's TCP port; it is bound while the process may still do that.

    :param bind: binds the site to its port.
    :param end: called before the port is closed: streams go on for ever by themselves.
    """

    def __init__(self, site: BoundedSite, bind: Callable[[], IListeningPort], end: Callable[[], object]) -> None:
        self._site = site
        self._bind = bind
        self._end = end
        self._port: IListeningPort | None = None

    @property
    def port(self) -> int:
        """The number of the bound port; 0: it is not bound."""
        host: Any = self._port.getHost() if self._port is not None else None
        return getattr(host, "port", 0)

    def privilegedStartService(self) -> None:
        """
        Bind.

        :raises CannotListenError: when the port is taken or forbidden.
        """
        super().privilegedStartService()
        self._port = self._bind()

    def startService(self) -> None:
        """Serve."""
        if self._port is None:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> "Deferred[None]":
        """Take no more callers, end the streams, then all connections."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        await maybeDeferred(port.stopListening)
        self._end()
        self._site.abort_all()
