"""
A virtual PoE switch: its ports, and what its MIB shows of them.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.switch import (
    ADMIN,
    BASE_PORT_IF_INDEX,
    BOARD_WATTS,
    DETECTION,
    FALSE,
    FDB_PORT,
    FDB_STATUS,
    FIRST_IF_INDEX,
    IF_OPER_STATUS,
    LINK_DOWN,
    LINK_UP,
    MAIN_CONSUMPTION,
    Q_FDB_PORT,
    TRUE,
    Outlet,
    State,
    SwitchFaults,
    SwitchObjects,
    VirtualSwitch,
)
from piman.simulator.wiring.snmp_agent import NO_CREATION, NOT_WRITABLE, WRONG_TYPE, WRONG_VALUE

MAC = bytes.fromhex("b827eb123456")


class Lamp:
    """What hangs on a port: has it power?"""

    def __init__(self) -> None:
        self.history: list[bool] = []

    @property
    def is_lit(self) -> bool:
        """Whether it has power."""
        return bool(self.history) and self.history[-1]

    def power_on(self) -> None:
        """Power comes."""
        self.history.append(True)

    def power_off(self) -> None:
        """Power goes."""
        self.history.append(False)


class SwitchTestCase(SynchronousTestCase):
    """A switch with lamps on ports 1 to 3 of 4."""

    def switch(self, *, watts: float = 60.0, faults: SwitchFaults | None = None) -> VirtualSwitch:
        """Plugged in, and a second later."""
        self.clock = Clock()
        self.lamps = {number: Lamp() for number in (1, 2, 3)}
        self.made = VirtualSwitch(self.clock, self.lamps, ports=4, watts=watts, faults=faults)
        for number in self.lamps:
            self.made.plug(number)
        self.clock.advance(1)
        return self.made

    @property
    def lit(self) -> list[int]:
        """Who has power."""
        return [number for number, lamp in self.lamps.items() if lamp.is_lit]


class PortTests(SwitchTestCase):
    """Orders and what comes of them."""

    def test_detection(self) -> None:
        """A board that is plugged in has power when it was found, and then the port delivers."""
        clock, lamp = Clock(), Lamp()
        switch = VirtualSwitch(clock, {1: lamp}, detect_seconds=1.5)
        switch.plug(1)
        clock.advance(1.4)
        self.assertEqual((switch.ports[1].state, lamp.history), (State.SEARCHING, []))
        clock.advance(0.1)
        self.assertEqual((switch.ports[1].state, lamp.history), (State.DELIVERING, [True]))

    def test_empty_port(self) -> None:
        """A port without a board searches for ever."""
        self.assertEqual(self.switch().ports[4].state, State.SEARCHING)

    def test_off_at_once(self) -> None:
        """Off means now."""
        switch = self.switch()
        switch.order(2, False)
        self.assertEqual((self.lit, switch.ports[2].state), ([1, 3], State.DISABLED))

    def test_on_again(self) -> None:
        """On means: look for the board, then give it power, once."""
        switch = self.switch()
        switch.order(2, False)
        switch.order(2, True)
        self.assertEqual((self.lit, switch.ports[2].state), ([1, 3], State.SEARCHING))
        self.clock.advance(1)
        self.assertEqual(self.lamps[2].history, [True, False, True])

    def test_off_while_searching(self) -> None:
        """Off in the middle of the search: it stays dark."""
        switch = self.switch()
        for on in (False, True, False):
            switch.order(2, on)
        self.clock.advance(5)
        self.assertEqual(self.lamps[2].history, [True, False])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_same_order_twice(self) -> None:
        """An order that changes nothing does nothing to the board."""
        switch = self.switch()
        switch.order(2, True)
        self.clock.advance(5)
        self.assertEqual((self.lamps[2].history, switch.orders), ([True], 0))

    def test_cable(self) -> None:
        """A cable that is pulled and put in again: dark, then searched and found, whatever was ordered before."""
        switch = self.switch()
        outlet = Outlet(switch, 1)
        outlet.power_off()
        self.assertEqual((self.lit, switch.ports[1].state), ([2, 3], State.SEARCHING))
        outlet.power_on()
        outlet.power_on()
        self.clock.advance(1)
        self.assertEqual(self.lamps[1].history, [True, False, True])

    def test_cable_of_a_port_that_is_off(self) -> None:
        """A board that is plugged into a port that is off gets no power until somebody orders it."""
        switch = self.switch()
        switch.order(1, False)
        switch.unplug(1)
        switch.plug(1)
        self.clock.advance(5)
        self.assertEqual(switch.ports[1].state, State.DISABLED)
        switch.order(1, True)
        self.clock.advance(1)
        self.assertEqual(self.lit, [1, 2, 3])

    def test_budget(self) -> None:
        """A port for which there is no power left is at fault; it gets some when another port is off."""
        switch = self.switch(watts=2 * BOARD_WATTS)
        self.assertEqual((self.lit, switch.ports[3].state), ([1, 2], State.FAULT))
        self.assertEqual(switch.used_watts, 2 * BOARD_WATTS)
        switch.order(1, False)
        self.clock.advance(1)
        self.assertEqual(self.lit, [2, 3])

    def test_close(self) -> None:
        """In the end everything is dark, and nothing is left to be done."""
        switch = self.switch(watts=2 * BOARD_WATTS)
        switch.close()
        self.clock.advance(5)
        self.assertEqual((self.lit, self.clock.getDelayedCalls()), ([], []))


class FaultTests(SwitchTestCase):
    """What can be wrong with a switch."""

    def test_deaf(self) -> None:
        """An order is accepted and nothing happens, only on the deaf port."""
        switch = self.switch(faults=SwitchFaults(deaf=frozenset({2})))
        for number in (1, 2):
            switch.order(number, False)
        self.assertEqual((self.lit, switch.ports[2].admin_on), ([2, 3], True))

    def test_stuck(self) -> None:
        """The port says off and delivers; on again is no new beginning for the board."""
        switch = self.switch(faults=SwitchFaults(stuck=frozenset({2})))
        switch.order(2, False)
        port = switch.ports[2]
        self.assertEqual((port.admin_on, port.state, self.lit), (False, State.DELIVERING, [1, 2, 3]))
        switch.order(2, True)
        self.clock.advance(5)
        self.assertEqual(self.lamps[2].history, [True])

    def test_denied(self) -> None:
        """A board is found and gets no power."""
        switch = self.switch(faults=SwitchFaults(denied=frozenset({2})))
        self.assertEqual((switch.ports[2].state, self.lit), (State.FAULT, [1, 3]))

    def test_denied_is_not_retried_for_ever(self) -> None:
        """A denied port looks again when power becomes free, and leaves nothing running."""
        switch = self.switch(faults=SwitchFaults(denied=frozenset({2})))
        switch.order(1, False)
        self.clock.advance(5)
        self.assertEqual((switch.ports[2].state, self.clock.getDelayedCalls()), (State.FAULT, []))

    def test_lying(self) -> None:
        """A port without power says that it delivers, and has a link."""
        switch = self.switch(faults=SwitchFaults(lying=frozenset({2})))
        objects = SwitchObjects(switch, "sw1")
        switch.order(2, False)
        self.assertEqual(self.lit, [1, 3])
        self.assertEqual(objects.get((*ADMIN, 1, 2)), FALSE)
        self.assertEqual(objects.get((*DETECTION, 1, 2)), State.DELIVERING)
        self.assertEqual(objects.get((*IF_OPER_STATUS, FIRST_IF_INDEX + 1)), LINK_UP)

    def test_delay(self) -> None:
        """Silent and slow are the agent's."""
        self.assertIsNone(SwitchFaults(is_silent=True).delay)
        self.assertEqual((SwitchFaults(slow_seconds=2.5).delay, SwitchFaults().delay), (2.5, 0.0))


