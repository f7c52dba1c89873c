# -*- test-case-name: tests.test_web_openapi -*-
"""
The words of an OpenAPI 3.1 document: schemas and paths in few letters.  Pure.
"""

from collections.abc import Mapping
from typing import Any

JSON = dict[str, Any]


def typed(name: str, told: str = "", **more: Any) -> JSON:
    """A schema of this type."""
    return {"type": name, **({"description": told} if told else {}), **more}


def text(told: str = "", **more: Any) -> JSON:
    """A text."""
    return typed("string", told, **more)


def number(told: str = "") -> JSON:
    """A number."""
    return typed("number", told)


def whole(told: str = "", **more: Any) -> JSON:
    """A whole number."""
    return typed("integer", told, **more)


def flag(told: str = "") -> JSON:
    """True or false."""
    return typed("boolean", told)


def listed(items: JSON, told: str = "", **more: Any) -> JSON:
    """A list of these."""
    return typed("array", told, items=items, **more)


def or_null(schema: JSON) -> JSON:
    """That, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(values: Any, told: str = "") -> JSON:
    """The value of an enumeration."""
    return text(told, enum=[each.value for each in values])


def ref(name: str) -> JSON:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(told: str, /, **properties: JSON) -> JSON:
    """An object that always has all of these, and no others."""
    return {
        "type": "object",
        "description": told,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TIME = number("Seconds since 1970; 0: never.")
BOARD = text("A lower-case MAC.", pattern="^([0-9a-f]{2}:){5}[0-9a-f]{2}$")


# Paths


def parameter(name: str, place: str, schema: JSON, told: str) -> JSON:
    """A parameter of a path."""
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": told}


def content(schema: JSON, kind: str = "application/json") -> JSON:
    """A body that fits a schema."""
    return {kind: {"schema": schema}}


def answers(summary: str, body: JSON, *errors: int, status: int = 200) -> JSON:
    """What may be answered: when all is well, and when it is not."""
    wrong = {str(code): {"description": ERRORS[code], "content": content(ref("Error"))} for code in (*errors, 500)}
    return {str(status): {"description": summary, "content": body}, **wrong}


ERRORS: Mapping[int, str] = {
    400: "The request has a mistake.",
    401: "It needs a login, or the token is not known.",
    403: "Whoever asks may not do that, or a page elsewhere made their browser ask.",
    404: "There is no such node or operation.",
    409: "It is refused; nothing was changed.",
    411: "The body does not say how long it is.",
    413: "The body is too long.",
    421: "The manager does not go by this name.",
    422: "The names mean nothing that can be done; nothing was changed.",
    500: "The manager made a mistake.",
    503: "The manager cannot do it now.",
}


def getting(operation: str, told: str, schema: str, *errors: int, parameters: tuple[JSON, ...] = ()) -> JSON:
    """A GET whose answer fits a schema."""
    found = answers(told, content(ref(schema)), *errors)
    return {"operationId": operation, "summary": told, "parameters": list(parameters), "responses": found}


# What stands before every path

SECURITY_SCHEMES: JSON = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "Of piman-ctl passwd --token.  On the manager itself it is needed only with web.login: always.",
    }
}


def guarded(paths: JSON) -> JSON:
    """
    The paths with what the site's guard may answer before any of them is asked.

    An answer that a path describes itself stays as it is.
    """
    return {path: {method: _guarded(told) for method, told in methods.items()} for path, methods in paths.items()}


def _guarded(described: JSON) -> JSON:
    is_open = described.get("security") == []
    codes = [400, 421] if is_open else [400, 401, 403, 421]
    if "requestBody" in described:
        codes += [411, 413]
    added = {str(code): {"description": ERRORS[code], "content": content(ref("Error"))} for code in codes}
    return {**described, "responses": dict(sorted({**added, **described["responses"]}.items()))}
