# -*- test-case-name: tests.test_fleet_diagnosis -*-
"""
What can be wrong with a node, why that happens, and what to do about it: one table.

How a fault is recognised is the business of its neighbours; docs/reference/verdicts.md shows the table
with an example of each.
"""

from collections.abc import Mapping
from enum import Enum

import attrs


class Fault(Enum):
    """What is wrong with a node."""

    # Power and cable
    POWER_OFF = "power-off"
    POWER_FAULT = "power-fault"
    POWER_DENIED = "power-denied"
    POWER_BUDGET = "power-budget"
    POWER_SUPPLY = "power-supply"
    NOTHING_DRAWS = "nothing-draws"
    NOT_SWITCHED = "not-switched"
    FLAPPING = "flapping"
    NO_LINK = "no-link"
    # Address
    NO_DISCOVER = "no-discover"
    NEVER_SEEN = "never-seen"
    STRANGER = "stranger"
    OTHER_SERVER = "other-server"
    ADDRESS_HELD = "address-held"
    ADDRESS_TAKEN = "address-taken"
    ADDRESS_REFUSED = "address-refused"
    POOL_EXHAUSTED = "pool-exhausted"
    OFFER_IGNORED = "offer-ignored"
    # Boot files
    NO_TFTP = "no-tftp"
    WRONG_PREFIX = "wrong-prefix"
    FILE_MISSING = "file-missing"
    FILE_TOO_LARGE = "file-too-large"
    TFTP_STALLS = "tftp-stalls"
    KERNEL_SILENT = "kernel-silent"
    # Installer
    INSTALLER_SILENT = "installer-silent"
    INSTALLER_UNKNOWN = "installer-unknown"
    WRONG_BOARD = "wrong-board"
    NO_CARD = "no-card"
    WRONG_CARD = "wrong-card"
    CARD_TOO_SMALL = "card-too-small"
    CARD_BROKEN = "card-broken"
    NO_SYSTEM = "no-system"
    IMAGE_MISSING = "image-missing"
    IMAGE_BROKEN = "image-broken"
    IMAGE_DAMAGED = "image-damaged"
    IMAGE_UNUSABLE = "image-unusable"
    INSTALL_STALLS = "install-stalls"
    INSTALL_PAUSED = "install-paused"
    INSTALLER_FAILED = "installer-failed"
    # Installed system
    NOT_UP = "not-up"
    AGENT_SILENT = "agent-silent"


@attrs.frozen
class Advice:
    """Why a fault happens, and what to do; the remedy may name ``{fields}`` of the case at hand."""

    cause: str
    remedy: str


