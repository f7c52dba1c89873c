# -*- test-case-name: tests.test_simulator_booting_installer -*-
"""
The initramfs: asks the manager what to do with the card, installs, boots.

Version 2 does what ``install/initram/init`` and ``hello_protocol.sh`` do, word for word and pause for pause: the work
goes on when the conversation breaks, and the next greeting shows the order's token, or the digest of what is on the
card.  Version 1 does what images of 2020 did, their shell trace included.
"""

from calendar import timegm
from collections import deque
from hashlib import sha256
from ipaddress import IPv4Address
from time import strptime

from piman.simulator.booting.alongside import alongside
from piman.simulator.booting.card import Card
from piman.simulator.booting.dhcp_client import Lease
from piman.simulator.booting.http_client import CONNECT_SECONDS, SILENCE_SECONDS, Download, Refused, download
from piman.simulator.booting.journal import Step
from piman.simulator.booting.machine import Machine, Program
from piman.simulator.wiring.faults import NO_DEFECTS, Defects
from piman.simulator.wiring.surroundings import HELLO_PORT, IMAGE_PORT, Closed, Event, Received, Stream
from piman.wire import hello
from piman.wire.layout import MalformedDatagram

LIMIT = 10
"""After so many failures the board restarts."""
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 120.0
AGAIN_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pauses before the manager is called again while the card is being written."""
ANSWER_SECONDS = 600.0
SWITCH_SECONDS = 5.0
"""Version 1 waits so long after the conversation before it switches root."""

SMALLEST_CARD_BYTES = (98_304 + 65_536) * 512
"""What ``hello_protocol.sh`` asks of a card."""

PARTITION_SECONDS = (2.0, 3.0)
FORMAT_SECONDS = (5.0, 15.0)
SYNC_SECONDS = (2.0, 5.0)
"""How long a card takes: nobody on the wire can observe the difference between a fast and a slow one."""

DATE = "busybox date -s "


class Conversation:
    """The lines of the manager that nobody has read yet."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.is_over = False
        self._lines: deque[str] = deque()
        self._rest = b""

    def keep(self, event: Event) -> None:
        """Something happened on its stream."""
        if isinstance(event, Closed):
            self.is_over = True
        elif isinstance(event, Received):
            *lines, self._rest = (self._rest + event.data).split(b"\n")
            self._lines.extend(line.decode("utf-8", "replace").strip() for line in lines)

    def say(self, *lines: str) -> None:
        """Lines of the node."""
        self.stream.write("".join(f"{line}\n" for line in lines).encode())

    def put_back(self, line: str) -> None:
        """Somebody else shall read it."""
        self._lines.appendleft(line)

    def next_line(self, machine: Machine) -> Program[str | None]:
        """The next line; None: the conversation is over, or the manager says nothing for too long."""
        deadline = machine.now() + ANSWER_SECONDS
        while not self._lines and not self.is_over:
            event = yield deadline
            if event is None:
                return None
            if isinstance(event, Received | Closed) and event.stream is self.stream:
                self.keep(event)
        return self._lines.popleft() if self._lines else None


