# -*- test-case-name: tests.test_ctl_orders -*-
"""
Words that order something: ``restart``, ``reinstall``, ``power``, ``cancel``, and ``operations``, which lists orders.
"""

import sys
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import LoopingCall
from twisted.python import usage

from piman.ctl.client import JSON, ManagerClient, NoManager
from piman.ctl.direct import restart_directly
from piman.ctl.following import Message, follow
from piman.ctl.options import Asking, Ordering
from piman.ctl.printing import clock, coloured, harmless, show_json, show_plan, show_table
from piman.ctl.progress import Document, Lines, Table, view_for

DONE, FAILED = 0, 1
TICK_SECONDS = 0.5


# Options


class RestartOptions(Ordering):
    """``piman restart``"""

    command = "piman restart"
    longdesc = (
        "Takes the power of nodes away, gives it again, and follows each of them until it is up, or it can be said why "
        "it is not.  Without a manager the switches are spoken to directly."
    )
    examples = (
        "  piman restart 172.30.4.254 2 3 4       ports 2, 3 and 4 of a switch\n"
        "  piman restart rack-a 2-4               the same, by the switch's name\n"
        "  piman restart pi2 pi3                  nodes by name, address or MAC\n"
        "  piman restart all --yes --at-most 10   everything, ten at a time\n"
        "  piman restart rack-a all --dry-run     only the plan\n"
    )


class ReinstallOptions(Ordering):
    """``piman reinstall``"""

    command = "piman reinstall"
    longdesc = "Has nodes install their system anew: what is on their cards is lost."
    examples = (
        "  piman reinstall 172.30.4.254 2               the node on port 2\n"
        "  piman reinstall pi2 pi3 --image bookworm     another image than the default\n"
        "  piman reinstall rack-a all --yes --at-most 4 --stop-after 2\n"
    )
    optParameters: ClassVar = [["image", "i", "", "The image (default: each node's own); piman.yaml names them"]]


class PowerOptions(Ordering):
    """``piman power``"""

    command = "piman power"
    synopsis = "[options] on|off NODES"
    longdesc = "Gives power to nodes, or takes it away.  What was switched off stays off until it is switched on."
    examples = "  piman power off rack-a 7\n  piman power on rack-a 7\n  piman power off pi2 pi3 --no-wait\n"

    def parseArgs(self, *names: str) -> None:
        """First what to do, then the names."""
        if names[:1] not in (("on",), ("off",)):
            found = repr(names[0]) if names else "nothing"
            raise usage.UsageError(f"found {found}, expected on or off, and then nodes")
        self["action"] = f"power-{names[0]}"
        super().parseArgs(*names[1:])


class CancelOptions(Asking):
    """``piman cancel``"""

    command = "piman cancel"
    synopsis = "[options] ID"
    longdesc = "Begins with no more nodes of an operation.  A node that is dark is given power: none is left so."
    examples = "  piman cancel 1a2b3c4d\n"

    def parseArgs(self, *names: str) -> None:
        """One id."""
        if len(names) != 1:
            raise usage.UsageError("expected one id of an operation; piman operations lists them")
        self["id"] = names[0]


class OperationsOptions(Asking):
    """``piman operations``"""

    command = "piman operations"
    synopsis = "[options] [ID]"
    longdesc = "Lists the operations that the manager remembers, the newest last; or shows one of them, node by node."
    examples = "  piman operations\n  piman operations 1a2b3c4d\n"

    def parseArgs(self, *names: str) -> None:
        """One id, or none."""
        if len(names) > 1:
            raise usage.UsageError(f"found {len(names)} ids, expected one")
        self["id"] = names[0] if names else ""


# Ordering


async def restart(reactor: Any, options: RestartOptions, answer: Any) -> int:
    """Restart nodes, by the manager, else without one."""
    try:
        return await _order(options.client(reactor), "restart", options, answer)
    except NoManager as reason:
        if options["socket"]:
            raise
        print(f"piman: {reason}: speaking to the switches directly", file=sys.stderr)
        return await restart_directly(reactor, options.configuration(), options, answer)


async def reinstall(reactor: Any, options: ReinstallOptions, answer: Any) -> int:
    """Reinstall nodes."""
    return await _order(options.client(reactor), "reinstall", options, answer)


async def power(reactor: Any, options: PowerOptions, answer: Any) -> int:
    """Switch power on or off."""
    return await _order(options.client(reactor), options["action"], options, answer)


