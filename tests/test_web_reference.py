"""
Tests for :mod:`piman.web.reference`: the API as a page.
"""

import re
from html import unescape
from typing import Any

from piman.web.openapi import PATHS, SCHEMAS, document
from piman.web.reference import Reference, rows, type_of
from tests.site_support import ELSEWHERE, InSite
from tests.web_support import VERSION


class ReferenceTests(InSite):
    """``/api``"""

    def further_parts(self) -> dict[str, Any]:
        """The page before the API."""
        return {"api": Reference(self.half.api.resource(), document(VERSION), self.context)}

    def test_complete(self) -> None:
        """The page names every route, every parameter and every field of the document."""
        for path in ("/api", "/api/"):
            reply = self.ask("GET", path, accept="text/html")
            self.assertEqual(reply.status, 200)
            text = unescape(reply.body.decode())
            for route, methods in PATHS.items():
                for method, described in methods.items():
                    self.assertIn(f"{method.upper()} {route}</code>", text)
                    self.assertIn(described["summary"], text)
            for name, schema in SCHEMAS.items():
                self.assertIn(f'id="{name}"', text)
                for field in schema["properties"]:
                    self.assertIn(f"<code>{field}</code>", text)

    def test_links(self) -> None:
        """Every link within the page leads somewhere, and no two places have one name."""
        text = self.ask("GET", "/api").body.decode()
        names = re.findall(r' id="([^"]+)"', text)
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(re.findall(r'href="#([^"]+)"', text)), set(names))

    def test_no_program_within(self) -> None:
        """What the policy forbids is not there: no style, no script within the page."""
        text = self.ask("GET", "/api").body.decode()
        self.assertNotRegex(text, r"<style|<script|\sstyle=|\son[a-z]+=")

    def test_the_rest(self) -> None:
        """All other addresses are the API's."""
        self.assertIn("nodes", self.ask("GET", "/api/v1/nodes").json)
        self.assertEqual(self.ask("GET", "/api/v2").code, "no-such-path")
        self.assertEqual(self.ask_json("PUT", "/api", 1).status, 405)

    def test_stranger(self) -> None:
        """Whoever reads pages is told in a page that nobody can log in."""
        reply = self.ask("GET", "/api", peer=ELSEWHERE, accept="text/html")
        self.assertEqual((reply.status, reply.headers["content-type"]), (403, ["text/html; charset=utf-8"]))

    def test_types(self) -> None:
        """Types in words."""
        self.assertEqual(
            type_of({"anyOf": [{"$ref": "#/components/schemas/Port"}, {"type": "null"}]}), ("Port or null", "Port")
        )
        self.assertEqual(
            type_of({"type": "array", "items": {"enum": ["a", 1], "type": "string"}}), ("list of one of a, 1", "")
        )
        self.assertEqual(type_of({"type": ["string", "integer"]}), ("string or integer", ""))
        inner = {"type": "array", "items": {"properties": {"b": {"type": "string", "description": "B."}}}}
        found = [name for name, *_ in rows({"properties": {"a": inner}})]
        self.assertEqual(found, ["a", "a[].b"])
