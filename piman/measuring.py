# -*- test-case-name: tests.test_measuring -*-
"""
What the manager counts of itself and remembers of its nodes, put together: for Prometheus and for Grafana.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.resource import IResource

from piman.fleet.nodes import NodeRegistry
from piman.fleet.state.history import HistoryStore
from piman.fleet.walltime import WallTime
from piman.monitor.recent import RecentReadings
from piman.web.branch import Branch
from piman.web.discovery import discovery_resource
from piman.web.grafana.resource import Grafana
from piman.web.metrics.exposition import MetricsResource, registry_of
from piman.web.metrics.lag import LoopLag
from piman.web.metrics.sources import (
    Source,
    Transports,
    of_boots,
    of_datagrams,
    of_events,
    of_loop,
    of_nodes,
    of_version,
)
from piman.web.metrics.tally import Boots, Tally
from piman.words import own_version

GAP_POLLS = 3.5
"""So many polls without an answer are a gap in a chart: one or two lost answers are none."""


class Measuring(Service):
    """
    Counts from start to stop.

    :ivar tally: an observer of events.
    :ivar readings: a listener of the poller.
    """

    def __init__(self, reactor: Any, nodes: NodeRegistry) -> None:
        self.tally = Tally()
        self.readings = RecentReadings(reactor)
        self._nodes = nodes
        self._boots = Boots(nodes)
        self._lag = LoopLag(reactor)
        self._transports: dict[str, Transports] = {}
        self._sources: list[Source] = [
            of_version(own_version()),
            of_nodes(nodes),
            of_boots(self._boots),
            of_events(self.tally),
            of_loop(self._lag),
            of_datagrams(self._transports),
        ]

    def add(self, *sources: Source) -> None:
        """Ask these, too."""
        self._sources += sources

    def add_transports(self, name: str, transports: Transports) -> None:
        """Tell what the datagrams of a service came to."""
        self._transports[name] = transports

    def startService(self) -> None:
        """What nodes do from now on is timed; what was restored is not."""
        super().startService()
        self._boots.begin(self._nodes.statuses())
        self._nodes.watchers.append(self._boots.watch)
        self._lag.startService()

    def stopService(self) -> "Deferred[object]":
        """Time nothing any more."""
        super().stopService()
        if self._boots.watch in self._nodes.watchers:
            self._nodes.watchers.remove(self._boots.watch)
        return maybeDeferred(self._lag.stopService)

    def metrics(self) -> IResource:
        """All that was added so far, as ``/metrics``."""
        return MetricsResource(registry_of(self._sources))


def measured_parts(
    measuring: Measuring,
    *,
    nodes: NodeRegistry,
    labels: Callable[[], Mapping[IPv4Address, str]],
    agent_port: Callable[[], int],
    grafana: IResource | None,
) -> dict[str, IResource]:
    """
    What the site shows of it, by the first segment of the path.

    :param labels: what people call the switches, as of now.
    :param agent_port: where agents listen, as of now.
    :param grafana: None: it is not wanted.
    """
    found: dict[str, IResource] = {
        "metrics": measuring.metrics(),
        "sd": discovery_resource(nodes, agent_port=agent_port, labels=labels),
    }
    if grafana is not None:
        found["grafana"] = grafana
    branch = Branch(found)
    return dict.fromkeys(found, branch)


def grafana_resource(
    measuring: Measuring,
    *,
    nodes: NodeRegistry,
    labels: Callable[[], Mapping[IPv4Address, str]],
    history: HistoryStore,
    wall: WallTime,
    gap_seconds: Callable[[], float],
) -> IResource:
    """
    The data sources.

    :param gap_seconds: readings further apart than this have a gap between them, as of now.
    """
    return Grafana(
        nodes=nodes,
        labels=labels,
        readings=measuring.readings,
        history=history,
        wall=wall,
        gap_seconds=gap_seconds,
    ).resource()
