"""
Tests for :mod:`piman.web.access.guard` and :mod:`piman.web.access.rules`, over HTTP as the site speaks it.
"""

import json
from collections.abc import Iterator
from typing import Any

from piman.settings.people import User
from piman.web.access.headers import CONTENT_SECURITY_POLICY
from piman.web.access.rules import need
from piman.web.access.sessions import IDLE_SECONDS
from piman.web.openapi import PATHS
from tests.site_support import ELSEWHERE, HERE, OPERATOR_TOKEN, TOKENS, VIEWER_TOKEN, InSite, Reply, password_hash
from tests.web_support import NODES

ADA = User(name="ada", password_hash=password_hash(b"a" * 32), role="operator")
BOB = User(name="bob", password_hash=password_hash(b"b" * 32))
ORDER = {"action": "restart", "nodes": ["pi2"], "dry_run": True}
OURS = "http://localhost:5000"
CHANGES = ("POST", "PUT", "PATCH", "DELETE")


def mutating_routes() -> Iterator[tuple[str, str]]:
    """Every route of the OpenAPI document that changes something; names in paths are those of nobody."""
    for path, methods in PATHS.items():
        for method in methods:
            if method.upper() in CHANGES:
                yield method.upper(), path.replace("{", "").replace("}", "")


class Knocking(InSite):
    """A site with users and tokens."""

    users = (ADA, BOB)
    tokens = TOKENS

    def session(self, user: User = ADA, **more: Any) -> tuple[str, str]:
        """Cookie and CSRF token of somebody who is logged in."""
        identity = self.guard.sessions.open(user.name, user.password_hash)
        found = self.guard.sessions.find(identity)
        assert found is not None
        return f"piman-5000={identity}", found.csrf_token

    def order(self, **more: Any) -> Reply:
        """POST an order that only plans."""
        return self.ask_json("POST", "/api/v1/operations", ORDER, **more)


class EveryRouteTests(Knocking):
    """What no mutating route of the API may let in."""

    def each(self, status: int, code: str, **headers: str) -> None:
        """Every one refuses, for this reason."""
        routes = list(mutating_routes())
        self.assertIn(("POST", "/api/v1/operations"), routes)
        for method, path in routes:
            reply = self.ask_json(method, path, ORDER, **headers)
            self.assertEqual((reply.status, reply.code), (status, code), (method, path, headers))

    def test_foreign_origin(self) -> None:
        """From a page elsewhere: never, whoever is logged in."""
        cookie, token = self.session()
        for origin in ("http://evil.example", "null", "http://localhost:5001"):
            self.each(403, "foreign-origin", origin=origin)
            self.each(403, "foreign-origin", origin=origin, cookie=cookie, x_csrf_token=token)
            self.each(403, "foreign-origin", origin=origin, authorization=f"Bearer {OPERATOR_TOKEN}")
        self.each(403, "foreign-origin", sec_fetch_site="cross-site")
        self.each(403, "foreign-origin", sec_fetch_site="same-site", origin=OURS)

    def test_foreign_host(self) -> None:
        """Under a name that is not ours: never."""
        self.each(421, "foreign-host", host="rebound.example:5000")
        self.each(421, "foreign-host", host="rebound.example:5000", origin="http://rebound.example:5000")
        self.each(421, "foreign-host", host="rebound.example", authorization=f"Bearer {OPERATOR_TOKEN}")
        self.each(400, "bad-host", host="")

    def test_no_login(self) -> None:
        """From elsewhere without token and session: never."""
        self.each(401, "login-needed", peer=ELSEWHERE)
        self.each(401, "bad-token", peer=ELSEWHERE, authorization="Bearer wrong")
        self.each(401, "bad-token", peer=ELSEWHERE, authorization="Basic YWRhOmFkYQ==")
        self.each(401, "login-needed", peer=ELSEWHERE, cookie="piman-5000=wrong")

    def test_viewer(self) -> None:
        """For whoever may only look: never."""
        self.each(403, "not-allowed", peer=ELSEWHERE, authorization=f"Bearer {VIEWER_TOKEN}")
        cookie, token = self.session(BOB)
        self.each(403, "not-allowed", peer=ELSEWHERE, cookie=cookie, x_csrf_token=token, origin=OURS)

    def test_no_proof(self) -> None:
        """With a session, but without its CSRF token: never, also from this machine."""
        cookie, _ = self.session()
        for more in ({}, {"x_csrf_token": "wrong"}, {"x_csrf_token": ""}):
            self.each(403, "no-csrf-token", peer=ELSEWHERE, cookie=cookie, origin=OURS, **more)
            self.each(403, "no-csrf-token", cookie=cookie, **more)

    def test_behind_a_proxy(self) -> None:
        """A proxy on this machine speaks for others, who must log in."""
        for header in ("X_Forwarded_For", "Forwarded", "X_Real_IP", "Via", "X_Forwarded_Proto"):
            self.each(401, "login-needed", **{header: "203.0.113.9"})


