# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
Why a node has no power or no link, or does not ask for an address although it has both.
"""

from piman.fleet import events
from piman.fleet.model import Phase, PowerBudget
from piman.fleet.verdicts.address import address_trouble
from piman.fleet.verdicts.case import Case, Verdict
from piman.fleet.verdicts.remedies import Fault
from piman.fleet.wording import shown

PORT_WATTS = 15.4
"""What a switch sets aside for a node that has not told its class (IEEE 802.3af, class 0)."""
RENEWAL_SECONDS = 600.0
"""A system that runs all the time is heard of within this time: it renews its lease."""


def power_trouble(case: Case) -> Verdict | None:
    """What the switch says of a port that gives no power."""
    power, budget = case.evidence.power, case.evidence.budget
    if power is None or power.delivering is not False:
        return None
    port = case.evidence.node.port if case.evidence.node is not None else None
    where = str(port) if port is not None else f"port {power.port}"
    if power.admin_on is False:
        return case.say(Fault.POWER_OFF, f"it has no power: {where} is switched off")
    if budget is not None and budget.state in ("off", "faulty"):
        sentence = f"it has no power: the switch of {where} says that its supply is {budget.state}"
        return case.say(Fault.POWER_SUPPLY, sentence)
    if power.state == "fault":
        return case.say(Fault.POWER_FAULT, f"it has no power: {where} reports a fault")
    spent = _spent(budget)
    if spent:
        return case.say(Fault.POWER_BUDGET, f"it has no power: the switch of {where} gives {spent} already")
    if power.state == "other fault":
        return case.say(Fault.POWER_DENIED, f"it has no power: {where} refuses it")
    return case.say(Fault.NOTHING_DRAWS, f"it has no power: {where} is on, and nothing there asks for it")


def _spent(budget: PowerBudget | None) -> str:
    """What a switch gives that has no power left for one more node; else nothing."""
    if budget is None or budget.total_watts is None or budget.used_watts is None:
        return ""
    is_spent = budget.total_watts - budget.used_watts < PORT_WATTS
    return f"{budget.used_watts:.1f} of {budget.total_watts:.1f} W" if is_spent else ""


def _switch_trouble(case: Case) -> Verdict | None:
    """The last order to its port failed."""
    for recorded in reversed(case.evidence.events):
        if isinstance(recorded.event, events.PowerCycleFailed):
            reason = shown(recorded.event.reason).rstrip(".")
            return case.say(Fault.NOT_SWITCHED, f"its port was not switched as ordered: {reason}")
        if isinstance(recorded.event, events.PowerRemoved | events.PowerGiven | events.PowerCycled):
            return None
    return None


def dark(case: Case) -> Verdict | None:
    """It was switched off: by an order, which is no fault, or half-way through one."""
    power = case.evidence.power
    if not case.is_late(case.status.since, Phase.OFF):
        return None
    if power is not None and power.admin_on:  # by another hand than ours
        return unheard(case)
    return _switch_trouble(case)


def unheard(case: Case) -> Verdict | None:
    """It has had its time to ask for an address."""
    status, power = case.status, case.evidence.power
    is_unknown = status.phase is Phase.UNKNOWN
    since = max(status.since, case.evidence.watched_since) if is_unknown else status.since
    if case.evidence.node is None or not case.is_late(since, status.phase):
        return None
    known = power_trouble(case) or _switch_trouble(case) or address_trouble(case)
    if known is not None or (is_unknown and not case.has_passed(since, RENEWAL_SECONDS)):
        return known
    if power is not None and power.delivering and power.link_up is False:
        return case.say(Fault.NO_LINK, f"it draws power, but its network link is down, for {case.ago(since)}")
    is_powered = not is_unknown or (power is not None and bool(power.delivering))
    if not is_powered and not status.last_seen:
        return case.say(Fault.NEVER_SEEN, f"nothing was heard of it{_watched(case, since)}")
    link = " and its link is up" if power is not None and power.link_up else ""
    before = "; it has booted from here before" if status.attempt else ""
    sentence = f"it has power{link}, and has not asked for an address{_watched(case, since)}{before}"
    return case.say(Fault.NO_DISCOVER, sentence)


def _watched(case: Case, since: float) -> str:
    return f" for {case.ago(since)}" if since else ""
