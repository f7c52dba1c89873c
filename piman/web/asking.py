# -*- test-case-name: tests.test_web_api -*-
"""
What routes have in common: how a request is read, how an answer is written, and work that nobody cuts short.
"""

import json
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from piman.web.wishes import MOST_BODY_BYTES

Result = TypeVar("Result")


def answer(request: IRequest, value: Any, status: int = 200) -> bytes:
    """A value as the body of an answer."""
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def parameters(request: Any) -> Mapping[bytes, list[bytes]]:
    """What stands behind the question mark."""
    return dict(request.args)


def body(request: Any) -> bytes:
    """The body of a request; one that is too long is cut where :func:`piman.web.wishes.read_body` sees it."""
    return bytes(request.content.read(MOST_BODY_BYTES + 1))


def whole(work: "Coroutine[Deferred[Any], Any, Result]") -> "Deferred[Result]":
    """
    Work that is done to its end, though nobody waits for it any more.

    A client that hangs up cancels its route; half an order must not be the result.
    """
    told: Deferred[Result] = Deferred()
    Deferred.fromCoroutine(work).addBoth(told.callback)
    return told
