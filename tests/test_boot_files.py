"""
What a node sees when it asks for a boot file.
"""

import os
import resource
import threading
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.boot.content import SMALL_BYTES, ContentChanged
from piman.boot.files import BootFiles
from piman.boot.names import components_of, dashed, mac_in, serial_in
from piman.fleet.interfaces import BootFile, BootFileMissing, BootFileRefused, IBootFiles
from piman.fleet.model import MACAddress, Node, NodeStatus
from piman.testing.fakes import MemoryAddressBook, MemoryDirectory, MemoryNeighbours

ONE = MACAddress.parse("b8:27:eb:00:00:01")
TWO = MACAddress.parse("dc:a6:32:01:36:c2")
STRANGER = MACAddress.parse("00:11:22:33:44:55")
ONE_SERIAL, TWO_SERIAL = "0b000001", "e0ff06da"
ONE_AT, TWO_AT, NOBODY_AT = (IPv4Address(f"172.30.4.{last}") for last in (11, 12, 99))
BIG = SMALL_BYTES + 5

pieces = st.sampled_from([b"..", b"/", b"secret", b"boot", b"a", b"\0"])


class BootDirectory(SynchronousTestCase):
    """A boot_dir, two known nodes, and one of them bound to its address."""

    def setUp(self) -> None:
        """Make the folders."""
        self.base = Path(self.mktemp()).absolute()
        self.boot = self.base / "boot"
        self.boot.mkdir(parents=True)
        self.book = MemoryAddressBook({ONE_AT: ONE})
        self.neighbours = MemoryNeighbours()
        self.directory = MemoryDirectory(
            [Node(mac=ONE, image="lab"), Node(mac=TWO)],
            [NodeStatus(mac=ONE, serial=ONE_SERIAL), NodeStatus(mac=TWO, serial=TWO_SERIAL)],
        )

    def files(self, **settings: Any) -> BootFiles:
        """The views."""
        return BootFiles(
            self.boot,
            nodes=self.directory,
            addresses=self.book,
            neighbours=self.neighbours,
            server_address=IPv4Address("172.30.4.1"),
            **settings,
        )

    def write(self, name: str, content: bytes = b"content") -> Path:
        """Put a file below the base."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def fetch(self, client: IPv4Address, name: str | bytes, **settings: Any) -> bytes:
        """What a client gets."""
        file = self.files(**settings).open(client, name.encode() if isinstance(name, str) else name)
        try:
            return file.read(0, file.size_bytes + 1)
        finally:
            file.close()

    def assertMissing(self, client: IPv4Address, name: str | bytes, **settings: Any) -> None:
        """There is no such file for it."""
        self.assertRaises(BootFileMissing, self.fetch, client, name, **settings)

    def assertRefused(self, client: IPv4Address, name: str | bytes, **settings: Any) -> None:
        """It must not have it."""
        self.assertRaises(BootFileRefused, self.fetch, client, name, **settings)


class NameTests(SynchronousTestCase):
    """Names as clients send them."""

    def test_slashes(self) -> None:
        """Leading, doubled and lone slashes and dots mean nothing."""
        for name in (b"boot/cmdline.txt", b"boot//cmdline.txt", b"/boot/./cmdline.txt", b"boot/cmdline.txt/"):
            self.assertEqual(components_of(name), (b"boot", b"cmdline.txt"), name)

    def test_climbing(self) -> None:
        """A name with .. as a part, or with NUL, is refused wherever it would lead."""
        for name in (b"..", b"../x", b"a/../b", b"a/..", b"/../../etc/passwd", b"a\0b"):
            self.assertRaises(BootFileRefused, components_of, name)

    def test_impossible(self) -> None:
        """Empty and endless names are missing files."""
        for name in (b"", b"/", b"./.", b"x" * 1025):
            self.assertRaises(BootFileMissing, components_of, name)

    def test_prefixes(self) -> None:
        """Eight hexadecimal digits are a serial, six dashed pairs a MAC, in either case, and nothing else is."""
        self.assertEqual(serial_in(b"E0FF06DA"), "e0ff06da")
        self.assertEqual(mac_in(b"DC-A6-32-01-36-c2"), TWO)
        self.assertEqual(dashed(TWO), b"dc-a6-32-01-36-c2")
        for other in (b"overlays", b"e0ff06d", b"e0ff06da0", b"dc:a6:32:01:36:c2", b"dca6320136c2", b"\xe0\xff06da12"):
            self.assertEqual((serial_in(other), mac_in(other)), (None, None), other)


class WhoseViewTests(BootDirectory):
    """Who is asking."""

    def test_interface(self) -> None:
        """It is what the TFTP server asks for."""
        verifyObject(IBootFiles, self.files())

    def test_binding(self) -> None:
        """The binding of the address decides."""
        self.assertEqual(self.files().node_at(ONE_AT, b"config.txt"), ONE)

    def test_binding_of_a_stranger(self) -> None:
        """A board that has an address of ours is itself, though no file of the operator names it."""
        self.book.bindings[NOBODY_AT] = STRANGER
        self.assertEqual(self.files().node_at(NOBODY_AT, b"config.txt"), STRANGER)

    def test_prefix(self) -> None:
        """Without a binding a prefix that names a known node decides, by serial or by MAC."""
        for name in (b"e0ff06da/config.txt", b"E0FF06DA//config.txt", b"dc-a6-32-01-36-c2/config.txt"):
            self.assertEqual(self.files().node_at(NOBODY_AT, name), TWO, name)

    def test_prefix_is_not_a_name(self) -> None:
        """A file that is called like a serial is no prefix."""
        self.assertIsNone(self.files().node_at(NOBODY_AT, b"e0ff06da"))

    def test_prefix_of_another(self) -> None:
        """A prefix that names another node changes nothing for a bound one."""
        self.assertEqual(self.files().node_at(ONE_AT, b"e0ff06da/config.txt"), ONE)

    def test_neighbour(self) -> None:
        """Without both the neighbour table decides, for known nodes."""
        self.neighbours.entries = {NOBODY_AT: TWO, TWO_AT: STRANGER}
        self.assertEqual(self.files().node_at(NOBODY_AT, b"12345678/config.txt"), TWO)
        self.assertIsNone(self.files().node_at(TWO_AT, b"config.txt"))

    def test_prefix_before_neighbour(self) -> None:
        """A known prefix goes before the neighbour table."""
        self.neighbours.entries = {NOBODY_AT: ONE}
        self.assertEqual(self.files().node_at(NOBODY_AT, b"e0ff06da/config.txt"), TWO)

    def test_impossible_name(self) -> None:
        """A name that cannot be served still has an asker."""
        self.assertEqual(self.files().node_at(ONE_AT, b"../../etc/passwd"), ONE)

    def test_unknown_shared(self) -> None:
        """Unknown clients see the shared files by default."""
        self.write("boot/config.txt", b"shared")
        self.assertEqual(self.fetch(NOBODY_AT, "12345678/config.txt"), b"shared")

    def test_unknown_refused(self) -> None:
        """Or nothing, when the operator says so; known ones are not concerned."""
        self.write("boot/config.txt", b"shared")
        self.assertRefused(NOBODY_AT, "config.txt", unknown_clients="refuse")
        self.assertEqual(self.fetch(ONE_AT, "config.txt", unknown_clients="refuse"), b"shared")

    def test_unknown_refused_whatever_prefix(self) -> None:
        """Then a name proves nothing: whoever asks with a node's prefix is as unknown as before, and gets nothing."""
        self.write("boot/config.txt", b"shared")
        self.write("boot/dc-a6-32-01-36-c2/config.txt", b"two")
        files = self.files(unknown_clients="refuse")
        for prefix in (TWO_SERIAL, TWO_SERIAL.upper(), "dc-a6-32-01-36-c2", f"{ONE_SERIAL}/{TWO_SERIAL}", "12345678"):
            name = f"{prefix}/config.txt".encode()
            self.assertIsNone(files.node_at(NOBODY_AT, name), name)
            self.assertRaises(BootFileRefused, files.open, NOBODY_AT, name)

    def test_neighbour_under_refuse(self) -> None:
        """A known node in the neighbour table is let in, to its own view whatever prefix it asks with."""
        self.write("boot/b8-27-eb-00-00-01/config.txt", b"one")
        self.write("boot/dc-a6-32-01-36-c2/config.txt", b"two")
        self.neighbours.entries = {NOBODY_AT: TWO, IPv4Address("172.30.4.98"): STRANGER}
        for prefix in ("", f"{TWO_SERIAL}/", f"{ONE_SERIAL}/", "b8-27-eb-00-00-01/"):
            self.assertEqual(self.fetch(NOBODY_AT, f"{prefix}config.txt", unknown_clients="refuse"), b"two", prefix)
            self.assertRefused(IPv4Address("172.30.4.98"), f"{prefix}config.txt", unknown_clients="refuse")

    def test_choice_changes(self) -> None:
        """The operator's choice can change at any time; a mistaken one changes nothing, an open file stays open."""
        self.write("boot/config.txt", b"shared")
        files = self.files()
        opened = files.open(NOBODY_AT, b"config.txt")
        files.treat_unknown_clients("refuse")
        self.assertRaises(BootFileRefused, files.open, NOBODY_AT, b"config.txt")
        self.assertEqual(opened.read(0, 9), b"shared")
        self.assertRaises(ValueError, files.treat_unknown_clients, "ignore")
        self.assertRaises(BootFileRefused, files.open, NOBODY_AT, b"config.txt")
        files.treat_unknown_clients("shared")
        files.open(NOBODY_AT, b"config.txt").close()

    def test_bad_setting(self) -> None:
        """Another word for unknown clients is a mistake of the caller."""
        self.assertRaises(ValueError, self.files, unknown_clients="ignore")


