# -*- test-case-name: tests.test_ctl_passwords -*-
"""
``piman passwd``: lines for ``piman.yaml`` that make a user, or a token, of the web site.

Nothing is written anywhere: the lines are the answer, and a token itself is told once, on standard error.
"""

import getpass
import re
import secrets
import signal
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TextIO

from twisted.internet.defer import CancelledError
from twisted.python import usage

from piman.ctl.options import AnyOrder
from piman.settings.people import Role
from piman.web.access.passwords import LONGEST_PASSWORD, hash_password
from piman.words import Answer, Words

EXIT_DONE, EXIT_USAGE = 0, 2
SHORTEST_PASSWORD = 8
"""NIST SP 800-63B, 5.1.1.1."""
TOKEN_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ROLES = tuple(role.value for role in Role)


class BadPassword(Exception):
    """It cannot be one."""


class PasswdOptions(Words, AnyOrder):
    """``piman passwd``"""

    command = "piman passwd"
    synopsis = "[NAME] [options]"
    longdesc = (
        "Asks for a password (in a pipe: reads a line) and prints the lines that make its owner a user of the web "
        "site.  With --token: makes a token for a program, tells it once, and prints the lines.  Changes no file."
    )
    examples = (
        "  piman passwd ada                            a user who may change something\n"
        "  piman passwd --role viewer guest            one who may only look\n"
        "  piman passwd --token prometheus             a token for a program that reads\n"
        "  kill -HUP $(pgrep -f 'piman server')        when the lines are in piman.yaml\n"
    )
    optParameters = [
        ["role", "r", None, "viewer (reads) or operator; a user is an operator, a token a viewer unless you say so"],
    ]
    optFlags = [["token", "t", "A token for a program instead of a user's password"]]

    def parseArgs(self, *names: str) -> None:
        """One name, or ours."""
        if len(names) > 1:
            raise usage.UsageError(f"found {len(names)} names, expected one")
        self["name"] = names[0] if names else getpass.getuser()
        if not _NAME.fullmatch(self["name"]):
            found = self["name"]
            raise usage.UsageError(f"found {found!r}, expected a name of up to 63 letters, digits, dots and dashes")

    def postOptions(self) -> None:
        """The role."""
        if self["role"] is None:
            self["role"] = (Role.VIEWER if self["token"] else Role.OPERATOR).value
        if self["role"] not in _ROLES:
            raise usage.UsageError(f"--role: found {self['role']!r}, expected {' or '.join(_ROLES)}")


def passwd(reactor: Any, options: PasswdOptions, answer: Answer) -> int:
    """The lines; the exit status."""
    name, role = options["name"], options["role"]
    if options["token"]:
        token = f"piman_{secrets.token_urlsafe(TOKEN_BYTES)}"
        print(f"The token, which is told only this once:\n{token}", file=sys.stderr)
        answer.write(_lines("tokens", name, f"token_hash: {sha256(token.encode()).hexdigest()}", role))
        return EXIT_DONE
    try:
        password = asked_for(name, sys.stdin)
        check(password)
    except BadPassword as reason:
        print(f"piman passwd: {reason}", file=sys.stderr)
        return EXIT_USAGE
    answer.write(_lines("users", name, f'password_hash: "{hash_password(password)}"', role))
    return EXIT_DONE


def _lines(kind: str, name: str, secret: str, role: str) -> str:
    return f"web:\n  {kind}:\n    - name: {name}\n      {secret}\n      role: {role}\n"


def asked_for(name: str, stdin: TextIO, prompt: Callable[[str], str] = getpass.getpass) -> str:
    """
    The password: of a terminal twice, of a pipe its first line.

    :raises BadPassword: when there is none, or not twice the same.
    """
    if not stdin.isatty():
        return stdin.readline().rstrip("\r\n")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the reactor's would wait for us
    try:
        password = prompt(f"Password for {name}: ")
        if prompt("Once more: ") != password:
            raise BadPassword("found two different passwords, expected the same twice")
        return password
    except KeyboardInterrupt as reason:
        raise CancelledError from reason
    except EOFError as reason:
        raise BadPassword("found no password") from reason
    finally:
        signal.signal(signal.SIGINT, before)


def check(password: str) -> None:
    """
    Whether it can be one.

    :raises BadPassword: with what was expected.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        expected = f"{SHORTEST_PASSWORD} to {LONGEST_PASSWORD}"
        raise BadPassword(f"found a password of {len(password)} characters, expected {expected}")
