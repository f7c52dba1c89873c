# -*- test-case-name: tests.test_simulator_booting_machine -*-
"""
What a virtual board experiences, written down by itself: the steps of its boots, what it was told, what it loaded.
"""

from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address

import attrs

from piman.fleet.model import Stage


class Step(Enum):
    """Where a board is on its way from dark to up, as the board sees it."""

    DARK = "dark"
    FIRMWARE = "firmware"
    ADDRESS = "address"
    """Its boot loader asks for an address."""
    LOADING = "loading"
    KERNEL = "kernel"
    """Linux starts and asks for an address."""
    GREETING = "greeting"
    """The initramfs calls the manager."""
    FORMATTING = "formatting"
    IMAGING = "imaging"
    BOOTING = "booting"
    """The installed system starts and asks for an address."""
    UP = "up"
    HUNG = "hung"
    """Nothing but a power cycle helps."""


STEPS = (
    Step.FIRMWARE,
    Step.ADDRESS,
    Step.LOADING,
    Step.KERNEL,
    Step.GREETING,
    Step.FORMATTING,
    Step.IMAGING,
    Step.BOOTING,
)
"""Those that take time, in order."""


@attrs.frozen(kw_only=True)
class Told:
    """A DHCP server gave the board an address: an OFFER that is a lease already, or an ACK."""

    time: float
    stage: Stage
    address: IPv4Address
    server: IPv4Address
    lease_seconds: float


@attrs.define(kw_only=True)
class Journal:
    """
    What happened to one board since the rack was built.

    :ivar watch: called after each new step; must not switch the board off before it returns.
    :ivar check: whether a file that was loaded, named without the board's prefix, has the right content.
    :ivar steps: every step and when it began, through all boots.
    :ivar boots: how often power came on.
    :ivar retries: how often the firmware, or the initramfs by a restart, began anew by itself.
    :ivar files: boot files read to their end.
    :ivar missing: names that the server did not have.
    :ivar resends: datagrams that had to be sent again.
    :ivar installations: images that were put on the card and verified.
    :ivar hangs: why it hung, each time.
    :ivar mistakes: exceptions in the board's own programs: the simulator is wrong, not the manager.
    :ivar clock_error: by how much the board's own clock was off after the manager had set it.
    """

    watch: Callable[["Journal"], None] = lambda journal: None
    check: Callable[[str, bytes], bool] = lambda name, content: True
    steps: list[tuple[Step, float]] = attrs.Factory(list)
    told: list[Told] = attrs.Factory(list)
    boots: int = 0
    retries: int = 0
    files: int = 0
    loaded_bytes: int = 0
    missing: list[str] = attrs.Factory(list)
    damaged: list[str] = attrs.Factory(list)
    resends: int = 0
    installations: int = 0
    hangs: list[str] = attrs.Factory(list)
    mistakes: int = 0
    clock_error: float | None = None
    trouble: str = ""
    """Why it hung, or what went wrong last, in plain words."""

    @property
    def step(self) -> Step:
        """Where the board is now."""
        return self.steps[-1][0] if self.steps else Step.DARK

    @property
    def since(self) -> float:
        """When the step began."""
        return self.steps[-1][1] if self.steps else 0.0

    def enter(self, step: Step, now: float) -> None:
        """A step begins; to go on in the same one is no news."""
        if step is not self.step or not self.steps:
            self.steps.append((step, now))
            self.watch(self)

    def seconds_in_steps(self) -> dict[Step, float]:
        """How long each step of the last boot that led to "up" took; steps taken twice are added up."""
        seconds: dict[Step, float] = {}
        for (step, begin), (_, end) in zip(self.steps, self.steps[1:], strict=False):
            if step is Step.DARK:
                seconds.clear()
            else:
                seconds[step] = seconds.get(step, 0.0) + end - begin
        return seconds

    def loaded(self, name: str, content: bytes) -> None:
        """A boot file was read to its end."""
        self.files += 1
        self.loaded_bytes += len(content)
        if not self.check(name, content):
            self.damaged.append(name)

    @property
    def address(self) -> IPv4Address | None:
        """The address that the board was given last."""
        return self.told[-1].address if self.told else None
