"""
The pictures of README and docs/reference/pages.md, taken of a virtual rack:
``python -m tests.system.pictures docs/images``.

Forty boards on one switch.  One of them is a Pi 5, whose device tree is taken away, so that it stays in its firmware;
the others come up.  When the verdict is there, a dozen of these are restarted, and while they boot the rack is taken.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.system.browser import Browser, opened
from tests.system.test_manager import PIMAN

MODELS = [*("3B", "3B+", "4B") * 6, "4B", "5", *("3B", "3B+", "4B", "4B") * 5]
SICK = MODELS.index("5") + 1
RESTARTED = range(22, 34)
WAIT_SECONDS = 400.0
MOST_BYTES = 150_000
SIZES = {"rack": 760, "plan": 760, "node": 860}


def main(folder: Path) -> None:
    """Take all of them."""
    with tempfile.TemporaryDirectory() as temporary:
        rack, output = Path(temporary, "rack"), Path(temporary, "output.txt")
        options = (
            f"simulate --pis {len(MODELS)} --models {','.join(MODELS)} --switches 1 --stay --plain --speed 2 -d {rack}"
        )
        with output.open("wb") as lines:
            process = subprocess.Popen([PIMAN, *options.split()], stdout=lines)
        try:
            found = until(lambda: re.search(r"(http://localhost:\d+)/", output.read_text()), "the address")
            (rack / "boot/bcm2712-rpi-5-b.dtb").unlink()
            with opened(found.group(1)) as browser:
                take_all(browser, folder)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def take_all(browser: Browser, folder: Path) -> None:
    """One after the other, while things happen."""
    browser.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    browser.open("/")
    until(lambda: len(browser.all('.port[data-phase="up"]')) == len(MODELS) - 1, "all others to be up")
    until(lambda: browser.all(f'.port[data-port="{SICK}"][data-stuck]'), "the verdict")
    browser.open("/")
    for number in RESTARTED:
        browser.one(f'.port[data-port="{number}"] input').click()
    browser.one('[data-action="restart"]').click()
    until(lambda: browser.text("#plan-title").endswith("?"), "the plan")
    take(browser, folder / "plan.png")
    browser.one("#plan-run").click()
    until(lambda: int(browser.text('[data-family="system"] .count')) > 2, "some to start their systems")
    take(browser, folder / "rack.png")
    browser.open(f"/nodes/pi{SICK}")
    take(browser, folder / "node.png")


def until(condition: Callable[[], Any], what: str) -> Any:
    """
    What the condition says, once it says something.

    :raises AssertionError: when it does not.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.1)
    return found


def take(browser: Browser, path: Path) -> None:
    """
    A picture of the upper part of the page, with 256 colours where pngquant is installed.

    :raises AssertionError: when it is too big for a README.
    """
    metrics = {"width": 1280, "height": SIZES[path.stem], "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    path.parent.mkdir(parents=True, exist_ok=True)
    browser.driver.save_screenshot(str(path))
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--strip", "--ext", ".png", "256", str(path)], check=True)
    size = path.stat().st_size
    assert size < MOST_BYTES, f"{path} has {size} bytes"
    print(f"{path}: {size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
