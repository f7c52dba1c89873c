# -*- test-case-name: tests.test_simulator_booting_installer -*-
"""
A virtual SD card: what of an installed system survives the loss of power.
"""

import attrs

CARD_BYTES = 32 << 30


@attrs.define(kw_only=True)
class Card:
    """
    :ivar digest: SHA-256 of the image that the installer found whole and unpacked; empty: no such system.
    :ivar is_installing: the marker that lies on the card from its formatting until the image was verified.
    :ivar has_system: whether ``/sbin/init`` is there, whoever put it there.
    :ivar starts_alone: whether the first partition holds boot files: such a board never asks the network.
    """

    size_bytes: int = CARD_BYTES
    digest: str = ""
    is_installing: bool = False
    has_system: bool = False
    starts_alone: bool = False
    formats: int = 0

    @property
    def is_installed(self) -> bool:
        """What the installer says of it: a system is there, and not half of one."""
        return self.has_system and not self.is_installing

    def format(self) -> None:
        """New, empty file systems."""
        self.formats += 1
        self.digest = ""
        self.has_system = False
        self.is_installing = True

    def keep(self, digest: str) -> None:
        """The image is whole on the card."""
        self.digest = digest
        self.has_system = True
        self.is_installing = False
