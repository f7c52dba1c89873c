# -*- test-case-name: tests.test_editing_secrets -*-
"""
Secrets stay on the manager: a text that is shown has markers in their places, and a marker that comes back means the
secret that is in the file.

What is secret, the declarations of :mod:`piman.settings` say.  Settings of plugins, keys that nobody knows and comments
are judged by their names.  A marker tells nothing: it is keyed with bytes of this process.
"""

import hmac
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import attrs

from piman.editing import spelling
from piman.editing.lines import Line, lines_of, overlay
from piman.editing.pieces import ALIAS, LIST, MAPPING, SCALAR, NotYAML, Piece, pieces_of
from piman.settings.readers import shape_of

MARKER = re.compile(r"<secret-[0-9a-f]{8}>")

_SUSPICIOUS = re.compile(
    r"(?i)(?:.*[_-])?(?:secret|token|pass|passwd|password|passphrase|community|credentials?|webhook|url|hash|key|apikey)s?"
)
"""Names of settings that hold secrets, unless they say where a secret is: ``key_file``, ``token_env``."""
_TOLD = re.compile(r"(?P<name>[A-Za-z0-9_-]+)(?=[\"']?\s*[:=][ \t]+(?P<value>[^\s,}\]#{\[](?:[^,}\]\r\n]*[^\s,}\]])?))")
"""A setting within a comment, or in a text that cannot be taken apart."""
_ADDRESS_WITH_SECRET = re.compile(r"\w+://[^\s/@]+@\S+|\w+://\S*(?:hooks?\b|webhook)\S*")
_OPENED = re.compile(r"[|>][+-]?[0-9]?\s*$|^[\"'](?:(?![\"']).)*$")


class UnknownMarker(ValueError):
    """A marker stands for nothing that is in the file."""


@attrs.frozen
class Span:
    """A secret in a text."""

    start: int
    end: int
    value: str


@attrs.frozen
class Masked:
    """
    A text with its secrets taken out.

    :ivar lines: each line as shown, with what it stands for.
    :ivar secrets: what each marker stands for, as written, and as meant.
    """

    text: str
    lines: tuple[Line, ...]
    secrets: Mapping[str, tuple[str, str]]


class Vault:
    """
    Makes markers and digests that tell nothing.

    :param key: random bytes; with others, other markers.
    :param schema: the attrs class of the file's top.
    """

    def __init__(self, key: bytes, schema: type) -> None:
        self._key = key
        self._schema = schema

    def digest(self, content: bytes | None) -> str:
        """What tells versions of a file apart; a bare hash of a file would let its secrets be guessed."""
        return self._keyed(b"absent" if content is None else b"file:" + content)[:32]

    def _keyed(self, content: bytes) -> str:
        return hmac.new(self._key, content, "sha256").hexdigest()

    def mask(self, text: str) -> Masked:
        """A text without secrets."""
        pieces: list[str] = []
        secrets: dict[str, tuple[str, str]] = {}
        at = 0
        breaks: list[tuple[int, int]] = []
        for span in self._spans(text):
            marker = f"<secret-{self._keyed(b'secret:' + span.value.encode('utf-8', 'surrogatepass'))[:8]}>"
            source = text[span.start : span.end]
            secrets.setdefault(marker, (source, span.value))
            pieces += [text[at : span.start], marker]
            breaks.append((span.start, span.end))
            at = span.end
        masked = "".join([*pieces, text[at:]])
        return Masked(masked, tuple(_lines_behind(text, masked, breaks, pieces)), secrets)

    def restore(self, shown: str, masked: Masked) -> str:
        """
        The text that a view stands for.

        :param masked: what the view was made of.
        :raises UnknownMarker: when a marker is none of them.
        """
        text = overlay(masked.lines, shown)
        unknown = [each for each in MARKER.findall(text) if each not in masked.secrets]
        if unknown:
            raise UnknownMarker(
                f"{unknown[0]} stands for no secret of the file as it is now: type the secret, or take the page anew"
            )
        return _unmasked(text, masked.secrets)

    def _spans(self, text: str) -> list[Span]:
        try:
            top = pieces_of(text)
        except NotYAML:
            return _told_spans(text, 0, len(text), is_broken=True)
        found = {(piece.start, piece.end): piece for piece in _Search(top).section(top, self._schema)}
        spans = [Span(start, end, piece.text) for (start, end), piece in found.items() if start < end]
        spans += [span for start, end in _gaps(top, len(text)) for span in _told_spans(text, start, end)]
        spans = [_without_line_end(text, span) for span in spans]
        return sorted(spans, key=lambda span: span.start)


def _without_line_end(text: str, span: Span) -> Span:
    """A block of text ends with its last line, whose end stays outside."""
    source = text[span.start : span.end]
    return attrs.evolve(span, end=span.start + len(source.rstrip("\r\n")))


def is_suspicious(name: str) -> bool:
    """Whether a setting of this name holds a secret."""
    return bool(_SUSPICIOUS.fullmatch(name))


