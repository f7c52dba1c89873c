# -*- test-case-name: tests.test_wire_hello -*-
"""
The words of the hello protocol, versions 1 and 2.

A line from a node becomes one frozen message; only whole stripped lines count, never substrings, because the shell
trace of the node (``+ echo IS_INSTALLED``) arrives on the same stream.  Specification: docs/protocols/hello.md.
"""

import json
import re
from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

from piman.wire.layout import MalformedDatagram

LINE_BYTES = 65536
"""The longest line that a node may send."""
_TEXT_CHARACTERS = 500
"""How much of a node's free text is kept."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SERIAL = re.compile(r"[0-9a-f]{1,16}")
_CODE = re.compile(r"[a-z][a-z-]{0,31}")

BOOT_1 = b"boot\nEOM\n"
FORMAT_1 = b"format\nEOM\n"
WELCOME = b"WELCOME 2\n"
BOOT_2 = b"BOOT\n"
CONTINUE = b"CONTINUE\n"


class Word(Enum):
    """What a line of version 1 means, whatever its spelling."""

    GREETING = "Hello World"
    AT_WORK = "at work"
    """Steps worth showing: the report's text says which."""
    IS_INSTALLED = "IS_INSTALLED"
    IS_UNINSTALLED = "IS_UNINSTALLED"
    IS_FORMATTED = "IS_FORMATTED"
    MOUNTED = "FINISHED_MOUNTING"
    TOOK_DATE = "RECEIVED_DATE"
    TOOK_BOOT = "RECEIVED_BOOT"
    TOOK_FORMAT = "RECEIVED_FORMAT"
    TOOK_REINSTALL = "RECEIVED_REINSTALL"


WORDS: dict[str, Word] = {
    "Hello World": Word.GREETING,
    "MAKING NODES": Word.GREETING,
    "MADE NODES": Word.GREETING,
    "CHECKING IF INSTALLED": Word.GREETING,
    "IS_INSTALLED": Word.IS_INSTALLED,
    "IS_UNINSTALLED": Word.IS_UNINSTALLED,
    "IS_FORMATTED": Word.IS_FORMATTED,
    "RECEIVED_DATE": Word.TOOK_DATE,
    "RECEIVED DATE": Word.TOOK_DATE,  # images before 2020-11
    "SET_DATE": Word.TOOK_DATE,
    "RECEIVED_BOOT": Word.TOOK_BOOT,
    "RECIEVED BOOT": Word.TOOK_BOOT,  # images before 2020-11
    "RECEIVED BOOT": Word.TOOK_BOOT,
    "RECIEVED_BOOT": Word.TOOK_BOOT,
    "RECEIVED_FORMAT": Word.TOOK_FORMAT,
    "RECEIVED FORMAT": Word.TOOK_FORMAT,
    "FORMATTING": Word.TOOK_FORMAT,  # the only answer to format before 2020-11
    "RECEIVED_REINSTALL": Word.TOOK_REINSTALL,
    "FINISHED FORMATTING": Word.AT_WORK,
    "FINISHED_FORMATTING": Word.AT_WORK,
    "MOUNTING": Word.AT_WORK,
    "FINISHED_MOUNTING": Word.MOUNTED,
    "FINISHED MOUNTING": Word.MOUNTED,  # images before 2020-11
    "UNMOUNTING": Word.AT_WORK,
    "FINISHED_UNMOUNTING": Word.AT_WORK,
    "FINISHED UNMOUNTING": Word.AT_WORK,  # images before 2020-11
}
"""Every whole line of version 1 that means something."""

_SORRY = "Sorry don't know how to do "
_ECHOES = ("EOM", "boot", "format")
_DATE = "busybox date -s "


@attrs.frozen
class Said:
    """A word of version 1."""

    word: Word
    text: str
    """The line as the node spelt it."""


@attrs.frozen
class Sorry:
    """Version 1: the node does not know a command."""

    command: str