class DrawnInTests(Knocking):
    """Pages elsewhere that would make a part of themselves of us."""

    def test_parts(self) -> None:
        """An image, a script, a fetch, a stream: never; nor from another port of this machine."""
        for site in ("cross-site", "same-site"):
            for mode in ("no-cors", "cors", "websocket"):
                for path in ("/", "/api/v1/nodes", "/api/v1/events/stream", "/static/page.js", "/grafana/"):
                    reply = self.ask("GET", path, sec_fetch_site=site, sec_fetch_mode=mode)
                    self.assertEqual((reply.status, reply.code), (403, "foreign-origin"), path)

    def test_links(self) -> None:
        """A link from elsewhere, an address that was typed, our own page and no browser: as ever."""
        asked = (("cross-site", "navigate"), ("none", "navigate"), ("same-origin", "cors"), ("same-origin", "no-cors"))
        for site, mode in asked:
            reply = self.ask("GET", "/healthz", sec_fetch_site=site, sec_fetch_mode=mode)
            self.assertNotEqual(reply.status, 403, site)


class LetInTests(Knocking):
    """Who is let in."""

    def test_here(self) -> None:
        """From this machine, by a program or by our own page."""
        self.assertEqual(self.order().status, 200)
        self.assertEqual(self.order(peer="::1").status, 200)
        self.assertEqual(self.order(origin=OURS, sec_fetch_site="same-origin").status, 200)
        self.assertEqual(self.order(host="127.0.0.1:8080", origin="http://127.0.0.1:8080").status, 200)

    def test_form_from_here(self) -> None:
        """What any page can POST without asking first needs a token also from this machine."""
        body = json.dumps(ORDER).encode()
        part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "TEXT/PLAIN;x",
        ):
            sent = part if "multipart" in kind else body
            reply = self.ask("POST", "/api/v1/operations", body=sent, content_type=kind)
            self.assertEqual((reply.status, reply.code), (403, "no-csrf-token"), kind)
        self.assertEqual(self.ask("POST", "/api/v1/operations", body=body).status, 403)
        token = self.guard._local_token
        self.assertEqual(self.ask("POST", "/api/v1/operations", body=body, x_csrf_token=token).status, 200)

    def test_form_field(self) -> None:
        """A form shows its token in a field; twice is not once, and the address is not the form."""
        token = self.guard._local_token
        kind = "application/x-www-form-urlencoded; charset=utf-8"

        def post(body: str, path: str = "/logout") -> int:
            return self.ask("POST", path, body=body.encode(), content_type=kind).status

        self.assertEqual(post(f"csrf_token={token}"), 404)  # let in, and there is no such page here
        self.assertEqual(post(f"csrf_token={token}&csrf_token={token}"), 403)
        self.assertEqual(post("x=1", f"/logout?csrf_token={token}"), 403)

    def test_token(self) -> None:
        """A program with a token is known by its name; it needs no proof that it means it."""
        sent = {"peer": ELSEWHERE, "host": "172.30.4.1:5000", "authorization": f"bearer {OPERATOR_TOKEN}"}
        self.assertEqual(self.order(**sent).status, 200)
        reply = self.ask_json("POST", "/api/v1/operations", {**ORDER, "dry_run": False}, **sent)
        self.assertEqual(reply.status, 201)
        operation = reply.json["operation"]
        self.assertEqual((operation["who"], operation["source"]), ("robot", ELSEWHERE))

    def test_viewer(self) -> None:
        """Whoever may look can read everything."""
        for path in ("/api/v1/nodes", "/api/v1/events", "/openapi.json", "/"):
            reply = self.ask("GET", path, peer=ELSEWHERE, authorization=f"Bearer {VIEWER_TOKEN}")
            self.assertEqual(reply.status, 200, path)

    def test_session(self) -> None:
        """Somebody who is logged in, from our page."""
        cookie, token = self.session()
        self.assertEqual(self.order(peer=ELSEWHERE, cookie=f"a=b; {cookie}; c", x_csrf_token=token).status, 200)

    def test_tossed_cookie(self) -> None:
        """A second cookie of the name was put there by another program on this host: neither counts."""
        cookie, token = self.session()
        for both in (f"{cookie}; piman-5000=x", f"{cookie}; {cookie}"):
            reply = self.order(peer=ELSEWHERE, cookie=both, x_csrf_token=token)
            self.assertEqual((reply.status, reply.code), (401, "login-needed"))

    def test_other_port(self) -> None:
        """A session of the manager behind one port is not tried at the one behind another."""
        cookie, token = self.session()
        self.assertEqual(
            self.order(peer=ELSEWHERE, host="localhost:5001", cookie=cookie, x_csrf_token=token).status, 401
        )

    def test_secure(self) -> None:
        """With HTTPS only the cookie that no other program can have set counts (__Host-), and HSTS is said."""
        cookie, token = self.session()
        sent = {"peer": ELSEWHERE, "secure": True, "x_csrf_token": token, "origin": "https://localhost:5000"}
        self.assertEqual(self.order(cookie=cookie, **sent).status, 401)
        reply = self.order(cookie=f"__Host-{cookie}", **sent)
        self.assertEqual((reply.status, reply.headers["strict-transport-security"]), (200, ["max-age=31536000"]))
        self.assertEqual(self.order(cookie=f"__Host-{cookie}", **{**sent, "origin": OURS}).status, 403)

    def test_session_ends(self) -> None:
        """With time, another password, and the user."""
        cookie, token = self.session()
        sent = {"peer": ELSEWHERE, "cookie": cookie, "x_csrf_token": token}
        for changed in ({}, {"ada": User(name="ada", password_hash=password_hash(b"n" * 32), role="operator")}):
            before = self.guard.settings
            object.__setattr__(
                self.guard, "settings", type(before)(hosts=before.hosts, users=changed, tokens=before.tokens)
            )
            self.assertEqual(self.order(**sent).status, 401)
            self.guard.settings = before
        self.assertEqual(self.order(**sent).status, 200)
        self.half.clock.advance(IDLE_SECONDS + 1)
        self.assertEqual(self.order(**sent).status, 401)

    def test_to_the_login(self) -> None:
        """Whoever reads pages is led to the login, and back afterwards; programs are told."""
        reply = self.ask("GET", "/nodes/pi2?q=%20a&b=//x", peer=ELSEWHERE, accept="text/html,*/*")
        where = "/login?next=%2Fnodes%2Fpi2%3Fq%3D%2520a%26b%3D%2F%2Fx"
        self.assertEqual((reply.status, reply.headers["location"]), (303, [where]))
        self.assertEqual(self.ask("GET", "/nodes/pi2", peer=ELSEWHERE).status, 401)
        reply = self.ask("GET", "/api/v1/nodes", peer=ELSEWHERE, accept="text/html")
        self.assertEqual((reply.status, reply.headers["www-authenticate"]), (401, ['Bearer realm="piman"']))

    def test_link_from_elsewhere(self) -> None:
        """A link of another site brings no strict cookie: a page of ours asks again, once, and its text is escaped."""
        sent = {"peer": ELSEWHERE, "accept": "text/html", "sec_fetch_site": "cross-site"}
        reply = self.ask("GET", "/nodes/pi2?a=1&b='%22", **sent)
        self.assertEqual(reply.status, 200)
        self.assertIn(b'content="0; url=/nodes/pi2?a=1&amp;b=&#39;%22"', reply.body)
        self.assertIn(b'content="0; url=/x?&#34;&gt;"', self.ask("GET", '/x?">', **sent).body)
        self.assertEqual(self.ask("GET", "/nodes/pi2", **{**sent, "sec_fetch_site": "same-origin"}).status, 303)
        self.assertEqual(self.ask("GET", "/nodes/pi2", **sent, cookie="a=b").status, 303)

    def test_open(self) -> None:
        """Everybody gets the plain files and is told that the manager runs; nobody gets more."""
        for path in ("/static/style.css", "/healthz"):
            self.assertEqual(self.ask("GET", path, peer=ELSEWHERE).status, 200, path)
        for path in ("/", "/metrics", "/sd/nodes", "/openapi.json", "/api/v1/nodes", "/get_config", "/grafana/", "/x"):
            self.assertEqual(self.ask("GET", path, peer=ELSEWHERE).status, 401, path)
        self.assertEqual(self.ask("POST", "/healthz", peer=ELSEWHERE).status, 401)


