"""
Tests for :mod:`piman.editing.desk`, :mod:`piman.editing.changes` and :mod:`piman.editing.skeleton`: what becomes of
proposals.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from piman.config import load
from piman.editing.desk import (
    CONFIG,
    HOSTS_FILE,
    BadProposal,
    ChangedMeanwhile,
    Mistaken,
    read_proposal,
    skeleton,
)
from piman.editing.keeping import backups_of
from piman.editing.schema import configuration
from tests.editing_support import HOSTS, SECRET, YAML, AtADesk

LEASE = ("set", ["dhcp", "lease_seconds"], "600")


class ConfigTests(AtADesk):
    """``piman.yaml``."""

    def test_one_value(self) -> None:
        """A change that is kept changes its line, and no other byte; the old file is the backup."""
        verdict = self.keep(CONFIG, self.change(LEASE))
        self.assertEqual(self.path.read_text(), YAML.replace("3600", "600"))
        self.assertEqual([each.read_text() for each in backups_of(self.path)], [YAML])
        self.assertEqual(verdict.backup, backups_of(self.path)[0].name)
        self.assertEqual(
            [line for line in verdict.diff if line[:1] in "+-" and line[:3] not in ("---", "+++")],
            ["-  lease_seconds: 3600", "+  lease_seconds: 600"],
        )
        self.assertEqual(verdict.digest, self.desk.digest(CONFIG))

    def test_bad_value(self) -> None:
        """A value that the loader does not take is told with its key and line, and never reaches the disk."""
        bad = self.change(("set", ["dhcp", "lease_seconds"], "5"), ("set", ["switches", 0, "pi_addresses"], ["x"]))
        error = self.assertRaises(Mistaken, self.keep, CONFIG, bad)
        told = [(each.line, each.key) for each in error.verdict.problems]
        self.assertEqual(told, [(15, "switches[0].pi_addresses[0]"), (23, "dhcp.lease_seconds")])
        self.assertEqual(self.path.read_text(), YAML)
        self.assertEqual(backups_of(self.path), [])

    @settings(max_examples=40)
    @given(
        some.sampled_from(
            [
                ["dhcp", "pool"],
                ["interface"],
                ["server_address"],
                ["web", "port"],
                ["subnet_mask"],
                ["switches", 0, "name"],
                ["switches", 1, "pi_addresses"],
                ["alerts"],
            ]
        ),
        some.text(max_size=12) | some.lists(some.text(max_size=5), max_size=2),
    )
    def test_loads(self, path: list[Any], value: Any) -> None:
        """Whatever is typed anywhere: what is kept can be loaded."""
        self.path.write_text(YAML)
        try:
            self.keep(CONFIG, self.change(("set", path, value)))
        except Mistaken as error:
            self.assertTrue(error.verdict.problems)
            self.assertEqual(self.path.read_text(), YAML)
        load(self.path)

    def test_digest(self) -> None:
        """A proposal about a file that has changed since is refused."""
        digest = self.desk.digest(CONFIG)
        self.path.write_text(YAML + "# more\n")
        self.assertRaises(ChangedMeanwhile, self.desk.keep, CONFIG, self.change(LEASE), digest)
        self.assertEqual(self.path.read_text(), YAML + "# more\n")

    def test_digest_tells_nothing(self) -> None:
        """The digest of the same file is another one in the next process: secrets in it cannot be tried out."""
        self.assertNotEqual(self.desk.digest(CONFIG), self.make_desk(b"z" * 32).digest(CONFIG))

    def test_nothing_changed(self) -> None:
        """What is there already is not written again."""
        before = self.path.stat().st_ino
        verdict = self.keep(CONFIG, self.change(("set", ["dhcp", "lease_seconds"], "3600")))
        self.assertEqual((verdict.diff, verdict.backup), ((), ""))
        self.assertEqual(self.path.stat().st_ino, before)

    def test_in_force(self) -> None:
        """Beside a manager it is told what changes at once and what waits for a restart."""
        self.config = load(self.path)
        verdict = self.desk.judge(CONFIG, self.change(LEASE, ("set", ["web", "port"], "5001")))
        self.assertEqual((verdict.at_once, verdict.at_restart), (("dhcp.lease_seconds",), ("web.port",)))

    def test_text(self) -> None:
        """A whole text keeps the lines that stay, with the line ends that a browser takes away."""
        self.path.write_bytes(b"\xef\xbb\xbf" + YAML.replace("\n", "\r\n").encode())
        shown = self.desk.sheet(CONFIG).text.replace("\r\n", "\n")
        self.keep(CONFIG, read_proposal(CONFIG, {"text": shown.replace("3600", "600")}))
        wanted = b"\xef\xbb\xbf" + YAML.replace("3600", "600").replace("\n", "\r\n").encode()
        self.assertEqual(self.path.read_bytes(), wanted)

    def test_mistakes_in_a_text(self) -> None:
        """A text that is no YAML has its mistake in a line."""
        verdict = self.desk.judge(CONFIG, read_proposal(CONFIG, {"text": "a: b\n\tc: d\n"}))
        self.assertEqual([each.line for each in verdict.problems], [2])
        self.assertIsNone(verdict.form)

    def test_broken_file(self) -> None:
        """A file that is no YAML is shown and mended as text; its fields cannot be changed."""
        self.path.write_text(YAML.replace("pool: ", "pool ["))
        sheet = self.desk.sheet(CONFIG)
        self.assertIsNone(sheet.form)
        self.assertNotIn(SECRET, sheet.text)
        self.assertIn("as text", self.desk.judge(CONFIG, self.change(LEASE)).problems[0].text)
        self.keep(CONFIG, read_proposal(CONFIG, {"text": sheet.text.replace("pool [", "pool: ")}))
        self.assertEqual(self.path.read_text(), YAML)

    def test_latin(self) -> None:
        """Bytes that are no UTF-8 are a mistake with a line, not a crash."""
        self.path.write_bytes(YAML.encode().replace(b"cellar", b"k\xfcche"))
        sheet = self.desk.sheet(CONFIG)
        self.assertEqual([each.line for each in sheet.problems], [1])

    def test_hosts_path(self) -> None:
        """The hosts file is the one that piman.yaml names."""
        self.assertEqual(self.desk.hosts_path(), self.hosts_path)
        self.path.write_text(YAML + "hosts_file: others.csv\n")
        self.assertEqual(self.desk.hosts_path(), self.folder / "others.csv")
        self.assertEqual(self.make_desk(hosts=self.folder / "x.csv").hosts_path(), self.folder / "x.csv")


class TwoEditorsTests(AtADesk):
    """Somebody else was faster."""

    def test_carried_over(self) -> None:
        """Changes that do not touch each other both stand, though the elements have moved."""
        base = self.desk.sheet(CONFIG).text
        self.keep(CONFIG, self.change(("unset", ["switches", 0]), ("set", ["dhcp", "lease_seconds"], "700")))
        mine = self.change(("set", ["switches", 1, "name"], "rack-b"), base=base)
        verdict = self.keep(CONFIG, mine)
        self.assertIn("-  lease_seconds: 3600", verdict.others)
        config = load(self.path)
        self.assertEqual([(str(each.address), each.name) for each in config.switches], [("172.30.4.253", "rack-b")])
        self.assertEqual(config.dhcp.lease_seconds, 700)

    def test_clash(self) -> None:
        """Two who change the same value to two: the second is told, and nothing is lost."""
        base = self.desk.sheet(CONFIG).text
        self.keep(CONFIG, self.change(LEASE))
        verdict = self.desk.judge(CONFIG, self.change(("set", ["dhcp", "lease_seconds"], "900"), base=base))
        self.assertEqual([each.key for each in verdict.problems], ["dhcp.lease_seconds"])
        self.assertIn("somebody else", verdict.problems[0].text)

    def test_gone(self) -> None:
        """A change in an element that is gone says so."""
        base = self.desk.sheet(CONFIG).text
        self.keep(CONFIG, self.change(("unset", ["switches", 1])))
        verdict = self.desk.judge(CONFIG, self.change(("set", ["switches", 1, "name"], "x"), base=base))
        self.assertIn("not there any more", verdict.problems[0].text)

    def test_same(self) -> None:
        """Two who want the same agree."""
        base = self.desk.sheet(CONFIG).text
        self.keep(CONFIG, self.change(LEASE))
        verdict = self.desk.judge(CONFIG, self.change(LEASE, base=base))
        self.assertEqual((verdict.problems, verdict.diff), ((), ()))


class SecretTests(AtADesk):
    """Secrets are on the disk, and nowhere else."""

    def test_shown_nowhere(self) -> None:
        """No secret is in what is shown of a file, a proposal or a mistake; saved again, it is what it was."""
        sheet = self.desk.sheet(CONFIG)
        bad = self.change(("set", ["switches", 0, "snmp", "version"], "9"), LEASE)
        for shown in (sheet, self.desk.judge(CONFIG, bad), self.desk.judge(CONFIG, self.change(LEASE))):
            self.assertNotIn(SECRET, repr(shown))
        self.keep(CONFIG, read_proposal(CONFIG, {"text": sheet.text.replace("rack-a", "rack-z")}))
        self.assertEqual(self.path.read_text(), YAML.replace("rack-a", "rack-z"))

    def test_unknown_marker(self) -> None:
        """A marker of another process is a mistake in its line."""
        text = self.make_desk(b"other" * 7).sheet(CONFIG).text
        problems = self.desk.judge(CONFIG, read_proposal(CONFIG, {"text": text})).problems
        self.assertEqual([each.line for each in problems], [13])

    def test_new_secret(self) -> None:
        """A secret that is typed is written, and shown as a marker from then on."""
        verdict = self.keep(CONFIG, self.change(("set", ["switches", 0, "snmp", "community"], "fresh-one")))
        self.assertEqual(self.path.read_text(), YAML.replace(SECRET, "fresh-one"))
        self.assertNotIn("fresh-one", repr(verdict))


class HostsTests(AtADesk):
    """``hosts.csv``."""

    def test_rows(self) -> None:
        """Rows change, go and come; every other byte stays."""
        wish = self.rows(
            {"what": "set", "line": 3, "was": "dc-a6-32-00-00-0e;172.30.4.14;pi14", "columns": {"hostname": "pi-14"}},
            {"what": "add", "columns": {"mac": "b8:27:eb:00:00:0f", "address": "172.30.4.15", "hostname": "pi15"}},
        )
        self.keep(HOSTS_FILE, wish)
        wanted = HOSTS.replace("pi14", "pi-14") + "B8:27:EB:00:00:0F;172.30.4.15;pi15;0\n"
        self.assertEqual(self.hosts_path.read_text(), wanted)

    def test_rules(self) -> None:
        """The rules are the loader's: an address of the manager, of another subnet, of another row."""
        for address, words in (("172.30.4.1", "server_address"), ("10.0.0.1", "subnet"), ("172.30.4.13", "line 2")):
            wish = self.rows({"what": "add", "columns": {"mac": "b8:27:eb:00:00:0f", "address": address}})
            error = self.assertRaises(Mistaken, self.keep, HOSTS_FILE, wish)
            self.assertEqual([(each.line, each.key) for each in error.verdict.problems], [(6, "address")])
            self.assertIn(words, error.verdict.problems[0].text)
        self.assertEqual(self.hosts_path.read_text(), HOSTS)

    def test_old_mistakes(self) -> None:
        """A line that was bad before is a warning, and stops nobody."""
        sheet = self.desk.sheet(HOSTS_FILE)
        self.assertEqual([(each.line, each.key) for each in sheet.warnings], [(5, "mac")])
        self.assertEqual(sheet.problems, ())

    def test_all_gone(self) -> None:
        """An empty file is refused while a manager knows boards, as at SIGHUP."""
        self.config = load(self.path)
        error = self.assertRaises(Mistaken, self.keep, HOSTS_FILE, read_proposal(HOSTS_FILE, {"text": "# none\n"}))
        self.assertIn("no board", error.verdict.problems[0].text)

    def test_most_gone(self) -> None:
        """That most boards would be gone is told before it is applied, not after."""
        rows = "".join(f"B8:27:EB:00:01:{number:02X};172.30.4.{20 + number};;0\n" for number in range(8))
        self.hosts_path.write_text(HOSTS + rows)
        self.config = load(self.path)
        verdict = self.desk.judge(HOSTS_FILE, read_proposal(HOSTS_FILE, {"text": HOSTS}))
        self.assertEqual(verdict.problems, ())
        self.assertIn("8 of 10 boards are gone", " ".join(each.text for each in verdict.warnings))

    def test_broken_configuration(self) -> None:
        """With a piman.yaml that has mistakes rows can be changed; that addresses are not checked is told."""
        self.path.write_text("nonsense: 1\n")
        verdict = self.keep(HOSTS_FILE, self.rows({"what": "add", "columns": {"mac": "b8:27:eb:00:00:0f"}}))
        self.assertIn("not checked", verdict.warnings[-1].text)