@attrs.frozen
class Noise:
    """A line that means nothing to the protocol."""

    text: str
    is_trace: bool
    """Shell trace, an echo of our command or an empty line: of no use to anybody."""


@attrs.frozen(kw_only=True)
class Hello:
    """Version 2: who calls and what is on the card."""

    mac: bytes
    installed: bool
    serial: str = ""
    """Lower-case hexadecimal, or empty."""
    model: str = ""
    card_bytes: int = 0
    digest: str = ""
    token: str = ""

    def to_wire(self) -> bytes:
        """The line that a node sends."""
        fields = {
            "mac": self.mac.hex(":"),
            "serial": self.serial,
            "model": self.model,
            "card_bytes": self.card_bytes,
            "installed": self.installed,
            "digest": self.digest,
        }
        if self.token:
            fields["token"] = self.token
        return _line("HELLO 2", fields)


@attrs.frozen
class ClockTaken:
    """Version 2: the node set its clock."""

    def to_wire(self) -> bytes:
        """The line that a node sends."""
        return b"CLOCK_SET\n"


@attrs.frozen(kw_only=True)
class Progress:
    """Version 2: how far the work is."""

    step: str
    fraction: float | None = None
    text: str = ""

    def to_wire(self) -> bytes:
        """The line that a node sends."""
        return _line("PROGRESS", {"step": self.step, "fraction": self.fraction, "text": self.text})


@attrs.frozen(kw_only=True)
class Failed:
    """Version 2: the node cannot go on."""

    reason: str
    fatal: bool = False
    code: str = ""
    """What kind of trouble, for programs: one of docs/protocols/hello.md; empty: of an older installer."""

    def to_wire(self) -> bytes:
        """The line that a node sends."""
        fields = {"reason": self.reason, "fatal": self.fatal}
        return _line("FAILED", {"code": self.code, **fields} if self.code else fields)


@attrs.frozen(kw_only=True)
class Formatted:
    """Version 2: the image is on the card; ``sha256`` is what the node computed, or empty."""

    sha256: str = ""

    def to_wire(self) -> bytes:
        """The line that a node sends."""
        return _line("IS_FORMATTED", {"sha256": self.sha256})


@attrs.frozen(kw_only=True)
class FormatOrder:
    """Version 2, from the manager: fetch this image and put it on the card."""

    url: str
    sha256: str
    size: int
    image: str

    def to_wire(self) -> bytes:
        """The line that the manager sends: flat, keys in this order, nothing escaped, so that sed can read it."""
        return _line("FORMAT", {"url": self.url, "sha256": self.sha256, "size": self.size, "image": self.image})

    @classmethod
    def from_wire(cls, line: bytes) -> "FormatOrder":
        """
        Read a FORMAT line, as a node does.

        :raises MalformedDatagram: when it is anything else.
        """
        word, _, tail = line.strip().decode("utf-8", "replace").partition(" ")
        if word != "FORMAT":
            raise MalformedDatagram(f"{word[:40]!r}, FORMAT expected")
        fields = _fields(tail)
        return cls(
            url=_text(fields, "url"),
            sha256=_text(fields, "sha256"),
            size=_number(fields, "size"),
            image=_text(fields, "image"),
        )


Message1 = Said | Sorry | Noise
Message2 = Hello | ClockTaken | Progress | Failed | Formatted | Noise


def date_command(date: str) -> bytes:
    """
    The first words of the manager in both versions.

    :param date: UTC, as ``strftime`` gives it for ``%Y%m%d%H%M.%S``.
    """
    return f"{_DATE}{date}\nEOM\n".encode("ascii")


def from_wire_1(line: bytes) -> Message1:
    """What a line of a version 1 node means; never fails."""
    text = _stripped(line)
    if (word := WORDS.get(text)) is not None:
        return Said(word, text)
    if text.startswith(_SORRY):
        return Sorry(text.removeprefix(_SORRY)[:_TEXT_CHARACTERS])
    is_trace = not text or text.startswith("+") or text in _ECHOES or text.startswith(_DATE)
    return Noise(text[:_TEXT_CHARACTERS], is_trace)


