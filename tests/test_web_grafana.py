"""
Tests for :mod:`piman.web.grafana`.

The requests are those of the data sources' own pages: README.md of github.com/grafana/simple-json-datasource and of
github.com/simPod/GrafanaJsonDatasource (0.6), with our names in place of theirs.
"""

import json
from collections.abc import Collection
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from piman.fleet import events
from piman.fleet.events import CATALOGUE, Event, Recorded
from piman.fleet.interfaces import StoreFailed
from piman.fleet.model import MACAddress, NodeStatus, Phase
from piman.fleet.nodes import NodeRegistry
from piman.fleet.walltime import WallTime
from piman.monitor.recent import RecentReadings
from piman.web.grafana import happenings
from piman.web.grafana.any_page import AnyPage
from piman.web.grafana.questions import MOST_SERIES, alternatives
from piman.web.grafana.resource import Grafana
from piman.web.recalled import with_gaps
from piman.web.wishes import Refusal
from tests.test_monitor_recent import reading
from tests.web_support import NODES, PI2, PI3, RACK, SLOTS

AHEAD = 3600.0
"""By so much the host's clock is before the process's."""
MORNING = 1_477_895_624.866
"""2016-10-31T06:33:44.866Z, where the README's requests begin; their end is 6 hours later."""

SIMPLE_QUERY = """
{
  "panelId": 1,
  "range": {
    "from": "2016-10-31T06:33:44.866Z",
    "to": "2016-10-31T12:33:44.866Z",
    "raw": {"from": "now-6h", "to": "now"}
  },
  "rangeRaw": {"from": "now-6h", "to": "now"},
  "interval": "30s",
  "intervalMs": 30000,
  "targets": [
     { "target": "172.30.4.2 CPU", "refId": "A", "type": "timeserie" },
     { "target": "172.30.4.3 Ram", "refId": "B", "type": "timeserie" }
  ],
  "adhocFilters": [],
  "format": "json",
  "maxDataPoints": 550
}
"""

ANNOTATIONS = """
{
  "range": {"from": "2016-10-31T06:33:44.866Z", "to": "2016-10-31T12:33:44.866Z"},
  "rangeRaw": {"from": "now-1h", "to": "now"},
  "annotation": {
    "name": "deploy",
    "datasource": "Simple JSON Datasource",
    "iconColor": "rgba(255, 96, 96, 1)",
    "enable": true,
    "query": ""
  }
}
"""


class MemoryHistory:
    """What :class:`piman.fleet.state.history.HistoryStore` does, without a disk."""

    def __init__(self) -> None:
        self.kept: list[Recorded] = []
        self.failure: Exception | None = None

    def keep(self, time: float, event: Event) -> None:
        """It happened."""
        self.kept.append(Recorded(id=len(self.kept) + 1, time=time, event=event))

    def events_between(
        self, start: float, end: float, *, kinds: Collection[str], limit: int, macs: Collection[MACAddress]
    ) -> "Deferred[list[Recorded]]":
        """As the history does."""
        if self.failure:
            return fail(self.failure)
        found = [
            each
            for each in self.kept
            if start <= each.time <= end and type(each.event).__name__ in kinds and (not macs or each.event.mac in macs)
        ]
        return succeed(found[-limit:])


