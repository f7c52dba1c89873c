"""
What debugfs says, understood or refused.
"""

from twisted.trial.unittest import SynchronousTestCase

from piman.importing.debugfs import Name, parse_attribute, parse_listing, parse_stat, parse_superblock
from piman.importing.refusal import ImportRefused

# All texts below: debugfs 1.47.0 (Debian 12) on a file system that mkfs.ext4 -d made.

LISTING = b"""\
/18/041777/0/0/.//
/2/040755/0/0/..//
/0/000000/0/0//0/
/19/100644/0/0/bad\xff/1/
/20/120777/0/0/lnk/13/
/22/100644/0/0/new
line/1/
/23/100644/1234567/-5/old/0/
/30/040755/0/0/dir with space//

"""
FILE = b"""\
Inode: 23   Type: regular    Mode:  0644   Flags: 0x80000
Generation: 0    Version: 0x00000000:00000000
User: 1234567   Group: 70000   Project:     0   Size: 10485760
File ACL: 0
Links: 1   Blockcount: 0
Fragment:  Address: 0    Number: 0    Size: 0
 ctime: 0x6b060883:00000000 -- Tue Nov 24 21:58:27 2026
 atime: 0x00000001:00000000 -- Thu Jan  1 00:00:01 1970
 mtime: 0x6b060883:9a7ec800 -- Tue Nov 24 21:58:27 2026
crtime: 0x6b060884:00000000 -- Tue Nov 24 21:58:28 2026
Size of extra inode fields: 32
Extended attributes:
  user.x (11) = 68 65 6c 6c 6f 20 22 71 22 c3 a4
  user.a (1) = "b"
Inode checksum: 0xc2ad63ec
EXTENTS:
(5120):4391
"""
LINK = b"""\
Inode: 20   Type: symlink    Mode:  0777   Flags: 0x0
Generation: 0    Version: 0x00000000:00000000
User:     0   Group:     0   Project:     0   Size: 13
File ACL: 0
Links: 1   Blockcount: 0
Fragment:  Address: 0    Number: 0    Size: 0
 mtime: 0x6b060883:00000000 -- Tue Nov 24 21:58:27 2026
Size of extra inode fields: 32
Inode checksum: 0x317f8809
Fast link dest: "../usr/bin/ls"
"""
DEVICES = (
    (b"Device major/minor number: 01:03 (hex 01:03)\n", (1, 3)),
    (b"(New-style) Device major/minor number: 259:70000 (hex 103:11170)\n", (259, 70000)),
)
SUPERBLOCK = b"""\
Filesystem volume name:   <none>
Filesystem features:      has_journal ext_attr extent 64bit metadata_csum
Block count:              65536
Free blocks:              55869
Block size:               1024
"""


def lines(text: bytes) -> list[bytes]:
    """As a file gives them."""
    return text.splitlines(keepends=True)


class ListingTests(SynchronousTestCase):
    """What ``ls -p`` says."""

    def test_names(self) -> None:
        """Every byte of a name is kept, line breaks too; removed names are passed over."""
        self.assertEqual(
            list(parse_listing(b"etc", LISTING)),
            [
                Name(b"etc/bad\xff", 19, 0o100644),
                Name(b"etc/lnk", 20, 0o120777),
                Name(b"etc/new\nline", 22, 0o100644),
                Name(b"etc/old", 23, 0o100644),
                Name(b"etc/dir with space", 30, 0o040755),
            ],
        )

    def test_in_the_root(self) -> None:
        """Names in the root have no folder before them."""
        self.assertEqual(next(parse_listing(b"", LISTING)).path, b"bad\xff")

    def test_anything_else(self) -> None:
        """A part that is no such line is damage, not one name less."""
        for text in (LISTING[:-12], LISTING.replace(b"/20/", b"20/"), b"ls: Ext2 inode is not a directory\n"):
            with self.assertRaises(ImportRefused):
                list(parse_listing(b"", text))


