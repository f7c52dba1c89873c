"""
What the tests of editing share: a folder with the two files, and a desk over it.
"""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from piman.config import Config, load
from piman.editing.desk import CONFIG, HOSTS_FILE, Desk, Proposal, Verdict, read_proposal
from piman.editing.secrets import Vault
from piman.settings.sections import Document

YAML = """\
# The rack in the cellar.

private_number: 4        # VLAN
server_address: 172.30.4.1
subnet_mask: '255.255.255.0'
interface:   eth0

switches:
  # the old one
  - switch_address: 172.30.4.254
    name: rack-a    # left
    snmp:
      community: hunter2-private   # secret
    pi_addresses:
      - 172.30.4.13
      - 172.30.4.14   # to be replaced
    ports: {1: 172.30.4.13,  2: 172.30.4.14}

  - swtich_1_address: 172.30.4.253
    pi_addresses: [172.30.4.20]

dhcp:
  # long leases
  lease_seconds: 3600
  pool: 172.30.4.100-172.30.4.199

# end
"""
HOSTS = """\
# MAC;IP;hostname;last_used
B8:27:EB:00:00:0D; 172.30.4.13 ;pi13;1700000000
dc-a6-32-00-00-0e;172.30.4.14;pi14

nonsense;1.2.3.4
"""
NOW = 1_750_000_000.0
SECRET = "hunter2-private"


class AtADesk(SynchronousTestCase):
    """A desk over two files."""

    yaml: str | None = YAML
    hosts: str | None = HOSTS

    def setUp(self) -> None:
        """Write them."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path, self.hosts_path = self.folder / "piman.yaml", self.folder / "hosts.csv"
        if self.yaml is not None:
            self.path.write_text(self.yaml)
        if self.hosts is not None:
            self.hosts_path.write_text(self.hosts)
        self.config: Config | None = None
        self.desk = self.make_desk()

    def make_desk(self, key: bytes = b"k" * 32, hosts: Path | None = None) -> Desk:
        """A desk, as after a start."""
        return Desk(
            self.path,
            load=load,
            vault=Vault(key, Document),
            in_force=lambda: self.config,
            now=lambda: NOW,
            hosts=hosts,
        )

    def change(self, *changes: tuple[Any, ...], base: str | None = None) -> Proposal:
        """A proposal of ``(what, path, value)``."""
        found = [dict(zip(("what", "path", "value"), each, strict=False)) for each in changes]
        return read_proposal(CONFIG, {"changes": found} | ({} if base is None else {"base": base}))

    def rows(self, *changes: dict[str, Any]) -> Proposal:
        """A proposal for rows."""
        return read_proposal(HOSTS_FILE, {"changes": list(changes)})

    def keep(self, kind: str, proposal: Proposal) -> Verdict:
        """Write a proposal down."""
        return self.desk.keep(kind, proposal, self.desk.digest(kind))
