# -*- test-case-name: tests.test_web_site -*-
"""
A page that lists the nodes, and says that there is nothing where nothing is.
"""

from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from piman.fleet.nodes import NodeRegistry
from piman.web.refusals import refuse_http
from piman.web.rendering import page


class Front:
    """
    The page.

    :param context: what every template gets, for a request.
    """

    app = Klein()

    def __init__(self, registry: NodeRegistry, context: Callable[[IRequest], dict[str, Any]]) -> None:
        self._registry = registry
        self._context = context

    def resource(self) -> IResource:
        """The page as a resource."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/", methods=["GET"])
    def nodes(self, request: IRequest) -> bytes:
        """All nodes."""
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        nodes = [(node, self._registry.status(node.mac)) for node in self._registry.nodes()]
        return page("front.html", self._context(request), nodes=nodes)

    @app.handle_errors(HTTPException)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """There is nothing."""
        error: Any = failure.value
        return refuse_http(request, error, self._context(request))
