# -*- test-case-name: tests.test_web_metrics -*-
"""
Where the values of the metrics come from: each function asks one part of the manager, when somebody scrapes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from prometheus_client.metrics_core import Metric
from twisted.internet.interfaces import IReactorTime

from piman.addressing.decisions import Reason
from piman.boot.doors import Door
from piman.dhcp import DHCPProtocol
from piman.fleet.interfaces import IPowerSwitch
from piman.fleet.model import Phase
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations
from piman.fleet.state.database import Database
from piman.fleet.state.history import HistoryStore
from piman.fleet.state.leases import LeaseTable
from piman.switching.counting import CountedExchange
from piman.tftp import TFTPServer
from piman.udp import Counters
from piman.web.metrics import catalogue as the
from piman.web.metrics.lag import LoopLag
from piman.web.metrics.tally import BOOT_PHASES, Boots, Tally
from piman.wire.dhcp import MessageType

Source = Callable[[], Iterable[Metric]]
Transports = Callable[[], Iterable[Any]]
"""The transports of a service that are bound; each has ``counters``."""

ASKED = (MessageType.DISCOVER, MessageType.REQUEST, MessageType.DECLINE, MessageType.RELEASE, MessageType.INFORM)
ANSWERED = (MessageType.OFFER, MessageType.ACK, MessageType.NAK)


def _type(kind: MessageType | None) -> str:
    return "other" if kind is None else kind.name.lower()


def of_version(version: str) -> Source:
    """Which piman runs."""
    return lambda: [the.INFO.family([((version,), 1)])]


def of_nodes(nodes: NodeRegistry) -> Source:
    """Nodes by phase."""

    def collect() -> Iterator[Metric]:
        counts = nodes.counts()
        yield the.NODES.family(((phase.value,), counts[phase]) for phase in Phase)
        yield the.STRANGERS.one(len(nodes.strangers()))
        yield the.SLOTS.one(len(nodes.slots()))

    return collect


def of_boots(boots: Boots) -> Source:
    """How long boots and their phases take."""

    def collect() -> Iterator[Metric]:
        yield the.BOOTS.one(boots.begun)
        whole = sorted(boots.whole.items())
        yield the.BOOT_SECONDS.spread(
            ((model, "yes" if installed else "no"), each) for (model, installed), each in whole
        )
        phases = sorted(boots.phases.items(), key=lambda item: (BOOT_PHASES.index(item[0][0]), item[0][1]))
        yield the.PHASE_SECONDS.spread(((phase.value, model), each) for (phase, model), each in phases)

    return collect


def of_events(tally: Tally) -> Source:
    """What happened."""

    def collect() -> Iterator[Metric]:
        kinds = sorted((kind.__name__, count) for kind, count in tally.kinds.items())
        yield the.EVENTS.family(((name,), count) for name, count in kinds)
        yield the.INSTALLS.family(((result,), count) for result, count in tally.installs.items())
        failures = sum(count for name, count in kinds if name == "InstallerFailed")
        yield the.INSTALLER_FAILURES.one(failures)
        yield the.IMAGES.family(tally.images.items())
        yield the.IMAGE_SECONDS.spread(((door,), each) for door, each in tally.image_seconds.items())
        yield the.POWER_CYCLES.family(((result,), count) for result, count in tally.power_cycles.items())
        yield the.OPERATIONS.family(((action,), count) for action, count in tally.operations.items())
        yield the.OPERATION_TARGETS.family(tally.targets.items())
        yield the.RELOAD_GOOD.one(tally.reload_was_good)

    return collect


def of_dhcp(protocol: DHCPProtocol) -> Source:
    """DHCP messages and answers."""

    def collect() -> Iterator[Metric]:
        received = protocol.received
        others = sum(count for kind, count in received.items() if kind not in ASKED)
        asked = [((_type(kind),), received[kind]) for kind in ASKED]
        yield the.DHCP_MESSAGES.family([*asked, (("other",), others)])
        answered = [((_type(kind),), protocol.answered[kind]) for kind in (*ANSWERED, None)]
        yield the.DHCP_ANSWERS.family(answered)
        yield the.DHCP_SILENCES.family(((reason.name.lower(),), protocol.silences[reason]) for reason in Reason)
        yield the.DHCP_MALFORMED.one(protocol.malformed)

    return collect


def of_leases(clock: IReactorTime, leases: LeaseTable) -> Source:
    """Who has addresses, and how many are left."""

    def collect() -> Iterator[Metric]:
        pool = leases.pool
        yield the.LEASES.one(len(leases.leases()))
        yield the.POOL.one(len(pool) if pool is not None else 0)
        yield the.POOL_FREE.one(pool.free(clock.seconds()) if pool is not None else 0)

    return collect


def of_tftp(server: TFTPServer) -> Source:
    """TFTP transfers."""

    def collect() -> Iterator[Metric]:
        counts = server.deliveries.counts
        yield the.TFTP_RUNNING.one(len(server.deliveries.table))
        results = ("whole", "ended", "aborted")
        yield the.TFTP_TRANSFERS.family(((result,), getattr(counts, result)) for result in results)
        yield the.TFTP_BYTES.one(counts.bytes)
        yield the.TFTP_RETRANSMITS.one(counts.retransmits)
        yield the.TFTP_MISSING.one(server.missing)

    return collect


def of_doors(doors: Iterable[Door]) -> Source:
    """The doors of the images."""
    known = tuple(doors)

    def collect() -> Iterator[Metric]:
        yield the.IMAGE_STREAMS.family(((door.kind,), len(door.streams)) for door in known)
        yield the.IMAGE_BYTES.family(((door.kind,), door.sent_bytes) for door in known)

    return collect


def of_power(switches: Callable[[], Mapping[IPv4Address, IPowerSwitch]]) -> Source:
    """What the switches answer; those that are reached by SNMP, each named by its address."""

    def traffic() -> Iterator[tuple[str, CountedExchange]]:
        for address, switch in switches().items():
            counted = getattr(switch, "traffic", None)
            if counted is not None:
                yield str(address), counted

    def collect() -> Iterator[Metric]:
        found = list(traffic())
        yield the.SNMP_REQUESTS.family(((switch,), each.requests) for switch, each in found)
        failures = [
            ((switch, reason), count)
            for switch, each in found
            for reason, count in (("timeout", each.timeouts), ("error", each.errors))
        ]
        yield the.SNMP_FAILURES.family(failures)
        yield the.SNMP_SECONDS.spread(((switch,), each.seconds) for switch, each in found)

    return collect


def of_operations(operations: Operations) -> Source:
    """Orders under way."""
    return lambda: [the.OPERATIONS_RUNNING.one(sum(not each.is_final for each in operations.operations()))]


def of_poller(poller: Any) -> Source:
    """
    The agents.

    :param poller: a :class:`piman.monitor.poller.Poller`, a sibling of this package.
    """

    def collect() -> Iterator[Metric]:
        yield the.AGENT_POLLS.family([(("answered",), poller.answered), (("missed",), poller.missed)])
        yield the.SWEEP_SECONDS.spread([((), poller.sweeps)])

    return collect


def of_loop(lag: LoopLag) -> Source:
    """How late timers are."""
    return lambda: [the.LOOP_LAG.spread([((), lag.seconds)]), the.LOOP_LAG_MAX.one(lag.greatest)]


def of_stores(databases: Mapping[str, Database], history: HistoryStore) -> Source:
    """The files."""

    def collect() -> Iterator[Metric]:
        yield the.STORE_SECONDS.spread(((name,), each.seconds) for name, each in databases.items())
        yield the.STORE_FAILURES.family(((name,), each.failures) for name, each in databases.items())
        yield the.STORE_QUEUE.family(((name,), each.waiting) for name, each in databases.items())
        yield the.HISTORY_WAITING.one(history.waiting)
        yield the.HISTORY_DROPPED.one(history.dropped)

    return collect


def of_datagrams(services: Mapping[str, Transports]) -> Source:
    """What the UDP transports did, by service."""
    outcomes = ("received", "sent", "dropped", "refused", "failed")

    def collect() -> Iterator[Metric]:
        counted: dict[tuple[str, str], int] = {}
        for name, transports in services.items():
            found: list[Counters] = [each.counters for each in transports() if each is not None]
            for outcome in outcomes:
                counted[name, outcome] = sum(getattr(each, outcome) for each in found)
        yield the.DATAGRAMS.family(counted.items())

    return collect


def of_stream(readers: Callable[[], int]) -> Source:
    """Who follows the events."""
    return lambda: [the.STREAM_READERS.one(readers())]
