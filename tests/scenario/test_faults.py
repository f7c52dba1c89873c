"""
Boots on bad lines, through power cuts, beside another DHCP server, with a manager that dies.
"""

from ipaddress import IPv4Address
from random import Random

import attrs
from twisted.internet.protocol import DatagramProtocol

from piman.fleet.events import FormatOrdered, Installed, OtherServerChosen
from piman.fleet.model import Stage
from piman.simulator.booting.journal import STEPS, Step
from piman.simulator.pi import MODELS
from piman.simulator.running.harness import PowerCuts
from piman.simulator.wiring.faults import Faults
from piman.testing.virtual_host import VirtualHost
from piman.wire.dhcp import Message, MessageType, Operation, Option, encode_options
from tests.scenario.support import ScenarioTestCase

ROUTER = IPv4Address("172.30.4.254")


class BadLineTests(ScenarioTestCase):
    """Datagrams that get lost, doubled, overtaken; lines that stand still; connections that break."""

    def many(self, count: int, **shares: float) -> None:
        """So many racks, each with its own seed."""
        for seed in range(count):
            scenario = self.rack(seed=seed, faults=Faults(**shares), pooled=bool(seed % 2))
            scenario.harness.start()
            self.assert_all_up(7200.0)

    def test_loss(self) -> None:
        """One datagram in twenty gets lost, each way: all boards come up; those that hang are power-cycled."""
        self.many(12, loss=0.05)
        self.assertGreater(self.scenario.damage.lost, 0)

    def test_duplicates(self) -> None:
        """Every fifth datagram arrives twice: nobody notices."""
        self.many(8, duplicate=0.2)
        self.assertEqual([pi.journal.boots for pi in self.scenario.pis], [1] * 4)
        self.assertGreater(self.scenario.damage.doubled, 0)

    def test_reordering(self) -> None:
        """Every fifth datagram is overtaken: nobody notices."""
        self.many(8, reorder=0.2)
        self.assertEqual([pi.journal.boots for pi in self.scenario.pis], [1] * 4)
        self.assertGreater(self.scenario.damage.overtaken, 0)

    def test_stalls(self) -> None:
        """Lines that stand still for seconds: all boards come up."""
        self.many(8, stall=0.01)
        self.assertGreater(self.scenario.damage.stalled, 0)

    def test_cuts(self) -> None:
        """Connections that break: the image goes on where it broke, the installer calls again."""
        self.many(12, cut=0.05)

    def test_everything(self) -> None:
        """All of it at once."""
        self.many(12, loss=0.03, duplicate=0.03, reorder=0.03, stall=0.003, cut=0.01)


class PowerCutTests(ScenarioTestCase):
    """Power that goes at any moment."""

    def test_each_step(self) -> None:
        """Boards of each kind whose power goes during any step come up at the next boot."""
        for step in STEPS:
            for version in (1, 2):
                cuts = PowerCuts(share=1.0, steps=(step,), within_seconds=5.0)
                scenario = self.rack(seed=STEPS.index(step), power_cuts=cuts, version=version)
                scenario.harness.start()
                self.assert_all_up(7200.0)
                self.assertEqual(scenario.harness.cuts, len(MODELS), step)

    def test_half_written_card(self) -> None:
        """A card whose power went while its image came is never taken for installed."""
        scenario = self.rack("4B", power_cuts=PowerCuts(share=1.0, steps=(Step.IMAGING,), within_seconds=0.0))
        scenario.harness.start()
        scenario.run_until(lambda: scenario.pis[0].journal.step is Step.DARK and scenario.harness.cuts == 1)
        self.assertFalse(scenario.pis[0].card.is_installed)
        self.assert_all_up()
        self.assertEqual(scenario.pis[0].card.formats, 2)

    def test_hung_board(self) -> None:
        """A 3B+ that finds no server hangs; its power is cycled, and it comes up when the server is there."""
        scenario = self.rack("3B+")
        scenario.kill_manager()
        scenario.harness.start()
        self.assertTrue(scenario.run_until(lambda: scenario.pis[0].journal.step is Step.HUNG, 60.0))
        scenario.start_manager()
        self.assert_all_up(120.0)
        self.assertEqual((scenario.harness.cycles, scenario.pis[0].journal.boots), (1, 2))
        self.assertEqual(scenario.pis[0].journal.hangs, ["no usable OFFER in five tries"])

    def test_patient_board(self) -> None:
        """A Pi 4 or 5 that finds no server needs nobody's hand."""
        scenario = self.rack("4B", "5")
        scenario.kill_manager()
        scenario.harness.start()
        scenario.run_until(lambda: False, 300.0)
        scenario.start_manager()
        self.assert_all_up(300.0)
        self.assertEqual(scenario.harness.cycles, 0)


