# -*- test-case-name: tests.test_hello -*-
"""
What a node's lines mean to the machine of its conversation: one function for each version of the protocol.
"""

from piman.installing.words import Card, Conversation
from piman.wire import hello as wire


def hear_1(talk: Conversation, message: wire.Message1) -> None:
    """Pass a message of version 1 to the conversation."""
    match message:
        case wire.Said(wire.Word.IS_INSTALLED, text):
            talk.card_seen(Card(installed=True, text=text))
        case wire.Said(wire.Word.IS_UNINSTALLED, text):
            talk.card_seen(Card(installed=False, text=text))
        case wire.Said(wire.Word.IS_FORMATTED, text):
            talk.formatted("", text)
        case wire.Said(wire.Word.MOUNTED, text):
            talk.mounted(text)
        case wire.Said(wire.Word.TOOK_DATE, text):
            talk.clock_taken(text)
        case wire.Said(wire.Word.TOOK_BOOT, text):
            talk.boot_taken(text)
        case wire.Said(wire.Word.TOOK_FORMAT, text):
            talk.format_taken(text)
        case wire.Said(wire.Word.TOOK_REINSTALL, text):
            talk.never_said(text)
        case wire.Said(wire.Word.AT_WORK, text) | wire.Noise(text, False):
            talk.reported(text, None)
        case wire.Sorry("boot" | "format" as command):
            talk.stumbled(f"the installer does not know the command {command}", "installer-old")


def hear_2(talk: Conversation, message: wire.Message2) -> None:
    """Pass a message of version 2 to the conversation."""
    match message:
        case wire.Hello():
            talk.card_seen(card_of(message))
        case wire.ClockTaken():
            talk.clock_taken("CLOCK_SET")
        case wire.Progress(step=step, fraction=fraction, text=text):
            talk.reported(f"{step}: {text}" if text else step, fraction)
        case wire.Failed(reason=reason, fatal=fatal, code=code):
            talk.stumbled(reason, code)
            talk.retry(reason, fatal)
        case wire.Formatted(sha256=digest):
            talk.formatted(digest, "IS_FORMATTED")
        case wire.Noise(text, False):
            talk.never_said(text)


def card_of(hello: wire.Hello) -> Card:
    """What a HELLO says of the card."""
    text = "HELLO, installed" if hello.installed else "HELLO, not installed"
    return Card(
        installed=hello.installed,
        text=text,
        mac=hello.mac,
        serial=hello.serial.zfill(8)[-8:] if hello.serial else None,
        digest=hello.digest,
        token=hello.token,
    )
