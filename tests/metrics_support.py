"""
What the tests of the metrics share: every part of a manager that has something to count, without sockets.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from treq.testing import StubTreq
from twisted.internet.defer import succeed
from twisted.web.resource import Resource

from piman.boot.image_http import ImageHTTPSettings, image_http_service
from piman.boot.image_tcp import ImageSettings, image_service
from piman.boot.images import ImageLibrary
from piman.dhcp import DHCPSettings, dhcp_service
from piman.fleet.interfaces import IPowerSwitch
from piman.fleet.state.history import HistoryStore
from piman.fleet.state.intents import IntentBook
from piman.fleet.state.leases import LeaseTable
from piman.fleet.state.pool import Pool
from piman.fleet.state.store import StateStore
from piman.monitor.poller import PollerSettings, poller_service
from piman.switching.agent import Answer
from piman.switching.counting import CountedExchange
from piman.switching.power_switch import Agents, SNMPPowerSwitch
from piman.testing.fakes import MemoryIntentStore, MemoryLeaseStore
from piman.testing.udp import MemoryDatagramReactor
from piman.tftp import TFTPSettings, tftp_service
from piman.web.metrics import sources
from piman.web.metrics.lag import LoopLag
from piman.web.metrics.sources import Source
from piman.web.metrics.tally import Boots, Tally
from tests.fleet_support import ThreadedClock
from tests.test_tftp import memory_files
from tests.web_support import RACK, VERSION, Half


class Counted:
    """All sources, over parts that the tests drive by hand."""

    def __init__(self, folder: Path) -> None:
        self.half = half = Half()
        self.reactor = reactor = MemoryDatagramReactor()
        reactor.advance(1_000_000)
        network = IPv4Network("172.30.4.0/24")
        self.leases = LeaseTable(
            reactor, nodes=half.registry, pool=Pool(IPv4Address("172.30.4.100"), IPv4Address("172.30.4.109"))
        )
        self.dhcp = dhcp_service(
            reactor,
            settings=DHCPSettings(server_address=IPv4Address("172.30.4.1"), network=network),
            nodes=half.registry,
            leases=self.leases,
            store=MemoryLeaseStore(),
            events=half.log,
        )
        self.tftp = tftp_service(
            reactor,
            settings=TFTPSettings(network=network),
            files=memory_files(),
            addresses=self.leases,
            events=half.log,
        )
        parts = {
            "addresses": self.leases,
            "intents": IntentBook(MemoryIntentStore(), half.clock, half.log),
            "images": ImageLibrary({}, run=lambda work: succeed(work()), cache=folder / "images.json"),
            "events": half.log,
        }
        tcp = image_service(reactor, settings=ImageSettings(), installers=None, **parts)
        http = image_http_service(reactor, settings=ImageHTTPSettings(), **parts)
        self.tally, self.boots, self.lag = Tally(), Boots(half.registry), LoopLag(half.clock)
        half.log.add_observer(self.tally)
        half.registry.watchers.append(self.boots.watch)
        threads = ThreadedClock()
        state = StateStore(folder / "state.db", reactor=threads)
        history = HistoryStore(folder / "history.db", reactor=threads, clock=threads)
        poller = poller_service(
            reactor, settings=PollerSettings(), nodes=half.registry, events=half.log, agent=StubTreq(Resource())
        ).poller
        self.traffic = CountedExchange(half.clock, lambda *asked: succeed(Answer(0, 0, ())))
        switch = SNMPPowerSwitch(half.clock, "rack-a", self.fail, traffic=self.traffic)
        self.switches: Mapping[IPv4Address, IPowerSwitch] = {RACK: switch}
        self.sources: tuple[Source, ...] = (
            sources.of_version(VERSION),
            sources.of_nodes(half.registry),
            sources.of_boots(self.boots),
            sources.of_events(self.tally),
            sources.of_dhcp(self.dhcp.protocol),
            sources.of_leases(reactor, self.leases),
            sources.of_tftp(self.tftp.server),
            sources.of_doors((tcp, http)),
            sources.of_power(lambda: self.switches),
            sources.of_operations(half.operations),
            sources.of_poller(poller),
            sources.of_loop(self.lag),
            sources.of_stores({"state": state.database, "history": history.database}, history),
            sources.of_datagrams({"dhcp": self.dhcp.transports, "tftp": self.tftp.transports}),
            sources.of_stream(lambda: len(half.stream.readers)),
        )

    def fail(self) -> Agents:
        """Nobody asks the switch."""
        raise AssertionError("the switch was asked")