ADVICE: Mapping[Fault, Advice] = {
    Fault.POWER_OFF: Advice(
        "Its port is switched off, and no order of piman's did it.",
        "Switch it on (piman-ctl power); if it goes off again, look who else manages the switch.",
    ),
    Fault.POWER_FAULT: Advice(
        "The switch has found an electrical fault on the port: short circuit, overload, a bad cable.",
        "Try another cable, then another PoE HAT or splitter, then another port.",
    ),
    Fault.POWER_DENIED: Advice(
        "The switch refuses power for a reason of its own: its priority, a limit of the port, or a class that it does "
        "not grant.",
        "Look at the PoE settings of the port on the switch (limit, class, priority), then at the PoE HAT.",
    ),
    Fault.POWER_BUDGET: Advice(
        "The switch has less power left than it sets aside for one more node.",
        "Switch off other ports or move nodes to another switch; on switches that reckon by class, let them reckon by "
        "use.",
    ),
    Fault.POWER_SUPPLY: Advice(
        "The power supply of the switch for its PoE ports is off or broken.",
        "Look at the switch itself: its power supply, its fans, its log.",
    ),
    Fault.NOTHING_DRAWS: Advice(
        "The port is on, but nothing on it asks for power: no cable, no PoE HAT, a dead board, or another port is "
        "meant.",
        "Look whether the cable is in, and in this port (piman-ctl find-port tells where a board was seen); then try "
        "another PoE HAT or splitter.",
    ),
    Fault.NOT_SWITCHED: Advice(
        "The switch did not do what it was ordered.",
        "Mend what the reason names (piman-ctl check asks every switch), then give the order again.",
    ),
    Fault.FLAPPING: Advice(
        "The board starts anew again and again without an order: its power breaks down under load, or its system "
        "crashes.",
        "Try another PoE HAT, splitter or power supply, and a shorter cable; look at the power budget of the switch; "
        "if only one image does it, its kernel crashes.",
    ),
    Fault.NO_LINK: Advice(
        "It draws power, but the network link is down: its firmware does not run, or the data pairs of the cable do "
        "not.",
        "Try another cable; without a card the board must bring its link up by itself within 15 s, else its boot "
        "loader is broken (rpi-eeprom recovery; on a Pi 3 its OTP bits).",
    ),
    Fault.NO_DISCOVER: Advice(
        "It has power and does not ask for an address: network boot is not enabled, a card or USB disk boots first, "
        "the switch port waits for spanning tree, or it is in another VLAN.",
        "Enable network boot (Pi 3: program_usb_boot_mode=1 once; Pi 4 and 5: a 2 in BOOT_ORDER) and take boot files "
        "off its card; make its switch port an edge port (portfast), in the VLAN of the manager; a Pi 3 that has given "
        "up needs a power cycle.",
    ),
    Fault.NEVER_SEEN: Advice(
        "The node is in the configuration, and nothing was ever heard of it.",
        "Switch it on; if it has power, compare its MAC with hosts.csv (piman-ctl map lists strangers), and see that "
        "network boot is enabled and its switch port is in the VLAN of the manager.",
    ),
    Fault.STRANGER: Advice(
        "A board that no file of the operator names asks for an address.",
        "If it is yours, add this line to hosts.csv and send the manager SIGHUP: {line}",
    ),
    Fault.OTHER_SERVER: Advice(
        "Another DHCP server on this network was faster or liked better.",
        "Switch off DHCP at {server}, or keep its answers away from the nodes' VLAN (DHCP snooping).",
    ),
    Fault.ADDRESS_HELD: Advice(
        "Another board still holds the address that is reserved for this one.",
        "Restart {holder}, which then gets its own address; or wait until its lease ends.",
    ),
    Fault.ADDRESS_TAKEN: Advice(
        "Somebody on the network uses the node's address without having got it from piman.",
        "Find who answers at {address} (ip neigh on the manager, piman-ctl find-port) and give it another address.",
    ),
    Fault.ADDRESS_REFUSED: Advice(
        "It insists on an address that is not its own.",
        "Compare hosts.csv with what is set in the node's image or EEPROM (CLIENT_IP, a static address).",
    ),
    Fault.POOL_EXHAUSTED: Advice(
        "It has no address of its own in hosts.csv, and the pool is used up.",
        "Give it an address in hosts.csv, or make dhcp.pool in piman.yaml larger.",
    ),
    Fault.OFFER_IGNORED: Advice(
        "Our offers do not reach it, or it does not like them.",
        "See that the switch trusts the manager's port (DHCP snooping), that dhcp.options in piman.yaml replace "
        "neither option 43, 54, 60 nor 66, and update its EEPROM; a Pi 3 needs a power cycle after five tries.",
    ),
    Fault.NO_TFTP: Advice(
        "It has an address and asks for no boot file here: the requests do not arrive, or it asks another server.",
        "Let UDP port 69 and the data ports through the firewall of the manager; see that tftp is enabled, and that "
        "neither TFTP_IP in its EEPROM nor another DHCP server sends it elsewhere; cycle its power.",
    ),
    Fault.WRONG_PREFIX: Advice(
        "Its boot loader asks in a folder that is neither its serial nor its MAC, and finds only part of the files "
        "there.",
        "Set TFTP_PREFIX=0 in its EEPROM (or remove TFTP_PREFIX_STR), or put all boot files into the folder {prefix} "
        "of the boot tree.",
    ),
    Fault.FILE_MISSING: Advice(
        "A file is not in the boot tree without which this model does not get on.",
        "Put {files} into the boot tree (docs/how-to/boot-files.md), or mend the name in config.txt.",
    ),
    Fault.FILE_TOO_LARGE: Advice(
        "The file has more than 65,535 blocks, and this firmware cannot count further: EEPROMs before 2025-09-23 and "
        "every Pi 3.",
        "Make {file} smaller than {limit} (compress the initramfs, leave out modules), or update the EEPROM of a Pi 4 "
        "or 5 to 2025-09-23 or later.",
    ),
    Fault.TFTP_STALLS: Advice(
        "A boot file stopped in the middle: packets get lost, or the board hangs.",
        "Cycle its power; if it happens again, try another cable and port, look for errors on the port, and for one "
        "MTU everywhere.",
    ),
    Fault.KERNEL_SILENT: Advice(
        "It has all boot files, and its kernel does not ask for an address.",
        "See that cmdline.txt has ip=dhcp, that kernel, device tree and initramfs are made for this model, and look "
        "at its screen or serial console.",
    ),
    Fault.INSTALLER_SILENT: Advice(
        "Its kernel runs, but the installer in the initramfs does not call the manager, or falls silent.",
        "See that config.txt names piman's initramfs, that cmdline.txt has master=MASTER, and that TCP port 3333 of "
        "the manager can be reached.",
    ),
    Fault.INSTALLER_UNKNOWN: Advice(
        "An installer calls from its address, but the manager cannot be sure that it is this node.",
        "See who has this address: another board with a static one, or two boards with one MAC; then restart it.",
    ),
    Fault.WRONG_BOARD: Advice(
        "Another board answers in the place of the one that was to be installed.",
        "If the board was exchanged, order the installation again; if not, look at the cables.",
    ),
    Fault.NO_CARD: Advice(
        "The installer finds no card.",
        "Put a card into its slot, or another card; then: piman-ctl reinstall {name}.",
    ),
    Fault.WRONG_CARD: Advice(
        "What the installer finds in place of the card must not be written to.",
        "Put an SD card into its slot and remove other disks; then: piman-ctl reinstall {name}.",
    ),
    Fault.CARD_TOO_SMALL: Advice(
        "The system does not fit on the card.",
        "Put a larger card into its slot, or give the node a smaller image; then: piman-ctl reinstall {name}.",
    ),
    Fault.CARD_BROKEN: Advice(
        "The card cannot be divided, formatted, mounted or written.",
        "Cards wear out: put a new one into its slot; then: piman-ctl reinstall {name}.",
    ),
    Fault.NO_SYSTEM: Advice(
        "The card holds no system that can start.",
        "Install it: piman-ctl reinstall {name}.",
    ),
    Fault.IMAGE_MISSING: Advice(
        "The manager has no such image, or cannot read it.",
        "Mend images in piman.yaml, or the image of the node (piman-ctl check reads every image).",
    ),
    Fault.IMAGE_BROKEN: Advice(
        "The stream of the image breaks off before its end, again and again.",
        "Look at the network between manager and node (errors on the switch port, cable) and at the manager's disk; "
        "then: piman-ctl reinstall {name}.",
    ),
    Fault.IMAGE_DAMAGED: Advice(
        "What the node read is not what the manager sent: its digest differs.",
        "If it is this node alone, try another board or card (memory, under-voltage); if it is all, import the image "
        "anew; then: piman-ctl reinstall {name}.",
    ),
    Fault.IMAGE_UNUSABLE: Advice(
        "The image came whole, but it is no gzipped tar archive of a system.",
        "Make or import the image anew (piman-ctl import-image), and try it on one node first.",
    ),
    Fault.INSTALL_STALLS: Advice(
        "The installer was at work and is silent.",
        "Restart it: what was half done is begun anew; a card that hangs is worn out.",
    ),
    Fault.INSTALL_PAUSED: Advice(
        "An installation of it failed lately, and until its pause is over none is begun by itself.",
        "Look for the reason (piman-ctl events {name}), mend it; then: piman-ctl reinstall {name}.",
    ),
    Fault.INSTALLER_FAILED: Advice(
        "The installer, or the manager while it served it, cannot go on for another reason.",
        "The sentence says what went wrong; then: piman-ctl reinstall {name}.",
    ),
    Fault.NOT_UP: Advice(
        "It was told to boot its card, and nothing is heard of the system there.",
        "Look at its screen: does the image start on this model, does it ask for an address? An image with a fixed "
        "address and without the agent is not heard of; else: piman-ctl reinstall {name}.",
    ),
    Fault.AGENT_SILENT: Advice(
        "Its system was up, or has an address, and its agent does not answer.",
        "Look whether it answers ping; if so, restart the agent on it, else restart the node: piman-ctl restart "
        "{name}.",
    ),
}
"""One for each fault."""