@attrs.frozen
class _Search:
    """Finds the scalars that are secrets."""

    top: Piece
    seen: set[tuple[int, Any]] = attrs.field(factory=set)

    def section(self, piece: Piece, kind: type) -> Iterator[Piece]:
        """Those of a section of the declarations."""
        piece = self.meant(piece)
        if piece.kind == LIST:  # a mistake, too
            yield from self.unknown(piece)
        if piece.kind != MAPPING or (piece.start, kind) in self.seen:
            return
        self.seen.add((piece.start, kind))
        fields: dict[str, attrs.Attribute[Any]] = {field.name: field for field in attrs.fields(kind)}
        secret = [name for name, field in fields.items() if field.metadata.get("secret")]
        for key, value in piece.pairs:
            field = fields.get(key.text)
            if field is None and get_close_matches(key.text, secret, n=1, cutoff=0.75):
                yield from self.scalars(value)
            elif field is None:
                yield from self.named(key.text, value)
            else:
                yield from self.declared(field, value)

    def declared(self, field: "attrs.Attribute[Any]", value: Piece) -> Iterator[Piece]:
        suffix, inner = field.metadata.get("keys", ("", None))
        shape = shape_of(field.metadata["read"])
        if inner is not None:
            listed = self.meant(value)
            for part in listed.items if suffix else (value,):
                yield from self.section(part, inner)
            if suffix and listed.kind != LIST:  # a mistake, and told as such
                yield from self.unknown(listed)
        elif field.metadata.get("secret"):
            yield from self.scalars(value)
        elif "plugin" in (shape.kind, shape.item and shape.item.kind):
            yield from self.unknown(value)

    def named(self, name: str, value: Piece) -> Iterator[Piece]:
        """A key that nobody declares: perhaps one of a plugin, perhaps misspelt."""
        if is_suspicious(name):
            yield from self.scalars(value)
        else:
            yield from self.unknown(value)

    def unknown(self, value: Piece) -> Iterator[Piece]:
        piece = self.meant(value)
        if (piece.start, None) in self.seen:
            return
        self.seen.add((piece.start, None))
        if piece.kind == SCALAR and re.search(r"\w+://[^\s/@]*@", piece.text):
            yield piece
        for item in piece.items:
            yield from self.unknown(item)
        for key, entry in piece.pairs:
            yield from self.named(key.text, entry)

    def scalars(self, value: Piece) -> Iterator[Piece]:
        piece = self.meant(value)
        if piece.kind == SCALAR:
            if not piece.is_blank:
                yield piece
        elif (piece.start, "scalars") not in self.seen:
            self.seen.add((piece.start, "scalars"))
            for part in (*piece.items, *(entry for _, entry in piece.pairs)):
                yield from self.scalars(part)

    def meant(self, piece: Piece) -> Piece:
        """What an alias stands for."""
        if piece.kind != ALIAS:
            return piece
        return next((each for each in _all(self.top) if each.anchor == piece.text), piece)


def _all(piece: Piece) -> Iterator[Piece]:
    yield piece
    for child in piece.children():
        yield from _all(child)


def _gaps(top: Piece, length: int) -> Iterator[tuple[int, int]]:
    """What is no scalar: comments, dashes, braces."""
    at = 0
    for piece in sorted((each for each in _all(top) if each.kind == SCALAR), key=lambda each: each.start):
        if piece.start > at:
            yield at, piece.start
        at = max(at, piece.end)
    if at < length:
        yield at, length


def _told_spans(text: str, start: int, end: int, *, is_broken: bool = False) -> list[Span]:
    """Secrets by their names in comments; in a text that cannot be taken apart, anywhere."""
    found: list[Span] = []
    for line in re.compile(r"[^\r\n]+").finditer(text, start, end):
        begin = line.start() if is_broken else text.find("#", line.start(), line.end())
        if begin < 0 or (found and found[-1].end > begin):
            continue
        matches = [*_TOLD.finditer(text, begin, line.end())]
        named = [(match.start("value"), match.end("value")) for match in matches if is_suspicious(match["name"])]
        places = named or [match.span() for match in _ADDRESS_WITH_SECRET.finditer(text, begin, line.end())]
        for low, high in places:
            if is_broken:
                high = _whole_value(text, low, line.end(), line.start())
            if not found or found[-1].end <= low:
                found.append(Span(low, high, text[low:high]))
    return found


def _whole_value(text: str, low: int, line_end: int, line_start: int) -> int:
    """The end of a value where nobody knows what ends it: of its line, or of the deeper lines after it."""
    high = line_end
    if not _OPENED.search(text[low:line_end].strip()):
        return high
    column = len(text[line_start:line_end]) - len(text[line_start:line_end].lstrip(" -"))
    deeper = re.compile(rf"[\r\n]+(?: {{{column + 1},}}[^\r\n]*|[ \t]*(?=[\r\n]))")
    while match := deeper.match(text, high):
        high = match.end()
    return high


def _lines_behind(text: str, masked: str, breaks: list[tuple[int, int]], pieces: list[str]) -> Iterator[Line]:
    """Each line of the masked text with the part of the text that it stands for."""
    at = shown_at = 0
    markers = iter(zip(breaks, pieces[1::2], strict=True))
    following = next(markers, None)
    for line in lines_of(masked):
        shown_end = shown_at + len(line.whole)
        end = at + len(line.whole)
        while following is not None:
            (low, high), marker = following
            if low >= end:
                break
            end += (high - low) - len(marker)
            following = next(markers, None)
        yield Line(line.shown, text[at:end])
        at, shown_at = end, shown_end


def _unmasked(text: str, secrets: Mapping[str, tuple[str, str]]) -> str:
    """Markers that stand elsewhere than they did, replaced: values by their value, others by the letters."""
    try:
        marked = [piece for piece in _all(pieces_of(text)) if piece.kind == SCALAR and piece.text in secrets]
    except NotYAML:
        marked = []
    for piece in sorted(marked, key=lambda each: -each.start):
        source, value = secrets[piece.text]
        written = spelling.scalar(value, like=piece.style, exact=True) if "\n" in source else source
        text = text[: piece.start] + written + text[piece.end :]
    return MARKER.sub(lambda found: re.sub(r"[\r\n]+", " ", secrets[found.group()][0]), text)
