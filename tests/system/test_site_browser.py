"""
The pages in a real browser: Debian's Chromium, driven as an operator would, against the real API, stream and pages.

The boards are events in memory; what is under test is what the browser makes of them.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.server import Site

from piman.fleet import events
from piman.fleet.model import Stage
from piman.fleet.operations.orders import Action
from tests.pages_support import Life, SmallSite, Wall, boot_of, mac_of
from tests.system.browser import Browser, Keys, need_browser, opened, shift_click
from tests.test_monitor_recent import reading
from tests.test_web_pages_orders import CASES

AXE = "4.10.3"
"""The version of axe-core, from npm."""
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
LONGEST_TASK_MS = 100
"""Of our scripts in one frame; they take some 10."""
LARGEST_SHIFT = 0.001
"""A number that grows by a digit moves the word after it: 0.00002.  A row of ports that moves is much more."""


class _Case(TestCase):
    timeout = 300

    def setUp(self) -> None:
        """Chromium must be there."""
        need_browser()

    def serve(self, wall: Wall) -> str:
        """Serve the pages of a rack; the address."""
        port = reactor.listenTCP(0, Site(SmallSite(wall), timeout=None), interface="127.0.0.1")
        self.addCleanup(self._end, wall, port)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def _end(self, wall: Wall, port: Any) -> None:
        wall.stream.close()
        await wall.operations.stop()
        await port.stopListening()
        for call in reactor.getDelayedCalls():
            if call.active():
                call.cancel()
        await deferLater(reactor, 0.05)

    def in_browser(self, work: Callable[[Browser], Any], url: str, **options: Any) -> "Deferred[Any]":
        """Work in a thread with a browser, which must have nothing to complain of at the end."""

        def whole() -> Any:
            with opened(url, **options) as browser:
                result = work(browser)
                complaints = [each for each in browser.complaints() if "favicon" not in each]
                self.assertEqual(complaints, [])
                return result

        return deferToThread(whole)


def in_reactor(work: Callable[[], Any]) -> Any:
    """Something that happens to the rack while a browser looks."""
    return blockingCallFromThread(reactor, work)


class RackTests(_Case):
    """The rack, watched and operated."""

    def setUp(self) -> None:
        """Twelve boards on one switch, all of them up, which boot when they are given power."""
        super().setUp()
        self.wall = Wall(1, 12, clock=reactor, names="pi{port}")
        for node in self.wall.nodes:
            self.wall.boot(node)
        Life(self.wall, lambda number: 0.2)
        self.url = self.serve(self.wall)

    def cell(self, number: int) -> str:
        """The selector of a port."""
        return f'.port[data-port="{number}"]'

    def test_live(self) -> "Deferred[None]":
        """What changes is seen without loading anew: a phase, the counts, a stranger; hostile texts stay texts."""

        def look(browser: Browser) -> None:
            browser.open("/")
            first = browser.run("return performance.timeOrigin")
            in_reactor(lambda: self.wall.emit(events.BootOrdered(mac=self.wall.nodes[2].mac)))
            browser.wait(lambda: browser.one(self.cell(3)).get_attribute("data-phase") == "booting", "the phase")
            browser.wait(lambda: browser.text('[data-family="up"] .count') == "11", "the count")
            evil = '<img src=x onerror="document.title=1">'
            seen = events.StrangerSeen(mac=mac_of(77), stage=Stage.ROM, serial=None, model=evil)
            in_reactor(lambda: self.wall.emit(seen))
            browser.wait(lambda: evil in browser.text("#strangers"), "the stranger")
            self.assertEqual(browser.all("#strangers img"), [])
            self.assertEqual(browser.run("return performance.timeOrigin"), first)
            browser.picture("rack")

        return self.in_browser(look, self.url)

    def test_restart_three(self) -> "Deferred[None]":
        """Three ports are selected, the plan is shown, then it runs: bar, count, and all of them up again."""

        def operate(browser: Browser) -> None:
            browser.open("/")
            self.assertFalse(browser.one('[data-action="restart"]').is_enabled())
            browser.one(f"{self.cell(2)} input").click()
            shift_click(browser, f"{self.cell(4)} input")
            self.assertEqual(browser.text("#selected"), "3 selected")
            browser.one('[data-action="restart"]').click()
            browser.wait(lambda: browser.text("#plan-title") == "Restart 3 targets?", "the plan")
            rows = [row.text.split()[0] for row in browser.all("#plan tbody tr")]
            self.assertEqual(rows, ["pi2", "pi3", "pi4"])
            self.assertEqual(list(in_reactor(self.wall.operations.operations)), [])
            browser.picture("plan")
            browser.one("#plan-run").click()
            browser.wait(lambda: "of 3 over" in browser.text("#running"), "the bar")
            browser.wait(lambda: browser.text("#running").count("3 of 3 over"), "the end")
            browser.wait(lambda: len(browser.all('.port[data-phase="up"]')) == 12, "all up")
            self.assertEqual(browser.text("#selected"), "None selected")
            browser.picture("done")

        return self.in_browser(operate, self.url)

    def test_images(self) -> "Deferred[None]":
        """An image is assigned to two nodes, withdrawn from one; a third is reinstalled with an image of choice."""

        def operate(browser: Browser) -> None:
            browser.open("/images", live=False)
            browser.one("#assign-nodes").send_keys("pi2, pi3")
            browser.one("#assigning button").click()
            browser.wait(lambda: len(browser.all("[data-unassign]")) == 2, "what was chosen")
            browser.picture("images")
            browser.one("[data-unassign]").click()
            browser.wait(lambda: len(browser.all("[data-unassign]")) == 1, "the withdrawal")
            browser.open("/nodes/pi5")
            browser.one('[data-action="reinstall"]').click()
            browser.wait(lambda: browser.one("#plan-image").is_displayed(), "the choice")
            browser.one('#plan-image option[value="default"]').click()
            browser.wait(lambda: "Image: default." in browser.text("#plan-body"), "the plan with it")
            browser.picture("reinstall")
            browser.one("#plan-run").click()
            browser.wait(lambda: list(in_reactor(self.wall.operations.operations)), "the operation")

        def over(_: object) -> None:
            self.assertEqual([each.image for each in self.wall.operations.operations()], ["default"])

        return self.in_browser(operate, self.url).addCallback(over)

    def test_many(self) -> "Deferred[None]":
        """More nodes than max_blast: the plan says so, and only the button that says yes runs it."""
        self.wall.operations.settings = type(self.wall.operations.settings)(max_blast=4)

        def operate(browser: Browser) -> None:
            browser.open("/")
            browser.one("button.whole").click()
            self.assertEqual(browser.text("#selected"), "12 selected")
            browser.one('[data-action="restart"]').click()
            browser.wait(lambda: browser.text("#plan-run") == "Yes, restart 12 targets", "the question")
            self.assertIn("max_blast", browser.text("#plan-body"))
            browser.one("#plan-run").click()
            browser.wait(lambda: "12 of 12 over" in browser.text("#running"), "the end")

        return self.in_browser(operate, self.url)

    def test_refused(self) -> "Deferred[None]":
        """What cannot be done is said in the dialog, with what to do, and nothing can be run."""
        self.wall.places = tuple(
            type(place)(address=place.address, label=place.label, protected_ports=frozenset({5}))
            for place in self.wall.places
        )

        def operate(browser: Browser) -> None:
            browser.open("/nodes/pi5")
            browser.one('.node-actions [data-action="power-off"]').click()
            browser.wait(lambda: "cannot be done" in browser.text("#plan-title"), "the refusal")
            self.assertIn("protected", browser.text("#plan-body"))
            self.assertFalse(browser.one("#plan-run").is_displayed())
            browser.one("#plan-cancel").click()
            self.assertFalse(browser.one("#plan").is_displayed())
            browser.driver.get_log("browser")  # the refusal itself, a status of 422

        return self.in_browser(operate, self.url)

    def test_keyboard(self) -> "Deferred[None]":
        """One stop of Tab in a switch; arrows go along the ports as they hang, space selects, Enter opens the node."""

        def operate(browser: Browser) -> None:
            browser.open("/")
            self.assertEqual(len(browser.all('.port input[tabindex="0"]')), 1)
            browser.run("document.querySelector('.port input').focus()")
            for key in (Keys.ARROW_RIGHT, Keys.SPACE, Keys.ARROW_DOWN, Keys.SPACE, Keys.END, Keys.SPACE):
                browser.driver.switch_to.active_element.send_keys(key)
            chosen = [each.get_attribute("data-port") for each in browser.all(".port:has(:checked)")]
            self.assertEqual(chosen, ["3", "4", "12"])
            browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
            browser.wait(lambda: browser.driver.current_url.endswith("/nodes/pi12"), "the node")

        return self.in_browser(operate, self.url)

    def test_search(self) -> "Deferred[None]":
        """Searching dims what does not match; all that match can be selected; the address keeps the words."""

        def operate(browser: Browser) -> None:
            browser.open("/")
            browser.one("#q").send_keys("pi1")
            browser.wait(lambda: browser.text("#matching") == "4 of 12 match", "the matches")
            browser.one("#select-matching").click()
            self.assertEqual(browser.text("#selected"), "4 selected")
            self.assertTrue(browser.driver.current_url.endswith("/?q=pi1"))
            browser.open("/?q=pi1")
            self.assertEqual(len(browser.all(".port[data-dim]")), 8)

        return self.in_browser(operate, self.url)

    def test_viewer(self) -> "Deferred[None]":
        """A viewer sees the rack live and no action."""
        self.wall.role = "viewer"

        def look(browser: Browser) -> None:
            for path in ("/", "/nodes/pi1"):
                browser.open(path)
                offered = [each.text for each in browser.all("main button, main input[type=checkbox]")]
                self.assertIn(offered, (["Search"], []))

        return self.in_browser(look, self.url)

    def test_node(self) -> "Deferred[None]":
        """The page of a node follows what happens to it."""

        def look(browser: Browser) -> None:
            browser.open("/nodes/pi3")
            self.assertEqual(len(browser.all("#part-boots tbody tr")), 1)
            in_reactor(lambda: self.wall.boot(self.wall.nodes[2], "loading"))
            browser.wait(lambda: len(browser.all("#part-boots tbody tr")) == 2, "the new boot")
            browser.wait(lambda: "loading" in browser.text("#part-head"), "the phase")
            browser.picture("node")

        return self.in_browser(look, self.url)

    def test_events(self) -> "Deferred[None]":
        """New events come on top, only those that the filters let through, and hostile texts stay texts."""

        def look(browser: Browser) -> None:
            browser.open("/events?kind=InstallerFailed")
            self.assertEqual(browser.all("#event-rows tr"), [])
            mac = self.wall.nodes[0].mac
            evil = "<img src=x>"
            in_reactor(lambda: self.wall.emit(events.NodeSilent(mac=mac, misses=3, reason="")))
            in_reactor(lambda: self.wall.emit(events.InstallerFailed(mac=mac, reason=evil, code=1)))
            browser.wait(lambda: evil in browser.text("#event-rows"), "the event")
            self.assertEqual((len(browser.all("#event-rows tr")), browser.all("main img")), (1, []))

        return self.in_browser(look, self.url)

    def test_away(self) -> "Deferred[None]":
        """When the manager is away the page says so; when it is back the page shows what it missed."""

        def look(browser: Browser) -> None:
            browser.open("/")
            mac = self.wall.nodes[0].mac
            in_reactor(lambda: self.wall.away(True))
            browser.wait(lambda: browser.state != "live", "the page to notice")
            in_reactor(lambda: self.wall.emit(events.NodeSilent(mac=mac, misses=3, reason="")))
            in_reactor(lambda: self.wall.away(False))
            browser.wait(lambda: browser.state == "live", "the connection")
            browser.wait(lambda: browser.one(self.cell(1)).get_attribute("data-phase") == "silent", "what it missed")
            browser.driver.get_log("browser")  # connections that were refused

        return self.in_browser(look, self.url)

    def test_tabs(self) -> "Deferred[None]":
        """All tabs of a browser share one stream, and a tab that comes later knows what the others know."""

        def look(browser: Browser) -> None:
            browser.open("/")
            for path in ("/events", "/nodes/pi1", "/"):
                browser.driver.switch_to.new_window("tab")
                browser.open(path)
            self.assertEqual(in_reactor(lambda: len(self.wall.stream.readers)), 1)
            in_reactor(lambda: self.wall.emit(events.BootOrdered(mac=self.wall.nodes[2].mac)))
            browser.wait(lambda: browser.one(self.cell(3)).get_attribute("data-phase") == "booting", "the last tab")

        return self.in_browser(look, self.url)

    def test_without_script(self) -> "Deferred[None]":
        """Without scripts everything can be read, and the page does not say that it is live."""

        def look(browser: Browser) -> None:
            for path in ("/", "/nodes/pi1", "/events", "/images", "/operations"):
                browser.open(path, live=False)
                self.assertIn("not live", browser.one("#connection").text)
                self.assertFalse(any(each.is_displayed() for each in browser.all("#actions, .node-actions")))
            browser.open("/?q=pi3", live=False)
            self.assertEqual(len(browser.all(".port[data-dim]")), 11)

        return self.in_browser(look, self.url, script=False)

    def test_estimates(self) -> "Deferred[None]":
        """The browser says of each case of tests/estimates.json what the manager says."""

        def count(browser: Browser) -> None:
            browser.open("/")
            found = browser.run(ESTIMATE, CASES)
            self.assertEqual(found, [case["left"] for case in CASES])

        return self.in_browser(count, self.url)


ESTIMATE = """
return import("/static/estimate.js").then(({ remainingSeconds }) => arguments[0].map((each) => remainingSeconds([
  ...each.done.map(([start, end]) => ({ step: "done", final: true, started: start + 1, finished: end + 1 })),
  ...each.busy.map((age) => ({ step: "following", final: false, started: 1000 - age, finished: 0 })),
  ...Array(each.waiting).fill({ step: "waiting", final: false, started: 0, finished: 0 }),
], each.at_most, 1000)));
"""


class CrowdTests(_Case):
    """Twelve switches of 48 ports."""

    async def test_500_boot(self) -> None:
        """576 boards boot at once: no script runs for long, nothing moves, and in the end all are up."""
        wall = Wall(12, 48, clock=reactor)
        url = self.serve(wall)

        def storm() -> None:
            for index, node in enumerate(wall.nodes):
                for place, (_, event) in enumerate(boot_of(node)):
                    reactor.callLater(0.5 + place + index % 48 / 48, wall.emit, event)

        def look(browser: Browser) -> tuple[list[float], list[float]]:
            browser.open("/")
            self.assertIn("long-animation-frame", browser.run("return PerformanceObserver.supportedEntryTypes"))
            browser.run("tasks.length = 0; shifts.length = 0")
            in_reactor(storm)
            browser.wait(lambda: browser.text('[data-family="up"] .count') == "576", "all to be up")
            found = browser.run("return [tasks, shifts]")
            return found[0], found[1]

        tasks, shifts = await self.in_browser(look, url)
        self.assertLess(max(tasks, default=0.0), LONGEST_TASK_MS, tasks)
        self.assertLess(sum(shifts), LARGEST_SHIFT, shifts)


class AccessibilityTests(_Case):
    """What axe-core finds, and what does not fit."""

    def setUp(self) -> None:
        """A rack in every state, and an operation that is over."""
        super().setUp()
        npm = shutil.which("npm")
        if npm is None:
            raise SkipTest("needs npm, to fetch axe-core")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        pack = (npm, "pack", "--silent", f"axe-core@{AXE}")
        subprocess.run(pack, cwd=folder.name, check=True, capture_output=True, timeout=120)
        shutil.unpack_archive(Path(folder.name, f"axe-core-{AXE}.tgz"), folder.name)
        self.axe = Path(folder.name, "package/axe.min.js").read_text("utf-8")
        self.wall = Wall(1, 30, clock=reactor, names="pi{port}")
        self.wall.mix()
        self.wall.recent.take(self.wall.nodes[3].mac, reading(temp=51.5))
        self.url = self.serve(self.wall)

    async def test_pages(self) -> None:
        """Light and dark, on a desk and on a phone: axe finds nothing, and nothing is wider than the page."""
        Life(self.wall, lambda number: 0.1)
        plan = await self.wall.operations.plan(Action.RESTART, ("pi1", "pi2"))
        operation = await self.wall.operations.begin(plan, who="ada", source="test")
        paths = ("/", "/nodes/pi4", "/events", "/events?node=nobody", "/events/3", "/images", "/operations")

        def look(browser: Browser) -> None:
            for path in (*paths, f"/operations/{operation.id}", "/nothing"):
                browser.open(path, live=False)
                self.check(browser, path)
            browser.open("/")
            browser.one(".port[data-id] input").click()
            browser.one('[data-action="reinstall"]').click()
            browser.wait(lambda: browser.one("#plan-run").is_displayed(), "the plan")
            self.check(browser, "the plan")
            browser.driver.get_log("browser")  # the page that is not there

        for width in (1280, 320):
            for dark in (False, True):
                await self.in_browser(look, self.url, width=width, dark=dark)

    def check(self, browser: Browser, where: str) -> None:
        """Nothing is found, by at least some rules, and the page is as wide as its window."""
        browser.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": self.axe})
        found = browser.driver.execute_async_script(
            "const done = arguments[1]; axe.run({runOnly: arguments[0]}).then((r) => done([r.passes.length, "
            "r.violations.map((v) => [v.id, v.nodes.map((n) => [n.target, n.failureSummary])])]))",
            list(RULES),
        )
        self.assertGreater(found[0], 10, where)
        self.assertEqual(found[1], [], f"{where}: {json.dumps(found[1], indent=1)[:3000]}")
        wide, room = browser.run("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        self.assertLessEqual(wide, room, where)
