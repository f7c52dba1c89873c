"""
Tests for :mod:`piman.ctl.options`: what people write on a command line.
"""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.control import Options
from piman.ctl.options import Asking, BadConfiguration
from piman.ctl.orders import PowerOptions, ReinstallOptions, RestartOptions, body_of

HELP = ("help", "version", "names")
CONFIGURATION = "server_address: 172.30.4.1\nsubnet_mask: 24\ninterface: lo\nswitches: []\n"


class OrderTests(SynchronousTestCase):
    """Names and options in any order."""

    def parse(self, *arguments: str) -> RestartOptions:
        """Read a command line."""
        options = RestartOptions()
        options.parseOptions(list(arguments))
        return options

    def test_in_any_place(self) -> None:
        """Options before, between and after names mean the same; after ``--`` there are only names."""
        for arguments in (
            ("--at-most", "4", "-y", "rack-a", "2"),
            ("rack-a", "--at-most=4", "2", "--yes"),
            ("rack-a", "2", "--at-most", "4", "-y"),
            ("--at-mo", "4", "-y", "--", "rack-a", "2"),
        ):
            body = body_of("restart", self.parse(*arguments))
            self.assertEqual((body["nodes"], body["at_most"], body["yes"]), (["rack-a", "2"], 4, True), arguments)

    def test_value_with_a_blank(self) -> None:
        """A value may be anything, also empty or with blanks and equals signs."""
        self.assertEqual(self.parse("pi2", "--config", "a b=c.yaml")["config"], "a b=c.yaml")
        self.assertEqual(self.parse("pi2", "-c", "x.yaml")["config"], "x.yaml")
        for empty in (("--config", ""), ("--config=",), ("-c", "")):
            options = self.parse("pi2", *empty, "pi3")
            self.assertEqual((options["config"], options["nodes"]), ("", ("pi2", "pi3")))

    def test_designs_examples(self) -> None:
        """The command lines of the documents, word for word."""
        for line, nodes in (
            ("restart 172.30.4.254 2 3 4", ["172.30.4.254", "2", "3", "4"]),
            ("restart rack-a 2 3 4", ["rack-a", "2", "3", "4"]),
            ("restart pi2 pi3", ["pi2", "pi3"]),
            ("reinstall 172.30.4.254 2 --image lab", ["172.30.4.254", "2"]),
        ):
            options = Options()
            options.parseOptions(line.split())
            self.assertEqual(body_of("x", options.subOptions)["nodes"], nodes)
            self.assertEqual(body_of("x", options.subOptions)["image"], "lab" if "lab" in line else "")

    def test_power(self) -> None:
        """``power on`` and ``power off`` are two actions."""
        options = PowerOptions()
        options.parseOptions(["off", "pi2", "--no-wait"])
        self.assertEqual((options["action"], options["nodes"], options["no-wait"]), ("power-off", ("pi2",), 1))

    def test_mistakes(self) -> None:
        """Each mistake is one line that says what was found and expected, and status 2."""
        for options, line, expected in (
            (RestartOptions(), "", "no nodes are named"),
            (RestartOptions(), "pi2 --at-most some", "--at-most: found 'some', expected a whole number from 0 on"),
            (RestartOptions(), "pi2 --timeout 0", "--timeout: found '0', expected seconds above 0"),
            (RestartOptions(), "pi2 --wait --no-wait", "found both, expected one of them"),
            (RestartOptions(), "pi2 --image lab", "--image not recognized"),
            (ReinstallOptions(), "--image", "--image requires argument"),
            (PowerOptions(), "pi2 off", "found 'pi2', expected on or off"),
            (PowerOptions(), "", "found nothing, expected on or off"),
        ):
            with redirect_stderr(StringIO()) as errors:
                ended = self.assertRaises(SystemExit, options.parseOptions, line.split())
            self.assertEqual(ended.code, 2)
            self.assertIn(expected, errors.getvalue())
            self.assertEqual(errors.getvalue().count("\n"), 1)


class PageTests(SynchronousTestCase):
    """docs/reference/piman-ctl.md"""

    def test_words_and_options(self) -> None:
        """It names every word, and every option of the words that speak with a manager."""
        page = (Path(__file__).resolve().parent.parent / "docs/reference/piman-ctl.md").read_text("utf-8")
        for name, _, parser, _ in Options.subCommands:
            self.assertIn(f"| `{name}", page)
            if issubclass(parser, Asking):
                for option in parser().longOpt:
                    self.assertTrue(option in HELP or f"--{option.rstrip('=')}" in page, (name, option))


class SocketTests(SynchronousTestCase):
    """Where the manager is."""

    def setUp(self) -> None:
        """A folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def path(self, *arguments: str) -> Path:
        """Of the socket."""
        options = Asking()
        options.parseOptions(list(arguments))
        return options.socket_path()

    def test_from_the_configuration(self) -> None:
        """piman.yaml says where its state folder is, and the socket in it; or where the socket is."""
        file = self.folder / "piman.yaml"
        file.write_text(CONFIGURATION + "state_dir: here\n")
        self.assertEqual(self.path("-c", str(file)), self.folder / "here/control.sock")
        file.write_text(CONFIGURATION + "control: {socket: /run/piman.sock}\n")
        self.assertEqual(self.path("-c", str(file)), Path("/run/piman.sock"))

    def test_by_itself(self) -> None:
        """With ``--socket`` no file is read: an operator need not be allowed to read the switches' secrets."""
        self.assertEqual(self.path("-c", "/nonsense", "--socket", "/run/piman.sock"), Path("/run/piman.sock"))

    def test_no_configuration(self) -> None:
        """A file that is not there is named."""
        reason = self.assertRaises(BadConfiguration, self.path, "-c", str(self.folder / "piman.yaml"))
        self.assertIn(str(self.folder / "piman.yaml"), str(reason))
