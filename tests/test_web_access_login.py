"""
Tests for :mod:`piman.web.access.login`, with its passwords, tries and sessions.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as some
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.events import LoggedIn, LoginRefused
from piman.settings.people import PasswordHash, User
from piman.web.access.guard import AccessSettings
from piman.web.access.login import Login, safe_next
from piman.web.access.passwords import MOST_WAITING, Checker, TooBusy, hash_password, matches
from piman.web.access.sessions import IDLE_SECONDS, LONGEST_SECONDS, MOST_OF_ONE, MOST_SESSIONS, Sessions
from piman.web.access.tries import OF_ADDRESS, OF_NAME, Allowance, Bucket, Tries
from tests.site_support import ELSEWHERE, HERE, InSite, Reply, password_hash, read_reply

PASSWORD = "pleaseletmein"
# RFC 7914, section 12: scrypt (P="pleaseletmein", S="SodiumChloride", N=16384, r=8, p=1, dkLen=64)
RFC_7914 = bytes.fromhex(
    "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
)
ADAS = PasswordHash(ln=14, r=8, p=1, salt=b"SodiumChloride", digest=RFC_7914)
ADA = User(name="ada", password_hash=ADAS, role="operator")
FORM = "application/x-www-form-urlencoded"


class PasswordTests(SynchronousTestCase):
    """Hashes."""

    def test_rfc(self) -> None:
        """The test vector of RFC 7914, section 12."""
        self.assertTrue(matches(PASSWORD, ADAS))
        self.assertFalse(matches("pleaseletmeIn", ADAS))

    def test_made(self) -> None:
        """What is made for a password fits it, as it is written, however its letters are composed; each has a salt."""
        made = PasswordHash.parse(str(hash_password("p\u00e4ssw\u00f6rter")))
        self.assertTrue(matches("pa\u0308sswo\u0308rter", made))
        self.assertFalse(matches("passworter", made))
        self.assertNotEqual(made.salt, hash_password("p\u00e4ssw\u00f6rter").salt)

    def test_any_text(self) -> None:
        """Any text can be tried, also one that is no text."""
        for text in ("", "\0", "\udc80", "a" * 1024):
            self.assertFalse(matches(text, password_hash()))

    def test_one_at_a_time(self) -> None:
        """One is hashed at a time, some wait, more are sent away; somebody who is not there takes as long."""
        begun: list[Callable[[], bool]] = []
        ends: list[Deferred[bool]] = []

        def in_thread(work: Callable[[], bool]) -> "Deferred[bool]":
            begun.append(work)
            ends.append(Deferred())
            return ends[-1]

        checker = Checker(in_thread)
        found = [checker.check("x", None) for _ in range(MOST_WAITING + 1)]
        self.assertEqual(len(begun), 1)
        self.assertRaises(TooBusy, checker.check, "x", None)
        for at in range(len(found)):
            ends[at].callback(False)
        self.assertEqual([self.successResultOf(each) for each in found], [False] * len(found))
        self.assertFalse(begun[0]())


class TriesTests(SynchronousTestCase):
    """How often somebody may guess."""

    def setUp(self) -> None:
        """A clock."""
        self.clock = Clock()
        self.clock.advance(1_750_000_000)

    def test_address(self) -> None:
        """An address has a few tries, then one in half a minute; others are not touched."""
        tries = Tries(self.clock)
        for _ in range(OF_ADDRESS.tries):
            self.assertEqual(tries.wait_seconds("a", "ada"), 0)
            tries.spend("a", "ada")
        self.assertAlmostEqual(tries.wait_seconds("a", "bob"), OF_ADDRESS.seconds)
        self.assertEqual(tries.wait_seconds("b", "ada"), 0)
        self.clock.advance(OF_ADDRESS.seconds + 0.001)
        self.assertEqual(tries.wait_seconds("a", "bob"), 0)
        tries.spend("a", "bob")
        self.assertGreater(tries.wait_seconds("a", "bob"), 29)

    def test_name(self) -> None:
        """Many addresses together have few tries for one name."""
        tries = Tries(self.clock)
        for number in range(OF_NAME.tries):
            tries.spend(str(number), "ada")
        self.assertGreater(tries.wait_seconds("new", "ada"), 29)
        self.assertEqual(tries.wait_seconds("new", "bob"), 0)

    def test_forgiven(self) -> None:
        """The right password gives all back."""
        tries = Tries(self.clock)
        for _ in range(OF_ADDRESS.tries):
            tries.spend("a", "ada")
        tries.forgive("a", "ada")
        self.assertEqual(tries.wait_seconds("a", "ada"), 0)

    def test_bounded(self) -> None:
        """However many keys a flood invents, few are remembered, and the newest are."""
        bucket = Bucket(self.clock, Allowance(1, 10.0), capacity=3)
        for number in range(100):
            bucket.spend(number)
        self.assertEqual(len(bucket), 3)
        self.assertEqual([bucket.wait_seconds(number) > 0 for number in (96, 97, 99)], [False, True, True])


class SessionTests(SynchronousTestCase):
    """Sessions."""

    def setUp(self) -> None:
        """None yet."""
        self.clock = Clock()
        self.sessions = Sessions(self.clock)

    def test_kept_hashed(self) -> None:
        """An id opens its session and stands nowhere in it; a wrong one opens none."""
        identity = self.sessions.open("ada", ADAS)
        found = self.sessions.find(identity)
        assert found is not None
        self.assertEqual(found.user, "ada")
        self.assertNotIn(identity, repr(vars(self.sessions)))
        self.assertGreaterEqual(len(identity), 43)
        for wrong in ("", identity[:-1], identity.lower(), "\udc80"):
            self.assertIsNone(self.sessions.find(wrong))

    def test_idle(self) -> None:
        """Use prolongs it, but not for ever."""
        identity = self.sessions.open("ada", ADAS)
        for _ in range(int(LONGEST_SECONDS / IDLE_SECONDS)):
            self.clock.advance(IDLE_SECONDS - 1)
            self.assertIsNotNone(self.sessions.find(identity))
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertIsNone(self.sessions.find(identity))
        self.assertEqual(len(self.sessions), 0)

    def test_unused(self) -> None:
        """One that nobody uses is over."""
        identity = self.sessions.open("ada", ADAS)
        self.clock.advance(IDLE_SECONDS + 1)
        self.assertIsNone(self.sessions.find(identity))

    def test_bounded(self) -> None:
        """A user has so many, all together so many; the one that was unused for the longest time goes."""
        first, second = self.sessions.open("ada", ADAS), self.sessions.open("ada", ADAS)
        self.sessions.find(first)
        for _ in range(MOST_OF_ONE - 1):
            self.sessions.open("ada", ADAS)
        self.assertIsNone(self.sessions.find(second))
        self.assertIsNotNone(self.sessions.find(first))
        for number in range(MOST_SESSIONS + 5):
            self.sessions.open(f"user {number}", ADAS)
        self.assertEqual(len(self.sessions), MOST_SESSIONS)


class LoginTests(InSite):
    """The routes."""

    users = (ADA,)

    def further_parts(self) -> dict[str, Any]:
        """The login, without threads."""
        self.waiting: list[Deferred[bool]] | None = None
        login = Login(
            self.half.clock,
            guard=self.guard,
            checker=Checker(self.in_thread),
            events=self.half.log,
            context=self.context,
        ).resource()
        return {"login": login, "logout": login}

    def in_thread(self, work: Callable[[], bool]) -> "Deferred[bool]":
        """At once, or when the test says."""
        if self.waiting is None:
            return succeed(work())
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def login(
        self, name: str = "ada", password: str = PASSWORD, *, next: str = "", peer: str = ELSEWHERE, **more: Any
    ) -> Reply:
        """Send the form."""
        body = urlencode({"name": name, "password": password, "next": next}).encode()
        return self.ask("POST", "/login", body=body, peer=peer, content_type=FORM, **more)

    def told(self) -> list[Any]:
        """The events of logins."""
        return [each.event for each in self.half.history.kept if isinstance(each.event, LoggedIn | LoginRefused)]

    def test_no_users(self) -> None:
        """Where there are no users the page says how they come about."""
        self.guard.settings = AccessSettings()
        self.assertIn(b"piman-ctl passwd", self.ask("GET", "/login", accept="text/html").body)

    def test_form(self) -> None:
        """The form is there for everybody, and holds where to go on, escaped."""
        reply = self.ask("GET", "/login?next=/nodes/%22%3E%3Cscript%3E", peer=ELSEWHERE, accept="text/html")
        self.assertEqual(reply.status, 200)
        self.assertIn(b'name="next" value="/nodes/&#34;&gt;&lt;script&gt;"', reply.body)
        self.assertIn(b'autocomplete="current-password"', reply.body)

    def test_login(self) -> None:
        """The right password leads on, with a cookie that scripts and other sites cannot use; it is an event."""
        reply = self.login(next="/nodes/pi2")
        self.assertEqual((reply.status, reply.headers["location"]), (303, ["/nodes/pi2"]))
        (cookie,) = reply.headers["set-cookie"]
        pair, *attributes = cookie.split("; ")
        self.assertEqual(attributes, ["Path=/", "HttpOnly", "SameSite=Strict"])
        self.assertRegex(pair, r"^piman-5000=[A-Za-z0-9_-]{43}$")
        self.assertEqual(self.told(), [LoggedIn(who="ada", source=ELSEWHERE)])
        page = self.ask("GET", "/", peer=ELSEWHERE, cookie=pair)
        self.assertEqual(page.status, 200)
        self.assertIn(b">ada<", page.body)
        self.assertNotIn(pair.partition("=")[2].encode(), page.body)

    def test_secure(self) -> None:
        """With HTTPS, our own or a proxy's, the cookie is for HTTPS alone, and nobody else can set it."""
        own = self.login(secure=True)
        proxied = self.login(x_forwarded_for="203.0.113.9", x_forwarded_proto="https", peer=HERE)
        for reply in (own, proxied):
            (cookie,) = reply.headers["set-cookie"]
            self.assertRegex(cookie, r"^__Host-piman-5000=\S{43}; Path=/; HttpOnly; SameSite=Strict; Secure$")

    def test_logout(self) -> None:
        """Logging out ends the session, and needs its CSRF token."""
        (cookie,) = self.login().headers["set-cookie"]
        pair = cookie.partition(";")[0]
        self.assertEqual(self.ask("POST", "/logout", peer=ELSEWHERE, cookie=pair).status, 403)
        session = self.guard.sessions.find(pair.partition("=")[2])
        assert session is not None
        body = urlencode({"csrf_token": session.csrf_token}).encode()
        reply = self.ask("POST", "/logout", body=body, peer=ELSEWHERE, cookie=pair, content_type=FORM)
        self.assertEqual((reply.status, reply.headers["location"]), (303, ["/login"]))
        self.assertIn("Max-Age=0", reply.headers["set-cookie"][0])
        self.assertEqual(self.ask("GET", "/api/v1/nodes", peer=ELSEWHERE, cookie=pair).status, 401)

    def test_new_session(self) -> None:
        """Each login has an id of its own; the one that the browser had is over."""
        (first,) = self.login().headers["set-cookie"]
        pair = first.partition(";")[0]
        (second,) = self.login(cookie=pair).headers["set-cookie"]
        self.assertNotEqual(first, second)
        self.assertEqual(self.ask("GET", "/api/v1/nodes", peer=ELSEWHERE, cookie=pair).status, 401)

    def test_wrong(self) -> None:
        """Wrong names and wrong passwords get the same answer, without the password; unknown names are not told."""
        replies = [self.login(password="hunter2hunter2"), self.login("hunter2hunter2", peer="172.30.4.98")]
        for reply in replies:
            self.assertEqual(reply.status, 403)
            self.assertNotIn("set-cookie", reply.headers)
            self.assertIn(b"Name and password do not belong together.", reply.body)
        self.assertNotIn(b"hunter2", replies[0].body)
        expected = [LoginRefused(who="ada", source=ELSEWHERE), LoginRefused(who="", source="172.30.4.98")]
        self.assertEqual(self.told(), expected)
        self.assertNotIn("hunter2", repr(self.told()))

    def test_too_many(self) -> None:
        """After a few wrong ones an address has to wait, also with the right one; its events are few."""
        for _ in range(OF_ADDRESS.tries):
            self.assertEqual(self.login(password="wrong").status, 403)
        reply = self.login()
        self.assertEqual((reply.status, reply.headers["retry-after"]), (429, ["30"]))
        self.assertEqual(len(self.told()), 1)
        self.assertEqual(self.login(peer="172.30.4.98").status, 303)
        self.half.clock.advance(61)
        self.assertEqual(self.login(password="wrong").status, 403)
        self.assertEqual(self.told()[-1], LoginRefused(who="ada", source=ELSEWHERE, held_back=OF_ADDRESS.tries - 1))

    def test_at_once(self) -> None:
        """Many tries at the same time are as many as one after the other."""
        self.waiting = []
        channels = []
        for _ in range(OF_ADDRESS.tries + 1):
            protocol, transport = self.connect(ELSEWHERE)
            body = urlencode({"name": "ada", "password": "wrong"}).encode()
            head = f"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
            head += f"Content-Length: {len(body)}\r\n\r\n"
            protocol.dataReceived(head.encode() + body)
            channels.append(transport)
        self.assertEqual([read_reply(channels[-1].value()).status], [429])
        self.assertEqual(len(self.waiting), 1)
        for _ in range(OF_ADDRESS.tries):
            self.waiting[-1].callback(False)
        self.assertEqual([read_reply(each.value()).status for each in channels[:-1]], [403] * OF_ADDRESS.tries)

    def test_foreign_form(self) -> None:
        """Nobody can be logged in by a page elsewhere."""
        for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
            self.assertEqual(self.login(**headers).status, 403)
        self.assertEqual(self.told(), [])

    def test_strange_forms(self) -> None:
        """A form that is none, or has a field twice, is a wrong one."""
        for kind, body in (
            (FORM, b""),
            (FORM, b"name=ada&name=ada&password=pleaseletmein"),
            (FORM, b"name=ada&password=pleaseletmein&" + b"a=b&" * 30),
            (FORM, b"name=ada&password=\xff"),
            ("application/json", b'{"name": "ada", "password": "pleaseletmein"}'),
            ("text/plain", b"name=ada&password=pleaseletmein"),
        ):
            self.half.clock.advance(3600)
            reply = self.ask("POST", "/login", body=body, peer=ELSEWHERE, content_type=kind)
            self.assertEqual(reply.status, 403, body)
        self.assertEqual(self.ask("POST", "/login?name=ada&password=pleaseletmein", peer=ELSEWHERE).status, 403)

    def test_nothing_below(self) -> None:
        """There is nothing below these addresses, and nobody is logged out by a link."""
        self.assertEqual(self.ask("GET", "/login/x", peer=ELSEWHERE).code, "no-such-path")
        self.assertEqual(self.ask("GET", "/logout").code, "method-not-allowed")

    def test_big_form(self) -> None:
        """Strangers send little; it is refused before it arrives."""
        protocol, transport = self.connect(ELSEWHERE)
        protocol.dataReceived(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16385\r\n\r\n")
        self.assertEqual(read_reply(transport.value()).status, 413)

    def test_other_sites(self) -> None:
        """After a login nobody is sent elsewhere."""
        for text in (
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "\\\\evil.example",
            "/x\r\nSet-Cookie: a=b",
            "/\u2044evil.example",
            "javascript:alert(1)",
            " /x",
            "",
        ):
            self.half.clock.advance(3600)
            reply = self.login(next=text)
            self.assertEqual((reply.status, reply.headers["location"]), (303, ["/"]), text)
            self.assertEqual(len(reply.headers["set-cookie"]), 1)


class NextTests(SynchronousTestCase):
    """Where to go after a login."""

    @given(some.text(alphabet="/\\:@.%aA \t\r\n?#\u2044", max_size=12))
    def test_any(self, text: str) -> None:
        """Whatever is asked for, it is a path here, as browsers read it."""
        found = safe_next(text)
        self.assertRegex(found, r"^/(?![/\\])[ -\[\]-~]*$")
