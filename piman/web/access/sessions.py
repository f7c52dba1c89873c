# -*- test-case-name: tests.test_web_access_login -*-
"""
Who is logged in.  In memory: a manager that starts anew asks everybody again.

A session is found by the SHA-256 of its id, so what is in memory (or in a core dump) opens nothing.

1. OWASP Session Management Cheat Sheet
"""

import secrets
from collections import OrderedDict
from hashlib import sha256

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.settings.people import PasswordHash

IDLE_SECONDS = 12 * 3600.0
LONGEST_SECONDS = 7 * 86_400.0
MOST_SESSIONS = 1024
MOST_OF_ONE = 32
"""Of one user; one more ends the one that was unused for the longest time."""
ID_BYTES = 32


@attrs.define
class Session:
    """One browser that is logged in."""

    user: str
    password_hash: PasswordHash
    """As it was at the login: another password ends the session."""
    csrf_token: str
    began: float
    seen: float


class Sessions:
    """All of them."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._found: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def open(self, user: str, password_hash: PasswordHash) -> str:
        """Begin one; its id, which is kept nowhere here."""
        now = self._clock.seconds()
        self._forget_old(now)
        own = [key for key, session in self._found.items() if session.user == user]
        for key in own[: max(0, len(own) - MOST_OF_ONE + 1)]:
            del self._found[key]
        while len(self._found) >= MOST_SESSIONS:
            self._found.popitem(last=False)
        identity = secrets.token_urlsafe(ID_BYTES)
        self._found[_key(identity)] = Session(user, password_hash, secrets.token_urlsafe(ID_BYTES), now, now)
        return identity

    def find(self, identity: str) -> Session | None:
        """The session with an id, which is used by that; None: it is over, or never was."""
        key, now = _key(identity), self._clock.seconds()
        found = self._found.get(key)
        if found is None:
            return None
        if _is_over(found, now):
            del self._found[key]
            return None
        found.seen = now
        self._found.move_to_end(key)
        return found

    def close(self, identity: str) -> None:
        """End one."""
        self._found.pop(_key(identity), None)

    def _forget_old(self, now: float) -> None:
        for key in [key for key, session in self._found.items() if _is_over(session, now)]:
            del self._found[key]


def _is_over(session: Session, now: float) -> bool:
    return now - session.seen > IDLE_SECONDS or now - session.began > LONGEST_SECONDS


def _key(identity: str) -> bytes:
    return sha256(identity.encode("utf-8", "surrogateescape")).digest()
