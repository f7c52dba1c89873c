# -*- test-case-name: tests.test_fleet_targets -*-
"""
What the operator's words mean: which switch ports, and which nodes hang on them.  Pure.

``rack-a 2 3 4`` and ``172.30.4.254 2-4`` name ports of a switch; ``pi2``, a MAC or an address names a node; ``all`` is
every node with a port, ``rack-a all`` every port of that switch with a node.  Which node a numbered port leads to:

1. the ``ports:`` entry of the switch;
2. the one entry of its ``pi_addresses`` whose last octet is the number;
3. the board that the switch itself has learned there.

A port that leads to nobody is obeyed all the same, and whatever appears there is followed; a protected port, the
manager's own and an uplink (several boards) never are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Address

import attrs

from piman.fleet.model import MACAddress, Node, Slot, SwitchPort

ALL = "all"
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
MOST_PORTS = 1024

Learned = Mapping[IPv4Address, Mapping[int, frozenset[MACAddress]]]
"""By switch and port, the boards that were learned there."""


class BadTargets(Exception):
    """
    The words name nothing that can be switched, or something that must not be.

    :ivar problems: one sentence for each word, with what to write instead.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@attrs.frozen(kw_only=True)
class Place:
    """A switch as the operator described it."""

    address: IPv4Address
    label: str
    named_ports: frozenset[int] = frozenset()
    """Ports with an entry of their own under ``ports:``."""
    protected_ports: frozenset[int] = frozenset()


@attrs.frozen(kw_only=True)
class Target:
    """One port to be switched, and the node that hangs on it as far as it is known."""

    port: SwitchPort | None
    """None: the node has no power control."""
    mac: MACAddress | None = None
    """None: nobody knows which board is there."""
    name: str = ""
    """What people call it."""
    rule: str = ""
    """How the one was found from the other, in plain words."""


@attrs.frozen(kw_only=True)
class Atlas:
    """All that words can name."""

    places: tuple[Place, ...]
    nodes: tuple[Node, ...]
    slots: tuple[Slot, ...] = ()
    addresses: Mapping[IPv4Address, MACAddress] = attrs.field(factory=dict)
    """Addresses that boards hold right now besides their reserved ones."""
    manager: MACAddress | None = None
    """The manager's own board, which must never lose its power."""

    def place(self, word: str) -> Place | None:
        """The switch of this name or address."""
        return next((place for place in self.places if word in (place.label, str(place.address))), None)

    def at(self, port: SwitchPort) -> Node | None:
        """The node that the files put on this port."""
        return next((node for node in self.nodes if node.port == port), None)

    def node(self, word: str) -> Node | None:
        """The node of this hostname, hardware address or address."""
        return next((node for node in self.nodes if word.lower() in _aliases(node)), None) or self._holder(word)

    def _holder(self, word: str) -> Node | None:
        try:
            mac = self.addresses.get(IPv4Address(word))
        except ValueError:
            return None
        return next((node for node in self.nodes if node.mac == mac), None)


def _aliases(node: Node) -> Iterator[str]:
    yield str(node.mac)
    if node.hostname:
        yield node.hostname.lower()
    if node.address is not None:
        yield str(node.address)


# Words to wishes


@attrs.frozen
class _Wish:
    """A port of a switch, or a node, as the words name it."""

    word: str
    place: Place | None = None
    number: int = 0
    node: Node | None = None


def switches_to_ask(words: Sequence[str], atlas: Atlas) -> set[IPv4Address]:
    """
    The switches whose learned boards decide something: which node hangs on a port, and whether it is an uplink.

    :raises BadTargets: as :func:`resolve`.
    """
    found = set()
    for wish in _wishes(words, atlas):
        if wish.place is not None:
            found.add(wish.place.address)
        elif wish.node is not None and wish.node.port is not None:
            found.add(wish.node.port.switch)
    return found


def resolve(words: Sequence[str], atlas: Atlas, learned: Learned) -> tuple[Target, ...]:
    """
    The targets in the order of the words, each once.

    :param learned: of the switches of :func:`switches_to_ask`; one that could not be asked is left out.
    :raises BadTargets: with a sentence for every word that cannot be obeyed.
    """
    problems: list[str] = []
    found: dict[object, Target] = {}
    for wish in _wishes(words, atlas):
        target = _target(wish, atlas, learned)
        problem = _objection(target, atlas, learned)
        if problem:
            problems.append(problem)
        else:
            found.setdefault(target.port or target.mac, target)
    if problems:
        raise BadTargets(problems)
    return tuple(found.values())


def _wishes(words: Sequence[str], atlas: Atlas) -> list[_Wish]:
    if not words:
        raise BadTargets(["nothing is named: name nodes (pi2, an address, a MAC), or a switch and its ports, or all"])
    problems: list[str] = []
    wishes: list[_Wish] = []
    place: Place | None = None
    dangling: Place | None = None
    for word in words:
        named = atlas.place(word)
        if named is not None:
            problems.extend(_without_ports(dangling))
            place = dangling = named
            continue
        try:
            wishes.extend(_read(word, place, atlas))
        except BadTargets as problem:
            problems.extend(problem.problems)
        dangling = None
    problems.extend(_without_ports(dangling))
    if problems:
        raise BadTargets(problems)
    return wishes


