"""
What the power objects of each vendor mean.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import PowerBudget
from piman.switching import mib
from piman.switching.poe import Reading, find_profile, number, order, port_power, power_budget, read_ports
from piman.switching.profiles import CISCO, NETGEAR, PROFILES, STANDARD, TPLINK, candidates
from piman.switching.session import SwitchRefused
from piman.testing.power import MemoryAgent


class PortPowerTests(SynchronousTestCase):
    """From numbers to words."""

    def test_detection_status(self) -> None:
        """All six statuses of RFC 3621 have their words, and only deliveringPower(3) delivers."""
        words = ("disabled", "searching", "delivering", "fault", "test", "other fault")
        for status, word in enumerate(words, 1):
            found = port_power(STANDARD, 1, Reading(admin=1, status=status))
            self.assertEqual((found.state, found.delivering), (word, status == 3))

    def test_admin(self) -> None:
        """TruthValue (RFC 2579): 1 is on, 2 is off."""
        self.assertTrue(port_power(STANDARD, 1, Reading(admin=1, status=2)).admin_on)
        self.assertFalse(port_power(STANDARD, 1, Reading(admin=2, status=1)).admin_on)

    def test_class(self) -> None:
        """Classes count from class0(1), and mean something only while power is delivered (RFC 3621)."""
        for value in range(1, 6):
            found = port_power(STANDARD, 1, Reading(admin=1, status=3, power_class=value))
            self.assertEqual(found.power_class, value - 1)
        self.assertIsNone(port_power(STANDARD, 1, Reading(admin=1, status=2, power_class=1)).power_class)

    def test_lying(self) -> None:
        """A port that is off and delivers is shown as just that."""
        found = port_power(STANDARD, 1, Reading(admin=2, status=3))
        self.assertEqual((found.admin_on, found.delivering), (False, True))

    def test_unknown_status(self) -> None:
        """A status that nobody knows is a fault of another kind; one that is not told is unknown."""
        self.assertEqual(port_power(STANDARD, 1, Reading(admin=1, status=77)).state, "other fault")
        found = port_power(STANDARD, 1, Reading(admin=1, status=None))
        self.assertEqual((found.state, found.delivering), ("", None))

    def test_tp_link(self) -> None:
        """TPLINK-POWER-OVER-ETHERNET-MIB: 0 off, 1 turning-on, 2 on, from 3 faults; tenths of a watt."""
        expected = {
            (0, 0): ("disabled", False),
            (1, 0): ("searching", False),
            (1, 1): ("searching", False),
            (1, 2): ("delivering", True),
            (1, 3): ("fault", False),
            (1, 9): ("fault", False),
        }
        for (admin, status), (state, delivering) in expected.items():
            found = port_power(TPLINK, 1, Reading(admin=admin, status=status, power=38))
            self.assertEqual((found.admin_on, found.state, found.delivering), (admin == 1, state, delivering))
            self.assertEqual(found.watts, 3.8)

    def test_cisco(self) -> None:
        """cpeExtPsePortEnable: auto(1), static(2) and limit(3) are on, disable(4) is off; milliwatts."""
        for admin, on in ((1, True), (2, True), (3, True), (4, False)):
            found = port_power(CISCO, 1, Reading(admin=admin, status=3, power=3750))
            self.assertEqual((found.admin_on, found.watts), (on, 3.75))

    def test_netgear(self) -> None:
        """agentPethOutputPower is in milliwatts."""
        self.assertEqual(port_power(NETGEAR, 1, Reading(admin=1, status=3, power=4100)).watts, 4.1)

    def test_not_a_number(self) -> None:
        """Text where a number belongs is refused, and the object named."""
        with self.assertRaises(SwitchRefused) as caught:
            number((1, 3, 6), b"on")
        self.assertIn("1.3.6", caught.exception.reason)


class BudgetTests(SynchronousTestCase):
    """pethMainPseTable."""

    def test_watts(self) -> None:
        """Nominal and used watts, and pethMainPseOperStatus in words."""
        self.assertEqual(power_budget(370, 1, 52), PowerBudget(total_watts=370, used_watts=52, state="on"))
        self.assertEqual(power_budget(370, 3, 0).state, "faulty")  # type: ignore[union-attr]

    def test_milliwatts(self) -> None:
        """An agent that uses more than it has counts in milliwatts."""
        self.assertEqual(power_budget(370, 1, 52_300), PowerBudget(total_watts=370, used_watts=52.3, state="on"))

    def test_none(self) -> None:
        """No row, no budget."""
        self.assertIsNone(power_budget(None, None, None))


class ProfileTests(SynchronousTestCase):
    """Which kind of switch it is."""

    def run_now(self, work: Any) -> Any:
        """What a coroutine returns at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def agent(self, enterprise: int | None, *columns: tuple[int, ...]) -> MemoryAgent:
        """An agent of a vendor with a row in each of these columns."""
        agent = MemoryAgent({(*column, 1, 1): 1 for column in columns})
        if enterprise is not None:
            agent.values[mib.SYS_OBJECT_ID] = (*mib.ENTERPRISES, enterprise, 1, 100)
        return agent

    def test_order(self) -> None:
        """TP-Link comes before all where the vendor is unknown; a vendor that is not ours is standard first."""
        self.assertEqual(candidates(None)[0], TPLINK)
        self.assertEqual(candidates((*mib.ENTERPRISES, 11))[0], STANDARD)
        self.assertEqual(candidates((*mib.ENTERPRISES, mib.TPLINK, 5)), (TPLINK, STANDARD))

    def test_vendors(self) -> None:
        """A vendor's own objects go before the standard's, which are taken when there are no others."""
        standard = mib.PSE_PORT_ADMIN_ENABLE
        for agent, expected in (
            (self.agent(mib.TPLINK, mib.TPLINK_PORT_STATUS), TPLINK),
            (self.agent(mib.CISCO, mib.CISCO_PORT_ENABLE, standard), CISCO),
            (self.agent(mib.CISCO, standard), STANDARD),
            (self.agent(mib.NETGEAR, standard), NETGEAR),
            (self.agent(11, standard), STANDARD),
            (self.agent(None, standard), STANDARD),
            (self.agent(None, mib.TPLINK_PORT_STATUS), TPLINK),
        ):
            self.assertIs(self.run_now(find_profile(agent)), expected)

    def test_tp_link_is_asked_nothing_else(self) -> None:
        """A TP-Link switch is asked for no object that it does not have."""
        agent = self.agent(mib.TPLINK, mib.TPLINK_PORT_STATUS)
        self.run_now(find_profile(agent))
        self.assertEqual(agent.walks, [mib.TPLINK_PORT_STATUS])

    def test_no_power(self) -> None:
        """A switch without any of them is refused, and the remedy names another way."""
        work = Deferred.fromCoroutine(find_profile(self.agent(11)))
        self.assertIn("command", self.failureResultOf(work, SwitchRefused).value.remedy)

    def test_orders(self) -> None:
        """Each profile writes its own words for on and off where its own index says."""
        expected = {
            "tp-link": ((7,), 1, 0),
            "cisco-ext": ((2, 7), 1, 4),
            "netgear": ((2, 7), 1, 2),
            "standard": ((2, 7), 1, 2),
        }
        for profile in PROFILES:
            agent = MemoryAgent()
            for on in (True, False):
                self.run_now(order(agent, profile, 2, 7, on))
            index, yes, no = expected[profile.name]
            self.assertEqual(agent.sets, [((*profile.admin, *index), yes), ((*profile.admin, *index), no)])

    def test_groups(self) -> None:
        """Of a stack only the ports of the group in question are shown."""
        column = mib.PSE_PORT_ADMIN_ENABLE
        agent = MemoryAgent({(*column, group, port): group for group in (1, 2) for port in (1, 2)})
        self.assertEqual([each.admin_on for each in self.run_now(read_ports(agent, STANDARD, 2)).values()], [False] * 2)
