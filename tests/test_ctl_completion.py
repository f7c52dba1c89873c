"""
Tests for :mod:`piman.ctl.completion`: the shells themselves try the scripts.
"""

import os
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from piman.control import Options
from piman.ctl.completion import IMAGE_ACTS, TAKE_NODES, script
from piman.ctl.images import ACTS

TRY_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_piman
printf '%s\\n' "${COMPREPLY[@]}"
"""


class _Case(SynchronousTestCase):
    shell = ""

    def setUp(self) -> None:
        """A script, and a ``piman`` that knows two names."""
        self.program = shutil.which(self.shell)
        if self.program is None:
            raise SkipTest(f"no {self.shell} here")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.script = self.folder / "script"
        self.script.write_text(script(self.shell, Options.subCommands))
        piman = self.folder / "piman"
        piman.write_text(
            '#!/bin/sh\n[ "$*" = "status --names" ] && printf "pi2\\nrack-a\\n"\n'
            '[ "$*" = "images --names" ] && printf "default\\nlite\\ntag:kiosks\\n"\n:\n'
        )
        piman.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}

    def run_shell(self, *arguments: str) -> str:
        """What the shell prints."""
        assert self.program is not None
        done = subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, timeout=60, env=self.environment
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout


class BashTests(_Case):
    """bash"""

    shell = "bash"

    def complete(self, *words: str) -> list[str]:
        """What Tab offers after these."""
        return self.run_shell("-c", TRY_BASH, "bash", str(self.script), "piman", *words).split()

    def test_words(self) -> None:
        """Every word is offered."""
        self.assertEqual(self.complete("re"), ["restart", "reinstall"])
        offered = self.complete("")
        self.assertEqual([row[0] for row in Options.subCommands if row[0] not in offered], [])

    def test_options(self) -> None:
        """A word's own options."""
        self.assertEqual(self.complete("reinstall", "pi2", "--im"), ["--image"])
        self.assertEqual(self.complete("status", "--im"), [])

    def test_names(self) -> None:
        """Names of nodes and switches where nodes are expected; files after ``--config``."""
        for word in TAKE_NODES:
            self.assertEqual(self.complete(word, ""), ["pi2", "rack-a"], word)
        self.assertEqual(self.complete("restart", "pi2", "ra"), ["rack-a"])
        self.assertEqual(self.complete("power", "o"), ["on", "off"])
        self.assertEqual(self.complete("power", "on", "p"), ["pi2"])
        self.assertEqual(self.complete("image", "s"), ["set-default"])
        self.assertEqual(self.complete("image", "set-default", "li"), ["lite"])
        self.assertEqual(self.complete("image", "assign", "lite", ""), ["pi2", "rack-a", "tag:kiosks"])
        self.assertEqual(self.complete("image", "assign", "lite", "pi2", "ta"), ["tag:kiosks"])
        self.assertEqual(self.complete("image", "assign", "lite", "tag", ":"), ["kiosks"])
        self.assertEqual(self.complete("image", "unassign", "tag", ":", "ki"), ["kiosks"])
        self.assertEqual(self.complete("status", "--config", f"{self.folder}/scr"), [str(self.script)])


class ZshTests(_Case):
    """zsh"""

    shell = "zsh"

    def test_syntax(self) -> None:
        """The script can be read."""
        self.run_shell("-n", str(self.script))


class RowTests(SynchronousTestCase):
    """What scripts are made of."""

    def test_words_with_nodes(self) -> None:
        """Words that take nodes are words."""
        self.assertEqual(IMAGE_ACTS, tuple(ACTS))
        self.assertEqual(set(TAKE_NODES) - {row[0] for row in Options.subCommands}, set())
