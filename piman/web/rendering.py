# -*- test-case-name: tests.test_web_site -*-
"""
Templates: what a value becomes in HTML is escaped, and a name that a template misspells is an error, not a blank.
"""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Where templates come from, and how they are read."""
    return Environment(
        loader=PackageLoader("piman.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_environment = environment()


def page(template: str, context: dict[str, Any], **values: Any) -> bytes:
    """A page."""
    return _environment.get_template(template).render({**context, **values}).encode("utf-8")
