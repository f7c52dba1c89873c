# -*- test-case-name: tests.test_ctl_following -*-
"""
Following the manager's stream: messages from bytes, and coming back when the manager was away.

1. WHATWG HTML, 9.2.6 Interpreting an event stream (of it what the manager sends)
"""

import json
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.task import deferLater

from piman.ctl.client import ManagerClient, NoManager, WentAway

AGAIN_SECONDS = 1.0
"""Between two attempts to reach a manager that is away: it starts in one or two seconds."""


@attrs.frozen
class Message:
    """One message of the stream."""

    kind: str
    data: Any
    id: str = ""


class Messages:
    """Messages from pieces of a stream, wherever it is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete by now."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        return [message for block in blocks if (message := _message(block)) is not None]


def _message(block: bytes) -> Message | None:
    fields: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    if "data" not in fields:
        return None
    try:
        data = json.loads(fields["data"])
    except ValueError:
        return None
    return Message(fields.get("event", "message"), data, fields.get("id", ""))


async def follow(
    client: ManagerClient,
    query: dict[str, Any],
    heard: Callable[[Message], bool],
    *,
    known: str = "",
    away: Callable[[], None],
) -> None:
    """
    Hand on every message until ``heard`` says that it is enough, through any number of ends of the manager.

    :param known: the id of the last message that is known.
    :param away: called each time that the manager is found to be away.
    :raises Refused: when the manager will not tell.
    """
    reader = _Reader(heard, known)
    while not reader.is_enough:
        try:
            await client.read("/api/v1/events/stream", query, reader.take, reader.known)
        except (NoManager, WentAway):
            pass
        if not reader.is_enough:
            away()
            reader.forget_piece()
            await deferLater(client.reactor, AGAIN_SECONDS)


class _Reader:
    def __init__(self, heard: Callable[[Message], bool], known: str) -> None:
        self.known = known
        self.is_enough = False
        self._heard = heard
        self._messages = Messages()

    def take(self, data: bytes) -> bool:
        for message in self._messages.feed(data):
            self.known = message.id or self.known
            self.is_enough = self._heard(message)
            if self.is_enough:
                break
        return self.is_enough

    def forget_piece(self) -> None:
        self._messages = Messages()
