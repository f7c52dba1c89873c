"""
Tests for :mod:`piman.control`: usage, exit codes, where text goes.
"""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from piman import control
from piman.words import version_line

PIMAN = str(Path(sys.executable).parent / "piman")
WAIT_SECONDS = 60.0
"""Far more than anything here needs; a test that waits so long has failed."""


def _twistd(*arguments: str, cwd: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "twistd"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def _piman(*arguments: str, cwd: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([PIMAN, *arguments], cwd=cwd, capture_output=True, text=True, timeout=WAIT_SECONDS)


CONFIGURATION = "private_number: 4\nserver_address: 172.30.4.1\nsubnet_mask: 24\ninterface: nope0\nswitches: []\n"
WORDS = (
    "status, why, restart, reinstall, power, operations, cancel, events, find-port, map, images, image, config, "
    "import-image, passwd, simulate, check, server or completion"
)
MISTAKES = {
    (): f"piman: a word is missing: {WORDS} (see piman --help)",
    ("nonsense",): f"piman: there is no word 'nonsense'; use {WORDS} (see piman --help)",
    ("--nope",): "piman: option --nope not recognized (see piman --help)",
    ("simulate", "--pis", "x"): "piman simulate: --pis: found 'x', expected a whole number from 1 on, like 40 "
    "(see piman simulate --help)",
    ("simulate", "--pis", "100", "--switches", "2"): "piman simulate: --switches: 2 have 96 ports for 100 boards; "
    "use 3 or more (see piman simulate --help)",
    ("simulate", "8"): "piman simulate: there is no place for '8': options only (see piman simulate --help)",
    ("server", "nonsense"): "piman server: there is no place for 'nonsense': options only (see piman server --help)",
    ("server", "--nope"): "piman server: option --nope not recognized (see piman server --help)",
}
"""Command lines, and all that is said of them."""


class HelpTests(SynchronousTestCase):
    """``--help`` and ``--version``."""

    def test_help(self) -> None:
        """``piman --help`` shows each word, and examples that keep their lines."""
        shown = _piman("--help", cwd=".").stdout.splitlines()
        self.assertEqual(shown[0], "Usage: piman WORD [options]")
        examples = shown[shown.index("EXAMPLES") :]
        for word in ("simulate", "check", "server"):
            self.assertTrue(any(line.split()[:1] == [word] for line in shown), word)
            self.assertTrue(any(line.startswith(f"  piman {word}") for line in examples), word)

    def test_help_of_a_word(self) -> None:
        """A word's help names the command as it is called, and has examples too."""
        for word in ("simulate", "check", "server"):
            shown = _piman(word, "--help", cwd=".").stdout
            self.assertTrue(shown.startswith(f"Usage: piman {word} "), shown)
            self.assertIn("\nEXAMPLES\n", shown)

    def test_version(self) -> None:
        """However it is asked for, the version is piman's own, with those of Twisted and Python beside it."""
        for done in (
            _piman("--version", cwd="."),
            _piman("server", "--version", cwd="."),
            _piman("simulate", "--version", cwd="."),
            _twistd("piman-ctl", "--version", cwd="."),
            _twistd("piman", "--version", cwd="."),
        ):
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"{version_line()}\n", ""), done.args)


