# -*- test-case-name: tests.test_switching_session -*-
"""
What is asked of an SNMP agent, with which credentials, and how it can fail.

Failures are split by what the caller does next: :class:`SwitchTimeout` and :class:`SwitchBusy` are worth another
attempt, :class:`SwitchRefused` is not until somebody changes something.
"""

from collections.abc import Mapping
from typing import Protocol

import attrs

OID = tuple[int, ...]
Datum = int | bytes | OID
"""A number (integers, counters, ticks), octets, or an object identifier."""


def dotted(oid: OID) -> str:
    """``1.3.6.1`` for people."""
    return ".".join(map(str, oid))


# Credentials


@attrs.frozen
class Community:
    """Versions 1 and 2c."""

    community: str = attrs.field(repr=False)
    version: str | None = None
    """``1`` or ``2c``; None: 2c, and 1 with those that do not answer to it."""


@attrs.frozen
class Secret:
    """A pass phrase and what it is for; RFC 3414 wants 8 octets or more."""

    protocol: str
    phrase: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class User:
    """Version 3 (RFC 3414)."""

    name: str
    auth: Secret | None = None
    """``md5``, ``sha``, ``sha224``, ``sha256``, ``sha384`` or ``sha512``."""
    priv: Secret | None = None
    """``des``, ``3des``, ``aes128``, ``aes192``, ``aes256``, ``aes192-c`` or ``aes256-c``; only with :attr:`auth`."""
    context: str = ""

    @property
    def version(self) -> str:
        """Like that of a community."""
        return "3"


Credentials = Community | User


# Failures


