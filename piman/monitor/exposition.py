# -*- test-case-name: tests.test_monitor_exposition -*-
"""
A reading as Prometheus text; of what the board does not tell there is no line.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from piman.monitor.readings import THROTTLING, Reading

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GAUGES = (
    ("cpu_percent", "cpu_percent", "Processor time in use, per cent."),
    ("memory_percent", "memory_percent", "Memory in use, per cent."),
    ("disk_percent", "disk_percent", "Root file system in use, per cent."),
    ("num_pids", "num_pids", "Processes."),
    ("temp", "temperature_celsius", "Temperature of the processor."),
    ("uptime_seconds", "uptime_seconds", "Since the kernel started."),
    ("throttled", "throttled", "Bits of the firmware's get_throttled."),
    ("under_voltage", "under_voltage", "1 while the board has too little voltage."),
    ("root_read_only", "root_read_only", "1 when the root file system is read-only."),
    ("root_errors", "root_errors", "Errors that ext4 has found on the root file system since it was checked."),
    ("disk_stalled_seconds", "disk_stalled_seconds", "For so long the root file system has not answered."),
)
"""Field of the reading, name of the metric behind ``piman_node_``, meaning."""


class _ReadingCollector(Collector):
    """Turns the latest reading into metrics whenever it is asked."""

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        """Every metric that the reading has a value for."""
        reading = self._reading()
        for field, name, meaning in GAUGES:
            value = getattr(reading, field)
            if value is not None:
                yield GaugeMetricFamily(f"piman_node_{name}", meaning, float(value))
        if reading.throttled is not None:
            yield _flags(reading.throttled)
        if reading.image_digest is not None:
            meaning = "The image that the installer put on the card."
            yield _information("image", meaning, {"digest": reading.image_digest})
        if reading.card is not None:
            yield from _card(reading)


def _flags(throttled: int) -> Metric:
    family = GaugeMetricFamily("piman_node_throttling", "1 for each bit of get_throttled.", labels=["flag", "when"])
    for bit, flag in THROTTLING:
        family.add_metric([flag, "now"], throttled >> bit & 1)
        family.add_metric([flag, "since_boot"], throttled >> (bit + 16) & 1)
    return family


def _card(reading: Reading) -> Iterator[Metric]:
    card = reading.card
    assert card is not None
    names = {"type": card.type, "name": card.name, "serial": card.serial, "date": card.date, "pre_eol": card.pre_eol}
    told = {label: value for label, value in names.items() if value is not None}
    yield _information("card", "The card that the system runs from.", told)
    if card.life_used_percent is not None:
        meaning = "At most so much of the card's estimated life is used, per cent."
        yield GaugeMetricFamily("piman_node_card_life_used_percent", meaning, card.life_used_percent)


def _information(name: str, meaning: str, labels: dict[str, str]) -> Metric:
    family = GaugeMetricFamily(f"piman_node_{name}_info", meaning, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


class Exposition:
    """The metrics of one node, in a registry of their own."""

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ReadingCollector(reading))

    def text(self) -> bytes:
        """Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)
