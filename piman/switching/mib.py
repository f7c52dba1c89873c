# -*- test-case-name: tests.test_switching_poe -*-
"""
The objects that piman asks switches for.  Columns: what follows is the index that stands beside each.
"""

from piman.switching.session import OID


def oid(text: str) -> OID:
    """``1.3.6.1`` as numbers."""
    return tuple(map(int, text.split(".")))


# RFC 3418, SNMPv2-MIB

SYS_OBJECT_ID = oid("1.3.6.1.2.1.1.2.0")  # the vendor's name of this model

# RFC 3621, POWER-ETHERNET-MIB.  Index: group, port.

PSE_PORT_ADMIN_ENABLE = oid("1.3.6.1.2.1.105.1.1.1.3")  # TruthValue; written; survives a restart of the switch
PSE_PORT_DETECTION_STATUS = oid("1.3.6.1.2.1.105.1.1.1.6")  # 1 disabled .. 6 otherFault
PSE_PORT_CLASS = oid("1.3.6.1.2.1.105.1.1.1.10")  # 1 = class 0 ..; means something while power is delivered

# The same.  Index: group.

MAIN_PSE_POWER = oid("1.3.6.1.2.1.105.1.3.1.1.2")  # nominal watts
MAIN_PSE_OPER_STATUS = oid("1.3.6.1.2.1.105.1.3.1.1.3")  # 1 on, 2 off, 3 faulty
MAIN_PSE_CONSUMPTION = oid("1.3.6.1.2.1.105.1.3.1.1.4")  # watts; some agents say milliwatts

# RFC 4188, BRIDGE-MIB

BASE_PORT_IF_INDEX = oid("1.3.6.1.2.1.17.1.4.1.2")  # bridge port -> ifIndex
FDB_PORT = oid("1.3.6.1.2.1.17.4.3.1.2")  # six octets of a MAC -> bridge port, 0 = unknown
FDB_STATUS = oid("1.3.6.1.2.1.17.4.3.1.3")  # six octets of a MAC -> 3 learned, 4 self, ..

# RFC 4363, Q-BRIDGE-MIB

Q_FDB_PORT = oid("1.3.6.1.2.1.17.7.1.2.2.1.2")  # FDB id, six octets of a MAC -> bridge port
Q_FDB_STATUS = oid("1.3.6.1.2.1.17.7.1.2.2.1.3")  # the same -> as FDB_STATUS

# RFC 2863, IF-MIB.  Index: ifIndex.

IF_TYPE = oid("1.3.6.1.2.1.2.2.1.3")  # 6 ethernetCsmacd
IF_DESCR = oid("1.3.6.1.2.1.2.2.1.2")  # where there is no ifName
IF_OPER_STATUS = oid("1.3.6.1.2.1.2.2.1.8")  # 1 up, 2 down, ..
IF_NAME = oid("1.3.6.1.2.1.31.1.1.1.1")

# RFC 6933, ENTITY-MIB

ENT_ALIAS_MAPPING = oid("1.3.6.1.2.1.47.1.3.2.1.2")  # entPhysicalIndex, 0 -> ifIndex.N

# CISCO-POWER-ETHERNET-EXT-MIB.  Index: group, port.

CISCO_PORT_ENABLE = oid("1.3.6.1.4.1.9.9.402.1.2.1.1")  # 1 auto, 2 static, 3 limit, 4 disable
CISCO_PORT_CONSUMPTION = oid("1.3.6.1.4.1.9.9.402.1.2.1.9")  # milliwatts
CISCO_PORT_ENTITY = oid("1.3.6.1.4.1.9.9.402.1.2.1.11")  # entPhysicalIndex

# NETGEAR-POWER-ETHERNET-MIB (FASTPATH).  Index: group, port.

NETGEAR_OUTPUT_POWER = oid("1.3.6.1.4.1.4526.10.15.1.1.1.2")  # milliwatts

# TPLINK-POWER-OVER-ETHERNET-MIB.  Index: port.

TPLINK_PORT_STATUS = oid("1.3.6.1.4.1.11863.6.56.1.1.2.1.1.2")  # 0 off, 1 on; written
TPLINK_POWER = oid("1.3.6.1.4.1.11863.6.56.1.1.2.1.1.7")  # tenths of a watt
TPLINK_CLASS = oid("1.3.6.1.4.1.11863.6.56.1.1.2.1.1.10")  # 0 to 4; 7 not defined
TPLINK_POWER_STATUS = oid("1.3.6.1.4.1.11863.6.56.1.1.2.1.1.11")  # 0 off, 1 turning on, 2 on, above: faults

# Enterprises: the beginning of sysObjectID

ENTERPRISES = oid("1.3.6.1.4.1")
CISCO, NETGEAR, TPLINK = 9, 4526, 11863
