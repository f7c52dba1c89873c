"""
Each fault that an operator may meet has a scenario that shows it, its verdict and no other.

The list is that of the work order for operations; the right column names tests of
:mod:`tests.scenario.test_verdicts`, all of which hear the verdict from ``piman why``, too.
"""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.diagnosis import Fault
from tests.scenario import test_verdicts

LISTED: Mapping[str, tuple[Fault, tuple[str, ...]]] = {
    "no power delivered: fault": (Fault.POWER_FAULT, ("PowerTests.test_fault",)),
    "no power delivered: denied": (Fault.POWER_DENIED, ("PowerTests.test_denied",)),
    "no power delivered: budget": (Fault.POWER_BUDGET, ("PowerTests.test_budget",)),
    "no link": (Fault.NO_LINK, ("PowerTests.test_no_link",)),
    "no DISCOVER: not netbooting": (
        Fault.NO_DISCOVER,
        ("AddressTests.test_no_netboot", "PowerTests.test_no_discover"),
    ),
    "no DISCOVER: spanning tree": (Fault.NO_DISCOVER, ("AddressTests.test_spanning_tree",)),
    "no DISCOVER: wrong VLAN": (Fault.NO_DISCOVER, ("AddressTests.test_wrong_vlan",)),
    "stranger": (Fault.STRANGER, ("AddressTests.test_stranger",)),
    "takes another server's offer": (Fault.OTHER_SERVER, ("AddressTests.test_other_server",)),
    "OFFER ignored": (Fault.OFFER_IGNORED, ("AddressTests.test_offer_ignored",)),
    "no TFTP after DHCP": (Fault.NO_TFTP, ("LoadingTests.test_no_tftp_eeprom", "LoadingTests.test_no_tftp_rom")),
    "wrong prefix": (Fault.WRONG_PREFIX, ("LoadingTests.test_wrong_prefix",)),
    "mandatory file missing": (
        Fault.FILE_MISSING,
        ("LoadingTests.test_missing_files", "LoadingTests.test_missing_of_several"),
    ),
    "file too large for this firmware": (Fault.FILE_TOO_LARGE, ("LoadingTests.test_file_too_large",)),
    "TFTP stalls at block n": (Fault.TFTP_STALLS, ("LoadingTests.test_stalls",)),
    "kernel never asks for an address": (Fault.KERNEL_SILENT, ("LoadingTests.test_kernel_silent",)),
    "installer never calls": (Fault.INSTALLER_SILENT, ("InstallerTests.test_installer_silent",)),
    "wrong card": (Fault.WRONG_CARD, ("InstallerTests.test_wrong_card",)),
    "card too small": (Fault.CARD_TOO_SMALL, ("InstallerTests.test_small_card",)),
    "digest mismatch": (Fault.IMAGE_DAMAGED, ("InstallerTests.test_corrupt_image",)),
    "image stream broken": (Fault.IMAGE_BROKEN, ("InstallerTests.test_stream_breaks",)),
    "formatted but does not come up": (Fault.NOT_UP, ("SystemTests.test_never_up",)),
    "agent silent": (Fault.AGENT_SILENT, ("SystemTests.test_agent_dies",)),
    "flapping power supply": (Fault.FLAPPING, ("SystemTests.test_flapping",)),
}


def source_of(name: str) -> str:
    """A test's source, and that of its class' own methods that it calls."""
    class_name, _, test = name.partition(".")
    case: Any = getattr(test_verdicts, class_name)
    own = inspect.getsource(getattr(case, test))
    called = [getattr(case, method) for method in re.findall(r"self\.(\w+)\(", own) if method in vars(case)]
    return own + "".join(map(inspect.getsource, called))


class TableTests(SynchronousTestCase):
    """The table and the tests that it names."""

    def test_each_has_its_scenario(self) -> None:
        """Each test is there, asserts that fault by ``assert_named``, and no other fault."""
        for item, (fault, tests) in LISTED.items():
            for name in tests:
                source = source_of(name)
                self.assertIn("self.assert_named(", source, (item, name))
                self.assertEqual(set(re.findall(r"Fault\.(\w+)", source)), {fault.name}, (item, name))

    def test_nothing_beside(self) -> None:
        """A scenario of a verdict that the list does not name is one of these."""
        asserted = set(re.findall(r"Fault\.([A-Z_]+)", inspect.getsource(test_verdicts)))
        others = asserted - {fault.name for fault, _ in LISTED.values()}
        self.assertEqual(others, {"ADDRESS_HELD", "NEVER_SEEN", "NOTHING_DRAWS", "POWER_OFF"})

    def test_healthy_boots(self) -> None:
        """The other half of the claim: a thousand healthy boots, and no verdict but up."""
        source = source_of("HealthyTests.test_thousand_boots")
        boots = int(re.search(r"range\((\d+)\)", source)[1]) * len(test_verdicts.MODELS)  # type: ignore[index]
        boots *= int(re.search(r"MODELS \* (\d+)", source)[1])  # type: ignore[index]
        self.assertGreaterEqual(boots, 1000)
        self.assertIn("if watch.faults], [])", source)
