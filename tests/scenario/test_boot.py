"""
A node of each kind from dark to up.
"""

from piman.fleet.events import (
    AddressLeased,
    AddressOffered,
    BootFilesServed,
    BootOrdered,
    FormatOrdered,
    ImageSent,
    Installed,
    IntentOpened,
    LeaseRenewed,
    LoadingStarted,
    NodeUp,
)
from piman.fleet.model import IntentState, MACAddress, Phase, Stage
from piman.simulator.booting.card import Card
from piman.simulator.booting.journal import Step
from piman.simulator.pi import MODELS
from tests.scenario.support import ScenarioTestCase, stages

EMPTY_CARD = [
    Step.FIRMWARE,
    Step.ADDRESS,
    Step.LOADING,
    Step.KERNEL,
    Step.GREETING,
    Step.FORMATTING,
    Step.IMAGING,
    Step.BOOTING,
    Step.UP,
]
"""What a board with an empty card goes through; the ROM family asks for an address and loads twice."""


class EmptyCardTests(ScenarioTestCase):
    """Boards whose card holds nothing."""

    def test_each_kind(self) -> None:
        """A board of each kind, alone, goes from dark to up at its first boot."""
        for kind in MODELS:
            scenario = self.rack(kind)
            scenario.run()
            pi = scenario.pis[0]
            steps = [step for step, _ in pi.journal.steps]
            doubled = [*EMPTY_CARD[:3], *EMPTY_CARD[1:]]
            self.assertEqual(steps, doubled if kind in ("3B", "3B+") else EMPTY_CARD, kind)
            self.assertEqual((pi.journal.boots, pi.journal.resends), (1, 0), kind)
            self.assert_all_up()

    def test_stages(self) -> None:
        """The ROM is given an address by OFFER, twice; then kernel and system each by a whole exchange."""
        scenario = self.rack()
        scenario.run()
        wanted = {kind: [Stage.EEPROM, Stage.KERNEL, Stage.OS] for kind in ("4B", "5")}
        wanted |= {kind: [Stage.ROM, Stage.ROM, Stage.KERNEL, Stage.OS] for kind in ("3B", "3B+")}
        self.assertEqual({pi.board.kind.name: stages(pi) for pi in scenario.pis}, wanted)
        self.assert_all_up()

    def test_what_the_manager_saw(self) -> None:
        """The manager tells the same story, in order, and ends with the node up and its intent fulfilled."""
        for kind in MODELS:
            scenario = self.rack(kind)
            scenario.run()
            scenario.run_until(lambda: False, 60.0)
            pi = scenario.pis[0]
            kinds = [type(one.event) for one in scenario.recorded]
            story = [
                AddressOffered,
                LoadingStarted,
                IntentOpened,
                FormatOrdered,
                ImageSent,
                Installed,
                BootOrdered,
                NodeUp,
            ]
            self.assertEqual([told for told in dict.fromkeys(kinds) if told in story], story, kind)
            self.assertEqual([intent.state for intent in scenario.intents], [IntentState.FULFILLED])
            assert scenario.manager is not None
            status = scenario.manager.registry.status(MACAddress(pi.board.mac))
            self.assertEqual((status.phase, status.address, status.attempt), (Phase.UP, pi.address, 1), kind)
            self.assertEqual(status.serial, pi.board.serial, kind)
            self.assertEqual(len(scenario.events(BootFilesServed, pi)), 1, kind)
            self.assert_all_up()

    def test_model_is_known(self) -> None:
        """The manager learns the model of those boards that tell it."""
        scenario = self.rack()
        scenario.run()
        assert scenario.manager is not None
        models = {pi.board.kind.name: scenario.manager.registry.status(MACAddress(pi.board.mac)).model
                  for pi in scenario.pis}  # fmt: skip
        self.assertEqual({name: models[name] for name in ("3B", "4B", "5")}, {name: name for name in ("3B", "4B", "5")})
        self.assert_all_up()

    def test_pool(self) -> None:
        """Boards without an address of their own come up with one of the pool, which stays theirs."""
        scenario = self.rack(*MODELS, *MODELS, pooled=True)
        scenario.run()
        self.assert_all_up()

    def test_version_1(self) -> None:
        """Boards with an installer of 2020 come up through the raw door."""
        scenario = self.rack(version=1)
        scenario.run()
        self.assertEqual({event.door for event in scenario.events(ImageSent)}, {"tcp"})
        self.assert_all_up()


class InstalledCardTests(ScenarioTestCase):
    """Boards that have their system."""

    def test_second_boot(self) -> None:
        """A board that has its system is not formatted again when it boots again."""
        scenario = self.rack()
        scenario.run()
        for pi in scenario.pis:
            pi.power_off()
            pi.power_on()
        self.assertTrue(scenario.run_until(lambda: all(pi.is_up for pi in scenario.pis)))
        self.assertEqual([pi.card.formats for pi in scenario.pis], [1] * len(scenario.pis))
        self.assertEqual(len(scenario.events(BootOrdered)), 2 * len(scenario.pis))
        self.assert_all_up()

    def test_starts_alone(self) -> None:
        """A card with boot files of its own starts without the network: the manager sees only the system."""
        scenario = self.rack("4B")
        pi = scenario.pis[0]
        pi.card = Card(starts_alone=True)
        pi.card.keep(scenario.digest)
        scenario.run()
        self.assertEqual(stages(pi), [Stage.OS])
        self.assertEqual(scenario.events(LoadingStarted), [])
        self.assert_all_up()

    def test_renewals(self) -> None:
        """Systems that run for an hour renew their lease every five minutes and keep their address."""
        scenario = self.rack()
        scenario.run()
        leased = len(scenario.events(AddressLeased))
        scenario.run_until(lambda: False, 3600.0)
        self.assertEqual(len(scenario.events(AddressLeased)), leased)
        renewals = len(scenario.events(LeaseRenewed)) / len(scenario.pis)
        self.assertTrue(11 <= renewals <= 13, renewals)
        self.assert_all_up()
