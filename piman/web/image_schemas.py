# -*- test-case-name: tests.test_web_openapi -*-
"""
The part of the OpenAPI document that is about images.  Pure.
"""

from typing import Any

from piman.fleet.model import Scope
from piman.web.schema import (
    BOARD,
    TIME,
    answers,
    content,
    flag,
    getting,
    listed,
    number,
    one_of,
    or_null,
    record,
    ref,
    text,
    whole,
)

JSON = dict[str, Any]

_A_NAME = text(minLength=1)
_TARGETS = listed(_A_NAME, "Names, addresses, MACs; tag:NAME for a tag.", minItems=1)
_NODES = listed(ref("NamedNode"))

SCHEMAS: JSON = {
    "NamedNode": record("A node of the files.", id=BOARD, name=text("The hostname, else the MAC.")),
    "Image": record(
        "A root file system.",
        name=text(),
        path=or_null(text()),
        digest=or_null(text("SHA-256.")),
        size_bytes=or_null(whole()),
        modified=or_null(number("When its file was written last: seconds since 1970.")),
        note=text("Why there is no digest."),
        default=flag("Whether it is what a node gets for which nothing else is said."),
        installed=listed(ref("NamedNode"), "The nodes that have it on their cards."),
        assigned=listed(ref("NamedNode"), "The nodes that get it when they are installed next."),
    ),
    "Images": record(
        "All of them, and what nodes have of them.",
        images=listed(ref("Image")),
        default=text("The name of what a node gets for which nothing else is said."),
        older=listed(
            record(
                "What is on cards, and no image has its digest any more.",
                digest=text("SHA-256."),
                image=text("What it was called when it was installed; empty: not known."),
                nodes=_NODES,
            )
        ),
        unknown=listed(ref("NamedNode"), "The nodes of which nobody knows what is on their cards."),
        missing=listed(record("An image that nodes are to get and that there is not.", image=text(), nodes=_NODES)),
        choices=listed(
            record(
                "What somebody chose by command.",
                scope=one_of(Scope),
                name=text("The tag, or the MAC of the node; empty: the default."),
                node=or_null(text("What people call the node.")),
                image=text(),
                who=text(),
                source=text("From where."),
                chosen=TIME,
            )
        ),
        tags=listed(record("A tag of piman.yaml.", name=text(), nodes=_NODES)),
    ),
    "Outlook": record(
        "What a node gets when it is installed next, and what it has.",
        id=BOARD,
        name=text(),
        image=text(),
        rule=text("Why that one."),
        installed=record(
            "What is on its card.",
            image=text("Empty: not known."),
            digest=or_null(text("SHA-256; null: not known, or no whole one.")),
            older=flag("No image has this digest any more."),
        ),
    ),
    "Outlooks": record(
        "What was changed.",
        image=text("Empty: what the files say."),
        nodes=listed(ref("Outlook"), "The nodes that the change is about."),
    ),
    "SetDefault": record("An image for all nodes for which nothing else is said.", image=_A_NAME),
    "Assign": record("An image for these.", image=_A_NAME, nodes=_TARGETS),
    "Unassign": record("These.", nodes=_TARGETS),
}


def _change(operation: str, summary: str, body: str, *errors: int) -> JSON:
    """A POST."""
    return {
        "operationId": operation,
        "summary": summary,
        "requestBody": {"required": True, "content": content(ref(body))},
        "responses": answers("What nodes get from now on.", content(ref("Outlooks")), 400, 413, 422, 503, *errors),
    }


PATHS: JSON = {
    "/api/v1/images": {"get": getting("images", "All images, who has them and who gets them.", "Images", 400)},
    "/api/v1/images/default": {
        "post": _change("set_default", "Give an image to all nodes for which nothing else is said.", "SetDefault")
    },
    "/api/v1/images/assign": {"post": _change("assign", "Give an image to nodes and tags.", "Assign")},
    "/api/v1/images/unassign": {
        "post": _change("unassign", "Let what the files say of nodes and tags count again.", "Unassign", 409)
    },
}
