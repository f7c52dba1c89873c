# -*- test-case-name: tests.test_editing_yamltext -*-
"""
Where in a YAML text something begins and ends that no parser tells: lines, dashes, commas, the comments that belong to
what stands before them.
"""

import re
from collections.abc import Sequence

import attrs

from piman.editing.pieces import LIST, MAPPING, Piece

LINE_END = re.compile(r"\r\n|\n|\r")


class CannotEdit(ValueError):
    """The value cannot be changed by itself; the text says why.  In the text, it can."""


@attrs.frozen
class Places:
    """Places of a text."""

    text: str

    @property
    def newline(self) -> str:
        """What ends the lines: what ends the first one."""
        found = LINE_END.search(self.text)
        return found.group() if found else "\n"

    def line_after(self, at: int) -> int:
        """Where the line after the one with a place begins, or the end of the text."""
        if at and self.text[at - 1] in "\r\n":
            return at
        found = LINE_END.search(self.text, at)
        return found.end() if found else len(self.text)

    def line_before(self, at: int) -> int:
        """Where the line of a place begins."""
        return max(self.text.rfind("\n", 0, at), self.text.rfind("\r", 0, at)) + 1

    def column(self, at: int) -> int:
        """How far from the beginning of its line a place is."""
        return at - self.line_before(at)

    def after_comments(self, at: int, column: int) -> int:
        """Past the comments that belong to what stands before: not less indented, no line between."""
        comment = re.compile(rf" {{{column},}}#[^\r\n]*(?:\r\n|\n|\r|$)")
        while found := comment.match(self.text, at):
            at = found.end()
        return at

    def end_of_content(self, at: int = 0) -> int:
        """The end of the text, or of its document where ``...`` says so."""
        found = re.compile(r"^(?:\.\.\.)(?=\s|$)", re.M).search(self.text, at)
        return found.start() if found else len(self.text)

    def whole_lines(self, lines: Sequence[str], at: int) -> str:
        """Whole lines, to be put where a line begins or a text ends without a line end."""
        written = "".join(f"{line}{self.newline}" for line in lines)
        is_begun = at > 0 and self.text[at - 1] not in "\r\n"
        return f"{self.newline}{written.removesuffix(self.newline)}" if is_begun else written

    def dash(self, parent: Piece, index: int) -> int:
        """
        Where the dash of an element stands: only blanks and comments are between them.

        :raises CannotEdit: when there is none to be seen.
        """
        item = parent.items[index]
        floor = parent.items[index - 1].end if index else max(0, self.line_before(parent.start) - 1)
        dashes = [
            match.start()
            for match in re.compile(r"-(?=\s|$)").finditer(self.text, floor, max(item.start, floor))
            if re.fullmatch(r"-(?:\s|#[^\r\n]*(?=[\r\n])|[&!]\S*)*", self.text[match.start() : item.start])
        ]
        if not dashes:
            raise CannotEdit("the list is written in a way that is left alone: change it in the text")
        return dashes[0]

    def cut_block(self, parent: Piece, index: int, piece: Piece) -> tuple[int, int]:
        """What goes with a key or an element on lines of its own."""
        start = self.dash(parent, index) if parent.kind == LIST else parent.pairs[index][0].start
        end = self.line_after(piece.end)
        line = self.line_before(start)
        if self.text[line:start].strip(" ") == "":
            return line, end
        if parent.kind == MAPPING and index + 1 < len(parent.pairs):
            following = parent.pairs[index + 1][0].start
            if "#" not in self.text[piece.end : following]:
                return start, following
        return start, max(piece.end, start)

    def cut_flow(self, parent: Piece, index: int, piece: Piece) -> tuple[int, int]:
        """What goes with a key or an element in braces or brackets: one comma, too."""
        parts = [(key.start, value.end) for key, value in parent.pairs]
        parts += [(each.start, each.end) for each in parent.items]
        start, end = parts[index]
        comma = re.compile(r"\s*,[ \t]*").match(self.text, end)
        if index + 1 < len(parts):
            return start, comma.end() if comma else end
        before = parts[index - 1][1] if index else start
        if self.text[before - 1] != ":" and re.fullmatch(r"\s*,\s*", self.text[before:start]):
            return before, end
        return start, comma.end() if comma else end
