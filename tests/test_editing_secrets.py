"""
Tests for :mod:`piman.editing.secrets` and :mod:`piman.editing.lines`: what is shown, and what comes back.
"""

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.editing.lines import difference, lines_of, overlay
from piman.editing.secrets import MARKER, UnknownMarker, Vault
from piman.settings.sections import Document
from tests.editing_support import YAML
from tests.test_editing_yamltext import NASTY

SECRET = "s3cr3t-w0rd"
WITH_SECRETS = {
    "declared": f"switches:\n  - snmp: {{community: {SECRET}, version: 2c}}   # c\n    name: x\n",
    "quoted": f"switches:\n  - snmp:\n      community: '{SECRET}'\n      read_community: \"{SECRET}\"   # c\n",
    "version 3": f"switches:\n- snmp:\n    auth: {{protocol: sha, key: {SECRET}}}\n    priv:\n      key: {SECRET}\n",
    "lines": f"switches:\n  - snmp:\n      community: |\n        {SECRET}\n        {SECRET}\n      version: 2c\n",
    "folded": f"switches:\n  - snmp:\n      community: {SECRET}\n        {SECRET}\n      version: 2c\n",
    "shared": f"switches:\n  - snmp: &all {{community: {SECRET}}}\n  - snmp: *all\n",
    "anchored": f"switches:\n  - snmp: {{community: &word {SECRET}, read_community: *word}}\n",
    "misspelt": f"switches:\n  - snmp: {{comunity: {SECRET}}}\n",
    "elsewhere": f"community: {SECRET}\ndhcp:\n  password: {SECRET}\n",
    "plugin": "alerts:\n"
    f"  - kind: slack\n    url: https://hooks/{SECRET}\n  - {{kind: x, auth: {{api_key: {SECRET}}}}}\n",
    "power": f"switches:\n  - power:\n      kind: command\n      on: curl http://u:{SECRET}@pdu/on\n",
    "list of sections as a mapping": f"switches:\n  snmp:\n    community: {SECRET}\n",
    "section as a list": f"switches:\n  - snmp:\n    - community: {SECRET}\n",
    "comment": f"a: 1   # community: {SECRET}\n# token = {SECRET}\n",
    "broken": f"switches:\n  - snmp: {{community: {SECRET}\n    key: {SECRET}\n  x\n",
    "broken lines": "a: [\nswitches:\n"
    f"  - snmp:\n      community: |\n        {SECRET}\n\n        {SECRET}\n      x: 1\n",
    "crlf": f"switches:\r\n  - snmp:\r\n      community: {SECRET}\r\n      version: 2c\r\n",
}


def vault(key: bytes = b"k" * 32) -> Vault:
    """A vault for piman.yaml."""
    return Vault(key, Document)


class MaskTests(SynchronousTestCase):
    """Taking out."""

    def test_nowhere(self) -> None:
        """However a secret is written, it is not shown, and the text is whole again afterwards."""
        for name, text in WITH_SECRETS.items():
            masked = vault().mask(text)
            self.assertNotIn(SECRET, masked.text, name)
            self.assertTrue(MARKER.search(masked.text), name)
            self.assertEqual(vault().restore(masked.text, masked), text, name)

    def test_line_ends_lost(self) -> None:
        """A browser takes carriage returns away; unchanged lines have them again."""
        masked = vault().mask(WITH_SECRETS["crlf"])
        shown = masked.text.replace("\r\n", "\n").replace("2c", "1")
        self.assertEqual(vault().restore(shown, masked), WITH_SECRETS["crlf"].replace("2c", "1"))

    def test_nothing_else(self) -> None:
        """What says where a secret is, and everything that is none, is shown."""
        text = "switches:\n  - snmp:\n      auth: {key_env: VAR, protocol: sha}\n      user: me\n    name: keys\n"
        self.assertEqual(vault().mask(text).text, text)
        for name in ("original", "example", "comments", "anchors"):
            self.assertEqual(vault().mask(NASTY[name]).text, NASTY[name])

    def test_moved(self) -> None:
        """A secret may move with its switch, into quotes and out of lines."""
        text = WITH_SECRETS["lines"]
        masked = vault().mask(text)
        marker = next(iter(masked.secrets))
        moved = f"switches: [{{snmp: {{community: {marker}}}}}]\n"
        wanted = f'switches: [{{snmp: {{community: "{SECRET}\\x0a{SECRET}\\x0a"}}}}]\n'
        self.assertEqual(vault().restore(moved, masked), wanted)

    def test_typed(self) -> None:
        """A secret that is typed in the place of a marker counts."""
        masked = vault().mask(YAML)
        shown = MARKER.sub("fresh", masked.text)
        self.assertEqual(vault().restore(shown, masked), YAML.replace("hunter2-private", "fresh"))

    def test_unknown(self) -> None:
        """A marker of a secret that is not in the file is refused."""
        masked = vault().mask("switches:\n  - snmp: {community: x}\n")
        shown = masked.text.replace(next(iter(masked.secrets)), "<secret-00000000>")
        self.assertRaises(UnknownMarker, vault().restore, shown, masked)

    def test_keyed(self) -> None:
        """The same secret has another marker in another process: nobody tries words out."""
        first, second = (vault(key).mask(WITH_SECRETS["declared"]).text for key in (b"a" * 32, b"b" * 32))
        self.assertNotEqual(first, second)

    @given(some.sampled_from([*WITH_SECRETS.values(), *NASTY.values()]), some.data())
    def test_lines_changed(self, text: str, data: some.DataObject) -> None:
        """Lines taken away and put in: the others are byte for byte what they were."""
        masked = vault().mask(text)
        lines = masked.text.split("\n")
        at = data.draw(some.integers(0, len(lines) - 1))
        shown = "\n".join([*lines[:at], "# new", *lines[at:]])
        restored = vault().restore(shown, masked)
        self.assertEqual(
            restored.replace("# new\r\n", "", 1).replace("# new\n", "", 1).rstrip("\r\n"), text.rstrip("\r\n")
        )


class LineTests(SynchronousTestCase):
    """Texts over texts."""

    @given(some.lists(some.sampled_from(["a", "b", ""])), some.sampled_from(["\n", "\r\n", "\r"]), some.booleans())
    def test_same(self, words: list[str], end: str, is_ended: bool) -> None:
        """A view that nobody changed is the text that it was made of, whatever ends the lines."""
        text = end.join(words) + (end if is_ended else "")
        self.assertEqual(overlay(lines_of(text), text.replace(end, "\n")), text)

    @given(some.text("ab\n"), some.text("ab\n"))
    def test_changed(self, before: str, after: str) -> None:
        """A view that was changed comes back as it was changed."""
        self.assertEqual(overlay(lines_of(before), after), after)

    def test_difference(self) -> None:
        """A difference is a unified diff; line ends that differ are told."""
        self.assertEqual(difference("a\nb\n", "a\r\nb", "f")[3:], ["-a", "-b", "+a␍", "+b  (no line end)"])
        self.assertEqual(difference("a\n", "a\n", "f"), [])
