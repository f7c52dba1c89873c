"""
Tests for :mod:`piman.editing.hoststext`.
"""

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.editing.hoststext import BadHostChange, HostChange, HostsText, read_host_changes, row_text
from piman.hosts import parse

NASTY = (
    b"\xef\xbb\xbf# caf\xe9\r\nB8:27:EB:00:00:01 ; 172.30.4.2;pi2\r\n"
    b"\r\n;;;\r\nB8:27:EB:;;;\r\nb827eb000002;172.30.4.3\nB8-27-EB-00-00-03;0.0.0.0;;0"
)


class RowTests(SynchronousTestCase):
    """Rows."""

    def test_kinds(self) -> None:
        """Rows, comments and lines that say nothing are told apart."""
        kinds = [line.kind for line in HostsText(NASTY).rows()]
        self.assertEqual(kinds, ["comment", "row", "empty", "empty", "row", "row", "row"])
        columns = {"mac": "B8:27:EB:00:00:01", "address": "172.30.4.2", "hostname": "pi2", "last_used": ""}
        self.assertEqual(HostsText(NASTY).rows()[1].columns, columns)

    def test_set(self) -> None:
        """A column changes, the blanks and the spelling around it stay; a column that was left out is added."""
        change = HostChange(
            what="set", line=2, was="B8:27:EB:00:00:01 ; 172.30.4.2;pi2", columns={"address": "172.30.4.9"}
        )
        short = HostChange(what="set", line=6, was="b827eb000002;172.30.4.3", columns={"hostname": "pi3"})
        wanted = NASTY.replace(b"172.30.4.2;", b"172.30.4.9;").replace(b"4.3\n", b"4.3;pi3\n")
        self.assertEqual(HostsText(NASTY).changed([change, short]).data, wanted)

    def test_add(self) -> None:
        """A row is added at the end, with the line end of the file, after one that had none."""
        change = HostChange(what="add", columns={"mac": "b8:27:eb:00:00:09"})
        self.assertEqual(HostsText(NASTY).changed([change]).data, NASTY + b"\r\nB8:27:EB:00:00:09;0.0.0.0;;0\r\n")
        self.assertEqual(HostsText(b"").changed([change]).data, b"B8:27:EB:00:00:09;0.0.0.0;;0\n")

    def test_remove(self) -> None:
        """A line goes, whatever it was."""
        change = HostChange(what="remove", line=4, was=";;;")
        self.assertEqual(HostsText(NASTY).changed([change]).data, NASTY.replace(b";;;\r\n", b"", 1))

    def test_moved(self) -> None:
        """A line that has moved is found by what it says; one that is gone, or there twice, is refused."""
        moved = HostsText(b"# new\nx;1\ny;2\ny;2\n")
        change = HostChange(what="set", line=1, was="x;1", columns={"address": "3"})
        self.assertEqual(moved.changed([change]).data, b"# new\nx;3\ny;2\ny;2\n")
        for was in ("z;1", "y;2"):
            gone = HostChange(what="remove", line=1, was=was)
            self.assertIn("somebody else", str(self.assertRaises(BadHostChange, moved.changed, [gone])))

    def test_text(self) -> None:
        """A whole text keeps the bytes of the lines that stay, those that are no text too."""
        text = HostsText(NASTY)
        shown = text.shown.replace("\r\n", "\n").replace("pi2", "pi-2")
        self.assertEqual(text.with_shown(shown).data, NASTY.replace(b"pi2", b"pi-2"))

    @given(some.binary())
    def test_any_bytes(self, data: bytes) -> None:
        """Any content is shown and comes back the same; lines are numbered as the loader numbers them."""
        text = HostsText(data)
        self.assertEqual(text.with_shown(text.shown).data, data)
        self.assertEqual(len(text.rows()), len(data.removeprefix(b"\xef\xbb\xbf").splitlines()))

    @given(
        some.sampled_from(["b8:27:eb:00:00:01", "B827EB000001"]),
        some.sampled_from(["", "10.0.0.1"]),
        some.text("ab-", max_size=3),
    )
    def test_read_back(self, mac: str, address: str, hostname: str) -> None:
        """A new row is read back by the loader."""
        row = parse(row_text({"mac": mac, "address": address, "hostname": hostname}).encode()).rows[0]
        self.assertEqual((str(row.mac), str(row.address or "")), ("b8:27:eb:00:00:01", address))

    def test_sent(self) -> None:
        """What would make two rows of one, or is no change, is refused."""
        for bad in (
            {"what": "add", "columns": {"mac": "a;b"}},
            {"what": "add", "columns": {"mac": "a\nb"}},
            {"what": "add", "columns": {"color": "red"}},
            {"what": "add", "columns": {"mac": 1}},
            {"what": "set", "line": True},
            {"what": "set", "extra": 1},
            {"what": "burn"},
            "add",
        ):
            self.assertRaises(BadHostChange, read_host_changes, [bad])
        self.assertRaises(BadHostChange, read_host_changes, {})
