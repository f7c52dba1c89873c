"""
The words of the hello protocol.
"""

import json
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.wire import MalformedDatagram
from piman.wire import hello as wire
from piman.wire.hello import Noise, Said, Sorry, Word, from_wire_1, from_wire_2

# What init and hello_protocol.sh of the project of 2018-2022 print, spelling by spelling: images up to 2020-11 have
# the misspelt and the blank-separated words, later ones the others.
DEPLOYED = {
    b"Hello World": Word.GREETING,
    b"MAKING NODES": Word.GREETING,
    b"MADE NODES": Word.GREETING,
    b"CHECKING IF INSTALLED": Word.GREETING,
    b"IS_INSTALLED": Word.IS_INSTALLED,
    b"IS_UNINSTALLED": Word.IS_UNINSTALLED,
    b"RECEIVED_DATE": Word.TOOK_DATE,
    b"RECEIVED DATE": Word.TOOK_DATE,
    b"SET_DATE": Word.TOOK_DATE,
    b"RECEIVED_BOOT": Word.TOOK_BOOT,
    b"RECIEVED BOOT": Word.TOOK_BOOT,
    b"RECEIVED_FORMAT": Word.TOOK_FORMAT,
    b"FORMATTING": Word.TOOK_FORMAT,
    b"RECEIVED_REINSTALL": Word.TOOK_REINSTALL,
    b"FINISHED FORMATTING": Word.AT_WORK,
    b"MOUNTING": Word.AT_WORK,
    b"FINISHED_MOUNTING": Word.MOUNTED,
    b"FINISHED MOUNTING": Word.MOUNTED,
    b"UNMOUNTING": Word.AT_WORK,
    b"FINISHED_UNMOUNTING": Word.AT_WORK,
    b"FINISHED UNMOUNTING": Word.AT_WORK,
    b"IS_FORMATTED": Word.IS_FORMATTED,
}


class Version1Tests(SynchronousTestCase):
    """Lines of deployed images."""

    def test_every_spelling(self) -> None:
        """Each word of each generation of images is understood, with CR and blanks around it or not."""
        for line, word in DEPLOYED.items():
            for spelt in (line, line + b"\r", b"  " + line + b"\t"):
                self.assertEqual(from_wire_1(spelt), Said(word, line.decode()))

    def test_trace_is_noise(self) -> None:
        """The trace of `set -x` holds every word of the protocol and means none of them."""
        for line in DEPLOYED:
            for trace in (b"+ echo " + line, b"+ send " + line, b"++ echo '" + line + b"'"):
                message = from_wire_1(trace)
                self.assertIsInstance(message, Noise)
                self.assertTrue(message.is_trace)

    def test_parts_of_words_are_noise(self) -> None:
        """A word inside a longer line, doubled, or in other letters is no word."""
        for line in (b"xIS_FORMATTED", b"IS_FORMATTED IS_FORMATTED", b"is_formatted", b"IS_FORMATTED.", b"IS_"):
            self.assertIsInstance(from_wire_1(line), Noise)

    def test_echoes_of_commands(self) -> None:
        """Nodes echo each command; that is noise not worth showing."""
        for line in (b"boot", b"format", b"EOM", b"busybox date -s 202611231115.30", b""):
            message = from_wire_1(line)
            self.assertIsInstance(message, Noise)
            self.assertTrue(message.is_trace)

    def test_error_text_is_worth_showing(self) -> None:
        """An error message of mount is noise, but not trace."""
        message = from_wire_1(b"mount: mounting /dev/mmcblk0p2 on /m failed: No such file or directory")
        self.assertIsInstance(message, Noise)
        self.assertFalse(message.is_trace)

    def test_sorry(self) -> None:
        """An image before 2019-12 does not know the date."""
        line = b"Sorry don't know how to do busybox date -s 202611231115.30"
        self.assertEqual(from_wire_1(line), Sorry("busybox date -s 202611231115.30"))

    def test_commands(self) -> None:
        """The manager's commands are the deployed ones, byte for byte; none of them is ip or reinstall."""
        self.assertEqual(wire.date_command("202611231115.30"), b"busybox date -s 202611231115.30\nEOM\n")
        self.assertEqual(wire.BOOT_1, b"boot\nEOM\n")
        self.assertEqual(wire.FORMAT_1, b"format\nEOM\n")

    @given(st.binary(max_size=300))
    def test_any_line(self, line: bytes) -> None:
        """No bytes make the reader of version 1 raise, and only whole words are words."""
        message = from_wire_1(line)
        if isinstance(message, Said):
            self.assertIn(line.decode("utf-8", "replace").strip(), wire.WORDS)


