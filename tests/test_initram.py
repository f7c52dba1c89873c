"""
The scripts that a node boots, run under busybox with a card that is made of files, and the program that packs them.
"""

import gzip
import hashlib
import io
import os
import shutil
import socketserver
import stat
import subprocess
import tarfile
import tempfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

INITRAM = Path(__file__).resolve().parents[1] / "install" / "initram"
SCRIPTS = ("init", "udhcpc_script", "hello_protocol.sh", "create_initramfs", "create_initramfs.gz")
CREATE = INITRAM / "create_initramfs"
BUSYBOX = Path("/bin/busybox")
SECTOR_BYTES = 512
GIGABYTE_SECTORS = 2_000_000


def _require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise SkipTest(f"not installed: {', '.join(missing)}")


class ScriptTests(SynchronousTestCase):
    """All shell scripts."""

    def test_every_script_parses(self) -> None:
        """No script has a syntax error."""
        for name in SCRIPTS:
            done = subprocess.run(["sh", "-n", INITRAM / name], capture_output=True, text=True, check=False)
            self.assertEqual((name, done.returncode, done.stderr), (name, 0, ""))

    def test_shellcheck_has_nothing_to_say(self) -> None:
        """shellcheck finds nothing in any script."""
        _require("shellcheck")
        paths = [INITRAM / name for name in SCRIPTS]
        done = subprocess.run(["shellcheck", "-s", "sh", *paths], capture_output=True, text=True, check=False)
        self.assertEqual(done.stdout, "")

    def test_scripts_are_executable(self) -> None:
        """The kernel, nc and udhcpc can start each script."""
        for name in SCRIPTS:
            self.assertTrue(os.access(INITRAM / name, os.X_OK), name)

    def test_the_installer_never_removes_trees(self) -> None:
        """There is no recursive rm in what runs on a node: the original's wiped a running root."""
        for name in ("init", "hello_protocol.sh", "udhcpc_script"):
            for line in (INITRAM / name).read_text().splitlines():
                self.assertNotRegex(line, r"\brm\s+(-\w*[rR]|--recursive)")


STAND_INS = """\
#!/bin/busybox sh
HELLO_PROTOCOL_FUNCTIONS=yes
. {installer}
root={directory}/root sysfs={directory}/sys scratch={directory}/tmp devicetree={directory}
read_card() {{ true; }}
has_root_partition() {{ true; }}
record() {{ echo "$*" >>{directory}/calls; }}
is_block_device() {{ true; }}
mount_root() {{ record mount_root "$@"; }}
umount() {{ record umount "$@"; }}
date() {{ record date "$@"; }}
blkid() {{ echo 'TYPE="ext4"'; }}
sync() {{ record sync; }}
write_partitions() {{ record write_partitions; }}
make_file_systems() {{ record make_file_systems; : >"$root/.piman-installing"; }}
check_file_system() {{ record check_file_system; }}
{changes}
if [ $# -gt 0 ]; then
    main "$@"
    exit
fi
exec 8>&1
"""


