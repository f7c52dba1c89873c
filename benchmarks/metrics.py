"""
What the metrics cost: an event, a change of status, a value in a distribution; and one scrape of a fleet.

    .venv/bin/python benchmarks/metrics.py [--nodes 10000]
"""

import argparse
from collections.abc import Callable
from ipaddress import IPv4Address
from time import perf_counter

from prometheus_client.exposition import generate_latest
from twisted.internet.task import Clock

from piman.distribution import Distribution
from piman.fleet.events import LeaseRenewed, Recorded
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase, Stage
from piman.fleet.nodes import NodeRegistry
from piman.fleet.state.leases import LeaseTable
from piman.web.metrics import sources
from piman.web.metrics.exposition import registry_of
from piman.web.metrics.tally import Boots, Tally

TURNS = 200_000
SCRAPES = 20


def microseconds(work: Callable[[], object], turns: int = TURNS) -> float:
    """How long one turn takes."""
    began = perf_counter()
    for _ in range(turns):
        work()
    return (perf_counter() - began) / turns * 1e6


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=10_000)
    count = parser.parse_args().nodes
    nodes = [
        Node(mac=MACAddress(number.to_bytes(6, "big")), address=IPv4Address("10.0.0.0") + number)
        for number in range(1, count + 1)
    ]
    statuses = [NodeStatus(mac=node.mac, phase=Phase.UP, since=1.0, last_event_id=1, attempt=1) for node in nodes]
    registry, clock = NodeRegistry(nodes, (), statuses), Clock()
    leases = LeaseTable(clock, nodes=registry)
    for node in nodes:
        assert node.address is not None
        leases.bind(node.mac, node.address, stage=Stage.OS)
    tally, boots, spread = Tally(), Boots(registry), Distribution()
    boots.begin(statuses)
    renewed = LeaseRenewed(mac=nodes[0].mac, address=IPv4Address("10.0.0.1"), stage=Stage.OS, expires=9.0)
    recorded = Recorded(id=1, time=1.0, event=renewed)
    print(f"an event counted:                 {microseconds(lambda: tally.observe(recorded)):8.2f} us")
    print(f"a status that stays in its phase: {microseconds(lambda: boots.watch(statuses[0])):8.2f} us")
    print(f"a value in a distribution:        {microseconds(lambda: spread.take(0.02)):8.2f} us")
    asked = registry_of(
        [
            sources.of_nodes(registry),
            sources.of_boots(boots),
            sources.of_events(tally),
            sources.of_leases(clock, leases),
        ]
    )
    print(f"a scrape, {count} nodes:            {microseconds(lambda: generate_latest(asked), SCRAPES) / 1000:8.2f} ms")


if __name__ == "__main__":
    main()