class _Case(SynchronousTestCase):
    """Two nodes, their readings of six hours, and what happened."""

    def setUp(self) -> None:
        """All of it below /grafana/."""
        self.clock = Clock()
        self.clock.advance(MORNING - AHEAD)
        self.readings, self.history = RecentReadings(self.clock), MemoryHistory()
        statuses = (NodeStatus(mac=PI2, phase=Phase.UP, model="4B", since=MORNING - AHEAD, last_event_id=1),)
        self.grafana = Grafana(
            nodes=NodeRegistry(NODES, SLOTS, statuses),
            labels=lambda: {RACK: "rack-a"},
            readings=self.readings,
            history=self.history,
            wall=WallTime(self.clock, lambda: self.clock.seconds() + AHEAD),
            gap_seconds=lambda: 105.0,
        )
        root = Resource()
        root.putChild(b"grafana", self.grafana.resource())
        self.treq = StubTreq(root)

    def read(self, *cpu: float, every: float = 30.0, mac: MACAddress = PI2, **values: Any) -> None:
        """Readings, one after the other."""
        for each in cpu:
            self.clock.advance(every)
            self.readings.take(mac, reading(cpu_percent=each, **values))

    def ask(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """Status and body; no answer may be read by a page of others."""
        data = body.encode() if isinstance(body, str) else json.dumps(body if body is not None else {}).encode()
        sent = {"data": data, "headers": {"content-type": "application/json"}} if method == "POST" else {}
        response = self.successResultOf(self.treq.request(method, f"http://piman/grafana/{path}", **sent))
        self.assertFalse(response.headers.hasHeader("access-control-allow-origin"))
        text = self.successResultOf(response.content())
        is_json = response.headers.getRawHeaders("content-type") == ["application/json"]
        return response.code, json.loads(text) if is_json else text

    def good(self, path: str, body: Any = None) -> Any:
        """The body of a good answer."""
        status, found = self.ask(path, body)
        self.assertEqual(status, 200, found)
        return found

    def refused(self, path: str, body: Any) -> str:
        """The message of a refusal with status 400."""
        status, found = self.ask(path, body)
        self.assertEqual(status, 400, found)
        return str(found["error"]["message"])

    def query(self, *targets: Any, **changes: Any) -> Any:
        """The README's query with other targets."""
        named = [{"target": each, "refId": "A"} if isinstance(each, str) else each for each in targets]
        return {**json.loads(SIMPLE_QUERY), "targets": named, **changes}


class SimpleJsonTests(_Case):
    """The contract of the original's data source."""

    def test_connection(self) -> None:
        """GET / answers 200 with a text, which is what "Save & test" looks at."""
        status, text = self.ask("", method="GET")
        self.assertEqual((status, b"piman" in text), (200, True))
        without_slash = self.successResultOf(self.treq.get("http://piman/grafana"))  # as simPod's source asks
        self.assertEqual(without_slash.code, 200)

    def test_search(self) -> None:
        """All series by the original's names, of nodes whose address is known; an empty body is no mistake."""
        expected = [
            f"172.30.4.{number} {title}"
            for number in (2, 3)
            for title in ("CPU", "Ram", "Disk Usage", "PIDs", "Temperature")
        ]
        for body in ("", "{}", '{"target": ""}', '{"target": "upper_50"}', '{"target": null}'):
            self.assertEqual(self.good("search", body), expected, body)
        self.assertEqual(self.good("search", {"target": "4.3 d"}), ["172.30.4.3 Disk Usage"])

    def test_query(self) -> None:
        """The README's request: each target with its points, value first, then milliseconds of the host's time."""
        self.read(12.5, 20.0)
        found = self.good("query", SIMPLE_QUERY)
        first = round(MORNING * 1000) + 30_000
        points = [[12.5, first], [20.0, first + 30_000]]
        expected = [{"target": "172.30.4.2 CPU", "datapoints": points}, {"target": "172.30.4.3 Ram", "datapoints": []}]
        self.assertEqual(found, expected)

    def test_every_value(self) -> None:
        """All five of the original's names mean something, in capitals or not; so do hostname and MAC of a node."""
        self.read(12.5, temp=48.5)
        names = ("CPU", "Ram", "Disk Usage", "PIDs", "Temperature", "temperature")
        found = self.good("query", self.query(*(f"pi2 {name}" for name in names), f"{PI2} CPU"))
        self.assertEqual([each["datapoints"][0][0] for each in found], [12.5, 40.0, 63.0, 97, 48.5, 48.5, 12.5])

    def test_original_times(self) -> None:
        """The original's format of times, and one with an offset, mean the same moments."""
        self.read(12.5)
        for start in ("2016-10-31T06:33:44.866000Z", "2016-10-31T07:33:44.866+01:00", "2016-10-31T06:33:44.866"):
            span = {"from": start, "to": "2016-10-31T06:34:14.866Z"}
            found = self.good("query", self.query("pi2 CPU", range=span))
            self.assertEqual(len(found[0]["datapoints"]), 1, start)

    def test_untold(self) -> None:
        """What a board does not tell is null."""
        self.read(12.5)
        found = self.good("query", self.query("pi2 Temperature"))
        self.assertEqual([value for value, _ in found[0]["datapoints"]], [None])

    def test_gap(self) -> None:
        """A pause in the readings has a null in its middle, so that no line is drawn through it."""
        self.read(1.0, 2.0)
        self.read(3.0, every=600.0)
        found = self.good("query", self.query("pi2 CPU"))
        begin = round(MORNING * 1000)
        expected = [[1.0, begin + 30_000], [2.0, begin + 60_000], [None, begin + 360_000], [3.0, begin + 660_000]]
        self.assertEqual(found[0]["datapoints"], expected)

    def test_max_data_points(self) -> None:
        """There are never more points than the panel has room for, and they span the whole range."""
        self.read(*(float(number % 10) for number in range(720)))
        for most in (1, 7, 550):
            points = self.good("query", self.query("pi2 CPU", maxDataPoints=most))[0]["datapoints"]
            self.assertLessEqual(len(points), most)
            self.assertGreaterEqual(len(points), most // 2)
            self.assertTrue(all(0 <= value <= 9 for value, _ in points))
        self.assertEqual(len(self.good("query", self.query("pi2 CPU", maxDataPoints=10_000))[0]["datapoints"]), 720)

    def test_table(self) -> None:
        """As a table a series has the time first; the nodes are a table of their own."""
        self.read(12.5)
        found = self.good(
            "query", self.query({"target": "pi2 CPU", "type": "table"}, {"target": "nodes", "type": "table"})
        )
        series, nodes = found
        self.assertEqual(series["columns"], [{"text": "Time", "type": "time"}, {"text": "pi2 CPU", "type": "number"}])
        self.assertEqual((series["type"], series["rows"]), ("table", [[round(MORNING * 1000) + 30_000, 12.5]]))
        self.assertEqual([column["text"] for column in nodes["columns"]][:3], ["Name", "Address", "Phase"])
        row = ["pi2", "172.30.4.2", "up", round(MORNING * 1000), "rack-a", 2, "4B", "default", ""]
        self.assertEqual(nodes["rows"][0], row)
        self.assertEqual(len(nodes["rows"]), 2)

    def test_hidden_and_empty(self) -> None:
        """Lines that are hidden, or have no target yet, have no series."""
        lines = {"target": "pi2 CPU", "hide": True}, {"refId": "A"}, {"target": ""}, {"target": None}
        self.assertEqual(self.good("query", self.query(*lines)), [])
        self.assertEqual(self.good("query", self.query()), [])

    def test_a_node_that_left(self) -> None:
        """A target of a node that no file names any more has no points, and spoils nothing for the others."""
        self.read(12.5)
        found = self.good("query", self.query("172.30.4.99 CPU", "172.30.4.2 CPU"))
        self.assertEqual([len(each["datapoints"]) for each in found], [0, 1])

    def test_variables(self) -> None:
        """Variables come escaped, as templateSrv.replace makes them for "regex"; several values are several series."""
        found = self.good("query", self.query(r"(172\.30\.4\.2|172\.30\.4\.3) Disk Usage", r"172\.30\.4\.2 CPU"))
        names = ["172.30.4.2 Disk Usage", "172.30.4.3 Disk Usage", "172.30.4.2 CPU"]
        self.assertEqual([each["target"] for each in found], names)

    def test_filters(self) -> None:
        """Ad-hoc filters choose nodes."""
        for operator, value, expected in (("=", "up", ["pi2"]), ("!=", "up", ["pi3"]), ("=", "stuck", [])):
            wish = [{"key": "phase", "operator": operator, "value": value}]
            (table,) = self.good("query", self.query("nodes", adhocFilters=wish))
            self.assertEqual([row[0] for row in table["rows"]], expected)
        only = [{"key": "name", "operator": "=", "value": "pi3"}]
        found = self.good("query", self.query("172.30.4.2 CPU", "172.30.4.3 CPU", adhocFilters=only))
        self.assertEqual([each["target"] for each in found], ["172.30.4.3 CPU"])

    def test_annotations(self) -> None:
        """Each event becomes an annotation with the original's fields; those of other times and kinds do not."""
        now = self.clock.seconds()
        self.history.keep(now - 1, events.NodeUp(mac=PI2, evidence="agent"))
        self.history.keep(now + 60, events.NodeUp(mac=PI2, evidence="agent"))
        self.history.keep(now + 61, events.BootOrdered(mac=PI2))
        self.history.keep(
            now + 90, events.OperationStarted(operation="o", action="restart", who="ada", source="s", targets=2)
        )
        first, second = self.good("annotations", ANNOTATIONS)
        self.assertEqual(first["annotation"], json.loads(ANNOTATIONS)["annotation"])
        self.assertEqual((first["time"], first["title"]), (round(MORNING * 1000) + 60_000, "Node up"))
        self.assertEqual(first["tags"], ["boots", "pi2"])
        self.assertTrue(first["text"].startswith("pi2: "))
        self.assertEqual((second["tags"], second["title"]), (["operations"], "Operation started"))

    def test_chosen_annotations(self) -> None:
        """The query of an annotation names groups and nodes."""
        now = self.clock.seconds()
        self.history.keep(now + 1, events.NodeUp(mac=PI2, evidence="agent"))
        self.history.keep(now + 2, events.NodeSilent(mac=PI2, misses=3, reason="no answer in time"))
        self.history.keep(now + 3, events.NodeSilent(mac=PI3, misses=3, reason="no answer in time"))
        for query, expected in (("failures", [2, 3]), ("boots, failures", [1, 2, 3]), ("pi3", [3]), ("boots pi3", [])):
            body = json.loads(ANNOTATIONS)
            body["annotation"]["query"] = query
            found = self.good("annotations", body)
            self.assertEqual(
                [each["time"] - round(MORNING * 1000) for each in found], [each * 1000 for each in expected]
            )

    def test_cors(self) -> None:
        """
        On a port of its own any page may read all answers, and OPTIONS is answered everywhere, as the README demands.
        """
        treq = StubTreq(AnyPage(self.grafana.resource()))
        asked = [("OPTIONS", path, 204) for path in ("", "search", "query", "annotations", "tag-keys")]
        for method, path, status in [*asked, ("GET", "", 200), ("POST", "search", 200), ("GET", "nothing", 404)]:
            response = self.successResultOf(treq.request(method, f"http://piman/{path}"))
            self.assertEqual(response.code, status)
            allowed = {
                name: response.headers.getRawHeaders(f"access-control-allow-{name}")
                for name in ("origin", "headers", "methods")
            }
            methods = ["GET, POST, OPTIONS"]
            self.assertEqual(allowed, {"origin": ["*"], "headers": ["accept, content-type"], "methods": methods})

    def test_site(self) -> None:
        """On the site a browser that asks first is told nothing that would let a page of others ask."""
        for path in ("", "search", "query"):
            response = self.successResultOf(self.treq.request("OPTIONS", f"http://piman/grafana/{path}"))
            found = [name for name, _ in response.headers.getAllRawHeaders() if name.lower().startswith(b"access-")]
            self.assertEqual((response.code, found), (204, []))


class SimPodTests(_Case):
    """simPod's JSON data source."""

    def test_metrics(self) -> None:
        """What a panel can show: a value with the choice of its nodes, or a table."""
        for body in ("{}", '{"metric": "cpu_percent", "payload": {"node": "pi2"}}'):
            found = {each["value"]: each for each in self.good("metrics", body)}
            self.assertEqual(list(found), [*self.readings.names, "nodes", "events"])
            (payload,) = found["cpu_percent"]["payloads"]
            self.assertEqual(
                (payload["name"], payload["type"], found["nodes"]["payloads"]), ("node", "multi-select", [])
            )

    def test_payload_options(self) -> None:
        """The nodes that can be chosen."""
        found = self.good("metric-payload-options", {"metric": "cpu_percent", "payload": {}, "name": "node"})
        self.assertEqual(found[0], {"label": "pi2 (172.30.4.2)", "value": "pi2"})
        self.assertIn("'cms_metric'", self.refused("metric-payload-options", {"metric": "x", "name": "cms_metric"}))

    def test_query(self) -> None:
        """A value with payload: of the chosen nodes; without: of all; the original's names do as well."""
        self.read(12.5)
        for payload, expected in (
            ({"node": "pi2"}, ["pi2 CPU"]),
            ({"node": ["pi2", "172.30.4.3"]}, ["pi2 CPU", "pi3 CPU"]),
            ({"node": r"(pi2|172\.30\.4\.3)"}, ["pi2 CPU", "pi3 CPU"]),
            ({"node": "gone"}, []),
            ({}, ["pi2 CPU", "pi3 CPU"]),
            ("", ["pi2 CPU", "pi3 CPU"]),
        ):
            target = {"target": "cpu_percent", "refId": "A", "payload": payload, "editorMode": "builder"}
            found = self.good("query", self.query(target))
            self.assertEqual([each["target"] for each in found], expected, payload)
        (series,) = self.good("query", self.query({"target": "172.30.4.2 CPU", "payload": {}}))
        self.assertEqual(len(series["datapoints"]), 1)

    def test_filters(self) -> None:
        """Here filters are called so."""
        wish = [{"key": "switch", "operator": "!=", "value": "rack-a"}]
        self.assertEqual(self.good("query", self.query("cpu_percent", filters=wish)), [])

    def test_events(self) -> None:
        """Annotations are a query: a table whose columns Grafana knows by their names."""
        self.history.keep(self.clock.seconds() + 5, events.NodeUp(mac=PI2, evidence="agent"))
        (table,) = self.good("query", self.query("events"))
        self.assertEqual([column["text"] for column in table["columns"]], ["time", "title", "text", "tags"])
        ((time, title, text, tags),) = table["rows"]
        self.assertEqual((time, title, tags), (round(MORNING * 1000) + 5000, "Node up", "boots,pi2"))
        self.assertTrue(text.startswith("pi2: "))

    def test_variable(self) -> None:
        """A variable has the nodes, or the values of a tag."""
        span = {"from": "2022-02-14T08:09:32.164Z", "to": "2022-02-21T08:09:32.164Z"}
        found = self.good("variable", {"payload": {"target": "nodes"}, "range": span})
        self.assertEqual(found[0], {"__text": "pi2 (172.30.4.2)", "__value": "pi2"})
        for target, expected in (("switch", ["rack-a"]), ("phase", ["unknown", "up"]), ("model", ["4B"])):
            found = self.good("variable", {"payload": {"target": target}, "range": span})
            self.assertEqual([each["__value"] for each in found], expected)
        self.assertIn("'systems'", self.refused("variable", {"payload": {"target": "systems"}, "range": span}))

    def test_tags(self) -> None:
        """What can be filtered by, and by which values."""
        keys = [each["text"] for each in self.good("tag-keys", "{ }")]
        self.assertEqual(keys, ["name", "address", "switch", "image", "model", "phase"])
        self.assertEqual(self.good("tag-values", {"key": "name"}), [{"text": "pi2"}, {"text": "pi3"}])
        self.assertIn("'City'", self.refused("tag-values", {"key": "City"}))


class MistakeTests(_Case):
    """What cannot be answered is said."""

    def test_queries(self) -> None:
        """Each mistake of a query is named with what was found."""
        ends = {"from": "2016-10-31T06:33:44.866Z", "to": "2016-10-31T06:33:44.865Z"}
        for changes, expected in (
            ({"range": None}, "range: found None"),
            ({"range": {"from": "now-6h", "to": "now"}}, "range.from: found 'now-6h'"),
            ({"range": {"from": 5, "to": 6}}, "range.from: found 5"),
            ({"range": ends}, "ends before it begins"),
            ({"targets": None}, "targets: found None"),
            ({"targets": ["pi2 CPU"]}, "targets: found 'pi2 CPU'"),
            ({"targets": [{"target": 5}]}, "target: found 5"),
            ({"maxDataPoints": 0}, "maxDataPoints: found 0"),
            ({"maxDataPoints": True}, "maxDataPoints: found True"),
            ({"maxDataPoints": "many"}, "maxDataPoints: found 'many'"),
            ({"adhocFilters": [{"key": "City", "operator": "=", "value": "Berlin"}]}, "key: found 'City'"),
            ({"adhocFilters": [{"key": "name", "operator": "=~", "value": ".*"}]}, "operator '=~'"),
            ({"adhocFilters": "x"}, "filters: found 'x'"),
        ):
            self.assertIn(expected, self.refused("query", self.query("pi2 CPU", **changes)))
        self.assertIn("'pi2 Disc Usage'", self.refused("query", self.query("pi2 Disc Usage")))

    def test_hint(self) -> None:
        """A name that is nearly one is told."""
        _, found = self.ask("query", self.query("pi2 Disc Usage"))
        self.assertEqual(found["error"]["hint"], "Did you mean 'pi2 Disk Usage'?")

    def test_bodies(self) -> None:
        """What is no JSON object is refused, however deep; too much of it, too."""
        for body in (
            "nonsense",
            "[]",
            "[" * 100_000,
            '"text"',
            "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
        ):
            for path in ("query", "search", "annotations", "metrics", "variable", "tag-values"):
                self.assertEqual(self.ask(path, body)[0], 400, (path, body[:20]))
        self.assertEqual(self.ask("query", " " * (1 << 20) + "{}")[0], 413)

    def test_annotations(self) -> None:
        """Words that mean nothing are refused, and so is a request without its annotation."""
        body = json.loads(ANNOTATIONS)
        body["annotation"]["query"] = "#deploy"
        self.assertIn("'#deploy'", self.refused("annotations", body))
        self.assertIn("annotation: found None", self.refused("annotations", {"range": body["range"]}))

    def test_too_many(self) -> None:
        """Variables cannot be multiplied without end."""
        many = "(" + "|".join(map(str, range(100))) + ")"
        self.assertIn("10000 combinations", self.refused("query", self.query(f"{many}{many} CPU")))

    def test_paths_and_methods(self) -> None:
        """Other paths and methods are refused in the same form."""
        status, found = self.ask("nothing")
        self.assertEqual((status, found["error"]["code"]), (404, "no-such-path"))
        status, found = self.ask("query", method="GET")
        self.assertEqual((status, found["error"]["code"]), (405, "method-not-allowed"))

    def test_history_fails(self) -> None:
        """A history that cannot be read is 503, not our mistake."""
        self.history.failure = StoreFailed("disk")
        self.assertEqual(self.ask("annotations", ANNOTATIONS)[0], 503)

    def test_our_mistake(self) -> None:
        """A mistake of ours is 500, and logged."""
        self.history.failure = ZeroDivisionError()
        self.assertEqual(self.ask("annotations", ANNOTATIONS)[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PartTests(SynchronousTestCase):
    """The pure parts."""

    def test_alternatives(self) -> None:
        """A text without variables means itself; groups are multiplied; escaped characters are what they are."""
        for text, expected in (
            ("172.30.4.2 CPU", ["172.30.4.2 CPU"]),
            (r"172\.30\.4\.2 CPU", ["172.30.4.2 CPU"]),
            ("(a|b) (c|d)", ["a c", "a d", "b c", "b d"]),
            (r"(a\|b|c\)d)", ["a|b", "c)d"]),
            ("(a", ["(a"]),
            ("(a|a)", ["a"]),
            ("", [""]),
        ):
            self.assertEqual(list(alternatives(text)), expected, text)
        many = "|".join(map(str, range(MOST_SERIES + 1)))
        self.assertRaises(Refusal, alternatives, f"({many})")

    def test_long_texts_are_cheap(self) -> None:
        """A text made to trip the expressions is read in one pass, or refused."""
        for text in ("(" * 50_000, "\\" * 50_001, "(" + "\\|" * 25_000, "|" * 50_000):
            self.assertEqual(len(alternatives(text)), 1)

    def test_gaps(self) -> None:
        """Only pauses that are longer have a null."""
        self.assertEqual(list(with_gaps([(0.0, 1.0), (10.0, 2.0)], 10.0)), [(0.0, 1.0), (10.0, 2.0)])
        self.assertEqual(list(with_gaps([(0.0, 1.0), (11.0, 2.0)], 10.0)), [(0.0, 1.0), (5.5, None), (11.0, 2.0)])
        self.assertEqual(list(with_gaps([], 10.0)), [])

    def test_groups(self) -> None:
        """What annotations show is stored: each class is durable, and in one group only."""
        kinds = [kind for group in happenings.GROUPS.values() for kind in group]
        self.assertEqual(len(kinds), len(set(kinds)))
        self.assertLessEqual(set(kinds), {kind for kind in CATALOGUE if kind.durable})
