"""
DHCP clients that nobody here wrote get their addresses from the real manager: busybox udhcpc, ISC dhclient, dhcpcd.
"""

import json
import os
import signal
import subprocess
from ipaddress import IPv4Interface
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.system import namespaces
from tests.system.manager import Manager
from tests.system.namespaces import Lab, Namespace

NOBODY_HERE = "B8:27:EB:FF:FF:FE;172.30.4.77;somebody-else;0\n"
"""A hosts.csv that names none of the boards; an empty one would be refused at SIGHUP."""
PIMAN_YAML = f"""
private_number: 4
server_address: 172.30.4.1
subnet_mask: 255.255.255.0
interface: {namespaces.MANAGER_INTERFACE}
switches: []
dhcp:
  lease_seconds: 600
  dns_servers: [172.30.4.1]
  domain: lab
  unknown_hosts: {{unknown}}
  pool: {{pool}}
tftp: {{{{enabled: false}}}}
ntp: {{{{enabled: false}}}}
monitor: {{{{enabled: false}}}}
"""

HOSTS = """\
B8:27:EB:00:00:01;172.30.4.11;pi11;0
B8:27:EB:00:00:02;172.30.4.12;pi12;0
"""

OWN_FOLDERS = "mount -t tmpfs none /run && mkdir -p /var/lib/dhcpcd && mount -t tmpfs none /var/lib/dhcpcd"
"""dhcpcd keeps its state there, whatever the network namespace."""

UDHCPC_SCRIPT = """\
#!/bin/sh
env | grep -E '^(ip|subnet|router|dns|domain|hostname|ntpsrv|lease|siaddr|serverid|interface)=' >>{folder}/$1.txt
case $1 in
bound|renew) ip address flush dev $interface; ip address add $ip/24 dev $interface;;
esac
"""

DHCLIENT_SCRIPT = """\
#!/bin/sh
env | grep -E '^(reason|new_|old_)' >>{folder}/dhclient.txt
case $reason in
BOUND|RENEW|REBIND|REBOOT) ip address flush dev $interface; ip address add $new_ip_address/24 dev $interface;;
esac
"""


def _script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


class WithManager(SynchronousTestCase):
    """A manager and three clients on one Ethernet."""

    unknown_hosts = "deny"
    pool = "172.30.4.100-172.30.4.109"

    def setUp(self) -> None:
        """Start the manager in its namespace."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "install/boot").mkdir(parents=True)
        (self.folder / "piman.yaml").write_text(PIMAN_YAML.format(unknown=self.unknown_hosts, pool=self.pool))
        (self.folder / "hosts.csv").write_text(HOSTS)
        self.lab = Lab(clients=3, addressed=False)
        self.addCleanup(self.lab.close)
        self.manager = Manager(self.folder, tuple(self.lab.manager.command()))
        self.addCleanup(self.manager.stop)
        self.prepare()
        self.manager.start()

    def prepare(self) -> None:
        """What there is before the manager starts."""

    def reload(self) -> None:
        """Let the manager read its files again."""
        assert self.manager.process is not None
        before = len(self.manager.events("ConfigurationReloaded"))
        os.kill(self.manager.process.pid, signal.SIGHUP)
        self.manager.wait_for(lambda: len(self.manager.events("ConfigurationReloaded")) > before, 10, "the reload")

    def udhcpc(self, client: Namespace, *options: str) -> "subprocess.CompletedProcess[str]":
        """busybox udhcpc, in the foreground, until it has a lease."""
        script = _script(self.folder / "udhcpc.script", UDHCPC_SCRIPT.format(folder=self.folder))
        tries = ("-t", "5", "-T", "2")
        return client.run("busybox", "udhcpc", "-f", "-n", "-i", client.interface, "-s", script, *tries, *options)

    def granted(self, client: Namespace) -> list[str]:
        """The addresses that the manager says it leased to a client, in order."""
        leases = self.manager.events("AddressLeased")
        return [lease["address"] for lease in leases if lease["mac"] == client.mac]


class UdhcpcTests(WithManager):
    """busybox udhcpc: what an initramfs uses."""

    skip = namespaces.unavailable("busybox")

    def test_reservation(self) -> None:
        """The board gets the address of its row, with mask, router, DNS, domain, hostname and NTP server."""
        done = self.udhcpc(self.lab.clients[0], "-q", "-O", "ntpsrv", "-O", "hostname")
        self.assertEqual(done.returncode, 0, done.stdout)
        seen = dict(line.split("=", 1) for line in (self.folder / "bound.txt").read_text().splitlines())
        wanted = {
            "ip": "172.30.4.11",
            "subnet": "255.255.255.0",
            "router": "172.30.4.1",
            "dns": "172.30.4.1",
            "domain": "lab",
            "hostname": "pi11",
            "ntpsrv": "172.30.4.1",
            "lease": "600",
            "serverid": "172.30.4.1",
            "siaddr": "172.30.4.1",
        }
        self.assertEqual({key: seen.get(key) for key in wanted}, wanted)

    def test_stranger(self) -> None:
        """A board that hosts.csv does not name gets nothing, and the manager says that it was seen."""
        done = self.udhcpc(self.lab.clients[2], "-q", "-t", "2", "-T", "1")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.manager.wait_for(
            lambda: [event["mac"] for event in self.manager.events("StrangerSeen")] == [self.lab.clients[2].mac],
            10,
            "one StrangerSeen",
        )

    def test_release_on_exit(self) -> None:
        """``-R`` releases at exit: the manager takes the address back."""
        client = self.lab.clients[0]
        script = _script(self.folder / "udhcpc.script", UDHCPC_SCRIPT.format(folder=self.folder))
        process = client.start("busybox", "udhcpc", "-f", "-R", "-i", client.interface, "-s", script)
        self.manager.wait_for(lambda: self.granted(client), 20, "the lease")
        self.manager.wait_for((self.folder / "bound.txt").exists, 20, "udhcpc to be bound")
        process.terminate()
        process.wait(10)
        self.manager.wait_for(lambda: self.manager.events("AddressReleased"), 10, "the release")


class PoolTests(WithManager):
    """``unknown_hosts: allow``: strangers live in the pool."""

    unknown_hosts = "allow"
    skip = namespaces.unavailable("busybox")

    def test_pool(self) -> None:
        """A stranger gets an address of the pool, and the same one again."""
        client = self.lab.clients[2]
        for _ in range(2):
            done = self.udhcpc(client, "-q")
            self.assertEqual(done.returncode, 0, done.stdout)
        self.manager.wait_for(lambda: len(self.granted(client)) == 2, 10, "two leases")
        first, second = self.granted(client)
        self.assertEqual(first, second)
        self.assertIn(int(first.rsplit(".", 1)[1]), range(100, 110))

    def test_survives_kill(self) -> None:
        """A pool address is its holder's also after kill -9: another board that asks for it gets another one."""
        first, second = self.lab.clients[2], self.lab.clients[1]
        self.assertEqual(self.udhcpc(first, "-q").returncode, 0)
        self.manager.wait_for(lambda: self.granted(first), 10, "the lease")
        (address,) = self.granted(first)
        self.manager.kill()
        (self.folder / "hosts.csv").write_text(NOBODY_HERE)  # the second board lives in the pool now, too
        self.manager.start()
        self.assertEqual(self.udhcpc(second, "-q", "-r", address).returncode, 0)
        self.assertEqual(self.udhcpc(first, "-q").returncode, 0)
        self.manager.wait_for(lambda: self.granted(second) and len(self.granted(first)) == 2, 10, "two more leases")
        self.assertEqual(self.granted(first), [address, address])
        self.assertNotEqual(self.granted(second), [address])


