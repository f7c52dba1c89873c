# -*- test-case-name: tests.test_config -*-
"""
What no single key can show: do the values of ``piman.yaml`` fit together?

Every check looks only at what could be read, so that one mistake hides no other.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network

from piman.settings.sections import Document
from piman.settings.yamlfile import Report

LARGEST_SUBNET = 16
SMALLEST_SUBNET = 30
LONGEST_INTERFACE = 15
"""IFNAMSIZ - 1 (netdevice(7))."""

REQUIRED = {
    "server_address": "the manager's IPv4 address, like 172.30.4.1",
    "subnet_mask": "a mask like 255.255.255.0",
    "interface": "the name of a network interface, like eth0 (see: ip link)",
}


def check_required(document: Document, report: Report) -> None:
    """Note the keys without which there is no LAN."""
    for key, expected in REQUIRED.items():
        if key not in report.lines:
            report.add(1, key, "no such key", expected)


# The network


def _subnet(document: Document, report: Report) -> IPv4Network | None:
    """The subnet of server and mask; None when one of them has a mistake."""
    if document.subnet_mask is None:
        return None
    mask = document.subnet_mask.lstrip("/")
    try:
        network = IPv4Network(f"{document.server_address or '0.0.0.0'}/{mask}", strict=False)
    except ValueError:
        network = None
    if network is None or not (re.fullmatch(r"[0-9]{1,2}", mask) or mask == str(network.netmask)):
        report.at("subnet_mask", repr(document.subnet_mask), "a mask like 255.255.255.0")
        return None
    if not LARGEST_SUBNET <= network.prefixlen <= SMALLEST_SUBNET:
        report.at("subnet_mask", repr(document.subnet_mask), "a subnet from 255.255.0.0 (/16) to 255.255.255.252 (/30)")
        return None
    return network if document.server_address else None


def objection(address: IPv4Address, document: Document, subnet: IPv4Network) -> str | None:
    """Why an address of the LAN cannot be a Pi's."""
    if address not in subnet:
        return f"is not in the subnet {subnet}"
    if address in (subnet.network_address, subnet.broadcast_address):
        return f"is the network or broadcast address of {subnet}"
    if address == document.server_address:
        return "is the manager's own address (server_address)"
    if any(switch.address == address for switch in document.switches):
        return "is the address of a switch"
    return None


def _check_server(document: Document, subnet: IPv4Network, report: Report) -> None:
    if document.server_address in (subnet.network_address, subnet.broadcast_address):
        report.at("server_address", str(document.server_address), f"a host's address in {subnet}")


def _check_switches(document: Document, subnet: IPv4Network, report: Report) -> None:
    for key, value in report.matching(_SWITCH_ADDRESS):
        if value == document.server_address:
            report.at(key, str(value), "the switch's own address (this is server_address)")
        elif value in (subnet.network_address, subnet.broadcast_address):
            report.at(key, str(value), f"a host's address in {subnet}")


def _check_interface(document: Document, report: Report) -> None:
    name = document.interface
    if name is not None and (len(name) > LONGEST_INTERFACE or re.search(r"[\s/]", name) or name in (".", "..")):
        report.at("interface", repr(name), "the name of a network interface, like eth0 (see: ip link)")


def _check_pool(document: Document, subnet: IPv4Network, report: Report) -> None:
    pool = document.dhcp.pool
    if pool is None:
        if document.dhcp.unknown_hosts == "allow" and "dhcp.pool" not in report.lines:
            report.at("dhcp.unknown_hosts", "allow without a pool", "pool: FIRST-LAST beside it")
        return
    first, last = subnet.network_address + 1, subnet.broadcast_address - 1
    if pool.first < first or pool.last > last:
        report.at("dhcp.pool", str(pool), f"addresses between {first} and {last}")
        return
    if document.server_address is not None and document.server_address in pool:
        report.at("dhcp.pool", f"{pool} with {document.server_address} (server_address) in it", "a range without it")
    for key, address in report.matching(_SWITCH_ADDRESS):
        if address in pool:
            report.at("dhcp.pool", f"{pool} with {address} ({key}) in it", "a range without it")


def _check_router(document: Document, subnet: IPv4Network, report: Report) -> None:
    router = document.dhcp.router
    if router is not None and router not in subnet:
        report.at("dhcp.router", str(router), f"an address in {subnet}, or none")


# The switches

_SWITCH_ADDRESS = r"switches\[\d+\]\.sw\w*_address"
_SWITCH_NAME = r"switches\[\d+\]\.name"
_LISTED = r"switches\[\d+\]\.pi_addresses\[\d+\]"
_PORT = r"switches\[\d+\]\.ports\.\d+"


def _check_unique(pattern: str, report: Report) -> None:
    """The same switch, name or Pi twice is a mistake, at the second place."""
    first: dict[str, str] = {}
    for key, value in report.matching(pattern):
        place = first.setdefault(str(value), key)
        if place != key:
            report.at(key, f"{value} again", f"it once (it is {place} in line {report.lines[place]} already)")


def _check_port_owner(report: Report) -> None:
    """A port must not lead to a Pi of another switch."""
    owner = {value: key for key, value in report.matching(_LISTED)}
    for key, value in report.matching(_PORT):
        place = owner.get(value, key)
        if place.partition(".")[0] != key.partition(".")[0]:
            report.at(key, str(value), f"a Pi of this switch (it is {place})")


