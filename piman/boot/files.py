# -*- test-case-name: tests.test_boot_files -*-
"""
What a node sees when it asks for a boot file: a view, not a folder.

Whose view it is follows from the client's address, not from the name: the exact binding of the address (offers
included), else a prefix that names a known node, else the neighbour table.  A prefix that names another node never
changes the view of a binding.  A prefix proves nothing: where unknown clients are refused, it says nothing either.  A
view is the node's own files, then those of its image, then the shared ``boot_dir``;
docs/protocols/tftp.md has the whole rule.

It serves regular files below those directories and nothing else: no registered root file system, nothing that a
symbolic link reaches outside or in the own folder of another node.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Address

import attrs
from zope.interface import implementer

from piman.boot.content import SMALL_BYTES, Shelf, WholeFile
from piman.boot.names import Components, components_of, dashed, mac_in, serial_in
from piman.boot.tree import Found, found_file, is_under, opened_directory, real_folder
from piman.fleet.interfaces import (
    BootFile,
    BootFileMissing,
    BootFileRefused,
    IAddressBook,
    IBootFiles,
    INeighbours,
    INodeDirectory,
)
from piman.fleet.model import MACAddress, Node

CACHE_BYTES = 32 << 20
UNKNOWN_CLIENTS = ("shared", "refuse")

PathLike = str | os.PathLike[str]


@attrs.frozen
class Candidate:
    """One place where a file of the view may lie."""

    root: bytes
    path: bytes
    """Below the root."""
    own: bytes | None = None
    """The folder below the root that is this node's alone; None: it is looked for among the shared files."""