class ViewTests(BootDirectory):
    """What each node sees."""

    def test_with_and_without_prefix(self) -> None:
        """A node finds the same file with its serial, its MAC, another's serial, a strange one and none."""
        self.write("boot/overlays/map.dtb", b"shared")
        for prefix in ("", f"{ONE_SERIAL}/", "b8-27-eb-00-00-01/", f"{TWO_SERIAL}/", "12345678//", "/"):
            self.assertEqual(self.fetch(ONE_AT, f"{prefix}overlays/map.dtb"), b"shared", prefix)

    def test_own_folder(self) -> None:
        """A folder named for the node's MAC or serial is its own, and its files go before the shared ones."""
        for folder in ("b8-27-eb-00-00-01", ONE_SERIAL):
            self.write("boot/cmdline.txt", b"shared")
            own = self.write(f"boot/{folder}/cmdline.txt", b"own")
            for name in ("cmdline.txt", f"{ONE_SERIAL}/cmdline.txt", "b8-27-eb-00-00-01/cmdline.txt"):
                self.assertEqual(self.fetch(ONE_AT, name), b"own", (folder, name))
            self.assertEqual(self.fetch(TWO_AT, "cmdline.txt"), b"shared")
            own.unlink()

    def test_folder_of_another(self) -> None:
        """No name leads a bound node into another's folder: not its prefix, not a doubled one, not in capitals."""
        self.write(f"boot/{TWO_SERIAL}/cmdline.txt", b"two")
        self.write("boot/dc-a6-32-01-36-c2/cmdline.txt", b"two")
        for prefix in (TWO_SERIAL, TWO_SERIAL.upper(), f"{ONE_SERIAL}/{TWO_SERIAL}", "dc-a6-32-01-36-c2", "./e0ff06da"):
            self.assertMissing(ONE_AT, f"{prefix}/cmdline.txt")
            self.assertMissing(ONE_AT, f"12345678/{prefix}/cmdline.txt")

    def test_detour_to_another(self) -> None:
        """Nor does a symbolic link, in the shared files, in the node's own or in those of its image."""
        self.write(f"boot/{TWO_SERIAL}/secret.txt", b"two")
        self.write("boot/dc-a6-32-01-36-c2/deep/secret.txt", b"two")
        self.write(f"boot/{ONE_SERIAL}/config.txt", b"one")
        self.write("lab/config.txt", b"lab")
        (self.boot / "loop").symlink_to(".")
        (self.boot / "around").symlink_to("../boot")
        (self.boot / "deep").symlink_to("dc-a6-32-01-36-c2/deep")
        (self.boot / "file").symlink_to(f"{TWO_SERIAL}/secret.txt")
        (self.boot / ONE_SERIAL / "up").symlink_to("..")
        (self.base / "lab" / "across").symlink_to("../boot")
        settings = {"image_dirs": {"lab": self.base / "lab"}}
        detours = ["file", "deep/secret.txt"]
        for link in ("loop", "loop/loop", "around", "up", "up/loop", "across", "12345678/loop"):
            detours += [f"{link}/{TWO_SERIAL}/secret.txt", f"{link}/dc-a6-32-01-36-c2/deep/secret.txt"]
        for name in detours:
            self.assertRefused(ONE_AT, name, **settings)
            self.assertRaises((BootFileRefused, BootFileMissing), self.fetch, NOBODY_AT, name, **settings)

    def test_detour_to_oneself(self) -> None:
        """By whatever links, a node sees its own folder, and everybody the shared files."""
        self.write("boot/start4.elf", b"shared")
        self.write(f"boot/{TWO_SERIAL}/secret.txt", b"two")
        (self.boot / "loop").symlink_to(".")
        self.book.bindings[TWO_AT] = TWO
        self.assertEqual(self.fetch(TWO_AT, f"loop/{TWO_SERIAL}/secret.txt"), b"two")
        for client in (ONE_AT, TWO_AT, NOBODY_AT):
            self.assertEqual(self.fetch(client, "loop/loop/start4.elf"), b"shared")

    def test_one_folder_for_two(self) -> None:
        """A node's folder may be a link to another's: the operator gave them one, all of it and nothing beside it."""
        self.write("boot/dc-a6-32-01-36-c2/config.txt", b"both")
        self.write(f"boot/{TWO_SERIAL}/secret.txt", b"two")
        (self.boot / "b8-27-eb-00-00-01").symlink_to("dc-a6-32-01-36-c2")
        (self.boot / "dc-a6-32-01-36-c2" / "out").symlink_to(f"../{TWO_SERIAL}")
        self.assertEqual(self.fetch(ONE_AT, "config.txt"), b"both")
        self.assertRefused(ONE_AT, "out/secret.txt")

    def test_all_folders_for_one(self) -> None:
        """A link to the folder of all own folders, or around it, makes none of them this node's."""
        self.write(f"boot/{TWO_SERIAL}/secret.txt", b"two")
        self.write("boot/config.txt", b"shared")
        for target, way in ((".", ""), ("..", "boot/")):
            (self.boot / ONE_SERIAL).symlink_to(target)
            self.assertRefused(ONE_AT, f"{ONE_SERIAL}/{way}{TWO_SERIAL}/secret.txt")
            self.assertEqual(self.fetch(ONE_AT, f"{way}config.txt"), b"shared")
            (self.boot / ONE_SERIAL).unlink()

    def test_detour_to_overlay_dir(self) -> None:
        """In a directory of its own a node's folder is safe too, from links in another node's."""
        self.write(f"nodes/{TWO_SERIAL}/secret.txt", b"two")
        self.write(f"nodes/{ONE_SERIAL}/config.txt", b"one")
        (self.base / "nodes" / ONE_SERIAL / "up").symlink_to("..")
        self.assertRefused(ONE_AT, f"up/{TWO_SERIAL}/secret.txt", overlay_dir=self.base / "nodes")
        self.assertEqual(self.fetch(ONE_AT, f"up/{ONE_SERIAL}/config.txt", overlay_dir=self.base / "nodes"), b"one")

    def test_unbound_by_prefix(self) -> None:
        """An unbound client is given the view that its prefix names."""
        self.write(f"boot/{TWO_SERIAL}/cmdline.txt", b"two")
        self.assertEqual(self.fetch(NOBODY_AT, f"{TWO_SERIAL}/cmdline.txt"), b"two")
        self.assertMissing(NOBODY_AT, "cmdline.txt")

    def test_folder_like_a_serial(self) -> None:
        """A folder whose name only looks like a serial is a folder, with the shared files behind it."""
        self.write("boot/20240101/kernel8.img", b"january")
        self.write("boot/config.txt", b"shared")
        self.assertEqual(self.fetch(ONE_AT, "20240101/kernel8.img"), b"january")
        self.assertEqual(self.fetch(ONE_AT, f"{ONE_SERIAL}/20240101/kernel8.img"), b"january")
        self.assertEqual(self.fetch(ONE_AT, "20240101/config.txt"), b"shared")

    def test_overlay_dir(self) -> None:
        """Own folders may lie apart, go before those in boot_dir, and are nobody else's by any name."""
        self.write(f"boot/{ONE_SERIAL}/config.txt", b"in boot_dir")
        self.write(f"boot/nodes/{ONE_SERIAL}/config.txt", b"apart")
        settings = {"overlay_dir": self.boot / "nodes"}
        self.assertEqual(self.fetch(ONE_AT, "config.txt", **settings), b"apart")
        self.assertRefused(TWO_AT, f"nodes/{ONE_SERIAL}/config.txt", **settings)

    def test_overlay_dir_anywhere(self) -> None:
        """Own folders may lie in boot_dir itself or around it: the shared files are shared all the same."""
        self.write("boot/start4.elf", b"shared")
        self.write("boot/cmdline.txt", b"shared")
        self.write(f"boot/{ONE_SERIAL}/cmdline.txt", b"own")
        self.write(f"{TWO_SERIAL}/cmdline.txt", b"own")
        for overlay_dir, client in ((self.boot, ONE_AT), (self.base, TWO_AT)):
            self.book.bindings[TWO_AT] = TWO
            self.assertEqual(self.fetch(client, "start4.elf", overlay_dir=overlay_dir), b"shared")
            self.assertEqual(self.fetch(client, "cmdline.txt", overlay_dir=overlay_dir), b"own")
            self.assertEqual(self.fetch(NOBODY_AT, "cmdline.txt", overlay_dir=overlay_dir), b"shared")

    def test_overlay_dir_around_is_not_shown(self) -> None:
        """What lies in own folders around boot_dir comes out by no link either."""
        self.write(f"{TWO_SERIAL}/cmdline.txt", b"two")
        (self.boot / "link").symlink_to(f"../{TWO_SERIAL}")
        self.assertRefused(ONE_AT, "link/cmdline.txt", overlay_dir=self.base)

    def test_odd_folders(self) -> None:
        """Folders with blanks, line ends and bytes that are no text serve like others."""
        nodes = self.base / os.fsdecode(b"no des\n\xff;")
        (nodes / ONE_SERIAL / os.fsdecode(b"\xfe \n")).mkdir(parents=True)
        (nodes / ONE_SERIAL / os.fsdecode(b"\xfe \n/x (deleted)")).write_bytes(b"own")
        for prefix in (b"", b"/", ONE_SERIAL.encode() + b"//"):
            self.assertEqual(self.fetch(ONE_AT, prefix + b"\xfe \n//x (deleted)", overlay_dir=nodes), b"own")

    def test_prefix_in_capitals(self) -> None:
        """A prefix may come in capitals: it names the same node, and its folder is the one in small letters."""
        self.write(f"boot/{TWO_SERIAL}/cmdline.txt", b"two")
        self.write(f"boot/{TWO_SERIAL.upper()}/config.txt", b"not read")
        self.write("boot/config.txt", b"shared")
        for prefix in (TWO_SERIAL.upper(), "E0ff06DA", "DC-A6-32-01-36-C2"):
            self.assertEqual(self.fetch(NOBODY_AT, f"{prefix}//cmdline.txt"), b"two")
            self.assertEqual(self.fetch(NOBODY_AT, f"/{prefix}/config.txt"), b"shared")
            self.assertMissing(ONE_AT, f"{prefix}//cmdline.txt")

    def test_image_files(self) -> None:
        """A node's image may bring boot files: after the node's own, before the shared ones."""
        self.write("boot/kernel8.img", b"shared")
        self.write("lab/kernel8.img", b"lab")
        self.write("lab/config.txt", b"lab")
        self.write(f"boot/{ONE_SERIAL}/config.txt", b"own")
        settings = {"image_dirs": {"lab": self.base / "lab"}}
        self.assertEqual(self.fetch(ONE_AT, "kernel8.img", **settings), b"lab")
        self.assertEqual(self.fetch(ONE_AT, "config.txt", **settings), b"own")
        self.assertEqual(self.fetch(NOBODY_AT, "kernel8.img", **settings), b"shared")

    def test_missing(self) -> None:
        """Names that are not there, folders, and case are missing files."""
        self.write("boot/overlays/x.dtbo")
        for name in ("recovery.elf", "overlays", "overlays/X.dtbo", "overlays/x.dtbo/y", "a/b/c", "x" * 300):
            self.assertMissing(ONE_AT, name)

    def test_no_boot_dir(self) -> None:
        """A boot_dir that is not there serves nothing, and one that comes later serves."""
        self.boot.rmdir()
        files = self.files()
        self.assertRaises(BootFileMissing, files.open, ONE_AT, b"config.txt")
        self.write("boot/config.txt", b"late")
        self.assertEqual(files.open(ONE_AT, b"config.txt").read(0, 9), b"late")

    def test_odd_names(self) -> None:
        """Bytes that are no text, backslashes and blanks are names like others."""
        for name in (b"k\xe9rnel", b"\xff\xfe", b"..\\..\\etc", "\N{SNOWMAN}".encode(), b" "):
            (self.boot / os.fsdecode(name)).write_bytes(b"odd")
            self.assertEqual(self.fetch(ONE_AT, name), b"odd", name)


