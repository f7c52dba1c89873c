# -*- test-case-name: tests.test_ctl_folding -*-
"""
Many names in few letters: ``pi2-pi4, pi9 and 12 more``.  Pure.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

MOST = 4
"""So many ranges are shown."""

_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]{0,8})")


def folded(names: Iterable[str], most: int | None = MOST) -> str:
    """
    Names with numbers at their ends as ranges, in the order of the numbers; empty: none.

    ``pi09`` and ``pi10`` are no neighbours: who reads a range must know how its names are written.

    :param most: so many ranges and names are shown, and the others counted; None: all.
    """
    parts = list(_ranges(sorted(set(names), key=_key)))
    shown = parts if most is None or len(parts) <= most + 1 else parts[:most]
    rest = sum(len(part) for part in parts[len(shown) :])
    text = ", ".join(part[0] if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in shown)
    return f"{text} and {rest} more" if rest else text


def _split(name: str) -> tuple[str, int]:
    """What stands before the number at the end, and the number; -1: there is none, or none that can be counted on."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match and not match[1][-1:].isdigit() else (name, -1)


def _key(name: str) -> tuple[str, int, str]:
    """In the order of the numbers, also of those with zeros in front."""
    bare = name.rstrip("0123456789")
    return bare, int(name[len(bare) :] or -1), name


def _ranges(names: Sequence[str]) -> Iterable[Sequence[str]]:
    """Neighbours together; two of them are no range."""
    for _, group in groupby(enumerate(names), key=_run):
        members = [name for _, name in group]
        if len(members) > 2:
            yield members
        else:
            yield from ([member] for member in members)


def _run(numbered: tuple[int, str]) -> tuple[str, int]:
    """The same for neighbours: the number grows as the place does."""
    place, name = numbered
    prefix, number = _split(name)
    return prefix, number - place
