"""
Tests for :mod:`piman.web.editing.pages`: what the pages say, and what they can without a script.
"""

import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from treq.testing import StubTreq
from twisted.internet.defer import maybeDeferred

from piman.config import load
from piman.web.api import Caller
from piman.web.editing import shapes
from piman.web.editing.documents import Applied, Documents
from piman.web.editing.pages import EditingPages, sections_of
from tests.editing_support import HOSTS, NOW, SECRET, YAML, AtADesk


class _Forms(HTMLParser):
    """Reads what a browser would send, and what stands in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.data: list[dict[str, Any]] = []
        self.words = ""
        self._name = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Fields of forms, and those of piman.yaml."""
        found = dict(attributes)
        if tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"] or ""] = found["value"] or ""
        if "data-field" in found:
            self.data.append(json.loads(found["data-field"] or ""))
        self._name = (found.get("name") or "") if tag == "textarea" else ""
        if self._name:
            self.fields[self._name] = ""

    def handle_endtag(self, tag: str) -> None:
        """The end of a text."""
        self._name = ""

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._name:
            self.fields[self._name] += data
        self.words += data


class _Paged(AtADesk):
    """Pages over a desk."""

    role = "operator"

    def setUp(self) -> None:
        """Serve them."""
        super().setUp()
        self.applied = 0
        documents = Documents(self.desk, in_thread=maybeDeferred, apply=self.apply, events=None, now=lambda: NOW)
        pages = EditingPages(
            documents,
            context=lambda request: {
                "csrf_token": "t0ken",
                "user": "ada",
                "role": self.role,
                "site_name": "Dubai",
                "version": "2",
                "page": "",
            },
            caller=lambda request: Caller("ada", "10.0.0.9"),
            strangers=lambda: [{"mac": "dc:a6:32:00:00:99", "model": "4B <b>", "address": ""}],
            free=lambda: ["172.30.4.20"],
        )
        self.treq = StubTreq(pages.resource())

    def apply(self) -> Applied:
        """Counts."""
        self.applied += 1
        load(self.path)
        return Applied(taken=True)

    def get(self, path: str) -> str:
        """A page."""
        return self.ask("GET", path)[1]

    def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and page."""
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}
        data = urlencode(form).encode() if form is not None else None
        asked = self.treq.request(method, f"http://piman{path}", data=data, headers=headers, allow_redirects=False)
        response = self.successResultOf(asked)
        return response.code, self.successResultOf(response.text())


class ReadingTests(_Paged):
    """What can be read without a script."""

    def test_config(self) -> None:
        """Every value of the file is in its field, and no secret is anywhere in the page."""
        page = self.get("/config")
        self.assertNotIn(SECRET, page)
        self.assertIn('value="172.30.4.100-172.30.4.199"', page)
        keys = {field["key"] for field in _Forms(page).data}
        self.assertLessEqual({"dhcp.pool", "switches[0].snmp.community", "switches[-1].name"}, keys)

    def test_hosts(self) -> None:
        """Rows are shown, strangers can be added, and what the network said is escaped."""
        page = self.get("/hosts-csv")
        self.assertIn('value="B8:27:EB:00:00:0D"', page)
        self.assertIn("/hosts-csv?add=dc%3Aa6%3A32%3A00%3A00%3A99", page)
        self.assertIn("4B &lt;b&gt;", page)
        self.assertIn('<option value="172.30.4.20">', page)

    def test_added(self) -> None:
        """The address of a stranger's button shows a row with its MAC; anything else shows none."""
        self.assertIn('value="DC:A6:32:00:00:99"', self.get("/hosts-csv?add=dc:a6:32:00:00:99"))
        for strange in ("%22%3E%3Cscript%3E", "x", ""):
            page = self.get(f"/hosts-csv?add={strange}")
            self.assertNotIn("<script>", page)
            self.assertNotIn('class="host new" data-line="0" data-text=""', page.split("<template")[0])

    def test_mistakes(self) -> None:
        """Mistakes of the file stand beside their fields, and on top with their lines."""
        self.path.write_text(YAML.replace("3600", "5"))
        page = self.get("/config")
        self.assertIn('id="f-dhcp.lease_seconds-error">found', page)
        self.assertIn("line 24", page)

    def test_broken(self) -> None:
        """A file that is no YAML, and one whose values are of the wrong kind, are pages all the same."""
        for text in ("a: [", "", "switches: x\ndhcp: [1]\nweb: &w {port: {a: b}}\nntp: *w\nalerts: [[1]]\n"):
            self.path.write_text(text)
            self.assertEqual(self.ask("GET", "/config")[0], 200)
        self.hosts_path.write_bytes(b"\xff\xfe;\x00\n")
        self.assertEqual(self.ask("GET", "/hosts-csv")[0], 200)

    def test_no_inline(self) -> None:
        """Nothing in the pages needs more than the site's content security policy allows."""
        for path in ("/config", "/hosts-csv"):
            page = self.get(path)
            for forbidden in (" style=", "<style", " onclick=", "<script>"):
                self.assertNotIn(forbidden, page)

    def test_nothing_there(self) -> None:
        """Other methods are refused as a page."""
        self.assertEqual(self.ask("DELETE", "/config")[0], 405)

    def test_unreadable(self) -> None:
        """A file that cannot be read is told as a page."""
        self.path.unlink()
        self.path.mkdir()
        status, page = self.ask("GET", "/config")
        self.assertEqual(status, 503)
        self.assertIn("cannot be read", page)


