# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
What kind of trouble an installer tells of: by its code, or, of installers that send none, by its words.
"""

import re
from collections.abc import Mapping, Sequence

from piman.fleet.verdicts.remedies import Fault

CODES: Mapping[str, Fault] = {
    "no-card": Fault.NO_CARD,
    "wrong-card": Fault.WRONG_CARD,
    "card-too-small": Fault.CARD_TOO_SMALL,
    "card-broken": Fault.CARD_BROKEN,
    "bad-order": Fault.INSTALLER_FAILED,
    "image-refused": Fault.IMAGE_BROKEN,
    "image-broken": Fault.IMAGE_BROKEN,
    "image-damaged": Fault.IMAGE_DAMAGED,
    "image-unusable": Fault.IMAGE_UNUSABLE,
    "no-system": Fault.NO_SYSTEM,
    "paused": Fault.INSTALL_PAUSED,
    "image-missing": Fault.IMAGE_MISSING,
    "installer-mute": Fault.INSTALLER_SILENT,
    "installer-old": Fault.INSTALLER_FAILED,
    "too-slow": Fault.INSTALL_STALLS,
    "manager": Fault.INSTALLER_FAILED,
}
"""The codes of docs/protocols/hello.md."""

WORDS: Sequence[tuple[re.Pattern[str], Fault]] = tuple(
    (re.compile(pattern), fault)
    for pattern, fault in (
        (r"there is no card", Fault.NO_CARD),
        (r"is not a whole disk|not touched|is in use", Fault.WRONG_CARD),
        (r"holds only \d+ bytes|does not fit on the card", Fault.CARD_TOO_SMALL),
        (r"cannot (divide|make a file system|mount the new|write the last)|partitions of \S+ do", Fault.CARD_BROKEN),
        (r"SHA-256|digest", Fault.IMAGE_DAMAGED),
        (r"the image ended|the image has \d+ bytes|refuses the image|cannot resume", Fault.IMAGE_BROKEN),
        (r"no gzip file|cannot unpack|the image holds no", Fault.IMAGE_UNUSABLE),
        (r"cannot mount the system|no system that can start|cannot read ext4", Fault.NO_SYSTEM),
    )
)
"""What version 2 installers without codes say; of version 1 only the manager speaks."""


def fault_of(code: str, reason: str) -> Fault:
    """The kind of trouble."""
    known = CODES.get(code)
    if known is not None:
        return known
    return next((fault for pattern, fault in WORDS if pattern.search(reason)), Fault.INSTALLER_FAILED)
