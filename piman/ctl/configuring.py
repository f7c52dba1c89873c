# -*- test-case-name: tests.test_ctl_configuring -*-
"""
``piman config ORG piman.yaml hosts.csv``: the pages of the two files alone, on the loopback, without a manager.

Files that are not there are offered as skeletons and made at the first apply.  If a manager runs with these files, it
is asked to read them again; without one they wait for its start.
"""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage

from piman.config import Config, ConfigError
from piman.ctl.client import ManagerClient, NoManager, NotAllowed, Refused, WentAway
from piman.ctl.options import AnyOrder
from piman.editing.desk import Desk
from piman.editing.secrets import Vault
from piman.host.listening import listen
from piman.power import load
from piman.reactor import wall_clock
from piman.settings.sections import Document
from piman.web import refusals
from piman.web.access import visitors
from piman.web.access.guard import AccessSettings, Guard
from piman.web.connections import BoundedSite
from piman.web.editing.documents import Applied, Documents
from piman.web.editing.pages import EditingPages
from piman.web.editing.routes import DocumentRoutes, WithDocuments
from piman.web.site import Root, SiteService, context_for, knows
from piman.web.static_files import StaticFiles, packaged
from piman.words import Answer, Words, expecting, own_version

DONE, FAILED = 0, 1
LOOPBACK, PORT = "127.0.0.1", 5000
WAITS = "No manager runs with this file: it takes the files when it starts."

Ask = Callable[[Path], ManagerClient]
"""Makes the client of a manager's socket."""


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise ValueError
    return port


class ConfigOptions(Words, AnyOrder):
    """``piman config``"""

    command = "piman config"
    synopsis = "ORGANISATION [piman.yaml [hosts.csv]] [options]"
    longdesc = (
        "Serves two pages, Config and Hosts, in which piman.yaml and hosts.csv are filled in, on this machine alone "
        "(ssh -N -L 5000:localhost:5000 reaches it from elsewhere).  Needs no manager.  A file that is not there is "
        "made at the first apply; comments in one that is there stay."
    )
    examples = (
        "  piman config Dubai piman.yaml hosts.csv       then open http://127.0.0.1:5000/\n"
        "  piman config Dubai --port 5001                beside a manager whose pages are on 5000\n"
    )
    optParameters: ClassVar = [
        ["port", "p", PORT, "TCP port", expecting("--port", "a port from 0 (any) to 65535", _port)],
    ]

    def parseArgs(self, *names: str) -> None:
        """Take the organisation and two files."""
        if not 1 <= len(names) <= 3:
            raise usage.UsageError(f"found {len(names)} names, expected ORGANISATION, piman.yaml and hosts.csv")
        self["organisation"] = names[0]
        self["config"] = Path(names[1] if len(names) > 1 else "piman.yaml").absolute()
        self["hosts"] = Path(names[2]).absolute() if len(names) > 2 else None
        for path in filter(None, (self["config"], self["hosts"])):
            if not path.parent.is_dir():
                raise usage.UsageError(f"{path}: found no folder {path.parent}, expected one for the file")


class Neighbour:
    """
    The manager that runs with the same files, if there is one.

    :param path: of ``piman.yaml``.
    """

    def __init__(self, path: Path, ask: Ask, read: Callable[[Path], Config] = load) -> None:
        self._path = path
        self._ask = ask
        self._read = read

    def socket(self) -> Path | None:
        """Where it would answer; None: the file, which says so, has mistakes."""
        try:
            return self._read(self._path).control.socket
        except ConfigError:
            return None

    async def apply(self) -> Applied:
        """Make it read its files again."""
        socket = self.socket()
        if socket is None:
            return Applied(taken=False, note=WAITS)
        try:
            client = self._ask(socket)
            sheet = await client.get("/api/v1/config")
            if Path(sheet["path"]).resolve() != self._path.resolve():
                return Applied(taken=False, note=f"The manager that runs goes by another file, {sheet['path']}.")
            found = await client.post("/api/v1/config/apply")
        except NoManager:
            return Applied(taken=False, note=WAITS)
        except (NotAllowed, Refused, WentAway) as reason:
            return Applied(taken=False, note=f"A manager runs, and could not be told: {reason}. Say kill -HUP to it.")
        return Applied(
            taken=bool(found["taken"]),
            at_once=tuple(found["at_once"]),
            at_restart=tuple(found["at_restart"]),
            warnings=tuple(found["warnings"]),
            note=found["note"],
        )

    async def note(self) -> str:
        """What the pages say of it."""
        socket = self.socket()
        if socket is None:
            return ""
        try:
            sheet = await self._ask(socket).get("/api/v1/config")
        except (NoManager, NotAllowed, Refused, WentAway):
            return ""
        if Path(sheet["path"]).resolve() != self._path.resolve():
            return ""
        return "A manager runs with these files: what you apply takes effect there at once."


