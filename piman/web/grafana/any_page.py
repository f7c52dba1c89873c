# -*- test-case-name: tests.test_web_grafana -*-
"""
What lets pages of others read the answers of Grafana's own port.

A data source with access "Browser" is asked by Grafana's page, which comes from another origin.  The site has no such
answers: whoever sits on the manager needs no login there, and any page in his browser could read names of nodes.

1. WHATWG Fetch, 3.2 CORS protocol
"""

from typing import Any

from twisted.web.resource import IResource, Resource

CORS = {
    b"access-control-allow-origin": b"*",
    b"access-control-allow-methods": b"GET, POST, OPTIONS",
    b"access-control-allow-headers": b"accept, content-type",
    b"access-control-max-age": b"600",
}
"""Cookies are never sent to ``*``."""


class AnyPage(Resource):
    """
    A resource whose answers any page may read.

    It sees the whole path.
    """

    isLeaf = True

    def __init__(self, resource: IResource) -> None:
        super().__init__()
        self._resource = resource

    def render(self, request: Any) -> Any:
        """Its answer, with the headers that say so."""
        for name, value in CORS.items():
            request.setHeader(name, value)
        return self._resource.render(request)
