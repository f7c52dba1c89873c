# -*- test-case-name: tests.test_web_static_files -*-
"""
The plain files of the pages: read once, so that no request can name a file that is not one of them.

A browser keeps them, and asks each time whether they are still the same (``no-cache`` with an ETag): a manager that was
updated is never shown with old scripts.

1. RFC 9110: 8.8.3 ETag, 13.1.2 If-None-Match, 12.5.3 Accept-Encoding
"""

import gzip
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import attrs
from twisted.web.http import CACHED
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from piman.web.refusals import headed, refuse

TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
}
_TEXT = ("text/", "application/json", "image/svg+xml", "application/manifest+json")
WORTH_PACKING_BYTES = 1400
"""One packet."""


@attrs.frozen(kw_only=True)
class StaticFile:
    """One file."""

    kind: str
    content: bytes = attrs.field(repr=False)
    packed: bytes | None = attrs.field(repr=False)
    """With gzip, where that is worth it."""
    etag: str


def static_file(name: str, content: bytes) -> StaticFile:
    """
    A file as it is sent.

    :raises KeyError: when nothing is known of such files.
    """
    kind = TYPES[name.rpartition(".")[2]]
    packed = gzip.compress(content, mtime=0) if kind.startswith(_TEXT) and len(content) > WORTH_PACKING_BYTES else None
    return StaticFile(kind=kind, content=content, packed=packed, etag=sha256(content).hexdigest()[:32])


def packaged() -> dict[str, bytes]:
    """The files that come with piman, by their path below ``static``."""
    return dict(_below(files("piman.web").joinpath("static"), ""))


def _below(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{path}{entry.name}/")
        elif not entry.name.startswith("."):
            yield f"{path}{entry.name}", entry.read_bytes()


class StaticFiles(Resource):
    """``/static/...``."""

    isLeaf = True

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__()
        self._files = {name: static_file(name, content) for name, content in contents.items()}

    def render(self, request: IRequest) -> bytes:
        """The file, or that there is none."""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return refuse(request, 405, "method-not-allowed", "files can be read only", "Use GET.")
        carrier: Any = request
        name = b"/".join(carrier.postpath[1:]).decode("utf-8", "replace")
        found = self._files.get(name)
        if found is None:
            return refuse(request, 404, "no-such-path", f"found no file {name!r}")
        return _send(carrier, found)


def _send(request: Any, file: StaticFile) -> bytes:
    is_packed = file.packed is not None and _accepts_gzip(request)
    # A packed file is another representation, with another ETag (RFC 9110, 8.8.3.3).
    etag = f'"{file.etag}{"-gzip" if is_packed else ""}"'
    request.setHeader(b"content-type", file.kind.encode("ascii"))
    request.setHeader(b"cache-control", b"no-cache")
    if file.packed is not None:
        request.setHeader(b"vary", b"accept-encoding")
    if request.setETag(etag.encode("ascii")) is CACHED:
        return b""
    body = file.packed if is_packed and file.packed is not None else file.content
    if is_packed:
        request.setHeader(b"content-encoding", b"gzip")
    return headed(request, body)


def _accepts_gzip(request: Any) -> bool:
    for header in request.requestHeaders.getRawHeaders(b"accept-encoding", []):
        for choice in header.lower().split(b","):
            name, _, quality = choice.strip().partition(b";")
            if name.strip() == b"gzip":
                return quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False
