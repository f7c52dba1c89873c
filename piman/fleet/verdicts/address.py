# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
What comes between a node and its address.
"""

from ipaddress import IPv4Address

from piman.fleet import events
from piman.fleet.verdicts.case import Case, Verdict
from piman.fleet.verdicts.remedies import Fault
from piman.fleet.wording import shown

ANY_ADDRESS = IPv4Address(0)


def name_it(case: Case) -> Verdict:
    """It is a stranger: the line that makes it a node."""
    model = case.status.model
    board = f"this board (a Pi {shown(model)})" if model else "this board"
    line = f"{str(case.status.mac).upper()};{case.evidence.free_address or ANY_ADDRESS};;0"
    return case.say(Fault.STRANGER, f"it asks for an address, and no line of hosts.csv names {board}", line=line)


def address_trouble(case: Case) -> Verdict | None:
    """What came between it and an address."""
    given = (events.AddressOffered, events.AddressLeased)
    other = case.last(events.OtherServerChosen, unless=(events.AddressLeased,))
    if other is not None:
        sentence = f"it took the offer of another DHCP server, {other.server}"
        return case.say(Fault.OTHER_SERVER, sentence, server=other.server)
    held = case.last(events.AddressHeld, unless=given)
    if held is not None:
        sentence = f"it waits for its address {held.address}, which {held.holder} still holds"
        return case.say(Fault.ADDRESS_HELD, sentence, holder=held.holder)
    taken = case.last(events.AddressDeclined, unless=given)
    if taken is not None:
        sentence = f"it does not take its address {taken.address}: somebody else answers there"
        return case.say(Fault.ADDRESS_TAKEN, sentence, address=taken.address)
    full = case.last(events.PoolExhausted, unless=given)
    if full is not None:
        return case.say(Fault.POOL_EXHAUSTED, f"there is no address for it: the pool {shown(full.pool)} is full")
    refused = case.last(events.AddressRefused, unless=given)
    if refused is not None:
        return case.say(Fault.ADDRESS_REFUSED, f"it asks for {refused.address} and is refused: {shown(refused.reason)}")
    return None
