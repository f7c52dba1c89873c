"""
The hello protocol: conversations with installers of both versions.
"""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.events import (
    BootOrdered,
    ClockSet,
    FormatOrdered,
    Installed,
    InstallerConnected,
    InstallerFailed,
    InstallerReported,
    InstallerUnknown,
    IntentClosed,
    NodeUp,
    RepeatsCounted,
    WordUnexpected,
)
from piman.fleet.interfaces import IInstallers
from piman.fleet.model import Intent, IntentOrigin, IntentState, MACAddress, Node, NodeStatus, Phase
from piman.fleet.walltime import WallTime
from piman.hello import HelloSettings
from piman.installing.room import Places
from piman.wire.hello import BOOT_1, BOOT_2, CONTINUE, FORMAT_1, WELCOME
from tests.hello_support import (
    ADDRESS,
    DATE,
    DIGEST,
    IMAGE,
    MAC,
    OTHER,
    OTHER_ADDRESS,
    STRANGER_ADDRESS,
    Call,
    World,
)

GREETING = ("+ echo Hello World", "Hello World", "MAKING NODES", "MADE NODES", "CHECKING IF INSTALLED")


def hello(installed: bool = False, mac: MACAddress = MAC, **more: object) -> str:
    """A version 2 greeting."""
    fields = {"mac": str(mac), "serial": "", "model": "3B", "card_bytes": 8, "installed": installed, "digest": ""}
    return "HELLO 2 " + json.dumps({**fields, **more})


class HelloTestCase(SynchronousTestCase):
    """A world for each test, which leaves no timer behind."""

    statuses: tuple[NodeStatus, ...] = ()

    def setUp(self) -> None:
        """Two known nodes, neither with an intent."""
        self.world = World(statuses=self.statuses)

    def reinstall(self, serial: str | None = None) -> Intent:
        """The operator wants the node installed."""
        opening = self.world.book.open_intent(MAC, IntentOrigin.OPERATOR, "default", serial)
        return self.successResultOf(opening)

    def formatting(self) -> Call:
        """A version 1 node that has been told to format."""
        call = self.world.call()
        call.hears()
        self.assertEqual(call.says(*GREETING, "IS_UNINSTALLED"), FORMAT_1)
        return call

    def state(self) -> IntentState | None:
        """Of the node's living intent."""
        intent = self.world.book.current(MAC)
        return None if intent is None else intent.state

    def timers(self) -> list[object]:
        """What still waits."""
        return list(self.world.reactor.getDelayedCalls())


class BootTests(HelloTestCase):
    """A node whose card holds a system."""

    def test_date_of_the_host(self) -> None:
        """The date is the host's, also after somebody has set its clock."""
        world = World()
        world.service.wall = WallTime(world.reactor, lambda: 1_795_432_530.0)
        # date -u -d @1795432530 +%Y%m%d%H%M.%S
        self.assertIn(b"202611231115.30", world.call().hears())

    def test_date_at_once(self) -> None:
        """The manager speaks first: the date in UTC, as the deployed script reads it."""
        self.assertEqual(self.world.call().hears(), DATE)

    def test_boots(self) -> None:
        """IS_INSTALLED without an intent is answered with boot, said once."""
        call = self.world.call()
        self.assertEqual(call.says(*GREETING, "IS_INSTALLED"), DATE + BOOT_1)
        call.says("boot", "RECEIVED_BOOT", "MOUNTING", "FINISHED_MOUNTING")
        call.hangs_up()
        self.assertEqual(self.world.kinds()[:2], ["InstallerConnected", "BootOrdered"])
        self.assertEqual(
            self.world.said(InstallerConnected), [InstallerConnected(mac=MAC, address=ADDRESS, version=1)]
        )
        self.assertEqual(self.world.said(WordUnexpected), [])

    def test_lease_lives_on(self) -> None:
        """A conversation keeps the node's lease alive, at once and each minute."""
        self.world.service.startService()
        self.world.call()
        self.assertEqual(self.world.addresses.touched, [ADDRESS])
        self.world.reactor.advance(60)
        self.assertEqual(self.world.addresses.touched, [ADDRESS, ADDRESS])
        self.successResultOf(self.world.service.stopService())

    def test_clock(self) -> None:
        """Every spelling of "took the date" is one ClockSet, once a conversation."""
        for word in ("RECEIVED_DATE", "RECEIVED DATE", "SET_DATE"):
            world = self.world = World()
            world.call().says("Hello World", word, word)
            self.assertEqual(world.said(ClockSet), [ClockSet(mac=MAC)])

    def test_sorry_to_the_date_is_no_error(self) -> None:
        """Images before 2019-12 do not know the date command; nothing is wrong with them."""
        call = self.world.call()
        call.says("Hello World", "busybox date -s 202611231115.30")
        call.says("Sorry don't know how to do busybox date -s 202611231115.30")
        self.assertEqual(call.says("IS_INSTALLED"), BOOT_1)
        self.assertEqual(self.world.said(InstallerFailed), [])
        self.assertEqual(self.world.said(ClockSet), [])

    def test_sorry_to_boot(self) -> None:
        """A node that does not know boot cannot go on."""
        self.world.call().says("IS_INSTALLED", "Sorry don't know how to do boot")
        self.assertEqual(len(self.world.said(InstallerFailed)), 1)

    def test_trace_decides_nothing(self) -> None:
        """The trace of a script holds both verdicts; neither counts."""
        call = self.world.call()
        self.assertEqual(call.says("+ send IS_UNINSTALLED", "+ echo IS_INSTALLED", "xIS_UNINSTALLED"), DATE)

    def test_installed_then_uninstalled(self) -> None:
        """IS_UNINSTALLED after IS_INSTALLED in one conversation is an event, never a format."""
        call = self.world.call()
        self.assertEqual(call.says("IS_INSTALLED", "IS_UNINSTALLED"), DATE + BOOT_1)
        self.assertEqual(
            self.world.said(WordUnexpected), [WordUnexpected(mac=MAC, word="IS_UNINSTALLED", state="leaving")]
        )
        self.assertEqual(self.world.said(FormatOrdered), [])

    def test_both_in_one_packet_while_the_manager_thinks(self) -> None:
        """The second verdict does not count either while the first is being decided."""
        self.reinstall()
        self.world.images.held = []
        call = self.world.call()
        call.says("IS_INSTALLED", "IS_UNINSTALLED")
        self.world.images.held.pop().callback(IMAGE)
        self.assertEqual(call.hears(), FORMAT_1)
        self.assertEqual([event.state for event in self.world.said(WordUnexpected)], ["deciding"])

    def test_errors_in_its_own_words(self) -> None:
        """An error text of the script is shown; its trace and its echoes are not."""
        self.world.call().says("Hello World", "+ mount", "boot", "mount: no such device")
        self.assertEqual(
            self.world.said(InstallerReported), [InstallerReported(mac=MAC, text="mount: no such device")]
        )

    def test_flood_of_errors(self) -> None:
        """A node that prints without end does not flood the log."""
        call = self.world.call()
        for _ in range(500):
            call.says("mount: no such device", "RECEIVED_BOOT")
        self.assertLess(len(self.world.events.events), 200)

    def test_never_ours(self) -> None:
        """RECEIVED_REINSTALL answers a command that we never send: an event."""
        self.world.call().says("RECEIVED_REINSTALL")
        self.assertEqual(len(self.world.said(WordUnexpected)), 1)


