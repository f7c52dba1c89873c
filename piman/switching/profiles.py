# -*- test-case-name: tests.test_switching_poe -*-
"""
How the switches of each vendor say on, off, delivering and how much: data.

To teach piman another vendor, add a :class:`Profile` and put it into :data:`PROFILES`.
"""

from collections.abc import Mapping

import attrs

from piman.switching import mib
from piman.switching.session import OID

DISABLED, SEARCHING, DELIVERING = "disabled", "searching", "delivering"
FAULT, TEST, OTHER_FAULT = "fault", "test", "other fault"

STANDARD_STATES = {1: DISABLED, 2: SEARCHING, 3: DELIVERING, 4: FAULT, 5: TEST, 6: OTHER_FAULT}
"""pethPsePortDetectionStatus (RFC 3621)."""

STANDARD_CLASSES = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4}
"""pethPsePortPowerClassifications (RFC 3621)."""


@attrs.frozen(kw_only=True)
class Profile:
    """The objects of a kind of switch.  A switch is of this kind when it has rows below :attr:`admin`."""

    name: str
    enterprise: int | None
    """The number after 1.3.6.1.4.1 in sysObjectID; None: anybody's."""
    admin: OID
    """Column: is the port told to give power; written to change it."""
    on: int
    off: int
    on_values: frozenset[int]
    """What else means on: modes that the operator of the switch chose."""
    status: OID
    states: Mapping[int, str]
    power_class: OID
    classes: Mapping[int, int]
    power: OID | None
    watts_per_unit: float = 1.0
    is_grouped: bool = True
    """Whether the index is group and port, or the port alone."""
    has_budget: bool = True
    """Whether pethMainPseTable may be asked for."""

    def index(self, group: int, port: int) -> OID:
        """What stands behind a column for a port."""
        return (group, port) if self.is_grouped else (port,)

    def port(self, group: int, index: OID) -> int | None:
        """The port of a row; None: it belongs to another group."""
        if not self.is_grouped:
            return index[0] if len(index) == 1 else None
        return index[1] if len(index) == 2 and index[0] == group else None


STANDARD = Profile(
    name="standard",
    enterprise=None,
    admin=mib.PSE_PORT_ADMIN_ENABLE,
    on=1,
    off=2,
    on_values=frozenset({1}),
    status=mib.PSE_PORT_DETECTION_STATUS,
    states=STANDARD_STATES,
    power_class=mib.PSE_PORT_CLASS,
    classes=STANDARD_CLASSES,
    power=None,
)
"""RFC 3621 and nothing else: HP, Aruba, Comware, Cisco Small Business, ..."""

NETGEAR = attrs.evolve(
    STANDARD,
    name="netgear",
    enterprise=mib.NETGEAR,
    power=mib.NETGEAR_OUTPUT_POWER,
    watts_per_unit=0.001,
)

CISCO = attrs.evolve(
    STANDARD,
    name="cisco-ext",
    enterprise=mib.CISCO,
    admin=mib.CISCO_PORT_ENABLE,
    on=1,
    off=4,
    on_values=frozenset({1, 2, 3}),
    power=mib.CISCO_PORT_CONSUMPTION,
    watts_per_unit=0.001,
)
"""CISCO-POWER-ETHERNET-EXT-MIB: a port that was ``static`` or ``limit`` is ``auto`` after off and on."""

TPLINK = Profile(
    name="tp-link",
    enterprise=mib.TPLINK,
    admin=mib.TPLINK_PORT_STATUS,
    on=1,
    off=0,
    on_values=frozenset({1}),
    status=mib.TPLINK_POWER_STATUS,
    states={0: SEARCHING, 1: SEARCHING, 2: DELIVERING, **dict.fromkeys(range(3, 10), FAULT)},
    power_class=mib.TPLINK_CLASS,
    classes={each: each for each in range(5)},
    power=mib.TPLINK_POWER,
    watts_per_unit=0.1,
    is_grouped=False,
    has_budget=False,
)

PROFILES = (TPLINK, CISCO, NETGEAR, STANDARD)
"""In the order of probing: TP-Link's agents fall silent for a while after questions for objects they do not have."""


_TELLING = tuple(profile for profile in PROFILES if profile is STANDARD or profile.admin != STANDARD.admin)
"""Those that a probe can tell apart where the vendor is unknown."""


def candidates(object_id: OID | None) -> tuple[Profile, ...]:
    """
    What to probe for, in order.

    A switch that names one of our vendors is that vendor's or standard; any other is standard before all else; one that
    names nobody is probed in the order of :data:`PROFILES`.
    """
    prefix = len(mib.ENTERPRISES)
    if object_id is None or object_id[:prefix] != mib.ENTERPRISES or len(object_id) == prefix:
        return _TELLING
    own = tuple(profile for profile in PROFILES if profile.enterprise == object_id[prefix])
    if own:
        return (*own, STANDARD)
    return (STANDARD, *(profile for profile in _TELLING if profile is not STANDARD))
