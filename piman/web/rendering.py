# -*- test-case-name: tests.test_web_rendering -*-
"""
Templates and what they can say: Jinja2 with autoescape on, and a name that nobody gave is a mistake, not an empty text.

Texts come from the network and from the operator's files; what a template shows of them is escaped unless the
template says otherwise, and none does.  docs/decisions/pages.md
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from piman.fleet.model import Phase

FAMILIES: Mapping[str, tuple[str, tuple[Phase, ...]]] = {
    "up": ("up", (Phase.UP,)),
    "system": ("starting its system", (Phase.STARTING, Phase.GREETING, Phase.BOOTING)),
    "install": ("being installed", (Phase.FORMATTING, Phase.IMAGING)),
    "firmware": ("in its firmware", (Phase.POWERED, Phase.OFFERED, Phase.LEASED, Phase.LOADING)),
    "silent": ("silent", (Phase.SILENT,)),
    "stuck": ("stuck", (Phase.STUCK,)),
    "off": ("off", (Phase.OFF,)),
    "unknown": ("unknown", (Phase.UNKNOWN,)),
}
"""Phases that share a colour and a shape (``icons/phase-*.svg``), with what a legend calls them."""


def environment() -> Environment:
    """All templates of the site, with its filters."""
    found = Environment(
        loader=PackageLoader("piman.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(moment=moment, duration=duration, size=size, counted=counted)
    found.globals.update(families=FAMILIES)
    return found


def moment(time: float) -> Markup:
    """A moment as a ``time`` element: UTC in words; a page's script makes it the reader's own time."""
    if not time:
        return Markup('<span class="muted">never</span>')
    shown = datetime.fromtimestamp(time, UTC)
    machine, words = shown.isoformat(timespec="milliseconds"), shown.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(machine, words)


def duration(seconds: float) -> str:
    """A duration with two units at most: ``0.4 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for length, name, smaller, small_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            rest = whole % length // smaller
            return f"{whole // length} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def size(count: int) -> str:
    """Bytes, in the decimal units of disks and downloads."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def counted(count: int, one: str, many: str = "") -> str:
    """``1 node``, ``2 nodes``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


_templates = environment()


def page(template: str, context: Mapping[str, Any], **values: Any) -> bytes:
    """
    A page.

    :param context: what the frame shows: ``csrf_token``, ``user``, ``role``, ``site_name``, ``version``, ``page``.
    """
    return _templates.get_template(template).render({**context, **values}).encode("utf-8")