def _without_ports(place: Place | None) -> list[str]:
    if place is None:
        return []
    return [f"{place.label}: which ports? Write {place.label} 2 3 4, or {place.label} all"]


def _read(word: str, place: Place | None, atlas: Atlas) -> Iterator[_Wish]:
    numbers = _RANGE.fullmatch(word)
    if numbers:
        yield from _numbered(word, place, int(numbers[1]), int(numbers[2] or numbers[1]))
    elif word == ALL:
        yield from _everything(place, atlas)
    else:
        node = atlas.node(word)
        if node is None:
            raise BadTargets([nearest(word, atlas)])
        yield _Wish(word, node=node)


def _numbered(word: str, place: Place | None, first: int, last: int) -> Iterator[_Wish]:
    if place is None:
        raise BadTargets([f"{word}: a port of which switch? Write the switch before it, like rack-a {word}"])
    if not 1 <= first <= last <= MOST_PORTS:
        raise BadTargets([f"{word}: ports are numbers from 1 to {MOST_PORTS}, ranges like 2-8"])
    for number in range(first, last + 1):
        yield _Wish(f"{place.label} {number}", place=place, number=number)


def _everything(place: Place | None, atlas: Atlas) -> Iterator[_Wish]:
    chosen = [node for node in atlas.nodes if node.port and (place is None or node.port.switch == place.address)]
    if not chosen:
        where = f"on {place.label}" if place else "at all"
        raise BadTargets([f"all: no node {where} has a port; see pi_addresses and ports in piman.yaml"])
    for node in chosen:
        yield _Wish(node.name, node=node)


def nearest(word: str, atlas: Atlas) -> str:
    """That a word means nothing, and what may be meant."""
    known = [name for node in atlas.nodes for name in _aliases(node)]
    known += [name for place in atlas.places for name in (place.label, str(place.address))]
    close = get_close_matches(word.lower(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "piman-ctl status shows all names"
    return f"{word}: no node and no switch of this name; {hint}"


# Wishes to targets


def _target(wish: _Wish, atlas: Atlas, learned: Learned) -> Target:
    if wish.node is not None:
        return _target_of(wish.node, atlas)
    assert wish.place is not None
    port = SwitchPort(wish.place.address, wish.number)
    node = atlas.at(port)
    if node is not None:
        named = wish.number in wish.place.named_ports
        rule = "its entry under ports" if named else f"{node.address} ends in {wish.number}"
        return Target(port=port, mac=node.mac, name=node.name, rule=rule)
    boards = learned.get(wish.place.address, {}).get(wish.number, frozenset())
    if len(boards) == 1:
        (mac,) = boards
        known = next((node for node in atlas.nodes if node.mac == mac), None)
        name = known.name if known else str(mac)
        return Target(port=port, mac=mac, name=name, rule="the switch has learned it there")
    return Target(port=port, name=_name_of(port, atlas), rule="no node is known there: whatever appears is followed")


def _target_of(node: Node, atlas: Atlas) -> Target:
    if node.port is None:
        return Target(port=None, mac=node.mac, name=node.name, rule="no switch lists its address")
    place = next((place for place in atlas.places if place.address == node.port.switch), None)
    named = place is not None and node.port.port in place.named_ports
    rule = "its entry under ports" if named else f"{node.address} ends in {node.port.port}"
    return Target(port=node.port, mac=node.mac, name=node.name, rule=rule)


def _name_of(port: SwitchPort, atlas: Atlas) -> str:
    place = next((place for place in atlas.places if place.address == port.switch), None)
    return f"{place.label if place else port.switch} port {port.port}"


def _objection(target: Target, atlas: Atlas, learned: Learned) -> str | None:
    """Why the target must not be switched."""
    if target.port is None:
        return (
            f"{target.name}: it has no power control, because no switch in piman.yaml lists its address; "
            "add it to pi_addresses or ports of its switch"
        )
    where = _name_of(target.port, atlas)
    place = next((place for place in atlas.places if place.address == target.port.switch), None)
    if place is not None and target.port.port in place.protected_ports:
        return f"{where}: it is one of the protected_ports of piman.yaml and is never switched"
    boards = learned.get(target.port.switch, {}).get(target.port.port, frozenset())
    if atlas.manager is not None and atlas.manager in boards:
        return f"{where}: the manager itself is behind it; it is never switched"
    is_named = place is not None and target.port.port in place.named_ports
    if len(boards) > 1 and not is_named:  # a named one may run virtual machines
        return (
            f"{where}: {len(boards)} boards were learned there, so it is an uplink; "
            "switch their own ports, or name the port's node under ports"
        )
    return None
