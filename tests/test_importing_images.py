"""
Whole imports of images that the tests make: what comes out, what is refused, what an interruption leaves.
"""

import json
import os
import random
import stat
import tarfile
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from piman.importing.images import Order, import_image
from piman.importing.manifest import Manifest, imported_images
from piman.importing.programs import Programs
from piman.importing.progress import Progress
from piman.importing.refusal import ImportRefused
from tests.importing_support import (
    BOOT_FILES,
    IMAGE_BYTES,
    ROOT_SECTORS,
    ROOT_START,
    SECTOR_BYTES,
    WHEN,
    Card,
    imported,
    missing,
    packed,
    put,
    run,
    silent,
)

OURS = {
    "etc/fstab",
    "boot/firmware/ssh",
    "boot/firmware/userconf.txt",
    "etc/systemd/system/piman-capabilities.service",
    "etc/systemd/system/sysinit.target.wants",
    "etc/systemd/system/sysinit.target.wants/piman-capabilities.service",
}
STEPS = ("unpack", "look", "boot", "archive", "verify", "publish")

Told = tuple[object, ...]


class ImportCase(SynchronousTestCase):
    """A folder for cards, and one for images."""

    skip = missing()

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.images = Path(self.mktemp())

    def refused(self, source: Path) -> str:
        """The reason; nothing of the import is left."""
        reason = str(self.assertRaises(ImportRefused, imported, source, self.images))
        left = [path.name for path in self.images.iterdir()] if self.images.exists() else []
        self.assertEqual(left, [], reason)
        return reason


def members(path: Path) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Everything in an archive, as Python's tarfile reads it."""
    found = {}
    with tarfile.open(path, "r:gz", encoding="utf-8", errors="surrogateescape") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() or info.islnk() else None
            found[info.name] = (info, file.read() if file else b"")
    return found


def told_by_disk(root: Path) -> dict[str, Told]:
    """What mkfs.ext4 -d was given: type, mode, owner, time, target and content of each name."""
    told = {}
    for path in root.rglob("*"):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content = path.read_bytes() if kind == stat.S_IFREG else b""
        target = os.readlink(path) if kind == stat.S_IFLNK else ""
        mode = stat.S_IMODE(status.st_mode)
        name = path.relative_to(root).as_posix()
        told[name] = (kind, mode, status.st_uid, status.st_gid, int(status.st_mtime), target, content)
    return told


KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.LNKTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
}


def told_by_archive(path: Path) -> dict[str, Told]:
    """The same of an archive."""
    return {
        name: (
            KINDS[info.type],
            info.mode,
            info.uid,
            info.gid,
            int(info.mtime),
            info.linkname if info.issym() else "",
            content,
        )
        for name, (info, content) in members(path).items()
    }