class SkeletonTests(AtADesk):
    """Files that are not there."""

    yaml, hosts = None, None

    def test_offered(self) -> None:
        """A missing file is offered as a skeleton of blank fields, and is not created by looking."""
        sheet = self.desk.sheet(CONFIG)
        self.assertEqual((sheet.exists, sheet.text), (False, skeleton(CONFIG).decode()))
        blank = [field.key for group in sheet.form.groups for field in group.fields if field.state == "blank"]
        self.assertEqual(blank, ["private_number", "server_address", "subnet_mask", "interface"])
        self.assertEqual(self.desk.sheet(HOSTS_FILE).problems, ())
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_filled(self) -> None:
        """The first apply creates it, comments and all."""
        wish = self.change(
            ("set", ["private_number"], "4"),
            ("set", ["server_address"], "172.30.4.1"),
            ("set", ["subnet_mask"], "255.255.255.0"),
            ("set", ["interface"], "eth0"),
            ("set", ["switches", 0, "switch_address"], "172.30.4.254"),
            ("set", ["switches", 0, "pi_addresses"], ["172.30.4.13"]),
        )
        verdict = self.keep(CONFIG, wish)
        self.assertEqual((verdict.backup, verdict.problems), ("", ()))
        text = self.path.read_text()
        self.assertEqual(
            [line for line in text.splitlines() if line.startswith("#")],
            [line for line in skeleton(CONFIG).decode().splitlines() if line.startswith("#")],
        )
        self.assertEqual([str(slot.address) for slot in load(self.path).slots], ["172.30.4.13"])
        self.keep(HOSTS_FILE, self.rows({"what": "add", "columns": {"mac": "b8:27:eb:00:00:0f"}}))
        self.assertEqual(self.hosts_path.read_bytes(), skeleton(HOSTS_FILE) + b"B8:27:EB:00:00:0F;0.0.0.0;;0\n")

    def test_half_filled(self) -> None:
        """A skeleton with blanks left is not written; each blank is told at its key."""
        error = self.assertRaises(Mistaken, self.keep, CONFIG, self.change(("set", ["interface"], "eth0")))
        keys = {each.key for each in error.verdict.problems}
        self.assertIn("server_address", keys)
        self.assertIn("switches[0].pi_addresses[0]", keys)
        self.assertFalse(self.path.exists())


class ProposalTests(AtADesk):
    """What is sent."""

    @given(
        some.recursive(
            some.none() | some.booleans() | some.integers() | some.text(),
            lambda inner: (
                some.lists(inner)
                | some.dictionaries(
                    some.sampled_from(["text", "changes", "base", "what", "path", "value", "line", "columns"]), inner
                )
            ),
        )
    )
    def test_anything(self, sent: Any) -> None:
        """Anything that is no proposal is refused as such."""
        for kind in (CONFIG, HOSTS_FILE):
            try:
                proposal = read_proposal(kind, sent)
            except BadProposal:
                continue
            self.desk.judge(kind, proposal)

    def test_places(self) -> None:
        """Paths are those of the file as it was looked at: what goes does not move what is changed."""
        wish = self.change(
            ("unset", ["switches", 0]),
            ("set", ["switches", 1, "name"], "b"),
            ("add", ["switches"], {"switch_address": "172.30.4.252"}),
        )
        text = configuration(self.desk.judge(CONFIG, wish).text)
        found = [[key.text for key, _ in each.pairs] for each in text.find(("switches",)).items]
        self.assertEqual(found, [["swtich_1_address", "pi_addresses", "name"], ["switch_address"]])
