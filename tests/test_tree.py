"""
The tree of the project: what a newcomer finds from ``ls``.
"""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

PATH = re.compile(r"`((?:piman|tests|install|docs|benchmarks)/[\w./-]+|[\w-]+/[\w./-]+\.(?:py|md|sh|service|tac))`")
"""What a document means to be a path of this repository: it begins at the top."""

MADE = {"install/boot/initramfs.gz", "install/boot/rootfs.tgz"}
"""Files that an operator makes or brings."""

REQUIRED = [
    "setup.cfg",
    "pyproject.toml",
    "piman.tac",
    "README.md",
    "LICENSE",
    "CONTRIBUTING.md",
    "twisted/plugins/piman_plugin.py",
    "piman/wire",
    "piman/wire/layout.py",
    "piman/wire/dhcp.py",
    "piman/wire/tftp.py",
    "piman/wire/ntp.py",
    "piman/wire/hello.py",
    "piman/fleet",
    "piman/fleet/model.py",
    "piman/fleet/events.py",
    "piman/fleet/interfaces.py",
    "piman/fleet/eventlog.py",
    "piman/fleet/nodes.py",
    "piman/fleet/state/leases.py",
    "piman/fleet/state/store.py",
    "piman/boot/files.py",
    "piman/boot/images.py",
    "piman/dhcp.py",
    "piman/tftp.py",
    "piman/ntp.py",
    "piman/hello.py",
    "piman/udp.py",
    "piman/hosts.py",
    "piman/config.py",
    "piman/monitor/agent.py",
    "piman/monitor/poller.py",
    "piman/simulator/pi.py",
    "piman/simulator/rack.py",
    "piman/service.py",
    "piman/control.py",
    "piman/testing/scenario.py",
    "install/boot",
    "install/initram/init",
    "install/initram/hello_protocol.sh",
    "install/initram/create_initramfs",
    "install/initram/create_initramfs.gz",
    "install/systemd/piman.service",
    "tests/contract",
    "tests/scenario",
    "tests/system",
    "tests/captures",
    "benchmarks",
    "docs/architecture.md",
    "docs/protocols",
    "docs/decisions",
    "changes",
]


class TreeTests(SynchronousTestCase):
    """The paths that the documents speak of."""

    def test_required_paths(self) -> None:
        """Every path of the plan exists."""
        self.assertEqual([path for path in REQUIRED if not (ROOT / path).exists()], [])

    def test_paths_in_the_documents(self) -> None:
        """A path of this repository that a document names is there; what is made later is named here."""
        named = [
            (page.relative_to(ROOT), path)
            for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
            for path in PATH.findall(page.read_text())
        ]
        self.assertGreater(len(named), 50)
        gone = [(str(page), path) for page, path in named if path not in MADE and not (ROOT / path).exists()]
        self.assertEqual(gone, [])

    def test_links_in_the_documents(self) -> None:
        """A link from one page to another leads somewhere."""
        pages = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
        links = [(page, link) for page in pages for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())]
        self.assertGreater(len(links), 30)
        self.assertEqual([(str(page), link) for page, link in links if not (page.parent / link).exists()], [])

    def test_plugin_folder_is_no_package(self) -> None:
        """twisted/plugins has no __init__.py: with one it would hide Twisted's own plugins."""
        self.assertFalse((ROOT / "twisted/plugins/__init__.py").exists())
        self.assertFalse((ROOT / "twisted/__init__.py").exists())

    def test_pyproject_holds_only_the_build_system(self) -> None:
        """All metadata is in setup.cfg."""
        sections = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("[")]
        self.assertEqual(sections, ["[build-system]"])
