# -*- test-case-name: tests.test_settings_monitoring_config -*-
"""
``monitoring.config`` of the original: an INI file with one section, ``[DEFAULT]``.

``timeout`` is the pause between two sweeps, not that of a connection.  Values may hold ``%``, and any key may be
missing or empty.  What stands in ``piman.yaml`` comes before what stands here; nobody writes here.
"""

import configparser
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from piman.fleet.limits import Limit
from piman.host.regular import read_regular
from piman.settings.yamlfile import Report

NAMES = ("monitor.config", "monitoring.config", "monitoring/monitoring.config")
"""Where it is found beside piman.yaml; the first one counts."""

THRESHOLDS = {
    "cpu_threshold": "cpu_percent",
    "mem_threshold": "memory_percent",
    "disk_threshold": "disk_percent",
    "pids_threshold": "num_pids",
    "temperature_threshold": "temp",
}
CHANNELS = ("slack", "discord")
PAUSE = "timeout"

LONGEST_PAUSE_SECONDS = 86_400.0

_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?\s*%?", re.ASCII)


@attrs.frozen(kw_only=True)
class MonitoringConfig:
    """What the file says; what it does not say is left to ``piman.yaml`` and its defaults."""

    interval_seconds: float | None = None
    thresholds: Mapping[str, Limit] = attrs.field(factory=dict)
    """At once, as with the original: it told every breach of every sweep."""
    channels: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False)
    """As ``alerts`` in piman.yaml would say it: the addresses are secrets."""


def find(folder: Path) -> Path | None:
    """The file beside ``piman.yaml``, if there is one."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read(path: Path, report: Report) -> MonitoringConfig:
    """The file; what cannot be read is noted, and as if it were missing."""
    content = _content(path, report)
    if content is None:
        return MonitoringConfig()
    found = dict(_values(content, report))
    return MonitoringConfig(
        interval_seconds=found.get(PAUSE),
        thresholds={
            reading: Limit.of(found[key], for_seconds=0.0) for key, reading in THRESHOLDS.items() if key in found
        },
        channels=tuple({"kind": kind, "url": found[kind]} for kind in CHANNELS if kind in found),
    )


def _content(path: Path, report: Report) -> str | None:
    try:
        return read_regular(path).decode("utf-8-sig")
    except OSError as reason:
        report.add(0, "", f"a file that cannot be read ({reason.strerror})", "one that piman's user may read")
    except UnicodeDecodeError:
        report.add(0, "", "bytes that are not UTF-8", "UTF-8 text")
    return None


def _values(content: str, report: Report) -> Iterator[tuple[str, Any]]:
    for key, text in _pairs(content, report):
        line = _line_of(key, content)
        if key not in _READERS:
            report.add(line, key, "an unknown key", "one of " + ", ".join(_READERS))
        elif text:
            value, expected = _READERS[key](text)
            if value is None:
                report.add(line, key, "no web address" if key in CHANNELS else repr(text), expected)
            else:
                yield key, value


def _pairs(content: str, report: Report) -> list[tuple[str, str]]:
    """The keys of ``[DEFAULT]``: without interpolation, so that ``%`` stays what it is."""
    parser = configparser.RawConfigParser(interpolation=None)
    try:
        parser.read_string(content)
    except configparser.MissingSectionHeaderError as mistake:
        report.add(mistake.lineno, "", "a line before any section", "[DEFAULT] as the first line")
    except (configparser.DuplicateOptionError, configparser.DuplicateSectionError) as mistake:
        key = getattr(mistake, "option", None) or f"[{mistake.section}]"
        report.add(mistake.lineno or 0, key, "it again", "it once")
    except configparser.ParsingError as mistake:
        for line, _ in mistake.errors:
            report.add(line, "", "a line that is no key = value", "key = value, like cpu_threshold = 50.0")
    else:
        for section in parser.sections():
            report.add(_line_of(f"[{section}]", content), f"[{section}]", "another section", "[DEFAULT] alone")
        return [(key, value.strip()) for key, value in parser.defaults().items()]
    return []


def _line_of(key: str, content: str) -> int:
    """Where a key or a section begins; 0: somewhere."""
    for number, line in enumerate(content.splitlines(), 1):
        if re.split("[=:]", line, maxsplit=1)[0].strip().lower() == key.lower():
            return number
    return 0


# Values: what each means, or None and what was expected


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text.rstrip("% "))
    return value if math.isfinite(value) else None


def _threshold(text: str) -> tuple[float | None, str]:
    return _number(text), "a number, like 50.0"


def _pause(text: str) -> tuple[float | None, str]:
    value = _number(text)
    is_pause = value is not None and 1 <= value <= LONGEST_PAUSE_SECONDS and "%" not in text
    return value if is_pause else None, f"seconds from 1 to {LONGEST_PAUSE_SECONDS:g}, the pause between sweeps"


def _address(text: str) -> tuple[str | None, str]:
    """Not shown when it is wrong: who knows it can write to the channel."""
    is_address = re.fullmatch(r"https?://[^\s/]+\S*", text) is not None
    return text if is_address else None, "an address like https://hooks.slack.com/services/..., or nothing"


_READERS: Mapping[str, Callable[[str], tuple[Any, str]]] = {
    **dict.fromkeys(CHANNELS, _address),
    PAUSE: _pause,
    **dict.fromkeys(THRESHOLDS, _threshold),
}
