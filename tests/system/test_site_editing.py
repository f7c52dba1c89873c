"""
``piman config`` in a real browser: the two files filled in, judged while somebody types, applied.
"""

import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from piman.config import load
from tests.editing_support import HOSTS, SECRET, YAML

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 60.0
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class _InABrowser(TestCase):
    """The pages of two files, and a browser that looks at them."""

    yaml: str | None = YAML
    hosts: str | None = HOSTS

    def setUp(self) -> None:
        """Start both."""
        if CHROMIUM is None or DRIVER is None:
            raise SkipTest("needs chromium and chromium-driver (apt-get install chromium chromium-driver)")
        if find_spec("selenium") is None:
            raise SkipTest("needs selenium (pip install selenium)")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path, self.hosts_path = self.folder / "rack.yaml", self.folder / "boards.csv"
        if self.yaml is not None:
            self.path.write_text(self.yaml)
        if self.hosts is not None:
            self.hosts_path.write_text(self.hosts)
        self.address = self.start()
        self.browser = self.open_browser()

    def start(self) -> str:
        """Start ``piman config``; the address of its pages."""
        script = "from piman.control import console; console()"
        words = ["config", "Dubai", str(self.path), str(self.hosts_path), "--port", "0"]
        command = [sys.executable, "-c", script, *words]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(self.stop)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        found = re.search(r"http://\S+", line)
        self.assertTrue(found, line)
        assert found is not None
        return found.group().rstrip("/")

    def stop(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(PATIENCE_SECONDS), 0)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def open_browser(self) -> Any:
        """A browser without a screen."""
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        self.addCleanup(browser.quit)
        return browser

    # What an operator does

    def wait(self, what: Callable[[], Any], why: str) -> Any:
        """Until something is the case."""
        from selenium.common.exceptions import StaleElementReferenceException

        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                found = what()
            except StaleElementReferenceException:
                found = None
            if found:
                return found
            time.sleep(0.05)
        folder = Path("screenshots")
        folder.mkdir(exist_ok=True)
        self.browser.save_screenshot(str(folder / f"{self.id()}.png"))
        raise AssertionError(f"never seen: {why}; the page says: {self.find('#main').text[:2000]}")

    def find(self, selector: str, browser: Any = None) -> Any:
        """The first element of a selector; None."""
        found = (browser or self.browser).find_elements("css selector", selector)
        return found[0] if found else None

    def field(self, key: str, browser: Any = None) -> Any:
        """The field of a key."""
        return self.find(f'[id="f-{key}"]', browser)

    def error(self, key: str) -> str:
        """What stands beside it."""
        return str(self.find(f'[id="f-{key}-error"]').text)

    def type(self, element: Any, text: str) -> None:
        """Instead of what is there."""
        element.clear()
        element.send_keys(text)

    def click(self, selector: str, place: Any = None) -> None:
        """A button, away from the bar at the bottom."""
        button = (place or self.browser).find_element("css selector", selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def apply(self, browser: Any = None) -> str:
        """Review, and apply; the difference that was shown."""
        place = browser or self.browser
        self.wait(lambda: self.find("#review:enabled", place), "a change without mistakes")
        self.find("#review", place).click()
        self.wait(lambda: self.find("#dialog[open] #dialog-apply:enabled", place), "the difference")
        shown = str(self.find("#dialog-diff", place).text)
        self.find("#dialog-apply", place).click()
        self.wait(lambda: self.find("#applied:not([hidden])", place), "that it was applied")
        return shown

    def complaints(self) -> list[str]:
        """What the browser's console complains of."""
        return [each["message"] for each in self.browser.get_log("browser") if each["level"] in ("SEVERE", "WARNING")]


class EditingTests(_InABrowser):
    """Files that are there."""

    def test_one_value(self) -> None:
        """A bad value is told beside its field; mended, reviewed and applied, no other byte of the file changes."""
        self.browser.get(f"{self.address}/")
        self.wait(lambda: self.field("dhcp.lease_seconds"), "the form")
        self.assertIn("Dubai", self.find(".brand").text)
        self.assertNotIn(SECRET, self.browser.page_source)
        self.type(self.field("dhcp.lease_seconds"), "5")
        self.wait(lambda: "from 60 to" in self.error("dhcp.lease_seconds"), "the mistake beside the field")
        self.assertEqual(self.field("dhcp.lease_seconds").get_attribute("aria-invalid"), "true")
        self.assertFalse(self.find("#review").is_enabled())
        self.type(self.field("dhcp.lease_seconds"), "900")
        self.wait(lambda: not self.error("dhcp.lease_seconds"), "that it is mended")
        shown = self.apply()
        self.assertIn("lease_seconds: 900", shown)
        self.assertEqual(self.path.read_text(), YAML.replace("3600", "900"))
        self.assertIn("No manager runs", self.find("#applied").text)
        self.assertEqual(self.complaints(), [])

    def test_lists(self) -> None:
        """A Pi more, a port more and a switch more become lines; the others stay."""
        self.browser.get(f"{self.address}/config")
        addresses = self.wait(lambda: self.field("switches[0].pi_addresses"), "the form")
        parent = addresses.find_element("xpath", "..")
        self.click("[data-add]", parent)
        addresses.find_elements("css selector", "input")[-1].send_keys("172.30.4.15")
        self.click("[data-add-element]")
        new = self.wait(lambda: self.find(".element[data-added]"), "an empty switch")
        new.find_element("css selector", "input").send_keys("172.30.4.252")
        self.apply()
        wanted = YAML.replace("   # to be replaced\n", "   # to be replaced\n      - 172.30.4.15\n")
        wanted = wanted.replace("[172.30.4.20]\n", "[172.30.4.20]\n  - switch_address: 172.30.4.252\n")
        self.assertEqual(self.path.read_text(), wanted)
        self.assertEqual(self.complaints(), [])

    def test_text(self) -> None:
        """In the text a mistake is marked at its line, and secrets stay what they are."""
        self.browser.get(f"{self.address}/config")
        self.wait(lambda: self.field("interface"), "the form")
        self.find("#tab-text").click()
        area = self.find("#text")
        self.assertNotIn(SECRET, area.get_property("value"))
        script = "arguments[0].value = arguments[0].value.replace(arguments[1], arguments[2]);"
        script += "arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(script, area, "eth0", "eth0/1")
        self.wait(lambda: self.find("#gutter .bad"), "the mark at the line")
        self.assertEqual(self.find("#gutter .bad").text, str(YAML[: YAML.index("interface")].count("\n") + 1))
        self.browser.execute_script(script, area, "eth0/1", "eth1")
        self.apply()
        self.assertEqual(self.path.read_text(), YAML.replace("eth0", "eth1"))

    def test_two_editors(self) -> None:
        """Who is second is told, sees what the first did, loses nothing, and both changes stand."""
        self.browser.get(f"{self.address}/config")
        second = self.open_browser()
        second.get(f"{self.address}/config")
        self.wait(lambda: self.field("dhcp.lease_seconds", second), "the form of the second")
        self.type(self.field("switches[0].name", second), "rack-z")
        self.type(self.field("dhcp.lease_seconds"), "700")
        self.apply()
        self.type(self.field("interface", second), "eth1")
        self.wait(lambda: self.find("#others:not([hidden])", second), "that somebody else was faster")
        self.assertIn("local, from 127.0.0.1", self.find("#others", second).text)
        self.find("#others-show", second).click()
        self.wait(lambda: self.find("#dialog[open] #dialog-apply:enabled", second), "the difference")
        self.assertIn("lease_seconds: 700", self.find("#dialog-others-diff", second).text)
        self.find("#dialog-apply", second).click()
        self.wait(lambda: self.find("#applied:not([hidden])", second), "that it was applied")
        wanted = YAML.replace("3600", "700").replace("rack-a", "rack-z").replace("eth0", "eth1")
        self.assertEqual(self.path.read_text(), wanted)

    def test_hosts(self) -> None:
        """A row is added from the address of a stranger, its mistake told below it; other rows keep their bytes."""
        self.browser.get(f"{self.address}/hosts-csv?add=b8:27:eb:00:00:0f")
        row = self.wait(lambda: self.find("tr.host.new"), "the new row")
        self.assertEqual(row.find_element("name", "mac").get_property("value"), "B8:27:EB:00:00:0F")
        row.find_element("name", "address").send_keys("172.30.4.13")
        self.wait(lambda: "line 2" in self.find("tr.host.new + tr .error").text, "the mistake")
        self.type(row.find_element("name", "address"), "172.30.4.15")
        self.apply()
        self.assertEqual(self.hosts_path.read_text(), HOSTS + "B8:27:EB:00:00:0F;172.30.4.15;;0\n")
        self.assertEqual(self.complaints(), [])


class SkeletonTests(_InABrowser):
    """Files that are not there."""

    yaml, hosts = None, None

    def test_filled_in(self) -> None:
        """Blank fields are told, filled in, the rest left at its defaults; the first apply makes the file."""
        self.browser.get(f"{self.address}/config")
        self.wait(lambda: "no rack.yaml yet" in self.find("#main").text, "that there is none")
        for key, text in (("server_address", "172.30.4.1"), ("subnet_mask", "24"), ("interface", "eth0")):
            self.type(self.field(key), text)
        self.type(self.field("switches[0].switch_address"), "172.30.4.254")
        self.assertFalse(self.path.exists())
        drop = self.wait(lambda: self.find("#drop-blanks"), "the offer")
        self.wait(drop.is_displayed, "the offer to leave blanks at their defaults")
        drop.click()
        self.apply()
        config = load(self.path)
        self.assertEqual(
            (config.private_number, [str(each.address) for each in config.switches]), (1, ["172.30.4.254"])
        )
        self.assertTrue(self.path.read_text().startswith("# piman.yaml: what this rack is."))
