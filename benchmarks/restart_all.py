#!/usr/bin/env python3
"""
``restart all --yes``: virtual boards on virtual PoE switches, restarted through the manager's API, followed to the end.

Boards of all kinds, the mask ROM with its flaws among them, are brought up first; then the manager power-cycles all of
them by SNMP.  Once with admission control and once without it; prints total time, failures with their sentences, power
cycles, and the time in each stage, as Markdown.  Exit status 0: every node is up, or has a verdict.

    .venv/bin/python benchmarks/restart_all.py [--pis 500] [--switches 12] [--loss 0.02] [--only with|without]
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from piman.reactor import install

install()

import attrs  # noqa: E402
from rich.console import Console  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import deferLater, react  # noqa: E402

from piman.ctl.client import ManagerClient  # noqa: E402
from piman.simulator.rack import Rack, RackOptions  # noqa: E402
from piman.simulator.showing.report import Spread  # noqa: E402

RUNS = {"with": True, "without": False}
"""Whether there is admission control."""
LOOK_SECONDS = 1.0
SHOWN = 20
"""Failures in full."""


@attrs.define
class Restart:
    """
    An errand for a rack: restart all, and wait until it is over.

    :ivar operation: as the API shows it in the end; empty when it did not end in time.
    :ivar plan: what was promised.
    :ivar hangs: why boards hung since the restart began, and how often.
    """

    patience_seconds: float
    operation: dict[str, Any] = attrs.field(factory=dict)
    plan: dict[str, Any] = attrs.field(factory=dict)
    hangs: "Counter[str]" = attrs.field(factory=Counter)
    requests: int = 0
    down: tuple[str, ...] = ()
    """Boards that are not up in the end, by name."""
    boards: dict[str, Any] = attrs.field(factory=dict)
    """By name, what each board experienced: kind, steps with their times, why it hung."""
    rack_cpu_seconds: float = 0.0
    """What boards and switches cost meanwhile: one process, so never more than the time that passed."""
    manager_cpu_seconds: float = 0.0
    """What the manager cost from its start to its end."""

    async def __call__(self, rack: Rack) -> None:
        """Order it, look until it is over."""
        reactor: Any = rack.reactor
        client = ManagerClient(reactor, rack.directory / "state" / "control.sock")
        before = [len(pi.journal.hangs) for pi in rack.pis]
        asked, cpu = rack.room.requests, _cpu_seconds(resource.RUSAGE_SELF)
        begun = await client.post("/api/v1/operations", {"action": "restart", "nodes": ["all"], "yes": True})
        self.plan = begun["plan"]
        identity = begun["operation"]["id"]
        end = reactor.seconds() + self.patience_seconds
        while reactor.seconds() < end:
            await deferLater(reactor, LOOK_SECONDS)
            told = {each["id"]: each for each in (await client.get("/api/v1/operations"))["operations"]}
            if told[identity]["final"]:
                self.operation = await client.get(f"/api/v1/operations/{identity}")
                break
        for pi, known in zip(rack.pis, before, strict=True):
            new = [why.replace(pi.board.prefix, "") for why in pi.journal.hangs[known:]]
            self.hangs.update(f"{pi.board.kind.name}: {why}" for why in new)
        self.rack_cpu_seconds = _cpu_seconds(resource.RUSAGE_SELF) - cpu
        self.requests = rack.room.requests - asked
        self.boards = {
            pi.board.hostname: {
                "kind": pi.board.kind.name,
                "steps": [(step.value, time) for step, time in pi.journal.steps],
                "hangs": pi.journal.hangs,
            }
            for pi in rack.pis
        }
        self.down = tuple(pi.board.hostname for pi in rack.pis if not pi.is_up)

    @property
    def unexplained(self) -> list[str]:
        """Boards that are not up and have no verdict."""
        told = {each["target"]["name"] for each in self.failures if each["reason"]}
        return [name for name in self.down if name not in told] if self.operation else list(self.down)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The reports of targets that failed."""
        return [each for each in self.operation.get("reports", ()) if each["step"] == "failed"]


def _cpu_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def stage_seconds(report: dict[str, Any], created: float) -> Iterator[tuple[str, float]]:
    """How long each stage of a target took that is done, the last try alone from its power-on."""
    yield "its turn comes", report["started"] - created
    yield "without power", report["on_at"] - report["off_at"]
    moments = [(each["phase"], each["time"]) for each in report["stages"] if each["time"] >= report["on_at"]]
    for (phase, since), (_, until) in pairwise(moments):
        yield phase, until - since
    yield "power to up", report["finished"] - report["on_at"]
    yield "its turn to up", report["finished"] - report["started"]