class StatTests(SynchronousTestCase):
    """What ``stat`` says."""

    def test_file(self) -> None:
        """Owner, permissions, size, time and the names of attributes."""
        said = parse_stat(iter(lines(FILE)))
        self.assertEqual((said.inode, said.permissions, said.uid, said.gid), (23, 0o644, 1234567, 70000))
        self.assertEqual((said.size_bytes, said.attributes), (10485760, ["user.x", "user.a"]))
        # date -u -d 'Tue Nov 24 21:58:27 2026' +%s
        self.assertEqual(said.mtime_seconds, 1795557507)

    def test_times_far_away(self) -> None:
        """Times before 1970 and after 2038 are told with sign and epoch (Linux, Documentation/filesystems/ext4)."""
        for told, seconds in (
            (b"0xffffffff:00000000", -1),
            (b"0x80000000:00000001", 0x80000000),
            (b"0x7fffffff", 2**31 - 1),
        ):
            text = LINK.replace(b"0x6b060883:00000000", told)
            self.assertEqual(parse_stat(iter(lines(text))).mtime_seconds, seconds)

    def test_small_inode(self) -> None:
        """Inodes of 128 bytes have times without fractions, told in another way; an inode without a time is damage."""
        text = LINK.replace(b" mtime: 0x6b060883:00000000", b"mtime: 0x6553f103")
        self.assertEqual(parse_stat(iter(lines(text))).mtime_seconds, 1_700_000_003)
        with self.assertRaises(ImportRefused):
            parse_stat(iter(lines(LINK.replace(b"mtime", b"time"))))

    def test_link(self) -> None:
        """The target of a short link stands in the inode."""
        self.assertEqual(parse_stat(iter(lines(LINK))).target, b"../usr/bin/ls")

    def test_link_that_looks_like_an_answer(self) -> None:
        """A target may hold quotes and line breaks: its length tells where it ends."""
        target = b'a"\nInode: 1\n"'
        text = LINK.replace(b"../usr/bin/ls", target)
        self.assertEqual(parse_stat(iter(lines(text))).target, target)

    def test_link_of_another_length(self) -> None:
        """A target that is not as long as the inode says is damage."""
        for target in (b"short", b"longer than told"):
            with self.assertRaises(ImportRefused):
                parse_stat(iter(lines(LINK.replace(b"../usr/bin/ls", target))))

    def test_devices(self) -> None:
        """Old and new numbers of devices."""
        for line, device in DEVICES:
            self.assertEqual(parse_stat(iter([*lines(LINK)[:-1], line])).device, device)

    def test_anything_else(self) -> None:
        """What does not begin as such an answer is damage."""
        for text in (b"", b"stat: File not found\n", FILE[1:], LINK.replace(b"User:", b"Usr:")):
            with self.assertRaises(ImportRefused):
                parse_stat(iter(lines(text)))


class AttributeTests(SynchronousTestCase):
    """What ``ea_get -x`` says."""

    def test_value(self) -> None:
        """Hexadecimal digits become bytes."""
        self.assertEqual(parse_attribute("user.bin", b"user.bin (3) = 00 ff 10 \n\n"), b"\x00\xff\x10")
        self.assertEqual(parse_attribute("user.none", b"user.none (0)\n\n"), b"")

    def test_another_length(self) -> None:
        """Fewer or more bytes than told are damage."""
        for text in (b"user.bin (4) = 00 ff 10 \n", b"user.bin (2) = 00 ff 10 \n", b"other (1) = 00\n", b""):
            with self.assertRaises(ImportRefused):
                parse_attribute("user.bin", text)


class SuperblockTests(SynchronousTestCase):
    """What ``show_super_stats -h`` says."""

    def test_sizes(self) -> None:
        """Blocks become bytes."""
        superblock = parse_superblock(lines(SUPERBLOCK))
        self.assertEqual((superblock.size_bytes, superblock.used_bytes), (67_108_864, 9_899_008))
        self.assertIn("metadata_csum", superblock.features)

    def test_incomplete(self) -> None:
        """Without one of its lines it is damage."""
        for number in (1, 2, 3, 4):
            text = lines(SUPERBLOCK)
            del text[number]
            with self.assertRaises(ImportRefused):
                parse_superblock(text)
