"""
The API of the real manager, asked by schemathesis whatever its OpenAPI document allows, and what it does not.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.system.manager import Manager
from tests.system.test_manager import NAMES, PIMAN, PIMAN_YAML, free_ports

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
EXAMPLES = "12"
"""Of each path and method; the phase that tries each parameter and each method once comes on top."""
FEWEST_CASES = 400

ENDLESS = "/api/v1/events/stream"

UNDECIDABLE = "positive_data_acceptance"
"""Which names there are, and which version of a file is the newest, no schema says."""

CONFIGURATION = """
# 428 of RFC 6585 is not among those that schemathesis takes for a refusal of a request without If-Match.
[checks.missing_required_header]
expected-statuses = [400, 428]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 411, 412, 413, 422, 428]
"""


class SchemathesisTests(SynchronousTestCase):
    """A manager with a node and a token; nothing of it is anybody else's."""

    def setUp(self) -> None:
        """Start it."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "install/boot").mkdir(parents=True)
        ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.port = ports["web"]
        command = [PIMAN, "passwd", "--token", "robot", "--role", "operator"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        self.token = made.stderr.splitlines()[-1]
        web = f"web:\n  port: {self.port}\n  login: always\n" + made.stdout.removeprefix("web:\n")
        text = PIMAN_YAML.format(**ports).replace(f"web: {{port: {self.port}}}\n", web)
        (self.folder / "piman.yaml").write_text(text)  # without a switch: each that is silent costs 5 s a question
        (self.folder / "hosts.csv").write_text("B8:27:EB:00:00:01;127.77.0.11;pi11;0\n")
        (self.folder / "schemathesis.toml").write_text(CONFIGURATION)
        self.manager = Manager(self.folder)
        self.addCleanup(self.manager.stop)
        self.manager.start()

    def test_api(self) -> None:
        """
        No 500; each answer is as the document says; no path without a token; 405 where there is no such method.
        """
        command = [SCHEMATHESIS, "run", f"http://127.0.0.1:{self.port}/openapi.json", "--no-color"]
        command += ["-H", f"Authorization: Bearer {self.token}", "--exclude-path", ENDLESS]
        command += ["--exclude-checks", UNDECIDABLE, "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES]
        command += ["--generation-deterministic", "--workers", "1"]
        command += ["--no-shrink", "--continue-on-failure", "--output-truncate", "false", "--warnings", "off"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout[-20_000:] + done.stderr)
        (count,) = re.findall(r"(\d+) generated", done.stdout)
        self.assertGreater(int(count), FEWEST_CASES, done.stdout)
        said = self.manager.output.read_text() + json.dumps(self.manager.events())
        self.assertNotIn("Traceback", said)
        self.assertNotIn(self.token, said)