class RenderedTests(BootDirectory):
    """Files that name the manager."""

    def test_cmdline(self) -> None:
        """MASTER becomes the manager's address in every file whose name contains cmdline.txt."""
        for name in ("cmdline.txt", "my-cmdline.txt.old", "sub/cmdline.txt"):
            self.write(f"boot/{name}", b"ip=dhcp root=/dev/initrd master=MASTER\n")
            self.assertEqual(self.fetch(ONE_AT, name), b"ip=dhcp root=/dev/initrd master=172.30.4.1\n", name)
        self.assertEqual(self.fetch(ONE_AT, f"{ONE_SERIAL}//cmdline.txt/"), self.fetch(ONE_AT, "cmdline.txt"))

    def test_size(self) -> None:
        """The size is that of what is sent."""
        self.write("boot/cmdline.txt", b"MASTER")
        self.assertEqual(self.files().open(ONE_AT, b"cmdline.txt").size_bytes, len("172.30.4.1"))

    def test_config(self) -> None:
        """So it does in config.txt, and in no other file."""
        self.write("boot/config.txt", b"# MASTER\n")
        self.write("boot/other.txt", b"# MASTER\n")
        self.assertEqual(self.fetch(ONE_AT, "config.txt"), b"# 172.30.4.1\n")
        self.assertEqual(self.fetch(ONE_AT, "other.txt"), b"# MASTER\n")

    def test_identity(self) -> None:
        """What is rendered never shares its blocks with the file as it is."""
        path = self.write("boot/cmdline.txt", b"MASTER")
        os.link(path, self.boot / "plain")
        files = self.files()
        self.assertNotEqual(files.open(ONE_AT, b"cmdline.txt").identity, files.open(ONE_AT, b"plain").identity)


