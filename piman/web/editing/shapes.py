# -*- test-case-name: tests.test_web_editing -*-
"""
The JSON of the two files.  Pure; :mod:`piman.web.editing.schemas` describes the same.
"""

from collections.abc import Iterable
from typing import Any

from piman.editing.desk import Mistake, Sheet, Verdict
from piman.editing.form import Field, Form, Repeated
from piman.editing.hoststext import HostLine
from piman.settings.readers import Shape

JSON = dict[str, Any]


def mistake(found: Mistake) -> JSON:
    """Something wrong with a file."""
    return {"line": found.line, "key": found.key, "text": found.text, "file": found.file}


def mistakes(found: Iterable[Mistake]) -> list[JSON]:
    """All that is wrong."""
    return [mistake(each) for each in found]


def _shape(found: Shape | None) -> JSON | None:
    if found is None:
        return None
    return {"kind": found.kind, "words": list(found.words), "item": found.item.kind if found.item else None}


def field(found: Field) -> JSON:
    """One key of the form."""
    return {
        "path": list(found.path),
        "key": found.key,
        "label": found.label,
        "help": found.help,
        "default": found.default,
        "required": found.required,
        "secret": found.secret,
        "later": found.later,
        "shape": _shape(found.shape),
        "state": found.state,
        "value": found.value,
    }


def _repeated(found: Repeated) -> JSON:
    return {
        "path": list(found.path),
        "title": found.title,
        "help": found.help,
        "elements": [list(map(field, element)) for element in found.elements],
        "empty": list(map(field, found.empty)),
    }


def form(found: Form | None) -> JSON | None:
    """The form of piman.yaml; None: the text cannot be taken apart."""
    if found is None:
        return None
    groups = [
        {"name": group.name, "title": group.title, "fields": list(map(field, group.fields))} for group in found.groups
    ]
    return {"groups": groups, "repeated": list(map(_repeated, found.repeated))}


def host_line(found: HostLine) -> JSON:
    """A line of hosts.csv."""
    columns = {name: found.columns.get(name, "") for name in ("mac", "address", "hostname", "last_used")}
    return {"number": found.number, "kind": found.kind, "text": found.text, "columns": columns}


def sheet(found: Sheet, last_change: JSON | None) -> JSON:
    """
    A file as it is.

    :param last_change: who wrote it last, as far as that is known.
    """
    return {
        "path": str(found.path),
        "exists": found.exists,
        "digest": found.digest,
        "text": found.text,
        "problems": mistakes(found.problems),
        "warnings": mistakes(found.warnings),
        "form": form(found.form),
        "rows": list(map(host_line, found.rows)),
        "last_change": last_change,
    }


def verdict(found: Verdict, last_change: JSON | None) -> JSON:
    """What would become of a proposal, or became of it."""
    return {
        "digest": found.digest,
        "text": found.text,
        "diff": list(found.diff),
        "problems": mistakes(found.problems),
        "warnings": mistakes(found.warnings),
        "at_once": list(found.at_once),
        "at_restart": list(found.at_restart),
        "others": list(found.others),
        "form": form(found.form),
        "rows": list(map(host_line, found.rows)),
        "last_change": last_change,
    }