def _check_pis(document: Document, subnet: IPv4Network, report: Report) -> None:
    for key, value in [*report.matching(_LISTED), *report.matching(_PORT)]:
        reason = objection(value, document, subnet)
        if reason is not None and value != document.server_address:
            report.at(key, f"{value}, which {reason}", f"a Pi's address in {subnet}")


# The services

_UDP_PORTS = ("dhcp.port", "tftp.port", "ntp.port")
_TCP_PORTS = ("hello.port", "hello.image_port", "hello.http_port", "web.port", "grafana.port")


def _ports(document: Document, keys: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for key in keys:
        section, name = key.split(".")
        if key == "web.port" and document.web.endpoint:
            continue
        if getattr(document, section).enabled and getattr(getattr(document, section), name) is not None:
            yield key, getattr(getattr(document, section), name)


def _check_ports(document: Document, report: Report) -> None:
    """Two services cannot share a port."""
    for keys in (_UDP_PORTS, _TCP_PORTS):
        first: dict[int, str] = {}
        for key, port in _ports(document, keys):
            place = first.setdefault(port, key)
            if place != key:
                at, other = (key, place) if key in report.lines else (place, key)
                report.at(at, str(port), f"another port ({other} is {port} too)")


def _check_moved(report: Report) -> None:
    """The later originals' keys at the top mean keys of ``dhcp``; both are one too many."""
    for top, inner in (("dns_domain", "dhcp.domain"), ("dns_servers", "dhcp.dns_servers")):
        if top in report.lines and inner in report.lines:
            report.at(top, f"{top} and {inner}", "one of them")


def _check_images(document: Document, report: Report) -> None:
    if "images" in report.lines and document.images and "default" not in document.images:
        report.at("images", "no image named default", "default: PATH; it is installed unless another one is named")


def _check_web(document: Document, report: Report) -> None:
    """How the site listens is said once; nobody is there twice."""
    web = document.web
    for given, missing in (("certificate", "private_key"), ("private_key", "certificate")):
        if getattr(web, given) is not None and f"web.{missing}" not in report.lines:
            report.at(f"web.{given}", f"no web.{missing}", "both, or none")
    if web.endpoint:
        if not web.endpoint.startswith(("tcp:", "ssl:")):
            report.at("web.endpoint", repr(web.endpoint), "tcp:PORT or ssl:PORT:privateKey=FILE:certKey=FILE")
        for key in ("address", "port", "certificate", "private_key"):
            if f"web.{key}" in report.lines:
                report.at(f"web.{key}", f"web.{key} and web.endpoint", "one of them: the endpoint says it all")
    _check_unique(r"web\.(users|tokens)\[\d+\]\.name", report)


def _is_open(document: Document) -> bool:
    """Whether others than this machine reach the site."""
    web = document.web
    if web.endpoint:
        return ":interface=127." not in web.endpoint and ":interface=localhost" not in web.endpoint
    return not web.address.is_loopback


def _web_warnings(document: Document) -> Iterator[str]:
    """A site that lets nobody in."""
    web = document.web
    if not web.enabled or web.users or web.tokens:
        return
    make = "make a user with piman-ctl passwd"
    if web.login == "always":
        yield f"web.login: always, but there are no web.users and no web.tokens: nobody can log in; {make}"
    elif _is_open(document):
        yield f"web: others than this machine reach the site, but no web.users and no web.tokens let them in; {make}"


def _check_tags(document: Document, report: Report) -> None:
    """A tag can only give an image that there is."""
    known = ("default", *document.images)
    for name, tag in document.tags.items():
        if tag.image is not None and tag.image not in known:
            near = get_close_matches(tag.image, known, n=1)
            expected = near[0] if near else f"one of images: {', '.join(dict.fromkeys(known))}"
            report.at(f"tags.{name}.image", repr(tag.image), expected)


def check(document: Document, report: Report) -> IPv4Network | None:
    """Note what does not fit together; the subnet, if it can be told."""
    check_required(document, report)
    subnet = _subnet(document, report)
    _check_interface(document, report)
    for pattern in (_SWITCH_ADDRESS, _SWITCH_NAME, _LISTED, _PORT):
        _check_unique(pattern, report)
    _check_port_owner(report)
    _check_ports(document, report)
    _check_moved(report)
    _check_images(document, report)
    _check_web(document, report)
    _check_tags(document, report)
    if subnet is not None:
        _check_server(document, subnet, report)
        _check_switches(document, subnet, report)
        _check_pis(document, subnet, report)
        _check_pool(document, subnet, report)
        _check_router(document, subnet, report)
    return subnet


def warnings(document: Document, report: Report) -> list[str]:
    """What is odd, but harms nothing."""
    found = []
    count = len(document.switches)
    if document.switch_count is not None and document.switch_count != count:
        text = f"switch_count: {document.switch_count}, but switches lists {count}; the list counts"
        found.append(f"{report.file}:{report.lines['switch_count']}: {text}")
    if not count:
        found.append(f"{report.file}: switches: none, so piman controls nobody's power")
    for key, value in [*report.matching(_LISTED), *report.matching(_PORT)]:
        if value == document.server_address:
            text = f"{key}: {value} is the manager itself (server_address), not a Pi; the entry is ignored"
            found.append(f"{report.file}:{report.lines[key]}: {text}")
    found.extend(f"{report.file}:{report.lines.get('web', 0)}: {text}" for text in _web_warnings(document))
    return found
