"""
What a new user does, in a real browser against the real manager: README's first command, three Pis restarted, one value
changed; then a rack that asks who one is.
"""

import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.system.browser import Browser, need_browser, opened
from tests.system.manager import Manager
from tests.system.test_manager import NAMES, PIMAN, PIMAN_YAML, free_ports

README = Path(__file__).resolve().parent.parent.parent / "README.md"
WAIT_SECONDS = 60.0
LEASE_SECONDS = 900
ENDED_BY_CTRL_C = 130


class RackTests(SynchronousTestCase):
    """The rack of README's first command, which names the address of its pages."""

    def setUp(self) -> None:
        """Start it as README says, with lines for a table and in a folder that goes away."""
        need_browser()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name, "rack")
        self.output = Path(folder.name, "output.txt")
        said = re.search(r"\.venv/bin/piman (simulate [^\n]+)", README.read_text("utf-8"))
        assert said is not None
        command = [PIMAN, *shlex.split(said.group(1)), "--plain", "--directory", str(self.folder)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(WAIT_SECONDS), ENDED_BY_CTRL_C)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """
        What the condition says, once it says something.

        :raises AssertionError: when it does not, or the rack ends.
        """
        until = time.monotonic() + WAIT_SECONDS
        while not (found := condition()):
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"waited in vain for {what}: {self.output.read_text()[-2000:]}")
            time.sleep(0.05)
        return found

    def happened(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind that the manager has written down."""
        return Manager(self.folder).events(kind)

    def leases(self, name: str) -> list[dict[str, Any]]:
        """What was leased to a node."""
        return [event for event in self.happened("AddressLeased") if event["node"] == name]

    def test_journey(self) -> None:
        """Three Pis are restarted and come back, one is looked at, a value is changed and holds for the next lease."""
        address = self.wait(lambda: re.search(r"http://localhost:\d+", self.output.read_text()), "the address").group()
        self.wait(lambda: re.search(r"http://localhost:\d+/?\D", self.output.read_text()), "all of it")
        with opened(address) as browser:
            browser.open("/")
            browser.wait(lambda: len(browser.all('.port[data-phase="up"]')) == 8, "all eight to be up")
            self.restart_three(browser)
            self.look_at_a_node(browser)
            self.change_a_value(browser)
            self.restart_from_its_page(browser)
            self.assertEqual(browser.complaints(), [])

    def restart_three(self, browser: Browser) -> None:
        """Select, look at the plan, run it, watch it."""
        for number in (2, 3, 4):
            browser.one(f'.port[data-port="{number}"] input').click()
        self.assertEqual(browser.text("#selected"), "3 selected")
        browser.one('[data-action="restart"]').click()
        browser.wait(lambda: browser.text("#plan-title") == "Restart 3 targets?", "the plan")
        self.assertEqual([row.text.split()[0] for row in browser.all("#plan tbody tr")], ["pi2", "pi3", "pi4"])
        self.assertEqual(self.happened("PowerCycled"), [])
        browser.picture("journey-plan")
        browser.one("#plan-run").click()
        browser.wait(lambda: browser.one("#toasts a"), "that it has begun")
        browser.run("document.querySelector('#toasts a').click()")
        browser.wait(lambda: "/operations/" in browser.driver.current_url, "the operation")
        browser.wait(lambda: "3 of 3 over" in browser.text(".sums"), "its end")
        steps = [each.get_attribute("data-step") for each in browser.all("tr[data-index]")]
        self.assertEqual(steps, ["done"] * 3)
        self.assertEqual(len(self.happened("PowerCycled")), 3)
        browser.picture("journey-operation")

    def look_at_a_node(self, browser: Browser) -> None:
        """Through the table of the operation to a node, with its two boots as timelines."""
        browser.run(
            "[...document.querySelectorAll('tr[data-index] th a')].find((a) => a.textContent === 'pi3').click()"
        )
        browser.wait(lambda: browser.text("h1") == "pi3", "the node")
        browser.wait(lambda: browser.one("#part-head .badge").get_attribute("data-phase") == "up", "that it is up")
        self.assertEqual(len(browser.all("#part-boots tbody tr")), 2)
        bar = "document.querySelector('#part-boots tbody tr svg').querySelectorAll('rect')"
        stages = browser.run(f"return [...{bar}].map((rect) => rect.dataset.phase)")
        self.assertIn("loading", stages)
        self.assertNotIn("imaging", stages)  # it was only restarted
        browser.picture("journey-node")

    def change_a_value(self, browser: Browser) -> None:
        """In the form: the difference is one key in one line, and nothing else of the file changes."""
        path = self.folder / "piman.yaml"
        before = path.read_text()
        self.assertNotIn("lease_seconds", before)
        browser.open("/config", live=False)
        field = '[id="f-dhcp.lease_seconds"]'
        browser.wait(lambda: browser.one("#bar").is_displayed(), "the form to work")
        if not browser.one(field).is_displayed():
            browser.run(f"document.querySelector('{field}').closest('details').querySelector('summary').click()")
        browser.one(field).send_keys(str(LEASE_SECONDS))
        browser.wait(lambda: browser.one("#review").is_enabled(), "the change to be judged")
        browser.one("#review").click()
        browser.wait(lambda: browser.all("#dialog[open] #dialog-apply:enabled"), "the difference")
        (added,) = browser.all("#dialog-diff .added")
        self.assertIn(f"lease_seconds: {LEASE_SECONDS}", added.text)
        self.assertIn("At once: dhcp.lease_seconds", browser.one("#dialog-effect").text)
        self.assertEqual(path.read_text(), before)
        browser.picture("journey-diff")
        browser.one("#dialog-apply").click()
        browser.wait(lambda: browser.one("#applied").is_displayed(), "that it was applied")
        self.assertTrue(browser.text("#applied").startswith("Applied."), browser.text("#applied"))
        after = path.read_text()
        self.assertEqual(after.replace(f", lease_seconds: {LEASE_SECONDS}", ""), before)
        self.wait(lambda: self.happened("ConfigurationReloaded"), "the event of it")

    def restart_from_its_page(self, browser: Browser) -> None:
        """What was applied is what the manager does: the next lease is for so long."""
        known = len(self.leases("pi3"))
        browser.open("/nodes/pi3")
        # found and clicked in one step: parts of the page are replaced whenever something happens to the node
        browser.run("""document.querySelector('.node-actions [data-action="restart"]').click()""")
        browser.wait(lambda: browser.text("#plan-title") == "Restart 1 target?", "the plan")
        browser.one("#plan-run").click()
        lease = self.wait(lambda: self.leases("pi3")[known:], "a lease")[0]
        self.assertEqual(round(lease["expires"] - lease["time"], -1), LEASE_SECONDS)
        browser.wait(lambda: len(browser.all("#part-boots tbody tr")) == 3, "the boot on the page")


class LoginTests(SynchronousTestCase):
    """A manager that asks everybody who they are."""

    def setUp(self) -> None:
        """Start it, with two users that piman passwd made."""
        need_browser()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        lines = "".join(
            self.passwd("--role", role, name, typed=f"the word of {name}\n")
            .removeprefix("web:\n")
            .replace("  users:\n", "")
            for name, role in (("ada", "operator"), ("guest", "viewer"))
        )
        web = f"web:\n  port: {ports['web']}\n  login: always\n  users:\n{lines}"
        text = PIMAN_YAML.format(**ports).replace(f"web: {{port: {ports['web']}}}\n", web)
        (self.folder / "piman.yaml").write_text(text)
        (self.folder / "hosts.csv").write_text("B8:27:EB:00:00:01;127.77.0.11;pi11;0\n")
        self.url = f"http://localhost:{ports['web']}"
        self.manager = Manager(self.folder)
        self.addCleanup(self.manager.stop)
        self.manager.start()

    def passwd(self, *arguments: str, typed: str) -> str:
        """What ``piman passwd`` prints for piman.yaml."""
        command = [PIMAN, "passwd", *arguments]
        return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=True).stdout

    def log_in(self, browser: Browser, name: str) -> None:
        """Fill in the form."""
        for key, text in (("name", name), ("password", f"the word of {name}")):
            browser.one(f"#{key}").clear()
            browser.one(f"#{key}").send_keys(text)
        browser.one(".login button").click()

    def test_roles(self) -> None:
        """One is asked on the way to a page and gets there; a viewer is offered no action, an operator is."""
        offered = "#actions button, .node-actions button, #review"
        with opened(self.url) as browser:
            browser.open("/nodes/pi11", live=False)
            self.assertEqual(browser.text("h1"), "Log in")
            browser.picture("journey-login")
            self.log_in(browser, "guest")
            browser.wait(lambda: browser.driver.current_url.endswith("/nodes/pi11"), "the page")
            for path in ("/nodes/pi11", "/"):
                browser.open(path)
                self.assertEqual(browser.text(".who .role"), "viewer")
                self.assertEqual(browser.all(offered), [], path)
            browser.one(".who form button").click()
            browser.wait(lambda: browser.text("h1") == "Log in", "to be out")
            self.log_in(browser, "ada")
            browser.wait(lambda: browser.text(".who .user-name") == "ada", "the page")
            for path in ("/nodes/pi11", "/"):
                browser.open(path)
                names = [each.text for each in browser.all(offered) if each.get_attribute("data-action")]
                self.assertEqual(names, ["Restart", "Reinstall", "Power off", "Power on"], path)
            self.assertEqual(browser.complaints(), [])
