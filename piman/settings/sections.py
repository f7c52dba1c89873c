# -*- test-case-name: tests.test_config -*-
"""
Every key of ``piman.yaml``: a class for each section, named after it, with its defaults.

``docs/reference/piman-yaml.md`` tells what each key means; a test compares the two.
"""

# ruff: noqa: RUF009 - setting(), required() and subsection() make the fields of an attrs class
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import attrs
import yaml

from piman.fleet.limits import LimitsByReading
from piman.settings.people import Token, User, token, user
from piman.settings.readers import (
    flag,
    ipv4_address,
    kind_mapping,
    line,
    list_of,
    mapping_of,
    number,
    number_key,
    one_of,
    or_none,
    parse_address,
    path,
    port_number,
    read_section,
    required,
    seconds,
    setting,
    subsection,
    subsections,
    text,
    word,
    word_key,
)
from piman.settings.tags import Tag, read_tag
from piman.settings.thresholds import (
    LimitsByName,
    read_node_thresholds,
    read_tag_thresholds,
    read_thresholds,
)
from piman.settings.yamlfile import Discarded, Report, Unreadable, Value

MOST_PORTS = 1024
"""More than any switch has."""

_addresses = list_of(ipv4_address, "a list of IPv4 addresses")


# Switches

_AUTHENTICATION = ("md5", "sha", "sha224", "sha256", "sha384", "sha512")
_PRIVACY = ("des", "3des", "aes128", "aes192", "aes256", "aes192-c", "aes256-c")

SHORTEST_KEY = 8
"""Pass phrases of SNMP version 3 (RFC 3414, section 11.2)."""


@attrs.frozen(kw_only=True)
class SNMPKey:
    """A secret of SNMP version 3: written out, in a file, or in a variable of the environment."""

    protocol: str = required(one_of(*_AUTHENTICATION, *_PRIVACY))
    key: str | None = setting(text, None, shown="unset", secret=True)
    key_file: Path | None = setting(path, None, shown="unset")
    key_env: str | None = setting(word, None, shown="unset")


def _snmp_key(protocols: tuple[str, ...]) -> Any:
    def read(value: Value, report: Report) -> SNMPKey:
        found = read_section(SNMPKey, value, report)
        given = [source for source in (found.key, found.key_file, found.key_env) if source is not None]
        if len(given) != 1:
            report.add(value.line, value.key, f"{len(given)} keys", "exactly one of key, key_file, key_env")
        if found.key is not None and len(found.key) < SHORTEST_KEY:
            report.at(f"{value.key}.key", "a short key", f"{SHORTEST_KEY} characters or more")
        if found.protocol not in protocols:
            report.at(f"{value.key}.protocol", repr(found.protocol), " or ".join(protocols))
        return found

    return read


def _optional_key(protocols: tuple[str, ...]) -> SNMPKey | None:
    made: SNMPKey | None = attrs.field(default=None, metadata={"read": _snmp_key(protocols), "keys": ("", SNMPKey)})
    return made


@attrs.frozen(kw_only=True)
class SNMPSection:
    """How to speak SNMP with one switch."""

    port: int = setting(port_number, 161)
    version: str | None = setting(one_of("1", "2c", "3"), None, shown="2c, then 1")
    community: str = setting(text, "", shown="private@<private_number>", secret=True)
    read_community: str = setting(text, "", shown="community, or public@<vlan> where that is unset", secret=True)
    vlan: int | None = setting(number(1, 4094, "a VLAN number"), None, shown="private_number")
    user: str | None = setting(text, None, shown="unset")
    auth: SNMPKey | None = _optional_key(_AUTHENTICATION)
    priv: SNMPKey | None = _optional_key(_PRIVACY)
    context: str = setting(text, "", shown="unset")