class WholeImportTests(ImportCase):
    """From a card's image to what piman serves."""

    def compare(self, card: Card, manifest: Manifest) -> None:
        """Archive and disk tell the same of every name but those that we change."""
        given = told_by_disk(card.root)
        found = told_by_archive(manifest.path)
        self.assertEqual({name for name in found if name not in given} - OURS, {"."})
        differing = {name for name in given if given[name] != found.get(name)}
        self.assertEqual(differing, {"etc/fstab"})
        self.assertGreater(len(given), 300)

    def test_every_entry_is_kept(self) -> None:
        """Type, mode, owner, time, target and content of each entry are those that mkfs.ext4 was given."""
        card = Card(self.folder)
        self.compare(card, imported(card.make(), self.images))

    def test_every_entry_is_kept_from_other_forms_of_ext4(self) -> None:
        """So it is with small and large blocks, without extents, without checksums and with small inodes."""
        for number, features in enumerate(
            (
                ("-b", "1024", "-O", "^64bit"),
                ("-b", "4096", "-O", "ea_inode"),
                ("-O", "^extent,^64bit,^flex_bg"),
                ("-O", "^metadata_csum,uninit_bg"),
                ("-I", "128"),
            )
        ):
            folder = self.folder / str(number)
            folder.mkdir()
            card = Card(folder, features=features)
            self.compare(card, imported(card.make(), self.images, replace=True))

    def test_packings_give_the_same(self) -> None:
        """The image as it is, and packed with xz, gzip and zip, gives the same archive byte for byte."""
        image = Card(self.folder).make()
        sources = [image, *(packed(image, packing) for packing in ("xz", "gz", "zip"))]
        digests = {imported(source, self.images, replace=True).sha256 for source in sources}
        self.assertEqual(len(digests), 1)

    def test_gpt(self) -> None:
        """A GUID partition table is read as well."""
        card = Card(self.folder, table="gpt")
        self.compare(card, imported(card.make(), self.images))

    def test_what_only_root_may_make(self) -> None:
        """Owners, devices, extended attributes and capabilities stand in the archive; sockets are left out."""
        value = self.folder / "value"
        # security.capability of a file after `setcap cap_net_raw+ep`, as Linux 6 keeps it
        value.write_bytes(bytes.fromhex("0100000200200000000000000000000000000000"))
        changes = (
            "set_inode_field /usr/bin/sudo uid 70000",
            "set_inode_field /usr/bin/sudo gid 3000000000",
            "set_inode_field /usr/bin/sudo mtime @1",
            f"ea_set -f {value} /usr/bin/ping security.capability",
            "ea_set /etc/fstab user.note kept",
            "cd /var",
            "mknod null c 1 3",
            "mknod disk b 179 2",
            "mknod socket p",
            "set_inode_field socket mode 0140755",
        )
        card = Card(self.folder, changes=changes)
        manifest = imported(card.make(), self.images)
        found = members(manifest.path)
        sudo, null, disk = (found[name][0] for name in ("usr/bin/sudo", "var/null", "var/disk"))
        self.assertEqual((sudo.uid, sudo.gid, sudo.mode, sudo.mtime), (70000, 3000000000, 0o4755, 1))
        self.assertEqual((null.type, null.devmajor, null.devminor), (tarfile.CHRTYPE, 1, 3))
        self.assertEqual((disk.type, disk.devmajor, disk.devminor), (tarfile.BLKTYPE, 179, 2))
        self.assertNotIn("var/socket", found)
        self.assertIn("1 sockets were left out", manifest.notes)
        capability = found["usr/bin/ping"][0].pax_headers["SCHILY.xattr.security.capability"]
        self.assertEqual(capability.encode(), value.read_bytes())
        self.assertEqual(found["etc/fstab"][0].pax_headers["SCHILY.xattr.user.note"], "kept")
        self.assertEqual(manifest.capabilities, ("/usr/bin/ping", "/usr/bin/ping4"))
        unit = found["etc/systemd/system/piman-capabilities.service"][1].decode()
        self.assertIn("ExecStart=-/usr/sbin/setcap 13=ep /usr/bin/ping\n", unit)
        link = found["etc/systemd/system/sysinit.target.wants/piman-capabilities.service"][0]
        self.assertEqual(link.linkname, "../piman-capabilities.service")

    def test_hard_links(self) -> None:
        """A second name of a file is a link to the first."""
        manifest = imported(Card(self.folder).make(), self.images)
        found = members(manifest.path)
        links = {name: info.linkname for name, (info, _) in found.items() if info.islnk()}
        self.assertEqual(links, {"usr/bin/ping4": "usr/bin/ping"})

    def test_marks_of_a_node_are_left_out(self) -> None:
        """An image read from a node's card does not say that an installation is complete, or under way."""
        card = Card(self.folder)
        card.root.mkdir()
        (card.root / "sbin").mkdir()
        for name in ("sbin/init", ".piman-installed", ".piman-installing"):
            (card.root / name).write_text("x")
        found = members(imported(card.make(), self.images).path)
        self.assertEqual([name for name in found if "piman" in name], [])

    def test_the_system_is_adapted_to_a_nodes_card(self) -> None:
        """The root is found by the label that the installer gives it; nothing is mounted from the boot partition."""
        found = members(imported(Card(self.folder).make(), self.images).path)
        lines = found["etc/fstab"][1].decode().splitlines()
        self.assertEqual(
            [line.split()[:2] for line in lines if line[0] != "#"], [["proc", "/proc"], ["LABEL=rootfs", "/"]]
        )
        self.assertEqual(found["boot/firmware/userconf.txt"][1], BOOT_FILES["userconf.txt"])
        self.assertEqual(found["boot/firmware/userconf.txt"][0].mode, 0o600)

    def test_boot_tree(self) -> None:
        """Firmware's files come along, the configuration renamed; initramfs and secrets are not there."""
        manifest = imported(packed(Card(self.folder).make(), "xz"), self.images)
        found = {
            path.relative_to(manifest.boot_folder).as_posix(): path.read_bytes()
            for path in manifest.boot_folder.rglob("*")
            if path.is_file()
        }
        expected = {name: BOOT_FILES[name] for name in BOOT_FILES if name not in ("ssh", "userconf.txt", "initramfs8")}
        for name in ("cmdline.txt", "config.txt"):
            expected[f"{name}.original"] = expected.pop(name)
        self.assertEqual(found, expected)

    def test_manifest(self) -> None:
        """What is said of the archive is true, and it is found again."""
        source = Card(self.folder).make()
        manifest = imported(source, self.images)
        self.assertEqual(run("sha256sum", str(manifest.path)).split()[0], manifest.sha256)
        self.assertEqual(manifest.size_bytes, manifest.path.stat().st_size)
        listed = run("tar", "-tzf", str(manifest.path)).splitlines()
        self.assertEqual(manifest.entries, len(listed))
        self.assertEqual(manifest.content_bytes, sum(info.size for info, _ in members(manifest.path).values()))
        self.assertEqual(manifest.imported_at, "2026-11-24T12:00:00+00:00")
        self.assertEqual(manifest.source, str(source))
        self.assertEqual([image.manifest for image in imported_images(self.images)], [manifest])
        self.assertEqual(yaml.safe_load(manifest.yaml_line), {"images": {"pios": str(manifest.path)}})
        self.assertEqual(sorted(path.name for path in self.images.iterdir()), ["pios.boot", "pios.json", "pios.tgz"])

    def test_source_is_not_touched(self) -> None:
        """The download is only read."""
        image = Card(self.folder).make()
        image.chmod(0o400)
        before = run("sha256sum", str(image))
        imported(image, self.images)
        self.assertEqual(run("sha256sum", str(image)), before)

    def test_progress(self) -> None:
        """Every step is told, in order, and the bytes only grow."""
        told: list[Progress] = []
        imported(packed(Card(self.folder).make(), "xz"), self.images, report=told.append)
        self.assertEqual(tuple(dict.fromkeys(progress.step for progress in told)), STEPS)
        for step in STEPS:
            done = [progress.done_bytes for progress in told if progress.step == step]
            self.assertEqual(done, sorted(done), step)
        self.assertTrue(all(progress.done_bytes <= progress.total_bytes for progress in told))


