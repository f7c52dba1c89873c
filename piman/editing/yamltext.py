# -*- test-case-name: tests.test_editing_yamltext -*-
"""
A YAML text that is changed value by value: each edit replaces, inserts or cuts the characters of that value.

Comments, order, quotes, indentation, line ends and everything else stay as they are.  Every edit is proved before it
counts: the new text is taken apart again and must mean the old one with that value changed, else
:class:`CannotEdit`.  docs/decisions/editing.md
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import attrs

from piman.editing import spelling
from piman.editing.pieces import (
    ALIAS,
    JSON,
    LIST,
    MAPPING,
    SCALAR,
    New,
    NotYAML,
    Piece,
    agrees,
    is_value,
    meaning_of,
    pieces_of,
)
from piman.editing.places import CannotEdit, Places

Step = str | int
Path = tuple[Step, ...]

Spelling = Callable[[Path, str], str]
"""The key that is meant by a key as written, in the mapping at a path."""


class NoSuchPlace(CannotEdit):
    """The path leads nowhere."""


def path_text(path: Sequence[Step]) -> str:
    """A path as problems name it: ``switches[0].name``."""
    found = ""
    for step in path:
        found += f"[{step}]" if isinstance(step, int) else f".{step}" if found else step
    return found


def _as_written(path: Path, name: str) -> str:
    return name


@attrs.frozen
class YAMLText:
    """
    A text, and changes of it; each change gives a new one.

    :param spelling: which key a key as written means.
    :param exact: whether texts at a path stay texts, though they look like numbers: settings of plugins.
    """

    text: str
    spelling: Spelling = _as_written
    exact: Callable[[Path], bool] = lambda path: False
    _top: "Piece | None" = attrs.field(default=None, eq=False, repr=False)

    @property
    def top(self) -> Piece:
        """
        The piece at the top.

        :raises NotYAML: when the text is none.
        """
        return self._top or pieces_of(self.text)

    @property
    def places(self) -> Places:
        """Where what begins and ends in it."""
        return Places(self.text)

    # Finding

    def walk(self, path: Path) -> Iterator[Piece]:
        """
        The pieces on the way, the top first; an alias ends the way.

        :raises NoSuchPlace: when the path leads nowhere.
        """
        found = self.top
        yield found
        for index, step in enumerate(path):
            found = self._child(found, path[:index], step)
            yield found

    def find(self, path: Path) -> Piece:
        """
        The piece at a path.

        :raises NoSuchPlace: when there is none.
        """
        *_, found = self.walk(path)
        return found

    def has(self, path: Path) -> bool:
        """Whether something stands there, if only a key with nothing behind it."""
        try:
            self.find(path)
        except NoSuchPlace:
            return False
        return True

    def _child(self, piece: Piece, at: Path, step: Step) -> Piece:
        if isinstance(step, int):
            if piece.kind == LIST and 0 <= step < len(piece.items):
                return piece.items[step]
        elif piece.kind == MAPPING:
            for key, value in piece.pairs:
                if key.kind == SCALAR and self.spelling(at, key.text) == step:
                    return value
        if piece.kind == ALIAS:
            raise CannotEdit(f"{path_text(at)} is *{piece.text}, written elsewhere: change it in the text")
        raise NoSuchPlace(f"there is no {path_text((*at, step))}")

    def _key_index(self, piece: Piece, at: Path, step: Step) -> int:
        if isinstance(step, int):
            return step
        return next(
            index
            for index, (key, _) in enumerate(piece.pairs)
            if key.kind == SCALAR and self.spelling(at, key.text) == step
        )

    # Changing

    def set(self, path: Path, value: JSON) -> "YAMLText":
        """
        Put a value there; lists and mappings keep the elements that stay.

        :raises CannotEdit: when that cannot be done without touching something else.
        """
        here = self._existing(path)
        if len(here) < len(path):
            return self._grow(path, len(here), value)
        piece = self.find(path)
        self._check_unshared(path)
        if isinstance(value, list | tuple) and piece.kind == LIST:
            return self._adjust_list(path, piece, list(value))
        if isinstance(value, Mapping) and piece.kind == MAPPING:
            return self._adjust_mapping(path, piece, value)
        if not isinstance(value, Mapping | list | tuple):
            return self._replace_by_scalar(path, piece, value)
        return self._replace_by_collection(path, piece, value)

    def unset(self, path: Path) -> "YAMLText":
        """
        Take a key or an element away; a mapping that is left without any goes, too.

        :raises CannotEdit: when that cannot be done without touching something else.
        """
        *_, parent, piece = self.walk(path)
        self._check_unshared(path)
        if self._is_lone(path, parent):
            return self.unset(path[:-1])
        index = self._key_index(parent, path[:-1], path[-1])
        cut = self.places.cut_flow if parent.flow else self.places.cut_block
        start, end = cut(parent, index, piece)
        expected = self._expecting(path[:-1], lambda parts: [*parts[:index], *parts[index + 1 :]])
        return self._spliced(start, end, "", expected, path)

    def add(self, path: Path, value: JSON, index: int | None = None) -> "YAMLText":
        """
        Put an element into a list, at its end or before the element of that index; without the list, make it.

        :raises CannotEdit: when that cannot be done without touching something else.
        """
        if not self.has(path) or self.find(path).is_blank:
            return self.set(path, [value])
        self._check_unshared(path)
        piece = self.find(path)
        if piece.kind != LIST:
            raise CannotEdit(f"{path_text(path)} is no list: change it in the text")
        at = len(piece.items) if index is None else index
        return self._insert_item(path, piece, at, value)

    # How

    def _existing(self, path: Path) -> Path:
        """As much of a path as there is and is not blank on the way."""
        piece = self.top
        for index, step in enumerate(path):
            if piece.is_blank:
                return path[:index]
            try:
                piece = self._child(piece, path[:index], step)
            except NoSuchPlace:
                return path[:index]
        return path

    def _grow(self, path: Path, known: int, value: JSON) -> "YAMLText":
        """Make what is missing on the way to a value."""
        step = path[known]
        for inner in reversed(path[known + 1 :]):
            if isinstance(inner, int) and inner != 0:
                raise NoSuchPlace(f"there is no {path_text(path)}")
            value = [value] if isinstance(inner, int) else {inner: value}
        self._check_unshared(path[:known])
        parent = self.find(path[:known])
        if isinstance(step, int):
            if step != (len(parent.items) if parent.kind == LIST else 0):
                raise NoSuchPlace(f"there is no {path_text(path)}")
            return self.add(path[:known], value)
        if parent.is_blank:
            return self._replace_by_collection(path[:known], parent, {step: value})
        if parent.kind != MAPPING:
            raise CannotEdit(f"{path_text(path[:known]) or 'the file'} is no mapping: change it in the text")
        return self._insert_key(path[:known], parent, step, value)

    def _check_unshared(self, path: Path) -> None:
        """A value that others repeat by its anchor is not changed behind their back."""
        named = {each.text for each in _all(self.top) if each.kind == ALIAS}
        for piece in (*self.walk(path), *_all(self.find(path))):
            if piece.kind == ALIAS or piece.anchor in named:
                name = piece.anchor or piece.text
                raise CannotEdit(f"{path_text(path)} is shared with others (&{name}): change it in the text")

    def _replace_by_scalar(self, path: Path, piece: Piece, value: JSON) -> "YAMLText":
        if is_value(piece, value) and (piece.style or not self.exact(path)):
            return self
        written = spelling.scalar(value, like=piece.style, exact=self.exact(path))
        start, end = piece.start, piece.end
        if piece.kind != SCALAR and not piece.flow:
            raise CannotEdit(f"{path_text(path)} is a {piece.kind} on lines of its own: change it in the text")
        if piece.style in ("|", ">"):
            end = start + len(self.text[start:end].rstrip("\r\n"))
        if start == end and self.text[start - 1 : start] not in (" ", "\t", ""):
            written = f" {written}"
        if start == end and self.text[end : end + 1] not in ("", "\r", "\n", " ", "\t", ",", "}", "]"):
            written += " "
        return self._spliced(start, end, written, self._putting(path, value), path)

    def _replace_by_collection(self, path: Path, piece: Piece, value: JSON) -> "YAMLText":
        """Where there was nothing: lines of its own, unless braces are around it."""
        exact, expected = self.exact(path), self._putting(path, value)
        if not path:
            return self._begin(value)
        is_within_flow = any(each.flow for each in self.walk(path[:-1]))
        if not piece.is_blank or piece.start != piece.end or is_within_flow or not value or isinstance(path[-1], int):
            if piece.kind != SCALAR and not piece.flow:
                raise CannotEdit(f"{path_text(path)} is a {piece.kind} on lines of its own: change it in the text")
            written = spelling.flow(value, exact=exact)
            space = " " if piece.start == piece.end else ""
            return self._spliced(piece.start, piece.end, space + written, expected, path)
        column = self._column_of_key(path) + spelling.STEP
        at = self.places.after_comments(self.places.line_after(piece.end), column)
        return self._spliced(
            at, at, self.places.whole_lines(spelling.block(value, column, exact=exact), at), expected, path
        )

    def _begin(self, value: JSON) -> "YAMLText":
        """The first lines of a text that says nothing."""
        at = self.places.end_of_content()
        return self._spliced(at, at, self.places.whole_lines(spelling.block(value, 0), at), New(value), ())

    def _insert_key(self, path: Path, parent: Piece, name: str, value: JSON) -> "YAMLText":
        exact = self.exact((*path, name))
        expected = self._expecting(path, lambda parts: [*parts, [New(name), New(value)]])
        if parent.flow:
            written = f"{spelling.key(name)}: {spelling.flow(value, exact=exact)}"
            return self._insert_flow(parent, written, expected, path)
        column = self.places.column(parent.pairs[0][0].start)
        at = self.places.line_after(parent.end)
        at = self.places.after_comments(at, column) if path else self.places.end_of_content(at)
        lines = spelling.block({name: value}, column, exact=exact)
        return self._spliced(at, at, self.places.whole_lines(lines, at), expected, (*path, name))

    def _insert_item(self, path: Path, parent: Piece, index: int, value: JSON) -> "YAMLText":
        exact = self.exact((*path, index))
        expected = self._expecting(path, lambda parts: [*parts[:index], New(value), *parts[index:]])
        if parent.flow:
            return self._insert_flow(parent, spelling.flow(value, exact=exact), expected, path, index)
        column = self.places.column(self.places.dash(parent, 0))
        at = self._after_item(parent, index, column) if index else self.places.line_before(self.places.dash(parent, 0))
        return self._spliced(
            at, at, self.places.whole_lines(spelling.block([value], column, exact=exact), at), expected, path
        )

    def _after_item(self, parent: Piece, index: int, column: int) -> int:
        at = self.places.line_after(parent.items[index - 1].end)
        return self.places.after_comments(at, column) if column and index == len(parent.items) else at

    def _insert_flow(
        self, parent: Piece, written: str, expected: Any, path: Path, index: int | None = None
    ) -> "YAMLText":
        parts = [value for _, value in parent.pairs] if parent.kind == MAPPING else list(parent.items)
        if not parts:
            return self._spliced(parent.start + 1, parent.start + 1, written, expected, path)
        if index is not None and index < len(parts):
            at = parts[index].start
            return self._spliced(at, at, f"{written}, ", expected, path)
        return self._spliced(parts[-1].end, parts[-1].end, f", {written}", expected, path)

    def _adjust_list(self, path: Path, piece: Piece, wanted: list[JSON]) -> "YAMLText":
        """The elements that stay, stay where they are."""
        found = self
        before = [_sign(item) for item in piece.items]
        after = [_sign(item) for item in wanted]
        for what, low, high, first, last in reversed(SequenceMatcher(None, before, after, False).get_opcodes()):
            if what == "equal":
                continue
            common = min(high - low, last - first)
            for index in reversed(range(low + common, high)):
                found = found.unset((*path, index))
            for offset in range(common):
                found = found.set((*path, low + offset), wanted[first + offset])
            for offset in range(common, last - first):
                found = found.add(path, wanted[first + offset], low + offset)
        return found

    def _adjust_mapping(self, path: Path, piece: Piece, wanted: Mapping[str, JSON]) -> "YAMLText":
        found, names = self, [self.spelling(path, key.text) for key, _ in piece.pairs]
        for name, value in wanted.items():
            if str(name) not in names or not _is_same(found.find((*path, str(name))), value):
                found = found.set((*path, str(name)), value)
        for name in reversed(names):
            if name not in map(str, wanted):
                found = found.unset((*path, name))
        return found

    def _column_of_key(self, path: Path) -> int:
        *_, parent, _ = self.walk(path)
        index = self._key_index(parent, path[:-1], path[-1])
        return self.places.column(parent.pairs[index][0].start)

    def _is_lone(self, path: Path, parent: Piece) -> bool:
        """Whether a key is the only one of a section that has no comment, either."""
        if len(parent.pairs) != 1 or len(path) < 2 or not isinstance(path[-2], str):
            return False
        outer = self.find(path[:-2])
        section, _ = outer.pairs[self._key_index(outer, path[:-2], path[-2])]
        return "#" not in self.text[section.end : self.places.line_after(parent.end)]

    # Proof

    def _putting(self, path: Path, value: JSON) -> Any:
        if not path:
            return New(value)
        step = path[-1]

        def put(parts: list[Any]) -> list[Any]:
            index = self._key_index(self.find(path[:-1]), path[:-1], step)
            entry = [parts[index][0], New(value)] if isinstance(step, str) else New(value)
            return [*parts[:index], entry, *parts[index + 1 :]]

        return self._expecting(path[:-1], put)

    def _expecting(self, path: Path, change: Callable[[list[Any]], list[Any]]) -> Any:
        """What the text is to mean when the parts of the collection at a path have changed."""
        top = meaning_of(self.top)
        here, piece = top, self.top
        for index, step in enumerate(path):
            at = self._key_index(piece, path[:index], step)
            here = here[2][at][1] if isinstance(step, str) else here[2][at]
            piece = self._child(piece, path[:index], step)
        here[2] = change(here[2])
        return top

    def _spliced(self, start: int, end: int, written: str, expected: Any, path: Path) -> "YAMLText":
        """
        The text with some characters replaced.

        :raises CannotEdit: when it would mean something else than expected.
        """
        text = self.text[:start] + written + self.text[end:]
        try:
            top = pieces_of(text)
        except NotYAML:
            top = None
        if top is None or not agrees(expected, top):
            raise CannotEdit(f"{path_text(path)} is written in a way that is left alone: change it in the text")
        return attrs.evolve(self, text=text, top=top)


def _all(piece: Piece) -> Iterator[Piece]:
    yield piece
    for child in piece.children():
        yield from _all(child)


def _sign(value: Any) -> str:
    """What tells elements of a list apart: pieces and values that say the same have the same."""
    if isinstance(value, Piece):
        return value.text if value.kind == SCALAR else f"from {value.start}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_same(piece: Piece, value: JSON) -> bool:
    return piece.kind == SCALAR and not isinstance(value, Mapping | list | tuple) and _sign(piece) == _sign(value)