class AlwaysTests(Knocking):
    """``web.login: always``"""

    always = True

    def test_here(self) -> None:
        """Whoever comes from this machine must log in, too."""
        self.assertEqual(self.order().code, "login-needed")
        self.assertEqual(self.order(authorization=f"Bearer {OPERATOR_TOKEN}").status, 200)


class NobodyTests(InSite):
    """No users, no tokens."""

    def test_remedy(self) -> None:
        """Those from elsewhere are told what to do; this machine is let in."""
        reply = self.ask("GET", "/api/v1/nodes", peer=ELSEWHERE)
        self.assertEqual((reply.status, reply.code), (403, "no-users"))
        self.assertIn("piman-ctl passwd", reply.json["error"]["hint"])
        page = self.ask("GET", "/", peer=ELSEWHERE, accept="text/html")
        self.assertEqual((page.status, page.headers["content-type"]), (403, ["text/html; charset=utf-8"]))
        self.assertIn(b"piman-ctl passwd", page.body)
        self.assertEqual(self.ask("GET", "/api/v1/nodes").status, 200)


class AllowedHostTests(InSite):
    """``web.allowed_hosts``"""

    allowed_hosts = ("piman.lab",)

    def test_hint(self) -> None:
        """Under its name it answers; under another it says which key to set."""
        self.assertEqual(self.ask("GET", "/healthz", host="PIMAN.lab.").status, 200)
        reply = self.ask("GET", "/healthz", host="piman.lan")
        self.assertEqual(reply.status, 421)
        self.assertIn("add piman.lan to web.allowed_hosts in piman.yaml", reply.json["error"]["hint"])


