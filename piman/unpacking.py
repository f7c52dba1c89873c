# -*- test-case-name: tests.system.test_manager -*-
"""
What the configuration means to each part.
"""

from piman.boot.files import BootFiles
from piman.config import Config
from piman.dhcp import DHCPSettings
from piman.fleet.interfaces import IAddressBook, INeighbours, INodeDirectory
from piman.fleet.state.pool import Pool
from piman.fleet.wording import counted
from piman.host.neighbours import mtu_of
from piman.monitor.poller import PollerSettings
from piman.tftp import TFTPSettings
from piman.words import own_version


def ready_line(config: Config) -> str:
    """What runs now, and where: version, nodes, interface, address, ports."""
    hello = config.hello
    doors = (
        ("DHCP", config.dhcp.port, config.dhcp.enabled),
        ("TFTP", config.tftp.port, config.tftp.enabled),
        ("NTP", config.ntp.port, config.ntp.enabled),
        ("hello", hello.port, hello.enabled),
        ("image", hello.image_port, hello.enabled),
        ("HTTP", hello.http_port, hello.enabled),
        ("web", config.web.port, config.web.enabled and not config.web.endpoint),
        ("Grafana", config.grafana.port, config.grafana.enabled and config.grafana.port is not None),
    )
    ports = ", ".join(f"{name} {port}" for name, port, enabled in doors if enabled)
    nodes = counted(len(config.nodes), "node")
    return f"piman {own_version()} is ready for {nodes} at {config.server_address} on {config.interface}: {ports}"


def image_paths(config: Config) -> dict[str, str]:
    """The image files by name."""
    return {name: str(path) for name, path in config.images.items()}


def pool(config: Config) -> Pool | None:
    """The addresses for boards without a reservation; the server's own is none of them."""
    found = config.dhcp.pool
    if found is None:
        return None
    return Pool(found.first, found.last, excluded=frozenset({config.server_address}))


def dhcp_settings(config: Config) -> DHCPSettings:
    """What the DHCP service is told."""
    wanted = config.dhcp
    return DHCPSettings(
        server_address=config.server_address,
        network=config.subnet,
        port=wanted.port,
        lease_seconds=wanted.lease_seconds,
        unknown_hosts=wanted.unknown_hosts,
        relays=wanted.relays,
        router=wanted.router,
        dns_servers=wanted.dns_servers,
        domain=wanted.domain,
        options=wanted.options,
    )


def tftp_settings(config: Config) -> TFTPSettings:
    """What the TFTP service is told."""
    return TFTPSettings(
        network=config.subnet,
        address=str(config.server_address),
        port=config.tftp.port,
        data_ports=config.tftp.data_ports,
        mtu_bytes=_mtu(config.interface),
    )


def poller_settings(config: Config) -> PollerSettings:
    """How the agents are asked."""
    wanted = config.monitor
    return PollerSettings(
        interval_seconds=wanted.interval_seconds,
        timeout_seconds=wanted.timeout_seconds,
        agent_port=wanted.agent_port,
        misses=wanted.misses,
        concurrency=wanted.concurrency,
    )


def boot_files(config: Config, *, nodes: INodeDirectory, addresses: IAddressBook, neighbours: INeighbours) -> BootFiles:
    """What nodes see of the boot folder."""
    return BootFiles(
        config.boot_dir,
        nodes=nodes,
        addresses=addresses,
        neighbours=neighbours,
        server_address=config.server_address,
        unknown_clients=config.tftp.unknown_clients,
        protected_paths=tuple(config.images.values()),
    )


def _mtu(interface: str) -> int:
    """The largest packet of the interface; Ethernet's when there is none of that name (binding will tell)."""
    try:
        return min(mtu_of(interface), 65_535)
    except OSError:
        return 1500