def install(
    machine: Machine,
    card: Card,
    lease: Lease,
    manager: IPv4Address,
    version: int,
    defects: Defects = NO_DEFECTS,
) -> Program[bool]:
    """Call the manager until it says BOOT; False: the board restarts itself."""
    node = Node1(machine, card, lease, manager) if version == 1 else Node2(machine, card, lease, manager, defects)
    pause = FIRST_PAUSE_SECONDS
    machine.journal.enter(Step.GREETING, machine.now())
    for _ in range(LIMIT):
        stream = yield from machine.connect(lease.address, (str(manager), HELLO_PORT), CONNECT_SECONDS)
        if stream is not None:
            try:
                if (yield from node.converse(Conversation(stream))):
                    return True
            finally:
                machine.hang_up(stream)
        machine.journal.trouble = "the conversation with the manager ended without the word to boot"
        machine.journal.resends += 1
        yield from machine.wait(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    return False


def set_clock(machine: Machine, line: str) -> None:
    """Take the manager's date; it says UTC."""
    date = timegm(strptime(line.removeprefix(DATE), "%Y%m%d%H%M.%S"))
    machine.journal.clock_error = date - machine.now()


class Node2:
    """Version 2."""

    def __init__(
        self,
        machine: Machine,
        card: Card,
        lease: Lease,
        manager: IPv4Address,
        defects: Defects = NO_DEFECTS,
    ) -> None:
        self._defects = defects
        self._machine = machine
        self._card = card
        self._lease = lease
        self._manager = manager
        self._clock_is_set = False
        self._calls = 0
        """In vain, since the work's conversation broke off."""
        self._token = ""
        """Of the order that is being carried out, or whose failure the manager has perhaps not heard of."""
        self._last_word = b""
        """What the work said last."""

    def converse(self, talk: Conversation) -> Program[bool]:
        """Greet and obey; whether the manager said BOOT and there is a system to boot."""
        self._greet(talk)
        try:
            while (line := (yield from self._talk.next_line(self._machine))) is not None:
                if line.startswith("FORMAT "):
                    yield from alongside(self._machine, self._format(line), self._keep_talking())
                elif line == "BOOT" and self._card.has_system:
                    return True
                elif line == "BOOT":
                    self._fail("no-system", "the card holds no system that can start: reinstall this node")
                else:
                    self._hear(line)
            return False
        finally:
            self._machine.hang_up(self._talk.stream)

    def _greet(self, talk: Conversation) -> None:
        self._talk = talk
        self._clock_is_set = False
        talk.stream.write(self._greeting().to_wire())

    def _hear(self, line: str) -> None:
        """What the manager says in every conversation."""
        if line.startswith(DATE):
            set_clock(self._machine, line)
            self._clock_is_set = True
        elif line == "WELCOME 2" and self._clock_is_set:
            self._talk.stream.write(hello.ClockTaken().to_wire())
        elif line == "CONTINUE":
            self._calls = 0
            self._talk.stream.write(self._last_word)

    def _keep_talking(self) -> Program[None]:
        """While there is work: hear the manager, and call again when the line breaks; ends when it orders anew."""
        while True:
            line = yield from self._talk.next_line(self._machine)
            if line is not None and line.startswith("FORMAT "):
                self._talk.put_back(line)
                return
            if line is not None:
                self._hear(line)
            elif self._talk.is_over:
                yield from self._call_again()

    def _call_again(self) -> Program[None]:
        machine = self._machine
        machine.hang_up(self._talk.stream)
        yield from machine.wait(AGAIN_SECONDS[min(self._calls, len(AGAIN_SECONDS) - 1)])
        self._calls += 1
        machine.journal.resends += 1
        peer = (str(self._manager), HELLO_PORT)
        stream = yield from machine.connect(self._lease.address, peer, CONNECT_SECONDS)
        if stream is not None:
            self._greet(Conversation(stream))

    def _greeting(self) -> hello.Hello:
        board = self._machine.board
        return hello.Hello(
            mac=board.mac,
            serial=board.serial,
            model=f"Raspberry Pi {board.kind.name}",
            card_bytes=self._card.size_bytes,
            installed=self._card.is_installed,
            digest=self._card.digest if self._card.is_installed else "",
            token=self._token,
        )

    def _say(self, message: hello.Progress | hello.Failed | hello.Formatted) -> None:
        self._last_word = message.to_wire()
        self._talk.stream.write(self._last_word)

    def _progress(self, step: str, fraction: float, text: str) -> None:
        self._say(hello.Progress(step=step, fraction=fraction, text=text))

    def _fail(self, code: str, reason: str, *, fatal: bool = False) -> None:
        self._machine.journal.trouble = reason
        self._say(hello.Failed(code=code, reason=reason, fatal=fatal))

    def _format(self, line: str) -> Program[None]:
        machine = self._machine
        self._token, self._calls = "", 0
        try:
            order = hello.FormatOrder.from_wire(line.encode())
        except MalformedDatagram:
            self._fail("bad-order", "the manager names no image that can be fetched", fatal=True)
            return
        self._token = order.url.partition("token=")[2]
        if self._defects.wrong_card:
            reason = "/dev/mmcblk0 is neither an SD card nor eMMC nor a removable disk: not touched"
            self._fail("wrong-card", reason, fatal=True)
            return
        if self._card.size_bytes < SMALLEST_CARD_BYTES:
            reason = f"the card at /dev/mmcblk0 holds only {self._card.size_bytes} bytes"
            self._fail("card-too-small", reason, fatal=True)
            return
        machine.journal.enter(Step.FORMATTING, machine.now())
        self._progress("partition", 0.0, f"dividing the card of {self._card.size_bytes // 10**6} MB")
        self._card.format()
        yield from machine.pause(machine.between(*PARTITION_SECONDS))
        self._progress("mkfs", 0.0, "making the boot file system")
        yield from machine.pause(machine.between(*FORMAT_SECONDS))
        self._progress("mkfs", 0.5, "making the root file system")
        yield from machine.pause(machine.between(*FORMAT_SECONDS))
        machine.journal.enter(Step.IMAGING, machine.now())
        yield from self._fetch(order)

    def _fetch(self, order: hello.FormatOrder) -> Program[None]:
        machine = self._machine

        def report(offset: int) -> None:
            text = f"{offset // 10**6} of {order.size // 10**6} MB unpacked"
            self._progress("unpack", round(offset / order.size, 2) if order.size else 1.0, text)

        work = Download(order.url, order.sha256, order.size, report)
        try:
            yield from download(machine, self._lease.address, work)
        except Refused as reason:
            self._fail("image-refused", f"cannot install the image: {reason}")
            return
        if not work.is_complete:
            self._fail("image-broken", f"the image ended at byte {work.offset} of {order.size}")
        elif (digest := self._digest_of(work)) != order.sha256:
            self._fail("image-damaged", f"the image is damaged: its SHA-256 is {digest}, not {order.sha256}")
        else:
            self._progress("verify", 1.0, "writing the last data to the card")
            yield from machine.pause(machine.between(*SYNC_SECONDS))
            self._card.keep(order.sha256)
            machine.journal.installations += 1
            self._token = ""
            self._say(hello.Formatted(sha256=order.sha256))

    def _digest_of(self, work: Download) -> str:
        """A board whose memory fails reads something else."""
        return sha256(work.digest.encode()).hexdigest() if self._defects.corrupt_image else work.digest


class Node1:
    """Version 1: a shell with ``set -x`` on the line, no check of what it has fetched."""

    def __init__(self, machine: Machine, card: Card, lease: Lease, manager: IPv4Address) -> None:
        self._machine = machine
        self._card = card
        self._lease = lease
        self._manager = manager

    def converse(self, talk: Conversation) -> Program[bool]:
        """Greet and obey; init switches root whatever happened, if there is something to switch to."""
        talk.say("+ echo Hello World", "Hello World", "MAKING NODES", "+ mknod /dev/null c 1 3", "MADE NODES")
        verdict = "IS_INSTALLED" if self._card.has_system else "IS_UNINSTALLED"
        talk.say("CHECKING IF INSTALLED", "+ mount /dev/mmcblk0p2 /mnt", f"+ echo {verdict}", verdict)
        while (line := (yield from talk.next_line(self._machine))) is not None:
            if line != "EOM":
                talk.say(line)
            if line.startswith(DATE):
                set_clock(self._machine, line)
                talk.say("RECEIVED_DATE", "SET_DATE")
            elif line == "format":
                with self._machine.diverted(talk.stream, talk.keep):
                    yield from self._format(talk)
            elif line == "boot":
                talk.say("RECEIVED_BOOT", "MOUNTING", "FINISHED_MOUNTING")
                break
        self._machine.hang_up(talk.stream)
        yield from self._machine.wait(SWITCH_SECONDS)
        return self._card.has_system

    def _format(self, talk: Conversation) -> Program[None]:
        machine = self._machine
        machine.journal.enter(Step.FORMATTING, machine.now())
        talk.say("RECEIVED_FORMAT", "FORMATTING")
        self._card.format()
        yield from machine.pause(machine.between(*FORMAT_SECONDS))
        talk.say("FINISHED FORMATTING")
        machine.journal.enter(Step.IMAGING, machine.now())
        digest = yield from self._fetch()
        yield from machine.pause(machine.between(*SYNC_SECONDS))
        if digest:
            self._card.keep(digest)
            machine.journal.installations += 1
        talk.say("MOUNTING", "FINISHED_MOUNTING", "IS_FORMATTED")

    def _fetch(self) -> Program[str]:
        """``nc | gunzip | tar``: whatever comes until the end; its digest, empty when nothing came."""
        machine = self._machine
        peer = (str(self._manager), IMAGE_PORT)
        stream = yield from machine.connect(self._lease.address, peer, CONNECT_SECONDS)
        if stream is None:
            return ""
        content, count = sha256(), 0
        try:
            while (event := (yield machine.now() + SILENCE_SECONDS)) is not None:
                if isinstance(event, Closed) and event.stream is stream:
                    break
                if isinstance(event, Received) and event.stream is stream:
                    content.update(event.data)
                    count += len(event.data)
        finally:
            machine.hang_up(stream)
        return content.hexdigest() if count else ""
