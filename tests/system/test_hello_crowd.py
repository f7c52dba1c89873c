"""
A manager with few file descriptors, and a crowd of strangers that says nothing: nodes are served all the same.

The manager is a real process under ``ulimit -n 256``; each stranger has an address of its own in 127/8.
"""

import os
import socket
import sqlite3
import time
from ipaddress import IPv4Address

from tests.system.manager import Manager
from tests.system.test_manager import _InFolder

DESCRIPTORS = 256
CROWD = 400
NODE = "127.77.0.11"
MAC = bytes.fromhex("b827eb000001")


class CrowdTests(_InFolder):
    """One manager, one node with a lease, four hundred strangers."""

    def setUp(self) -> None:
        """The manager starts once to make its database, gets the node's lease, and starts with few descriptors."""
        super().setUp()
        self.manager.start()
        self.manager.stop()
        with sqlite3.connect(self.folder / "state" / "state.db") as database:
            lease = (int(IPv4Address(NODE)), MAC, "bound", time.time() + 3600, "os")
            database.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?)", lease)
        database.close()
        self.manager = Manager(self.folder, ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh"))
        self.addCleanup(self.manager.stop)
        self.manager.start()

    def connect(self, source: str, port: str) -> socket.socket:
        """Somebody calls."""
        caller = socket.socket()
        self.addCleanup(caller.close)
        caller.settimeout(20)
        caller.bind((source, 0))
        caller.connect(("127.77.0.1", self.ports[port]))
        return caller

    def crowd(self, port: str) -> list[socket.socket]:
        """Strangers that connect and say nothing."""
        return [self.connect(f"127.77.{5 + number // 200}.{1 + number % 200}", port) for number in range(CROWD)]

    def hears(self, caller: socket.socket) -> bytes:
        """What comes first; nothing: hung up on."""
        try:
            return caller.recv(1000)
        except ConnectionResetError:
            return b""

    def check_node_is_served(self) -> None:
        """The node is told to boot, and the HTTP door answers it."""
        node = self.connect(NODE, "hello")
        node.sendall(b"IS_INSTALLED\n")
        said = b""
        while b"boot\nEOM\n" not in said:
            more = node.recv(1000)
            self.assertTrue(more, said)
            said += more
        node.close()
        node = self.connect(NODE, "http")
        node.sendall(b"GET /images/00?token=1 HTTP/1.0\r\n\r\n")
        self.assertIn(b" 403 ", node.recv(1000))

    def processor_seconds(self) -> float:
        """What the manager has used so far (proc_pid_stat(5): utime, stime)."""
        assert self.manager.process is not None
        with open(f"/proc/{self.manager.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check_rest(self) -> None:
        """The manager does not spin: in two seconds it computes for less than one."""
        before = self.processor_seconds()
        time.sleep(2)
        self.assertLess(self.processor_seconds() - before, 1.0)

    def test_silent_hello_connections(self) -> None:
        """Of 400 silent callers at the hello port 64 are let in; nodes are served, and the manager is at rest."""
        crowd = self.crowd("hello")
        greeted = sum(b"busybox date" in self.hears(caller) for caller in crowd)
        self.assertEqual(greeted, 64)
        self.check_node_is_served()
        self.check_rest()
        self.assertIn("callers that are no nodes", self.manager.output.read_text())

    def test_silent_fetchers(self) -> None:
        """400 silent callers at the HTTP door leave descriptors to nodes too."""
        crowd = self.crowd("http")
        self.assertEqual(len(crowd), CROWD)
        self.check_node_is_served()
        self.check_rest()
