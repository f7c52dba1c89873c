# -*- test-case-name: tests.test_web_access_guard -*-
"""
The headers of every answer: what a browser may do with it.

1. W3C Content Security Policy Level 3
2. RFC 6797 HTTP Strict Transport Security
"""

from collections.abc import Iterator

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline: a text from the network that got through would still be no program."""

_USUAL = (
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # Not no-referrer: browsers would then send "Origin: null" with our own forms (Fetch, 3.2).
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("cache-control", "no-store"),
)
STRICT_TRANSPORT_SECURITY = "strict-transport-security", "max-age=31536000"
"""A year, for this name alone: others on the LAN may have no certificate."""


def usual_headers(*, is_secure: bool) -> Iterator[tuple[str, str]]:
    """
    Names and values.

    :param is_secure: whether this connection is HTTPS.
    """
    yield from _USUAL
    if is_secure:
        yield STRICT_TRANSPORT_SECURITY
