# -*- test-case-name: tests.test_web_openapi -*-
"""
The two files in the OpenAPI document: schemas and paths.  Pure.
"""

from typing import Any

JSON = dict[str, Any]

_TEXT: JSON = {"type": "string"}
_WHOLE: JSON = {"type": "integer"}
_FLAG: JSON = {"type": "boolean"}


def _list(items: JSON, text: str = "") -> JSON:
    return {"type": "array", "items": items, "description": text}


def _or_null(schema: JSON) -> JSON:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(text: str, /, **properties: JSON) -> JSON:
    """An object that always has all of these, and no others."""
    return {
        "type": "object",
        "description": text,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_KINDS = ["string", "number", "boolean", "array", "object", "null"]
_ANY: JSON = {"type": _KINDS, "items": {"type": _KINDS}}
_PATH = _list({"type": ["string", "integer"]}, "Keys, and indexes of elements.")
_MISTAKES = _list(_ref("Mistake"))
_KEYS = _list(_TEXT, "Dotted keys.")
_SHAPE = _object(
    "How a value looks.",
    kind={"type": "string", "enum": ["text", "choice", "list", "mapping", "plugin"]},
    words=_list(_TEXT, "Of a choice: all there are."),
    item=_or_null(_TEXT),
)
_FILE: JSON = {
    "digest": {**_TEXT, "description": "Tells versions of the file apart; also the ETag."},
    "text": {**_TEXT, "description": "The file; each secret is <secret-...>, which means itself when it is sent back."},
    "problems": {**_MISTAKES, "description": "With these it cannot be written."},
    "warnings": {**_MISTAKES, "description": "With these it can."},
    "form": _or_null(_ref("Form")),
    "rows": _list(_ref("HostLine"), "Of hosts.csv."),
    "last_change": _or_null(
        _object(
            "Who wrote the file as it is, if a page or a program did.", who=_TEXT, source=_TEXT, time={"type": "number"}
        )
    ),
}
_CHANGES = {
    "type": "array",
    "items": {"type": "object"},
    "description": (
        'Of piman.yaml: {"what": set, unset or add, "path": [...], "value": ...}.  Of hosts.csv: {"what": set, remove '
        'or add, "line": ..., "was": ..., "columns": {...}}.'
    ),
}

SCHEMAS: JSON = {
    "Mistake": _object(
        "Something wrong with a file.",
        line={**_WHOLE, "description": "0: the file as a whole."},
        key={**_TEXT, "description": "A dotted key, or a column of hosts.csv."},
        text=_TEXT,
        file={**_TEXT, "description": "Empty: the file that was asked about."},
    ),
    "Field": _object(
        "A key of piman.yaml.",
        path=_PATH,
        key=_TEXT,
        label=_TEXT,
        help=_TEXT,
        default=_TEXT,
        required=_FLAG,
        secret=_FLAG,
        later={**_FLAG, "description": "No part of this version uses it."},
        shape=_SHAPE,
        state={"type": "string", "enum": ["unset", "blank", "written", "elsewhere"]},
        value=_ANY,
    ),
    "Form": _object(
        "piman.yaml as a form.",
        groups=_list(_object("Keys under a heading.", name=_TEXT, title=_TEXT, fields=_list(_ref("Field")))),
        repeated=_list(
            _object(
                "A list of sections, like the switches.",
                path=_PATH,
                title=_TEXT,
                help=_TEXT,
                elements=_list(_list(_ref("Field"))),
                empty=_list(_ref("Field"), "A new one; its index is -1."),
            )
        ),
    ),
    "HostLine": _object(
        "A line of hosts.csv.",
        number=_WHOLE,
        kind={"type": "string", "enum": ["row", "comment", "empty"]},
        text=_TEXT,
        columns=_object("Its columns.", mac=_TEXT, address=_TEXT, hostname=_TEXT, last_used=_TEXT),
    ),
    "File": _object("A file as it is.", path=_TEXT, exists=_FLAG, **_FILE),
    "Verdict": _object(
        "What would become of a proposal.",
        diff=_list(_TEXT, "Lines of a unified diff."),
        at_once=_KEYS,
        at_restart=_KEYS,
        others=_list(_TEXT, "What somebody else changed since the base, as a unified diff."),
        **_FILE,
    ),
    "Applied": _object(
        "What became of files that were read again.",
        taken=_FLAG,
        at_once=_KEYS,
        at_restart=_KEYS,
        warnings=_list(_TEXT),
        note=_TEXT,
    ),
    "Kept": _object(
        "What was written, and what came of it.",
        verdict=_ref("Verdict"),
        backup={**_TEXT, "description": "The name of the old file; empty: there is none."},
        applied=_ref("Applied"),
    ),
    "Mistaken": _object(
        "A proposal with mistakes; nothing was written.",
        error=_object("What went wrong.", code=_TEXT, message=_TEXT, hint=_TEXT),
        verdict=_ref("Verdict"),
    ),
    "Proposal": {
        "type": "object",
        "description": "What a file should say: a whole text, or changes.",
        "properties": {
            "text": _TEXT,
            "changes": _CHANGES,
            "base": {
                **_TEXT,
                "description": "The text that was looked at; changes are carried over to the one of now.",
            },
        },
        "required": [],
        "oneOf": [{"required": ["text"]}, {"required": ["changes"]}],
        "additionalProperties": False,
    },
}

ERRORS = {
    400: "The request has a mistake.",
    412: "The file was changed meanwhile; nothing was written.",
    413: "The body is too long.",
    428: "If-Match is missing.",
    500: "The manager made a mistake.",
    503: "The file cannot be read or written.",
}


def _content(schema: JSON) -> JSON:
    return {"application/json": {"schema": schema}}


def _answers(text: str, schema: JSON, *errors: int) -> JSON:
    wrong = {str(code): {"description": ERRORS[code], "content": _content(_ref("Error"))} for code in (*errors, 500)}
    return {"200": {"description": text, "content": _content(schema)}, **wrong}


def _condition(name: str, text: str, *, required: bool = False) -> JSON:
    return {"name": name, "in": "header", "required": required, "schema": _TEXT, "description": text}


_BODY = {"required": True, "content": _content(_ref("Proposal"))}


def _paths(name: str, file: str) -> JSON:
    read = {
        "operationId": name,
        "summary": f"{file}, without secrets.",
        "parameters": [_condition("If-None-Match", "The ETag of what is known: 304 while it is the same.")],
        "responses": {
            **_answers("The file.", _ref("File"), 400, 503),
            "304": {"description": "It is the same."},
        },
    }
    write = {
        "operationId": f"put_{name}",
        "summary": f"Write {file} and apply it.",
        "parameters": [_condition("If-Match", "The ETag of the version that it was made for.", required=True)],
        "requestBody": _BODY,
        "responses": {
            **_answers("It was written.", _ref("Kept"), 400, 412, 413, 428, 503),
            "422": {"description": "It has mistakes; nothing was written.", "content": _content(_ref("Mistaken"))},
        },
    }
    judge = {
        "operationId": f"validate_{name}",
        "summary": f"What would become of {file}; nothing is written.",
        "requestBody": _BODY,
        "responses": _answers("The verdict.", _ref("Verdict"), 400, 413, 503),
    }
    return {f"/api/v1/{name}": {"get": read, "put": write}, f"/api/v1/{name}/validate": {"post": judge}}


PATHS: JSON = {
    **_paths("config", "piman.yaml"),
    **_paths("hosts", "hosts.csv"),
    "/api/v1/config/apply": {
        "post": {
            "operationId": "apply",
            "summary": "Read both files again, as SIGHUP does.",
            "responses": _answers("What came of it.", _ref("Applied")),
        }
    },
    "/get_config": {
        "get": {
            "operationId": "get_config",
            "summary": "piman.yaml as JSON, without secrets, as the original had it.",
            "responses": _answers("The file; without one {}.", _ANY, 503),
        }
    },
    "/get_hosts_csv": {
        "get": {
            "operationId": "get_hosts_csv",
            "summary": "The lines of hosts.csv, as the original had it.",
            "responses": _answers("The lines, line ends included.", _list(_TEXT), 503),
        }
    },
}
