"""
Tests for :mod:`piman.hosts`.
"""

from ipaddress import IPv4Address
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import MACAddress
from piman.hosts import HostRow, load, parse, serialize

ONE = "B8:27:EB:12:34:56;172.30.4.13;pi13;1580000000\n"

MACS = some.binary(min_size=6, max_size=6).map(lambda raw: MACAddress(bytes([raw[0] & 0xFE]) + raw[1:5] + b"\x01"))


def _mac(last: int) -> MACAddress:
    return MACAddress(bytes([0xB8, 0x27, 0xEB, 0, 0, last]))


def _rows(text: str) -> list[tuple[str, str | None, str, int]]:
    rows = parse(text.encode()).rows
    return [(str(row.mac), str(row.address) if row.address else None, row.hostname, row.last_used) for row in rows]


class ReadTests(SynchronousTestCase):
    """Lines as the original wrote them, and as people edited them."""

    def test_whole_row(self) -> None:
        """A row of four fields gives MAC, address, name and time."""
        self.assertEqual(_rows(ONE), [("b8:27:eb:12:34:56", "172.30.4.13", "pi13", 1580000000)])

    def test_fewer_columns(self) -> None:
        """Trailing fields may be left out."""
        self.assertEqual(
            _rows("B8:27:EB:00:00:01;172.30.4.13;pi\nB8:27:EB:00:00:02;172.30.4.14\nB8:27:EB:00:00:03\n"),
            [
                ("b8:27:eb:00:00:01", "172.30.4.13", "pi", 0),
                ("b8:27:eb:00:00:02", "172.30.4.14", "", 0),
                ("b8:27:eb:00:00:03", None, "", 0),
            ],
        )

    def test_any_address(self) -> None:
        """0.0.0.0 and an empty field both mean: a known board, any address."""
        self.assertEqual(
            _rows("B8:27:EB:00:00:01;0.0.0.0;;0\nB8:27:EB:00:00:02;;;\n"),
            [("b8:27:eb:00:00:01", None, "", 0), ("b8:27:eb:00:00:02", None, "", 0)],
        )

    def test_empty_rows(self) -> None:
        """Empty lines, rows of empty fields, comments and the pages' skeleton row say nothing, without a warning."""
        file = parse(b"\n;;;\n;;;0\nB8:27:EB:;;;\n  \n# a comment; with a semicolon\n;\n")
        self.assertEqual((file.rows, file.warnings), ((), ()))

    def test_spelling(self) -> None:
        """Lower case, dashes, blanks around fields, CRLF and a byte order mark are all understood."""
        file = parse(b"\xef\xbb\xbfb8-27-eb-00-00-01 ; 172.30.4.13 ;pi;0\r\nB827EB000002;172.30.4.14;;\r\n")
        self.assertEqual(file.warnings, ())
        self.assertEqual([row.mac for row in file.rows], [_mac(1), _mac(2)])

    def test_odd_time(self) -> None:
        """A last_used that is no whole number counts as never."""
        self.assertEqual(_rows("B8:27:EB:00:00:01;172.30.4.13;pi;x1\n")[0][3], 0)

    @given(some.lists(some.builds(HostRow, mac=MACS, address=some.none()), unique_by=lambda row: row.mac))
    def test_round_trip(self, rows: list[HostRow]) -> None:
        """What is written is read back."""
        self.assertEqual(list(parse(serialize(rows).encode()).rows), rows)

    def test_written_as_the_original_did(self) -> None:
        """The MAC in capitals, 0.0.0.0 for any address."""
        row = HostRow(mac=_mac(1))
        self.assertEqual(serialize([row]), "B8:27:EB:00:00:01;0.0.0.0;;0\n")
        self.assertEqual(serialize(parse(ONE.encode()).rows), ONE)

    def test_file(self) -> None:
        """A file is read and named in its warnings."""
        path = Path(self.mktemp())
        path.write_text(ONE + "nonsense\n")
        file = load(path)
        self.assertEqual(len(file.rows), 1)
        self.assertIn(f"{path.name}:2: ", file.warnings[0])


