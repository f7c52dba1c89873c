# -*- test-case-name: tests.test_web_wishes -*-
"""
What is asked of the API, read and checked: bodies, parameters, names of nodes.  Pure.

A mistake says what was found, what was expected, and what to do; all mistakes of a body are told at once.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import attrs

from piman.fleet.model import MACAddress, NodeStatus
from piman.fleet.operations.orders import Action
from piman.fleet.operations.targets import Atlas

MOST_BODY_BYTES = 1 << 20
"""More than the names of 10,000 nodes."""
MOST_EVENTS = 5_000
"""In one answer."""
USUAL_EVENTS = 200
LARGEST_NUMBER = 2**53
"""Of JSON, where every whole number up to it is exact."""


class Refusal(Exception):
    """
    The answer to what cannot be done.

    :ivar status: of HTTP.
    :ivar code: for programs, never changes.
    :ivar message: for people: what was found, what was expected.
    :ivar hint: what to do.
    """

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


@attrs.frozen(kw_only=True)
class Wish:
    """An order as it was asked for."""

    action: Action
    nodes: tuple[str, ...]
    dry_run: bool = False
    image: str = ""
    at_most: int = 0
    stop_after: int = 0
    yes: bool = False


ACTIONS = ", ".join(action.value for action in Action)


def read_body(body: bytes) -> Mapping[str, Any]:
    """
    The JSON object of a body.

    :raises Refusal: when it is none.
    """
    hint = 'Send an object, like {"action": "restart", "nodes": ["pi2"]}.'
    if len(body) > MOST_BODY_BYTES:
        raise Refusal(413, "too-large", f"found a body of {len(body)} bytes, expected at most {MOST_BODY_BYTES}", hint)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as reason:
        raise Refusal(400, "no-json", f"found a body that is no JSON ({reason}), expected an object", hint) from None
    if not isinstance(found, dict):
        raise Refusal(400, "no-object", f"found {shown(found)}, expected an object", hint)
    return found


def read_wish(body: Mapping[str, Any]) -> Wish:
    """
    The order of a body.

    :raises Refusal: with all mistakes.
    """
    problems: list[str] = []
    found: dict[str, Any] = {}
    for key in ("action", "nodes"):
        if key not in body:
            problems.append(f"{key}: found nothing, expected {_READERS[key][1]}")
    for key, value in body.items():
        if key not in _READERS:
            problems.append(f"{key}: found an unknown key, expected {_nearest(key)}")
            continue
        read, expected = _READERS[key]
        try:
            found[key] = read(value)
        except (ValueError, TypeError):
            problems.append(f"{key}: found {shown(value)}, expected {expected}")
    if found.get("image") and found.get("action") not in (None, Action.REINSTALL):
        problems.append(f"image: found one for {found['action'].value}, expected it only for reinstall")
    if problems:
        raise Refusal(400, "bad-order", "; ".join(problems), "GET /openapi.json describes the body.")
    return Wish(**found)


def _words(value: Any) -> tuple[str, ...]:
    words = tuple(str(word) for word in value if isinstance(word, str) or _is_number(word))
    if not isinstance(value, list) or len(words) != len(value) or not words:
        raise ValueError
    return words


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _count(value: Any) -> int:
    if not _is_number(value) or not 0 <= value <= LARGEST_NUMBER:
        raise ValueError
    return int(value)


_YES = "true or false"
_READERS: Mapping[str, tuple[Any, str]] = {
    "action": (Action, f"one of {ACTIONS}"),
    "nodes": (_words, 'a list of names, addresses, MACs, or a switch and its ports, like ["rack-a", "2-4", "pi9"]'),
    "dry_run": (_flag, _YES),
    "image": (_text, "the name of an image"),
    "at_most": (_count, "how many nodes at a time, 0 for as many as is good"),
    "stop_after": (_count, "after how many failures nothing more is begun, 0 for never"),
    "yes": (_flag, _YES),
}


def _nearest(key: str) -> str:
    close = get_close_matches(key, _READERS, n=1)
    return close[0] if close else f"one of {', '.join(_READERS)}"


def shown(value: Any) -> str:
    """A value of a body, on one line and not too long."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


# Parameters


Parameters = Mapping[bytes, Sequence[bytes]]


def only(parameters: Parameters, *names: str) -> None:
    """
    Take no parameter but these.

    :raises Refusal: naming one that is not known.
    """
    for name in parameters:
        if name.decode("utf-8", "replace") not in names:
            known = ", ".join(names) or "none"
            found = name.decode("ascii", "backslashreplace")
            raise Refusal(400, "bad-parameter", f"found the parameter {found}, expected {known}", "Leave it out.")


def number(parameters: Parameters, name: str, default: int, most: int = LARGEST_NUMBER) -> int:
    """
    A whole number from 0 on.

    :raises Refusal: when it is none, or more than ``most``.
    """
    text = word(parameters, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= most):
        raise Refusal(
            400, "bad-parameter", f"{name}: found {text!r}, expected a whole number from 0 to {most}", "Mend it."
        )
    return int(text)


def word(parameters: Parameters, name: str) -> str | None:
    """A parameter as it was sent, the last one of that name; None: there is none."""
    found = parameters.get(name.encode("ascii"))
    return found[-1].decode("utf-8", "replace") if found else None


# Nodes


def board(name: str, atlas: Atlas, strangers: Iterable[NodeStatus]) -> MACAddress:
    """
    The board of this MAC, hostname or address.

    :param strangers: what was seen of boards that no file names; they answer to their MAC and their address.
    :raises Refusal: when there is none.
    """
    known = atlas.node(name)
    if known is not None:
        return known.mac
    for status in strangers:
        if name.lower() in (str(status.mac), str(status.address)):
            return status.mac
    names = [each for node in atlas.nodes for each in (node.name.lower(), str(node.mac), str(node.address))]
    close = get_close_matches(name.lower(), names, n=1)
    hint = f"Did you mean {close[0]}?" if close else "GET /api/v1/nodes (piman-ctl status) names all."
    raise Refusal(404, "no-such-node", f"found no node {name!r}, expected a hostname, an address or a MAC", hint)


def mac(text: str) -> MACAddress:
    """
    A MAC, of a board that need not be known.

    :raises Refusal: when it is none.
    """
    try:
        return MACAddress.parse(text)
    except ValueError:
        raise Refusal(
            400, "bad-mac", f"found {text!r}, expected a MAC like b8:27:eb:12:34:56", "Names of nodes work, too."
        ) from None