class PoolReloadTests(WithManager):
    """``dhcp.pool`` changes while the manager runs."""

    unknown_hosts = "allow"
    skip = namespaces.unavailable("busybox")

    def test_reload(self) -> None:
        """After SIGHUP strangers get addresses of the new pool, also the one that had an address of the old one."""
        first, second = self.lab.clients[2], self.lab.clients[1]
        (self.folder / "hosts.csv").write_text(NOBODY_HERE)
        self.reload()
        self.assertEqual(self.udhcpc(first, "-q").returncode, 0)
        configuration = self.folder / "piman.yaml"
        configuration.write_text(configuration.read_text().replace(self.pool, "172.30.4.150-172.30.4.159"))
        self.reload()
        self.assertNotIn("next start", str(self.manager.events("ConfigurationReloaded")[-1]["warnings"]))
        self.assertEqual(self.udhcpc(second, "-q").returncode, 0)
        self.assertEqual(self.udhcpc(first, "-q").returncode, 0)
        self.manager.wait_for(lambda: len(self.granted(first)) == 2 and self.granted(second), 10, "two more leases")
        old, *new = [int(address.rsplit(".", 1)[1]) for address in (*self.granted(first), *self.granted(second))]
        self.assertIn(old, range(100, 110))
        self.assertTrue(set(new) <= set(range(150, 160)) and len(set(new)) == 2, new)