class InstallTests(HelloTestCase):
    """Version 1: a node without a system, and one that is to be installed anew."""

    def test_own_wish(self) -> None:
        """IS_UNINSTALLED of a known node opens an intent, is answered with format, and ends installed."""
        call = self.formatting()
        self.assertEqual(call.says("RECEIVED_FORMAT", "FORMATTING", "FINISHED FORMATTING"), b"")
        self.world.deliver()
        self.assertEqual(call.says("MOUNTING", "FINISHED_MOUNTING", "IS_FORMATTED"), BOOT_1)
        self.assertIsNone(self.state())
        kinds = [kind for kind in self.world.kinds() if kind != "InstallerReported"]
        self.assertEqual(
            kinds, ["InstallerConnected", "IntentOpened", "FormatOrdered", "Installed", "BootOrdered"]
        )
        ordered = self.world.said(FormatOrdered)[0]
        self.assertEqual((ordered.attempt, ordered.image, ordered.digest), (1, "default", DIGEST))

    def test_operator(self) -> None:
        """With an operator's intent an installed node is formatted."""
        intent = self.reinstall()
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + FORMAT_1)
        self.assertEqual([event.intent for event in self.world.said(FormatOrdered)], [intent.id])

    def test_nothing_before_the_disk(self) -> None:
        """No format leaves before its intent is durably ordered, no boot before it is durably fulfilled."""
        self.world.store.held = True
        call = self.world.call()
        self.assertEqual(call.says("IS_UNINSTALLED"), DATE)
        self.world.store.flush()
        self.assertEqual(call.hears(), FORMAT_1)
        self.world.deliver()
        self.assertEqual(call.says("IS_FORMATTED"), b"")
        self.assertEqual(self.world.said(Installed), [])
        self.world.store.flush()
        self.assertEqual(call.hears(), BOOT_1)
        self.assertEqual(len(self.world.said(Installed)), 1)

    def test_full_disk(self) -> None:
        """When the intent cannot be written, nothing is formatted and the conversation ends, without a traceback."""
        self.world.store.held = True
        call = self.world.call()
        self.assertEqual(call.says("IS_UNINSTALLED"), DATE)
        self.world.store.refuse()
        self.assertEqual(call.hears(), b"")
        self.assertTrue(call.is_closed)
        self.assertEqual(self.flushLoggedErrors(), [])
        (failed,) = self.world.said(InstallerFailed)
        self.assertIn("disk is full", failed.reason)

    def test_early_speaker(self) -> None:
        """An image before 2019-11 says IS_FORMATTED before its fetch, and is installed once it has mounted."""
        call = self.formatting()
        self.assertEqual(call.says("FORMATTING", "FINISHED FORMATTING", "IS_FORMATTED"), b"")
        intent = self.world.service.intent_at_work(MAC)
        assert intent is not None
        self.assertIs(intent.state, IntentState.ORDERED)
        self.assertEqual(call.says("MOUNTING", "FINISHED MOUNTING"), b"")
        self.assertEqual(self.world.said(Installed), [])
        self.world.deliver()
        self.assertEqual(call.says("MOUNTING", "FINISHED MOUNTING"), BOOT_1)
        self.assertEqual(len(self.world.said(Installed)), 1)

    def test_half_an_image(self) -> None:
        """IS_FORMATTED without a delivered image installs nothing: the script never looks at tar's status."""
        call = self.formatting()
        self.assertEqual(call.says("FINISHED_MOUNTING", "IS_FORMATTED"), b"")
        call.hangs_up()
        self.assertEqual(self.state(), IntentState.ORDERED)
        self.assertEqual(self.world.said(Installed), [])
        self.assertEqual(len(self.world.said(InstallerFailed)), 1)

    def break_off(self, call: Call) -> None:
        """The image begins, and the line breaks."""
        self.world.begin()
        call.hangs_up()

    def test_incomplete_is_ordered_again(self) -> None:
        """IS_INSTALLED while the image is incomplete formats again, three times; then the node may boot."""
        self.break_off(self.formatting())
        for _ in range(2):
            call = self.world.call()
            self.assertEqual(call.says("IS_INSTALLED"), DATE + FORMAT_1)
            self.break_off(call)
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual([event.attempt for event in self.world.said(FormatOrdered)], [1, 2, 3])
        self.assertEqual([event.state for event in self.world.said(IntentClosed)], ["failed"])

    def turned_away(self) -> None:
        """A node without a system calls in vain."""
        call = self.world.call()
        call.hears()
        self.assertEqual(call.says("IS_UNINSTALLED"), b"")
        self.assertTrue(call.is_closed)

    def test_worn_out_without_a_system(self) -> None:
        """After three broken images a node is turned away, for 5 minutes, then 10, 20, 40 and never more than 60."""
        for minutes in (5, 10, 20, 40, 60, 60):
            for _ in range(3):
                self.break_off(self.formatting())
            self.turned_away()
            self.world.reactor.advance(60 * minutes - 1)
            self.turned_away()
            self.world.reactor.advance(1)
        self.formatting()

    def test_bad_line(self) -> None:
        """Conversations that break off before the image began cost no attempt, so that three images are still tried."""
        for _ in range(6):
            self.formatting().hangs_up()
        for _ in range(3):
            self.break_off(self.formatting())
        self.turned_away()
        attempts = [event.attempt for event in self.world.said(FormatOrdered)]
        self.assertEqual(attempts, [1] * 7 + [2, 3])

    def test_line_that_never_gets_better(self) -> None:
        """Orders that cost no attempt are bounded too: nine in all, and then a pause."""
        for _ in range(9):
            self.formatting().hangs_up()
        self.turned_away()
        self.assertEqual(len({event.intent for event in self.world.said(FormatOrdered)}), 1)

    def test_restart_forgets_what_was_free(self) -> None:
        """After a restart nobody knows whether the image began: the order counts."""
        for _ in range(3):
            self.formatting().hangs_up()
            self.world.restart()
        self.turned_away()

    def test_silence_costs_an_attempt(self) -> None:
        """A node that is silent for half an hour after format has used its attempt, three times in all."""
        for _ in range(3):
            self.formatting()
            self.world.reactor.advance(1800)
        self.turned_away()
        self.world.reactor.advance(3599)
        self.turned_away()

    def test_delivered_is_never_formatted(self) -> None:
        """IS_INSTALLED of the next boot fulfils a delivered intent and boots."""
        call = self.formatting()
        self.world.deliver()
        call.hangs_up()
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual(len(self.world.said(FormatOrdered)), 1)
        self.assertEqual(len(self.world.said(Installed)), 1)

    def test_delivered_but_empty(self) -> None:
        """When the delivered image did not reach the card, the node's own word begins a new intent, counted on."""
        for attempt in (1, 2, 3):
            call = self.formatting()
            self.world.deliver()
            call.hangs_up()
            self.assertEqual(self.world.said(FormatOrdered)[-1].attempt, attempt)
        call = self.world.call()
        self.assertEqual(call.says("IS_UNINSTALLED"), DATE)
        self.assertEqual(len({event.intent for event in self.world.said(FormatOrdered)}), 3)
        self.assertEqual(self.world.said(Installed), [])
        self.world.reactor.advance(3599)
        self.turned_away()

    def test_manager_killed(self) -> None:
        """A restarted manager knows the ordered intent and orders again; a delivered one is fulfilled."""
        self.formatting()
        self.world.restart()
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + FORMAT_1)
        self.world.deliver()
        self.world.restart()
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual([event.attempt for event in self.world.said(FormatOrdered)], [1, 2])

    def test_verdicts_while_formatting(self) -> None:
        """A verdict after format changes nothing, unless the image was delivered: then IS_INSTALLED proves it."""
        call = self.formatting()
        self.assertEqual(call.says("IS_UNINSTALLED", "IS_INSTALLED"), b"")
        self.assertEqual(len(self.world.said(WordUnexpected)), 2)
        self.world.deliver()
        self.assertEqual(call.says("IS_UNINSTALLED"), b"")
        self.assertEqual(call.says("IS_INSTALLED"), BOOT_1)
        self.assertEqual(len(self.world.said(FormatOrdered)), 1)

    def test_words_too_early(self) -> None:
        """IS_FORMATTED, FORMATTING and RECEIVED_BOOT before anything was ordered are events and nothing else."""
        call = self.world.call()
        self.assertEqual(call.says("IS_FORMATTED", "FORMATTING", "RECIEVED BOOT"), DATE)
        self.assertEqual([event.state for event in self.world.said(WordUnexpected)], ["greeting"] * 3)
        self.assertEqual(self.state(), None)

    def test_another_board(self) -> None:
        """An intent for a board with another serial is refused; what is on the card boots."""
        self.world.nodes = self.world.service.nodes = type(self.world.nodes)(
            self.world.nodes.nodes(), [NodeStatus(mac=MAC, serial="00000001")]
        )
        self.reinstall(serial="ab12cd34")
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual(self.world.said(FormatOrdered), [])
        self.assertEqual(len(self.world.said(IntentClosed)), 1)

    def test_missing_image(self) -> None:
        """Without its image an installed node boots and the intent fails; one without a system is turned away."""
        self.reinstall()
        self.world.images.image_there = None
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual(len(self.world.said(IntentClosed)), 1)
        call = self.world.call()
        self.assertEqual(call.says("IS_UNINSTALLED"), DATE)
        self.assertTrue(call.is_closed)
        self.world.images.image_there = IMAGE
        self.formatting()

    def test_gone_while_hashing(self) -> None:
        """A node that left while its image was hashed uses up no attempt."""
        self.world.images.held = []
        call = self.world.call()
        call.says("IS_UNINSTALLED")
        call.hangs_up()
        self.world.images.held.pop().callback(IMAGE)
        self.assertIsNone(self.state())

    def test_gone_while_writing(self) -> None:
        """A node that left after IS_FORMATTED is installed all the same."""
        call = self.formatting()
        self.world.deliver()
        self.world.store.held = True
        call.says("IS_FORMATTED")
        call.hangs_up()
        self.world.store.flush()
        self.assertEqual(len(self.world.said(Installed)), 1)
        self.assertEqual(self.world.said(InstallerFailed), [])
        self.world.reactor.advance(60)
        self.assertEqual(self.world.said(NodeUp), [NodeUp(mac=MAC, evidence="time")])

    def test_operator_orders_anew_meanwhile(self) -> None:
        """When the operator orders anew during an installation, its end installs nothing any more."""
        call = self.formatting()
        self.reinstall()
        self.assertIsNone(self.world.service.intent_at_work(MAC))
        self.assertEqual(call.says("IS_FORMATTED"), b"")
        self.assertEqual(self.world.said(Installed), [])
        call.hangs_up()
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + FORMAT_1)

    def test_sorry_to_format(self) -> None:
        """A node that does not know format cannot be installed, and says so."""
        self.formatting().says("Sorry don't know how to do format")
        self.assertEqual(len(self.world.said(InstallerFailed)), 1)


