"""
Tests for :mod:`piman.web.rendering`: the frame of every page.
"""

from pathlib import Path
from typing import Any

from jinja2 import UndefinedError
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import Phase
from piman.web.rendering import FAMILIES, counted, duration, moment, page, size

STATIC = Path(__file__).resolve().parent.parent / "piman/web/static"
CONTEXT: dict[str, Any] = {
    "csrf_token": "t0ken",
    "user": "ada",
    "role": "operator",
    "site_name": "Rack <b>9</b>",
    "version": "2.0",
    "page": "rack",
}
WRONG = {"title": "Not there", "message": "<script>alert(1)</script>", "hint": 'a "b" & c'}


class FrameTests(SynchronousTestCase):
    """base.html and error.html."""

    def page(self, **changes: Any) -> str:
        """The page of an error."""
        return page("error.html", {**CONTEXT, **changes}, **WRONG).decode()

    def test_escapes(self) -> None:
        """Texts are escaped, of the page and of its frame."""
        page = self.page(user='<img src=x onerror="a()">')
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;", page)
        self.assertIn("Rack &lt;b&gt;9&lt;/b&gt;", page)
        for tag in ("<script>", "<b>", "<img src=x"):
            self.assertNotIn(tag, page)

    def test_strict(self) -> None:
        """A value that a template needs and nobody gave is an error."""
        with self.assertRaises(UndefinedError):
            page("error.html", {}, **WRONG)

    def test_current(self) -> None:
        """One item of the navigation is the current one."""
        self.assertEqual(self.page().count("aria-current"), 1)
        self.assertIn('href="/" aria-current="page"', self.page())

    def test_log_out(self) -> None:
        """Whoever has logged in can log out, with the token; on loopback nobody has."""
        self.assertIn('value="t0ken"', self.page())
        for user in ("", "local"):
            self.assertNotIn("/logout", self.page(user=user))

    def test_policy(self) -> None:
        """Nothing inline and nothing from elsewhere: the Content-Security-Policy would not allow it."""
        for path in (STATIC.parent / "templates").glob("*.html"):
            text = path.read_text("utf-8")
            for wrong in (" style=", "<style", "onclick=", "|safe", "https://", "http://"):
                self.assertNotIn(wrong, text, path)
            self.assertEqual(text.count("<script"), text.count('<script type="module" src="/static/'), path)


class WordTests(SynchronousTestCase):
    """Filters."""

    def test_durations(self) -> None:
        """Two units at most."""
        told = [duration(each) for each in (-1, 0.44, 9.99, 42.4, 60, 185, 7800, 90_000)]
        expected = ["0.0 s", "0.4 s", "10.0 s", "42 s", "1 min", "3 min 5 s", "2 h 10 min", "1 d 1 h"]
        self.assertEqual(told, expected)

    def test_moments(self) -> None:
        """A moment is told in UTC and for machines; 0 is never."""
        self.assertEqual(
            moment(1_750_000_000.5),
            '<time datetime="2025-06-15T15:06:40.500+00:00">2025-06-15 15:06:40 UTC</time>',
        )
        self.assertIn("never", moment(0))

    def test_sizes(self) -> None:
        """Decimal units."""
        told = [size(each) for each in (7, 1500, 2_000_000_000, 3_000 * 10**12)]
        self.assertEqual(told, ["7 B", "1.5 kB", "2.0 GB", "3000.0 TB"])
        self.assertEqual([counted(1, "node"), counted(0, "node")], ["1 node", "0 nodes"])

    def test_families(self) -> None:
        """Each phase has one family, and each family a shape; the style sheet speaks of all but the plain one."""
        phases = [phase for _, found in FAMILIES.values() for phase in found]
        self.assertCountEqual(phases, list(Phase))
        style = (STATIC / "style.css").read_text("utf-8")
        for family, (_, found) in FAMILIES.items():
            self.assertTrue((STATIC / f"icons/phase-{family}.svg").is_file(), family)
            for phase in found:
                self.assertTrue(phase is Phase.UNKNOWN or f'[data-phase="{phase.value}"]' in style, phase)
