# -*- test-case-name: tests.test_fleet_limits -*-
"""
What the operator calls too much: limits of readings, for the fleet, for nodes with a tag, and for single nodes.
"""

from collections.abc import Collection, Mapping

import attrs

READINGS = (
    "cpu_percent",
    "memory_percent",
    "disk_percent",
    "num_pids",
    "temp",
    "under_voltage",
    "root_read_only",
    "root_errors",
    "disk_stalled_seconds",
    "card_life_used_percent",
)
"""What a limit can be set for; what is true or false counts as 1 or 0."""

FOR_SECONDS = 60.0
"""A value that is too high only for a moment is no news."""

MARGIN = 0.05
"""How much a value must come back, as a share of the limit, unless the operator says how far."""


@attrs.frozen(kw_only=True)
class Limit:
    """From when on a reading is too high, and until when."""

    above: float
    """Too high is strictly more."""
    clear: float
    """A value at or below this is back; one between the two leaves things as they are."""
    for_seconds: float = FOR_SECONDS
    """For so long it must have been too high."""

    @classmethod
    def of(cls, above: float, *, clear: float | None = None, for_seconds: float = FOR_SECONDS) -> "Limit":
        """A limit; ``clear`` is a twentieth below ``above`` unless given."""
        return cls(above=above, clear=above - MARGIN * abs(above) if clear is None else clear, for_seconds=for_seconds)


LimitsByReading = Mapping[str, Limit | None]
"""``None``: no limit here, whatever is said for more nodes."""


@attrs.frozen(kw_only=True)
class Limits:
    """All limits of a fleet.  Nodes go by MAC, hostname or address, in lower case."""

    fleet: LimitsByReading = attrs.field(factory=dict)
    tags: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    """The nodes that have a tag."""
    by_tag: Mapping[str, LimitsByReading] = attrs.field(factory=dict)
    by_node: Mapping[str, LimitsByReading] = attrs.field(factory=dict)

    def of_node(self, names: Collection[str]) -> dict[str, Limit]:
        """
        The limits of a node that has these names: its own, else its tags', else the fleet's.

        Of several tags the lowest limit counts, and any limit more than none.
        """
        lower = {name.lower() for name in names}
        tagged = [self.by_tag[tag] for tag in self.by_tag if lower.intersection(self.tags.get(tag, ()))]
        own = [self.by_node[name] for name in self.by_node if name in lower]
        found = {**self.fleet, **_strictest(tagged), **_strictest(own)}
        return {reading: limit for reading, limit in found.items() if limit is not None}


def _strictest(several: Collection[LimitsByReading]) -> dict[str, Limit | None]:
    found: dict[str, Limit | None] = {}
    for limits in several:
        for reading, limit in limits.items():
            other = found.setdefault(reading, limit)
            if limit is not None and (other is None or limit.above < other.above):
                found[reading] = limit
    return found
