"""
Boards of shell and foreign programs on the ports of an ``snmpd`` switch: dark when their port is off.

A boot is: the DISCOVER of a Pi 3B's mask ROM (tests/captures), bootcode.bin by busybox ``tftp``, an address by busybox
``udhcpc`` as in an initramfs, the words of the deployed installers (tests.system.test_hello_shell), and in the end ISC
``dhclient`` as the installed system's.  A folder is the card.  Each lives in a network namespace of its own, which
needs a manager at 172.30.4.1.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.captures import dhcp
from tests.system.namespaces import Namespace
from tests.system.snmpd_lab import ADMIN, SnmpdLab
from tests.system.test_hello_shell import SCRIPT

PROGRAMS = ("busybox", "dhclient")
LOOK_SECONDS = 0.05
OFF = 2

_CHADDR = slice(28, 34)
"""Of a DHCP message (RFC 2131, section 2)."""

_FIRMWARE = """\
import socket, sys
ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ask.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
ask.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
ask.bind(("", 68))
ask.settimeout(5)
offer = b""
while not offer:
    ask.sendto(open(sys.argv[1], "rb").read(), ("255.255.255.255", 67))
    try:
        offer = ask.recv(2048)
    except TimeoutError:
        pass
"""

_UDHCPC = """\
#!/bin/sh
case $1 in
bound | renew) ip address flush dev $interface; ip address add $ip/24 dev $interface ;;
esac
"""

_DHCLIENT = """\
#!/bin/sh
case $reason in
BOUND | RENEW | REBIND | REBOOT)
    ip address flush dev $interface; ip address add $new_ip_address/24 dev $interface ;;
esac
"""

_BOOT = """\
#!/bin/sh
set -eux
cd "$FOLDER"
ip address flush dev eth0
ip address add "$ADDRESS/24" dev eth0  # the OFFER goes to this address already, and a mask ROM needs no more
"$PYTHON" firmware.py discover
busybox tftp -g -l loaded -r bootcode.bin "$MASTER"
ip address flush dev eth0
busybox udhcpc -f -q -n -t 20 -T 1 -i eth0 -s ./udhcpc.script
busybox nc "$MASTER" 3333 -e ./hello_protocol.sh
test -d card/bin
echo up >>boots
rm -f dhclient.leases
exec dhclient -4 -d -sf "$FOLDER/dhclient.script" -lf "$FOLDER/dhclient.leases" -pf "$FOLDER/dhclient.pid" eth0
"""


class ShellBoard:
    """
    One board.

    :param folder: its files; ``card`` in there is what it keeps when it is dark.
    :param address: what hosts.csv gives it.
    """

    def __init__(self, namespace: Namespace, folder: Path, address: str) -> None:
        self.mac = namespace.mac
        self.folder = folder.resolve()
        self.powered = 0
        """How often it was given power."""
        self._namespace = namespace
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "card").mkdir(parents=True)
        discover = bytearray(dhcp.DISCOVER_3B_MASK_ROM)
        discover[_CHADDR] = bytes.fromhex(self.mac.replace(":", ""))
        (self.folder / "discover").write_bytes(discover)
        (self.folder / "firmware.py").write_text(_FIRMWARE)
        scripts = {"boot": _BOOT, "udhcpc.script": _UDHCPC, "dhclient.script": _DHCLIENT, "hello_protocol.sh": SCRIPT}
        for name, text in scripts.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    @property
    def log(self) -> str:
        """What its programs have printed."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def boots(self) -> int:
        """How often its installed system was started."""
        path = self.folder / "boots"
        return len(path.read_text().split()) if path.exists() else 0

    def power_on(self) -> None:
        """Begin a boot."""
        self.powered += 1
        variables = {
            **os.environ,
            "PYTHON": sys.executable,
            "FOLDER": str(self.folder),
            "ADDRESS": self._address,
            "MASTER": "172.30.4.1",
            "IMAGE_PORT": "4444",
            "CARD": str(self.folder / "card"),
            "GENERATION": "4",
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._namespace.command(str(self.folder / "boot")),
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def power_off(self) -> None:
        """All of its programs are gone at once; harmless twice."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


class Cables:
    """
    What hangs on the ports of a switch gets power and loses it with them.

    :param boards: by port.
    """

    def __init__(self, lab: SnmpdLab, boards: dict[int, ShellBoard]) -> None:
        self._lab = lab
        self._boards = boards
        self._is_on = dict.fromkeys(boards, False)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for port, board in self._boards.items():
                is_on = self._lab.value(f"{ADMIN}.1.{port}") != OFF
                if is_on is not self._is_on[port]:
                    self._is_on[port] = is_on
                    (board.power_on if is_on else board.power_off)()

    def close(self) -> None:
        """Pull them all."""
        self._ended.set()
        self._thread.join(60)
        for board in self._boards.values():
            board.power_off()