class ObjectTests(SwitchTestCase):
    """What the MIB shows."""

    def setUp(self) -> None:
        """A switch and its objects."""
        self.objects = SwitchObjects(self.switch(), "sw1", vlan=4)

    def test_port(self) -> None:
        """A port's columns follow its state."""
        shown = [(*ADMIN, 1, 2), (*DETECTION, 1, 2), (*IF_OPER_STATUS, FIRST_IF_INDEX + 1), (*MAIN_CONSUMPTION, 1)]
        self.assertEqual([self.objects.get(oid) for oid in shown], [TRUE, State.DELIVERING, LINK_UP, 15])
        self.objects.put((*ADMIN, 1, 2), FALSE)
        self.assertEqual([self.objects.get(oid) for oid in shown], [FALSE, State.DISABLED, LINK_DOWN, 10])
        self.assertEqual(self.lit, [1, 3])

    def test_refusals(self) -> None:
        """Only an administrative state of a port that there is can be written, and only with a TruthValue."""
        for oid, value, refusal in (
            ((*ADMIN, 1, 9), 1, NO_CREATION),
            ((*ADMIN, 2, 1), 1, NO_CREATION),
            ((*DETECTION, 1, 1), 1, NOT_WRITABLE),
            ((*ADMIN, 1, 1), b"on", WRONG_TYPE),
            ((*ADMIN, 1, 1), 3, WRONG_VALUE),
            ((*ADMIN, 1, 1), 2, 0),
        ):
            self.assertEqual(self.objects.refusal(oid, value), refusal)

    def test_order(self) -> None:
        """A walk meets every object once, in order, and stays in it when a board is learned meanwhile."""
        found, oid = [], self.objects.after(())
        while oid is not None:
            found.append(oid)
            oid = self.objects.after(oid)
        self.assertEqual(found, sorted(set(found)))
        self.assertEqual([oid[-1] for oid in found if oid[:11] == ADMIN], [1, 2, 3, 4])

    def test_learned(self) -> None:
        """A board that has sent something stands in both tables; when its power goes, it is forgotten."""
        places = ((*FDB_PORT, *MAC), (*FDB_STATUS, *MAC), (*Q_FDB_PORT, 4, *MAC))
        self.assertEqual([self.objects.get(oid) for oid in places], [None] * 3)
        self.made.hear(2, MAC)
        self.assertEqual([self.objects.get(oid) for oid in places], [2, 3, 2])
        self.assertEqual(self.objects.get((*BASE_PORT_IF_INDEX, 2)), FIRST_IF_INDEX + 1)
        self.assertEqual(self.objects.after(FDB_PORT), (*FDB_PORT, *MAC))
        self.made.order(2, False)
        self.assertEqual([self.objects.get(oid) for oid in places], [None] * 3)

    def test_dark_boards_are_not_heard(self) -> None:
        """What has no power has sent nothing."""
        self.made.order(2, False)
        self.made.hear(2, MAC)
        self.assertIsNone(self.objects.get((*FDB_PORT, *MAC)))
