"""
Tests for :mod:`piman.web.connections`: what a caller may take.
"""

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from piman.web.connections import Bounds
from tests.site_support import ELSEWHERE, OPERATOR_TOKEN, TOKENS, InSite, read_reply

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Slow(Resource):
    """Answers never, or not at all."""

    isLeaf = True

    def render_GET(self, request: object) -> int:
        """Later."""
        return NOT_DONE_YET

    def render_PUT(self, request: object) -> bytes:
        """Our mistake."""
        raise RuntimeError("secret detail")


class ConnectionTests(InSite):
    """Connections."""

    tokens = TOKENS
    bounds = Bounds(request_seconds=10.0, linger_seconds=1.0, connections=3)

    def further_parts(self) -> dict[str, object]:
        """A part that takes its time."""
        return {"slow": Slow()}

    def test_keeps_alive(self) -> None:
        """Several requests go over one connection, also without waiting for answers."""
        protocol, transport = self.connect()
        protocol.dataReceived(GET + GET)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200 OK"), 2)
        self.assertFalse(transport.disconnecting)

    def test_slow_request(self) -> None:
        """A request must be complete in time, however busily its bytes trickle in."""
        protocol, transport = self.connect()
        for byte in range(9):
            self.half.clock.advance(1)
            protocol.dataReceived(GET[byte : byte + 1])
        self.assertFalse(transport.disconnected)
        self.half.clock.advance(1.1)
        self.assertTrue(transport.disconnected)

    def test_idle(self) -> None:
        """So must the next one."""
        protocol, transport = self.connect()
        self.half.clock.advance(9)
        protocol.dataReceived(GET)
        self.half.clock.advance(9)
        self.assertFalse(transport.disconnected)
        self.half.clock.advance(1.1)
        self.assertTrue(transport.disconnected)

    def test_long_answer(self) -> None:
        """An answer may take as long as it takes: streams do."""
        protocol, transport = self.connect()
        protocol.dataReceived(GET.replace(b"healthz", b"slow"))
        self.half.clock.advance(3600)
        self.assertFalse(transport.disconnected)

    def test_refused_body(self) -> None:
        """A body that is too long is refused when it is announced; none of it is kept, and the end comes soon."""
        protocol, transport = self.connect(ELSEWHERE)
        protocol.dataReceived(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\nbegin")
        reply = read_reply(transport.value())
        self.assertEqual((reply.status, reply.code, reply.headers["connection"]), (413, "too-large", ["close"]))
        sent = len(transport.value())
        for _ in range(100):
            protocol.dataReceived(b"x" * 65_536)
            protocol.dataReceived(GET)
        self.assertEqual(len(transport.value()), sent)
        self.half.clock.advance(1.1)
        self.assertTrue(transport.disconnected)

    def test_known_body(self) -> None:
        """Whoever is known may send what the API takes, and not more."""
        for length, status in ((20_000, 400), (1 << 20, 400), ((1 << 20) + 1, 413), (1 << 21, 413)):
            reply = self.ask(
                "POST",
                "/api/v1/operations",
                body=b" " * length,
                peer=ELSEWHERE,
                authorization=f"Bearer {OPERATOR_TOKEN}",
            )
            self.assertEqual(reply.status, status, length)

    def test_continue(self) -> None:
        """Whoever asks whether to send a body is told before it comes (RFC 9110, 10.1.1)."""
        protocol, transport = self.connect(ELSEWHERE)
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        protocol.dataReceived(head % 100_000)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 413 "))
        protocol, transport = self.connect(ELSEWHERE)
        protocol.dataReceived(head % 100)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 100 Continue\r\n\r\n"))

    def test_chunks(self) -> None:
        """A body without a length is not taken."""
        reply = self.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        self.assertEqual((reply.status, reply.code), (411, "length-required"))

    def test_too_many(self) -> None:
        """One connection too many ends the one that has been idle for the longest time; busy ones stay."""
        busy, first = self.connect()
        busy.dataReceived(GET.replace(b"healthz", b"slow"))
        _, second = self.connect()
        _, third = self.connect()
        self.connect()
        self.assertEqual([each.disconnected for each in (first, second, third)], [False, True, False])

    def test_all_busy(self) -> None:
        """Where all are busy a new caller is hung up on."""
        for _ in range(3):
            protocol, _ = self.connect()
            protocol.dataReceived(GET.replace(b"healthz", b"slow"))
        _, transport = self.connect()
        self.assertTrue(transport.disconnected)

    def test_our_mistake(self) -> None:
        """What goes wrong is told to the log, and to nobody else."""
        for accept, kind in (("text/html", "text/html; charset=utf-8"), ("*/*", "application/json")):
            reply = self.ask("PUT", "/slow", content_type="application/json", accept=accept)
            self.assertEqual((reply.status, reply.headers["content-type"]), (500, [kind]))
            self.assertNotIn(b"secret detail", reply.body)
            self.assertIn("content-security-policy", reply.headers)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_abort(self) -> None:
        """At the end all connections end."""
        protocol, transport = self.connect()
        protocol.dataReceived(GET.replace(b"healthz", b"slow"))
        self.site.abort_all()
        self.assertTrue(transport.disconnected)

    def test_http_1_alone(self) -> None:
        """With TLS nothing else is spoken: the bounds here are those of HTTP/1.1."""
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])
