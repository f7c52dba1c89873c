# -*- test-case-name: tests.test_hosts -*-
"""
``hosts.csv``: which board gets which address and name.

One board a line, ``MAC;IP;hostname;last_used``, no header; trailing fields may be left out.  A line that cannot be
used is a warning with its number and costs nobody else anything.  Nothing here writes the file.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import attrs

from piman.fleet.model import MACAddress
from piman.host.regular import read_regular

COLUMNS = 4
ANY_ADDRESS = IPv4Address("0.0.0.0")
"""In the address column: a known board, any address of the pool."""

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOSTNAME = 253
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_BEGUN_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}(?:[:-]|$)){0,5}")
"""No MAC, or the beginning of one: the config pages write ``B8:27:EB:`` for the operator to complete."""

Check = Callable[[IPv4Address], str | None]
"""Says why an address cannot be a board's, or None."""


@attrs.frozen(kw_only=True)
class HostRow:
    """A line of the file."""

    mac: MACAddress
    address: IPv4Address | None = None
    """None: any address of the pool."""
    hostname: str = ""
    last_used: int = 0
    """Seconds since 1970, as the original wrote it; piman keeps leases elsewhere."""
    line: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Remark:
    """Something that is wrong with a line."""

    line: int
    text: str
    column: str = ""
    """``mac``, ``address``, ``hostname``; empty: the line as a whole."""


@attrs.frozen
class HostsFile:
    """What a file holds, and what is wrong with it."""

    rows: tuple[HostRow, ...] = ()
    warnings: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    """The warnings about lines."""


class _Unusable(ValueError):
    """Why a line is not used."""

    def __init__(self, text: str, column: str = "") -> None:
        super().__init__(text)
        self.column = column


def _no_objection(address: IPv4Address) -> str | None:
    return None


def _mac(text: str) -> MACAddress:
    try:
        found = MACAddress.parse(text)
    except ValueError as reason:
        raise _Unusable(str(reason), "mac") from reason
    if found.octets[0] & 1 or not any(found.octets):
        raise _Unusable(f"{text!r} is no board's MAC address (it is a group address or all zero)", "mac")
    return found


def _address(text: str, check: Check) -> IPv4Address | None:
    if not text:
        return None
    try:
        found = IPv4Address(text) if _ADDRESS.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None:
        raise _Unusable(f"{text!r} is not an IPv4 address like 172.30.4.13", "address")
    if found == ANY_ADDRESS:
        return None
    objection = check(found)
    if objection:
        raise _Unusable(f"{text} {objection}", "address")
    return found


def _row(fields: list[str], number: int, check: Check) -> HostRow:
    if any(fields[COLUMNS:]):
        raise _Unusable(f"{len(fields)} fields, at most {COLUMNS} expected: MAC;IP;hostname;last_used")
    mac, address, hostname, last_used = (fields + [""] * COLUMNS)[:COLUMNS]
    return HostRow(
        mac=_mac(mac),
        address=_address(address, check),
        hostname=hostname,
        last_used=int(last_used) if re.fullmatch(r"[0-9]{1,12}", last_used) else 0,
        line=number,
    )


def _is_blank(fields: list[str]) -> bool:
    """Whether a line says nothing: empty fields, at most the beginning of a MAC."""
    first, *others = fields
    return not any(field not in ("", "0") for field in others) and bool(_BEGUN_MAC.fullmatch(first))


def _is_valid_name(name: str) -> bool:
    return len(name) <= _LONGEST_HOSTNAME and all(_LABEL.fullmatch(label) for label in name.split("."))


def _fields(raw: bytes) -> list[str]:
    """
    The fields of a line, one empty field of a comment.

    :raises _Unusable: when it is not text.
    """
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as reason:
        raise _Unusable("bytes that are not UTF-8") from reason
    return [""] if text.startswith("#") else [field.strip() for field in text.split(";")]


# Reading a file


