"""
Tests for :mod:`piman.web.site`: what answers where, the service, and how it says no.
"""

from typing import Any

from jinja2 import UndefinedError
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from piman.web.access.visitors import NotGuarded, visitor_of
from piman.web.rendering import page
from piman.web.site import SiteService
from tests.site_support import InSite
from tests.web_support import NODES


class Echo(Resource):
    """Says which part it is, and what it sees of the path."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render_GET(self, request: Any) -> bytes:
        """What it sees."""
        seen = b"/".join(request.postpath)
        return f"{self._name} {seen.decode()} {visitor_of(request).who}".encode()


class CompositionTests(InSite):
    """Parts of the site."""

    def further_parts(self) -> dict[str, Any]:
        """Two that tell what they see."""
        return {"one": Echo("one"), "two": Echo("two")}

    def test_first_segment(self) -> None:
        """The first segment chooses, decoded; each part sees the whole path and who asks."""
        self.assertEqual(self.ask("GET", "/one").body, b"one one local")
        self.assertEqual(self.ask("GET", "/two/a/b%20c?d=/one").body, b"two two/a/b c local")
        self.assertEqual(self.ask("GET", "/%6fne/").body, b"one one/ local")

    def test_the_rest(self) -> None:
        """Everything else is the pages'."""
        page = self.ask("GET", "/")
        self.assertEqual((page.status, page.headers["content-type"]), (200, ["text/html; charset=utf-8"]))
        for node in NODES:
            self.assertIn(node.hostname.encode(), page.body)
        for path in ("/onex", "/ONE", "/nodes"):
            self.assertEqual(self.ask("GET", path).status, 404, path)

    def test_page_or_json(self) -> None:
        """Whoever reads pages is told in a page, with what was asked for escaped; programs in JSON."""
        reply = self.ask("GET", "/%3Cscript%3E", accept="text/html")
        self.assertRegex(reply.body.lower(), b"found nothing at /(%3c|&lt;)script(%3e|&gt;)")
        self.assertNotIn(b"<script>", reply.body)
        reply = self.ask("GET", "/nope", accept="application/json")
        self.assertEqual(reply.json["error"]["code"], "no-such-path")
        self.assertEqual(self.ask("GET", "/api/nope", accept="text/html").code, "no-such-path")

    def test_method(self) -> None:
        """What a page cannot do is said with what it can."""
        reply = self.ask_json("DELETE", "/", 1)
        self.assertEqual((reply.status, reply.headers["allow"]), (405, ["GET, HEAD"]))

    def test_context(self) -> None:
        """A page knows who looks at it, whose rack it is, and which item of its navigation is current."""
        body = self.ask("GET", "/").body.decode()
        for text in ("Lab 4", ">local<", ">operator<", f'content="{self.guard._local_token}"', "piman 2.0.0"):
            self.assertIn(text, body)
        self.assertRegex(body, r'<a href="/" aria-current="page">')

    def test_head(self) -> None:
        """HEAD says what GET would, and no more."""
        reply = self.ask("HEAD", "/")
        self.assertEqual((reply.status, reply.body), (200, b""))


class UnguardedTests(SynchronousTestCase):
    """A request that came past the guard."""

    def test_refused(self) -> None:
        """Nobody is nobody: who it is cannot be asked."""
        request = DummyRequest([b""])
        request.getComponent = lambda interface: None
        self.assertRaises(NotGuarded, visitor_of, request)


class TemplateTests(SynchronousTestCase):
    """Templates."""

    def test_misspelt(self) -> None:
        """A name that nobody gave is an error, not a blank."""
        self.assertRaises(UndefinedError, page, "error.html", {"title": "only this"})


class ServiceTests(SynchronousTestCase):
    """The end of the service."""

    def test_order(self) -> None:
        """First nobody is let in any more, then the streams end, then the connections; a second time does nothing."""
        told: list[str] = []

        class Port:
            def getHost(self) -> IPv4Address:
                return IPv4Address("TCP", "127.0.0.1", 5000)

            def stopListening(self) -> "Deferred[None]":
                told.append("port")
                return succeed(None)

        class Site:
            def abort_all(self) -> None:
                told.append("connections")

        service = SiteService(Site(), Port, lambda: told.append("streams"))  # type: ignore[arg-type]
        self.assertEqual(service.port, 0)
        service.privilegedStartService()
        service.startService()
        self.assertEqual(service.port, 5000)
        self.successResultOf(service.stopService())
        self.successResultOf(service.stopService())
        self.assertEqual(told, ["port", "streams", "connections"])
