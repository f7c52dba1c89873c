# -*- test-case-name: tests.test_web_access_login -*-
"""
Passwords: hashed slowly, one at a time, and in a thread, so that neither boards nor memory have to wait for a login.

1. RFC 7914 scrypt
2. NIST SP 800-63B, 5.1.1.2: Unicode is normalised before it is hashed
"""

import secrets
import unicodedata
from collections.abc import Callable
from hashlib import scrypt
from hmac import compare_digest

from twisted.internet.defer import Deferred, DeferredLock

from piman.settings.people import HASH_BYTES, SALT_BYTES, PasswordHash

LONGEST_PASSWORD = 1024
"""Characters."""
MOST_WAITING = 8
"""So many logins wait for their turn; more would wait for too long."""


def hash_password(password: str) -> PasswordHash:
    """What is kept of a password.  Takes a while."""
    made = PasswordHash(salt=secrets.token_bytes(SALT_BYTES), digest=bytes(HASH_BYTES))
    return PasswordHash(salt=made.salt, digest=_digest(password, made))


def matches(password: str, kept: PasswordHash) -> bool:
    """Whether it is that password.  Takes a while, and as long for a wrong one."""
    return compare_digest(_digest(password, kept), kept.digest)


def _digest(password: str, kept: PasswordHash) -> bytes:
    data = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return scrypt(
        data,
        salt=kept.salt,
        n=2**kept.ln,
        r=kept.r,
        p=kept.p,
        maxmem=kept.memory_bytes + (1 << 20),
        dklen=len(kept.digest),
    )


NOBODYS = PasswordHash(salt=b"nobody's salt", digest=bytes(HASH_BYTES))
"""Tried for names that there are not: they must take as long as others."""


class TooBusy(Exception):
    """Too many logins wait already."""


class Checker:
    """
    Tries passwords.

    :param in_thread: does work in a thread.
    """

    def __init__(self, in_thread: "Callable[[Callable[[], bool]], Deferred[bool]]") -> None:
        self._in_thread = in_thread
        self._turn = DeferredLock()

    def check(self, password: str, kept: PasswordHash | None) -> "Deferred[bool]":
        """
        Whether it is the password of somebody.

        :param kept: None: there is nobody of that name.
        :raises TooBusy: when too many wait.
        """
        if len(self._turn.waiting) >= MOST_WAITING:
            raise TooBusy
        wanted = kept or NOBODYS

        def work() -> bool:
            return matches(password, wanted) and kept is not None

        found: Deferred[bool] = self._turn.run(self._in_thread, work)
        return found
