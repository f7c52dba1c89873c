# -*- test-case-name: tests.test_config -*-
"""
The keys of ``monitor`` that say what is too much, and for which nodes.
"""

from collections.abc import Mapping

import attrs
import yaml

from piman.fleet.limits import FOR_SECONDS, READINGS, Limit, LimitsByReading
from piman.settings.readers import (
    finite,
    mapping_of,
    read_section,
    required,
    seconds,
    setting,
    word_key,
)
from piman.settings.yamlfile import Report, Unreadable, Value

LONGEST_FOR_SECONDS = 86_400.0


@attrs.frozen(kw_only=True)
class ThresholdSection:
    """A threshold with all that can be said about it."""

    above: float = required(finite)
    clear: float | None = setting(finite, None, shown="above less a twentieth")
    for_seconds: float = setting(seconds(0, LONGEST_FOR_SECONDS), FOR_SECONDS, shown="60")


def _limit(value: Value, report: Report) -> Limit | None:
    """A number; ``none``; or ``{above: ..., clear: ..., for_seconds: ...}``."""
    expected = "a number, none, or {above: 90, clear: 85, for_seconds: 60}"
    if isinstance(value.node, yaml.MappingNode):
        found = read_section(ThresholdSection, value, report)
        if found.clear is not None and found.clear > found.above:
            report.at(f"{value.key}.clear", f"{found.clear:g}", f"at most above ({found.above:g})")
        return Limit.of(found.above, clear=found.clear, for_seconds=found.for_seconds)
    if value.text(expected).lower() == "none":
        return None
    try:
        return Limit.of(finite(value, report))
    except Unreadable as reason:
        raise Unreadable(expected) from reason


def _reading(name: str) -> str:
    if name not in READINGS:
        raise Unreadable("one of " + ", ".join(READINGS))
    return name


def _node(name: str) -> str:
    """A node's MAC, hostname or address."""
    if not name.strip() or not name.isprintable():
        raise Unreadable("a node's MAC, hostname or address")
    return name.strip().lower()


read_thresholds = mapping_of(_reading, _limit, "reading: threshold pairs, like cpu_percent: 90")
"""``thresholds``."""

read_tag_thresholds = mapping_of(word_key, read_thresholds, "tag: {reading: threshold} pairs")
"""``tag_thresholds``."""

read_node_thresholds = mapping_of(_node, read_thresholds, "node: {reading: threshold} pairs")
"""``node_thresholds``."""

LimitsByName = Mapping[str, LimitsByReading]
