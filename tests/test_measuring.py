"""
Tests for :mod:`piman.measuring`, and how its parts hang in the site.
"""

import json
from pathlib import Path

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from piman.fleet import events
from piman.fleet.nodes import NodeRegistry
from piman.fleet.state.history import HistoryStore
from piman.fleet.walltime import WallTime
from piman.host.transports import Counters
from piman.measuring import Measuring, grafana_resource, measured_parts
from tests.fleet_support import ThreadedClock
from tests.web_support import NODES, PI2, RACK


class HandsOn(Resource):
    """Hands on the whole path, as :class:`piman.web.site.Root` does."""

    def __init__(self, parts: dict[str, IResource]) -> None:
        super().__init__()
        self._parts = parts

    def getChildWithDefault(self, path: bytes, request: IRequest) -> IResource:
        """The part of the first segment."""
        request.postpath.insert(0, request.prepath.pop())
        return self._parts[path.decode()]


class Bound:
    """A transport that has sent something."""

    counters = Counters(sent=5)


class MeasuringTests(SynchronousTestCase):
    """Counting, from start to stop."""

    def setUp(self) -> None:
        """Nothing runs yet."""
        self.clock = Clock()
        self.registry = NodeRegistry(NODES)
        self.measuring = Measuring(self.clock, self.registry)

    def ask(self, path: str, method: str = "GET", body: bytes = b"", grafana: bool = True) -> tuple[int, str]:
        """Status and text of an answer of the site."""
        threads = ThreadedClock()
        source = grafana_resource(
            self.measuring,
            nodes=self.registry,
            labels=lambda: {RACK: "rack-a"},
            history=HistoryStore(Path(self.mktemp()), reactor=threads, clock=threads),
            wall=WallTime(self.clock),
            gap_seconds=lambda: 105.0,
        )
        parts = measured_parts(
            self.measuring,
            nodes=self.registry,
            labels=lambda: {RACK: "rack-a"},
            agent_port=lambda: 3000,
            grafana=source if grafana else None,
        )
        if path.split("/")[0] not in parts:
            return 404, ""
        response = self.successResultOf(StubTreq(HandsOn(parts)).request(method, f"http://piman/{path}", data=body))
        return response.code, self.successResultOf(response.text())

    def test_parts(self) -> None:
        """Each part answers at its address of the site."""
        self.assertIn('piman_nodes{phase="up"} 0.0', self.ask("metrics")[1])
        self.assertEqual(self.ask("sd/nodes"), (200, "[]"))
        self.assertEqual(self.ask("grafana/")[0], 200)
        self.assertIn("172.30.4.2 CPU", json.loads(self.ask("grafana/search", "POST", b"{}")[1]))
        self.assertEqual(self.ask("sd/others")[0], 404)

    def test_without_grafana(self) -> None:
        """When Grafana is not wanted its address answers nothing."""
        self.assertEqual(self.ask("grafana/", grafana=False)[0], 404)

    def test_start_and_stop(self) -> None:
        """Boots are timed and the loop is watched only while it runs."""
        self.measuring.startService()
        self.registry.observe(events.Recorded(id=1, time=1.0, event=events.LoadingStarted(mac=PI2, name="start4.elf")))
        self.clock.advance(0.25)
        self.assertIn("piman_boots_total 1.0", self.ask("metrics")[1])
        self.assertIn("piman_event_loop_lag_seconds_count 1.0", self.ask("metrics")[1])
        self.successResultOf(self.measuring.stopService())
        self.assertEqual((self.registry.watchers, self.clock.getDelayedCalls()), ([], []))
        self.successResultOf(self.measuring.stopService())

    def test_transports(self) -> None:
        """Services that are added tell of their datagrams; a transport that is not bound tells nothing."""
        self.measuring.add_transports("dhcp", lambda: (Bound(), None))
        text = self.ask("metrics")[1]
        self.assertIn('piman_udp_datagrams_total{outcome="sent",service="dhcp"} 5.0', text)