def body_of(action: str, options: Ordering) -> JSON:
    """The order as the API takes it."""
    return {
        "action": action,
        "nodes": list(options["nodes"]),
        "dry_run": bool(options["dry-run"]),
        "image": options.get("image", ""),
        "at_most": options["at-most"],
        "stop_after": options["stop-after"],
        "yes": bool(options["yes"]),
    }


async def _order(client: ManagerClient, action: str, options: Ordering, answer: Any) -> int:
    ordered = await client.post("/api/v1/operations", body_of(action, options))
    if options["dry-run"]:
        show_plan(ordered["plan"], answer, as_json=bool(options["json"]))
        return DONE
    for note in ordered["plan"]["notes"]:
        print(f"note: {harmless(note)}", file=sys.stderr)
    operation = ordered["operation"]
    if options["no-wait"]:
        if options["json"]:
            show_json(answer, operation)
        else:
            print(f"{action} {operation['id']}: begun; piman operations {operation['id']} shows it", file=answer)
        return DONE
    return await _follow(client, operation, options, answer)


async def _follow(client: ManagerClient, operation: JSON, options: Ordering, answer: Any) -> int:
    view = view_for(answer, client.reactor.seconds, json=bool(options["json"]))
    view.update(operation)
    ticks = LoopingCall(view.tick)
    ticks.clock = client.reactor
    ticks.start(TICK_SECONDS, now=False)
    identity = operation["id"]
    followed = Deferred.fromCoroutine(_watch(client, identity, view))
    if options["timeout"]:
        followed.addTimeout(options["timeout"], client.reactor)
    try:
        await followed
    except TimeoutError:
        after = f"after {options['timeout']:g} s it still goes on"
        print(f"piman: {after}; piman operations {identity} shows it", file=sys.stderr)
    except CancelledError:
        print(f"piman: {operation['action']} {identity} goes on; piman cancel {identity} ends it", file=sys.stderr)
        raise
    finally:
        ticks.stop()
        view.finish()
    return DONE if view.progress.is_good else FAILED


async def _watch(client: ManagerClient, identity: str, view: "Lines | Table | Document") -> None:
    was_away = False

    def heard(message: Message) -> bool:
        nonlocal was_away
        was_away = False
        if message.kind == "operation" and message.data["id"] == identity:
            view.update(message.data)
        return view.progress.is_final

    def away() -> None:
        nonlocal was_away
        if not was_away:
            text = "the manager is away; the operation goes on when it is back"
            view.say(text)
            if not isinstance(view, Table):
                print(f"piman: {text}", file=sys.stderr)
        was_away = True

    if not view.progress.is_final:
        await follow(client, {"operation": identity}, heard, away=away)


# Orders that were given


async def cancel(reactor: Any, options: CancelOptions, answer: Any) -> int:
    """Cancel an operation."""
    client = options.client(reactor)
    operation = await client.post(f"/api/v1/operations/{options['id']}/cancel")
    if options["json"]:
        show_json(answer, operation)
        return DONE
    counts = operation["counts"]
    over = counts["done"] + counts["failed"] + counts["cancelled"]
    going = len(operation["reports"]) - over
    rest = f", {going} under way go on to their end" if going else ""
    print(f"{operation['action']} {operation['id']}: {counts['cancelled']} not begun{rest}", file=answer)
    return DONE


async def operations(reactor: Any, options: OperationsOptions, answer: Any) -> int:
    """List operations, or show one."""
    client = options.client(reactor)
    if options["id"]:
        return _show_one(await client.get(f"/api/v1/operations/{options['id']}"), reactor, options, answer)
    found = (await client.get("/api/v1/operations"))["operations"]
    if options["json"]:
        show_json(answer, found)
        return DONE
    header = ("id", "action", "who", "begun", "state", "nodes")
    show_table(answer, header, [_operation_row(operation) for operation in found])
    return DONE


def _operation_row(operation: JSON) -> tuple[object, ...]:
    state = "cancelled" if operation["cancelled_by"] else "done" if operation["final"] else "under way"
    if operation["final"] and operation["counts"]["failed"]:
        state = "failed"
    told = ", ".join(f"{count} {step}" for step, count in operation["counts"].items() if count)
    begun = clock(operation["created"])
    return operation["id"], operation["action"], operation["who"], begun, coloured(state), told


def _show_one(operation: JSON, reactor: Any, options: Asking, answer: Any) -> int:
    view = Document(answer) if options["json"] else Lines(answer, reactor.seconds)
    view.update(operation)
    view.finish()
    return DONE if view.progress.is_good or not view.progress.is_final else FAILED
