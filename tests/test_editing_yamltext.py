"""
Tests for :mod:`piman.editing.yamltext`, :mod:`piman.editing.pieces` and :mod:`piman.editing.spelling`.

What a text means is told here by libyaml (``yaml.CBaseLoader``): another parser than the one the edits are made with.
"""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import assume, given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.editing.pieces import ALIAS, LIST, MAPPING, SCALAR, Piece
from piman.editing.places import CannotEdit
from piman.editing.spelling import block, flow, key, scalar
from piman.editing.yamltext import NoSuchPlace, YAMLText, path_text

ROOT = Path(__file__).resolve().parent.parent
NASTY = {
    "comments": "# top\n\na: 1   # one\n\n\n# about b\n"
    "b:   # open\n    # within\n    c: 'x'    \n\n  # less\n\nd: [1, 2]\n# end\n",
    "crlf": "a: 1\r\nb:\r\n  c: x   # y\r\n  d: [p,\r\n      q]\r\ne: last\r\n",
    "no line end": "a: 1\nb:\n  - x\n  - y",
    "markers": "%YAML 1.1\n---   # begins\na: 1\nb: {c: 2}\n...\n# after\n",
    "quotes": "a: \"1\"\nb: 'it''s'\nc: \"tab\\there: #\"\nd: plain #hash\n",
    "blank": "a:\nb:   # nothing\nc: ~\nd: null\ne:\n  -\n  -   # x\n  - \nf: {g: , h: 1}\n",
    "indentless": "a:\n- x\n- y   # why\n# between\n- z\nb: 1\n",
    "deep": "a:\n      b:\n            - c: 1\n              d: 2\n\n            - c: 3\n",
    "flow": "a: {b: [1, 2,  3], 'c': {d: e},}\nf: [\n  g,   # first\n  h    # last\n]\nk: {}\nl: []\n",
    "block scalars": "a: |\n  text # no comment\n\n  more\n# comment\nb: >-\n  folded\n  text\nc: |+\n  kept\n\nd: 1\n",
    "long": "a: " + "word " * 60 + "end\nb: x\n",
    "several lines": 'a: one\n  two\n  three   # c\nb: "one\n  two"\nc: x\n',
    "anchors": "a: &one 1\nb: &two {c: 1}\nd: !!str 5\ne: 1   # alone\n",
    "odd spacing": "a   :   1\n'b': x\ne:  2  \nc:   \n   d:  3\n",
    "unicode": "# \u00fc\na: \u00e4\u2003b \U0001f600  # \u20ac\nb: \u00df\n",
    "dash at once": "- a: 1\n  b: 2   # c\n-   a: 3\n    b: 4\n- - x\n  - y\n",
    "original": (ROOT / "tests/captures/original.yaml").read_text("utf-8"),
    "example": (ROOT / "piman.yaml.example").read_text("utf-8"),
}


def said(text: str) -> Any:
    """What libyaml reads in a text; every scalar is text."""
    return yaml.load(text, Loader=yaml.CBaseLoader)


def places(piece: Piece, at: tuple[str | int, ...] = ()) -> "list[tuple[tuple[str | int, ...], Piece]]":
    """Every place of a text, with what stands there."""
    found = [(at, piece)] if at else []
    for index, item in enumerate(piece.items):
        found += places(item, (*at, index))
    for name, value in piece.pairs:
        found += places(value, (*at, name.text))
    return found


