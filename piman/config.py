# -*- test-case-name: tests.test_config -*-
"""
``piman.yaml`` and ``hosts.csv`` -> :class:`Config`, or :class:`ConfigError` with every mistake at once.

Read only: the operator's files are the operator's.  What depends on the host (does the interface exist, is the port
free) is found at start, not here.  The keys are in :mod:`piman.settings.sections`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs

from piman.fleet.assignment import assigned
from piman.fleet.interfaces import IPowerSwitchKind
from piman.fleet.model import Node, Slot
from piman.hosts import HostRow, HostsFile, Remark
from piman.hosts import load as load_hosts
from piman.hosts import parse as parse_hosts
from piman.settings.checks import check, objection, warnings
from piman.settings.inventory import nodes_and_slots, places, without_port
from piman.settings.monitoring import Monitoring, read_monitoring, strangers
from piman.settings.power import check_power
from piman.settings.sections import (
    AddressRange,
    ControlSection,
    DHCPSection,
    Document,
    GrafanaSection,
    HelloSection,
    MonitorSection,
    NTPSection,
    OperationsSection,
    Switch,
    TFTPSection,
    WebSection,
    read_document,
)
from piman.settings.tags import Tag, odd_tags, tag_images, tagged
from piman.settings.yamlfile import Problem, Report, parse

__all__ = ["AddressRange", "Config", "ConfigError", "Problem", "Switch", "differences", "load"]

RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""Where the manager's own DNS servers stand; the second one where the first names only systemd's stub."""

REINSTALL_FILE = "reinstall.txt"
"""How the original was told to reinstall a node; ignored here, whatever it holds."""

_IN_FORCE_AT_ONCE = (
    "alerts",
    "dhcp.dns_servers",
    "dhcp.domain",
    "dhcp.lease_seconds",
    "dhcp.options",
    "dhcp.pool",
    "dhcp.relays",
    "dhcp.router",
    "dhcp.unknown_hosts",
    "hosts",
    "hosts_file",
    "images",
    "monitor.interval_seconds",
    "monitor.timeout_seconds",
    "monitor.misses",
    "monitor.concurrency",
    "monitor.agent_port",
    "monitor.thresholds",
    "monitor.tag_thresholds",
    "monitor.node_thresholds",
    "monitor.config",
    "nodes",
    "operations.max_blast",
    "operations.off_seconds",
    "operations.recovery",
    "operations.recovery_at_once",
    "operations.recovery_tries",
    "operations.stagger_seconds",
    "private_number",
    "slots",
    "switches",
    "tags",
    "tftp.unknown_clients",
    "web.allowed_hosts",
    "web.login",
    "web.tokens",
    "web.users",
)
"""What SIGHUP changes; everything else waits for a restart."""


MANY_BOARDS = 3
"""So many boards, and more than half of all, do not leave a file by themselves."""


