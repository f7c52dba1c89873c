# -*- test-case-name: tests.test_hello -*-
"""
What is known of one installer that calls, how its card is judged, and what is said to it.

:mod:`piman.installing.conversation` says when; :mod:`piman.hello` gives it a transport.  The card is formatted only for
an intent that is durably ordered (docs/decisions/intents.md).
"""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from piman.fleet.events import (
    BootOrdered,
    FormatOrdered,
    InstallerFailed,
    InstallerReported,
    WordUnexpected,
)
from piman.fleet.interfaces import ImageMissing, StoreFailed
from piman.fleet.model import Image, Intent, IntentOrigin, IntentState, MACAddress, Node
from piman.fleet.patience import Blame
from piman.fleet.state.intent_life import IntentRefused, Verdict, is_for_board
from piman.installing.words import Caller, Card, Conversation, Desk
from piman.wire import hello as wire

_NOISE_LINES = 100
"""Lines without a fraction that one conversation may report."""
_SURPRISES = 50
"""Unexpected words and failures of one conversation that become events."""
_WORD_CHARACTERS = 80


@dataclass
class Core:
    """What a conversation knows."""

    desk: Desk
    caller: Caller
    transport: ITCPTransport
    version: int = 1
    intent: Intent | None = None
    """By which it was told to format."""
    disk_is_ready: bool = False
    """``IS_FORMATTED`` came before the image: an image from before 2019-11."""
    boots: bool = False
    """It was told to boot, or will do so by itself."""
    digest: str = ""
    """Of the image that it found on its card; empty: it does not know, or was told to format since."""
    is_lost: bool = False
    is_replaced: bool = False
    clock_was_set: bool = False
    reports: int = 0
    surprises: int = 0
    is_closing: bool = False
    limit: IDelayedCall | None = None
    log: Logger = field(default_factory=Logger)

    # Saying things

    @property
    def mac(self) -> MACAddress | None:
        """The node; None: nobody."""
        return self.caller.mac

    def within(self, talk: Conversation, seconds: float | None) -> None:
        """From now on this is the limit; None: no limit any more."""
        if self.limit is not None and self.limit.active():
            self.limit.cancel()
        self.limit = None if seconds is None else self.desk.clock.callLater(seconds, talk.overtime)

    def unexpected(self, text: str, state: str) -> None:
        """A word that is impossible here: an event, nothing else."""
        self.surprises += 1
        if self.mac is not None and self.surprises <= _SURPRISES:
            self.desk.events.emit(WordUnexpected(mac=self.mac, word=text[:_WORD_CHARACTERS], state=state))

    def complain(self, reason: str, code: str) -> None:
        """Something went wrong with this node's installation."""
        self.surprises += 1
        if self.mac is not None and self.surprises <= _SURPRISES:
            self.desk.events.emit(InstallerFailed(mac=self.mac, reason=reason, code=code))

    def report(self, text: str, fraction: float | None) -> None:
        """Pass on what the node tells, within reason."""
        self.reports += 1
        if self.mac is not None and (self.reports <= _NOISE_LINES or fraction is not None):
            self.desk.events.emit(InstallerReported(mac=self.mac, text=text, fraction=fraction))

    # Deciding

    def begin(self, talk: Conversation, work: Coroutine[Any, Any, None]) -> None:
        """Run a decision; whatever goes wrong in it, the node is turned away and nothing is formatted."""

        def broken(failure: Failure) -> None:
            if failure.check(IntentRefused, StoreFailed) is None:  # the store tells that itself, once for all
                self.log.failure("deciding for {address}", failure=failure, address=str(self.caller.address))
            reason = f"the manager could not decide: {failure.getErrorMessage()}"
            self.complain(reason, "manager")
            talk.turned_away(reason)

        Deferred.fromCoroutine(work).addErrback(broken)

    async def decide(self, talk: Conversation, card: Card) -> None:
        """The node said what is on its card: judge and act."""
        self.digest = card.digest if card.installed else ""
        node = self.recognise(card)
        if node is None:
            self.desk.unknown(self.caller)
            self.boot_or_turn_away(talk, card, self.caller.reason)
            return
        intent = self.desk.intents.current(node.mac)
        serial = self.serial(card)
        if intent is not None and not is_for_board(intent, serial):
            await self.give_up(talk, card, intent, f"board {serial} answers in the place of board {intent.serial}")
            return
        if intent is not None and card.token and card.token == intent.token and intent.digest is not None:
            talk.resumed(intent)
            return
        await self.act(talk, card, node, intent)

    def recognise(self, card: Card) -> Node | None:
        """The operator's node that calls, if it is still the one that connected; None: nobody."""
        caller = self.desk.identify(self.caller.address)
        if caller.mac != self.mac:
            caller = attrs.evolve(caller, mac=None, reason=caller.reason or "its address was given to another board")
        elif caller.mac is not None and card.mac is not None and card.mac != caller.mac.octets:
            reason = f"it says that it is {card.mac.hex(':')}, but its address belongs to {caller.mac}"
            caller = attrs.evolve(caller, mac=None, reason=reason)
        self.caller = caller
        return None if caller.mac is None else self.desk.nodes.node(caller.mac)

    async def act(self, talk: Conversation, card: Card, node: Node, intent: Intent | None) -> None:
        """Do what the verdict says."""
        intents = self.desk.intents
        match intents.judge(node.mac, installed=card.installed, digest=card.digest):
            case Verdict.BOOT:
                talk.boot_ordered()
            case Verdict.TURN_AWAY:
                minutes = intents.deaf_seconds(node.mac) / 60
                reason = f"an installation of this node failed lately: it may ask again in {minutes:.0f} minutes"
                self.complain(reason, "paused")
                talk.turned_away(reason)
            case Verdict.FULFIL if intent is not None:
                await self.fulfil(talk, intent)
            case Verdict.GIVE_UP if intent is not None:
                reason = f"{intent.attempts} attempts did not bring the whole image to the card"
                await self.give_up(talk, card, intent, reason, intents.blame(intent))
            case Verdict.RENEW if intent is not None:
                reason = "the whole image was delivered, but the card is empty: the node asked anew"
                await intents.fail(intent, reason, Blame.NOBODY)
                await self.order(talk, card, node, None, attempts=intent.attempts)
            case _:
                await self.order(talk, card, node, intent)

    async def order(
        self, talk: Conversation, card: Card, node: Node, intent: Intent | None, attempts: int = 0
    ) -> None:
        """Order a format: hash the image, make the intent durable, then say so."""
        intents = self.desk.intents
        try:
            image = await self.desk.images.image(intent.image if intent else node.image)
        except ImageMissing as missing:
            self.complain(str(missing), "image-missing")
            if intent is not None and card.installed:
                await intents.fail(intent, str(missing), Blame.NOBODY)
            self.boot_or_turn_away(talk, card, str(missing))
            return
        if self.is_lost:
            return
        if intent is None:
            serial = self.serial(card)
            intent = await intents.open_intent(node.mac, IntentOrigin.NODE, node.image, serial, attempts)
        intent = await intents.order(intent, image.digest)
        talk.format_ordered(intent, image)

    async def give_up(
        self, talk: Conversation, card: Card, intent: Intent, reason: str, blame: Blame = Blame.CARD
    ) -> None:
        """The intent fails; what is on the card may boot."""
        await self.desk.intents.fail(intent, reason, blame)
        self.boot_or_turn_away(talk, card, reason)

    async def fulfil(self, talk: Conversation, intent: Intent) -> None:
        """The card holds the image."""
        if intent.state is IntentState.ORDERED:
            await self.desk.intents.deliver(intent)
        await self.desk.intents.fulfil(intent)
        self.boots = True
        if self.is_lost:
            self.desk.expect_up(intent.mac)
        talk.boot_ordered()

    async def try_again(self, talk: Conversation, reason: str, fatal: bool) -> None:
        """The node could not bring the image to its card."""
        intents = self.desk.intents
        intent = intents.current(self.mac) if self.mac is not None else None
        if intent is None or self.intent is None or intent.id != self.intent.id or self.mac is None:
            talk.turned_away("its intent is over")
            return
        intents.stumbled(intent)
        node = self.desk.nodes.node(self.mac)
        verdict = intents.judge(self.mac, installed=False)
        if fatal or node is None or verdict is Verdict.GIVE_UP:
            await intents.fail(intent, reason, Blame.CARD if fatal else intents.blame(intent))
            talk.turned_away(reason)
            return
        card = Card(installed=False, text="")
        if verdict is Verdict.RENEW:
            await intents.fail(intent, reason, Blame.NOBODY)
            await self.order(talk, card, node, None, attempts=intent.attempts)
        else:
            await self.order(talk, card, node, intent)

    def boot_or_turn_away(self, talk: Conversation, card: Card, reason: str) -> None:
        """What is on the card may boot; without a system there is nothing to be done."""
        if card.installed:
            talk.boot_ordered()
        else:
            talk.turned_away(reason)

    def serial(self, card: Card) -> str | None:
        """The board's serial, from itself or from what was seen of it: 8 digits."""
        said = (card.serial or "")[-8:]
        return said or (self.desk.nodes.status(self.mac).serial if self.mac is not None else None)

    def delivered(self) -> Intent | None:
        """Our intent, if its image was delivered."""
        living = self.desk.intents.current(self.mac) if self.mac is not None else None
        is_ours = living is not None and self.intent is not None and living.id == self.intent.id
        return living if is_ours and living is not None and living.state is IntentState.DELIVERED else None

    # Acting

    def say_boot(self, talk: Conversation) -> None:
        """Tell the node to boot its card."""
        self.boots = True
        self.transport.write(wire.BOOT_1 if self.version == 1 else wire.BOOT_2)
        if self.mac is not None:
            self.desk.events.emit(BootOrdered(mac=self.mac, digest=self.digest))
        self.within(talk, self.desk.limits.leaving_seconds)

    def say_format(self, talk: Conversation, intent: Intent, image: Image) -> None:
        """Tell the node to format its card."""
        self.intent = intent
        self.digest = ""
        self.disk_is_ready = False
        self.transport.write(wire.FORMAT_1 if self.version == 1 else self.format_line(intent, image))
        ordered = FormatOrdered(
            mac=self.mac, intent=intent.id, attempt=intent.attempts, image=image.name, digest=image.digest
        )
        self.desk.events.emit(ordered)
        self.within(talk, self.desk.limits.format_seconds)

    def format_line(self, intent: Intent, image: Image) -> bytes:
        """The order of version 2."""
        url = self.desk.image_url(self.transport.getHost().host, intent)
        return wire.FormatOrder(url=url, sha256=image.digest, size=image.size_bytes, image=image.name).to_wire()

    def go_on(self, talk: Conversation, intent: Intent) -> None:
        """Let a version 2 node that was cut off go on with its work."""
        self.intent = intent
        self.transport.write(wire.CONTINUE)
        self.within(talk, self.desk.limits.format_seconds)

    def weigh_formatted(self, talk: Conversation, digest: str, text: str) -> None:
        """``IS_FORMATTED``: installed, or merely a disk that is ready?"""
        self.report(text, None)
        wanted = self.intent.digest if self.intent is not None else None
        if digest == wanted or (not digest and self.delivered() is not None):
            talk.finished()
        elif digest:
            reason = f"the node read an image with digest {digest[:16]}..., {str(wanted)[:16]}... was ordered"
            talk.stumbled(reason, "image-damaged")
            talk.retry(reason, False)
        else:
            self.disk_is_ready = True

    def close_overtime(self, talk: Conversation, reason: str, code: str) -> None:
        """Close, first politely, and say why."""
        if self.is_closing:
            self.transport.abortConnection()
            return
        self.is_closing = True
        if self.intent is not None:
            self.desk.intents.stumbled(self.intent)
        self.complain(reason, code)
        self.transport.loseConnection()
        self.within(talk, self.desk.limits.leaving_seconds)

    def leave(self, talk: Conversation) -> None:
        """The connection is gone."""
        self.is_lost = True
        self.within(talk, None)
        if self.boots and self.mac is not None and not self.is_replaced:
            self.desk.expect_up(self.mac)

    def break_off(self, talk: Conversation) -> None:
        """The connection is gone while the node should be at work."""
        self.leave(talk)
        if self.is_replaced or self.is_closing or self.delivered() is not None:
            return
        if self.version == 1:
            self.complain("the conversation ended before the whole image had reached the card", "image-broken")
        else:
            self.report("the conversation broke off; the node goes on and calls again", None)
