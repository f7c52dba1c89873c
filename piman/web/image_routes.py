# -*- test-case-name: tests.test_web_images -*-
"""
The routes of the API that are about images: what there is, what nodes have, what they get.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from klein import Klein
from twisted.web.iweb import IRequest

from piman.web import wishes
from piman.web.asking import answer, body, parameters, whole
from piman.web.shelf import Asked, Shelf
from piman.web.wishes import Refusal

HINT = 'Send an object, like {"image": "lite", "nodes": ["pi2", "tag:kiosks"]}; GET /openapi.json describes it.'


class HasShelf(Protocol):
    """What the routes ask of the API that they belong to."""

    shelf: Shelf

    def asked(self, request: IRequest) -> Asked:
        """Who sent a request, and from where."""


def add_image_routes(app: Klein) -> None:
    """Add them to the application of a class with a shelf."""

    @app.route("/api/v1/images", methods=["GET"])
    async def images(api: HasShelf, request: IRequest) -> bytes:
        """All images, who has them and who gets them."""
        wishes.only(parameters(request))
        return answer(request, await api.shelf.images())

    @app.route("/api/v1/images/default", methods=["POST"])
    async def set_default(api: HasShelf, request: IRequest) -> bytes:
        """Give an image to all nodes for which nothing else is said."""
        wish = read_wish(body(request), "image")
        return answer(request, await whole(api.shelf.set_default(wish["image"], api.asked(request))))

    @app.route("/api/v1/images/assign", methods=["POST"])
    async def assign(api: HasShelf, request: IRequest) -> bytes:
        """Give an image to nodes and tags."""
        wish = read_wish(body(request), "image", "nodes")
        return answer(request, await whole(api.shelf.assign(wish["image"], wish["nodes"], api.asked(request))))

    @app.route("/api/v1/images/unassign", methods=["POST"])
    async def unassign(api: HasShelf, request: IRequest) -> bytes:
        """Let what the files say of nodes and tags count again."""
        wish = read_wish(body(request), "nodes")
        return answer(request, await whole(api.shelf.unassign(wish["nodes"], api.asked(request))))


def read_wish(text: bytes, *keys: str) -> Mapping[str, Any]:
    """
    A body with exactly these keys.

    :raises Refusal: with all mistakes.
    """
    found = wishes.read_body(text)
    problems = [f"{key}: found an unknown key, expected {' and '.join(keys)}" for key in found if key not in keys]
    wrong = [key for key in keys if not _fits(found, key)]
    problems += [f"{key}: found {_seen(found, key)}, expected {_EXPECTED[key]}" for key in wrong]
    if problems:
        raise Refusal(400, "bad-order", "; ".join(problems), HINT)
    return found


_EXPECTED = {
    "image": "the name of an image",
    "nodes": 'a list of names, addresses, MACs or tags of nodes, like ["pi2", "tag:kiosks"]',
}


def _fits(found: Mapping[str, Any], key: str) -> bool:
    value = found.get(key)
    if key == "image":
        return isinstance(value, str) and bool(value)
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) and word for word in value)


def _seen(found: Mapping[str, Any], key: str) -> str:
    return wishes.shown(found[key]) if key in found else "nothing"