class ConfigError(Exception):
    """The files have mistakes; the text is all of them, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@attrs.frozen(kw_only=True)
class Config:
    """What the operator wants, complete: every default filled in, every path absolute."""

    server_address: IPv4Address
    subnet: IPv4Network
    interface: str
    private_number: int
    switches: tuple[Switch, ...]
    nodes: tuple[Node, ...]
    slots: tuple[Slot, ...]
    hosts: tuple[HostRow, ...]
    """The rows behind :attr:`nodes`; :func:`load` takes them back at the next reading."""
    hosts_file: Path
    hosts_remarks: tuple[Remark, ...]
    """What is wrong with its lines; also in :attr:`warnings`."""
    state_dir: Path
    boot_dir: Path
    images: Mapping[str, Path]
    tags: Mapping[str, Tag]
    dhcp: DHCPSection
    tftp: TFTPSection
    ntp: NTPSection
    hello: HelloSection
    web: WebSection
    grafana: GrafanaSection
    control: ControlSection
    operations: OperationsSection
    monitor: MonitorSection
    alerts: tuple[Mapping[str, Any], ...]
    log_dir: Path
    warnings: tuple[str, ...]


# Reading


def own_resolvers(files: Iterable[Path] = RESOLVER_FILES) -> tuple[IPv4Address, ...]:
    """The DNS servers of this host that others can ask, too: the first file counts that names any."""
    for file in files:
        try:
            lines = file.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            continue
        found = tuple(_nameservers(lines))
        if found:
            return found
    return ()


def _nameservers(lines: Iterable[str]) -> Iterator[IPv4Address]:
    for line in lines:
        match = re.match(r"\s*nameserver\s+([0-9.]+)\s*$", line)
        try:
            address = IPv4Address(match[1]) if match else None
        except ValueError:
            continue
        if address is not None and not address.is_loopback and not address.is_unspecified:
            yield address


def _dhcp(document: Document, report: Report, resolver_files: Iterable[Path]) -> DHCPSection:
    """With the defaults that come from elsewhere."""
    dhcp = document.dhcp
    if "dhcp.router" not in report.lines:
        dhcp = attrs.evolve(dhcp, router=document.server_address)
    if document.dns_domain:
        dhcp = attrs.evolve(dhcp, domain=document.dns_domain)
    if "dns_servers" in report.lines:
        return attrs.evolve(dhcp, dns_servers=document.dns_servers)
    if "dhcp.dns_servers" in report.lines:
        return dhcp
    return attrs.evolve(dhcp, dns_servers=own_resolvers(resolver_files))


def _switch(switch: Switch, document: Document) -> Switch:
    """With the communities of the original: one to switch with, one for the VLAN in which boards are looked up."""
    snmp = switch.snmp
    vlan = snmp.vlan or document.private_number
    return attrs.evolve(
        switch,
        snmp=attrs.evolve(
            snmp,
            vlan=vlan,
            community=snmp.community or f"private@{document.private_number}",
            read_community=snmp.read_community or snmp.community or f"public@{vlan}",
        ),
    )


def _hosts(
    document: Document,
    subnet: IPv4Network | None,
    previous: Iterable[HostRow],
    report: Report,
    content: bytes | None,
) -> HostsFile:
    """The rows of hosts.csv; a file that the operator names must exist."""

    def check(address: IPv4Address) -> str | None:
        return objection(address, document, subnet) if subnet else None

    if content is not None:
        return parse_hosts(content, file=document.hosts_file.name, check=check, previous=previous)
    try:
        return load_hosts(document.hosts_file, check=check, previous=previous)
    except OSError as reason:
        if "hosts_file" in report.lines and "hosts_file" not in report.values:
            return HostsFile()
        if isinstance(reason, FileNotFoundError) and "hosts_file" not in report.lines:
            return HostsFile((), (f"{document.hosts_file}: no such file, so no board is known",))
        expected = "a file of MAC;IP;hostname;last_used lines that piman may read"
        report.at("hosts_file", f"{str(document.hosts_file)!r} ({reason.strerror})", expected)
        return HostsFile()


def _check_losses(hosts: HostsFile, file: Path, previous: Iterable[HostRow], report: Report) -> None:
    """A full disk leaves an empty file behind: it must not take the addresses of a whole rack away."""
    known = len(list(previous))
    if known and not hosts.rows and not report.problems:
        expected = "at least one; to have none, restart the manager: a start takes the file as it is"
        found = f"no board, where {known} {'is' if known == 1 else 'are'} known"
        report.problems.append(Problem(str(file), 0, "", found, expected))


def _losses(hosts: HostsFile, file: Path, previous: Iterable[HostRow]) -> Iterator[str]:
    before = {row.mac for row in previous}
    gone = before - {row.mac for row in hosts.rows}
    if len(gone) >= MANY_BOARDS and 2 * len(gone) > len(before):
        yield (
            f"{file.name}: {len(gone)} of {len(before)} boards are gone: they get no address and no boot files any "
            f"more; if the file was cut short, mend it and say kill -HUP again"
        )


def _further_warnings(
    document: Document, subnet: IPv4Network, hosts: HostsFile, base: Path, report: Report
) -> Iterator[str]:
    yield from hosts.warnings
    for switch, address in without_port(document.switches, IPv4Address(str(document.server_address))):
        yield f"{address} on switch {switch.label}: its port is not clear; write it under ports:"
    homeless = sum(row.address is None for row in hosts.rows)
    if homeless and document.dhcp.pool is None and document.dhcp.enabled:
        yield f"{document.hosts_file.name}: {homeless} boards without an address, and dhcp.pool is unset: they get none"
    yield from odd_tags(nodes_and_slots(hosts.rows, {})[0], document.tags, report)
    if (base / REINSTALL_FILE).exists():
        yield f"{REINSTALL_FILE}: a file of the old piman, ignored; delete it and use: piman-ctl reinstall"


def _complete(
    document: Document,
    subnet: IPv4Network,
    hosts: HostsFile,
    report: Report,
    resolver_files: Iterable[Path],
    base: Path,
    previous: Iterable[HostRow],
    monitoring: Monitoring,
) -> Config:
    assert document.server_address is not None
    assert document.interface is not None
    nodes, slots = nodes_and_slots(hosts.rows, places(document.switches, document.server_address))
    nodes = assigned(tagged(nodes, document.tags), tag_images(document.tags), {})
    control = document.control
    if "control.socket" not in report.lines:
        control = attrs.evolve(control, socket=document.state_dir / "control.sock")
    return Config(
        server_address=document.server_address,
        subnet=subnet,
        interface=document.interface,
        private_number=document.private_number,
        switches=tuple(_switch(switch, document) for switch in document.switches),
        nodes=nodes,
        slots=slots,
        hosts=hosts.rows,
        hosts_file=document.hosts_file,
        hosts_remarks=hosts.remarks,
        state_dir=document.state_dir,
        boot_dir=document.boot_dir,
        images=document.images or {"default": document.boot_dir / "rootfs.tgz"},
        tags=document.tags,
        dhcp=_dhcp(document, report, resolver_files),
        tftp=document.tftp,
        ntp=document.ntp,
        hello=document.hello,
        web=document.web,
        grafana=document.grafana,
        control=control,
        operations=document.operations,
        monitor=monitoring.section,
        alerts=monitoring.alerts,
        log_dir=document.log_dir,
        warnings=(
            *_losses(hosts, document.hosts_file, previous),
            *warnings(document, report),
            *_further_warnings(document, subnet, hosts, base, report),
            *monitoring.warnings,
            *strangers(monitoring.section, nodes, document.tags),
        ),
    )


def load(
    path: Path,
    *,
    previous: Config | None = None,
    content: bytes | None = None,
    hosts_content: bytes | None = None,
    resolver_files: Iterable[Path] = RESOLVER_FILES,
    power_kinds: Mapping[str, IPowerSwitchKind] | None = None,
) -> Config:
    """
    Read ``piman.yaml`` and the ``hosts.csv`` that it names.

    :param previous: the configuration in force; a board whose line in hosts.csv went bad keeps its row, and a file
        without any board is a mistake when there were some.
    :param content: what would stand in ``piman.yaml``: read in the place of the file, as if it were there already.
    :param hosts_content: the same for ``hosts.csv``.
    :param power_kinds: the kinds of power switches there are; without them ``power`` stays unread.
    :param resolver_files: where the manager's own DNS servers stand.
    :raises ConfigError: with every mistake of the file.
    """
    report = Report(str(path))
    top = parse(path, report, content)
    if top is None:
        raise ConfigError(report.problems)
    document = read_document(top, report)
    subnet = check(document, report)
    monitoring = read_monitoring(document, report, top.base)
    if power_kinds is not None:
        check_power(report, power_kinds)
    rows = previous.hosts if previous else ()
    hosts = _hosts(document, subnet, rows, report, hosts_content)
    _check_losses(hosts, document.hosts_file, rows, report)
    if report.problems or subnet is None:
        raise ConfigError(sorted(report.problems, key=lambda problem: problem.line))
    return _complete(document, subnet, hosts, report, resolver_files, top.base, rows, monitoring)


# Reading again


def differences(old: Config, new: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What changed, as dotted keys: (what applies at once, what waits for a restart)."""
    changed = tuple(_changed(old, new))
    live = tuple(key for key in changed if key in _IN_FORCE_AT_ONCE)
    return live, tuple(key for key in changed if key not in _IN_FORCE_AT_ONCE)


def _changed(old: Any, new: Any, prefix: str = "") -> Iterator[str]:
    for field in attrs.fields(type(old)):
        name = f"{prefix}{field.name}"
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after or name in ("warnings", "hosts_remarks"):
            continue
        if attrs.has(type(before)) and type(before) is type(after) and not prefix:
            yield from _changed(before, after, f"{name}.")
        else:
            yield name
