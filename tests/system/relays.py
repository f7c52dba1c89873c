"""
A kind of power switch for tests: relays that are files in a folder, as a plugin of somebody else would come.

Copied to ``piman/plugins`` in a folder on PYTHONPATH.  A file ``N`` in the folder: port N is off.  A file ``deaf``:
orders are accepted and not obeyed.  ``N.macs``: the boards learned at port N, one a line.  ``log``: every order.
"""

from pathlib import Path

import attrs
from twisted.internet.defer import fail, succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from piman.fleet.interfaces import AmbiguousPort, IPowerSwitch, IPowerSwitchKind, NoSuchPort, PowerNotObeyed
from piman.fleet.model import MACAddress, PortPower

PORTS = range(1, 9)


@implementer(IPowerSwitch)
@attrs.frozen
class Relays:
    """Eight of them."""

    folder: Path
    label: str

    def turn_on(self, port):
        """Close the relay."""
        return self._order(port, "on")

    def turn_off(self, port):
        """Open it."""
        return self._order(port, "off")

    def _order(self, port, order):
        if port not in PORTS:
            return fail(NoSuchPort(f"{self.label} has no port {port}.", "Name one from 1 to 8."))
        with (self.folder / "log").open("a") as log:
            log.write(f"{order} {port}\n")
        if (self.folder / "deaf").exists():
            return fail(PowerNotObeyed(f"{self.label} port {port} was ordered {order} and is not.", "Look at it."))
        relay = self.folder / str(port)
        if order == "off":
            relay.touch()
        else:
            relay.unlink(missing_ok=True)
        return succeed(None)

    def _power(self, port):
        on = not (self.folder / str(port)).exists()
        return PortPower(port=port, admin_on=on, delivering=on, state="delivering" if on else "disabled")

    def read(self, port):
        """How it is."""
        if port not in PORTS:
            return fail(NoSuchPort(f"{self.label} has no port {port}.", "Name one from 1 to 8."))
        return succeed(self._power(port))

    def ports(self):
        """All of them."""
        return succeed([self._power(port) for port in PORTS])

    def budget(self):
        """It does not tell."""
        return succeed(None)

    def locate(self, mac):
        """Where the files say that it was learned."""
        found = [port for port, macs in self._learned().items() if mac in macs]
        if any(len(self._learned()[port]) > 1 for port in found):
            return fail(AmbiguousPort(f"{self.label} sees {mac} among others.", ports=found))
        return succeed(found[0] if found else None)

    def learned(self):
        """What the files say."""
        return succeed(self._learned())

    def _learned(self):
        found = {}
        for port in PORTS:
            path = self.folder / f"{port}.macs"
            if path.exists():
                found[port] = frozenset(map(MACAddress.parse, path.read_text().split()))
        return found


@implementer(IPlugin, IPowerSwitchKind)
class RelaysKind:
    """``power: {kind: relays, folder: PATH}``"""

    name = "relays"

    def parse(self, settings):
        """The folder."""
        return Path(settings["folder"])

    def share(self, reactor):
        """Nothing is shared."""

    def make(self, settings, context):
        """A switch."""
        return Relays(settings, context.label)


relays = RelaysKind()