def _snmp(value: Value, report: Report) -> SNMPSection:
    found = read_section(SNMPSection, value, report)
    if found.version == "3" and found.user is None:
        report.add(value.line, value.key, "version 3 without a user", "user: NAME")
    if found.version != "3" and (found.user or found.auth or found.priv or found.context):
        report.add(value.line, value.key, "a user of version 3", "version: 3 beside it")
    if found.priv and not found.auth:
        report.add(value.line, value.key, "priv without auth", "auth: {protocol, key} beside it")
    return found


@attrs.frozen(kw_only=True)
class Switch:
    """A PoE switch and the Pis on it."""

    switch_address: IPv4Address = required(ipv4_address)
    pi_addresses: tuple[IPv4Address, ...] = setting(_addresses, (), shown="none")
    name: str = setting(word, "", shown="the address")
    power: Mapping[str, Any] = setting(kind_mapping, {"kind": "snmp-poe"}, shown="snmp-poe")
    snmp: SNMPSection = attrs.field(factory=SNMPSection, metadata={"read": _snmp, "keys": ("", SNMPSection)})
    group: int = setting(number(1, 65535), 1)
    ports: Mapping[int, IPv4Address] = setting(
        mapping_of(number_key(1, MOST_PORTS, "a port"), ipv4_address, "port: address pairs, like 1: 172.30.4.13"),
        {},
        shown="none",
    )
    protected_ports: tuple[int, ...] = setting(
        list_of(number(1, MOST_PORTS, "a port"), "a list of ports, like [24]"), (), shown="none"
    )

    @property
    def address(self) -> IPv4Address:
        """Its address."""
        return self.switch_address

    @property
    def label(self) -> str:
        """What people call it: the name, else the address."""
        return self.name or str(self.switch_address)


def _spelling(name: str) -> str:
    """``swtich_0_address`` (sic, the original's README) and ``switch_0_address`` mean ``switch_address``."""
    return "switch_address" if re.fullmatch(r"(swtich|switch)_[0-9]+_address|swtich_address", name) else name


def _switch(value: Value, report: Report) -> Switch:
    return read_section(Switch, value, report, _spelling)


# Services


@attrs.frozen
class AddressRange:
    """Addresses from the first to the last, both included."""

    first: IPv4Address
    last: IPv4Address

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def _address_range(value: Value, report: Report) -> AddressRange:
    expected = "FIRST-LAST, like 172.30.4.100-172.30.4.199"
    first, _, last = value.text(expected).partition("-")
    try:
        found = AddressRange(parse_address(first.strip()), parse_address(last.strip()))
    except Unreadable as reason:
        raise Unreadable(expected) from reason
    if found.last < found.first:
        raise Unreadable(f"{expected}; the first address is the lower one")
    return found


def _port_range(value: Value, report: Report) -> tuple[int, int] | None:
    expected = "0 (any free port), or FIRST-LAST like 50000-50063"
    found = value.text(expected)
    if found == "0":
        return None
    match = re.fullmatch(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})", found)
    if not match or not 1 <= int(match[1]) < int(match[2]) <= 65535:
        raise Unreadable(expected)
    return int(match[1]), int(match[2])


_OPTION_HERE = {1: "subnet_mask", 3: "dhcp.router", 6: "dhcp.dns_servers", 15: "dhcp.domain", 51: "dhcp.lease_seconds"}
_OPTION_OURS = frozenset({12, 50, 52, 53, 54, 55, 57, 58, 59, 61, 82})


def _option_code(name: str) -> int:
    code = number_key(1, 254, "a DHCP option")(name)
    if code in _OPTION_HERE:
        raise Unreadable(f"{_OPTION_HERE[code]} for that")
    if code in _OPTION_OURS:
        raise Unreadable("an option that piman does not set by itself")
    return code


def _option_value(value: Value, report: Report) -> bytes:
    """An address, a list of addresses, ``hex:0102`` or text; a bare number would leave its width open."""
    expected = "a text, an address, a list of addresses, or hex:0102 with 1 to 255 octets"
    if isinstance(value.node, yaml.SequenceNode):
        found = b"".join(address.packed for address in _addresses(value, report))
    else:
        found = _option_bytes(value, expected)
    if not 1 <= len(found) <= 255:
        raise Unreadable(expected)
    return found


