# -*- test-case-name: tests.test_hello -*-
"""
The machine of one conversation with an installer.

What a node may say in any state is a transition, often "an event, and stay"; only our own impossible calls are errors.
The table is written section by section: what decides, what was decided, what is said by the way, how it ends.
Acts and knowledge: :mod:`piman.installing.installer`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import attrs
from automat import TypeMachineBuilder

from piman.fleet.events import ClockSet
from piman.fleet.model import Image, Intent
from piman.installing.installer import Core
from piman.installing.words import Card, Conversation

if TYPE_CHECKING:
    from automat._typed import TypedState  # automat exports it under no other name

State: TypeAlias = "TypedState[Conversation, Core]"


@attrs.frozen(kw_only=True)
class States:
    """Where a conversation can be."""

    greeting: State
    deciding: State
    formatting: State
    finishing: State
    leaving: State
    gone: State

    @property
    def not_formatting(self) -> tuple[State, ...]:
        """Alive, but the node has no order to format."""
        return (self.greeting, self.deciding, self.finishing, self.leaving)

    @property
    def alive(self) -> tuple[State, ...]:
        """All but the end."""
        return (*self.not_formatting, self.formatting)


def _build() -> Callable[[Core], Conversation]:
    builder = TypeMachineBuilder(Conversation, Core)
    # The first state is the one in which a conversation begins.
    states = States(**{field.name: builder.state(field.name) for field in attrs.fields(States)})
    _what_decides(states)
    _what_decides_nothing(states)
    _what_was_decided(states)
    _what_is_said_of_the_work(states)
    _what_is_said_by_the_way(states)
    _overtime(states)
    _the_end(states)
    return builder.build()


def _what_decides(states: States) -> None:
    formatting = states.formatting

    @states.greeting.upon(Conversation.card_seen).to(states.deciding)
    def card_decides(talk: Conversation, core: Core, card: Card) -> None:
        core.within(talk, core.desk.limits.format_seconds)
        core.begin(talk, core.decide(talk, card))

    @formatting.upon(Conversation.card_seen).loop()
    def card_after_delivery(talk: Conversation, core: Core, card: Card) -> None:
        if card.installed and core.delivered() is not None:
            talk.finished()
        else:
            core.unexpected(card.text, "formatting")

    @formatting.upon(Conversation.formatted).loop()
    def formatted(talk: Conversation, core: Core, digest: str, text: str) -> None:
        core.weigh_formatted(talk, digest, text)

    @formatting.upon(Conversation.mounted).loop()
    def mounted(talk: Conversation, core: Core, text: str) -> None:
        core.report(text, None)
        if core.disk_is_ready and core.delivered() is not None:
            talk.finished()

    @formatting.upon(Conversation.finished).to(states.finishing)
    def finished(talk: Conversation, core: Core) -> None:
        if core.intent is not None:
            core.begin(talk, core.fulfil(talk, core.delivered() or core.intent))

    @formatting.upon(Conversation.retry).to(states.deciding)
    def retry(talk: Conversation, core: Core, reason: str, fatal: bool) -> None:
        core.begin(talk, core.try_again(talk, reason, fatal))


def _what_decides_nothing(states: States) -> None:
    """Words that decide, in states where there is nothing for them to decide."""
    for state in states.not_formatting:
        state.upon(Conversation.retry).loop().returns(None)
        state.upon(Conversation.finished).loop().returns(None)

        @state.upon(Conversation.formatted).loop()
        def formatted_too_early(
            talk: Conversation, core: Core, digest: str, text: str, name: str = state.name
        ) -> None:
            core.unexpected(text, name)

    for state in (states.deciding, states.finishing, states.leaving):

        @state.upon(Conversation.card_seen).loop()
        def card_seen_twice(talk: Conversation, core: Core, card: Card, name: str = state.name) -> None:
            core.unexpected(card.text, name)


def _what_was_decided(states: States) -> None:
    for state in (states.deciding, states.finishing):

        @state.upon(Conversation.boot_ordered).to(states.leaving)
        def boot(talk: Conversation, core: Core) -> None:
            core.say_boot(talk)

        @state.upon(Conversation.turned_away).to(states.leaving)
        def turned_away(talk: Conversation, core: Core, reason: str) -> None:
            core.within(talk, core.desk.limits.leaving_seconds)
            core.transport.loseConnection()

    @states.deciding.upon(Conversation.format_ordered).to(states.formatting)
    def format_card(talk: Conversation, core: Core, intent: Intent, image: Image) -> None:
        core.say_format(talk, intent, image)

    @states.deciding.upon(Conversation.resumed).to(states.formatting)
    def resumed(talk: Conversation, core: Core, intent: Intent) -> None:
        core.go_on(talk, intent)


def _what_is_said_of_the_work(states: States) -> None:
    """Words that belong to formatting, there and out of place."""

    @states.formatting.upon(Conversation.format_taken).loop()
    def format_taken(talk: Conversation, core: Core, text: str) -> None:
        core.report(text, None)

    @states.formatting.upon(Conversation.reported).loop()
    def reported_at_work(talk: Conversation, core: Core, text: str, fraction: float | None) -> None:
        core.report(text, fraction)
        if core.version == 2:
            core.within(talk, core.desk.limits.format_seconds)

    for state in states.not_formatting:

        @state.upon(Conversation.format_taken).loop()
        def formats_unasked(talk: Conversation, core: Core, text: str, name: str = state.name) -> None:
            core.unexpected(text, name)

        @state.upon(Conversation.mounted).loop()
        def mounts(talk: Conversation, core: Core, text: str) -> None:
            core.report(text, None)

        @state.upon(Conversation.reported).loop()
        def reported(talk: Conversation, core: Core, text: str, fraction: float | None) -> None:
            core.report(text, fraction)


def _what_is_said_by_the_way(states: States) -> None:
    states.leaving.upon(Conversation.boot_taken).loop().returns(None)
    for state in (states.greeting, states.deciding, states.formatting, states.finishing):

        @state.upon(Conversation.boot_taken).loop()
        def boots_unasked(talk: Conversation, core: Core, text: str, name: str = state.name) -> None:
            core.unexpected(text, name)

    for state in states.alive:

        @state.upon(Conversation.never_said).loop()
        def never_said(talk: Conversation, core: Core, text: str, name: str = state.name) -> None:
            core.unexpected(text, name)

        @state.upon(Conversation.clock_taken).loop()
        def clock_taken(talk: Conversation, core: Core, text: str) -> None:
            if not core.clock_was_set and core.mac is not None:
                core.desk.events.emit(ClockSet(mac=core.mac))
            core.clock_was_set = True

        @state.upon(Conversation.stumbled).loop()
        def stumbled(talk: Conversation, core: Core, reason: str, code: str) -> None:
            core.complain(reason, code)


def _overtime(states: States) -> None:
    for state, code, reason in (
        (states.greeting, "installer-mute", "the installer called, but never said what is on the card"),
        (states.deciding, "manager", "the manager did not come to a decision in time"),
        (
            states.formatting,
            "too-slow",
            "the installer took too long and was given up; the node is installed again at its next start",
        ),
        (states.finishing, "manager", "the manager could not write in time that the node is installed"),
    ):

        @state.upon(Conversation.overtime).loop()
        def overtime(talk: Conversation, core: Core, reason: str = reason, code: str = code) -> None:
            core.close_overtime(talk, reason, code)

    @states.leaving.upon(Conversation.overtime).loop()
    def leaves_late(talk: Conversation, core: Core) -> None:
        core.transport.abortConnection()


def _the_end(states: States) -> None:
    @states.formatting.upon(Conversation.lost).to(states.gone)
    def broken_off(talk: Conversation, core: Core) -> None:
        core.break_off(talk)

    for state in states.not_formatting:

        @state.upon(Conversation.lost).to(states.gone)
        def lost(talk: Conversation, core: Core) -> None:
            core.leave(talk)

    for late in (
        Conversation.card_seen,
        Conversation.formatted,
        Conversation.mounted,
        Conversation.clock_taken,
        Conversation.boot_taken,
        Conversation.format_taken,
        Conversation.never_said,
        Conversation.reported,
        Conversation.stumbled,
        Conversation.boot_ordered,
        Conversation.format_ordered,
        Conversation.resumed,
        Conversation.finished,
        Conversation.retry,
        Conversation.turned_away,
        Conversation.overtime,
        Conversation.lost,
    ):
        states.gone.upon(late).loop().returns(None)


converse: Callable[[Core], Conversation] = _build()
"""A new conversation, greeting."""