class ConfinementTests(BootDirectory):
    """What is never served."""

    def setUp(self) -> None:
        """A secret beside the boot_dir."""
        super().setUp()
        self.secret = self.write("secret", b"secret")

    def test_absolute(self) -> None:
        """An absolute name is looked up below boot_dir."""
        self.assertMissing(ONE_AT, str(self.secret))
        self.write("boot/config.txt", b"inside")
        self.assertEqual(self.fetch(ONE_AT, "///config.txt"), b"inside")

    def test_symbolic_links(self) -> None:
        """A link out of the tree is refused, whether it is the file or a folder on the way; one inside is followed."""
        (self.boot / "relative").symlink_to("../secret")
        (self.boot / "absolute").symlink_to(self.secret)
        (self.boot / "folder").symlink_to(self.base)
        for name in ("relative", "absolute", "folder/secret"):
            self.assertRefused(ONE_AT, name)
        self.write("boot/real/file", b"inside")
        (self.boot / "inner").symlink_to("real")
        self.assertEqual(self.fetch(ONE_AT, "inner/file"), b"inside")

    def test_similar_folder(self) -> None:
        """A folder whose name only begins like boot_dir's is outside."""
        self.write("boot-old/file", b"old")
        (self.boot / "old").symlink_to("../boot-old")
        self.assertRefused(ONE_AT, "old/file")

    def test_boot_dir_is_a_link(self) -> None:
        """boot_dir itself may be a link that is switched to another release."""
        self.write("releases/1/config.txt", b"1")
        self.write("releases/2/config.txt", b"2")
        self.boot.rmdir()
        for release in "12":
            self.boot.unlink(missing_ok=True)
            self.boot.symlink_to(self.base / "releases" / release)
            self.assertEqual(self.fetch(ONE_AT, "config.txt"), release.encode())

    def test_only_files(self) -> None:
        """Pipes, devices and loops of links are missing files, and asking for them does not block."""
        os.mkfifo(self.boot / "pipe")
        (self.boot / "loop").symlink_to("loop")
        (self.boot / "null").symlink_to("/dev/null")
        for name in ("pipe", "loop", "null"):
            self.assertMissing(ONE_AT, name)

    def test_registered_images(self) -> None:
        """A registered image is not served by its name, a link or a second name; its neighbour is."""
        image = self.write("boot/rootfs.tgz", b"image")
        os.link(image, self.boot / "hard")
        (self.boot / "soft").symlink_to("rootfs.tgz")
        self.write("boot/other.tgz", b"other")
        settings = {"protected_paths": [image, self.base / "absent.tgz"]}
        for name in ("rootfs.tgz", "hard", "soft", f"{ONE_SERIAL}/rootfs.tgz"):
            self.assertRefused(ONE_AT, name, **settings)
        self.assertEqual(self.fetch(ONE_AT, "other.tgz", **settings), b"other")

    def test_protected_directory(self) -> None:
        """Nothing in a protected directory is served."""
        self.write("boot/state/state.db")
        self.assertRefused(ONE_AT, "state/state.db", protected_paths=[self.boot / "state"])

    def test_protected_later(self) -> None:
        """An image that is registered while the manager runs is refused from then on, one that is dropped is free."""
        old, new = self.write("boot/old.tgz", b"old"), self.write("boot/new.tgz", b"new")
        files = self.files(protected_paths=[old])
        files.protect([new])
        self.assertRaises(BootFileRefused, files.open, ONE_AT, b"new.tgz")
        self.assertEqual(files.open(ONE_AT, b"old.tgz").read(0, 9), b"old")

    def test_switched_link(self) -> None:
        """While a link is switched to and fro between inside and outside, the secret never comes out."""
        self.write("boot/inside", b"inside")
        link, spare = self.boot / "link", self.boot / "spare"
        link.symlink_to("inside")
        done = threading.Event()

        def switch() -> None:
            while not done.is_set():
                for target in ("../secret", "inside"):
                    spare.symlink_to(target)
                    spare.rename(link)

        thread = threading.Thread(target=switch)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(done.set)
        seen = set()
        files = self.files()
        for _ in range(3000):
            try:
                seen.add(files.open(ONE_AT, b"link").read(0, 100))
            except BootFileRefused:
                seen.add(b"refused")
        self.assertNotIn(b"secret", seen)

    @settings(deadline=None)
    @given(st.binary(max_size=60) | st.lists(pieces).map(b"".join))
    def test_any_name(self, name: bytes) -> None:
        """No name whatever raises anything else or gets the secret."""
        try:
            content = self.fetch(ONE_AT, name)
        except (BootFileMissing, BootFileRefused):
            return
        self.assertNotEqual(content, b"secret")


