# -*- test-case-name: tests.test_monitor_readings -*-
"""
What an agent tells of its node: :class:`Reading`, as JSON and as Prometheus text.

Agents deployed years ago go on working: ``time`` may be ctime text, ``temp`` may be missing, unknown keys are ignored.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import attrs

LARGEST_ANSWER_BYTES = 64 * 1024
"""A reading has 200 bytes; whoever sends more is no agent."""


class MalformedReading(ValueError):
    """What came is not what an agent says."""


@attrs.frozen(kw_only=True)
class Reading:
    """How a node was at one moment."""

    time: float | str
    """The node's own clock: seconds since 1970, or, from old agents, ctime text.  Show it, never count with it."""
    cpu_percent: float
    memory_percent: float
    disk_percent: float
    num_pids: int
    temp: float | None = None
    """Degrees Celsius of the processor, where the board tells."""
    throttled: int | None = None
    """The bits of the Pi firmware's ``get_throttled``: bit 0 under-voltage now, bit 16 since the boot, and so on."""

    @classmethod
    def from_json(cls, data: bytes) -> "Reading":
        """
        Read an agent's answer.

        :raises MalformedReading: when it is none.
        """
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError) as reason:
            raise MalformedReading("the answer is not JSON") from reason
        if not isinstance(answer, dict):
            raise MalformedReading("the answer is not a JSON object")
        return cls(
            time=_time(answer.get("time")),
            cpu_percent=_number(answer, "cpu_percent"),
            memory_percent=_number(answer, "memory_percent"),
            disk_percent=_number(answer, "disk_percent"),
            num_pids=int(_number(answer, "num_pids")),
            temp=_optional(answer, "temp"),
            throttled=None if answer.get("throttled") is None else int(_number(answer, "throttled")),
        )

    def to_json(self) -> bytes:
        """The answer of an agent; what the board does not tell is left out."""
        answer = {name: value for name, value in attrs.asdict(self).items() if value is not None}
        return json.dumps(answer).encode()

    def to_metrics(self) -> bytes:
        """Prometheus' text format 0.0.4; of what the board does not tell there is no line."""
        lines = []
        for name, scale, meaning in METRICS:
            value = getattr(self, name)
            if value is not None:
                metric = scale(name)
                lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} gauge", f"{metric} {value}"]
        return ("\n".join(lines) + "\n").encode()


def _gauge(name: str) -> str:
    return f"piman_node_{name}"


def _celsius(name: str) -> str:
    return "piman_node_temperature_celsius"


METRICS: tuple[tuple[str, Callable[[str], str], str], ...] = (
    ("cpu_percent", _gauge, "Processor time in use, per cent."),
    ("memory_percent", _gauge, "Memory in use, per cent."),
    ("disk_percent", _gauge, "Root file system in use, per cent."),
    ("num_pids", _gauge, "Processes."),
    ("temp", _celsius, "Temperature of the processor."),
    ("throttled", _gauge, "Bits of the firmware's get_throttled."),
)


def _time(value: Any) -> float | str:
    if isinstance(value, str) and len(value) <= 64:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise MalformedReading(f"time is {value!r}, no number and no text"[:200])


def _number(answer: dict[str, Any], name: str) -> float:
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedReading(f"{name} is {value!r}, no number"[:200])
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MalformedReading(f"{name} is not finite")
    return number


def _optional(answer: dict[str, Any], name: str) -> float | None:
    return None if answer.get(name) is None else _number(answer, name)
