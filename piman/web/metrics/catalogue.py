# -*- test-case-name: tests.test_web_metrics -*-
"""
Every metric that the manager shows: name, kind, labels, meaning.

Names and units are Prometheus' (https://prometheus.io/docs/practices/naming/): base units, ``_total`` for what only
grows.  Values of labels come from lists that the program or the operator's files bound, never from a client.
docs/reference/metrics.md is made of this module, and a test compares the two.
"""

from collections.abc import Iterable, Sequence

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from piman.distribution import Distribution

Labels = Sequence[str]


@attrs.frozen
class Measure:
    """One metric; its name tells its kind: ``_total`` a counter; the others are gauges or, see below, histograms."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    is_histogram: bool = False

    @property
    def kind(self) -> str:
        """What Prometheus calls its type."""
        if self.is_histogram:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"

    def family(self, values: Iterable[tuple[Labels, float]]) -> Metric:
        """A counter or a gauge with its values, each with the values of its labels."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        found = kind(self.name, self.help, labels=self.labels)
        for labels, value in values:
            found.add_metric(labels, value)
        return found

    def one(self, value: float) -> Metric:
        """A counter or a gauge without labels."""
        return self.family([((), value)])

    def spread(self, values: Iterable[tuple[Labels, Distribution]]) -> Metric:
        """A histogram."""
        found = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, distribution in values:
            buckets = [(floatToGoString(bound), count) for bound, count in distribution.cumulated()]
            found.add_metric(labels, buckets, distribution.sum)
        return found


def _spread(name: str, meaning: str, *labels: str) -> Measure:
    return Measure(name, meaning, labels, is_histogram=True)


def _plain(name: str, meaning: str, *labels: str) -> Measure:
    return Measure(name, meaning, labels)


# Nodes and boots

INFO = _plain("piman_info", "Always 1; which piman runs.", "version")
NODES = _plain("piman_nodes", "Nodes of the operator's files that are in this phase.", "phase")
STRANGERS = _plain("piman_strangers", "Boards that asked for something and that no file names.")
SLOTS = _plain("piman_expected_nodes", "Places in piman.yaml whose board nobody has named in hosts.csv yet.")
BOOTS = _plain("piman_boots_total", "Boots that began, as far as they were seen.")
BOOT_SECONDS = _spread(
    "piman_boot_seconds",
    "From the beginning of a boot (power, where piman gave it) until the node was up; installed: yes when the card was "
    "written in it.",
    "model",
    "installed",
)
PHASE_SECONDS = _spread(
    "piman_boot_phase_seconds",
    "How long nodes stayed in a phase of a boot, counted when they leave it.",
    "phase",
    "model",
)
INSTALLS = _plain("piman_installs_total", "Installations that are over, by how they ended.", "result")
INSTALLER_FAILURES = _plain("piman_installer_failures_total", "Installers that said that they cannot go on.")

# DHCP

DHCP_MESSAGES = _plain("piman_dhcp_messages_total", "DHCP messages that arrived, whoever sent them.", "type")
DHCP_ANSWERS = _plain("piman_dhcp_answers_total", "DHCP answers that were sent.", "type")
DHCP_SILENCES = _plain("piman_dhcp_silences_total", "DHCP messages that got no answer, and why.", "reason")
DHCP_MALFORMED = _plain("piman_dhcp_malformed_total", "Datagrams to the DHCP port that are no DHCP messages.")
LEASES = _plain("piman_dhcp_leases", "Addresses that boards hold, reserved ones and those of the pool.")
POOL = _plain("piman_dhcp_pool_addresses", "Addresses of the pool; 0 without a pool.")
POOL_FREE = _plain("piman_dhcp_pool_free_addresses", "Addresses of the pool that nobody has.")

# TFTP

TFTP_RUNNING = _plain("piman_tftp_transfers_running", "TFTP transfers under way.")
TFTP_TRANSFERS = _plain(
    "piman_tftp_transfers_total",
    "TFTP transfers that are over: whole; ended early, as is normal for a question after the size; aborted.",
    "result",
)
TFTP_BYTES = _plain("piman_tftp_sent_bytes_total", "Bytes of boot files that boards confirmed.")
TFTP_RETRANSMITS = _plain("piman_tftp_retransmitted_blocks_total", "Blocks that were sent again.")
TFTP_MISSING = _plain("piman_tftp_missing_total", "Requests for files that there are not; most are normal probes.")

# Images

IMAGE_STREAMS = _plain("piman_image_streams_running", "Connections that carry an image to a node.", "door")
IMAGE_BYTES = _plain("piman_image_sent_bytes_total", "Bytes of images that were sent, unfinished ones too.", "door")
IMAGES = _plain("piman_images_total", "Images that were sent whole, and streams that broke off.", "door", "result")
IMAGE_SECONDS = _spread("piman_image_seconds", "How long a node took to fetch its whole image.", "door")

# Power

POWER_CYCLES = _plain(
    "piman_power_cycles_total", "Ports that were switched off and on, and those that failed.", "result"
)
SNMP_REQUESTS = _plain("piman_snmp_requests_total", "SNMP requests to a switch, repetitions included.", "switch")
SNMP_FAILURES = _plain(
    "piman_snmp_failures_total", "SNMP requests without a good answer: timeout, or another error.", "switch", "reason"
)
SNMP_SECONDS = _spread("piman_snmp_seconds", "How long a switch took to answer an SNMP request.", "switch")

# Orders

OPERATIONS_RUNNING = _plain("piman_operations_running", "Orders of operators that are not over.")
OPERATIONS = _plain("piman_operations_total", "Orders of operators that began.", "action")
OPERATION_TARGETS = _plain(
    "piman_operation_targets_total",
    "Nodes and ports of orders that are over, by what came of them.",
    "action",
    "result",
)

# Agents

AGENT_POLLS = _plain("piman_agent_polls_total", "Questions to the agents of nodes: answered, or missed.", "result")
SWEEP_SECONDS = _spread("piman_agent_sweep_seconds", "How long it took to ask all agents once.")

# The manager itself

LOOP_LAG = _spread(
    "piman_event_loop_lag_seconds", "How late timers of the manager were: it does everything in one thread."
)
LOOP_LAG_MAX = _plain("piman_event_loop_lag_max_seconds", "The latest timer of the last one to two minutes.")
STORE_SECONDS = _spread("piman_store_commit_seconds", "How long it took to put changes on disk.", "store")
STORE_FAILURES = _plain("piman_store_failures_total", "Changes that could not be put on disk.", "store")
STORE_QUEUE = _plain("piman_store_queue", "Changes and questions that wait for the store.", "store")
HISTORY_WAITING = _plain("piman_history_waiting_events", "Events that wait for the next write of the history.")
HISTORY_DROPPED = _plain(
    "piman_history_dropped_events_total", "Events that are missing in the history: the disk failed."
)
DATAGRAMS = _plain(
    "piman_udp_datagrams_total",
    "UDP datagrams: received; sent; dropped, as a buffer was full; refused by the kernel; failed by our mistake.",
    "service",
    "outcome",
)
EVENTS = _plain("piman_events_total", "Events of the log, by class (docs/reference/events.md).", "kind")
STREAM_READERS = _plain("piman_event_stream_readers", "Browsers and programs that follow the event stream.")
RELOAD_GOOD = _plain(
    "piman_config_last_reload_successful", "Whether the files were good when they were last read: 1, or 0."
)

CATALOGUE: tuple[Measure, ...] = tuple(value for value in vars().values() if isinstance(value, Measure))
"""All of them, in the order of this page."""
