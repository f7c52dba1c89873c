# -*- test-case-name: tests.contract.test_installers -*-
"""
An in-memory stand-in for the conversations on the hello port.
"""

from zope.interface import implementer

from piman.fleet.interfaces import IInstallers
from piman.fleet.model import Intent, MACAddress
from piman.fleet.state.intents import IntentBook


@implementer(IInstallers)
class MemoryInstallers:
    """Conversations that were told to format, without any words."""

    def __init__(self, book: IntentBook) -> None:
        self._book = book
        self._told: dict[MACAddress, str] = {}

    def tell_to_format(self, intent: Intent) -> None:
        """The live conversation of the intent's board was told to format by it."""
        self._told[intent.mac] = intent.id

    def hang_up(self, mac: MACAddress) -> None:
        """The board has no conversation any more."""
        self._told.pop(mac, None)

    def intent_at_work(self, mac: MACAddress) -> Intent | None:
        """The living intent by which the board's conversation was told to format."""
        living = self._book.current(mac)
        return living if living is not None and self._told.get(mac) == living.id else None