def from_wire_2(line: bytes) -> Message2:
    """
    What a line of a version 2 node means; unknown words are :class:`Noise`.

    :raises MalformedDatagram: when a known word has a body that does not follow the specification.
    """
    text = _stripped(line)
    for word, read in _READERS.items():
        if text == word or text.startswith(word + " "):
            return read(_fields(text.removeprefix(word)))
    return Noise(text[:_TEXT_CHARACTERS], not text)


def is_version_2(line: bytes) -> bool:
    """Whether the very first line of a node chooses version 2."""
    try:
        return isinstance(from_wire_2(line), Hello)
    except MalformedDatagram:
        return False


def problem_of_hello(line: bytes) -> str:
    """What is wrong with a very first line that wants to be a HELLO; empty: nothing, or it wants to be none."""
    if not _stripped(line).startswith("HELLO"):
        return ""
    try:
        message = from_wire_2(line)
    except MalformedDatagram as reason:
        return str(reason)
    return "" if isinstance(message, Hello) else "it does not begin with HELLO 2"


def _hello(fields: dict[str, Any]) -> Hello:
    mac = _text(fields, "mac").lower()
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
        raise MalformedDatagram(f"{mac[:40]!r} is not a MAC address")
    serial = _text(fields, "serial", "").lower().removeprefix("0x")
    digest = _text(fields, "digest", "").lower()
    return Hello(
        mac=bytes.fromhex(mac.replace(":", "")),
        installed=_flag(fields, "installed"),
        serial=serial if _SERIAL.fullmatch(serial) else "",
        model=_text(fields, "model", ""),
        card_bytes=_number(fields, "card_bytes", 0),
        digest=digest if _DIGEST.fullmatch(digest) else "",
        token=_text(fields, "token", ""),
    )


def _progress(fields: dict[str, Any]) -> Progress:
    fraction = fields.get("fraction")
    if fraction is not None and (isinstance(fraction, bool) or not isinstance(fraction, int | float)):
        raise MalformedDatagram("fraction is not a number")
    if fraction is not None and not 0 <= fraction <= 1:
        raise MalformedDatagram("fraction is not between 0 and 1")
    known = None if fraction is None else float(fraction)
    return Progress(step=_text(fields, "step"), fraction=known, text=_text(fields, "text", ""))


def _formatted(fields: dict[str, Any]) -> Formatted:
    return Formatted(sha256=_text(fields, "sha256", "").lower())


def _failed(fields: dict[str, Any]) -> Failed:
    code = _text(fields, "code", "")
    return Failed(
        reason=_text(fields, "reason", ""),
        fatal=_flag(fields, "fatal", False),
        code=code if _CODE.fullmatch(code) else "",
    )


def _clock_taken(fields: dict[str, Any]) -> ClockTaken:
    return ClockTaken()


_READERS: dict[str, Callable[[dict[str, Any]], "Message2"]] = {
    "HELLO 2": _hello,
    "CLOCK_SET": _clock_taken,
    "PROGRESS": _progress,
    "FAILED": _failed,
    "IS_FORMATTED": _formatted,
}


def _stripped(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


def _line(word: str, fields: dict[str, Any]) -> bytes:
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return f"{word} {body}\n".encode()


def _fields(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedDatagram("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise MalformedDatagram("the body is not a JSON object")
    return fields


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise MalformedDatagram(f"{name} is not a text")
    # JSON can spell half a surrogate pair, which no file or socket takes later.
    return value[:_TEXT_CHARACTERS].encode("utf-8", "replace").decode()


def _number(fields: dict[str, Any], name: str, default: int | None = None) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise MalformedDatagram(f"{name} is not a whole number")
    return value


def _flag(fields: dict[str, Any], name: str, default: bool | None = None) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise MalformedDatagram(f"{name} is neither true nor false")
    return value
