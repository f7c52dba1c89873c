# -*- test-case-name: tests.test_fleet_intents -*-
"""
How much patience a manager has with boards whose installation does not work: which orders to format cost an attempt,
and how long a board's own wish is not heard after its intent failed.

A bad line must not be punished like a broken card, and a broken card must not be formatted for ever.  All of it is
kept in memory only: after a restart every order costs an attempt again.  docs/decisions/intents.md says why.
"""

from enum import Enum

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.fleet.model import MACAddress

FREE_ORDERS = 6
"""How many orders of one intent cost no attempt because their image never began."""
PAUSE_SECONDS = 3600.0
"""How long a board's own wish is not heard after an intent of it failed: for a broken card at once, else at most."""
LINE_PAUSE_SECONDS = 300.0
"""The first pause when the line may be to blame; it doubles with each failure until the board is installed."""


class Blame(Enum):
    """What an intent failed of."""

    CARD = "card"
    LINE = "line"
    """The line, or what cannot be told from it."""
    NOBODY = "nobody"
    """No pause."""


@attrs.define
class _Trial:
    """The last order of an intent."""

    is_spent: bool = False
    has_begun: bool = False
    """Its image."""
    card_failed: bool = False
    """In any order of this intent."""
    free: int = 0
    """Orders of this intent that cost nothing."""


@attrs.frozen
class _Pause:
    """Until when a board is not heard."""

    until: float
    seconds: float


class Patience:
    """What one run of the manager remembers of its failures."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._trials: dict[str, _Trial] = {}
        self._pauses: dict[MACAddress, _Pause] = {}

    # Attempts

    def is_free(self, intent_id: str) -> bool:
        """Whether the next order costs nothing: the one before broke off without an image and without a complaint."""
        trial = self._trials.get(intent_id)
        return trial is not None and not trial.is_spent and trial.free < FREE_ORDERS

    def ordered(self, intent_id: str) -> None:
        """A format is ordered."""
        is_free = self.is_free(intent_id)
        trial = self._trials.setdefault(intent_id, _Trial())
        trial.is_spent = trial.has_begun = False
        trial.free += is_free

    def began(self, intent_id: str) -> None:
        """The image is on its way: this attempt counts."""
        trial = self._trials.setdefault(intent_id, _Trial())
        trial.is_spent = trial.has_begun = True

    def stumbled(self, intent_id: str) -> None:
        """The node said that it failed, or took too long: this attempt counts; before the image it is the card."""
        trial = self._trials.setdefault(intent_id, _Trial(has_begun=True))
        trial.is_spent = True
        trial.card_failed = trial.card_failed or not trial.has_begun

    def blame(self, intent_id: str) -> Blame:
        """What an intent whose attempts are used up fails of; an intent of an earlier run: its card."""
        trial = self._trials.get(intent_id)
        return Blame.CARD if trial is None or trial.card_failed else Blame.LINE

    def closed(self, intent_id: str) -> None:
        """The intent is over."""
        self._trials.pop(intent_id, None)

    # Pauses

    def failed(self, mac: MACAddress, blame: Blame) -> None:
        """An intent of the board failed: do not hear its own wish for a while."""
        if blame is Blame.NOBODY:
            return
        before = self._pauses.get(mac)
        seconds = PAUSE_SECONDS
        if blame is Blame.LINE:
            seconds = min(LINE_PAUSE_SECONDS if before is None else 2 * before.seconds, PAUSE_SECONDS)
        self._pauses[mac] = _Pause(self._clock.seconds() + seconds, seconds)

    def forgive(self, mac: MACAddress) -> None:
        """The board was installed, or the operator wants it to be."""
        self._pauses.pop(mac, None)

    def seconds_left(self, mac: MACAddress) -> float:
        """How long the board's own wish is not heard; 0: it is."""
        pause = self._pauses.get(mac)
        return 0.0 if pause is None else max(0.0, pause.until - self._clock.seconds())