@implementer(IBootFiles)
class BootFiles:
    """
    The views of all nodes.

    :param boot_dir: what all nodes share; a folder in it that is named for a MAC or a serial is that node's own.
    :param overlay_dir: more such folders, apart from the shared files.
    :param image_dirs: by name of an image, the boot files of the nodes that run it.
    :param unknown_clients: ``shared`` or ``refuse``; under ``refuse`` no prefix makes a client known.
    :param server_address: what ``MASTER`` becomes in ``cmdline.txt`` and ``config.txt``.
    :param protected_paths: files that are never served, and directories nothing of which is.
    """

    def __init__(
        self,
        boot_dir: PathLike,
        *,
        nodes: INodeDirectory,
        addresses: IAddressBook,
        neighbours: INeighbours,
        server_address: IPv4Address,
        unknown_clients: str = "shared",
        overlay_dir: PathLike | None = None,
        image_dirs: Mapping[str, PathLike] | None = None,
        protected_paths: Iterable[PathLike] = (),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._boot_dir = os.fsencode(boot_dir)
        self._overlay_dir = os.fsencode(overlay_dir) if overlay_dir is not None else None
        self._image_dirs = {name: os.fsencode(path) for name, path in (image_dirs or {}).items()}
        self.protect(protected_paths)
        self._nodes = nodes
        self._addresses = addresses
        self._neighbours = neighbours
        self.treat_unknown_clients(unknown_clients)
        self._master = str(server_address).encode("ascii")
        self._shelf = Shelf(cache_bytes)

    def protect(self, paths: Iterable[PathLike]) -> None:
        """Serve none of these files from now on, nor anything in these directories; earlier ones are free again."""
        self._protected = tuple(os.fsencode(path) for path in paths)

    def treat_unknown_clients(self, choice: str) -> None:
        """
        Show clients that are no known node the shared files (``shared``) or nothing (``refuse``) from now on.

        Under ``shared`` a client without a binding is who its prefix says; under ``refuse`` that is not believed.
        Files that are open stay open.
        """
        if choice not in UNKNOWN_CLIENTS:
            raise ValueError(f"unknown_clients is {choice!r}, not one of {UNKNOWN_CLIENTS}")
        self._unknown_clients = choice

    def node_at(self, client: IPv4Address, name: bytes) -> MACAddress | None:
        """The node whose view ``open`` would use; None: unknown, or the name is impossible."""
        try:
            return self._whose(client, components_of(name))
        except (BootFileMissing, BootFileRefused):
            return self._whose(client, ())

    def open(self, client: IPv4Address, name: bytes) -> BootFile:
        """
        Open ``name`` in the view of the node at ``client``.

        :raises BootFileMissing: no such file there.
        :raises BootFileRefused: the request is not to be served.
        :raises OSError: the manager has a trouble that may pass; the client should ask again.
        """
        components = components_of(name)
        mac = self._whose(client, components)
        if mac is None and self._unknown_clients == "refuse":
            raise BootFileRefused("no node is known at this address")
        try:
            return self._open(mac, name, components)
        except PermissionError as reason:
            raise BootFileRefused("the manager may not read it") from reason

    def _open(self, mac: MACAddress | None, name: bytes, components: Components) -> BootFile:
        with ExitStack() as directories:
            trees = self._trees(directories)
            for candidate in self._candidates(mac, components):
                descriptor, _ = trees.get(candidate.root, (-1, b""))
                if descriptor == -1:
                    continue
                with found_file(descriptor, candidate.path) as found:
                    if found is not None:
                        self._check(found, candidate, trees)
                        self._check_owner(found, candidate, trees, mac)
                        return self._content(found, name, components[-1])
        raise BootFileMissing("no such file")

    # Whose view

    def _whose(self, client: IPv4Address, components: Components) -> MACAddress | None:
        bound = self._addresses.holder_of(client)
        if bound is not None:
            return bound
        is_believed = self._unknown_clients == "shared" and len(components) > 1
        named = self._named_by(components[0]) if is_believed else None
        if named is not None:
            return named.mac
        seen = self._neighbours.mac_at(client)
        return seen if seen is not None and self._nodes.node(seen) is not None else None

    def _named_by(self, component: bytes) -> Node | None:
        """The known node that a prefix names."""
        serial, mac = serial_in(component), mac_in(component)
        if serial is not None:
            return self._nodes.with_serial(serial)
        return self._nodes.node(mac) if mac is not None else None

    # What is in it

    def _candidates(self, mac: MACAddress | None, components: Components) -> Iterator[Candidate]:
        """
        Where the file may lie, the best place first.

        A prefix says who asks and is not part of the name, so that a node finds the same files with and without it.
        Only a prefix that nobody is known by may also be a folder: the folder of a board not yet known by its
        serial, or one that merely looks like a serial, as ``20240101`` does.
        """
        first, rest = components[0], components[1:]
        is_prefix = bool(rest) and (serial_in(first) is not None or mac_in(first) is not None)
        own = rest if is_prefix else components
        for folder in self._own_folders(mac):
            for root in (self._overlay_dir, self._boot_dir):
                if root is not None:
                    yield Candidate(root, b"/".join((folder, *own)), own=folder)
        for path in (components, rest) if is_prefix else (components,):
            if len(path) > 1 and self._named_by(path[0]) is not None:
                continue  # the own folder of a node: of this one it was seen above, of another one it is not shown
            for root in self._shared_roots(mac):
                yield Candidate(root, b"/".join(path))

    def _own_folders(self, mac: MACAddress | None) -> Iterator[bytes]:
        """The names of the folders that are this node's alone."""
        if mac is not None:
            yield dashed(mac)
            serial = self._nodes.status(mac).serial
            if serial is not None:
                yield serial.encode("ascii")

    def _shared_roots(self, mac: MACAddress | None) -> Iterator[bytes]:
        node = self._nodes.node(mac) if mac is not None else None
        if node is not None and node.image in self._image_dirs:
            yield self._image_dirs[node.image]
        yield self._boot_dir

    # Whether it may be shown

    def _trees(self, directories: ExitStack) -> dict[bytes, tuple[int, bytes]]:
        """Each directory that is there, with a descriptor and its real path."""
        roots = {self._boot_dir, self._overlay_dir or self._boot_dir, *self._image_dirs.values()}
        opened = {root: directories.enter_context(opened_directory(root)) for root in roots}
        return {root: tree for root, tree in opened.items() if tree is not None}

    def _check(self, found: Found, candidate: Candidate, trees: Mapping[bytes, tuple[int, bytes]]) -> None:
        """
        Judge by where the file really lies.

        :raises BootFileRefused: when it must not be served.
        """
        homes = [real for _, real in trees.values() if found.is_under(real)]
        if not homes:
            raise BootFileRefused("the name leads out of the boot files")
        _, overlays = trees.get(self._overlay_dir or b"", (-1, b""))
        _, shared = trees.get(self._boot_dir, (-1, b""))
        # One of the two may lie in the other, or be the same.
        if candidate.own is None and overlays != shared and max(homes, key=len) == overlays:
            raise BootFileRefused("the file belongs to a single node")
        if self._is_protected(found):
            raise BootFileRefused("root file systems are not served here")

    def _check_owner(
        self, found: Found, candidate: Candidate, trees: Mapping[bytes, tuple[int, bytes]], mac: MACAddress | None
    ) -> None:
        """
        Let no detour (``loop -> .``) lead into the own folder of another node.

        A link of this node's name to that very folder is none: by it the operator gave one folder to both.

        :raises BootFileRefused: when the file really lies in the folder of another node.
        """
        if all(owner == mac for owner in self._owners(found, trees)):
            return
        if candidate.own is not None:
            own = real_folder(trees[candidate.root][0], candidate.own)
            if own is not None and found.is_under(own) and not any(is_under(home, own) for home in self._homes(trees)):
                return
        raise BootFileRefused("the file belongs to another node")

    def _owners(self, found: Found, trees: Mapping[bytes, tuple[int, bytes]]) -> Iterator[MACAddress]:
        """The known nodes in whose own folders a file really lies."""
        for home in self._homes(trees):
            if found.is_under(home):
                folder, *below = found.path[len(home.rstrip(b"/")) + 1 :].split(b"/", 1)
                owner = self._named_by(folder) if below else None
                if owner is not None:
                    yield owner.mac

    def _homes(self, trees: Mapping[bytes, tuple[int, bytes]]) -> set[bytes]:
        """Where the directories that hold own folders really lie."""
        roots = (self._overlay_dir or self._boot_dir, self._boot_dir)
        return {trees[root][1] for root in roots if root in trees}

    def _is_protected(self, found: Found) -> bool:
        """Whether it is a protected file, by whatever name, or lies in a protected directory."""
        for path in self._protected:
            try:
                status = os.stat(path)
            except OSError:
                continue
            if (status.st_dev, status.st_ino) == (found.status.st_dev, found.status.st_ino):
                return True
            if is_under(found.path, os.path.realpath(path)):
                return True
        return False

    # Its content

    def _content(self, found: Found, name: bytes, basename: bytes) -> BootFile:
        shown = name.decode("utf-8", "backslashreplace")
        if found.status.st_size > SMALL_BYTES:
            return self._shelf.opened(shown, found)
        return self._rendered(self._shelf.whole(shown, found), basename)

    def _rendered(self, file: WholeFile, basename: bytes) -> WholeFile:
        """``cmdline.txt`` (any name that contains it, as the original did) and ``config.txt`` name the manager."""
        if b"MASTER" not in file.content or not (b"cmdline.txt" in basename or basename == b"config.txt"):
            return file
        content = file.content.replace(b"MASTER", self._master)
        return WholeFile(file.name, ("rendered", file.identity, self._master), content)
