# -*- test-case-name: tests.test_settings_monitoring_config -*-
"""
How nodes are watched: the section ``monitor`` of ``piman.yaml``, and behind it the original's ``monitoring.config``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from piman.fleet.model import Node
from piman.settings.monitoring_config import find, read
from piman.settings.sections import Document, MonitorSection
from piman.settings.yamlfile import Report


@attrs.frozen
class Monitoring:
    """What ``piman.yaml`` and the original's ``monitoring.config`` say together."""

    section: MonitorSection
    alerts: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]


def read_monitoring(document: Document, report: Report, base: Path) -> Monitoring:
    """
    Both together.

    A ``monitoring.config`` that ``piman.yaml`` names must be right; one that only lies there stops nobody: what is
    wrong in it is a warning.
    """
    section = document.monitor
    named = section.config
    if named is not None and not named.is_file():
        report.at("monitor.config", f"{str(named)!r}, no such file", "the path of a monitoring.config")
    path = named or find(base)
    if path is None or not path.is_file():
        return Monitoring(section, document.alerts, ())
    own = Report(str(path))
    found = read(path, own)
    if named is not None:
        report.problems.extend(own.problems)
    if found.interval_seconds is not None and "monitor.interval_seconds" not in report.lines:
        section = attrs.evolve(section, interval_seconds=found.interval_seconds)
    return Monitoring(
        attrs.evolve(section, thresholds={**found.thresholds, **section.thresholds}),
        document.alerts if "alerts" in report.lines else found.channels,
        () if named is not None else tuple(str(problem) for problem in own.problems),
    )


def strangers(monitor: MonitorSection, nodes: Iterable[Node], tags: Collection[str]) -> Iterator[str]:
    """Names under ``monitor`` that no node goes by, and tags that nobody has."""
    known = {name for node in nodes for name in (str(node.mac), node.hostname.lower(), str(node.address))}
    for name in monitor.node_thresholds:
        if name not in known:
            yield f"monitor.node_thresholds: no node is called {name}"
    for tag in monitor.tag_thresholds:
        if tag not in tags:
            yield f"monitor.tag_thresholds: {tag} is no tag of tags"
