"""
What all scenarios claim, whatever happens in them.
"""

from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.events import Installed, NodeUp
from piman.fleet.model import MACAddress, Stage
from piman.simulator.pi import MODELS, Pi
from piman.testing.scenario import Scenario


class ScenarioTestCase(SynchronousTestCase):
    """Builds racks and checks the laws of every run."""

    def rack(self, *kinds: str, **options: Any) -> Scenario:
        """A rack of these boards, or one of each kind, powered off."""
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        self.scenario = Scenario(directory, kinds or MODELS, **options)
        return self.scenario

    def assert_all_up(self, seconds: float = 1800.0) -> None:
        """Every board comes up in this time; nothing is damaged, installed twice, given twice or left over."""
        scenario = self.scenario
        came_up = scenario.run_until(lambda: all(pi.is_up for pi in scenario.pis), seconds)
        where = [(pi.board.kind.name, pi.journal.step.value, pi.journal.trouble) for pi in scenario.pis if not pi.is_up]
        self.assertTrue(came_up, where)
        for pi in scenario.pis:
            self.assert_sound(pi)
        self.assert_no_address_shared()
        self.assert_installed_once()
        self.assertEqual(list(scenario.finish()), [])

    def assert_sound(self, pi: Pi) -> None:
        """The board has the image on its card and loaded nothing wrong; the manager knows that it is up."""
        self.assertEqual(pi.journal.damaged, [])
        self.assertEqual(pi.journal.mistakes, 0)
        self.assertEqual(pi.card.digest, self.scenario.digest)
        self.assertTrue(self.scenario.events(NodeUp, pi))
        error = pi.journal.clock_error
        if error is not None:
            self.assertTrue(any(-1.5 < error - ahead < 0.5 for ahead in self.scenario.aheads), error)

    def assert_no_address_shared(self) -> None:
        """No address was ever told to two boards, no board was told two, and what was told is on disk."""
        holders: dict[IPv4Address, bytes] = {}
        for pi in self.scenario.pis:
            told = {one.address for one in pi.journal.told}
            self.assertEqual(len(told), 1)
            for address in told:
                self.assertEqual(holders.setdefault(address, pi.board.mac), pi.board.mac)
                self.assertEqual(self.scenario.lease_store.leases[address].mac, MACAddress(pi.board.mac))

    def assert_installed_once(self) -> None:
        """No intent was completed twice."""
        completed = Counter(event.intent for event in self.scenario.events(Installed))
        self.assertEqual([intent for intent, times in completed.items() if times > 1], [])


def stages(pi: Pi) -> list[Stage]:
    """Which of the board's programs were given an address, in order."""
    return [told.stage for told in pi.journal.told]