def _option_bytes(value: Value, expected: str) -> bytes:
    written = value.text(expected)
    if value.node.tag.endswith((":int", ":float")):
        raise Unreadable(f"{expected}; a number as hex:, as wide as the option is")
    if written.startswith("hex:"):
        try:
            return bytes.fromhex(written[4:].replace(":", " "))
        except ValueError as reason:
            raise Unreadable(expected) from reason
    try:
        return parse_address(written).packed
    except Unreadable:
        return written.encode()


@attrs.frozen(kw_only=True)
class DHCPSection:
    """Addresses."""

    enabled: bool = setting(flag, True)
    port: int = setting(port_number, 67)
    lease_seconds: int = setting(number(60, 31_536_000, "seconds"), 600)
    unknown_hosts: str = setting(one_of("deny", "allow"), "deny")
    pool: AddressRange | None = setting(_address_range, None, shown="unset")
    relays: tuple[IPv4Address, ...] = setting(_addresses, (), shown="none")
    router: IPv4Address | None = setting(
        or_none(ipv4_address, "an IPv4 address, or none"), None, shown="server_address"
    )
    dns_servers: tuple[IPv4Address, ...] = setting(_addresses, (), shown="the manager's own resolvers")
    domain: str = setting(text, "", shown="unset")
    options: Mapping[int, bytes] = setting(
        mapping_of(_option_code, _option_value, "number: value pairs, like 252: text"), {}, shown="none"
    )


@attrs.frozen(kw_only=True)
class TFTPSection:
    """Boot files."""

    enabled: bool = setting(flag, True)
    port: int = setting(port_number, 69)
    data_ports: tuple[int, int] | None = setting(_port_range, None, shown="0")
    unknown_clients: str = setting(one_of("shared", "refuse"), "shared")


@attrs.frozen(kw_only=True)
class NTPSection:
    """Time."""

    enabled: bool = setting(flag, True)
    port: int = setting(port_number, 123)
    local_stratum: int | None = setting(number(1, 15, "a stratum"), None, shown="unset")


@attrs.frozen(kw_only=True)
class HelloSection:
    """The installer's conversation and its images."""

    enabled: bool = setting(flag, True)
    port: int = setting(port_number, 3333)
    image_port: int = setting(port_number, 4444)
    http_port: int = setting(port_number, 4480)


def _host_name(value: Value, report: Report) -> str:
    """A name or an address, without scheme and port: any port is as good."""
    expected = "a host name like piman.example.org, without http:// and port"
    found = value.text(expected).lower()
    if len(found) <= 255 and re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", found):
        return found
    try:
        return str(ip_address(found.strip("[]")))
    except ValueError as reason:
        raise Unreadable(expected) from reason


@attrs.frozen(kw_only=True)
class WebSection:
    """Pages and API."""

    enabled: bool = setting(flag, True)
    address: IPv4Address = setting(ipv4_address, IPv4Address("127.0.0.1"))
    port: int = setting(port_number, 5000)
    endpoint: str = setting(text, "", shown="unset")
    certificate: Path | None = setting(path, None, shown="unset")
    private_key: Path | None = setting(path, None, shown="unset")
    allowed_hosts: tuple[str, ...] = setting(list_of(_host_name, "a list of host names"), (), shown="none")
    login: str = setting(one_of("remote", "always"), "remote")
    users: tuple[User, ...] = subsections(User, list_of(user, "a list of users"))
    tokens: tuple[Token, ...] = subsections(Token, list_of(token, "a list of tokens"))


@attrs.frozen(kw_only=True)
class GrafanaSection:
    """The SimpleJson data source."""

    enabled: bool = setting(flag, True)
    port: int | None = setting(port_number, None, shown="unset")