class AttackTests(Knocking):
    """Requests that are made to be misread."""

    def code(self, *lines: str, peer: str = HERE) -> tuple[int, str]:
        """Status and code of the answer to these lines."""
        reply = self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"), peer)
        return reply.status, reply.code

    def test_absolute_target(self) -> None:
        """RFC 9112, 3.2.2: a whole URL in the request line would name another host than Host does."""
        for target in (
            "http://evil.example/",
            "http://localhost/api/v1/nodes",
            "*",
            "evil.example:443",
            "//evil.example/",
        ):
            self.assertEqual(self.code(f"GET {target} HTTP/1.1", "Host: localhost"), (400, "bad-target"), target)
        self.assertEqual(self.code("OPTIONS * HTTP/1.1", "Host: evil.example"), (400, "bad-target"))

    def test_hosts(self) -> None:
        """None, two, folded, in another header."""
        bad = (400, "bad-host")
        self.assertEqual(self.code("GET / HTTP/1.1"), bad)
        self.assertEqual(self.code("GET / HTTP/1.0"), bad)
        self.assertEqual(self.code("GET / HTTP/1.1", "Host: localhost", "Host: evil.example"), bad)
        self.assertEqual(self.code("GET / HTTP/1.1", "Host: localhost", "hOsT: localhost"), bad)
        self.assertEqual(self.code("GET / HTTP/1.1", "Host: localhost", " evil.example"), bad)
        self.assertEqual(
            self.code("GET / HTTP/1.1", "Host: evil.example", "X-Forwarded-Host: localhost"), (421, "foreign-host")
        )

    def test_two_bodies(self) -> None:
        """RFC 9112, 6.1: whatever could be framed in two ways is no request."""
        begin = "POST /api/v1/operations HTTP/1.1", "Host: localhost"
        for more in (
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding: xchunked",),
            ("Content-Length: +5",),
            ("Content-Length : 5",),
            ("Content-Length: 5, 5",),
        ):
            status, code = self.code(*begin, *more)
            self.assertIn((status, code), [(400, "bad-request"), (411, "length-required")], more)

    def test_hidden_paths(self) -> None:
        """No spelling of a path goes past the table of needs."""
        for path in (
            "/static/../api/v1/nodes",
            "/static%2f..%2fapi",
            "/static/%2e%2e/api/v1/nodes",
            "/%00",
            "/%0a",
            "/login/%ff",
            "/\\api",
            "/\x80",
        ):
            self.assertEqual(self.code(f"GET {path} HTTP/1.1", "Host: localhost", peer=ELSEWHERE)[0], 400, path)
        for path in ("/STATIC/style.css", "/%73tatic%20/x", "/healthz%20", "/login/x/../y", "/;/static"):
            self.assertIn(self.code(f"GET {path} HTTP/1.1", "Host: localhost", peer=ELSEWHERE)[0], (400, 401), path)

    def test_methods(self) -> None:
        """Methods that nobody needs; lower case is another method (RFC 9110, 9.1)."""
        for method in ("TRACE", "CONNECT", "get", "PROPFIND", "X" * 60):
            self.assertEqual(self.code(f"{method} / HTTP/1.1", "Host: localhost")[0], 405, method)

    def test_big_heads(self) -> None:
        """A head without end is refused, with the headers of every answer."""
        for lines in (["X: " + "a" * 20_000], [f"X-{n}: {'a' * 100}" for n in range(90)] * 3, ["X: a"] * 200):
            reply = self.raw("\r\n".join(["GET / HTTP/1.1", "Host: localhost", *lines, "", ""]).encode())
            self.assertIn(reply.status, (400, 431))
            self.assertEqual(reply.headers["content-security-policy"], [CONTENT_SECURITY_POLICY])


