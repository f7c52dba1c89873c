"""
Tests for :mod:`piman.web.access.hosts`: under which names, and from whose pages.
"""

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.web.access.hosts import Authority, HostRule, Whence, host_of, is_loopback, is_own

RULE = HostRule.of(("172.30.4.1", "0.0.0.0"), ("Piman.Lab.", "2001:db8::5"))


def admits(text: str, local: str = "172.30.4.1") -> bool:
    """Whether a request with this Host header means us."""
    host = Authority.parse(text)
    return host is not None and RULE.admits(host, local)


class HostTests(SynchronousTestCase):
    """The Host header."""

    def test_loopback(self) -> None:
        """Every name of this machine to itself is right, with any port: ``ssh -L`` chooses one."""
        for text in ("localhost", "LOCALHOST:8080", "localhost.:1", "127.0.0.1", "127.77.0.1:65535", "[::1]:5000"):
            self.assertTrue(admits(text), text)
        self.assertTrue(admits("[::ffff:127.0.0.1]"))

    def test_own(self) -> None:
        """The manager's own addresses are right, those of the file and the one that was called."""
        self.assertTrue(admits("172.30.4.1:5000"))
        self.assertTrue(admits("10.1.2.3", local="10.1.2.3"))
        self.assertTrue(admits("[fe80::1]", local="fe80::1%eth0"))

    def test_allowed(self) -> None:
        """Names of the file are right in any case, with and without the dot at the end."""
        for text in ("piman.lab", "PIMAN.LAB:80", "piman.lab.", "[2001:db8::5]:443"):
            self.assertTrue(admits(text), text)

    def test_foreign(self) -> None:
        """Whatever somebody else can own is wrong, also when it looks like ours."""
        for text in (
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "piman.lab.evil.example",
            "xpiman.lab",
            "172.30.4.2",
            "[2001:db8::6]",
        ):
            self.assertFalse(admits(text), text)

    def test_strange(self) -> None:
        """What a browser never writes is no host: other spellings of numbers, zones, users, lists, spaces."""
        for text in (
            "",
            ".",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0177.0.0.1",
            "[::1%25lo]",
            "[fe80::1%eth0]",
            "::1",
            "[::1",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost, evil.example",
            "localhost evil.example",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:5000:5000",
            "localhost/",
            "localhost#",
            "localhost\t",
            "localhost\0",
            "\u217cocalhost",
            "localho\u017ft",
            "loc\u212alhost",
        ):
            self.assertFalse(admits(text), text)

    def test_exactly_one(self) -> None:
        """RFC 9112, 3.2: a request with no Host, or with several, has none."""
        self.assertIsNone(host_of([]))
        self.assertIsNone(host_of(["localhost", "localhost"]))
        self.assertEqual(host_of(["localhost:1"]), Authority("localhost", 1))

    @given(some.text(max_size=30))
    def test_any(self, text: str) -> None:
        """Any text is a host or none."""
        host = Authority.parse(text)
        if host is not None:
            RULE.admits(host, text)


class LoopbackTests(SynchronousTestCase):
    """Addresses of peers."""

    def test_loopback(self) -> None:
        """127.0.0.0/8 and ::1, also in the clothes of IPv6; nothing else, and no text."""
        for text in ("127.0.0.1", "127.77.0.1", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(is_loopback(text), text)
        for text in ("172.30.4.1", "::", "0.0.0.0", "::ffff:172.30.4.1", "fe80::1%lo", "localhost", ""):
            self.assertFalse(is_loopback(text), text)


class OriginTests(SynchronousTestCase):
    """From whose pages a request comes."""

    def own(self, *origins: str, site: str | None = None, host: str = "localhost:5000", scheme: str = "http") -> bool:
        """Whether it is from ours."""
        found = Authority.parse(host)
        assert found is not None
        return is_own(Whence(origins=origins, site=site), found, (scheme,))

    def test_same(self) -> None:
        """RFC 6454, 5: the same scheme, host and port; usual ports need not be written."""
        self.assertTrue(self.own("http://localhost:5000"))
        self.assertTrue(self.own("http://LOCALHOST:5000", site="same-origin"))
        self.assertTrue(self.own("http://piman.lab", host="piman.lab:80"))
        self.assertTrue(self.own("https://piman.lab:443", host="piman.lab", scheme="https"))
        self.assertTrue(self.own("http://[::1]:5000", host="[::1]:5000"))

    def test_no_page(self) -> None:
        """A program says nothing."""
        self.assertTrue(self.own())

    def test_other(self) -> None:
        """Another scheme, host or port, another program on localhost, a sandbox (null), two at once, are others."""
        for origin in (
            "http://evil.example",
            "http://localhost:5001",
            "http://localhost",
            "https://localhost:5000",
            "http://127.0.0.1:5000",
            "http://localhost:5000.evil.example",
            "http://localhost:5000@evil.example",
            "http://localhost:5000/",
            "null",
            "",
            "file://",
            "chrome-extension://abc",
        ):
            self.assertFalse(self.own(origin), origin)
        self.assertFalse(self.own("http://localhost:5000", "http://localhost:5000"))

    def test_sec_fetch_site(self) -> None:
        """What the browser says of the page counts as well, also of one on another port of this machine."""
        for site in ("cross-site", "same-site", "none", "", "same-origin,same-origin"):
            self.assertFalse(self.own("http://localhost:5000", site=site), site)
            self.assertFalse(self.own(site=site), site)
