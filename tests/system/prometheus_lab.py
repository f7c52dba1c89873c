"""
Debian's Prometheus as a child process on loopback, with its files in a folder of the test.
"""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from twisted.trial.unittest import SkipTest

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / "install" / "prometheus"
START_SECONDS = 60.0
SCRAPE = "1s"


class Prometheus:
    """
    Prometheus with our example of a configuration and our rules, asking often.

    :param manager: host and port of the manager's site.
    """

    def __init__(self, folder: Path, port: int, manager: str) -> None:
        if shutil.which("prometheus") is None:
            raise SkipTest("Debian's prometheus is not installed")
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._output = folder / "output.txt"
        self._listen = f"127.0.0.1:{port}"
        self._write(manager)
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self, manager: str) -> None:
        """The files as they are installed, for this manager and in a hurry."""
        config = yaml.safe_load((INSTALLED / "prometheus.yml").read_text().replace("127.0.0.1:5000", manager))
        config["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
        config["scrape_configs"][1]["http_sd_configs"][0]["refresh_interval"] = SCRAPE
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        rules = yaml.safe_load((INSTALLED / "piman.rules.yml").read_text())
        for group in rules["groups"]:
            group["interval"] = SCRAPE
        (self._folder / "piman.rules.yml").write_text(yaml.safe_dump(rules))

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            "prometheus",
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._listen}",
            "--log.level=warn",
        ]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self._folder)
        self.wait_for(self._is_ready, "Prometheus to start")

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def wait_for(self, condition: Any, what: str) -> Any:
        """
        Look at the condition until it holds; its value.

        :raises AssertionError: when the time is over, or Prometheus has ended.
        """
        until = time.monotonic() + START_SECONDS
        while not (found := condition()):
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"Prometheus ended: {self._output.read_text()}")
            if time.monotonic() > until:
                raise AssertionError(f"waited in vain for {what}: {self._output.read_text()[-3000:]}")
            time.sleep(0.1)
        return found

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        with urlopen(f"{self.url}/api/v1/{path}{query}", timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def value(self, expression: str) -> float | None:
        """The value of an expression that has one; None: it has none."""
        found = self.ask("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(30)
