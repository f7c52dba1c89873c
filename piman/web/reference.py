# -*- test-case-name: tests.test_web_reference -*-
"""
``/api``: the OpenAPI document as a page for people.

Everything on it comes from the document, so it says of each path what ``/openapi.json`` says to programs.
"""

from collections.abc import Callable, Iterator
from typing import Any

from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from piman.web.refusals import headed, refuse
from piman.web.rendering import page

JSON = dict[str, Any]
_ADDRESSES = (b"/api", b"/api/")


def type_of(schema: JSON) -> tuple[str, str]:
    """What a value is, in words, and the schema that tells more (empty: none)."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return name, name
    if "anyOf" in schema:
        found = [type_of(each) for each in schema["anyOf"]]
        return " or ".join(words for words, _ in found), next((name for _, name in found if name), "")
    kind = schema.get("type", "anything")
    if kind == "array":
        words, name = type_of(schema["items"])
        return f"list of {words}", name
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"])), ""
    return " or ".join(kind) if isinstance(kind, list) else str(kind), ""


def rows(schema: JSON, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """The properties of an object and of the objects in it: name, type, further schema, text."""
    for name, inner in schema.get("properties", {}).items():
        words, further = type_of(inner)
        yield f"{prefix}{name}", words, further, inner.get("description", "")
        within, dots = (inner["items"], "[].") if inner.get("type") == "array" else (inner, ".")
        yield from rows(within, f"{prefix}{name}{dots}")


def routes(document: JSON) -> Iterator[JSON]:
    """Each route with what the page shows of it."""
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            body = described.get("requestBody", {}).get("content", {})
            yield {
                "method": method.upper(),
                "path": path,
                "id": described["operationId"],
                "summary": described["summary"],
                "parameters": [
                    {**each, "type": type_of(each["schema"])[0]} for each in described.get("parameters", ())
                ],
                "body": [type_of(each["schema"]) for each in body.values()],
                "answers": [
                    (code, answer["description"], *_content(answer)) for code, answer in described["responses"].items()
                ],
            }


def _content(answer: JSON) -> tuple[str, str]:
    return next((type_of(each["schema"]) for each in answer.get("content", {}).values()), ("", ""))


class Reference(Resource):
    """
    The page, and the API below it.

    :param document: the OpenAPI document.
    :param context: what every template gets, for a request.
    """

    isLeaf = True

    def __init__(self, api: IResource, document: JSON, context: Callable[[IRequest], dict[str, Any]]) -> None:
        super().__init__()
        self._api = api
        self._context = context
        schemas = document["components"]["schemas"]
        self._values = {
            "routes": list(routes(document)),
            "schemas": [(name, schema["description"], list(rows(schema))) for name, schema in schemas.items()],
        }

    def render(self, request: IRequest) -> Any:
        """The page at its own address, the API at all others."""
        if request.path not in _ADDRESSES:
            return self._api.render(request)
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return refuse(request, 405, "method-not-allowed", "this page can be read only", "Use GET.")
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        return headed(request, page("api.html", self._context(request), **self._values))
