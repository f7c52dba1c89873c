# -*- test-case-name: tests.test_web_pages_orders -*-
"""
How far an operation is, for people: a bar, so many of so many, and the time that remains if it can be told.  Pure.
"""

from math import ceil
from statistics import fmean, median

from piman.web.shapes import JSON

LEAST_FINISHED = 3
"""Before so many targets are done nobody knows how long one takes."""
LATE = 1.5
"""A target that takes so many times longer than the others will not be done in a time that they tell."""
SEGMENTS = ("done", "failed", "cancelled", "busy", "waiting")
"""The parts of the bar, from the left."""
TITLES = {
    "restart": "Restart",
    "reinstall": "Reinstall",
    "power-on": "Power on",
    "power-off": "Power off",
}


def remaining_seconds(reports: list[JSON], at_most: int, now: float) -> float | None:
    """
    How long it still takes, as the targets that are done tell; None: it cannot be told.

    The larger of two: what the median of them makes of those that are left, and what is left at the rate at which
    they came back (the quick ones come back first, and what the manager holds back waits longer).  It cannot be told
    when fewer than three are done, or when one at work takes half as long again as they did.
    ``static/estimate.js`` does the same; tests/estimates.json holds the cases for both.
    """
    finished = [each for each in reports if each["step"] == "done" and each["started"]]
    done: list[float] = [each["finished"] - each["started"] for each in finished]
    waiting = sum(1 for each in reports if each["step"] == "waiting")
    busy = [each for each in reports if not each["final"] and each["step"] != "waiting"]
    ages: list[float] = [now - each["started"] for each in busy]
    if len(done) < LEAST_FINISHED or not (waiting or ages):
        return None
    usual = median(done)
    if any(age > usual * LATE for age in ages):
        return None
    ends = [each["finished"] for each in finished]
    at_this_rate: float = (waiting + len(ages)) * (max(ends) - min(ends)) / (len(ends) - 1)
    left = [max(0.0, usual - age) for age in ages]
    if not waiting:
        return max(*left, at_this_rate)
    width = max(at_most, len(ages), 1)
    return max(at_this_rate, (fmean(left) if left else 0.0) + ceil(waiting / width) * usual)


def progress(operation: JSON, now: float) -> JSON:
    """
    What is shown of an operation above its targets.

    :param operation: whole, or a summary, of which the remaining time cannot be told.
    """
    counts = operation["counts"]
    parts = {name: counts.get(name, 0) for name in SEGMENTS}
    parts["busy"] = sum(counts.values()) - sum(parts.values())
    total, start, segments = sum(counts.values()), 0, []
    for name in SEGMENTS:
        segments.append({"name": name, "start": start, "count": parts[name]})
        start += parts[name]
    reports = operation.get("reports", [])
    return {
        **operation,
        "title": TITLES[operation["action"]],
        "total": total,
        "over": parts["done"] + parts["failed"] + parts["cancelled"],
        "parts": parts,
        "segments": segments,
        "remaining": remaining_seconds(reports, operation["at_most"], now),
        "trouble": [each for each in reports if each["reason"] and each["step"] != "done"],
    }


def stages(report: JSON, now: float) -> list[JSON]:
    """The stages of a target with their seconds; the last one goes on until it is over."""
    found = report["stages"]
    ends = [*(each["time"] for each in found[1:]), report["finished"] or now]
    return [
        {"phase": each["phase"], "seconds": max(0.0, end - each["time"])}
        for each, end in zip(found, ends, strict=False)
        if each["phase"] != "up"
    ]