class MalformedTests(SynchronousTestCase):
    """A bad line is a warning with its number; the rest is used."""

    def warning(self, line: bytes) -> str:
        """The one warning about a line between two good ones."""
        file = parse(b"B8:27:EB:00:00:01;172.30.4.13;a;0\n" + line + b"\nB8:27:EB:00:00:03;172.30.4.15;b;0\n")
        self.assertEqual([row.mac for row in file.rows if row.mac in (_mac(1), _mac(3))], [_mac(1), _mac(3)])
        (warning,) = file.warnings
        self.assertTrue(warning.startswith("hosts.csv:2: "), warning)
        return warning

    def test_bad_mac(self) -> None:
        """A field that is no MAC is shown."""
        self.assertIn("'B8:27:EB:ZZ:00:02' is not a MAC address", self.warning(b"B8:27:EB:ZZ:00:02;172.30.4.14;;"))

    def test_begun_mac_with_address(self) -> None:
        """The beginning of a MAC with an address beside it is no skeleton but a mistake."""
        self.assertIn("'B8:27:EB:' is not a MAC address", self.warning(b"B8:27:EB:;172.30.4.14;;"))

    def test_group_mac(self) -> None:
        """A group address is no board's."""
        self.assertIn("no board's", self.warning(b"FF:FF:FF:FF:FF:FF;172.30.4.14;;"))

    def test_bad_address(self) -> None:
        """A field that is no IPv4 address is shown."""
        for field in (b"172.30.4.300", b"172.30.4", b"fe80::1", b"1", b"172.30.4.1/24"):
            self.assertIn(f"{field.decode()!r} is not an IPv4 address", self.warning(b"B8:27:EB:00:00:02;" + field))

    def test_too_many_fields(self) -> None:
        """A hostname with a semicolon in it made every later reading of the original fail; here it costs one line."""
        self.assertIn("5 fields, at most 4", self.warning(b"B8:27:EB:00:00:02;172.30.4.14;a;b;0"))

    def test_not_utf8(self) -> None:
        """Bytes that are not UTF-8 cost one line."""
        self.assertIn("not UTF-8", self.warning(b"B8:27:EB:00:00:02;172.30.4.14;\xff;0"))

    def test_bad_hostname(self) -> None:
        """A name that is none is not used, the rest of its line is."""
        for name in ("a b", "-a", "a..b", "x" * 64, "<b>"):
            line = f"B8:27:EB:00:00:02;172.30.4.14;{name};0".encode()
            self.assertIn("hostname not used", self.warning(line))
            self.assertEqual(parse(line).rows[0].address, IPv4Address("172.30.4.14"))

    def test_objection(self) -> None:
        """An address that the caller objects to costs its line."""
        file = parse(ONE.encode(), check=lambda address: "is not in the subnet")
        self.assertEqual(file.rows, ())
        self.assertIn("hosts.csv:1: line not used: 172.30.4.13 is not in the subnet", file.warnings)

    @given(some.lists(some.binary(max_size=60)))
    def test_any_bytes(self, lines: list[bytes]) -> None:
        """No bytes whatsoever make the reading fail or cost the good line that follows them."""
        file = parse(b"\n".join([*lines, b"B8:27:EB:12:34:56;172.30.4.13;pi13;0"]))
        self.assertIn(MACAddress.parse("B8:27:EB:12:34:56"), [row.mac for row in file.rows])


class DuplicateTests(SynchronousTestCase):
    """Of duplicates the first row wins."""

    def test_mac(self) -> None:
        """A MAC again: the second row is not used."""
        file = parse(b"B8:27:EB:00:00:01;172.30.4.13;a;0\nb8:27:eb:00:00:01;172.30.4.14;b;0\n")
        self.assertEqual([str(row.address) for row in file.rows], ["172.30.4.13"])
        self.assertEqual(file.warnings, ("hosts.csv:2: line not used: line 1 has b8:27:eb:00:00:01 already",))

    def test_address(self) -> None:
        """An address again: the second row is not used."""
        file = parse(b"B8:27:EB:00:00:01;172.30.4.13;a;0\nb8:27:eb:00:00:02;172.30.4.13;b;0\n")
        self.assertEqual([row.mac for row in file.rows], [_mac(1)])
        self.assertEqual(file.warnings, ("hosts.csv:2: line not used: line 1 has 172.30.4.13 already",))

    def test_any_address_is_no_duplicate(self) -> None:
        """Many boards may take any address."""
        self.assertEqual(len(parse(b"B8:27:EB:00:00:01;0.0.0.0\nB8:27:EB:00:00:02;0.0.0.0\n").rows), 2)

    def test_hostname(self) -> None:
        """A hostname again: the second board is used without it."""
        file = parse(b"B8:27:EB:00:00:01;172.30.4.13;pi;0\nb8:27:eb:00:00:02;172.30.4.14;PI;0\n")
        self.assertEqual([row.hostname for row in file.rows], ["pi", ""])
        self.assertEqual(file.warnings, ("hosts.csv:2: hostname not used: line 1 has 'PI' already",))


class ReadAgainTests(SynchronousTestCase):
    """A board whose line went bad keeps its previous row."""

    def setUp(self) -> None:
        """Two boards in force."""
        self.before = parse(b"B8:27:EB:00:00:01;172.30.4.13;a;0\nB8:27:EB:00:00:02;172.30.4.14;b;0\n").rows

    def test_address_went_bad(self) -> None:
        """The line is known by its MAC."""
        file = parse(b"B8:27:EB:00:00:01;172.30.4.999;a;0\nB8:27:EB:00:00:02;172.30.4.24;b;0\n", previous=self.before)
        addresses = {row.mac: str(row.address) for row in file.rows}
        self.assertEqual(addresses, {_mac(1): "172.30.4.13", _mac(2): "172.30.4.24"})
        self.assertIn("hosts.csv:1: b8:27:eb:00:00:01 keeps its previous row", file.warnings)

    def test_mac_went_bad(self) -> None:
        """The line is known by its address."""
        file = parse(b"B8:27:EB:00:00:0;172.30.4.13;a;0\n", previous=self.before)
        self.assertEqual([row.mac for row in file.rows], [_mac(1)])

    def test_address_given_away(self) -> None:
        """A previous row does not take an address back that another board has now."""
        text = b"B8:27:EB:00:00:01;172.30.4.x;a;0\nB8:27:EB:00:00:02;172.30.4.13;b;0\n"
        file = parse(text, previous=self.before)
        self.assertEqual([(row.mac, str(row.address)) for row in file.rows], [(_mac(2), "172.30.4.13")])

    def test_good_line_elsewhere(self) -> None:
        """A board that has a good line besides the bad one uses that, and nothing is said of its previous row."""
        text = b"B8:27:EB:00:00:01;172.30.4.x;a;0\nB8:27:EB:00:00:01;172.30.4.23;a;0\n"
        file = parse(text, previous=self.before)
        self.assertEqual([(row.mac, str(row.address)) for row in file.rows], [(_mac(1), "172.30.4.23")])
        self.assertEqual(len(file.warnings), 1)

    def test_removed(self) -> None:
        """A line that is gone is gone."""
        file = parse(b"B8:27:EB:00:00:02;172.30.4.14;b;0\n", previous=self.before)
        self.assertEqual([row.mac for row in file.rows], [_mac(2)])
