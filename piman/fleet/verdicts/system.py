# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
Whether the installed system of a node came up, and is still there.
"""

from piman.fleet import events
from piman.fleet.model import Phase, Stage
from piman.fleet.verdicts.address import address_trouble
from piman.fleet.verdicts.case import Case, Verdict
from piman.fleet.verdicts.power import power_trouble
from piman.fleet.verdicts.remedies import Fault
from piman.fleet.wording import shown

LEAVING_SECONDS = 60.0
"""After the order to boot, what the node still says is the installer's."""


def not_coming_up(case: Case) -> Verdict | None:
    """It was told to boot its card, or its system has asked for its address, and there it ends."""
    if not case.is_late(case.status.since, Phase.BOOTING):
        return None
    known = power_trouble(case) or address_trouble(case)
    if known is not None:
        return known
    leased = [event for event in case.all(events.AddressLeased) if event.stage is Stage.OS]
    if leased:
        sentence = f"its system has the address {leased[-1].address}, but its agent does not answer"
        return case.say(Fault.AGENT_SILENT, sentence)
    since = case.ago(case.status.since)
    return case.say(Fault.NOT_UP, f"it was told to boot its card {since} ago, and its system does not come up")


def not_up(case: Case) -> Verdict | None:
    """
    That a node is up may be a mere guess, made because it was told to boot and called no more.

    Right after an installation the guess is worth little.
    """
    up = case.last(events.NodeUp)
    ordered = [recorded.time for recorded in case.recent if isinstance(recorded.event, events.BootOrdered)]
    if up is None or up.evidence != "time" or not ordered or not case.all(events.Installed):
        return None
    was_heard = case.status.last_seen > ordered[-1] + LEAVING_SECONDS
    if was_heard or not case.is_late(ordered[-1], Phase.BOOTING):
        return None
    sentence = f"it was installed and told to boot {case.ago(ordered[-1])} ago, and nothing was heard of its system"
    return power_trouble(case) or case.say(Fault.NOT_UP, sentence)


def fallen_silent(case: Case) -> Verdict | None:
    """Its agent used to answer."""
    if not case.is_late(case.status.since, Phase.SILENT):
        return None
    known = power_trouble(case) or address_trouble(case)
    if known is not None:
        return known
    silent = case.last(events.NodeSilent)
    why = f": {shown(silent.reason)}" if silent is not None and silent.reason else ""
    power = case.evidence.power
    link = "; its link is down" if power is not None and power.link_up is False else ""
    since = case.ago(case.status.since)
    return case.say(Fault.AGENT_SILENT, f"it was up, and its agent has not answered for {since}{why}{link}")