class PeerTests(HelloTestCase):
    """Who is calling."""

    def test_exactly_its_own(self) -> None:
        """The intent of the node at .14 does nothing to the node at .13, nor to .1, .3 and .140."""
        opening = self.world.book.open_intent(OTHER, IntentOrigin.OPERATOR, "default")
        self.successResultOf(opening)
        for text in ("172.30.4.1", "172.30.4.3", "172.30.4.140"):
            address = type(ADDRESS)(text)
            node = Node(mac=MACAddress(address.packed + b"\0\0"), address=address)
            self.world.addresses.bindings[address] = node.mac
            self.world.nodes._nodes[node.mac] = node
            self.assertEqual(self.world.call(address).says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual(self.world.call(OTHER_ADDRESS).says("IS_INSTALLED"), DATE + FORMAT_1)

    def check_nobody(self, address: object = ADDRESS) -> None:
        """The caller may boot and is never formatted."""
        self.reinstall()
        call = self.world.call(address)
        self.assertEqual(call.says("IS_UNINSTALLED"), DATE)
        self.assertTrue(call.is_closed)
        self.assertEqual(self.world.call(address).says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual(self.world.said(FormatOrdered), [])
        self.assertEqual([event.address for event in self.world.said(InstallerUnknown)], [address])
        self.assertEqual(self.world.said(BootOrdered), [])

    def test_no_binding(self) -> None:
        """A caller whose address nobody leased is nobody."""
        self.check_nobody(STRANGER_ADDRESS)

    def test_no_node(self) -> None:
        """A leased address of a board that no file names is nobody."""
        self.world.addresses.bindings[STRANGER_ADDRESS] = MACAddress.parse("b8:27:eb:99:99:99")
        self.check_nobody(STRANGER_ADDRESS)

    def test_neighbour_table_disagrees(self) -> None:
        """When another MAC is seen at the address, the caller is nobody, whatever the lease says."""
        self.world.neighbours.entries[ADDRESS] = OTHER
        self.check_nobody()
        self.assertIn(str(OTHER), self.world.said(InstallerUnknown)[0].reason)

    def test_neighbour_table_agrees(self) -> None:
        """The same MAC in the neighbour table changes nothing."""
        self.world.neighbours.entries[ADDRESS] = MAC
        self.formatting()

    def test_address_changes_hands(self) -> None:
        """A conversation whose address was given to another board meanwhile formats nobody."""
        self.reinstall()
        call = self.world.call()
        call.says("Hello World")
        self.world.addresses.bindings[ADDRESS] = OTHER
        call.says("IS_UNINSTALLED")
        self.assertTrue(call.is_closed)
        self.assertEqual(self.world.said(FormatOrdered), [])

    def test_new_replaces_old(self) -> None:
        """A node that calls again ends its old conversation, and the image door follows the new one."""
        old = self.formatting()
        new = self.world.call()
        self.assertTrue(old.is_closed)
        self.assertIsNone(self.world.service.intent_at_work(MAC))
        self.assertEqual(new.says("IS_UNINSTALLED"), DATE + FORMAT_1)
        self.assertIsNotNone(self.world.service.intent_at_work(MAC))
        self.assertEqual(self.world.said(InstallerFailed), [])

    def test_limits(self) -> None:
        """Four conversations per address, and so many in all; a closed one makes room."""
        calls = [self.world.call(STRANGER_ADDRESS) for _ in range(5)]
        self.assertEqual([call.is_refused for call in calls], [False] * 4 + [True])
        calls[0].hangs_up()
        self.assertFalse(self.world.call(STRANGER_ADDRESS).is_refused)
        self.world = World(HelloSettings(places=Places(in_all=1)))
        self.assertFalse(self.world.call().is_refused)
        self.assertTrue(self.world.call(OTHER_ADDRESS).is_refused)

    def test_strangers(self) -> None:
        """However many strangers call, few are in, for 30 silent seconds; nodes are served."""
        strangers = [self.world.call(STRANGER_ADDRESS + number) for number in range(100)]
        self.assertEqual([call.is_refused for call in strangers], [False] * 64 + [True] * 36)
        self.assertEqual(self.world.call().says("IS_INSTALLED"), DATE + BOOT_1)
        self.world.reactor.advance(29)
        self.assertTrue(self.world.call(STRANGER_ADDRESS).is_refused)
        self.world.reactor.advance(1)
        self.assertTrue(all(call.is_closed for call in strangers[:64]))
        again = self.world.call(STRANGER_ADDRESS)
        self.assertFalse(again.is_refused)
        again.hangs_up()

    def test_a_node_that_becomes_a_stranger(self) -> None:
        """A node that loses its address in its conversation is counted out as it was counted in."""
        self.world = World(HelloSettings(places=Places(strangers=1)))
        for _ in range(3):
            call = self.world.call()
            self.world.addresses.bindings[ADDRESS] = OTHER
            call.says("IS_INSTALLED")
            self.world.addresses.bindings[ADDRESS] = MAC
            call.hangs_up()
        strangers = [self.world.call(STRANGER_ADDRESS) for _ in range(2)]
        self.assertEqual([call.is_refused for call in strangers], [False, True])

    def test_descriptors_run_short(self) -> None:
        """Strangers leave a quarter of the file descriptors free, nodes the last sixteen; who is in is served on."""
        self.world.file_limit = 256
        early = self.world.call(STRANGER_ADDRESS, descriptor=191)
        self.assertFalse(early.is_closed)
        late = self.world.call(STRANGER_ADDRESS, descriptor=192)
        self.assertEqual((late.is_closed, late.hears()), (True, b""))
        self.assertEqual(self.world.call(descriptor=239).says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertTrue(self.world.call(OTHER_ADDRESS, descriptor=240).is_closed)
        self.assertEqual(early.says("IS_INSTALLED"), DATE + BOOT_1)
        self.assertEqual([event.mac for event in self.world.said(BootOrdered)], [MAC])

    def test_refused_late_counts_for_nothing(self) -> None:
        """A caller that was hung up on takes no place, and ends no conversation of its node."""
        self.world.file_limit = 256
        old = self.formatting()
        for _ in range(10):
            self.assertTrue(self.world.call(descriptor=255).is_closed)
        self.assertFalse(old.is_closed)
        self.assertIsNotNone(self.world.service.intent_at_work(MAC))
        self.assertEqual(self.world.said(InstallerFailed), [])

    def test_unknown_again(self) -> None:
        """A caller that is nobody is told once a minute, of a flood of them few; the others are counted."""
        self.world.service.startService()
        self.addCleanup(self.world.service.stopService)
        for number in range(200):
            for _ in range(3):
                self.world.call(STRANGER_ADDRESS + number).says("IS_UNINSTALLED")
        addresses = [event.address for event in self.world.said(InstallerUnknown)]
        self.assertEqual(addresses, [STRANGER_ADDRESS + number for number in range(64)])
        self.world.reactor.advance(60)
        counted = [RepeatsCounted(what="InstallerUnknown", count=600 - 64)]
        self.assertEqual(self.world.said(RepeatsCounted), counted)
        self.world.call(STRANGER_ADDRESS).says("IS_UNINSTALLED")
        self.assertEqual(len(self.world.said(InstallerUnknown)), 65)
        self.world.reactor.advance(60)
        self.assertEqual(self.world.said(RepeatsCounted), counted)

    def test_unknown_floods_nothing(self) -> None:
        """A stranger that says words without end makes no events of them."""
        call = self.world.call(STRANGER_ADDRESS)
        for _ in range(100):
            call.says("IS_FORMATTED", "mount: error", "SET_DATE")
        self.assertEqual(self.world.events.events, [])


class LimitTests(HelloTestCase):
    """Time, and long lines."""

    def test_silent_greeting(self) -> None:
        """Who says nothing for two minutes is hung up on."""
        call = self.world.call()
        self.world.reactor.advance(119)
        self.assertFalse(call.is_closed)
        self.world.reactor.advance(1)
        self.assertTrue(call.is_closed)
        self.assertEqual(self.timers(), [])

    def test_silent_unpacking(self) -> None:
        """A node at work may be silent for half an hour; then its attempt is over, but not its intent."""
        call = self.formatting()
        self.world.reactor.advance(1799)
        self.assertFalse(call.is_closed)
        self.world.reactor.advance(1)
        self.assertTrue(call.is_closed)
        self.assertEqual(self.state(), IntentState.ORDERED)
        self.assertEqual(len(self.world.said(InstallerFailed)), 1)
        self.assertEqual(self.timers(), [])

    def test_progress_of_version_2(self) -> None:
        """Each PROGRESS of version 2 gives it another half hour."""
        call = self.world.call()
        call.says(hello())
        self.world.reactor.advance(1700)
        call.says('PROGRESS {"step":"unpack","fraction":0.5}')
        self.world.reactor.advance(1700)
        self.assertFalse(call.is_closed)

    def test_lingering(self) -> None:
        """A node that does not leave after boot is hung up on after a minute."""
        call = self.world.call()
        call.says("IS_INSTALLED")
        self.world.reactor.advance(60)
        self.assertTrue(call.is_closed)

    def test_long_line(self) -> None:
        """A line of more than 64 KiB is thrown away as a whole; the conversation goes on with the next."""
        for tail in (b"", b"IS_UNINSTALLED"):
            self.world = World()
            call = self.world.call()
            call.protocol.dataReceived(b"x" * 70_000)
            call.protocol.dataReceived(b"x" * 70_000 + tail)
            call.protocol.dataReceived(b"IS_UNINSTALLED\nIS_INSTALLED\n")
            self.world.reactor.advance(0)
            self.assertEqual(call.hears(), DATE + BOOT_1)
            self.assertEqual(len(self.world.said(WordUnexpected)), 2)

    def test_long_line_in_one_piece(self) -> None:
        """What follows a long line in the same segment is heard."""
        call = self.world.call()
        call.protocol.dataReceived(b"x" * 70_000 + b"\nIS_INSTALLED\n")
        self.world.reactor.advance(0)
        self.assertEqual(call.hears(), DATE + BOOT_1)

    def test_any_cut(self) -> None:
        """Words arrive in whatever pieces TCP makes of them."""
        call = self.world.call()
        for byte in b"Hello World\r\nIS_INSTALLED\r\n":
            call.protocol.dataReceived(bytes([byte]))
        self.assertEqual(call.hears(), DATE + BOOT_1)


class UpTests(HelloTestCase):
    """A node without an agent."""

    def leave(self) -> None:
        """Boot, and close."""
        call = self.world.call()
        call.says("IS_INSTALLED")
        call.hangs_up()

    def test_up_by_time(self) -> None:
        """A minute after it went to boot the node counts as up, once."""
        self.leave()
        self.world.reactor.advance(59)
        self.assertEqual(self.world.said(NodeUp), [])
        self.world.reactor.advance(1)
        self.world.reactor.advance(600)
        self.assertEqual(self.world.said(NodeUp), [NodeUp(mac=MAC, evidence="time")])
        self.assertEqual(self.timers(), [])

    def test_newer_evidence(self) -> None:
        """A node that is up already, or has begun another boot, is not declared up."""
        for phase in (Phase.UP, Phase.OFFERED, Phase.LOADING, Phase.OFF):
            self.world = World(statuses=[NodeStatus(mac=MAC, phase=phase)])
            self.leave()
            self.world.reactor.advance(60)
            self.assertEqual(self.world.said(NodeUp), [], phase)

    def test_calls_again(self) -> None:
        """A node that calls again within the minute is not up."""
        self.leave()
        self.world.call()
        self.world.reactor.advance(60)
        self.assertEqual(self.world.said(NodeUp), [])

    def test_turned_away(self) -> None:
        """A node that was not told to boot is never declared up."""
        self.world.images.image_there = None
        self.world.call().says("IS_UNINSTALLED")
        self.world.reactor.advance(600)
        self.assertEqual(self.world.said(NodeUp), [])


class Version2Tests(HelloTestCase):
    """Our own initramfs."""

    def order(self, call: Call) -> dict[str, object]:
        """The FORMAT that the manager said last."""
        line = call.hears().splitlines()[-1]
        self.assertTrue(line.startswith(b"FORMAT {"), line)
        fields = json.loads(line.removeprefix(b"FORMAT "))
        assert isinstance(fields, dict)
        return fields

    def test_boots(self) -> None:
        """An installed node is welcomed and told to boot."""
        call = self.world.call()
        self.assertEqual(call.says(hello(installed=True)), DATE + WELCOME + BOOT_2)
        self.assertEqual(self.world.said(InstallerConnected)[0].version, 2)

    def test_says_what_is_on_its_card(self) -> None:
        """The digest that an installed node names is in the event; one without a system has none to name."""
        call = self.world.call()
        call.says(hello(installed=True, digest=DIGEST))
        self.assertEqual(self.world.said(BootOrdered), [BootOrdered(mac=MAC, digest=DIGEST)])
        other = self.world.call()
        other.protocol.dataReceived(hello(digest="cd" * 32).encode() + b"\n")
        other.says(f'IS_FORMATTED {{"sha256":"{DIGEST}"}}')
        self.assertEqual(self.world.said(BootOrdered)[1:], [BootOrdered(mac=MAC)])

    def test_installs(self) -> None:
        """A node without a system gets an order it can follow, and is installed when the digest is right."""
        call = self.world.call()
        call.protocol.dataReceived(hello().encode() + b"\n")
        intent = self.world.book.current(MAC)
        assert intent is not None
        url = f"http://172.30.4.1:4480/images/{DIGEST}?token={intent.token}"
        self.assertEqual(
            self.order(call), {"url": url, "sha256": DIGEST, "size": IMAGE.size_bytes, "image": "default"}
        )
        call.says("CLOCK_SET", 'PROGRESS {"step":"unpack","fraction":0.5,"text":"half"}')
        self.assertEqual(call.says(f'IS_FORMATTED {{"sha256":"{DIGEST}"}}'), BOOT_2)
        self.assertEqual(len(self.world.said(Installed)), 1)
        reported = InstallerReported(mac=MAC, text="unpack: half", fraction=0.5)
        self.assertIn(reported, self.world.said(InstallerReported))
        self.assertEqual(len(self.world.said(ClockSet)), 1)

    def test_malformed_hello(self) -> None:
        """A HELLO that does not follow the specification is heard as version 1, and event and log say why."""
        for text, why in (
            ('HELLO 2 {"installed":true}', "mac"),
            ('HELLO 2 {"mac":"b8:27:eb:00:00:01","installed":"yes"}', "installed"),
            ('HELLO 2 {"mac":"', "JSON"),
            ("HELLO 3 {}", "HELLO 2"),
        ):
            with self.subTest(text=text), capturedLogs() as lines:
                self.world = World()
                call = self.world.call()
                self.assertEqual(call.says(text, "IS_INSTALLED"), DATE + BOOT_1)
                self.assertEqual([event.version for event in self.world.said(InstallerConnected)], [1])
                (event,) = self.world.said(WordUnexpected)
                self.assertIn("HELLO", event.word)
                self.assertIn(why, event.word)
                (line,) = [formatEvent(line) for line in lines]
                self.assertIn(str(ADDRESS), line)
                self.assertIn(why, line)

    def test_malformed_hello_again(self) -> None:
        """A malformed HELLO is told once a minute for each caller, also for strangers, whom no event names."""
        with capturedLogs() as lines:
            for address in (ADDRESS, STRANGER_ADDRESS):
                for _ in range(50):
                    call = self.world.call(address)
                    call.says("HELLO 2 {", "IS_INSTALLED")
                    call.hangs_up()
        self.assertEqual(len(self.world.said(WordUnexpected)), 1)
        self.assertEqual(len(lines), 2)

    def test_no_digest(self) -> None:
        """Without a digest IS_FORMATTED counts only when the image was delivered."""
        call = self.world.call()
        call.says(hello())
        self.assertEqual(call.says("IS_FORMATTED"), b"")
        self.world.deliver()
        self.assertEqual(call.says("IS_FORMATTED"), BOOT_2)

    def test_wrong_digest(self) -> None:
        """Another digest is a failed attempt, also when the image was delivered: it is never called installed."""
        call = self.world.call()
        call.says(hello())
        self.assertTrue(call.says('IS_FORMATTED {"sha256":"00"}').startswith(b"FORMAT {"))
        self.world.deliver()
        self.assertTrue(call.says('IS_FORMATTED {"sha256":"00"}').startswith(b"FORMAT {"))
        self.world.deliver()
        self.assertEqual(call.says('IS_FORMATTED {"sha256":"00"}'), b"")
        self.assertTrue(call.is_closed)
        self.assertEqual([event.attempt for event in self.world.said(FormatOrdered)], [1, 2, 3])
        self.assertEqual(len({event.intent for event in self.world.said(FormatOrdered)}), 2)
        self.assertEqual(self.world.said(Installed), [])

    def test_three_failures(self) -> None:
        """A node that fails is told to try again, three times in all."""
        call = self.world.call()
        call.says(hello())
        for _ in range(2):
            self.assertTrue(call.says('FAILED {"reason":"mkfs","fatal":false}').startswith(b"FORMAT {"))
        self.assertEqual(call.says('FAILED {"reason":"mkfs","fatal":false}'), b"")
        self.assertTrue(call.is_closed)
        self.assertEqual([event.attempt for event in self.world.said(FormatOrdered)], [1, 2, 3])
        self.assertEqual([event.reason for event in self.world.said(IntentClosed)], ["mkfs"])
        self.pauses(3600)

    def pauses(self, seconds: int) -> None:
        """The node's own wish is not heard for so long."""
        self.world.reactor.advance(seconds - 1)
        call = self.world.call()
        call.hears()
        self.assertEqual(call.says(hello()), WELCOME)
        self.world.reactor.advance(1)
        self.assertIn(b"FORMAT {", self.world.call().says(hello()))

    def test_three_failures_on_the_way(self) -> None:
        """When the images had begun the line may be to blame: the pause is short."""
        call = self.world.call()
        call.says(hello())
        for _ in range(3):
            self.world.begin()
            call.says('FAILED {"reason":"the image ended","fatal":false}')
        self.assertTrue(call.is_closed)
        self.pauses(300)

    def test_one_failure_of_the_card(self) -> None:
        """One failure before the image is enough to blame the card."""
        call = self.world.call()
        call.says(hello(), 'FAILED {"reason":"mkfs","fatal":false}')
        for _ in range(2):
            self.world.begin()
            call.says('FAILED {"reason":"the image ended","fatal":false}')
        self.pauses(3600)

    def test_fatal(self) -> None:
        """After a fatal failure the intent is over at once."""
        call = self.world.call()
        call.says(hello())
        self.assertEqual(call.says('FAILED {"code":"no-card","reason":"no card","fatal":true}'), b"")
        self.assertTrue(call.is_closed)
        self.assertEqual(len(self.world.said(InstallerFailed)), 1)

    def test_failure_out_of_place(self) -> None:
        """FAILED of a node that was not told to format is an event, and changes nothing."""
        call = self.world.call()
        call.says(hello(installed=True), 'FAILED {"reason":"x","fatal":true}')
        self.assertEqual(len(self.world.said(InstallerFailed)), 1)
        self.assertEqual(self.world.said(IntentClosed), [])

    def test_resume_conversation(self) -> None:
        """A node that was cut off, also by a restart of the manager, goes on with its token and ends installed."""
        for restarts in (False, True):
            self.world = World()
            call = self.world.call()
            call.says(hello())
            intent = self.world.book.current(MAC)
            assert intent is not None
            call.hangs_up()
            if restarts:
                self.world.restart()
            again = self.world.call()
            self.assertEqual(again.says(hello(token=intent.token)), DATE + WELCOME + CONTINUE)
            self.assertEqual(again.says(f'IS_FORMATTED {{"sha256":"{DIGEST}"}}'), BOOT_2)
            self.assertEqual(len(self.world.said(FormatOrdered)), 1)
            self.assertEqual(len(self.world.said(Installed)), 1)

    def test_token_of_another(self) -> None:
        """A token that is not the living intent's resumes nothing."""
        call = self.world.call()
        call.says(hello())
        call.hangs_up()
        self.assertIn(b"FORMAT {", self.world.call().says(hello(token="00" * 16)))

    def test_power_cut_at_the_end(self) -> None:
        """A card that holds the ordered digest is installed, though its last word was never heard."""
        call = self.world.call()
        call.says(hello())
        call.hangs_up()
        self.assertEqual(
            self.world.call().says(hello(installed=True, digest=DIGEST)), DATE + WELCOME + BOOT_2
        )
        self.assertEqual(len(self.world.said(Installed)), 1)

    def test_wrong_mac(self) -> None:
        """A node that says it is another board than the one behind its address is nobody."""
        self.reinstall()
        call = self.world.call()
        self.assertEqual(call.says(hello(mac=OTHER)), DATE + WELCOME)
        self.assertTrue(call.is_closed)
        self.assertEqual(len(self.world.said(InstallerUnknown)), 1)

    def test_wrong_serial(self) -> None:
        """An intent for another serial is refused."""
        self.reinstall(serial="ab12cd34")
        call = self.world.call()
        self.assertEqual(call.says(hello(installed=True, serial="10000000aaaaaaaa")), DATE + WELCOME + BOOT_2)
        self.assertEqual(len(self.world.said(IntentClosed)), 1)

    def test_right_serial(self) -> None:
        """The last eight digits of the serial are compared."""
        self.reinstall(serial="ab12cd34")
        self.assertIn(b"FORMAT {", self.world.call().says(hello(installed=True, serial="10000000AB12CD34")))

    def test_second_hello(self) -> None:
        """A second HELLO in one conversation decides nothing."""
        call = self.world.call()
        call.says(hello(installed=True))
        self.assertEqual(call.says(hello()), b"")
        self.assertEqual(len(self.world.said(WordUnexpected)), 1)

    def test_malformed(self) -> None:
        """A malformed line of a version 2 node is an event; words of version 1 mean nothing to it."""
        call = self.world.call()
        call.says(hello())
        self.assertEqual(call.says("PROGRESS {", "IS_INSTALLED", "IS_UNINSTALLED", "SET_DATE"), b"")
        self.assertEqual(len(self.world.said(WordUnexpected)), 4)
        self.assertEqual(self.world.said(ClockSet), [])

    def test_too_late_for_version_2(self) -> None:
        """A HELLO that is not the first line means nothing: the version is chosen once."""
        call = self.world.call()
        self.assertEqual(call.says("Hello World", hello()), DATE)


class ServiceTests(HelloTestCase):
    """The service as a whole."""

    def test_binds_before_rights_are_dropped(self) -> None:
        """privilegedStartService listens on the configured port and address."""
        self.world.service.privilegedStartService()
        port, factory, _, interface = self.world.reactor.tcpServers[0]
        self.assertEqual((port, interface), (3333, "0.0.0.0"))
        self.assertIsNotNone(factory)

    def test_taken_port(self) -> None:
        """A taken port stops the start-up."""

        def taken(*args: object, **kwargs: object) -> None:
            raise CannotListenError("0.0.0.0", 3333, OSError("taken"))

        self.world.reactor.listenTCP = taken
        self.assertRaises(CannotListenError, self.world.service.privilegedStartService)

    def test_stops_clean(self) -> None:
        """Stopping ends all conversations and all timers, and no node is blamed."""
        self.world.service.privilegedStartService()
        self.world.service.startService()
        call = self.formatting()
        leaving = self.world.call(OTHER_ADDRESS)
        leaving.says("IS_INSTALLED")
        leaving.hangs_up()
        self.successResultOf(self.world.service.stopService())
        self.assertTrue(call.is_closed)
        self.assertEqual(self.timers(), [])
        self.assertEqual(self.world.said(InstallerFailed), [])
        self.assertEqual(self.state(), IntentState.ORDERED)

    def test_stale_intents_are_closed(self) -> None:
        """An operator's intent whose node never called is closed after an hour without anybody asking."""
        self.world.service.startService()
        self.reinstall()
        self.world.reactor.pump([60.0] * 61)
        self.assertEqual([event.state for event in self.world.said(IntentClosed)], ["expired"])
        self.successResultOf(self.world.service.stopService())

    def test_seam(self) -> None:
        """The service is what the image doors ask."""
        verifyObject(IInstallers, self.world.service)


WORDS = (
    "Hello World",
    "IS_INSTALLED",
    "IS_UNINSTALLED",
    "IS_FORMATTED",
    "FINISHED_MOUNTING",
    "FORMATTING",
    "RECEIVED_BOOT",
    "SET_DATE",
    "Sorry don't know how to do format",
    "+ echo IS_UNINSTALLED",
    hello(),
    hello(installed=True),
    hello(installed=True, digest=DIGEST),
    "IS_FORMATTED {}",
    f'IS_FORMATTED {{"sha256":"{DIGEST}"}}',
    'IS_FORMATTED {"sha256":"00"}',
    'FAILED {"reason":"x"}',
    'FAILED {"reason":"x","fatal":true}',
)
ACTS = (
    "connect",
    "hang up",
    "begin",
    "deliver",
    "reinstall",
    "crash",
    "half a minute",
    "half an hour",
    "disk off",
    "disk on",
)


class AnySequenceTests(HelloTestCase):
    """Whatever nodes say and whatever breaks."""

    @given(st.lists(st.sampled_from(WORDS + ACTS), max_size=40))
    def test_no_format_without_a_reason(self, steps: list[str]) -> None:
        """
        Every format has an intent that was durably ordered first and that the operator, or the node's own word since
        the last installation, opened; none is ordered after delivery or fulfilled twice, and nothing raises.
        """
        world = self.world = World()
        self.call: Call | None = None
        self.is_wished = False
        for step in steps:
            before = len(world.said(FormatOrdered))
            self.do(step)
            for event in world.said(FormatOrdered)[before:]:
                on_disk = world.store.intents[event.intent]
                self.assertGreaterEqual(on_disk.attempts, event.attempt)
                self.assertEqual(on_disk.mac, MAC)
                self.assertTrue(self.is_wished, "nobody wished it")
            if world.book.current(MAC) is None:
                self.is_wished = False
        for intent_id in {intent.id for intent in world.store.history}:
            life = [intent.state for intent in world.store.history if intent.id == intent_id]
            if IntentState.DELIVERED in life:
                self.assertNotIn(IntentState.ORDERED, life[life.index(IntentState.DELIVERED) :])
        fulfilled = [event.intent for event in world.said(Installed)]
        self.assertEqual(len(fulfilled), len(set(fulfilled)))
        self.assertEqual(self.flushLoggedErrors(), [])

    def do(self, step: str) -> None:
        """One step; notes whether a format may follow from it."""
        world = self.world
        if step == "connect":
            self.call = world.call()
        elif step == "hang up" and self.call is not None:
            self.call.hangs_up()
        elif step in ("begin", "deliver"):
            if world.service.intent_at_work(MAC) is not None:
                world.begin() if step == "begin" else world.deliver()
        elif step == "reinstall":
            self.is_wished = True
            world.book.open_intent(MAC, IntentOrigin.OPERATOR, "default")
        elif step == "crash":
            world.store.waiting.clear()
            world.restart()
            self.call = None
        elif step.startswith("half"):
            world.reactor.advance(30 if "minute" in step else 1800)
        elif step.startswith("disk"):
            world.store.held = step == "disk off"
            if not world.store.held:
                world.store.flush()
        elif self.call is not None:
            self.is_wished = self.is_wished or step in ("IS_UNINSTALLED", hello())
            for line in self.call.says(step).splitlines():
                self.assertNotIn(line, (b"ip", b"reinstall"))
