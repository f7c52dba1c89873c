# -*- test-case-name: tests.test_web_branch -*-
"""
A place in the tree of addresses where other resources hang, and nothing else is.
"""

from collections.abc import Mapping
from typing import Any

from twisted.web.resource import IResource, Resource

from piman.web.refusals import Refused


class Branch(Resource):
    """
    Resources by the next segment of the path.

    For resources that see only what comes after them: a :class:`~piman.web.site.Root` hands on the whole path.
    """

    def __init__(self, children: Mapping[str, IResource]) -> None:
        super().__init__()
        for name, child in children.items():
            self.putChild(name.encode("ascii"), child)

    def getChild(self, path: bytes, request: Any) -> IResource:
        """There is nothing."""
        hint = "Known here: " + ", ".join(sorted(name.decode("ascii") for name in self.children)) + "."
        asked = request.path.decode("utf-8", "replace")
        return Refused(404, "no-such-path", f"found nothing at {asked}", hint)

    def render(self, request: Any) -> Any:
        """There is nothing."""
        return self.getChild(b"", request).render(request)