@attrs.define
class _Reading:
    """One pass over a file."""

    file: str
    check: Check
    previous: tuple[HostRow, ...]
    rows: dict[MACAddress, HostRow] = attrs.field(factory=dict)
    holders: dict[IPv4Address, HostRow] = attrs.field(factory=dict)
    names: dict[str, HostRow] = attrs.field(factory=dict)
    spoilt: list[tuple[list[str], int]] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    remarks: list[Remark] = attrs.field(factory=list)

    def warn(self, number: int, text: str, column: str = "") -> None:
        self.warnings.append(f"{self.file}:{number}: {text}")
        self.remarks.append(Remark(number, text, column))

    def line(self, raw: bytes, number: int) -> None:
        fields: list[str] = []
        try:
            fields = _fields(raw)
            if not _is_blank(fields):
                self.take(_row(fields, number, self.check))
        except _Unusable as reason:
            self.warn(number, f"line not used: {reason}", reason.column)
            self.spoilt.append((fields, number))

    def take(self, row: HostRow) -> None:
        first = self.rows.get(row.mac) or (self.holders.get(row.address) if row.address else None)
        if first is not None:
            is_mac = first.mac == row.mac
            what = row.mac if is_mac else row.address
            column = "mac" if is_mac else "address"
            self.warn(row.line, f"line not used: line {first.line} has {what} already", column)
            return
        row = self.named(row)
        self.rows[row.mac] = row
        if row.address:
            self.holders[row.address] = row

    def named(self, row: HostRow) -> HostRow:
        """The row, without its hostname if that is no name or another board's."""
        if not row.hostname:
            return row
        if not _is_valid_name(row.hostname):
            reason = f"{row.hostname!r} is not made of letters, digits and dashes"
            self.warn(row.line, f"hostname not used: {reason}", "hostname")
            return attrs.evolve(row, hostname="")
        first = self.names.setdefault(row.hostname.lower(), row)
        if first is not row:
            self.warn(row.line, f"hostname not used: line {first.line} has {row.hostname!r} already", "hostname")
            return attrs.evolve(row, hostname="")
        return row

    def restore(self) -> None:
        """Let a board whose line went bad keep its previous row."""
        by_mac = {row.mac: row for row in self.previous}
        by_address = {str(row.address): row for row in self.previous if row.address}
        for fields, number in self.spoilt:
            before = _previous_row(fields, by_mac, by_address)
            if before is None or before.mac in self.rows or (before.address and before.address in self.holders):
                continue
            self.take(attrs.evolve(before, line=number))
            self.warn(number, f"{before.mac} keeps its previous row")


def _previous_row(
    fields: list[str], by_mac: Mapping[MACAddress, HostRow], by_address: Mapping[str, HostRow]
) -> HostRow | None:
    """The row of a bad line's MAC; where the MAC is what went bad, of its address."""
    try:
        return by_mac.get(_mac(fields[0]))
    except (_Unusable, IndexError):
        return by_address.get(fields[1]) if len(fields) > 1 else None


def parse(
    data: bytes, *, file: str = "hosts.csv", check: Check = _no_objection, previous: Iterable[HostRow] = ()
) -> HostsFile:
    """
    Read the lines of a file.

    :param check: says why an address cannot be a board's.
    :param previous: the rows in force; a board whose line went bad keeps its own.
    """
    reading = _Reading(file, check, tuple(previous))
    for number, raw in enumerate(data.splitlines(), start=1):
        reading.line(raw, number)
    reading.restore()
    return HostsFile(tuple(reading.rows.values()), tuple(reading.warnings), tuple(reading.remarks))


def load(path: Path, *, check: Check = _no_objection, previous: Iterable[HostRow] = ()) -> HostsFile:
    """
    Read a file.

    :raises OSError: when it cannot be read, or is no regular file.
    """
    return parse(read_regular(path), file=path.name, check=check, previous=previous)


def serialize(rows: Iterable[HostRow]) -> str:
    """The text of these rows, as the original wrote it: the MAC in capitals."""
    return "".join(
        f"{str(row.mac).upper()};{row.address or ANY_ADDRESS};{row.hostname};{row.last_used}\n" for row in rows
    )
