# -*- test-case-name: tests.test_fleet_intents -*-
"""
The life of an intent as pure functions, and what it allows: when a card may be formatted.

docs/decisions/intents.md says why; :class:`piman.fleet.state.intents.IntentBook` makes each step durable.
"""

from enum import Enum

import attrs

from piman.fleet.model import Intent, IntentState

ATTEMPTS = 3
"""How many attempts one intent has, or a chain of them without the operator."""
OPEN_SECONDS = 3600.0
"""How long an operator's intent waits for its node before it expires."""


class IntentRefused(Exception):
    """The intent does not allow this step; the text says why."""


def ordered(intent: Intent, now: float, digest: str, token: str, *, is_free: bool = False) -> Intent:
    """
    ``format`` is about to be sent.

    The token outlives the attempt while the image stays the same, so that a broken fetch can be resumed.

    :param is_free: the order before was in vain without the node's fault, and this one goes on with its attempt.
    :raises IntentRefused: when the image was delivered, the intent is over, or its attempts are used up.
    """
    _require(intent, IntentState.OPEN, IntentState.ORDERED)
    if intent.attempts >= ATTEMPTS and not is_free:
        raise IntentRefused(f"{intent.attempts} attempts did not bring the whole image to the card")
    keeps_token = intent.token is not None and intent.digest == digest
    return attrs.evolve(
        intent,
        state=IntentState.ORDERED,
        changed=now,
        digest=digest,
        token=intent.token if keeps_token else token,
        attempts=intent.attempts + (not is_free),
    )


def delivered(intent: Intent, now: float) -> Intent:
    """
    Every byte of the image was acknowledged by the node.

    :raises IntentRefused: when no image was ordered.
    """
    _require(intent, IntentState.ORDERED, IntentState.DELIVERED)
    return attrs.evolve(intent, state=IntentState.DELIVERED, changed=now)


def fulfilled(intent: Intent, now: float) -> Intent:
    """
    The card holds the image.

    :raises IntentRefused: when the image was not delivered.
    """
    _require(intent, IntentState.DELIVERED)
    return attrs.evolve(intent, state=IntentState.FULFILLED, changed=now)


def failed(intent: Intent, now: float, reason: str) -> Intent:
    """
    The intent is given up.

    :raises IntentRefused: when it is over already.
    """
    _require(intent, IntentState.OPEN, IntentState.ORDERED, IntentState.DELIVERED)
    return attrs.evolve(intent, state=IntentState.FAILED, changed=now, reason=reason)


def expired(intent: Intent, now: float, reason: str) -> Intent:
    """
    Its node did not come.

    :raises IntentRefused: when it was ordered already.
    """
    _require(intent, IntentState.OPEN)
    return attrs.evolve(intent, state=IntentState.EXPIRED, changed=now, reason=reason)


def is_stale(intent: Intent, now: float) -> bool:
    """Whether an intent that was never ordered has waited too long."""
    return intent.state is IntentState.OPEN and now - intent.opened >= OPEN_SECONDS


def is_for_board(intent: Intent, serial: str | None) -> bool:
    """Whether the board may be the one that was meant: both serials are known and differ only if it is another."""
    return not intent.serial or not serial or intent.serial == serial


class Verdict(Enum):
    """What becomes of a node that has said what is on its card."""

    BOOT = "boot"
    FORMAT = "format"
    """By its living intent, else by its own wish."""
    RENEW = "renew"
    """The delivered image did not reach the card: a new intent carries on the count of attempts."""
    FULFIL = "fulfil"
    GIVE_UP = "give up"
    TURN_AWAY = "turn away"
    """Nothing to boot, nothing to be done."""


def judge(
    intent: Intent | None,
    *,
    installed: bool,
    digest: str = "",
    hears_own_wish: bool = True,
    is_free: bool = False,
) -> Verdict:
    """
    What to do with a known node (docs/protocols/hello.md, "The verdict").

    :param digest: of the image on the card, when the node knows it (version 2).
    :param is_free: one more order would cost no attempt.
    """
    if intent is None:
        if installed:
            return Verdict.BOOT
        return Verdict.FORMAT if hears_own_wish else Verdict.TURN_AWAY
    if intent.state is IntentState.OPEN:
        return Verdict.FORMAT if intent.attempts < ATTEMPTS else Verdict.GIVE_UP
    is_there = installed and bool(digest) and digest == intent.digest
    if is_there or (intent.state is IntentState.DELIVERED and installed):
        return Verdict.FULFIL
    if intent.state is IntentState.DELIVERED:
        return Verdict.RENEW if intent.attempts < ATTEMPTS else Verdict.GIVE_UP
    return Verdict.FORMAT if is_free or intent.attempts < ATTEMPTS else Verdict.GIVE_UP


def _require(intent: Intent, *states: IntentState) -> None:
    if intent.state not in states:
        raise IntentRefused(f"the intent is {intent.state.value}")