class SwitchFailed(Exception):
    """
    An exchange with an agent failed.

    :ivar reason: what happened, a sentence without the name of the switch.
    :ivar remedy: what can be done about it, a sentence.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class SwitchTimeout(SwitchFailed):
    """No answer in time; what was ordered may have been done all the same."""


class SwitchBusy(SwitchFailed):
    """The agent answered that it cannot just now."""


class SwitchRefused(SwitchFailed):
    """
    The agent will not, or answers what makes no sense.

    :ivar code: the name of the error as RFC 3416 and pysnmp have it, like ``notWritable``.
    """

    def __init__(self, reason: str, remedy: str = "", code: str = "") -> None:
        super().__init__(reason, remedy)
        self.code = code


@attrs.frozen
class _Refusal:
    name: str
    reason: str
    remedy: str
    is_passing: bool = False


_WRITE = "Give piman a community or user that may write on the switch (snmp: in piman.yaml)."
_VALUE = "The switch may be of a kind that piman does not know; see docs/protocols/snmp.md."
_LATER = "Try again; if it stays so, look at the switch's own log."

STATUS: Mapping[int, _Refusal] = {
    1: _Refusal("tooBig", "its answer would not fit into one datagram", _VALUE),
    2: _Refusal("noSuchName", "it has no such object, or may not show it to us", _VALUE),
    3: _Refusal("badValue", "it does not take that value", _VALUE),
    4: _Refusal("readOnly", "we may only read there", _WRITE),
    5: _Refusal("genErr", "it failed for a reason it does not tell", _LATER, is_passing=True),
    6: _Refusal("noAccess", "we may not touch that object", _WRITE),
    7: _Refusal("wrongType", "it wants a value of another type", _VALUE),
    8: _Refusal("wrongLength", "it wants a value of another length", _VALUE),
    9: _Refusal("wrongEncoding", "it cannot read our value", _VALUE),
    10: _Refusal("wrongValue", "it does not take that value", _VALUE),
    11: _Refusal("noCreation", "it has no such object", _VALUE),
    12: _Refusal("inconsistentValue", "it does not take that value now", _LATER, is_passing=True),
    13: _Refusal("resourceUnavailable", "it lacks the resources just now", _LATER, is_passing=True),
    14: _Refusal("commitFailed", "it could not do it", _LATER, is_passing=True),
    15: _Refusal("undoFailed", "it could not do it, nor undo it", _LATER, is_passing=True),
    16: _Refusal("authorizationError", "our community or user has no right to do that", _WRITE),
    17: _Refusal("notWritable", "that object cannot be written", _WRITE),
    18: _Refusal("inconsistentName", "it has no such object now", _VALUE),
}
"""Error statuses of RFC 3416, section 3."""

_USER = "Compare snmp.user in piman.yaml with the users of the switch."
_KEYS = "Compare the protocols and keys of snmp.auth and snmp.priv in piman.yaml with those on the switch."

INDICATIONS: Mapping[str, _Refusal] = {
    "unknownUserName": _Refusal("unknownUserName", "it knows no user of that name", _USER),
    "wrongDigest": _Refusal("wrongDigest", "the user's authentication key or protocol is wrong", _KEYS),
    "authenticationFailure": _Refusal("authenticationFailure", "an answer's authentication is wrong", _KEYS),
    "authenticationError": _Refusal("authenticationError", "an answer's authentication is wrong", _KEYS),
    "decryptionError": _Refusal("decryptionError", "the user's privacy key or protocol is wrong", _KEYS),
    "unsupportedSecurityLevel": _Refusal(
        "unsupportedSecurityLevel", "the user exists, but not with this authentication and privacy", _KEYS
    ),
    "unknownCommunityName": _Refusal("unknownCommunityName", "the community is unknown", _WRITE),
    "noSuchContext": _Refusal("noSuchContext", "it knows no such context", _USER),
    "notInTimeWindow": _Refusal("notInTimeWindow", "its clock and ours do not come together", _LATER, is_passing=True),
    "unknownEngineID": _Refusal("unknownEngineID", "it does not tell its engine id", _LATER, is_passing=True),
}
"""Failures of RFC 3412 to 3415, as pysnmp names them."""


def _failure(refusal: _Refusal) -> SwitchFailed:
    reason = f"{refusal.reason} ({refusal.name})"
    if refusal.is_passing:
        return SwitchBusy(reason, refusal.remedy)
    return SwitchRefused(reason, refusal.remedy, refusal.name)


def failure_of_status(status: int) -> SwitchFailed:
    """What an error status other than 0 means for us."""
    unknown = _Refusal(f"error status {status}", "it failed in a way no standard knows", _LATER)
    return _failure(STATUS.get(status, unknown))


def failure_of_indication(name: str) -> SwitchFailed:
    """What an error of the SNMP engine, by its name (``wrongDigest``), means for us."""
    return _failure(INDICATIONS.get(name, _Refusal(name, "the exchange failed", _LATER)))


def nonsense(what: str) -> SwitchRefused:
    """The agent broke the protocol or a MIB."""
    return SwitchRefused(f"its answer makes no sense: {what}", _VALUE, "nonsense")


# What is asked


class Agent(Protocol):
    """An SNMP agent, with the credentials that are shown to it.  Everything raises :class:`SwitchFailed`."""

    async def get(self, *oids: OID) -> tuple[Datum | None, ...]:
        """The values of these objects; None for those that are not there."""

    async def set(self, oid: OID, value: int) -> None:
        """Write an INTEGER."""

    async def walk(self, column: OID) -> dict[OID, Datum]:
        """All rows of a column, by index (what follows the column's OID), in the agent's order."""


# Walking


MOST_ROWS = 65_536
"""More than any column of a switch has: an agent that goes on counts as broken."""


@attrs.frozen
class Step:
    """What an answer to GETNEXT or GETBULK adds to a walk."""

    rows: tuple[tuple[OID, Datum], ...]
    """Index and value."""
    cursor: OID | None
    """Where to ask on; None: the column has ended."""


def step(column: OID, cursor: OID, answer: tuple[tuple[OID, Datum | None], ...]) -> Step:
    """
    Take the rows of a column from an answer; a value None is the end of the MIB.

    :raises SwitchRefused: when the agent goes back or stays, which would never end (RFC 3416 wants successors).
    """
    if not answer:
        raise nonsense("it answers with nothing")
    rows: list[tuple[OID, Datum]] = []
    for oid, value in answer:
        if value is None or oid[: len(column)] != column:
            return Step(tuple(rows), None)
        if oid <= cursor:
            raise nonsense(f"after {dotted(cursor)} it goes back to {dotted(oid)}; the walk would never end")
        rows.append((oid[len(column) :], value))
        cursor = oid
    return Step(tuple(rows), cursor)
