# -*- test-case-name: tests.test_boot_images -*-
"""
What both image doors share: who is let in, what was sent, and when an image counts as delivered.

``delivered`` is on disk before anybody says it: only then the raw door ends its stream and events are emitted.
"""

from ipaddress import IPv4Address
from typing import Any, cast

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.task import LoopingCall, deferLater

from piman.boot.images import ImageFile, ImageLibrary
from piman.boot.streams import IFileTransport, listen_for_files
from piman.fleet.events import ImageInterrupted, ImageSent, ImageStarted
from piman.fleet.interfaces import IAddressBook, IEventSink
from piman.fleet.model import Intent, MACAddress
from piman.fleet.state.intents import IntentBook
from piman.host.listening import file_limit, next_descriptor
from piman.installing.room import is_too_high

_TURNS = 100
_SWEEPS = 10
"""In how many looks a stream must move on."""


class Refused(Exception):
    """The caller gets no image; the text says why."""


@attrs.frozen(kw_only=True)
class DoorSettings:
    """The knobs of a door."""

    port: int
    max_streams: int
    address: str = "0.0.0.0"
    stall_seconds: float = 300.0
    """A stream of which the node takes nothing for so long is given up."""


@attrs.frozen(kw_only=True)
class Collaborators:
    """What a door asks of the others."""

    addresses: IAddressBook
    intents: IntentBook
    images: ImageLibrary
    events: IEventSink


@attrs.define(eq=False)
class Stream:
    """One connection that carries an image, or a part of it."""

    mac: MACAddress
    transport: IFileTransport
    ending: str = ""
    """Why we ended it."""
    progress: int = -1
    looks: int = 0

    def abort(self, reason: str) -> None:
        """End it at once."""
        self.ending = self.ending or reason
        self.transport.abortConnection()

    def reason(self, problem: Exception) -> str:
        """Why it ended, in plain words."""
        return self.ending or str(problem) or type(problem).__name__

    def is_stuck(self) -> bool:
        """Count one look; whether nothing moved in too many of them."""
        progress = self.transport.progress_bytes()
        self.looks = 0 if progress != self.progress else self.looks + 1
        self.progress = progress
        return self.looks >= _SWEEPS


class Door(Service):
    """
    A service that owns a listening port and its streams.

    :ivar kind: how events name the door.
    """

    kind = ""

    def __init__(self, reactor: IReactorTCP, settings: DoorSettings, parts: Collaborators) -> None:
        self._reactor = reactor
        self.clock = IReactorTime(reactor)
        self.settings = settings
        self.parts = parts
        self.streams: set[Stream] = set()
        self._listening: IListeningPort | None = None
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = self.clock

    def factory(self) -> Any:
        """What builds the protocols of the port."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """The number of the bound port."""
        return self.settings.port if self._listening is None else cast(int, cast(Any, self._listening.getHost()).port)

    @property
    def sent_bytes(self) -> int:
        """Bytes of images that the kernel took so far."""
        return int(getattr(self._listening, "sent_bytes", 0))

    def privilegedStartService(self) -> None:
        """Bind; a taken port raises CannotListenError."""
        self._listening = listen_for_files(self._reactor, self.settings.port, self.factory(), self.settings.address)

    def startService(self) -> None:
        """Begin to watch for streams that do not move."""
        super().startService()
        if self._listening is None:
            self.privilegedStartService()
        self._sweeping.start(self.settings.stall_seconds / _SWEEPS, now=False)

    def stopService(self) -> "Deferred[None]":
        """Close the port and all streams."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._sweeping.running:
            self._sweeping.stop()
        listening, self._listening = self._listening, None
        if listening is not None and (closing := listening.stopListening()) is not None:
            await closing
        for stream in tuple(self.streams):
            stream.abort("the manager stops")
        # Connections that are aborted say so one turn of the reactor later.
        for _ in range(_TURNS):
            if not self.streams:
                return
            await deferLater(self.clock, 0.01)

    def _sweep(self) -> None:
        for stream in tuple(self.streams):
            if stream.is_stuck():
                stream.abort(f"the node took nothing for {self.settings.stall_seconds:.0f} seconds")

    # What happened

    def has_descriptors(self, address: str) -> bool:
        """Whether one more connection leaves enough to the rest of the manager; nodes get more than strangers."""
        is_stranger = self.parts.addresses.holder_of(IPv4Address(address)) is None
        return not is_too_high(next_descriptor(), file_limit(), is_stranger=is_stranger)

    def caller(self, address: str) -> MACAddress:
        """
        The board behind an address.

        :raises Refused: nobody has it.
        """
        mac = self.parts.addresses.holder_of(IPv4Address(address))
        if mac is None:
            raise Refused(f"{address} was not given out by this manager")
        return mac

    async def open(self, intent: Intent) -> ImageFile:
        """
        Open the image of an intent, as it was ordered.

        :raises Refused: it has another content by now.
        """
        image = await self.parts.images.image(intent.image)
        if image.digest != intent.digest:
            raise Refused(f"image {intent.image} is another one than was ordered")
        return self.parts.images.open(image)

    def started(self, intent: Intent) -> None:
        """The node began to fetch: this attempt counts."""
        self.parts.intents.image_began(intent)
        self.parts.events.emit(ImageStarted(mac=intent.mac, intent=intent.id, door=self.kind))

    async def delivered(self, intent: Intent, size_bytes: int, began: float) -> None:
        """Every byte is with the node: make that durable, then say so."""
        await self.parts.intents.deliver(intent)
        seconds = self.clock.seconds() - began
        sent = ImageSent(mac=intent.mac, intent=intent.id, door=self.kind, bytes=size_bytes, seconds=seconds)
        self.parts.events.emit(sent)

    def interrupted(self, intent: Intent, sent_bytes: int, reason: str) -> None:
        """The stream ended before the image did."""
        broken = ImageInterrupted(
            mac=intent.mac, intent=intent.id, door=self.kind, sent_bytes=sent_bytes, reason=reason
        )
        self.parts.events.emit(broken)
