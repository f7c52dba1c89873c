# -*- test-case-name: tests.test_hello -*-
"""
The words of a conversation with an installer: who calls, what it says of its card, what can happen, who is asked.

Values and interfaces only.  :mod:`piman.installing.conversation` says when, :mod:`piman.installing.installer` what.
"""

from ipaddress import IPv4Address
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.fleet.interfaces import IEventSink, IImages, INodeDirectory
from piman.fleet.model import Image, Intent, MACAddress
from piman.fleet.state.intents import IntentBook


@attrs.frozen(kw_only=True)
class Limits:
    """How long each part of a conversation may take, in seconds."""

    greeting_seconds: float = 120.0
    """Until the node has said what is on its card."""
    stranger_seconds: float = 30.0
    """The same for a caller that is none of the operator's nodes."""
    format_seconds: float = 1800.0
    """From ``format`` to the end; the node is silent while it unpacks."""
    leaving_seconds: float = 60.0
    """From ``boot`` until the node closes."""


@attrs.frozen(kw_only=True)
class Card:
    """What a node said of its card."""

    installed: bool
    text: str
    """In its own words."""
    mac: bytes | None = None
    serial: str | None = None
    digest: str = ""
    token: str = ""


@attrs.frozen(kw_only=True)
class Caller:
    """Who is at the other end."""

    address: IPv4Address
    mac: MACAddress | None = None
    """The operator's node that calls; None: nobody we may format."""
    reason: str = ""
    """Why it is nobody."""


class Desk(Protocol):
    """What a conversation asks of the service that holds it."""

    clock: IReactorTime
    events: IEventSink
    nodes: INodeDirectory
    intents: IntentBook
    images: IImages
    limits: Limits

    def identify(self, address: IPv4Address) -> Caller:
        """Who calls from this address, as of now."""

    def unknown(self, caller: Caller) -> None:
        """A caller that is nobody said what is on its card."""

    def image_url(self, local: str, intent: Intent) -> str:
        """Where a version 2 node fetches the image of its intent."""

    def expect_up(self, mac: MACAddress) -> None:
        """The node boots its card and its conversation is over."""


# What can happen


class Conversation(Protocol):
    """What can happen in a conversation with a node."""

    def card_seen(self, card: Card) -> None:
        """The node said what is on its card."""

    def formatted(self, digest: str, text: str) -> None:
        """``IS_FORMATTED``; the digest is empty in version 1."""

    def mounted(self, text: str) -> None:
        """``FINISHED_MOUNTING``."""

    def clock_taken(self, text: str) -> None:
        """The node set its clock."""

    def boot_taken(self, text: str) -> None:
        """``RECEIVED_BOOT``."""

    def format_taken(self, text: str) -> None:
        """``RECEIVED_FORMAT`` or ``FORMATTING``."""

    def never_said(self, text: str) -> None:
        """A word that no state of ours allows."""

    def reported(self, text: str, fraction: float | None) -> None:
        """The node told of its work."""

    def stumbled(self, reason: str, code: str) -> None:
        """The node said that something went wrong; the code says what kind of thing, if it is known."""

    def boot_ordered(self) -> None:
        """We decided: boot."""

    def format_ordered(self, intent: Intent, image: Image) -> None:
        """We decided: format; the intent is durably ordered."""

    def resumed(self, intent: Intent) -> None:
        """The node is at work for this intent already."""

    def finished(self) -> None:
        """We concluded: the image is on the card."""

    def retry(self, reason: str, fatal: bool) -> None:
        """Version 2: it did not work and the node waits for what to do."""

    def turned_away(self, reason: str) -> None:
        """We decided: nothing to be done for it."""

    def overtime(self) -> None:
        """The limit of this state passed."""

    def lost(self) -> None:
        """The connection is gone."""
