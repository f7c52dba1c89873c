# -*- test-case-name: tests.test_ctl_imports -*-
"""
``piman import-image``: a downloaded image becomes a root file system and boot files that piman can serve.

Needs no manager: it only writes into the folder for images, and into ``boot_dir`` when it is told to.  ``piman.yaml``
is never written; the line that belongs there is printed.
"""

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage

from piman.ctl.options import AnyOrder
from piman.fleet.wording import counted, size
from piman.importing.bootfiles import apply_boot_plan, plan_boot_files
from piman.importing.images import Order, import_image
from piman.importing.manifest import Manifest
from piman.importing.programs import Programs
from piman.importing.progress import Progress
from piman.importing.refusal import ImportRefused
from piman.words import Answer, Words

EXIT_DONE, EXIT_FAILED = 0, 1
LINE_COLUMNS = 40
_ENDINGS = re.compile(r"(\.img)?(\.xz|\.gz|\.zip)?$")


class ImportImageOptions(Words, AnyOrder):
    """``piman import-image``"""

    command = "piman import-image"
    synopsis = "FILE.img[.xz|.gz|.zip] [options]"
    longdesc = (
        "Turns a downloaded Raspberry Pi OS image into what piman serves: NAME.tgz, the root file system, and the "
        "folder NAME.boot with the boot files.  Needs no root and no manager.  Interrupted, say the same again and it "
        "goes on."
    )
    examples = (
        "  piman import-image 2024-11-19-raspios-bookworm-arm64-lite.img.xz --name lite\n"
        "  piman import-image golden.img --boot-dir install/boot    and bring its boot files into boot_dir\n"
    )
    optParameters = [
        ["name", "n", None, "What the image is called (default: the name of the file)"],
        ["directory", "d", "images", "The folder for images"],
        ["boot-dir", "b", None, "Bring the boot files into this folder, too; files of yours that differ stay"],
    ]
    optFlags = [
        ["replace", None, "Replace an image of this name, and files in --boot-dir that differ (those are kept aside)"],
        ["json", None, "JSON for programs"],
    ]

    def parseArgs(self, *files: str) -> None:
        """One file."""
        if len(files) != 1:
            raise usage.UsageError(f"found {counted(len(files), 'file')}, expected one image, like raspios.img.xz")
        self["file"] = Path(files[0])

    def postOptions(self) -> None:
        """The name, from the file's unless it is given."""
        if not self["name"]:
            self["name"] = name_of(self["file"])


def name_of(file: Path) -> str:
    """What an image is called when nobody says: the file's name without endings, in letters that a name may have."""
    return re.sub(r"[^a-z0-9._-]+", "-", _ENDINGS.sub("", file.name.lower())).strip("-._") or "image"


class _Interrupted(Exception):
    """The operator does not want to wait any longer."""


def import_word(reactor: Any, options: ImportImageOptions, answer: Answer) -> "Deferred[int]":
    """Import in a thread; Ctrl-C ends it at its next step, and what was done stays for the next call."""
    stopping = Event()

    def report(progress: Progress) -> None:
        if stopping.is_set():
            raise _Interrupted
        reactor.callFromThread(tell, progress)

    tell = _teller(sys.stderr.write, is_live=sys.stderr.isatty())
    order = Order(
        source=options["file"],
        name=options["name"],
        images_dir=Path(options["directory"]),
        replace=bool(options["replace"]),
    )

    def finish(outcome: tuple[int, str]) -> int:
        status, text = outcome
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{'':<{LINE_COLUMNS}}\r")
        if status == EXIT_DONE:
            answer.write(f"{text}\n")
        else:
            print(f"piman import-image: {text}", file=sys.stderr)
        return status

    done: Deferred[int] = Deferred(lambda _: stopping.set())
    threads = reactor.getThreadPool()
    working: Deferred[Any] = deferToThreadPool(reactor, threads, lambda: _import(order, options, report))
    working.addCallback(finish)
    working.addErrback(lambda failure: failure.trap(_Interrupted) and EXIT_FAILED)
    working.addBoth(done.callback)
    return done


def _import(order: Order, options: ImportImageOptions, report: Callable[[Progress], None]) -> tuple[int, str]:
    """The exit status, and what is to be said; in a thread."""
    try:
        manifest = import_image(order, programs=Programs(), now=datetime.now(UTC), report=report)
        said = _bring_boot_files(manifest, options)
    except ImportRefused as refusal:
        return EXIT_FAILED, str(refusal)
    except OSError as reason:
        return EXIT_FAILED, f"{reason}; what was done so far is kept, say the same again"
    if options["json"]:
        told = {**json.loads(manifest.to_json()), "path": str(manifest.path), "yaml": manifest.yaml_line}
        return EXIT_DONE, json.dumps(told, indent=1)
    return EXIT_DONE, "\n".join((*_lines(manifest), *said))


def _bring_boot_files(manifest: Manifest, options: ImportImageOptions) -> list[str]:
    if options["boot-dir"] is None:
        return [f"boot files: {manifest.boot_folder}; --boot-dir FOLDER brings them into boot_dir"]
    boot_dir = Path(options["boot-dir"])
    plan = plan_boot_files(manifest.boot_folder, boot_dir)
    aside = boot_dir.with_name(f"{boot_dir.name}.replaced")
    done = apply_boot_plan(plan, aside=aside, replace=bool(options["replace"]))
    copied = counted(len(done.copied), "file")
    said = [f"boot files: {copied} copied to {boot_dir}, {len(plan.same)} were there already"]
    if done.kept:
        said.append(f"yours stayed: {', '.join(done.kept)}; --replace takes the image's and keeps yours in {aside}")
    if done.replaced:
        said.append(f"yours are in {aside} now: {', '.join(done.replaced)}")
    return said


def _lines(manifest: Manifest) -> list[str]:
    return [
        f"{manifest.path}: {size(manifest.size_bytes)}, {counted(manifest.entries, 'file')}; "
        f"a card needs {size(manifest.content_bytes)} at least",
        f"sha256 {manifest.sha256}",
        *manifest.notes,
        f"For piman.yaml, then kill -HUP the manager:  {manifest.yaml_line}",
    ]


def _teller(write: Callable[[str], object], *, is_live: bool) -> Callable[[Progress], None]:
    """Tells progress: a line that is written over on a terminal, one line a step elsewhere."""
    told: list[str] = []

    def tell(progress: Progress) -> None:
        share = f" {progress.done_bytes / progress.total_bytes:4.0%}" if progress.total_bytes else ""
        text = f"{progress.step}{' (done before)' if progress.reused else share if is_live else ''}"
        if told[-1:] == [text]:
            return
        told[:] = [text]
        write(f"\r{text:<{LINE_COLUMNS}}" if is_live else f"{text}\n")

    return tell