class UsageTests(SynchronousTestCase):
    """Mistakes on the command line cost exit status 2 and a line on standard error."""

    def setUp(self) -> None:
        """A folder of its own."""
        self.folder = self.mktemp()
        Path(self.folder).mkdir()

    def test_unknown_word(self) -> None:
        """An unknown word is named on stderr, stdout stays empty, the status is 2."""
        done = _twistd("piman-ctl", "frobnicate", cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn("frobnicate", done.stderr)

    def test_bad_number(self) -> None:
        """A loss of 2 (two hundred per cent) is refused with what was expected."""
        done = _twistd("piman-ctl", "simulate", "--loss", "2", cwd=self.folder)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--loss: found '2', expected a share from 0 to below 1, like 0.02 for 2 %", done.stderr)

    def test_one_line_each(self) -> None:
        """Each mistake is one line on stderr: who complains, what is wrong, what is right, where to read on."""
        for arguments, line in MISTAKES.items():
            done = _piman(*arguments, cwd=self.folder)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", f"{line}\n"), arguments)

    def test_server_is_no_word_of_the_plugin(self) -> None:
        """``twistd piman-ctl server`` would be a twistd in a twistd; it says what to call instead."""
        done = _twistd("piman-ctl", "server", cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn("twistd -n --pidfile= piman", done.stderr)

    def test_other_reactor(self) -> None:
        """Another reactor that twistd was told to use is one line with the remedy, no traceback."""
        done = _twistd("--reactor=poll", "piman-ctl", "check", cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (1, "", 1), done.stderr)
        self.assertIn("--reactor=asyncio", done.stderr)

    def test_unknown_board(self) -> None:
        """A board that is not known is refused with those that are."""
        done = _twistd("piman-ctl", "simulate", "--models", "zx81", cwd=self.folder)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("'zx81'", done.stderr)

    def test_simulate_spares_files(self) -> None:
        """A folder with files in it is refused: the rack's own piman.yaml never replaces somebody's."""
        mine = Path(self.folder, "hosts.csv")
        mine.write_text("mine\n")
        done = _twistd("piman-ctl", "simulate", "--directory", ".", cwd=self.folder)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("not empty", done.stderr)
        self.assertEqual(mine.read_text(), "mine\n")

    def test_check_finds_missing_files(self) -> None:
        """``check`` names a boot folder, an image and an interface that are not there, on stdout, and exits with 1."""
        Path(self.folder, "piman.yaml").write_text(CONFIGURATION)
        done = _twistd("piman-ctl", "check", cwd=self.folder)
        self.assertEqual((done.returncode, done.stderr), (1, ""), done.stdout)
        for subject in ("boot files", "images", "interface"):
            self.assertIn(f"FAIL  {subject}  ", done.stdout)

    def test_check_in_json(self) -> None:
        """``check --json`` is one JSON object with the exit status in it."""
        Path(self.folder, "piman.yaml").write_text(CONFIGURATION)
        done = _piman("check", "--json", cwd=self.folder)
        told = json.loads(done.stdout)
        self.assertEqual((done.returncode, told["status"], done.stderr), (1, 1, ""))
        self.assertIn("fail", {finding["level"] for finding in told["findings"]})

    def test_check_reports_all_mistakes(self) -> None:
        """``check`` prints each mistake of the file with its line and exits with 2."""
        Path(self.folder, "piman.yaml").write_text("server_address: 172.30.4.x\nsubnet_maks: 255.255.255.0\n")
        done = _twistd("piman-ctl", "check", cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn("172.30.4.x", done.stderr)
        self.assertIn("subnet_mask", done.stderr)

    def test_leaves_no_files(self) -> None:
        """piman-ctl leaves no pid file and no log behind: a manager may run in the same folder."""
        _twistd("piman-ctl", "check", cwd=self.folder)
        self.assertEqual(list(Path(self.folder).iterdir()), [])


def _start_rack(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    """``piman simulate`` of one board."""
    command = [PIMAN, "simulate", "--plain", "--pis", "1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def _manager_of(process: "subprocess.Popen[str]") -> int:
    """A descriptor of the rack's manager, readable when it has ended; once its board has power there is a manager."""
    assert process.stdout is not None
    while "firmware" not in (line := process.stdout.readline()):
        if not line:
            raise AssertionError(f"the rack ended by itself: {process.communicate()[1]}")
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()
    return os.pidfd_open(int(child))


def _has_ended(manager: int) -> bool:
    """Whether it ends in time."""
    with open(manager, closefd=True, mode="rb", buffering=0):
        return bool(select.select([manager], [], [], WAIT_SECONDS)[0])


class EndTests(SynchronousTestCase):
    """A rack that ends before its time leaves nothing behind that it could take with it."""

    def setUp(self) -> None:
        """A folder for the rack."""
        self.folder = Path(self.mktemp()).absolute()

    def test_interrupt(self) -> None:
        """SIGTERM, as Ctrl-C: the rack stops its manager and says so; the exit status is 130."""
        with _start_rack("--directory", str(self.folder)) as process:
            manager = _manager_of(process)
            process.terminate()
            _, stderr = process.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(process.returncode, 130, stderr)
        self.assertIn("interrupted", stderr)
        self.assertTrue(_has_ended(manager), "the manager of the rack still runs")

    def test_terminal_closed(self) -> None:
        """SIGHUP, when somebody closes the terminal, ends the rack as Ctrl-C does."""
        with _start_rack("--directory", str(self.folder)) as process:
            manager = _manager_of(process)
            process.send_signal(signal.SIGHUP)
            _, stderr = process.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(process.returncode, 130, stderr)
        self.assertTrue(_has_ended(manager), "the manager of the rack still runs")

    def test_killed(self) -> None:
        """SIGKILL leaves no moment to tidy up, and still the manager ends."""
        with _start_rack("--directory", str(self.folder)) as process:
            manager = _manager_of(process)
            process.kill()
            process.communicate(timeout=WAIT_SECONDS)
        self.assertTrue(_has_ended(manager), "the manager of the rack still runs")

    def test_reader_leaves(self) -> None:
        """A reader who leaves, as ``head -2``, ends the rack: no word, status 141, no manager, no temporary folder."""
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True)
        with _start_rack("--seed", "2", env={**os.environ, "TMPDIR": str(temporary)}) as process:
            manager = _manager_of(process)
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            stderr = process.stderr.read()
            self.assertEqual((process.wait(WAIT_SECONDS), stderr), (141, ""))
        self.assertTrue(_has_ended(manager), "the manager of the rack still runs")
        self.assertEqual(list(temporary.iterdir()), [])

    def test_nobody_reads(self) -> None:
        """What nobody reads, as with ``piman check | true``, costs status 141 and no word, buffered or not."""
        self.folder.mkdir()
        (self.folder / "piman.yaml").write_text(CONFIGURATION)
        for arguments in (["--help"], ["--version"], ["check"]):
            for unbuffered in ("", "1"):
                status, stderr = self.unread(*arguments, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
                self.assertEqual((status, stderr), (141, ""), (arguments, unbuffered))

    def unread(self, *arguments: str, env: dict[str, str]) -> tuple[int, str]:
        """The exit status and standard error of a command on whose standard output nobody listens."""
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as output:
            done = subprocess.run([PIMAN, *arguments], cwd=self.folder, env=env, stdout=output, stderr=subprocess.PIPE)
        return done.returncode, done.stderr.decode()


class StatusTests(SynchronousTestCase):
    """Exit statuses of words that were ended."""

    def test_ended_while_connecting(self) -> None:
        """A word that ends while it calls the manager was interrupted, or has lost its reader: no mistake of ours."""
        unread, interrupted = Mock(has_reader=False), Mock(has_reader=True)
        for reason in (CancelledError(), ConnectingCancelledError(UNIXAddress("control.sock"))):
            self.assertEqual(control._status(Failure(reason), unread), 141)
            self.assertEqual(control._status(Failure(reason), interrupted), 130)
