"""
Installed from an sdist and from a wheel, piman's plugins are there.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

_LIST_PLUGINS = """
import sys
sys.path[:0] = [{installed!r}, {libraries!r}]
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
import piman
assert piman.__file__.startswith({installed!r}), piman.__file__
print(sorted(maker.tapname for maker in getPlugins(IServiceMaker) if maker.tapname.startswith("piman")))
"""


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout}\n{done.stderr}")
    return done.stdout


def _build(kind: str, source: Path, into: Path) -> Path:
    """Build an sdist or wheel of ``source`` with the setuptools that is installed."""
    into.mkdir(exist_ok=True)
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    return into / _run(sys.executable, "-c", code, str(into), cwd=source).splitlines()[-1]


class InstalledPluginTests(SynchronousTestCase):
    """``twistd`` lists piman, piman-ctl and piman-agent after a plain installation."""

    def setUp(self) -> None:
        """Copy the tree: building leaves files behind."""
        self.folder = Path(self.mktemp()).absolute()
        self.source = self.folder / "source"
        ignored = shutil.ignore_patterns(".git", ".venv", "_trial*", "*.egg-info", "build", "__pycache__")
        shutil.copytree(ROOT, self.source, ignore=ignored)

    def plugins_of(self, wheel: Path) -> str:
        """Install a wheel into an empty folder; the plugins that a process sees which knows only that folder."""
        installed = self.folder / "installed"
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target")
        _run(*pip, str(installed), str(wheel), cwd=self.folder)
        code = _LIST_PLUGINS.format(installed=str(installed), libraries=sysconfig.get_path("purelib"))
        return _run(sys.executable, "-S", "-c", code, cwd=self.folder).strip()

    def test_wheel(self) -> None:
        """From a wheel of the checkout, with the commands piman and piman-ctl."""
        wheel = _build("wheel", self.source, self.folder / "dist")
        self.assertEqual(self.plugins_of(wheel), "['piman', 'piman-agent', 'piman-ctl']")
        for path in ("templates/base.html", "static/style.css", "static/rack.js", "static/icons/phase-up.svg"):
            self.assertTrue((self.folder / "installed/piman/web" / path).is_file(), path)
        (entries,) = (self.folder / "installed").glob("piman-*.dist-info/entry_points.txt")
        scripts = [line for line in entries.read_text().splitlines() if "=" in line]
        self.assertEqual(scripts, ["piman = piman.control:console", "piman-ctl = piman.control:console"])

    def test_sdist(self) -> None:
        """From a wheel that was built of the sdist, as pip does it."""
        sdist = _build("sdist", self.source, self.folder / "dist")
        shutil.unpack_archive(sdist, self.folder / "unpacked")
        (unpacked,) = (self.folder / "unpacked").iterdir()
        wheel = _build("wheel", unpacked, self.folder / "dist")
        self.assertEqual(self.plugins_of(wheel), "['piman', 'piman-agent', 'piman-ctl']")
        self.assertTrue((unpacked / "install/initram").is_dir(), "the sdist carries what the Pi boots")