def put(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Data with one value changed, by the plainest means."""
    if not path:
        return value
    if isinstance(data, list):
        return [put(each, path[1:], value) if index == path[0] else each for index, each in enumerate(data)]
    return {name: put(each, path[1:], value) if name == path[0] else each for name, each in data.items()}


def without(data: Any, path: tuple[str | int, ...]) -> Any:
    """Data without one key or element."""
    step, *rest = path
    if rest:
        return put(data, (step,), without(data[step], tuple(rest)))
    if isinstance(data, list):
        return [each for index, each in enumerate(data) if index != step]
    return {name: each for name, each in data.items() if name != step}


def comments(text: str) -> list[str]:
    """The lines that are comments and nothing else."""
    return [line for line in text.splitlines() if line.lstrip().startswith("#")]


SCALARS = [
    (name, path) for name, text in NASTY.items() for path, piece in places(YAMLText(text).top) if piece.kind == SCALAR
]
COLLECTIONS = [
    (name, path, piece.kind)
    for name, text in NASTY.items()
    for path, piece in [*places(YAMLText(text).top), ((), YAMLText(text).top)]
    if piece.kind in (LIST, MAPPING)
]
ANY_TEXT = some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


class SetTests(SynchronousTestCase):
    """A value in the place of another."""

    def test_the_corpus_is_seen(self) -> None:
        """The corpus has the kinds of values that it is about."""
        self.assertGreater(len(SCALARS), 90)
        self.assertGreater(len(COLLECTIONS), 30)

    @given(some.sampled_from(SCALARS), ANY_TEXT)
    def test_nothing_else(self, place: tuple[str, tuple[str | int, ...]], value: str) -> None:
        """A scalar anywhere becomes any text, and not a character outside of it changes."""
        name, path = place
        before = YAMLText(NASTY[name])
        piece = before.find(path)
        after = before.set(path, value).text
        self.assertEqual(said(after), put(said(before.text), path, value))
        self.assertTrue(after.startswith(before.text[: piece.start]), (before.text, after))
        tail = before.text[piece.end :]
        self.assertTrue(after.endswith(tail), (before.text, after))

    @given(some.sampled_from(SCALARS))
    def test_same(self, place: tuple[str, tuple[str | int, ...]]) -> None:
        """A plain or quoted value on one line, set to what it is, leaves the text as it is."""
        name, path = place
        before = YAMLText(NASTY[name])
        piece = before.find(path)
        written = before.text[piece.start : piece.end]
        assume(not piece.is_blank and piece.style not in ("|", ">") and "\n" not in written and "\\" not in written)
        self.assertEqual(before.set(path, piece.text).text, before.text)

    def test_style(self) -> None:
        """Quotes stay the quotes they were; comments keep their distance."""
        before = YAMLText("a: 'x'   # c\nb: \"y\"\nc: z\n")
        self.assertEqual(before.set(("a",), "it's").set(("b",), 'q"').text, "a: 'it''s'   # c\nb: \"q\\\"\"\nc: z\n")

    def test_blank(self) -> None:
        """Blank values of a skeleton are places to fill, comments and all."""
        before = YAMLText("a:\nb:   # nothing\nc: ~\nd:\n  -\n  -   # x\n")
        after = before.set(("a",), 1).set(("b",), "2").set(("c",), "3").set(("d", 0), "4").set(("d", 1), "5")
        self.assertEqual(after.text, "a: 1\nb: 2   # nothing\nc: 3\nd:\n  - 4\n  - 5   # x\n")

    def test_types(self) -> None:
        """Truths and numbers are written as such; a text like them in quotes where a text is wanted."""
        before = YAMLText("a: x\n", exact=lambda path: True)
        written = [before.set(("a",), value).text for value in (True, 10, 1.5, "10", "true", "on", "ten")]
        self.assertEqual(written, [f"a: {each}\n" for each in ("true", "10", "1.5", "'10'", "'true'", "'on'", "ten")])
        self.assertEqual(YAMLText("a: x\n").set(("a",), "10").text, "a: 10\n")

    def test_missing(self) -> None:
        """What is missing on the way is made: at the end, as far in as its neighbours, comments kept where they are."""
        before = YAMLText("a:\n   b: 1\n   # of a\n\n# of c\nc: 2\n")
        self.assertEqual(before.set(("a", "d"), 3).text, "a:\n   b: 1\n   # of a\n   d: 3\n\n# of c\nc: 2\n")
        self.assertEqual(before.set(("x", "y"), 3).text, before.text + "x:\n  y: 3\n")

    def test_missing_in_braces(self) -> None:
        """In braces it stays in braces."""
        after = YAMLText("a: {b: 1}\nc: {}\nd: [x,]\n").set(("a", "e"), "f, g").set(("c", "h"), [1]).add(("d",), "y")
        self.assertEqual(after.text, "a: {b: 1, e: 'f, g'}\nc: {h: [1]}\nd: [x, y,]\n")

    def test_end(self) -> None:
        """A text without a last line end, one that is all comments, and one that ends with dots can grow."""
        for before, after in (
            ("a: 1", "a: 1\nb: 2"),
            ("# only\n", "# only\nb: 2\n"),
            ("", "b: 2\n"),
            ("a: 1\n...\n", "a: 1\nb: 2\n...\n"),
            ("a: 1\r\n", "a: 1\r\nb: 2\r\n"),
        ):
            self.assertEqual(YAMLText(before).set(("b",), 2).text, after)

    def test_shared(self) -> None:
        """A value that others repeat is not changed behind their back."""
        text = YAMLText("a: &x {b: 1}\nc: *x\nd: 1\n")
        for path in (("a", "b"), ("c", "b"), ("c",), ("a",)):
            self.assertIn("shared" if path[0] == "a" else "x", str(self.assertRaises(CannotEdit, text.set, path, "2")))
        self.assertEqual(text.set(("d",), 2).text, "a: &x {b: 1}\nc: *x\nd: 2\n")

    def test_nowhere(self) -> None:
        """A path that leads nowhere says so."""
        text = YAMLText("a: [1]\nb: x\n")
        self.assertIn("a[3]", str(self.assertRaises(NoSuchPlace, text.set, ("a", 3), "2")))
        self.assertIn("b is no mapping", str(self.assertRaises(CannotEdit, text.set, ("b", "c"), "2")))
        self.assertRaises(NoSuchPlace, text.unset, ("c",))
        self.assertRaises(CannotEdit, text.add, ("b",), "2")

    def test_spelling(self) -> None:
        """A key counts under the name that it means."""
        text = YAMLText("swtich_0_address:\n", spelling=lambda at, name: name.replace("swtich_0", "switch"))
        self.assertEqual(text.set(("switch_address",), "10.0.0.1").text, "swtich_0_address: 10.0.0.1\n")


class ListTests(SynchronousTestCase):
    """Lists and mappings as wholes."""

    LISTED = "a:\n  # first\n  - x   # 1\n  # second\n  - y\n  - z   # 3\n  # end\n\nb: 1\n"

    def test_elements_that_stay(self) -> None:
        """Of a list that is set, the elements that stay keep their lines and comments."""
        text = YAMLText(self.LISTED)
        self.assertEqual(text.set(("a",), ["x", "z"]).text, self.LISTED.replace("  - y\n", ""))
        self.assertEqual(text.set(("a",), ["x", "q", "z"]).text, self.LISTED.replace("- y", "- q"))
        after = self.LISTED.replace("  # end\n", "  # end\n  - new\n")
        self.assertEqual(text.set(("a",), ["x", "y", "z", "new"]).text, after)
        self.assertEqual(text.set(("a",), ["n", "x", "y", "z"]).text, self.LISTED.replace("  - x", "  - n\n  - x"))

    def test_all_go(self) -> None:
        """A list without elements is a key with nothing behind it, which means the same; in brackets it is ``[]``."""
        self.assertEqual(said(YAMLText(self.LISTED).set(("a",), []).text), {"a": "", "b": "1"})
        self.assertEqual(YAMLText("a: [x, y]   # c\n").set(("a",), []).text, "a: []   # c\n")

    @given(some.sampled_from(["block", "flow", "indentless"]), some.lists(some.sampled_from("pqrst")), some.data())
    def test_any(self, style: str, wanted: list[str], data: some.DataObject) -> None:
        """Any list becomes any other, and the lines around it stay."""
        before = data.draw(some.lists(some.sampled_from("pqrst"), min_size=1))
        indent = "  " if style == "block" else ""
        lines = "".join(f"{indent}- {each}   # {number}\n" for number, each in enumerate(before))
        written = f"a: [{', '.join(before)}]\n" if style == "flow" else f"a:\n{lines}"
        after = YAMLText(f"# top\n{written}# end\nz: 1\n").set(("a",), wanted).text
        self.assertIn(said(after), [{"a": wanted, "z": "1"}, {"a": wanted or "", "z": "1"}])
        self.assertTrue(after.startswith("# top\na:") and after.endswith("# end\nz: 1\n"), after)

    def test_mapping(self) -> None:
        """Of a mapping that is set, the keys that stay keep their lines."""
        text = YAMLText("p:\n  1: a   # one\n  2: b   # two\n")
        self.assertEqual(text.set(("p",), {"2": "b", "1": "c"}).text, "p:\n  1: c   # one\n  2: b   # two\n")
        self.assertEqual(text.set(("p",), {"2": "b", "3": "d"}).text, "p:\n  2: b   # two\n  3: d\n")

    @given(some.sampled_from([each for each in COLLECTIONS if each[2] == LIST]), ANY_TEXT)
    def test_add(self, place: tuple[str, tuple[str | int, ...], str], value: str) -> None:
        """A list anywhere takes one more element, or says that it does not; every line there was is there still."""
        name, path, _ = place
        before = NASTY[name]
        try:
            after = YAMLText(before).add(path, value).text
        except CannotEdit:
            self.assertEqual((name, path), ("dash at once", (2,)))
            return
        wanted = [*(_at(said(before), path)), value]
        self.assertEqual(said(after), put(said(before), path, wanted))
        self.assertEqual(comments(after), comments(before))

    def test_add_a_mapping(self) -> None:
        """A mapping goes into a list as lines, after the comments of the last one."""
        text = YAMLText("s:\n  - a: 1\n    # of it\n\n# next\nb: 2\n").add(
            ("s",), {"a": "3", "p": ["x"], "q": {"1": "y"}}
        )
        new = "  - a: 3\n    p:\n      - x\n    q: {1: y}\n"
        self.assertEqual(text.text, f"s:\n  - a: 1\n    # of it\n{new}\n# next\nb: 2\n")


class UnsetTests(SynchronousTestCase):
    """Keys and elements taken away."""

    @given(some.sampled_from(SCALARS))
    def test_anywhere(self, place: tuple[str, tuple[str | int, ...]]) -> None:
        """Any key or element goes, or stays with a reason; comments on lines of their own stay."""
        name, path = place
        before = NASTY[name]
        try:
            after = YAMLText(before).unset(path).text
        except CannotEdit:
            self.assertIn(name, ("dash at once",), path)
            return
        self.assertEqual(_pruned(said(after)), _pruned(without(said(before), path)))
        if name != "block scalars":
            self.assertEqual([line for line in comments(before) if line not in comments(after)], [])

    def test_first_after_a_dash(self) -> None:
        """The first key after a dash leaves the dash to the next."""
        text = YAMLText("- a: 1   # c\n  b: 2\n- a: 3\n  # about b\n  b: 4\n")
        self.assertEqual(text.unset((1, "a")).text, "- a: 1   # c\n  b: 2\n- \n  # about b\n  b: 4\n")
        self.assertEqual(said(text.unset((0, "a")).text), [{"b": "2"}, {"a": "3", "b": "4"}])

    def test_section(self) -> None:
        """The last key takes its section along, unless a comment is in there."""
        self.assertEqual(YAMLText("a: 1\nb:\n  c:\n    d: 2\ne: 3\n").unset(("b", "c", "d")).text, "a: 1\ne: 3\n")
        self.assertEqual(YAMLText("a: 1\nb:\n  # why\n  c: 2\n").unset(("b", "c")).text, "a: 1\nb:\n  # why\n")


class SpellingTests(SynchronousTestCase):
    """How values are written."""

    @given(ANY_TEXT | some.just(""), some.booleans(), some.sampled_from(["", "'", '"']))
    def test_read_back(self, value: str, exact: bool, like: str) -> None:
        """Whatever is written is read as that text, in a block, in brackets and in braces."""
        written = scalar(value, exact=exact, like=like)
        self.assertEqual(said(f"k: {written}   # c\n"), {"k": value})
        self.assertEqual(said(f"- {written}\n"), [value])
        self.assertEqual(said(f"[{written}, {{k: {written}, l: 1}}]"), [value, {"k": value, "l": "1"}])

    @given(
        some.recursive(
            ANY_TEXT,
            lambda inner: some.lists(inner, max_size=3) | some.dictionaries(ANY_TEXT, inner, max_size=3),
            max_leaves=8,
        ),
        some.integers(0, 7),
    )
    def test_structures(self, value: Any, column: int) -> None:
        """Lists and mappings are read back, in lines and in brackets."""
        self.assertEqual(said(flow(value)), value)
        if isinstance(value, dict | list) and value:
            self.assertEqual(said("\n".join(block(value, column))), value)

    def test_plain(self) -> None:
        """What needs no quotes gets none."""
        for value in ("172.30.4.1", "255.255.255.0", "rack-a", "private@4", "install/boot/rootfs.tgz", "12:30", "none"):
            self.assertEqual(scalar(value), value)
        quoted = [scalar(value) for value in ("null", "~", "", "a: b", "a #b")]
        self.assertEqual(quoted, ["'null'", "'~'", "''", "'a: b'", "'a #b'"])
        self.assertEqual(key("cpu_percent"), "cpu_percent")

    def test_path(self) -> None:
        """Paths are told as problems tell them."""
        self.assertEqual(path_text(("switches", 0, "ports", "1")), "switches[0].ports.1")

    def test_kinds(self) -> None:
        """An alias is a piece of its own."""
        self.assertEqual(YAMLText("a: &x 1\nb: *x\n").find(("b",)).kind, ALIAS)


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        data = data[step]
    return data


def _pruned(data: Any) -> Any:
    """Data without what says nothing: a key with nothing behind it may stay, or go with the last one in it."""
    if isinstance(data, dict):
        return {name: _pruned(each) for name, each in data.items() if _pruned(each) not in ({}, [], "", None)}
    if isinstance(data, list):
        return [_pruned(each) or "" for each in data]
    return data