class ViewerTests(_Paged):
    """Who may only look."""

    role = "viewer"

    def test_viewer(self) -> None:
        """A viewer sees everything, and no button that would be refused."""
        page = self.get("/config")
        self.assertIn("You may look", page)
        self.assertNotIn("config.js", page)
        self.assertNotIn('value="apply"', page)


class PlainFormTests(_Paged):
    """Without a script."""

    def test_apply(self) -> None:
        """The text is sent as a browser sends it, with CRLF; only the line that was changed changes."""
        form = _Forms(self.get("/config")).fields
        self.assertEqual(form["csrf_token"], "t0ken")
        form["text"] = form["text"].removeprefix("\n").replace("3600", "600").replace("\n", "\r\n")
        status, page = self.ask("POST", "/config", {**form, "step": "check"})
        self.assertEqual((status, self.path.read_text()), (200, YAML))
        self.assertIn('<span class="line added">  lease_seconds: 600</span>', page)
        status, _ = self.ask("POST", "/config", {**form, "step": "apply"})
        self.assertEqual((status, self.path.read_text(), self.applied), (303, YAML.replace("3600", "600"), 1))
        self.assertIn("Applied.", self.get("/config?applied=1"))

    def test_mistakes(self) -> None:
        """A mistake is told, nothing is written, and what was typed is still there."""
        form = _Forms(self.get("/hosts-csv")).fields
        form["text"] = "mine;172.30.4.77\r\n" + form["text"]
        status, page = self.ask("POST", "/hosts-csv", {**form, "step": "apply"})
        self.assertEqual((status, self.hosts_path.read_text()), (422, HOSTS))
        self.assertIn("mine;172.30.4.77", _Forms(page).fields["text"])
        self.assertIn("line 1", page)

    def test_too_late(self) -> None:
        """Who is second is told, and what was typed is still there."""
        form = _Forms(self.get("/config")).fields
        self.path.write_text(YAML + "# more\n")
        form["text"] = form["text"].replace("cellar", "attic")
        status, page = self.ask("POST", "/config", {**form, "step": "apply"})
        self.assertEqual((status, self.path.read_text()), (412, YAML + "# more\n"))
        self.assertIn("changed meanwhile", page)
        self.assertIn("attic", _Forms(page).fields["text"])

    def test_no_fields(self) -> None:
        """A form without its fields is refused."""
        self.assertEqual(self.ask("POST", "/config", {"x": "1"})[0], 400)


class SectionTests(_Paged):
    """What stands below one another."""

    def test_all_fields(self) -> None:
        """No field of the form is left out."""
        shown = shapes.form(self.desk.sheet("config").form)
        assert shown is not None
        found = list(sections_of(shown, {}))
        keys = [field["key"] for section in found for field in section["fields"]]
        for section in found:
            for element in (*section.get("elements", ()), *([section["empty"]] if section["repeated"] else ())):
                keys += [field["key"] for field in (*element["fields"], *element["few"])]
        wanted = [field["key"] for group in shown["groups"] for field in group["fields"]]
        for each in shown["repeated"]:
            wanted += [field["key"] for fields in (*each["elements"], each["empty"]) for field in fields]
        self.assertEqual(sorted(keys), sorted(wanted))
