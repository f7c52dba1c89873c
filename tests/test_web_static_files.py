"""
Tests for :mod:`piman.web.static_files`: what is sent, and when it is not sent again.
"""

import gzip

from piman.web.static_files import packaged, static_file
from tests.site_support import InSite

STYLE = b"main {}\n" * 400


class StaticFilesTests(InSite):
    """Files over HTTP."""

    def test_file(self) -> None:
        """A file has its type, its length, an ETag, and may be kept if it is asked after."""
        reply = self.ask("GET", "/static/style.css")
        self.assertEqual((reply.status, reply.body), (200, STYLE))
        self.assertEqual(reply.headers["content-type"], ["text/css; charset=utf-8"])
        self.assertEqual(reply.headers["content-length"], ["3200"])
        self.assertEqual(reply.headers["cache-control"], ["no-cache"])
        again = self.ask("GET", "/static/style.css", if_none_match=reply.headers["etag"][0])
        self.assertEqual((again.status, again.body), (304, b""))

    def test_packed(self) -> None:
        """Whoever takes gzip gets it, as another representation; whoever refuses it does not."""
        plain = self.ask("GET", "/static/style.css")
        packed = self.ask("GET", "/static/style.css", accept_encoding="br, GZIP;q=0.5")
        self.assertEqual(packed.headers["content-encoding"], ["gzip"])
        self.assertEqual(gzip.decompress(packed.body), STYLE)
        self.assertNotEqual(packed.headers["etag"], plain.headers["etag"])
        self.assertEqual(packed.headers["vary"], ["accept-encoding"])
        for refused in ("gzip;q=0", "gzip; q=0.0", "br", "x-gzipped"):
            reply = self.ask("GET", "/static/style.css", accept_encoding=refused)
            self.assertNotIn("content-encoding", reply.headers, refused)

    def test_head(self) -> None:
        """HEAD gets the head alone, with the length of what GET would get."""
        reply = self.ask("HEAD", "/static/icons/up.svg")
        self.assertEqual((reply.status, reply.body, reply.headers["content-length"]), (200, b"", ["6"]))

    def test_no_file(self) -> None:
        """There is nothing else below /static, in whatever way it is spelt."""
        for path in ("/static", "/static/", "/static/x", "/static/icons", "/static/style.css/", "/static//style.css"):
            self.assertEqual(self.ask("GET", path).status, 404, path)
        for path in ("/static/../static/style.css", "/static/%2e%2e/site.py", "/static/..%2fsite.py", "/static/%00"):
            self.assertEqual(self.ask("GET", path).status, 400, path)

    def test_method(self) -> None:
        """Nothing can be written there."""
        reply = self.ask_json("PUT", "/static/style.css", 1)
        self.assertEqual((reply.status, reply.headers["allow"]), (405, ["GET, HEAD"]))

    def test_packaged(self) -> None:
        """What comes with piman can all be sent; the sheet of base.html is there."""
        found = packaged()
        self.assertIn("style.css", found)
        for name, content in found.items():
            self.assertEqual(static_file(name, content).content, content)