class HeaderTests(Knocking):
    """What every answer says to browsers."""

    def test_all(self) -> None:
        """Pages, API, files, refusals of each kind."""
        replies = [
            self.ask("GET", "/"),
            self.ask("HEAD", "/"),
            self.ask("GET", "/nope", accept="text/html"),
            self.ask("GET", "/api/v1/nodes"),
            self.ask("GET", "/api/v1/nope"),
            self.ask("PUT", "/api/v1/nodes", content_type="application/json"),
            self.ask("GET", "/static/style.css"),
            self.ask("GET", "/static/nope"),
            self.ask("GET", "/", host="evil.example"),
            self.ask("GET", "/", peer=ELSEWHERE, accept="text/html"),
            self.ask("POST", "/", body=b"a" * 30_000, peer=ELSEWHERE),
            self.raw(b"nonsense\r\n\r\n"),
        ]
        statuses = [reply.status for reply in replies]
        self.assertEqual(statuses, [200, 200, 404, 200, 404, 405, 200, 404, 421, 303, 413, 400])
        for reply in replies:
            self.assertEqual(reply.headers["content-security-policy"], [CONTENT_SECURITY_POLICY])
            self.assertEqual(reply.headers["x-content-type-options"], ["nosniff"])
            self.assertEqual(reply.headers["referrer-policy"], ["same-origin"])
            self.assertEqual(reply.headers["cross-origin-opener-policy"], ["same-origin"])
            self.assertEqual(reply.headers["cross-origin-resource-policy"], ["same-origin"])
            self.assertIn(reply.headers["cache-control"], (["no-store"], ["no-cache"]))
            self.assertNotIn("server", reply.headers)
            self.assertNotIn("access-control-allow-origin", reply.headers)

    def test_secrets(self) -> None:
        """Neither hashes nor tokens reach any answer."""
        paths = ["/", "/login", *(path for path, methods in PATHS.items() if "get" in methods and "stream" not in path)]
        for path in paths:
            reply = self.ask("GET", path.replace("{name}", NODES[0].hostname).replace("{identity}", "00000000"))
            for user in self.users:
                for secret in (str(user.password_hash), user.password_hash.digest.decode()):
                    self.assertNotIn(secret.encode(), reply.body, path)
            for token in self.tokens:
                self.assertNotIn(token.token_hash.encode(), reply.body, path)
        for secret in (ADA, TOKENS[0], ADA.password_hash):
            for hidden in ("aaaa", TOKENS[0].token_hash):
                self.assertNotIn(hidden, repr(secret))


class RuleTests(InSite):
    """The table."""

    def test_default(self) -> None:
        """What nobody named needs the most."""
        for first in ("", "api", "nope", "Static", "login2", "static%20"):
            for method in CHANGES:
                found = need(method, first)
                self.assertEqual((found.role and found.role.value, found.is_change), ("operator", True))
            for method in ("GET", "HEAD", "OPTIONS"):
                self.assertEqual(need(method, first).role and need(method, first).role.value, "viewer")  # type: ignore[union-attr]

    def test_grafana(self) -> None:
        """Its data source reads by POST, from a server, so it needs no Origin; PUT is something else."""
        self.assertFalse(need("POST", "grafana").is_change)
        self.assertTrue(need("PUT", "grafana").is_change)