class DyingManagerTests(ScenarioTestCase):
    """SIGKILL at any moment, then a new start with what is on disk."""

    def test_any_moment(self) -> None:
        """
        Whenever the manager dies, and however long it is away: all boards come up, no lease on disk differs from
        what its board was told, and no intent is completed twice.
        """
        random = Random(7)
        for seed in range(40):
            scenario = self.rack(seed=seed, pooled=bool(seed % 2), version=1 if seed % 5 == 0 else 2)
            scenario.harness.start()
            scenario.run_until(lambda: False, random.uniform(1.0, 70.0))
            scenario.kill_manager()
            self.assert_told_is_on_disk()
            scenario.run_until(lambda: False, random.choice((0.0, 0.5, 5.0, 60.0)))
            scenario.start_manager()
            self.assert_all_up(7200.0)

    def assert_told_is_on_disk(self) -> None:
        """Every ACK, and every OFFER that is a lease."""
        stored = {lease.mac.octets: lease.address for lease in self.scenario.lease_store.leases.values()}
        for pi in self.scenario.pis:
            if pi.journal.told:
                self.assertEqual(stored.get(pi.board.mac), pi.journal.told[-1].address)

    def test_while_imaging(self) -> None:
        """An image that a killed manager was sending is finished by the next one, within the same intent."""
        scenario = self.rack("4B", "5")
        scenario.harness.start()
        scenario.run_until(lambda: all(pi.journal.step is Step.FORMATTING for pi in scenario.pis))
        intents = {intent.id for intent in scenario.intents}
        scenario.kill_manager()
        scenario.run_until(lambda: all(pi.journal.step is Step.IMAGING for pi in scenario.pis))
        scenario.start_manager()
        self.assert_all_up()
        self.assertEqual({event.intent for event in scenario.events(Installed)}, intents)
        self.assertEqual([pi.card.formats for pi in scenario.pis], [1, 1])


class OtherServer(DatagramProtocol):
    """A router that gives out addresses and knows nothing of booting."""

    def __init__(self, host: VirtualHost, delay_seconds: float) -> None:
        self.acknowledged = 0
        self._host = host
        self._delay_seconds = delay_seconds

    def datagramReceived(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer every DISCOVER, and REQUESTs that name this server."""
        asked = Message.from_wire(data)
        if asked.message_type is MessageType.DISCOVER:
            if self._delay_seconds:
                self._host.callLater(self._delay_seconds, self._answer, asked, MessageType.OFFER)
            else:
                self._answer(asked, MessageType.OFFER)
        elif asked.option(Option.SERVER_IDENTIFIER) == ROUTER:
            self.acknowledged += 1
            self._answer(asked, MessageType.ACK)

    def _answer(self, asked: Message, kind: MessageType) -> None:
        options = {Option.MESSAGE_TYPE: kind, Option.SERVER_IDENTIFIER: ROUTER, Option.LEASE_SECONDS: 3600}
        address = IPv4Address("172.30.4.200") + asked.chaddr[5]
        reply = Message(
            op=Operation.REPLY, xid=asked.xid, chaddr=asked.chaddr, yiaddr=address, options=encode_options(options)
        )
        assert self.transport is not None
        self.transport.write(attrs.evolve(reply, siaddr=ROUTER).to_wire(), ("255.255.255.255", 68))


class TwoServersTests(ScenarioTestCase):
    """Another DHCP server on the same LAN."""

    def beside(self, delay_seconds: float) -> OtherServer:
        """A rack with a router on its LAN, which hears every broadcast before the manager."""
        self.rack()
        self.scenario.kill_manager()
        self.host = VirtualHost(self.scenario.lan, ROUTER)
        other = OtherServer(self.host, delay_seconds)
        self.host.listenUDP(67, other)
        self.scenario.start_manager()
        return other

    def test_slower(self) -> None:
        """Boards that hear another server later than us come up with our addresses."""
        other = self.beside(3.0)
        self.scenario.run()
        self.host.crash()
        self.assertEqual(other.acknowledged, 0)
        self.assert_all_up()

    def test_faster(self) -> None:
        """
        A board that takes its address from another server is nobody to the installer: no card is ever formatted for
        it, and the manager says which server it was.
        """
        other = self.beside(0.0)
        self.scenario.harness.start()
        self.scenario.run_until(lambda: False, 600.0)
        self.assertGreater(other.acknowledged, 0)
        self.assertEqual(self.scenario.events(FormatOrdered), [])
        self.assertEqual(self.scenario.events(Installed), [])
        self.assertEqual([pi.card.formats for pi in self.scenario.pis], [0] * 4)
        self.assertEqual({event.server for event in self.scenario.events(OtherServerChosen)}, {ROUTER})
        self.assertTrue(any(told.stage is Stage.KERNEL for pi in self.scenario.pis for told in pi.journal.told))
        self.scenario.finish()