class Card:
    """
    A node's view of its card, made of files: sysfs, the mounted root, and stand-ins for what would touch a device.

    The stand-ins are shell functions; each writes its name and arguments to ``calls``.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.sysfs = directory / "sys"
        self.scratch = directory / "tmp"
        self.calls = directory / "calls"
        self._directory = directory
        self._programs = directory / "bin"
        self._programs.mkdir()
        subprocess.run([BUSYBOX, "--install", "-s", self._programs], check=True)
        for path in (self.root, self.scratch, self.sysfs / "block" / "mmcblk0" / "device"):
            path.mkdir(parents=True)
        self.describe(GIGABYTE_SECTORS, "SD")
        interface = self.sysfs / "class" / "net" / "eth0"
        interface.mkdir(parents=True)
        (interface / "address").write_text("b8:27:eb:01:02:03\n")
        self.calls.write_text("")

    def describe(self, sectors: int, kind: str) -> None:
        """Give the card this size and this type."""
        disk = self.sysfs / "block" / "mmcblk0"
        (disk / "size").write_text(f"{sectors}\n")
        (disk / "device" / "type").write_text(f"{kind}\n")

    def install(self, *, marker: str | None = None, unfinished: bool = False) -> None:
        """Put a system on the card whose init is an absolute link, as systemd's is."""
        for name in ("sbin", "lib/systemd"):
            (self.root / name).mkdir(parents=True)
        program = self.root / "lib/systemd/systemd"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        (self.root / "sbin/init").symlink_to("/lib/systemd/systemd")
        if marker is not None:
            (self.root / ".piman-installed").write_text(f"{marker}\n")
        if unfinished:
            (self.root / ".piman-installing").write_text("")

    @property
    def environment(self) -> dict[str, str]:
        """Nothing but busybox."""
        return {"PATH": str(self._programs)}

    def program(self, script: str, changes: str = "") -> Path:
        """
        A program of shell lines, with the installer's functions and the stand-ins.

        :param changes: more stand-ins, which the processes that the installer starts get too.
        """
        program = self._directory / "installer"
        program.write_text(
            STAND_INS.format(directory=self._directory, installer=INITRAM / "hello_protocol.sh", changes=changes)
            + script
        )
        program.chmod(0o755)
        return program

    def run(self, script: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run shell lines."""
        return subprocess.run(
            [BUSYBOX, "sh", self.program(script)],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self.environment,
        )

    def converse(self, orders: list[str], changes: str = "") -> str:
        """Carry out orders, each after the outcome of the one before; what the manager hears."""
        heard = ""
        with subprocess.Popen(
            [BUSYBOX, "sh", self.program("converse", changes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.environment,
        ) as running:
            assert running.stdin is not None and running.stdout is not None
            for order in ("WELCOME 2", *orders):
                print(order, file=running.stdin, flush=True)
                while order.startswith("FORMAT"):
                    line = running.stdout.readline()
                    heard += line
                    if not line or line.startswith(("IS_FORMATTED", "FAILED")):
                        break
            running.stdin.close()
            return heard + running.stdout.read()


class InstallerTestCase(SynchronousTestCase):
    """A test with a card."""

    def setUp(self) -> None:
        if not BUSYBOX.exists():
            raise SkipTest("there is no /bin/busybox: apt-get install busybox-static")
        self.directory = Path(tempfile.mkdtemp(prefix="piman-initram-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.card = Card(self.directory)


class CardSafetyTests(InstallerTestCase):
    """Which disk may be written to."""

    def objection(self, **variables: str) -> str:
        """What the installer has against writing to the card."""
        settings = " ".join(f"{name}={value}" for name, value in variables.items())
        return self.card.run(f"{settings}\nobjection").stdout.strip()

    def test_an_sd_card_and_emmc_may_be_written(self) -> None:
        """An SD card and the eMMC of a compute module raise no objection."""
        for kind in ("SD", "MMC"):
            self.card.describe(GIGABYTE_SECTORS, kind)
            self.assertEqual(self.objection(), "")

    def test_a_fixed_disk_is_refused(self) -> None:
        """A disk that is neither a card nor removable is not touched even when card= names it."""
        disk = self.card.sysfs / "block" / "sda"
        disk.mkdir()
        (disk / "size").write_text(f"{GIGABYTE_SECTORS}\n")
        (disk / "removable").write_text("0\n")
        self.assertIn("not touched", self.objection(card="/dev/sda"))
        (disk / "removable").write_text("1\n")
        self.assertEqual(self.objection(card="/dev/sda"), "")

    def test_a_partition_is_refused(self) -> None:
        """card= must name a whole disk."""
        self.assertIn("not a whole disk", self.objection(card="/dev/mmcblk0p2"))

    def test_a_file_is_refused(self) -> None:
        """What is no block device is no card."""
        done = self.card.run('is_block_device() { [ -b "$1" ]; }\ncard=/etc/hostname\nobjection')
        self.assertIn("there is no card at /etc/hostname", done.stdout)

    def test_a_tiny_card_is_refused(self) -> None:
        """A card without room for a root file system is refused with its size."""
        self.card.describe(98304, "SD")
        self.assertIn("holds only 50331648 bytes", self.objection())

    def test_partitions_are_named_as_the_kernel_names_them(self) -> None:
        """mmcblk0 has p2, sda has 2."""
        done = self.card.run("partition 2; card=/dev/sda; partition 2")
        self.assertEqual(done.stdout.split(), ["/dev/mmcblk0p2", "/dev/sda2"])

    def test_nothing_is_written_for_an_order_that_cannot_be_carried_out(self) -> None:
        """Without a URL, without a size, or with an image larger than the card, no partition is written."""
        for order in (
            '{"sha256":"00","size":5}',
            '{"url":"http://a/i","size":x}',
            '{"url":"http://a/i","size":9000000000}',
        ):
            done = self.card.run(f"order_format 'FORMAT {order}'")
            self.assertEqual(done.returncode, 1)
            codes = "(bad-order|card-too-small)"
            self.assertRegex(done.stdout, rf'^FAILED \{{"code":"{codes}","reason":".*","fatal":true\}}\n$')
        self.assertNotIn("write_partitions", self.card.calls.read_text())


class MarkerTests(InstallerTestCase):
    """When a card counts as installed."""

    def look(self) -> list[str]:
        """``installed`` and ``digest`` as the node would say them."""
        return self.card.run('look_at_card\necho "$installed,$digest"').stdout.strip().split(",")

    def test_an_empty_file_system_is_not_installed(self) -> None:
        """A card that was only formatted holds no system."""
        self.assertEqual(self.look(), ["false", ""])

    def test_a_finished_installation_is_installed(self) -> None:
        """The marker's digest is told; the init that is an absolute link is found inside the card."""
        self.card.install(marker="ab" * 32)
        self.assertEqual(self.look(), ["true", "ab" * 32])

    def test_an_interrupted_installation_is_not_installed(self) -> None:
        """While the marker of unfinished work is there, neither a usable init nor an older marker counts."""
        self.card.install(marker="ab" * 32, unfinished=True)
        self.assertEqual(self.look(), ["false", ""])

    def test_a_system_of_other_origin_is_left_alone(self) -> None:
        """A system that an earlier piman or a person put there is installed, of unknown digest."""
        self.card.install()
        self.assertEqual(self.look(), ["true", ""])

    def test_a_marker_without_a_system_is_not_installed(self) -> None:
        """A card whose init is gone cannot boot, whatever its marker says."""
        self.card.install(marker="ab" * 32)
        (self.card.root / "lib/systemd/systemd").unlink()
        self.assertEqual(self.look(), ["false", ""])

    def test_a_damaged_file_system_is_not_taken_for_an_empty_one(self) -> None:
        """A root that cannot be mounted but is ext4 waits for a person instead of being formatted unasked."""
        done = self.card.run('mount_root() { false; }\nlook_at_card\necho "$installed"')
        self.assertEqual(done.stdout, "true\n")

    def test_a_card_that_cannot_be_read_is_not_taken_for_an_empty_one(self) -> None:
        """A read error does not lead to a format: the node says installed and fails at BOOT."""
        done = self.card.run('read_card() { false; }\nlook_at_card\necho "$installed"')
        self.assertEqual(done.stdout, "true\n")

    def test_a_card_that_comes_late_is_not_formatted(self) -> None:
        """A card that was not there at the greeting is not formatted by an order that follows it."""
        order = 'FORMAT {"url":"http://a/i","sha256":"00","size":5,"image":"default"}'
        late = "wait_for() { false; }\nlook_at_card\nwait_for() { true; }\n"
        done = self.card.run(f"{late}order_format '{order}'")
        self.assertEqual(
            done.stdout,
            'FAILED {"code":"no-card","reason":"there is no card at /dev/mmcblk0: is it in its slot","fatal":true}\n',
        )
        self.assertNotIn("write_partitions", self.card.calls.read_text())

    def test_a_card_without_partitions_is_not_installed(self) -> None:
        """A new card is not installed."""
        done = self.card.run('has_root_partition() { false; }\nlook_at_card\necho "$installed"')
        self.assertEqual(done.stdout, "false\n")


class ConversationTests(InstallerTestCase):
    """The node's side of version 2."""

    def converse(self, said: str, extra: str = "") -> subprocess.CompletedProcess[str]:
        """One whole conversation in which the manager says this and closes."""
        return self.card.run(f"{extra}\nconverse", said)

    def test_greeting(self) -> None:
        """The first line is HELLO 2 with the board's own MAC, serial, model and card."""
        (self.directory / "serial-number").write_bytes(b"00000000abcd1234\0")
        (self.directory / "model").write_bytes(b'Raspberry Pi 3 Model B "Plus"\0')
        done = self.converse("")
        self.assertEqual(
            done.stdout,
            'HELLO 2 {"mac":"b8:27:eb:01:02:03","serial":"abcd1234","model":"Raspberry Pi 3 Model B Plus",'
            '"card_bytes":1024000000,"installed":false,"digest":""}\n',
        )
        self.assertEqual(done.returncode, 1)

    def test_the_date_is_set_and_reported_after_the_welcome(self) -> None:
        """The manager's date is taken in UTC; CLOCK_SET follows WELCOME."""
        done = self.converse("busybox date -s 202611231115.30\r\nEOM\r\nWELCOME 2\r\n")
        self.assertEqual(done.stdout.splitlines()[1:], ["CLOCK_SET"])
        self.assertIn("date -u -s 202611231115.30", self.card.calls.read_text())

    def test_what_is_no_date_is_not_run(self) -> None:
        """Nothing that the manager sends in place of a date becomes a command."""
        self.converse(f"busybox date -s $(touch {self.directory}/bad)\nbusybox date -s ;reboot\nWELCOME 2\n")
        self.assertNotIn("date", self.card.calls.read_text())
        self.assertFalse((self.directory / "bad").exists())

    def test_boot_ends_with_the_root_mounted(self) -> None:
        """BOOT checks and mounts the card; status 0 tells init to switch."""
        self.card.install()
        done = self.converse("WELCOME 2\nBOOT\n")
        self.assertEqual(done.returncode, 0)
        calls = self.card.calls.read_text().splitlines()
        self.assertEqual(calls[-2:], ["check_file_system", "mount_root rw"])

    def test_boot_of_an_empty_card_fails_in_words(self) -> None:
        """A card without a system is not switched to: the manager is told, and the node calls again."""
        done = self.converse("WELCOME 2\nBOOT\n")
        self.assertEqual(done.returncode, 1)
        failed = 'FAILED {"code":"no-system","reason":"the card holds no system that can start: reinstall this node"'
        self.assertIn(failed, done.stdout)

    def test_unknown_words_change_nothing(self) -> None:
        """A word that this installer does not know is shown on the console and passed over."""
        done = self.converse("reinstall\nrm -rf /\n")
        self.assertEqual(len(done.stdout.splitlines()), 1)
        self.assertIn("does not know: reinstall", done.stderr)

    def work(self, *words: str, token: str = "4b" * 16) -> None:
        """An earlier conversation has begun an installation, which has said this so far."""
        (self.card.scratch / "token").write_text(f"{token}\n")
        (self.card.scratch / "words").write_text("".join(f"{word}\n" for word in words))

    def test_a_card_that_is_being_written_is_left_alone(self) -> None:
        """While there is work, a conversation shows its token, looks at nothing, and does not boot."""
        self.card.install(marker="ab" * 32)
        self.work('PROGRESS {"step":"mkfs","fraction":0.50,"text":"x"}')
        done = self.converse("WELCOME 2\nBOOT\n")
        self.assertEqual(done.returncode, 1)
        token = "4b" * 16
        self.assertRegex(done.stdout, rf'^HELLO 2 .*"installed":false,"digest":"","token":"{token}"}}\n$')
        self.assertEqual(self.card.calls.read_text(), "")
        self.assertIn("not while the card is being written", done.stderr)

    def test_a_failure_is_told_once_more(self) -> None:
        """After a failed installation the token is shown still, and CONTINUE is answered with the failure."""
        failure = 'FAILED {"code":"no-card","reason":"x","fatal":true}'
        self.work(failure)
        lines = self.converse("WELCOME 2\nCONTINUE\n", "pass_on() { last_word >&8; }").stdout.splitlines()
        self.assertIn('"token":', lines[0])
        self.assertEqual(lines[1:], [failure])

    def test_a_finished_installation_shows_no_token(self) -> None:
        """What is on the card tells that it is installed; it boots."""
        self.card.install(marker="ab" * 32)
        self.work('IS_FORMATTED {"sha256":"ab"}')
        done = self.converse("WELCOME 2\nBOOT\n")
        self.assertNotIn("token", done.stdout)
        self.assertEqual(done.returncode, 0)

    def test_text_that_could_break_json_is_dropped(self) -> None:
        """Quotes, backslashes and control characters never reach the manager."""
        done = self.card.run("(fail card-broken 'sfdisk: \"bad\" \\\\x\tcolumn')")
        self.assertEqual(done.stdout, 'FAILED {"code":"card-broken","reason":"sfdisk: bad xcolumn","fatal":false}\n')

    def test_fields_are_read_from_the_documented_line(self) -> None:
        """The FORMAT line of docs/protocols/hello.md is read field by field."""
        line = (
            'FORMAT {"url":"http://172.30.4.1:4480/images/9f86?token=4be0","sha256":"9f86","size":524288000,'
            '"image":"default"}'
        )
        done = self.card.run(f"for key in url sha256 size image; do field '{line}' $key; done")
        self.assertEqual(
            done.stdout.split(), ["http://172.30.4.1:4480/images/9f86?token=4be0", "9f86", "524288000", "default"]
        )


class ImageDoor(socketserver.ThreadingTCPServer):
    """An HTTP door on loopback that breaks off as often as it is told to."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, image: bytes, breaks: list[int], status: int | None = None) -> None:
        self.image = image
        self.breaks = breaks
        self.status = status
        self.offsets: list[int] = []
        super().__init__(("127.0.0.1", 0), _ImageRequest)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


class _ImageRequest(BaseHTTPRequestHandler):
    """GET with ``Range: bytes=N-``."""

    server: ImageDoor

    def do_GET(self) -> None:
        """Answer with the rest of the image, or with the part before the next break."""
        door = self.server
        if door.status is not None:
            self.send_error(door.status)
            return
        offset = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        door.offsets.append(offset)
        self.send_response(206)
        self.send_header("Content-Length", str(len(door.image) - offset))
        self.end_headers()
        end = door.breaks.pop(0) if door.breaks else len(door.image)
        self.wfile.write(door.image[offset:end])

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def root_archive(ballast_bytes: int = 0, with_init: bool = True) -> bytes:
    """A root file system with a stamp and, unless told otherwise, an init."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        files = {"stamp": b"new", "ballast": hashlib.shake_128(b"x").digest(ballast_bytes)}
        if with_init:
            files["sbin/init"] = b"#!/bin/sh\n"
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class InstallationTests(InstallerTestCase):
    """FORMAT, from the door to the marker."""

    def install(
        self,
        image: bytes,
        *,
        breaks: list[int] | None = None,
        digest: str | None = None,
        status: int | None = None,
        changes: str = "",
    ) -> str:
        """Carry out one FORMAT order for this image; what the manager hears."""
        self.door = ImageDoor(image, breaks or [], status)
        self.addCleanup(self.door.close)
        self.digest = digest or hashlib.sha256(image).hexdigest()
        order = (
            f'FORMAT {{"url":"http://127.0.0.1:{self.door.server_address[1]}/images/{self.digest}?token=t",'
            f'"sha256":"{self.digest}","size":{len(image)},"image":"default"}}'
        )
        return self.card.converse([order], changes)

    def is_marked(self) -> bool:
        """Whether the card says that it holds this image."""
        marker = self.card.root / ".piman-installed"
        return marker.exists() and marker.read_text().strip() == self.digest

    def test_a_whole_image_is_unpacked_verified_and_marked(self) -> None:
        """IS_FORMATTED carries the digest, and the marker replaces that of unfinished work."""
        done = self.install(root_archive(100_000))
        self.assertEqual(done.splitlines()[-1], f'IS_FORMATTED {{"sha256":"{self.digest}"}}')
        self.assertEqual((self.card.root / "stamp").read_bytes(), b"new")
        self.assertTrue(self.is_marked())
        self.assertFalse((self.card.root / ".piman-installing").exists())

    def test_a_broken_stream_goes_on_where_it_ended(self) -> None:
        """After each break the rest is asked for, byte-exact, and the digest still fits."""
        done = self.install(root_archive(9_000_000), breaks=[5_000_000, 6_500_001])
        self.assertIn("IS_FORMATTED", done)
        self.assertEqual(self.door.offsets, [0, 5_000_000, 6_500_001])

    def test_a_stream_that_stays_broken_ends_the_attempt(self) -> None:
        """When no byte comes for SILENCE_SECONDS the node says how far it came."""
        done = self.install(root_archive(1_000_000), breaks=[400_000] * 50, changes="SILENCE_SECONDS=3")
        failed = r'FAILED \{"code":"image-broken","reason":"the image ended at byte 400000 of \d+: '
        self.assertRegex(done, failed)
        self.assertFalse(self.is_marked())

    def test_a_damaged_image_is_never_taken_for_installed(self) -> None:
        """With another digest than ordered the node fails and the marker of unfinished work stays."""
        done = self.install(root_archive(1000), digest="00" * 32)
        self.assertNotIn("IS_FORMATTED", done)
        reason = "the image is damaged: its SHA-256 is .*"
        self.assertRegex(done, rf'FAILED \{{"code":"image-damaged","reason":"{reason}","fatal":false\}}')
        self.assertFalse(self.is_marked())
        self.assertTrue((self.card.root / ".piman-installing").exists())

    def test_an_image_that_is_no_archive_fails_in_words(self) -> None:
        """A file that is not gzip is refused for good, with its digest right."""
        done = self.install(b"this is no archive" * 1000)
        self.assertRegex(done, r'FAILED \{"code":"image-unusable","reason":".*(gzip|tar).*"')
        self.assertFalse(self.is_marked())

    def test_an_image_without_an_init_fails(self) -> None:
        """A root file system that could not start is refused for good."""
        done = self.install(root_archive(with_init=False))
        reason = "the image holds no /sbin/init: no system can start"
        self.assertIn(f'FAILED {{"code":"image-unusable","reason":"{reason}","fatal":true}}', done)
        self.assertFalse(self.is_marked())

    def test_a_refusal_of_the_door_ends_the_attempt(self) -> None:
        """HTTP 410 is not asked again: the manager has changed its mind."""
        done = self.install(root_archive(), status=410)
        self.assertIn("the manager refuses the image: HTTP 410", done)
        self.assertFalse(self.is_marked())

    def test_an_order_after_a_failure_is_carried_out(self) -> None:
        """FAILED ends the order, not the conversation: the next FORMAT is heard."""
        image = root_archive(1000)
        self.install(image, digest="00" * 32)
        good = hashlib.sha256(image).hexdigest()
        url = f"http://127.0.0.1:{self.door.server_address[1]}/images/x?token=t"
        orders = [
            f'FORMAT {{"url":"{url}","sha256":"{digest}","size":{len(image)},"image":"default"}}'
            for digest in ("00" * 32, good)
        ]
        done = self.card.converse(orders)
        words = [line.split()[0] for line in done.splitlines() if not line.startswith("PROGRESS")]
        self.assertEqual(words, ["HELLO", "FAILED", "IS_FORMATTED"])


class InitTests(SynchronousTestCase):
    """How the first program of a node finds its manager, and what it does when it cannot."""

    def setUp(self) -> None:
        if not BUSYBOX.exists():
            raise SkipTest("there is no /bin/busybox: apt-get install busybox-static")
        self.directory = Path(tempfile.mkdtemp(prefix="piman-init-"))
        self.addCleanup(shutil.rmtree, self.directory)
        (self.directory / "net").mkdir()

    def run_lines(self, lines: str, *, arguments: str = "", pnp: str = "", lease: str = "") -> str:
        """What init's functions print, given a kernel command line and the answers of DHCP."""
        (self.directory / "cmdline").write_text(arguments + "\n")
        (self.directory / "net" / "pnp").write_text(pnp)
        (self.directory / "lease").write_text(lease)
        prelude = f"INIT_FUNCTIONS=yes\n. {INITRAM}/init\nproc={self.directory}\nsysfs={self.directory}\n"
        done = subprocess.run(
            [BUSYBOX, "sh", "-c", f"{prelude}leased={self.directory}/lease\n{lines}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout

    def manager(self, **given: str) -> str:
        """The manager that is found."""
        return self.run_lines('find_manager; echo "$manager"', **given).strip()

    def test_the_command_line_names_the_manager(self) -> None:
        """master= wins over what DHCP says."""
        found = self.manager(arguments="ip=dhcp master=172.30.4.1 quiet", pnp="bootserver 10.0.0.1\n")
        self.assertEqual(found, "172.30.4.1")

    def test_the_server_that_gave_the_address_is_the_manager(self) -> None:
        """Without master=, or with MASTER left in it, the kernel's bootserver counts, then udhcpc's server."""
        pnp = "#PROTO: DHCP\ndomain lab\nbootserver 172.30.4.1 \n"
        self.assertEqual(self.manager(arguments="master=MASTER", pnp=pnp), "172.30.4.1")
        self.assertEqual(self.manager(pnp=pnp), "172.30.4.1")
        self.assertEqual(self.manager(pnp="bootserver 0.0.0.0\n", lease="172.30.4.9\n"), "172.30.4.9")

    def test_no_manager_is_said(self) -> None:
        """Without any hint the console says what is missing."""
        self.assertIn("piman: no manager: neither master=", self.manager())

    def test_the_installer_is_told_where_to_call(self) -> None:
        """The installer calls again by itself, so it gets manager, port and card in its environment."""
        said = self.run_lines(
            'nc() { echo "$*"; env; }; manager=172.30.4.1; greet_manager', arguments="hello_port=33 card=/dev/sda"
        ).splitlines()
        self.assertIn("-w 15 172.30.4.1 33 -e /hello_protocol.sh", said)
        self.assertLessEqual({"manager=172.30.4.1", "hello_port=33", "card=/dev/sda"}, set(said))

    def test_only_wired_interfaces_count(self) -> None:
        """The loopback, Wi-Fi and interfaces without hardware are passed over."""
        interfaces = {"dummy0": ("1", ()), "lo": ("772", ()), "wlan0": ("1", ("device", "wireless"))}
        for name, (kind, parts) in {**interfaces, "end0": ("1", ("device",))}.items():
            directory = self.directory / "class" / "net" / name
            directory.mkdir(parents=True)
            (directory / "type").write_text(f"{kind}\n")
            for part in parts:
                (directory / part).mkdir()
        self.assertEqual(self.run_lines("find_interface"), "end0\n")

    def test_failures_are_retried_with_growing_pauses_and_end_in_a_restart(self) -> None:
        """After ten failures the board restarts; every step is said."""
        said = self.run_lines(
            "raise_network() { return 1; }; sleep() { echo pause $1; }; sync() { :; }\n"
            "reboot() { echo reboot $1; exit; }\ntry_until_ready"
        ).splitlines()
        pauses = [line for line in said if line.startswith("pause")]
        self.assertEqual(pauses, [f"pause {seconds}" for seconds in (10, 20, 40, 80, 120, 120, 120, 120, 120)])
        self.assertEqual(said[-2:], ["piman: failed 10 times: restarting the board", "reboot -f"])
        self.assertIn("piman: trying again in 20 seconds (attempt 3 of 10)", said)


class OptionTests(SynchronousTestCase):
    """The command line of create_initramfs."""

    def setUp(self) -> None:
        _require("dpkg-deb")
        self.directory = Path(tempfile.mkdtemp(prefix="piman-create-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def create(self, *arguments: str | Path, program: str = "create_initramfs", path: str | None = None) -> "Result":
        """Run it in a directory that is not its own."""
        environment = dict(os.environ) if path is None else {**os.environ, "PATH": path}
        return subprocess.run(
            [INITRAM / program, *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_help(self) -> None:
        """--help tells every option and succeeds, under the old name too."""
        for program in ("create_initramfs", "create_initramfs.gz"):
            done = self.create("--help", program=program)
            self.assertEqual(done.returncode, 0)
            for option in ("--arch", "--output", "--modules", "--kernel-package", "--script", "--debs", "--download"):
                self.assertIn(option, done.stdout)

    def test_mistakes_are_one_line_and_status_2(self) -> None:
        """An unknown architecture, an unknown option and a missing value are usage errors."""
        for arguments in (["--arch", "mips"], ["--verbose"], ["--output"], ["--modules", "a", "--kernel-package", "b"]):
            done = self.create(*arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), arguments)

    def test_a_missing_tool_is_named_with_its_package(self) -> None:
        """Without cpio the operator is told what to install."""
        tools = self.directory / "tools"
        tools.mkdir()
        for name in ("sh", "dirname", "dpkg-deb", "gzip"):
            found = shutil.which(name)
            assert found is not None
            (tools / name).symlink_to(found)
        script = (CREATE.read_text()).replace("PATH=$PATH:/usr/sbin:/sbin", f"PATH={tools}")
        copy = self.directory / "create_initramfs"
        copy.write_text(script)
        done = subprocess.run(["sh", copy, "--debs", self.directory], capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "create_initramfs: needs cpio: apt-get install cpio\n")
        self.assertEqual(done.returncode, 1)

    def test_a_directory_without_packages_is_an_error(self) -> None:
        """--debs with an empty directory says so and leaves no file behind."""
        _require("cpio")
        empty = self.directory / "debs"
        empty.mkdir()
        done = self.create("--debs", empty, "--output", self.directory / "out.gz")
        self.assertEqual(done.stderr, f"create_initramfs: there is no .deb file in {empty}\n")
        self.assertEqual(sorted(path.name for path in self.directory.iterdir()), ["debs"])

    def test_no_network_is_one_line(self) -> None:
        """When apt cannot reach its servers the operator reads apt's own first error."""
        _require("cpio", "apt-get")
        tools = self.directory / "tools"
        tools.mkdir()
        apt = tools / "apt-get"
        apt.write_text("#!/bin/sh\necho 'E: Failed to fetch http://deb.debian.org/  Could not resolve'\nexit 100\n")
        apt.chmod(0o755)
        done = self.create("--output", self.directory / "out.gz", path=f"{tools}:{os.environ['PATH']}")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr,
            "create_initramfs: cannot fetch Debian's packages for arm64: E: Failed to fetch http://deb.debian.org/  "
            "Could not resolve\n",
        )

    def test_a_missing_list_of_packages_is_a_warning(self) -> None:
        """When one of apt's sources fails and the packages can be had all the same, the build goes on."""
        _require("cpio", "apt-get")
        tools = self.directory / "tools"
        tools.mkdir()
        apt = tools / "apt-get"
        apt.write_text('#!/bin/sh\n[ "$2" != update ] || { echo "E: Mirror sync in progress?"; exit 100; }\n')
        apt.chmod(0o755)
        done = self.create("--output", self.directory / "out.gz", path=f"{tools}:{os.environ['PATH']}")
        warning, end = done.stderr.splitlines()
        self.assertEqual(
            warning,
            "create_initramfs: warning: a list of packages is missing, these may not be the newest: "
            "E: Mirror sync in progress?",
        )
        self.assertIn("there is no .deb file", end)


Result = subprocess.CompletedProcess[str]


class BuildTests(SynchronousTestCase):
    """What create_initramfs packs, from packages that are made here."""

    def setUp(self) -> None:
        _require("dpkg-deb", "cpio")
        self.directory = Path(tempfile.mkdtemp(prefix="piman-build-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.debs = self.directory / "debs"
        self.debs.mkdir()
        self.package("busybox-static", {"bin/busybox": b"static program"})
        self.package(
            "e2fsprogs",
            {
                "sbin/mke2fs": b"\0libext2fs.so.2\0libc.so.6\0",
                "sbin/e2fsck": b"\0libc.so.6\0",
                "etc/mke2fs.conf": b"[defaults]\n",
            },
        )
        self.package("fdisk", {"usr/sbin/sfdisk": b"\0libfdisk.so.1\0"})
        self.package("libext2fs2", {"usr/lib/aarch64-linux-gnu/libext2fs.so.2": b"\0libuuid.so.1\0"})
        self.package("libuuid1", {"usr/lib/aarch64-linux-gnu/libuuid.so.1": b"uuid"})
        self.package("libfdisk1", {"lib/aarch64-linux-gnu/libfdisk.so.1": b"fdisk"})
        self.package(
            "libc6",
            {
                "lib/aarch64-linux-gnu/libc.so.6": b"c",
                "lib/aarch64-linux-gnu/libm.so.6": b"m",
                "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1": b"loader",
            },
        )

    def package(self, name: str, files: dict[str, bytes], architecture: str = "arm64") -> None:
        """A .deb with these files."""
        tree = self.directory / "packages" / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: {architecture}\nMaintainer: nobody\nDescription: for a test\n"
        )
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        build = ["dpkg-deb", "--build", "-Znone", "--root-owner-group"]
        subprocess.run([*build, tree, self.debs], capture_output=True, check=True)

    def create(self, output: str, *arguments: str | Path, umask: int = 0o022) -> Path:
        """Build from the packages and return the file."""
        path = self.directory / output
        subprocess.run(
            [CREATE, "--debs", self.debs, "--output", path, *arguments], capture_output=True, check=True, umask=umask
        )
        return path

    def unpack(self, archive: Path) -> Path:
        """The tree that the kernel would see."""
        tree = self.directory / f"{archive.name}.tree"
        tree.mkdir()
        subprocess.run(
            ["cpio", "--extract", "--quiet", "--make-directories", "--no-absolute-filenames"],
            cwd=tree,
            input=gzip.decompress(archive.read_bytes()),
            check=True,
        )
        return tree

    def test_two_builds_are_the_same(self) -> None:
        """Neither the time, nor the directory, nor the builder's umask shows in the file."""
        first = self.create("a.gz").read_bytes()
        second = self.create("b.gz", umask=0o077).read_bytes()
        self.assertEqual(hashlib.sha256(first).hexdigest(), hashlib.sha256(second).hexdigest())

    def test_the_archive_names_no_builder(self) -> None:
        """Everything belongs to root and dates from 1970; gzip's own time stamp is zero (RFC 1952 section 2.3)."""
        archive = self.create("a.gz").read_bytes()
        self.assertEqual(archive[4:8], bytes(4))
        listing = subprocess.run(
            ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"],
            input=gzip.decompress(archive),
            capture_output=True,
            check=True,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        ).stdout.decode()
        rows = [line.split() for line in listing.splitlines()]
        self.assertEqual({(row[2], row[3], *row[5:8]) for row in rows}, {("0", "0", "Jan", "1", "1970")})
        self.assertEqual([row[8] for row in rows], sorted(row[8] for row in rows))

    def test_programs_come_with_the_libraries_that_they_name(self) -> None:
        """Libraries are taken with those that they name themselves; others stay out."""
        tree = self.unpack(self.create("a.gz"))
        libraries = sorted(path.name for path in (tree / "lib/aarch64-linux-gnu").iterdir())
        self.assertEqual(libraries, ["libc.so.6", "libext2fs.so.2", "libfdisk.so.1", "libuuid.so.1"])
        for name in (
            "init",
            "hello_protocol.sh",
            "udhcpc_script",
            "bin/busybox",
            "sbin/sfdisk",
            "sbin/mke2fs",
            "lib/ld-linux-aarch64.so.1",
        ):
            self.assertTrue(os.access(tree / name, os.X_OK), name)

    def test_the_edited_installer_is_packed(self) -> None:
        """--script puts the operator's own hello_protocol.sh into the file."""
        script = self.directory / "mine.sh"
        script.write_text("#!/bin/busybox sh\necho mine\n")
        tree = self.unpack(self.create("a.gz", "--script", script))
        self.assertEqual((tree / "hello_protocol.sh").read_text(), script.read_text())

    def test_a_script_with_a_syntax_error_is_refused(self) -> None:
        """An installer that cannot run never replaces one that can."""
        good = self.create("a.gz")
        before = good.read_bytes()
        script = self.directory / "mine.sh"
        script.write_text("if true; then\n")
        done = subprocess.run(
            [CREATE, "--debs", self.debs, "--output", good, "--script", script],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("is not a shell script that can run", done.stderr)
        self.assertEqual(good.read_bytes(), before)

    def test_the_file_is_replaced_at_once_and_readable(self) -> None:
        """A build leaves a new file with mode 644 and nothing beside it."""
        path = self.create("a.gz", umask=0o077)
        inode = path.stat().st_ino
        self.create("a.gz")
        self.assertNotEqual(path.stat().st_ino, inode)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o644)
        self.assertEqual([entry.name for entry in self.directory.iterdir() if entry.name.startswith(".")], [])

    def test_a_package_of_another_architecture_is_refused(self) -> None:
        """A .deb for the wrong boards is named instead of packed."""
        self.package("stray", {"bin/stray": b""}, architecture="armhf")
        done = subprocess.run(
            [CREATE, "--debs", self.debs, "--output", self.directory / "a.gz"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.stderr, f"create_initramfs: {self.debs}/stray_1_armhf.deb is not for arm64\n")

    def test_an_incomplete_set_of_packages_is_named(self) -> None:
        """A missing program is an error that names it."""
        next(self.debs.glob("fdisk_*.deb")).unlink()
        done = subprocess.run(
            [CREATE, "--debs", self.debs, "--output", self.directory / "a.gz"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("no package contains sbin/sfdisk", done.stderr)
