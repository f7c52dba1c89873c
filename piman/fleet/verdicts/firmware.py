# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
Where the firmware of a board stopped: between the offer of an address and its kernel.
"""

from collections.abc import Callable, Mapping

from piman.fleet import events
from piman.fleet.model import Phase, Stage
from piman.fleet.progress import FIRMWARE
from piman.fleet.verdicts.address import address_trouble
from piman.fleet.verdicts.boots import first_reached
from piman.fleet.verdicts.case import Case, Verdict
from piman.fleet.verdicts.needs import foreign_folder, has_kernel, needed, parts
from piman.fleet.verdicts.power import power_trouble
from piman.fleet.verdicts.remedies import Fault
from piman.fleet.wording import shown, size

BLOCKS = 65_535
"""RFC 1350 counts blocks with 16 bits; not every client goes on after them."""
IGNORED_OFFERS = 3
"""A board of the ROM family takes an OFFER without a word; one that asks so often has taken none."""


def stuck_firmware(case: Case) -> Verdict | None:
    """Judged by how far the firmware has come at best since it was started from outside."""
    phases = [boot.furthest for boot in case.latest if boot.furthest in FIRMWARE]
    order = (Phase.OFFERED, Phase.LEASED, Phase.LOADING)
    furthest = max((phase for phase in phases if phase), key=order.index, default=case.status.phase)
    since = first_reached(case.latest, furthest)
    if not case.is_late(case.status.since if since is None else since, furthest):
        return None
    return power_trouble(case) or address_trouble(case) or FIRMWARE_JUDGES[furthest](case)


def _offered(case: Case) -> Verdict:
    address = case.status.address
    what = f"was offered {address}" if address else "was offered an address"
    offers = sum(offered.stage.is_firmware for offered in case.all(events.AddressOffered))
    if case.status.stage is Stage.ROM and 0 < offers < IGNORED_OFFERS:
        return case.say(Fault.NO_TFTP, f"it {what}, asked for no other, and has not asked for a boot file since")
    times = f" {offers} times" if offers > 1 else ""
    return case.say(Fault.OFFER_IGNORED, f"it {what}{times} and did not take it")


def _leased(case: Case) -> Verdict:
    address = f" {case.status.address}" if case.status.address else ""
    return case.say(Fault.NO_TFTP, f"it has the address{address}, but never asks for a boot file")


def _loading(case: Case) -> Verdict:
    """What stopped the loading."""
    reports = case.all(events.BootFilesServed)
    served = [name for report in reports for name in report.served]
    missing = [name for report in reports for name in report.missing]
    return (
        _aborted(case, served)
        or missing_file(case, needed(served, missing), served + missing)
        or _loaded(case, served, has_reports=bool(reports))
    )


def _aborted(case: Case, served: list[str]) -> Verdict | None:
    """A transfer that ended early, of a file that did not come later."""
    aborted = [one for one in case.all(events.TransferAborted) if one.name not in served]
    if not aborted:
        return None
    last = aborted[-1]
    name = shown(last.name)
    whole = BLOCKS * last.block_bytes
    if last.block >= BLOCKS and last.block % (BLOCKS + 1) == BLOCKS and last.size_bytes > whole:
        sentence = f"{name} has {size(last.size_bytes)}, more than its firmware takes: {size(whole)} in {BLOCKS} blocks"
        return case.say(Fault.FILE_TOO_LARGE, sentence, file=last.name, limit=size(whole))
    of = f" of {last.size_bytes // last.block_bytes + 1}" if last.block_bytes and last.size_bytes else ""
    return case.say(Fault.TFTP_STALLS, f"it stopped loading {name} at block {last.block}{of}: {shown(last.reason)}")


def missing_file(case: Case, names: list[str], asked: list[str]) -> Verdict | None:
    """
    It lacks one of these.

    :param asked: everything that it has asked for.
    """
    if not names:
        return None
    folder = foreign_folder(names, asked)
    if folder:
        name = shown(parts(names[0])[1])
        sentence = f"it asks for its boot files in the folder {shown(folder)}, where {name} is missing"
        return case.say(Fault.WRONG_PREFIX, sentence, prefix=folder)
    bare = list(dict.fromkeys(parts(name)[1] for name in names))
    files = " or ".join(map(shown, bare[:4]))
    sentence = f"its boot files lack {files}, without which {_board(case)} does not start"
    return case.say(Fault.FILE_MISSING, sentence, files=files)


def _board(case: Case) -> str:
    if case.status.model:
        return f"a Pi {shown(case.status.model)}"
    return "a Pi 3" if case.status.stage is Stage.ROM else "this board"


def _loaded(case: Case, served: list[str], *, has_reports: bool) -> Verdict:
    if has_kernel(served):
        sentence = "it has loaded all its boot files, but its kernel never asks for an address"
        return case.say(Fault.KERNEL_SILENT, sentence)
    after = f" after {shown(served[-1])}" if served else ""
    how = "stopped asking for boot files" if has_reports else "began to load its boot files and did not come to an end"
    return case.say(Fault.TFTP_STALLS, f"it {how}{after}")


FIRMWARE_JUDGES: Mapping[Phase, Callable[[Case], Verdict]] = {
    Phase.OFFERED: _offered,
    Phase.LEASED: _leased,
    Phase.LOADING: _loading,
}
