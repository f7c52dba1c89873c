"""
Tests for :mod:`piman.reactor`.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

_REPORT = "from twisted.internet import reactor; print(type(reactor).__name__)"


def _run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


class InstallTests(SynchronousTestCase):
    """Each case runs in a process of its own: a process has one reactor."""

    def test_installs_asyncio(self) -> None:
        """In a fresh process the asyncio reactor is installed."""
        done = _run(f"import piman.reactor; piman.reactor.install(); {_REPORT}")
        self.assertEqual(done.stdout.strip(), "AsyncioSelectorReactor", done.stderr)

    def test_twice_is_harmless(self) -> None:
        """A second call changes nothing."""
        done = _run(f"from piman.reactor import install; install(); install(); {_REPORT}")
        self.assertEqual(done.stdout.strip(), "AsyncioSelectorReactor", done.stderr)

    def test_steady(self) -> None:
        """The reactor begins with the host's time, and passes as CLOCK_MONOTONIC does."""
        done = _run(
            "import time\n"
            "from piman.reactor import SteadySeconds, install, wall_clock\n"
            "install()\n"
            "from twisted.internet import reactor\n"
            "first = reactor.seconds\n"
            "assert isinstance(first, SteadySeconds), first\n"
            "install()\n"
            "assert reactor.seconds is first, 'a second call would follow the steps of before'\n"
            "before, began = first(), time.monotonic()\n"
            "print(abs(before - wall_clock()) < 1)\n"
            "reactor.callLater(0.05, reactor.stop)\n"
            "reactor.run()\n"
            "between, now = time.monotonic() - began, first()\n"
            "print(between <= now - before + 1e-6 and now - before <= time.monotonic() - began + 1e-6)\n"
        )
        self.assertEqual(done.stdout.split(), ["True", "True"], done.stderr)

    def test_installed_already(self) -> None:
        """A reactor that the command line has installed becomes steady too."""
        done = _run(
            "from twisted.internet import asyncioreactor; asyncioreactor.install()\n"
            "from piman.reactor import install; install()\n"
            "from twisted.internet import reactor; print(type(reactor.seconds).__name__)\n"
        )
        self.assertEqual(done.stdout.strip(), "SteadySeconds", done.stderr)

    def test_refuses_another(self) -> None:
        """With another reactor installed, the error names it and says what to do."""
        done = _run(
            "from twisted.internet import pollreactor; pollreactor.install()\n"
            "from piman.reactor import install, WrongReactor\n"
            "try: install()\n"
            "except WrongReactor as error: print(error)\n"
        )
        self.assertIn("PollReactor is installed", done.stdout)
        self.assertIn("--reactor=asyncio", done.stdout)