class ContentTests(BootDirectory):
    """Files that change."""

    def opened(self, files: BootFiles, name: bytes = b"file") -> BootFile:
        """Open and close again at the end."""
        file = files.open(ONE_AT, name)
        self.addCleanup(file.close)
        return file

    def test_replaced(self) -> None:
        """A file replaced by a rename stays what it was for who has it open, small or large; others get the new one."""
        for size in (100, BIG):
            path = self.write("boot/file", b"a" * size)
            files = self.files()
            old = self.opened(files)
            self.write("new", b"b" * size).rename(path)
            new = self.opened(files)
            self.assertEqual((old.read(size - 5, 9), new.read(size - 5, 9)), (b"aaaaa", b"bbbbb"))
            self.assertNotEqual(old.identity, new.identity)

    def test_rewritten_small(self) -> None:
        """A small file rewritten in place stays what it was for who has it open."""
        path = self.write("boot/file", b"aaaa")
        files = self.files()
        old = self.opened(files)
        os.utime(path, ns=(1, 1))
        path.write_bytes(b"bbbb")
        self.assertEqual((old.read(0, 9), self.opened(files).read(0, 9)), (b"aaaa", b"bbbb"))

    def test_rewritten_large(self) -> None:
        """A large file rewritten in place is never mixed: reading on fails, and opening anew gives the new one."""
        path = self.write("boot/file", b"a" * BIG)
        os.utime(path, ns=(1, 1))
        files = self.files()
        old = self.opened(files)
        self.assertEqual(old.read(0, 2), b"aa")
        path.write_bytes(b"b" * BIG)
        self.assertRaises(ContentChanged, old.read, 2, 2)
        self.assertEqual(self.opened(files).read(2, 2), b"bb")

    def test_truncated_large(self) -> None:
        """So is one that was cut off."""
        path = self.write("boot/file", b"a" * BIG)
        old = self.opened(self.files())
        os.truncate(path, 10)
        self.assertRaises(OSError, old.read, 0, 10)

    def test_same_times(self) -> None:
        """A small file of the same size and time of modification, as rsync makes it, is still a new one."""
        path = self.write("boot/file", b"aaaa")
        os.utime(path, ns=(1, 1))
        files = self.files()
        self.opened(files)
        path.write_bytes(b"bbbb")
        os.utime(path, ns=(1, 1))
        self.assertEqual(self.opened(files).read(0, 9), b"bbbb")

    def test_descriptors_are_shared(self) -> None:
        """A hundred handles of one large file cost one descriptor, and none when all are closed."""
        self.write("boot/file", b"a" * BIG)
        files = self.files()
        before = len(os.listdir("/proc/self/fd"))
        opened = [files.open(ONE_AT, b"file") for _ in range(100)]
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)
        for file in opened:
            file.close()
            file.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertRaises(OSError, opened[0].read, 0, 1)

    def test_no_descriptor_left(self) -> None:
        """Neither small files nor missing nor refused ones leave a descriptor behind."""
        self.write("boot/file")
        self.write("secret")
        (self.boot / "out").symlink_to("../secret")
        files = self.files()
        before = len(os.listdir("/proc/self/fd"))
        files.open(ONE_AT, b"file")
        self.assertRaises(BootFileMissing, files.open, ONE_AT, b"absent")
        self.assertRaises(BootFileRefused, files.open, ONE_AT, b"out")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_cache_is_bounded(self) -> None:
        """Small files beyond the bound push the oldest out, and all are served."""
        files = self.files(cache_bytes=250)
        for number in range(10):
            self.write(f"boot/{number}", bytes([number]) * 100)
            self.assertEqual(self.opened(files, b"%d" % number).read(0, 1), bytes([number]))
        self.write("boot/large", b"x" * 300)
        self.assertEqual(self.opened(files, b"large").size_bytes, 300)
        self.assertEqual(files._shelf.cached_bytes, 200)

    def test_read_once(self) -> None:
        """A small file asked for again is not read again: the same bytes object serves."""
        self.write("boot/file", b"content")
        files = self.files()
        first, second = self.opened(files), self.opened(files)
        self.assertIs(first.read(0, 7), second.read(0, 7))

    def test_forbidden(self) -> None:
        """A file that the manager may not read is refused, not missing."""
        base = Path(self.enterContext(TemporaryDirectory()))
        base.chmod(0o755)
        self.boot = base
        (base / "file").write_bytes(b"content")
        (base / "file").chmod(0)
        if os.geteuid() == 0:  # root may read everything
            self.addCleanup(os.seteuid, 0)
            os.seteuid(65534)
        self.assertRefused(ONE_AT, "file")

    def test_short_of_descriptors(self) -> None:
        """When the manager has no descriptor left a file is not missing: the client must ask again."""
        self.write("boot/file")
        files = self.files()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        self.assertRaises(OSError, files.open, ONE_AT, b"file")
        self.assertRaises(OSError, files.open, ONE_AT, b"absent")


class TemplateTests(SynchronousTestCase):
    """The files that come with piman."""

    boot = Path(__file__).resolve().parent.parent / "install" / "boot"

    def served(self, name: bytes) -> bytes:
        """What a node gets."""
        files = BootFiles(
            self.boot,
            nodes=MemoryDirectory(),
            addresses=MemoryAddressBook(),
            neighbours=MemoryNeighbours(),
            server_address=IPv4Address("172.30.4.1"),
        )
        return files.open(NOBODY_AT, name).read(0, 1 << 16)

    def test_cmdline(self) -> None:
        """cmdline.txt is one line, as the kernel wants it, and names the manager."""
        self.assertEqual(self.served(b"cmdline.txt"), b"ip=dhcp root=/dev/initrd master=172.30.4.1\n")

    def test_config(self) -> None:
        """config.txt loads the initramfs and is as short as firmware needs it."""
        content = self.served(b"config.txt")
        self.assertIn(b"\ninitramfs initramfs.gz followkernel\n", content)
        self.assertTrue(len(content) <= 4096)
