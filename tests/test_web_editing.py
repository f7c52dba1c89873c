"""
Tests for :mod:`piman.web.editing`: the two files over HTTP.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.resource import Resource

from piman.config import load
from piman.fleet.events import ConfigurationEdited, Event
from piman.web.api import Caller
from piman.web.editing.documents import Applied, Documents
from piman.web.editing.routes import DocumentRoutes, WithDocuments
from tests.editing_support import HOSTS, NOW, SECRET, YAML, AtADesk
from tests.web_support import mistakes

BODY = {"changes": [{"what": "set", "path": ["dhcp", "lease_seconds"], "value": "600"}]}


class _Events:
    """Keeps events."""

    def __init__(self) -> None:
        self.kept: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep it."""
        self.kept.append(event)


class _Api(Resource):
    """What answers everything else."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Whatever the method."""
        return b'"api"'


def at_once(work: Callable[[], Any]) -> "Deferred[Any]":
    """What a thread does, at once."""
    return maybeDeferred(work)


class _Served(AtADesk):
    """A desk behind HTTP."""

    def setUp(self) -> None:
        """Serve it; applying counts, and takes the files as the manager does."""
        super().setUp()
        self.events, self.applied = _Events(), 0
        self.documents = Documents(self.desk, in_thread=at_once, apply=self.apply, events=self.events, now=lambda: NOW)
        routes = DocumentRoutes(self.documents, lambda request: Caller("ada", "10.0.0.9"))
        self.treq = StubTreq(WithDocuments(routes.resource(), _Api()))

    def apply(self) -> Applied:
        """As the manager does it."""
        self.applied += 1
        self.config = load(self.path)
        return Applied(taken=True, at_once=("dhcp.lease_seconds",))

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        etag: str | None = None,
        raw: bytes | None = None,
        **headers: str,
    ) -> tuple[int, Any]:
        """Status and body; the ETag of the answer is kept."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if etag is not None:
            sent["if-match"] = f'"{etag}"'
        response = self.successResultOf(self.treq.request(method, f"http://piman{path}", data=data, headers=sent))
        text = self.successResultOf(response.content())
        self.etag = (response.headers.getRawHeaders("etag") or [""])[0].strip('"')
        return response.code, json.loads(text) if text else None

    def fits(self, value: Any, schema: str) -> None:
        """A value fits a schema of the OpenAPI document."""
        self.assertEqual(mistakes(value, {"$ref": f"#/components/schemas/{schema}"}), [])

    def refused(self, *asked: Any, **headers: Any) -> tuple[int, str]:
        """Status and code of a refusal."""
        status, found = self.ask(*asked, **headers)
        self.fits(found, "Error")
        return status, found["error"]["code"]


class FileTests(_Served):
    """``/api/v1/config`` and ``/api/v1/hosts``."""

    def test_get(self) -> None:
        """A file comes with its ETag, its form or rows, and without secrets."""
        for name in ("config", "hosts"):
            status, found = self.ask("GET", f"/api/v1/{name}")
            self.assertEqual((status, found["digest"], found["exists"]), (200, self.etag, True))
            self.fits(found, "File")
            self.assertNotIn(SECRET, json.dumps(found))
            self.assertEqual(self.ask("GET", f"/api/v1/{name}", if_none_match=f'"{self.etag}"'), (304, None))

    def test_put(self) -> None:
        """A write is applied, told with its effect, and is an event with who and from where."""
        self.ask("GET", "/api/v1/config")
        status, found = self.ask("PUT", "/api/v1/config", BODY, self.etag)
        self.assertEqual(status, 200)
        self.fits(found, "Kept")
        self.assertEqual((found["applied"]["taken"], found["applied"]["at_once"]), (True, ["dhcp.lease_seconds"]))
        self.assertEqual(self.path.read_text(), YAML.replace("3600", "600"))
        edited = ConfigurationEdited(file="piman.yaml", who="ada", source="10.0.0.9", backup=found["backup"])
        self.assertEqual((self.events.kept, self.applied), ([edited], 1))
        _, sheet = self.ask("GET", "/api/v1/config")
        self.assertEqual(sheet["digest"], found["verdict"]["digest"])
        self.assertEqual(sheet["last_change"], {"who": "ada", "source": "10.0.0.9", "time": NOW})

    def test_put_rows(self) -> None:
        """hosts.csv is written the same way."""
        self.ask("GET", "/api/v1/hosts")
        row = {"what": "add", "columns": {"mac": "b8:27:eb:00:00:0f", "address": "172.30.4.15"}}
        status, found = self.ask("PUT", "/api/v1/hosts", {"changes": [row]}, self.etag)
        self.assertEqual((status, found["applied"]["taken"]), (200, True))
        self.assertEqual(self.hosts_path.read_text(), HOSTS + "B8:27:EB:00:00:0F;172.30.4.15;;0\n")

    def test_conditions(self) -> None:
        """Without a version it is 428, with an old one 412, which says who was faster; nothing is written."""
        self.assertEqual(self.refused("PUT", "/api/v1/config", BODY), (428, "needs-if-match"))
        self.assertEqual(self.refused("PUT", "/api/v1/config", BODY, if_match="*"), (428, "needs-if-match"))
        self.assertEqual(self.refused("PUT", "/api/v1/config", BODY, "0" * 32), (412, "changed-meanwhile"))
        self.assertEqual(self.path.read_text(), YAML)
        self.ask("GET", "/api/v1/config")
        first = self.etag
        self.ask("PUT", "/api/v1/config", BODY, first)
        _, found = self.ask("PUT", "/api/v1/config", BODY, first)
        self.assertIn("by ada from 10.0.0.9", found["error"]["message"])

    def test_mistakes(self) -> None:
        """A bad value is 422 with its key and line; nothing is written, applied or told."""
        self.ask("GET", "/api/v1/config")
        bad = {"changes": [{"what": "set", "path": ["dhcp", "lease_seconds"], "value": "5"}]}
        status, found = self.ask("PUT", "/api/v1/config", bad, self.etag)
        self.assertEqual(status, 422)
        self.fits(found, "Mistaken")
        problem = found["verdict"]["problems"][0]
        self.assertEqual((problem["line"], problem["key"]), (24, "dhcp.lease_seconds"))
        self.assertEqual((self.path.read_text(), self.events.kept, self.applied), (YAML, [], 0))

    def test_validate(self) -> None:
        """A proposal is judged without being written; who changed the file meanwhile is told."""
        status, found = self.ask("POST", "/api/v1/config/validate", BODY)
        self.assertEqual(status, 200)
        self.fits(found, "Verdict")
        self.assertIn("+  lease_seconds: 600", found["diff"])
        self.assertEqual((self.path.read_text(), self.applied), (YAML, 0))
        status, found = self.ask("POST", "/api/v1/hosts/validate", {"text": "x;y\n"})
        self.assertEqual((status, found["problems"][0]["key"]), (200, "mac"))

    def test_apply(self) -> None:
        """The files are read again when somebody asks for that."""
        status, found = self.ask("POST", "/api/v1/config/apply")
        self.assertEqual((status, found["taken"], self.applied), (200, True, 1))
        self.fits(found, "Applied")

    def test_unreadable(self) -> None:
        """A file that cannot be read is told, not our mistake."""
        self.path.unlink()
        self.path.mkdir()
        for asked in (("GET", "/api/v1/config"), ("POST", "/api/v1/config/validate", BODY), ("GET", "/get_config")):
            self.assertEqual(self.refused(*asked), (503, "not-readable"))

    def test_bodies(self) -> None:
        """Bodies that are no proposals are refused, each in one line."""
        path = "/api/v1/config/validate"
        self.assertEqual(self.refused("POST", path, raw=b"{"), (400, "no-json"))
        self.assertEqual(self.refused("POST", path, raw=b" " * (8 * 1024 * 1024 + 2)), (413, "too-large"))
        for body in ({}, [], {"text": 1}, {"text": "", "changes": []}, {"changes": [{"what": "burn"}]}, {"text": "\0"}):
            self.assertEqual(self.refused("POST", path, body), (400, "bad-proposal"))
        self.assertEqual(self.refused("DELETE", "/api/v1/config"), (405, "method-not-allowed"))
        self.assertEqual(self.refused("GET", "/api/v1/config/nothing"), (404, "no-such-path"))
        self.assertEqual(self.refused("GET", "/api/v1/config?x=1"), (400, "bad-parameter"))

    @given(some.text() | some.from_regex(r"[a-c:\[\]{}&*!|>'\"# \n-]{0,30}", fullmatch=True))
    def test_any_text(self, text: str) -> None:
        """Any text is judged, in both files."""
        for name in ("config", "hosts"):
            status, found = self.ask("POST", f"/api/v1/{name}/validate", {"text": text})
            self.assertIn(status, (200, 400), found)

    def test_the_rest(self) -> None:
        """Everything else is the API's."""
        self.assertEqual(self.ask("GET", "/api/v1/nodes"), (200, "api"))


class OriginalTests(_Served):
    """The addresses of the original."""

    def test_config(self) -> None:
        """The YAML as JSON, typed as YAML types it, without secrets."""
        status, found = self.ask("GET", "/get_config")
        self.assertEqual(
            (status, found["private_number"], found["switches"][1]["swtich_1_address"]), (200, 4, "172.30.4.253")
        )
        self.assertNotIn(SECRET, json.dumps(found))

    def test_hosts(self) -> None:
        """The raw lines."""
        self.assertEqual(self.ask("GET", "/get_hosts_csv"), (200, HOSTS.splitlines(keepends=True)))

    def test_missing(self) -> None:
        """Without files nothing is invented."""
        self.path.unlink()
        self.hosts_path.unlink()
        self.assertEqual(self.ask("GET", "/get_config"), (200, {}))
        self.assertEqual(self.ask("GET", "/get_hosts_csv"), (200, []))