def root(reactor: Any, options: ConfigOptions, ask: Ask, guard: Guard, note: str = "") -> Root:
    """
    The pages, behind the guard of the web site.

    :param note: said on top of the pages.
    """
    neighbour = Neighbour(options["config"], ask)
    documents = Documents(
        Desk(
            options["config"],
            load=load,
            vault=Vault(secrets.token_bytes(32), Document),
            in_force=lambda: None,
            now=wall_clock,
            hosts=options["hosts"],
        ),
        in_thread=lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work),
        apply=lambda: Deferred.fromCoroutine(neighbour.apply()),
        events=None,
        now=wall_clock,
    )
    context = context_for(options["organisation"], own_version())
    pages = EditingPages(
        documents, context=context, caller=visitors.caller_of, is_alone=True, note=lambda: note
    ).resource()
    files = DocumentRoutes(documents, visitors.caller_of).resource()
    nowhere = refusals.Refused(
        404, "no-such-path", "piman config serves /config and /hosts-csv only", "Start the manager."
    )
    api = WithDocuments(files, nowhere)
    parts = {
        "": refusals.Moved("/config"),
        "static": StaticFiles(packaged()),
        **dict.fromkeys(("config", "hosts-csv"), pages),
        **dict.fromkeys(("api", "get_config", "get_hosts_csv"), api),
    }
    return Root(guard, parts, nowhere)


def service(reactor: Any, options: ConfigOptions, ask: Ask, note: str = "") -> SiteService:
    """The service; it binds the loopback alone, and goes by names of this machine only."""
    guard = Guard(reactor, AccessSettings())
    bounded = BoundedSite(root(reactor, options, ask, guard, note), reactor=reactor, knows=knows(guard))
    return SiteService(bounded, lambda: listen(reactor, options["port"], bounded, LOOPBACK), lambda: None)


async def _serve(reactor: Any, options: ConfigOptions, answer: Answer, over: "Deferred[None]") -> int:
    def ask(path: Path) -> ManagerClient:
        return ManagerClient(reactor, path)

    note = await Neighbour(options["config"], ask).note()
    pages: Any = service(reactor, options, ask, note)
    try:
        pages.privilegedStartService()
    except CannotListenError as reason:
        hint = "a manager's pages may be there already: http://127.0.0.1:5000/config; or name another --port"
        print(f"piman config: port {options['port']} cannot be had ({reason.socketError}): {hint}", file=sys.stderr)
        return FAILED
    pages.startService()
    answer.write(f"{options['organisation']}: http://{LOOPBACK}:{pages.port}/ until Ctrl-C\n")
    answer.flush()
    if note:
        print(note, file=sys.stderr)
    try:
        await over
    finally:
        await pages.stopService()
    return DONE


def configure(reactor: Any, options: ConfigOptions, answer: Answer) -> "Deferred[int]":
    """Serve until Ctrl-C, which is how it is meant to end; the exit status."""
    over: Deferred[None] = Deferred(lambda ending: ending.callback(None))
    return Deferred.fromCoroutine(_serve(reactor, options, answer, over))
