# -*- test-case-name: tests.test_serving -*-
"""
Who may use the web site: users with the hash of a password, programs with the hash of a token.  Pure.

A password's hash is written as ``$scrypt$ln=15,r=8,p=3$SALT$HASH``, both base64 without padding (the PHC string
format); a token's is the SHA-256 of the token, which is random and long, so a slow hash would protect nothing.

1. RFC 7914 scrypt
2. OWASP Password Storage Cheat Sheet: N=2^15, r=8, p=3
"""

# ruff: noqa: RUF009 - setting() and required() make the fields of an attrs class
import base64
import binascii
import enum
import re
from collections.abc import Callable
from typing import TypeVar

import attrs

from piman.settings.readers import one_of, read_section, required, setting, word
from piman.settings.yamlfile import Discarded, Report, Unreadable, Value

T = TypeVar("T")

LN, R, P = 15, 8, 3
"""32 MiB and some 0.2 s for each try."""
SALT_BYTES, HASH_BYTES = 16, 32
_FORM = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_DEAREST = 128 * 1024 * 1024
"""Bytes of memory: a line of the file must not end the manager."""
_DIGEST = re.compile(r"[0-9a-f]{64}")

HASH_EXPECTED = "the hash of a password, as piman-ctl passwd prints it"
DIGEST_EXPECTED = "the SHA-256 of a token, as piman-ctl passwd --token prints it"


class Role(enum.Enum):
    """What somebody may do."""

    VIEWER = "viewer"
    """Read."""
    OPERATOR = "operator"
    """Read, and change."""


@attrs.frozen(kw_only=True)
class PasswordHash:
    """What is kept of a password; the parameters are RFC 7914's, N is 2 ** ``ln``."""

    ln: int = LN
    r: int = R
    p: int = P
    salt: bytes = attrs.field(repr=False)
    digest: bytes = attrs.field(repr=False)

    @property
    def memory_bytes(self) -> int:
        """What one try takes (RFC 7914, section 2: 128 * N * r octets, and 128 * r * p)."""
        return int(128 * self.r * (2**self.ln + self.p))

    @classmethod
    def parse(cls, text: str) -> "PasswordHash":
        """
        From a line of the file.

        :raises ValueError: when it is none, or too dear.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(HASH_EXPECTED)
        ln, r, p = (int(number) for number in found.groups()[:3])
        salt, digest = _bytes(found[4]), _bytes(found[5])
        if not (10 <= ln <= 20 and r >= 1 and 1 <= p <= 16 and len(salt) >= 8 and len(digest) >= 16):
            raise ValueError(HASH_EXPECTED)
        made = cls(ln=ln, r=r, p=p, salt=salt, digest=digest)
        if made.memory_bytes > _DEAREST:
            raise ValueError(HASH_EXPECTED)
        return made

    def __str__(self) -> str:
        return f"$scrypt$ln={self.ln},r={self.r},p={self.p}${_text(self.salt)}${_text(self.digest)}"


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as reason:
        raise ValueError(HASH_EXPECTED) from reason


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


# The file


def _secret(read: Callable[[str], T], expected: str) -> Callable[[Value, Report], T]:
    """A reader whose complaint does not repeat what it found: it stands in events, which everybody may read."""

    def read_secret(value: Value, report: Report) -> T:
        try:
            return read(value.text(expected))
        except (Unreadable, ValueError):
            report.add(value.line, value.key, "something else", expected)
            raise Discarded(value.key) from None

    return read_secret


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise ValueError(DIGEST_EXPECTED)
    return text


_role = one_of(*(role.value for role in Role))


@attrs.frozen(kw_only=True)
class User:
    """Somebody with a password."""

    name: str = required(word)
    password_hash: PasswordHash = required(_secret(PasswordHash.parse, HASH_EXPECTED), secret=True)
    role: str = setting(_role, Role.VIEWER.value)


@attrs.frozen(kw_only=True)
class Token:
    """A program with a token."""

    name: str = required(word)
    token_hash: str = required(_secret(_digest, DIGEST_EXPECTED), secret=True)
    role: str = setting(_role, Role.VIEWER.value)


def user(value: Value, report: Report) -> User:
    """An element of ``web.users``."""
    return read_section(User, value, report)


def token(value: Value, report: Report) -> Token:
    """An element of ``web.tokens``."""
    return read_section(Token, value, report)