class Version2Tests(SynchronousTestCase):
    """Lines of our own initramfs."""

    def test_hello(self) -> None:
        """A HELLO as the specification prints it is read field by field."""
        line = (
            b'HELLO 2 {"mac":"b8:27:eb:12:34:56","serial":"00000000ab12cd34","model":"4B","card_bytes":31914983424,'
            b'"installed":false,"digest":""}'
        )
        hello = from_wire_2(line)
        self.assertEqual(
            hello,
            wire.Hello(
                mac=b"\xb8\x27\xeb\x12\x34\x56",
                serial="00000000ab12cd34",
                model="4B",
                card_bytes=31914983424,
                installed=False,
                digest="",
            ),
        )
        self.assertTrue(wire.is_version_2(line))

    def test_least_hello(self) -> None:
        """Only mac and installed must be there; unknown keys are ignored."""
        hello = from_wire_2(b'HELLO 2 { "installed" : true, "mac" : "B8:27:EB:12:34:56", "new" : [1] }\r')
        self.assertEqual(hello, wire.Hello(mac=b"\xb8\x27\xeb\x12\x34\x56", installed=True))

    def test_what_is_not_version_2(self) -> None:
        """A malformed HELLO and every line of an old image choose version 1."""
        lines = [*DEPLOYED, b"HELLO 2", b"HELLO 2 {}", b"HELLO 3 {}", b"HELLO 2 [", b'+ echo HELLO 2 {"mac":1}']
        for line in lines:
            self.assertFalse(wire.is_version_2(line), line)

    def test_malformed(self) -> None:
        """A known word with a wrong body is malformed, never half a message."""
        for line in (
            b'PROGRESS {"step":1}',
            b'PROGRESS {"step":"mkfs","fraction":1.5}',
            b'PROGRESS {"step":"mkfs","fraction":true}',
            b'PROGRESS {"step":"mkfs","fraction":NaN}',
            b'FAILED {"reason":"x","fatal":"no"}',
            b"FAILED nonsense",
            b'IS_FORMATTED ["x"]',
            b'HELLO 2 {"mac":"b8:27:eb","installed":true}',
            b'HELLO 2 {"mac":"b8:27:eb:12:34:56","installed":true,"card_bytes":-1}',
            b'HELLO 2 {"mac":"b8:27:eb:12:34:56","installed":true,"card_bytes":' + b"9" * 30 + b"}",
            b"FAILED " + b"[" * 60000,
        ):
            self.assertRaises(MalformedDatagram, from_wire_2, line)

    def test_half_a_surrogate(self) -> None:
        """JSON can spell text that no file takes; it arrives as a question mark."""
        failed = from_wire_2(rb'FAILED {"reason":"\ud800!"}')
        self.assertEqual(failed, wire.Failed(reason="?!"))

    def test_codes(self) -> None:
        """A code that is none is as good as no code; the reason counts."""
        for code, kept in (("no-card", "no-card"), ("brand-new", "brand-new"), ("No card!", ""), ("x" * 33, "")):
            failed = from_wire_2(b'FAILED {"code":"%s","reason":"r"}' % code.encode())
            self.assertEqual(failed, wire.Failed(reason="r", code=kept))

    def test_a_shell_reads_the_order(self) -> None:
        """The FORMAT line is flat, in the specified order, and its fields can be cut out by sed's expression."""
        digest = "9f" * 32
        url = f"http://172.30.4.1:4480/images/{digest}?token={'4b' * 16}"
        line = wire.FormatOrder(url=url, sha256=digest, size=524288000, image="default").to_wire()
        expected = f'FORMAT {{"url":"{url}","sha256":"{digest}","size":524288000,"image":"default"}}\n'
        self.assertEqual(line.decode(), expected)
        cut = re.sub(rb'.*"url":"\([^"]*\)".*'.replace(rb"\(", b"(").replace(rb"\)", b")"), rb"\1", line.strip())
        self.assertEqual(cut.decode(), url)

    @given(st.binary(max_size=300))
    def test_any_line(self, line: bytes) -> None:
        """No bytes make the reader of version 2 raise anything but MalformedDatagram."""
        for start in (b"", b"HELLO 2 ", b"PROGRESS ", b"FAILED ", b"IS_FORMATTED "):
            try:
                from_wire_2(start + line)
            except MalformedDatagram:
                pass

    @given(
        st.dictionaries(
            st.sampled_from(["mac", "installed", "serial", "step", "fraction", "fatal", "reason", "sha256"]),
            st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4),
        )
    )
    def test_any_json(self, fields: dict[str, object]) -> None:
        """No JSON object makes the reader raise anything but MalformedDatagram."""
        for word in ("HELLO 2", "PROGRESS", "FAILED", "IS_FORMATTED"):
            try:
                from_wire_2(f"{word} {json.dumps(fields)}".encode())
            except MalformedDatagram:
                pass

    @given(
        st.one_of(
            st.builds(
                wire.Hello,
                mac=st.binary(min_size=6, max_size=6),
                installed=st.booleans(),
                serial=st.sampled_from(["", "ab12cd34", "10000000ab12cd34"]),
                model=st.text(max_size=20),
                card_bytes=st.integers(0, 1 << 50),
                digest=st.sampled_from(["", "0f" * 32]),
                token=st.sampled_from(["", "4b" * 16]),
            ),
            st.builds(
                wire.Progress,
                step=st.text(max_size=20),
                fraction=st.none() | st.floats(0, 1),
                text=st.text(max_size=200),
            ),
            st.builds(
                wire.Failed,
                reason=st.text(max_size=200),
                fatal=st.booleans(),
                code=st.sampled_from(("", "no-card", "image-damaged")),
            ),
            st.builds(wire.Formatted, sha256=st.sampled_from(["", "0f" * 32])),
            st.just(wire.ClockTaken()),
        )
    )
    def test_round_trip(self, message: wire.Hello | wire.Progress | wire.Failed | wire.Formatted) -> None:
        """What a simulated node writes is one line, and is read back as it was."""
        line = message.to_wire()
        self.assertEqual(line.count(b"\n"), 1)
        self.assertEqual(from_wire_2(line), message)

    def test_order_round_trip(self) -> None:
        """A node reads the order that the manager writes; anything else is malformed."""
        order = wire.FormatOrder(url="http://a/", sha256="0f" * 32, size=7, image="default")
        self.assertEqual(wire.FormatOrder.from_wire(order.to_wire()), order)
        self.assertRaises(MalformedDatagram, wire.FormatOrder.from_wire, b"BOOT\n")
        self.assertRaises(MalformedDatagram, wire.FormatOrder.from_wire, b'FORMAT {"url":"x"}\n')
