# -*- test-case-name: tests.test_hello -*-
"""
The machine of one conversation with an installer.

What a node may say in any state is a transition, often "an event, and stay"; only our own impossible calls are errors.
States: greeting, deciding, formatting, finishing, leaving, gone.
Acts and knowledge: :mod:`piman.installing.installer`.
"""

from collections.abc import Callable

from automat import TypeMachineBuilder

from piman.fleet.events import ClockSet
from piman.fleet.model import Image, Intent
from piman.installing.installer import Card, Conversation, Core


def _build() -> Callable[[Core], Conversation]:
    builder = TypeMachineBuilder(Conversation, Core)
    greeting = builder.state("greeting")
    deciding = builder.state("deciding")
    formatting = builder.state("formatting")
    finishing = builder.state("finishing")
    leaving = builder.state("leaving")
    gone = builder.state("gone")
    alive = (greeting, deciding, formatting, finishing, leaving)

    # What decides

    @greeting.upon(Conversation.card_seen).to(deciding)
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

    @formatting.upon(Conversation.finished).to(finishing)
    def finished(talk: Conversation, core: Core) -> None:
        if core.intent is not None:
            core.begin(talk, core.fulfil(talk, core.delivered() or core.intent))

    @formatting.upon(Conversation.retry).to(deciding)
    def retry(talk: Conversation, core: Core, reason: str, fatal: bool) -> None:
        core.begin(talk, core.try_again(talk, reason, fatal))

    for state in (greeting, deciding, finishing, leaving):
        state.upon(Conversation.retry).loop().returns(None)
        state.upon(Conversation.finished).loop().returns(None)

        @state.upon(Conversation.formatted).loop()
        def formatted_too_early(
            talk: Conversation, core: Core, digest: str, text: str, name: str = state.name
        ) -> None:
            core.unexpected(text, name)

    for state in (deciding, finishing, leaving):

        @state.upon(Conversation.card_seen).loop()
        def card_seen_twice(talk: Conversation, core: Core, card: Card, name: str = state.name) -> None:
            core.unexpected(card.text, name)

    # What was decided

    for state in (deciding, finishing):

        @state.upon(Conversation.boot_ordered).to(leaving)
        def boot(talk: Conversation, core: Core) -> None:
            core.say_boot(talk)

        @state.upon(Conversation.turned_away).to(leaving)
        def turned_away(talk: Conversation, core: Core, reason: str) -> None:
            core.within(talk, core.desk.limits.leaving_seconds)
            core.transport.loseConnection()

    @deciding.upon(Conversation.format_ordered).to(formatting)
    def format_card(talk: Conversation, core: Core, intent: Intent, image: Image) -> None:
        core.say_format(talk, intent, image)

    @deciding.upon(Conversation.resumed).to(formatting)
    def resumed(talk: Conversation, core: Core, intent: Intent) -> None:
        core.go_on(talk, intent)

    # What is said by the way

    @formatting.upon(Conversation.format_taken).loop()
    def format_taken(talk: Conversation, core: Core, text: str) -> None:
        core.report(text, None)

    for state in (greeting, deciding, finishing, leaving):

        @state.upon(Conversation.format_taken).loop()
        def formats_unasked(talk: Conversation, core: Core, text: str, name: str = state.name) -> None:
            core.unexpected(text, name)

        @state.upon(Conversation.mounted).loop()
        def mounts(talk: Conversation, core: Core, text: str) -> None:
            core.report(text, None)

    leaving.upon(Conversation.boot_taken).loop().returns(None)
    for state in (greeting, deciding, formatting, finishing):

        @state.upon(Conversation.boot_taken).loop()
        def boots_unasked(talk: Conversation, core: Core, text: str, name: str = state.name) -> None:
            core.unexpected(text, name)

    for state in alive:

        @state.upon(Conversation.never_said).loop()
        def never_said(talk: Conversation, core: Core, text: str, name: str = state.name) -> None:
            core.unexpected(text, name)

        @state.upon(Conversation.clock_taken).loop()
        def clock_taken(talk: Conversation, core: Core, text: str) -> None:
            if not core.clock_was_set and core.mac is not None:
                core.desk.events.emit(ClockSet(mac=core.mac))
            core.clock_was_set = True

        @state.upon(Conversation.stumbled).loop()
        def stumbled(talk: Conversation, core: Core, reason: str) -> None:
            core.complain(reason)

    for state in (greeting, deciding, finishing, leaving):

        @state.upon(Conversation.reported).loop()
        def reported(talk: Conversation, core: Core, text: str, fraction: float | None) -> None:
            core.report(text, fraction)

    @formatting.upon(Conversation.reported).loop()
    def reported_at_work(talk: Conversation, core: Core, text: str, fraction: float | None) -> None:
        core.report(text, fraction)
        if core.version == 2:
            core.within(talk, core.desk.limits.format_seconds)

    # Ends

    for state, reason in (
        (greeting, "the installer called, but never said what is on the card"),
        (deciding, "the manager did not come to a decision in time"),
        (formatting, "the installer took too long and was given up; the node is installed again at its next start"),
        (finishing, "the manager could not write in time that the node is installed"),
    ):

        @state.upon(Conversation.overtime).loop()
        def overtime(talk: Conversation, core: Core, reason: str = reason) -> None:
            core.close_overtime(talk, reason)

    @leaving.upon(Conversation.overtime).loop()
    def leaves_late(talk: Conversation, core: Core) -> None:
        core.transport.abortConnection()

    @formatting.upon(Conversation.lost).to(gone)
    def broken_off(talk: Conversation, core: Core) -> None:
        core.break_off(talk)

    for state in (greeting, deciding, finishing, leaving):

        @state.upon(Conversation.lost).to(gone)
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
        gone.upon(late).loop().returns(None)
    return builder.build()


converse: Callable[[Core], Conversation] = _build()
"""A new conversation, greeting."""
