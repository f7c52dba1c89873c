"""
The tree of the project: what a newcomer finds from ``ls``.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

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
    "piman/fleet/leases.py",
    "piman/fleet/store.py",
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

    def test_plugin_folder_is_no_package(self) -> None:
        """twisted/plugins has no __init__.py: with one it would hide Twisted's own plugins."""
        self.assertFalse((ROOT / "twisted/plugins/__init__.py").exists())
        self.assertFalse((ROOT / "twisted/__init__.py").exists())

    def test_pyproject_holds_only_the_build_system(self) -> None:
        """All metadata is in setup.cfg."""
        sections = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("[")]
        self.assertEqual(sections, ["[build-system]"])