def as_markdown(restart: Restart) -> str:
    """What came of it."""
    operation = restart.operation
    if not operation:
        return f"It was not over after {restart.patience_seconds:g} s; {len(restart.down)} boards are not up."
    reports, counts = operation["reports"], operation["counts"]
    stages: dict[str, list[float]] = defaultdict(list)
    for report in reports:
        if report["step"] == "done":
            for stage, seconds in stage_seconds(report, operation["created"]):
                stages[stage].append(seconds)
    tries = Counter(report["tries"] for report in reports)
    lines = [
        f"{operation['finished'] - operation['created']:.1f} s in all "
        f"(the plan said {restart.plan['expected_seconds']:.0f} s); "
        f"{counts['done']} done, {counts['failed']} failed, {counts['cancelled']} cancelled; "
        f"{sum(report['tries'] for report in reports)} power cycles "
        f"({', '.join(f'{count} nodes {number}' for number, count in sorted(tries.items()))}); "
        f"{restart.requests} SNMP requests; "
        f"{len(restart.down)} boards not up, {len(restart.unexplained)} without a verdict; "
        f"processor: boards and switches {restart.rack_cpu_seconds:.0f} s meanwhile, the manager "
        f"{restart.manager_cpu_seconds:.0f} s from its start to its end",
        "",
        "| stage | nodes | median s | 95 % s | longest s |",
        "|---|--:|--:|--:|--:|",
    ]
    for stage, numbers in stages.items():
        spread = Spread.of(numbers)
        lines.append(
            f"| {stage} | {spread.count} | {spread.median:.2f} | {spread.most_of_them:.2f} | {spread.largest:.2f} |"
        )
    lines.append("")
    lines += [f"{count} boards hung: {why}" for why, count in restart.hangs.most_common()]
    shown = [f"failed: {each['target']['name']}: {each['reason']} {each['remedy']}" for each in restart.failures]
    lines += shown[:SHOWN] + ([f"... and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else [])
    return "\n".join(lines)


async def run(reactor: Any, options: RackOptions) -> Restart:
    """One rack, in a folder that is kept only when something is wrong."""
    directory = Path(tempfile.mkdtemp(prefix="piman-restart-"))
    restart = Restart(options.timeout_seconds)
    before = _cpu_seconds(resource.RUSAGE_CHILDREN)
    report = await Rack(reactor, options, directory, Console(file=sys.stderr), errand=restart).run()
    restart.manager_cpu_seconds = _cpu_seconds(resource.RUSAGE_CHILDREN) - before
    print(f"brought up: {report.up} of {report.boards} in {report.seconds:.1f} s", file=sys.stderr)
    if restart.operation and not restart.unexplained:
        shutil.rmtree(directory)
    else:
        print(f"files and logs: {directory}", file=sys.stderr)
    return restart


def title(name: str, options: RackOptions) -> str:
    """What was run."""
    return (
        f"### {name} admission control: {options.count} boards on {options.switches} switches, "
        f"{options.loss:.1%} loss each way"
        f"{f', uplink and its queue: {options.uplink}' if options.uplink else ''}\n\n"
        f"{os.cpu_count()} processors; boards, switches and manager on the same machine; waits that nobody on the wire "
        f"can observe {options.speed:g} times faster; operations: {dict(options.operations)}.\n"
    )


async def restarts(reactor: Any, names: Sequence[str], options: RackOptions, kept: Path | None) -> None:
    """One after the other, then the exit status; in the folder ``kept``, what happened to each board as JSON."""
    found = []
    for name in names:
        chosen = attrs.evolve(options, operations={**options.operations, "admission": RUNS[name]})
        found.append(await run(reactor, chosen))
        print(title(name, chosen))
        print(as_markdown(found[-1]), end="\n\n", flush=True)
        if kept is not None:
            whole = {"operation": found[-1].operation, "boards": found[-1].boards}
            (kept / f"{name}.json").write_text(json.dumps(whole))
    if not all(each.operation and not each.unexplained for each in found):
        raise SystemExit(1)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pis", type=int, default=500)
    parser.add_argument("--switches", type=int, default=12)
    parser.add_argument("--loss", type=float, default=0.02)
    parser.add_argument("--speed", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stagger", type=float, default=1.0, help="operations.stagger_seconds")
    parser.add_argument("--uplink", type=float, help="datagrams a second that all boards can exchange")
    parser.add_argument("--queue", type=int, default=128, help="how many may wait at the uplink")
    parser.add_argument("--timeout", type=float, default=1200.0, help="for each of the two halves")
    parser.add_argument("--only", choices=tuple(RUNS))
    parser.add_argument("--keep", type=Path, help="a folder for what happened to each board, as JSON")
    parsed = parser.parse_args()
    options = RackOptions(
        count=parsed.pis,
        switches=parsed.switches,
        loss=parsed.loss,
        speed=parsed.speed,
        seed=parsed.seed,
        operations={"stagger_seconds": parsed.stagger},
        uplink=(parsed.uplink, parsed.queue) if parsed.uplink else None,
        timeout_seconds=parsed.timeout,
        plain=True,
    )
    names = [parsed.only] if parsed.only else list(RUNS)
    react(lambda reactor: Deferred.fromCoroutine(restarts(reactor, names, options, parsed.keep)))


if __name__ == "__main__":
    main()
