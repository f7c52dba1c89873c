# -*- test-case-name: tests.test_editing_desk -*-
"""
Where the two files are looked at, proposals for them are judged, and good ones are kept.

Everything here waits for disks and takes long texts apart: call it in a thread.  What a proposal would mean, the loader
says; a proposal in which it finds a mistake is never kept.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import attrs

from piman.config import Config, ConfigError, differences
from piman.editing.changes import Change, Trouble, carry_over, make
from piman.editing.form import Form, form_of
from piman.editing.hoststext import BadHostChange, HostsText
from piman.editing.keeping import ChangedMeanwhile, KeptFile, NotKept
from piman.editing.lines import difference
from piman.editing.pieces import NotYAML
from piman.editing.places import CannotEdit
from piman.editing.proposals import (
    CONFIG,
    HOSTS_FILE,
    BadProposal,
    Mistake,
    Mistaken,
    Proposal,
    Sheet,
    Verdict,
    read_proposal,
)
from piman.editing.schema import configuration
from piman.editing.secrets import Masked, UnknownMarker, Vault
from piman.editing.skeleton import CONFIGURATION, HOSTS
from piman.editing.yamltext import path_text
from piman.hosts import parse as parse_hosts

BOM = b"\xef\xbb\xbf"


class Load(Protocol):
    """Reads ``piman.yaml``, as :func:`piman.config.load` does."""

    def __call__(
        self,
        path: Path,
        *,
        previous: Config | None = None,
        content: bytes | None = None,
        hosts_content: bytes | None = None,
    ) -> Config:
        """Read it, or what would stand in it."""


class Desk:
    """
    Both files.

    :param path: of ``piman.yaml``.
    :param load: reads it.
    :param in_force: the configuration that the manager goes by; None: no manager runs here.
    :param now: seconds since 1970, for the names of backups.
    :param hosts: the ``hosts.csv`` that is edited, whatever ``piman.yaml`` says; None: the one that it names.
    """

    def __init__(
        self,
        path: Path,
        *,
        load: Load,
        vault: Vault,
        in_force: Callable[[], Config | None],
        now: Callable[[], float],
        hosts: Path | None = None,
    ) -> None:
        self.path = path
        self._load = load
        self._vault = vault
        self._in_force = in_force
        self._now = now
        self._hosts = hosts

    # What is there

    def hosts_path(self) -> Path:
        """Where ``hosts.csv`` is."""
        if self._hosts is not None:
            return self._hosts
        config = self._in_force()
        if config is not None:
            return config.hosts_file
        try:
            named = configuration(_decoded(self._read(CONFIG) or b"")).find(("hosts_file",))
        except (CannotEdit, NotYAML, OSError):
            return self.path.absolute().parent / "hosts.csv"
        return self.path.absolute().parent / (named.text or "hosts.csv")

    def file(self, kind: str) -> KeptFile:
        """The file of a kind."""
        return KeptFile(self.path if kind == CONFIG else self.hosts_path())

    def _read(self, kind: str) -> bytes | None:
        return self.file(kind).read()

    def sheet(self, kind: str) -> Sheet:
        """
        A file as it is.

        :raises OSError: when it cannot be read.
        """
        file = self.file(kind)
        content = file.read()
        shown = content if content is not None else skeleton(kind)
        problems, warnings, _ = self._judged(kind, shown, shown)
        common: dict[str, Any] = {
            "path": file.path,
            "exists": content is not None,
            "digest": self._vault.digest(content),
            "problems": problems,
            "warnings": warnings,
        }
        if kind == HOSTS_FILE:
            hosts = HostsText(shown)
            return Sheet(text=hosts.shown, rows=tuple(hosts.rows()), **common)
        text = self._vault.mask(_decoded(shown)).text
        return Sheet(text=text, form=_form(text), **common)

    # What would be

    def judge(self, kind: str, proposal: Proposal) -> Verdict:
        """
        What would become of a proposal; nothing is written.

        :raises OSError: when the file cannot be read.
        """
        return self._verdict(kind, proposal, self._read(kind))[0]

    def keep(self, kind: str, proposal: Proposal, digest: str) -> Verdict:
        """
        Write a proposal down, if it is good.

        :param digest: of the file that the proposal is about.
        :raises ChangedMeanwhile: when the file is another one by now.
        :raises Mistaken: when the loader finds mistakes.
        :raises NotKept: when it cannot be written.
        :raises OSError: when the file cannot be read.
        """
        before = self._read(kind)
        if self._vault.digest(before) != digest:
            raise ChangedMeanwhile(str(self.file(kind).path))
        verdict, content = self._verdict(kind, proposal, before)
        if verdict.problems:
            raise Mistaken(verdict)
        if content == before:
            return verdict
        backup = self.file(kind).replace(content, before=before, now=self._now())
        name = backup.name if backup is not None else ""
        return attrs.evolve(verdict, digest=self._vault.digest(content), backup=name)

    def digest(self, kind: str) -> str:
        """
        What tells the file of now apart from others.

        :raises OSError: when it cannot be read.
        """
        return self._vault.digest(self._read(kind))

    def _verdict(self, kind: str, proposal: Proposal, before: bytes | None) -> tuple[Verdict, bytes]:
        shown = before if before is not None else skeleton(kind)
        if kind == HOSTS_FILE:
            return self._verdict_on_hosts(proposal, before, shown)
        masked = self._vault.mask(_decoded(shown))
        text, troubles = self._text_of(proposal, masked)
        try:
            content = _encoded(self._vault.restore(text, masked), shown)
        except UnknownMarker as reason:
            content = _encoded(text, shown)
            troubles = (*troubles, Mistake(line=_line_of(text, str(reason)), key="", text=str(reason)))
        problems, warnings, config = self._judged(kind, content, shown)
        seen = self._vault.mask(_decoded(content)).text
        old = self._vault.mask(_decoded(before)).text if before is not None else ""
        verdict = Verdict(
            digest=self._vault.digest(before),
            text=seen,
            diff=tuple(difference(old, seen, self.path.name)),
            problems=(*troubles, *problems),
            warnings=warnings,
            others=self._others(proposal, masked.text, self.path.name),
            form=_form(seen),
        )
        return self._with_effect(verdict, config), content

    def _text_of(self, proposal: Proposal, masked: Masked) -> tuple[str, tuple[Mistake, ...]]:
        """The text that is proposed, still with markers, and which of its changes could not be made."""
        if proposal.text is not None:
            return proposal.text, ()
        changes: Iterable[Change] = proposal.changes
        now = configuration(masked.text)
        clashes: list[Trouble] = []
        try:
            if proposal.base is not None and proposal.base != masked.text:
                changes, clashes = carry_over(changes, configuration(proposal.base), now)
            made, troubles = make(now, changes)
        except NotYAML:
            reason = "the file is no YAML as it stands: mend it as text first"
            return masked.text, (Mistake(line=0, key="", text=reason),)
        return made.text, tuple(map(_troubled, (*clashes, *troubles)))

    def _verdict_on_hosts(self, proposal: Proposal, before: bytes | None, shown: bytes) -> tuple[Verdict, bytes]:
        now = HostsText(shown)
        troubles: tuple[Mistake, ...] = ()
        try:
            new = now.with_shown(proposal.text) if proposal.text is not None else now.changed(proposal.rows)
        except BadHostChange as reason:
            new, troubles = now, (Mistake(line=0, key="", text=str(reason)),)
        problems, warnings, config = self._judged(HOSTS_FILE, new.data, shown)
        name = self.hosts_path().name
        verdict = Verdict(
            digest=self._vault.digest(before),
            text=new.shown,
            diff=tuple(difference(now.shown if before is not None else "", new.shown, name)),
            problems=(*troubles, *problems),
            warnings=warnings,
            others=self._others(proposal, now.shown, name),
            rows=tuple(new.rows()),
        )
        return self._with_effect(verdict, config), new.data

    def _others(self, proposal: Proposal, now: str, name: str) -> tuple[str, ...]:
        if proposal.base is None or proposal.base == now:
            return ()
        return tuple(difference(proposal.base.replace("\r\n", "\n"), now.replace("\r\n", "\n"), name))

    def _with_effect(self, verdict: Verdict, config: Config | None) -> Verdict:
        now = self._in_force()
        if config is None or now is None:
            return verdict
        at_once, at_restart = differences(now, config)
        return attrs.evolve(verdict, at_once=at_once, at_restart=at_restart)

    # What the loader says

    def _judged(
        self, kind: str, content: bytes, before: bytes
    ) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...], Config | None]:
        """Mistakes that forbid to keep a content, those that do not, and what it means."""
        if kind == CONFIG:
            return self._judged_config(content)
        return self._judged_hosts(content, before)

    def _judged_config(self, content: bytes) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...], Config | None]:
        hosts = self._hosts_content()
        try:
            config = self._load(self.path, previous=self._in_force(), content=content, hosts_content=hosts)
        except ConfigError as reason:
            return tuple(self._told(problem) for problem in reason.problems), (), None
        return (), tuple(map(self._warned, config.warnings)), config

    def _hosts_content(self) -> bytes | None:
        """Of a ``hosts.csv`` that was named apart, what it holds; None: the configuration names it."""
        return None if self._hosts is None else self._read(HOSTS_FILE) or b""

    def _told(self, problem: Any) -> Mistake:
        is_own = problem.file == str(self.path)
        return Mistake(
            line=problem.line if is_own else 0,
            key=problem.key,
            text=f"found {problem.found}, expected {problem.expected}",
            file="" if is_own else problem.file,
        )

    def _warned(self, warning: str) -> Mistake:
        """A warning; the loader tells its place in the text."""
        place, _, rest = warning.partition(": ")
        name, _, number = place.rpartition(":")
        if name == str(self.path) and number.isdigit():
            key, _, _ = rest.partition(": ")
            return Mistake(line=int(number), key=key if " " not in key else "", text=rest)
        return Mistake(line=0, key="", text=warning)

    def _judged_hosts(
        self, content: bytes, before: bytes
    ) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...], Config | None]:
        name = self.hosts_path().name
        try:
            config: Config | None = self._load(self.path, previous=self._in_force(), hosts_content=content)
        except ConfigError as reason:
            problems = [self._hosts_problem(each) for each in reason.problems if each.file == str(self.hosts_path())]
            elsewhere = [each for each in reason.problems if each.file != str(self.hosts_path())]
            remarks, config = parse_hosts(content, file=name).remarks, None
        else:
            assert config is not None
            remarks, problems, elsewhere = config.hosts_remarks, [], []
        old = Counter(self._bad_lines(before, remarks_of=config is not None))
        wrong, tolerated = [], []
        lines = content.splitlines()
        for remark in remarks:
            said = lines[remark.line - 1] if remark.line <= len(lines) else b""
            mistake = Mistake(line=remark.line, key=remark.column, text=remark.text)
            if old[said] > 0:
                tolerated.append(mistake)
            else:
                wrong.append(mistake)
        notes = [
            Mistake(line=0, key="", text=f"{self.path.name} has mistakes, so addresses are not checked: {each}")
            for each in elsewhere[:1]
        ]
        lost = [warning for warning in (config.warnings if config else ()) if warning.startswith(f"{name}: ")]
        notes += [Mistake(line=0, key="", text=warning) for warning in lost]
        return (*problems, *wrong), (*tolerated, *notes), config

    def _bad_lines(self, content: bytes, *, remarks_of: bool) -> list[bytes]:
        """Lines of the file as it is that have mistakes already: nobody's change is refused for them."""
        lines = content.splitlines()
        try:
            remarks = (
                self._load(self.path, hosts_content=content).hosts_remarks
                if remarks_of
                else parse_hosts(content).remarks
            )
        except ConfigError:
            remarks = parse_hosts(content).remarks
        return [lines[remark.line - 1] for remark in remarks if remark.line <= len(lines)]

    def _hosts_problem(self, problem: Any) -> Mistake:
        return Mistake(line=problem.line, key="", text=f"found {problem.found}, expected {problem.expected}")


def skeleton(kind: str) -> bytes:
    """What is offered where there is no file yet."""
    return (CONFIGURATION if kind == CONFIG else HOSTS).encode("utf-8")


def _form(text: str) -> Form | None:
    try:
        return form_of(configuration(text))
    except NotYAML:
        return None


def _troubled(trouble: Trouble) -> Mistake:
    return Mistake(line=0, key=path_text(trouble.path), text=trouble.reason)


def _line_of(text: str, reason: str) -> int:
    marker = reason.split(" ", 1)[0]
    return text[: max(text.find(marker), 0)].count("\n") + 1


def _decoded(content: bytes) -> str:
    """A file as text; bytes that are no text are kept, and told by the loader."""
    return content.removeprefix(BOM).decode("utf-8", "surrogateescape")


def _encoded(text: str, like: bytes) -> bytes:
    mark = BOM if like.startswith(BOM) else b""
    return mark + text.encode("utf-8", "surrogateescape")


__all__ = [
    "CONFIG",
    "HOSTS_FILE",
    "BadProposal",
    "ChangedMeanwhile",
    "Desk",
    "Mistake",
    "Mistaken",
    "NotKept",
    "Proposal",
    "Sheet",
    "Verdict",
    "read_proposal",
]
