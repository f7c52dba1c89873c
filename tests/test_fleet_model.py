"""
The values: what identifies a node, and which stages and states mean what.
"""

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import IntentState, MACAddress, Node, NodeStatus, Phase, Stage, SwitchPort
from tests.fleet_support import ADDRESS, MAC


class MACAddressTests(SynchronousTestCase):
    """The identity of a node."""

    def test_spellings(self) -> None:
        """Colons, dashes or neither, in either case, with blanks around: all the same address."""
        for text in ("b8:27:eb:00:00:01", "B8-27-EB-00-00-01", "B827EB000001", " b8:27:EB:00:00:01\n"):
            self.assertEqual(MACAddress.parse(text), MAC)

    def test_nonsense(self) -> None:
        """Anything else is refused with a text that shows it."""
        for text in ("", "b8:27:eb:00:00", "b8:27:eb:00:00:01:02", "b8:27:eb:00:00:0g", "b8:27:EB:", "172.30.4.1"):
            with self.assertRaises(ValueError) as caught:
                MACAddress.parse(text)
            self.assertIn(repr(text), str(caught.exception))

    def test_length(self) -> None:
        """Only six octets make one."""
        for octets in (b"", bytes(5), bytes(7)):
            self.assertRaises(ValueError, MACAddress, octets)

    @given(st.binary(min_size=6, max_size=6))
    def test_round_trip(self, octets: bytes) -> None:
        """What is shown can be read back."""
        self.assertEqual(MACAddress.parse(str(MACAddress(octets))), MACAddress(octets))

    @given(st.text(max_size=20))
    def test_any_text(self, text: str) -> None:
        """No text raises anything but ValueError."""
        try:
            MACAddress.parse(text)
        except ValueError:
            pass

    def test_shown(self) -> None:
        """It is shown in lower case with colons, also within other values."""
        self.assertEqual(str(MAC), "b8:27:eb:00:00:01")
        self.assertEqual(repr(MAC), "MACAddress(b8:27:eb:00:00:01)")


class NodeTests(SynchronousTestCase):
    """What the operator wants."""

    def test_name(self) -> None:
        """A node is called by its hostname, else by its MAC."""
        self.assertEqual(Node(mac=MAC, hostname="pi13").name, "pi13")
        self.assertEqual(Node(mac=MAC).name, str(MAC))

    def test_frozen(self) -> None:
        """Nobody can change a value under somebody else's hands."""
        for value, field in ((Node(mac=MAC), "image"), (NodeStatus(mac=MAC), "phase")):
            with self.assertRaises(attrs.exceptions.FrozenInstanceError):
                setattr(value, field, None)

    def test_port_shown(self) -> None:
        """A switch port is shown with its switch."""
        self.assertEqual(str(SwitchPort(ADDRESS, 4)), "172.30.4.13 port 4")


class MeaningTests(SynchronousTestCase):
    """What the enumerations say."""

    def test_firmware_stages(self) -> None:
        """Only the boot ROM and the EEPROM begin a boot."""
        self.assertEqual({stage for stage in Stage if stage.is_firmware}, {Stage.ROM, Stage.EEPROM})

    def test_final_states(self) -> None:
        """An intent ends fulfilled, failed or expired, and in no other way."""
        final = {state.value for state in IntentState if state.is_final}
        self.assertEqual(final, {"fulfilled", "failed", "expired"})

    def test_unknown_at_first(self) -> None:
        """Of a node that was never seen nothing is claimed."""
        status = NodeStatus(mac=MAC)
        self.assertEqual((status.phase, status.attempt, status.serial), (Phase.UNKNOWN, 0, None))
