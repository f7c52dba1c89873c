# -*- test-case-name: tests.test_ctl_printing -*-
"""
How answers look: tables that fit a terminal and are never cut in a pipe, times, and texts that cannot draw.
"""

import json
import time
from collections.abc import Sequence
from io import StringIO
from typing import Any, TextIO, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 10_000
"""Columns of a pipe: nothing is cut or wrapped there."""
COLOURS = {
    "up": "green",
    "done": "green",
    "failed": "bold red",
    "stuck": "bold red",
    "silent": "bold red",
    "cancelled": "yellow",
    "off": "bright_black",
    "unknown": "bright_black",
    "waiting": "bright_black",
}
"""Of phases and steps that deserve one."""


def harmless(text: object) -> str:
    """A text as one line that no terminal obeys: control characters are escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in str(text))


def coloured(word: str) -> Text:
    """A phase or a step."""
    return Text(word, style=COLOURS.get(word, ""))


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None = None,
    least: Sequence[int] = (),
) -> Table:
    """
    A table without lines; the last column takes what room is left, and wraps.

    :param width: of the terminal; None: a pipe.
    :param least: widths of the first columns, so that they do not jump when rows change.
    """
    made = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, name in enumerate(header):
        is_last = place == len(header) - 1
        least_width = least[place] if place < len(least) else None
        made.add_column(name, no_wrap=not is_last or width is None, overflow="fold", min_width=least_width)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(harmless(cell)) for cell in row))
    return made


def show_table(answer: Any, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; lines have no blanks at their ends."""
    console = console_for(answer)
    if console.is_terminal:
        console.print(table(header, rows, width=console.width))
        return
    lines = StringIO()
    Console(file=lines, width=WIDE, color_system=None).print(table(header, rows))
    answer.write("".join(f"{line.rstrip()}\n" for line in lines.getvalue().splitlines()))


def console_for(answer: Any) -> Console:
    """The terminal, or whatever stands in its place."""
    return Console(file=cast(TextIO, answer), highlight=False, markup=False, emoji=False)


def show_json(answer: Any, value: object) -> None:
    """Print a value for programs."""
    print(json.dumps(value, indent=2), file=answer)


def clock(seconds: float) -> str:
    """A moment as a person reads it, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def age(seconds: float) -> str:
    """How long: ``5 s``, ``12 min``, ``3 h``, ``8 d``."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def place(port: Any) -> str:
    """A port of a switch, as JSON has it."""
    return f"{port['label']} port {port['port']}" if port else "-"


def on_card(installed: Any) -> str:
    """What a node has, as JSON has it."""
    if not installed["digest"]:
        return "not known"
    name = installed["image"] or installed["digest"][:12]
    return f"older {name}" if installed["older"] else str(name)


def _watts(power: Any) -> str:
    """What the targets on one switch may draw, and what it can give."""
    total, used = power["total_watts"], power["used_watts"]
    budget = f"; it gives {used:g} of {total:g} W now" if total is not None and used is not None else ""
    ports = f"{power['ports']} port{'s' if power['ports'] != 1 else ''}"
    return f"power: {ports} of {harmless(power['label'])} may draw {power['watts']:g} W{budget}"


def show_plan(plan: Any, answer: Any, *, as_json: bool) -> None:
    """Print what would be done."""
    if as_json:
        show_json(answer, plan)
        return
    rows = [
        (target["name"], target["node"] or "-", place(target["port"]), target["rule"]) for target in plan["targets"]
    ]
    show_table(answer, ("node", "board", "port", "found by"), rows)
    for note in plan["notes"]:
        print(f"note: {harmless(note)}", file=answer)
    for power in plan["power"]:
        print(_watts(power), file=answer)
    if plan["images"]:
        print(file=answer)
        gets = [(each["name"], each["image"], each["rule"], on_card(each["installed"])) for each in plan["images"]]
        show_table(answer, ("node", "gets", "by", "has"), gets)
    image = f" with image {plan['image']}" if plan["image"] else ""
    need = "; needs --yes" if plan["needs_yes"] else ""
    expected = age(plan["expected_seconds"])
    print(f"{plan['action']} of {len(plan['targets'])}{image}, some {expected} when all goes well{need}", file=answer)
