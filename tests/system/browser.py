"""
Debian's Chromium for the system tests, driven as an operator would.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

try:
    from selenium import webdriver
    from selenium.common.exceptions import TimeoutException, WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait
except ImportError:
    webdriver = None

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WAIT_SECONDS = 60.0
"""Far more than anything here needs; a test that waits so long has failed."""
WATCH = """
window.tasks = []; window.shifts = [];
new PerformanceObserver((list) => list.getEntries().forEach((frame) =>
  tasks.push(...frame.scripts.map((each) => each.duration)))).observe({type: 'long-animation-frame', buffered: true});
new PerformanceObserver((list) => shifts.push(...list.getEntries().map((each) => each.value)))
  .observe({type: 'layout-shift', buffered: true});
"""


def need_browser() -> None:
    """
    Chromium, its driver and selenium are there.

    :raises SkipTest: otherwise.
    """
    if webdriver is None or not CHROMIUM or not DRIVER:
        raise SkipTest("needs selenium, and Debian's chromium and chromium-driver")


class Browser:
    """
    Chromium without a window.

    :param width: of the page, in pixels.
    :param script: whether pages may run scripts.
    """

    def __init__(self, url: str, width: int = 1280, dark: bool = False, script: bool = True) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(each)
        options.add_argument(f"--window-size={max(width, 500)},900")
        if not script:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(WAIT_SECONDS)
        self.url = url
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})

    def open(self, path: str, live: bool = True) -> None:
        """Go to a page, and wait until it is live."""
        self.driver.get(self.url + path)
        if live:
            self.wait(lambda: self.state == "live", "the page to be live")

    @property
    def state(self) -> str:
        """What the page says of its connection."""
        return str(self.one("#connection").get_attribute("data-state"))

    def one(self, selector: str) -> Any:
        """The element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        """All such elements."""
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str) -> str:
        """Its text."""
        return str(self.driver.execute_script("return document.querySelector(arguments[0]).textContent", selector))

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns, which may be a promise."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """
        Look until it is so.

        :raises AssertionError: when it does not come to pass.
        """
        waiting = WebDriverWait(self.driver, WAIT_SECONDS, 0.05, ignored_exceptions=(WebDriverException,))
        try:
            waiting.until(lambda driver: condition())
        except TimeoutException:
            shown = self.one("main").text[:1500]
            raise AssertionError(f"waited in vain for {what}: {shown} {self.complaints()}") from None

    def complaints(self) -> list[str]:
        """What the browser complains of: errors of scripts, what the policy forbids, what was not found."""
        return [each["message"] for each in self.driver.get_log("browser") if each["level"] in ("SEVERE", "WARNING")]

    def picture(self, name: str) -> None:
        """A screenshot, where PIMAN_SCREENSHOTS says a folder."""
        folder = os.environ.get("PIMAN_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder, f"{name}.png")))


@contextmanager
def opened(url: str, **options: Any) -> Iterator[Browser]:
    """A browser that is closed at the end."""
    browser = Browser(url, **options)
    try:
        yield browser
    finally:
        browser.driver.quit()


def shift_click(browser: Browser, selector: str) -> None:
    """A click with shift held."""
    chain = webdriver.ActionChains(browser.driver)
    chain.key_down(Keys.SHIFT).click(browser.one(selector)).key_up(Keys.SHIFT).perform()