class ProbeTests(WithManager):
    """Somebody sits on an address of the pool."""

    unknown_hosts = "allow"
    skip = namespaces.unavailable("busybox")
    pool = "172.30.4.100-172.30.4.102"

    def prepare(self) -> None:
        """The third client has a static address in the pool before the manager comes."""
        self.lab.clients[2].assign(IPv4Interface("172.30.4.100/24"))
        (self.folder / "hosts.csv").write_text(NOBODY_HERE)

    def occupied(self) -> dict[str, str]:
        """Who the manager says sits on which address."""
        return {event["address"]: event["holder"] for event in self.manager.events("AddressOccupied")}

    def test_static_host(self) -> None:
        """A foreign host's address is offered to nobody, also when asked for; the event names the host."""
        foreign = self.lab.clients[2]
        for client in self.lab.clients[:2]:
            done = self.udhcpc(client, "-q", "-r", "172.30.4.100")
            self.assertEqual(done.returncode, 0, done.stdout)
        self.manager.wait_for(lambda: len(self.manager.events("AddressLeased")) == 2, 10, "two leases")
        leased = {event["address"] for event in self.manager.events("AddressLeased")}
        self.assertEqual(leased, {"172.30.4.101", "172.30.4.102"})
        self.assertEqual(self.occupied(), {"172.30.4.100": foreign.mac})
        self.assertEqual(self.manager.events("PoolExhausted"), [])

    def test_lost_state(self) -> None:
        """After state.db is lost the first client's address is not given to the second, and the first one keeps it."""
        first, second, foreign = self.lab.clients
        self.assertEqual(self.udhcpc(first, "-q").returncode, 0)
        self.manager.wait_for(lambda: self.granted(first), 10, "the lease")
        [address] = self.granted(first)
        self.manager.kill()
        for path in (self.folder / "state").glob("state.db*"):
            path.unlink()
        self.manager.start()
        done = self.udhcpc(second, "-q", "-r", address)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.manager.wait_for(lambda: self.granted(second), 10, "the second lease")
        self.assertNotIn(self.granted(second)[0], (address, "172.30.4.100"))
        self.assertEqual(self.occupied(), {address: first.mac, "172.30.4.100": foreign.mac})
        done = self.udhcpc(first, "-q", "-r", address)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.manager.wait_for(lambda: len(self.granted(first)) == 2, 10, "the first lease again")
        self.assertEqual(self.granted(first), [address, address])


class DhclientTests(WithManager):
    """ISC dhclient: DISCOVER to ACK, and INIT-REBOOT from its own lease file."""

    skip = namespaces.unavailable("dhclient")

    def dhclient(self, client: Namespace) -> None:
        """Run it once in the foreground until it has a lease, then end it without a release."""
        script = _script(self.folder / "dhclient.script", DHCLIENT_SCRIPT.format(folder=self.folder))
        process = client.start(
            *("dhclient", "-4", "-d", "-sf", script, "-lf", str(self.folder / "dhclient.leases")),
            *("-pf", str(self.folder / "dhclient.pid"), client.interface),
        )
        before = len(self.granted(client))
        self.manager.wait_for(lambda: len(self.granted(client)) > before, 30, "a lease of dhclient")
        leases = self.folder / "dhclient.leases"
        self.manager.wait_for(lambda: leases.exists() and "fixed-address" in leases.read_text(), 10, "its lease file")
        process.terminate()
        process.wait(10)

    def test_lease_and_reboot(self) -> None:
        """It is bound to its reservation; started again it asks for that address (INIT-REBOOT) and keeps it."""
        client = self.lab.clients[0]
        self.dhclient(client)
        self.dhclient(client)
        self.assertEqual(self.granted(client), ["172.30.4.11", "172.30.4.11"])
        reasons = (self.folder / "dhclient.txt").read_text()
        self.assertIn("reason=BOUND", reasons)
        self.assertIn("new_domain_name=lab", reasons)

    def test_moved_reservation(self) -> None:
        """After its row was changed (SIGHUP), INIT-REBOOT with the old address gets a NAK and then the new one."""
        client = self.lab.clients[0]
        self.dhclient(client)
        (self.folder / "hosts.csv").write_text(HOSTS.replace("172.30.4.11", "172.30.4.21"))
        self.reload()
        self.dhclient(client)
        self.assertEqual(self.granted(client), ["172.30.4.11", "172.30.4.21"])
        self.assertEqual([event["address"] for event in self.manager.events("AddressRefused")], ["172.30.4.11"])


class DhcpcdTests(WithManager):
    """dhcpcd, which Raspberry Pi OS used for years."""

    skip = namespaces.unavailable("dhcpcd")

    def test_lease(self) -> None:
        """It gets the reservation, and checks it with ARP before it uses it."""
        client = self.lab.clients[1]
        configuration = self.folder / "dhcpcd.conf"
        configuration.write_text("ipv4only\nnohook resolv.conf, timesyncd, ntp\noption ntp_servers\n")
        command = f"dhcpcd -B -f {configuration} -4 {client.interface}"
        client.start("unshare", "-m", "sh", "-c", f"{OWN_FOLDERS} && exec {command}")
        self.manager.wait_for(lambda: self.granted(client), 30, "a lease of dhcpcd")
        self.manager.wait_for(lambda: "172.30.4.12/" in self.addresses(client), 30, "dhcpcd to use it")
        self.assertEqual(self.granted(client), ["172.30.4.12"])

    def addresses(self, client: Namespace) -> str:
        """What ``ip`` says of the client's interface."""
        shown = client.run("ip", "-j", "-4", "address", "show", "dev", client.interface).stdout
        return " ".join(f"{one['local']}/" for link in json.loads(shown) for one in link.get("addr_info", []))