class RefusalTests(ImportCase):
    """What is not fit leaves nothing behind."""

    def test_truncated_image(self) -> None:
        """An image that ends early is refused, wherever it ends."""
        whole = Card(self.folder).make().read_bytes()
        end = (ROOT_START + ROOT_SECTORS) * SECTOR_BYTES
        short = self.folder / "short.img"
        for size in (0, 1, 511, 512, 4096, 2_000_000, 9_437_184, 20_000_000, end - SECTOR_BYTES, end - 1):
            short.write_bytes(whole[:size])
            self.refused(short)

    def test_truncated_downloads(self) -> None:
        """A packed image that ends early is refused, wherever it ends."""
        image = Card(self.folder).make()
        for packing in ("xz", "gz", "zip"):
            whole = packed(image, packing)
            size = whole.stat().st_size
            for part in (*range(0, size, size // 6 + 1), size - 1):
                short = self.folder / f"short.{packing}"
                short.write_bytes(whole.read_bytes()[:part])
                self.refused(short)

    def test_damaged_file_system(self) -> None:
        """Garbage in the file system's own structures is found by e2fsck and refused."""
        image = Card(self.folder).make()
        put(image, ROOT_START * SECTOR_BYTES + 4096, b"\xa5" * 4096)
        self.assertIn("e2fsck says", self.refused(image))

    def test_damaged_fat(self) -> None:
        """A boot partition whose table of clusters is gone is refused."""
        image = Card(self.folder).make()
        put(image, 2048 * SECTOR_BYTES + 2048, bytes(64 * 1024))
        self.assertIn("FAT", self.refused(image))

    def test_partition_without_fat(self) -> None:
        """What was found in each partition is said."""
        image = Card(self.folder).make()
        put(image, 2048 * SECTOR_BYTES, bytes(4096))
        self.assertIn("no partition has FAT; there are 1: unknown, 8388608 bytes, 2: ext4", self.refused(image))

    def test_encrypted_root(self) -> None:
        """A LUKS container is named as such."""
        image = Card(self.folder).make()
        # LUKS1 header: magic, version 1; the other fields are text that blkid does not look at.
        put(image, ROOT_START * SECTOR_BYTES, b"LUKS\xba\xbe\x00\x01" + bytes(8192))
        reason = self.refused(image)
        self.assertIn("encrypted (LUKS)", reason)
        self.assertIn("before it was encrypted", reason)

    def test_journal_in_use(self) -> None:
        """A card that was pulled out while its system ran is refused with what to do."""
        image = Card(self.folder, wounds=("feature needs_recovery",)).make()
        self.assertIn("was not shut down", self.refused(image))

    def test_any_damage(self) -> None:
        """Whatever bytes of the table or of ext4 are wrong: the image is refused, or the archive is the same."""
        image = Card(self.folder).make()
        whole = image.read_bytes()
        digest = imported(image, self.images).sha256
        chance = random.Random(3)
        root = ROOT_START * SECTOR_BYTES
        refused = 0
        for _ in range(24):
            first, behind = chance.choice(((0, 512), (root + 1024, root + 2048), (root + 4096, root + 400_000)))
            image.write_bytes(whole)
            put(image, chance.randrange(first, behind), chance.randbytes(chance.choice((1, 64))))
            try:
                self.assertEqual(imported(image, self.images, replace=True).sha256, digest)
            except ImportRefused:
                refused += 1
        self.assertGreater(refused, 3)

    def test_unreadable_feature(self) -> None:
        """What debugfs cannot read exactly is refused by name."""
        self.assertIn("(inline_data)", self.refused(Card(self.folder, features=("-O", "inline_data")).make()))

    def test_no_system(self) -> None:
        """An ext4 partition without init is no system: the node would find out only after it was formatted."""
        card = Card(self.folder)
        card.root.mkdir()
        (card.root / "data").write_text("only data")
        self.assertIn("no /sbin/init", self.refused(card.make()))

    def test_no_kernel(self) -> None:
        """Boot files without a kernel are refused."""
        self.assertIn("no kernel", self.refused(Card(self.folder, boot_files={"readme": b"x"}).make()))

    def test_existing_image(self) -> None:
        """An image of that name stays as it is, unless it may be replaced."""
        image = Card(self.folder).make()
        first = imported(image, self.images)
        self.assertIn("already", str(self.assertRaises(ImportRefused, imported, image, self.images)))
        self.assertEqual([each.manifest for each in imported_images(self.images)], [first])
        self.assertEqual(imported(image, self.images, replace=True).sha256, first.sha256)

    def test_refused_replacement_leaves_the_image(self) -> None:
        """When the new image is broken, the one that it should replace stays."""
        image = Card(self.folder).make()
        first = imported(image, self.images)
        os.truncate(image, 20_000_000)
        self.assertRaises(ImportRefused, imported, image, self.images, replace=True)
        self.assertEqual([(each.manifest, each.problem) for each in imported_images(self.images)], [(first, "")])
        self.assertEqual(run("sha256sum", str(first.path)).split()[0], first.sha256)

    def test_bad_name(self) -> None:
        """A name that piman.yaml would not take, or that leads elsewhere, is refused."""
        for name in ("", "../x", "a b", ".hidden", "x" * 64):
            order = Order(source=self.folder, name=name, images_dir=self.images)
            with self.assertRaises(ImportRefused):
                import_image(order, programs=Programs(), now=WHEN, report=silent)


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


class InterruptionTests(ImportCase):
    """An import that ended in the middle."""

    def interrupted_at(self, source: Path, step: str, after: int = 0) -> None:
        """Import until so many reports of a step."""
        seen = 0

        def report(progress: Progress) -> None:
            nonlocal seen
            seen += progress.step == step
            if seen > after:
                raise Interrupted(step)

        self.assertRaises(Interrupted, imported, source, self.images, report=report, replace=True)

    def test_resumes_after_each_step(self) -> None:
        """Whatever step was interrupted, the result is that of an import at one go, and finished steps are re-used."""
        source = packed(Card(self.folder).make(), "xz")
        whole = imported(source, self.images)
        for number, step in enumerate(STEPS):
            self.interrupted_at(source, step)
            told: list[Progress] = []
            again = imported(source, self.images, report=told.append, replace=True)
            self.assertEqual(tuple(progress.step for progress in told if progress.reused), STEPS[:number])
            self.assertEqual(again, whole)

    def test_nothing_shows_before_the_last_step(self) -> None:
        """Until then, the folder of images shows no image, archive or boot files."""
        source = packed(Card(self.folder).make(), "gz")
        for step in STEPS:
            self.interrupted_at(source, step)
            self.assertEqual([path.name for path in self.images.iterdir()], [".pios.importing"])
            self.assertEqual(imported_images(self.images), ())

    def test_interrupted_while_it_copies(self) -> None:
        """Half an unpacked image and half an archive are not taken for whole ones."""
        source = packed(Card(self.folder).make(), "xz")
        for step in ("unpack", "verify"):
            self.interrupted_at(source, step, after=1)
        self.assertEqual(imported(source, self.images).entries, len(members(self.images / "pios.tgz")))

    def test_half_written_products_are_ignored(self) -> None:
        """What a crash leaves under the names of unfinished work is written anew."""
        source = packed(Card(self.folder).make(), "xz")
        whole = imported(source, self.images)
        self.interrupted_at(source, "boot")
        work = self.images / ".pios.importing"
        for name in ("root.tgz", ".root.tgz.partial", "disk.img.partial"):
            (work / name).write_bytes(b"half")
        for name in ("read", "boot", "carried"):
            (work / name).mkdir()
            (work / name / "kernel_9.img").write_bytes(b"half")
        self.assertEqual(imported(source, self.images, replace=True), whole)
        self.assertFalse((whole.boot_folder / "kernel_9.img").exists())

    def test_another_download_starts_anew(self) -> None:
        """Steps of another file, or of an older version of this one, do not count."""
        card = Card(self.folder)
        source = packed(card.make(), "gz")
        self.interrupted_at(source, "publish")
        (card.root / "etc/new").write_text("new")
        source = packed(card.make(), "gz")
        imported(source, self.images)
        self.assertIn("etc/new", members(self.images / "pios.tgz"))

    def test_crash_while_publishing(self) -> None:
        """After a crash between the names of boot files, archive and manifest the next call completes them."""
        source = Card(self.folder).make()
        whole = imported(source, self.images)
        archive, boot, manifest = whole.path, whole.boot_folder, self.images / "pios.json"
        for done in range(4):
            for path in (archive, manifest):
                path.unlink(missing_ok=True)
            if boot.exists():
                run("rm", "-r", str(boot))
            self.interrupted_at(source, "publish")
            work = self.images / ".pios.importing"
            notes = json.loads((work / "steps.json").read_text())
            notes["steps"]["publish"] = {}
            (work / "steps.json").write_text(json.dumps(notes))
            for name, target in (("boot", boot), ("root.tgz", archive))[:done]:
                (work / name).rename(target)
            if done == 3:
                manifest.write_text(whole.to_json())
            self.assertEqual(imported(source, self.images), whole)
            self.assertTrue((boot / "kernel8.img").exists())

    def test_download_that_grows(self) -> None:
        """A download that is still being written is refused."""
        source = Card(self.folder).make()

        def report(progress: Progress) -> None:
            if progress.step == "archive":
                os.truncate(source, IMAGE_BYTES + 512)

        reason = self.assertRaises(ImportRefused, imported, source, self.images, report=report)
        self.assertIn("was changed during the import", str(reason))

    def test_two_at_once(self) -> None:
        """A second import under the same name is refused while the first one works, and harms it not."""
        source = Card(self.folder).make()
        refusals: list[ImportRefused] = []

        def report(progress: Progress) -> None:
            if progress.step == "archive" and not refusals:
                refusals.append(self.assertRaises(ImportRefused, imported, source, self.images))

        manifest = imported(source, self.images, report=report)
        self.assertIn("another import works", str(refusals[0]))
        self.assertEqual([each.manifest for each in imported_images(self.images)], [manifest])
