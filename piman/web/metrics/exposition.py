# -*- test-case-name: tests.test_web_metrics -*-
"""
``GET /metrics``: all metrics in the format that is asked for, Prometheus' text or OpenMetrics.
"""

import gzip
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from twisted.logger import Logger
from twisted.web.resource import Resource

from piman.web.metrics.sources import Source

COMPRESSION = 1
"""Of gzip: a tenth of the text remains, at a third of the time that the usual level takes."""


class _Asked(Collector):
    """A source as a collector; one that fails costs the others nothing."""

    _log = Logger()

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        """What the source says now."""
        try:
            return list(self._source())
        except Exception:
            self._log.failure("{source} has no metrics", source=self._source)
            return []


def registry_of(sources: Iterable[Source]) -> CollectorRegistry:
    """A registry of these sources, of the process and its Python; not the global one."""
    registry = CollectorRegistry()
    for source in sources:
        registry.register(_Asked(source))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class MetricsResource(Resource):
    """``/metrics``."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Any) -> bytes:
        """All metrics."""
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        body: bytes = encode(self._registry)
        request.setHeader("content-type", content_type)
        request.setHeader("cache-control", "no-store")
        request.setHeader("vary", "accept, accept-encoding")
        if takes_gzip(request.getHeader("accept-encoding") or ""):
            request.setHeader("content-encoding", "gzip")
            body = gzip.compress(body, COMPRESSION)
        return body


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header names gzip, or everything, and not with quality 0 (RFC 9110, 12.5.3)."""
    found: dict[str, float] = {}
    for each in accepted.lower().split(","):
        coding, _, parameter = each.partition(";")
        name, _, quality = parameter.strip().partition("=")
        try:
            found[coding.strip()] = float(quality) if name.strip() == "q" else 1.0
        except ValueError:
            found[coding.strip()] = 0.0
    return found.get("gzip", found.get("*", 0.0)) > 0