@attrs.frozen(kw_only=True)
class ControlSection:
    """The operator's socket."""

    enabled: bool = setting(flag, True)
    socket: Path = setting(path, Path("state/control.sock"), shown="<state_dir>/control.sock")


@attrs.frozen(kw_only=True)
class OperationsSection:
    """Restart, reinstall, power."""

    max_blast: int = setting(number(1, 1_000_000, "nodes"), 20)
    off_seconds: float = setting(seconds(0, 600), 5.0, shown="5")
    stagger_seconds: float = setting(seconds(0, 600), 1.0, shown="1")
    admission: bool = setting(flag, True)
    recovery: bool = setting(flag, False)
    recovery_tries: int = setting(number(1, 10, "power cycles"), 2)
    recovery_at_once: int = setting(number(1, 100, "nodes"), 4)


@attrs.frozen(kw_only=True)
class MonitorSection:
    """Asking the agents."""

    enabled: bool = setting(flag, True)
    interval_seconds: float = setting(seconds(1, 86_400), 30.0, shown="30")
    timeout_seconds: float = setting(seconds(0.1, 300), 10.0, shown="10")
    agent_port: int = setting(port_number, 3000)
    misses: int = setting(number(1, 1000), 3)
    concurrency: int = setting(number(1, 10_000), 200)
    thresholds: LimitsByReading = setting(read_thresholds, {}, shown="none")
    tag_thresholds: LimitsByName = setting(read_tag_thresholds, {}, shown="none")
    node_thresholds: LimitsByName = setting(read_node_thresholds, {}, shown="none")
    config: Path | None = setting(path, None, shown="monitoring.config beside piman.yaml, if it is there")


# The file


@attrs.frozen(kw_only=True)
class Document:
    """All keys at the top of the file."""

    private_number: int = setting(number(1, 4094, "a VLAN number"), 1)
    server_address: IPv4Address | None = setting(ipv4_address, None, shown="required")
    subnet_mask: str | None = setting(line("a mask like 255.255.255.0"), None, shown="required")
    interface: str | None = setting(
        line("the name of a network interface, like eth0 (see: ip link)"), None, shown="required"
    )
    switch_count: int | None = setting(number(0, 100_000), None, shown="unset")
    switches: tuple[Switch, ...] = subsections(
        Switch, list_of(_switch, "a list of switches"), _spelling
    )
    hosts_file: Path = setting(path, Path("hosts.csv"))
    state_dir: Path = setting(path, Path("state"))
    boot_dir: Path = setting(path, Path("install/boot"))
    images: Mapping[str, Path] = setting(
        mapping_of(word_key, path, "name: path pairs, like default: rootfs.tgz"),
        {},
        shown="default: <boot_dir>/rootfs.tgz",
    )
    tags: Mapping[str, Tag] = setting(
        mapping_of(word_key, read_tag, "tag: nodes pairs, like kiosks: [pi2, pi3]"), {}, shown="none"
    )
    dhcp: DHCPSection = subsection(DHCPSection)
    tftp: TFTPSection = subsection(TFTPSection)
    ntp: NTPSection = subsection(NTPSection)
    hello: HelloSection = subsection(HelloSection)
    web: WebSection = subsection(WebSection)
    grafana: GrafanaSection = subsection(GrafanaSection)
    control: ControlSection = subsection(ControlSection)
    operations: OperationsSection = subsection(OperationsSection)
    monitor: MonitorSection = subsection(MonitorSection)
    alerts: tuple[Mapping[str, Any], ...] = setting(
        list_of(kind_mapping, "a list of channels, like - kind: slack"), (), shown="none"
    )
    log_dir: Path = setting(path, Path("logs"))
    dns_domain: str = setting(text, "", shown="dhcp.domain")
    dns_servers: tuple[IPv4Address, ...] = setting(_addresses, (), shown="dhcp.dns_servers")


def read_document(top: Value, report: Report) -> Document:
    """All keys of the file; those with a mistake keep their defaults."""
    try:
        return read_section(Document, top, report)
    except Discarded:
        return Document()
