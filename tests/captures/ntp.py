"""
NTP packets as programs that are not ours put them on the wire.

All were captured with tcpdump 4.99.3 on 2026-11-23 between two network namespaces of one Debian 12 host
(172.30.4.101 the client, 172.30.4.1 the server); the UDP payload is whole.
"""

CHRONYD_REQUEST = bytes.fromhex(
    "23"  # leap 0, version 4, mode 3 (client)
    "00"  # stratum: not told
    "06"  # poll: 64 s
    "20"  # precision: +32, so that nothing is told
    "00000000"  # root delay
    "00000000"  # root dispersion
    "00000000"  # reference id
    "0000000000000000"  # reference time
    "0000000000000000"  # origin time
    "0000000000000000"  # receive time
    "419e34780c3b3629"  # transmit time: a random number, chronyd remembers what it stands for
)
"""chronyd 4.3 (Debian 4.3-2+deb12u1): ``chronyd -Q -f /dev/null "server 172.30.4.1 iburst"``, its first packet."""

CHRONYD_REPLY = bytes.fromhex(
    "24"  # leap 0, version 4, mode 4 (server)
    "08"  # stratum 8
    "06"  # poll: echoed
    "e6"  # precision: -26
    "00000000"  # root delay
    "00000000"  # root dispersion
    "7f7f0101"  # reference id: 127.127.1.1, the clock itself
    "eeaea25a717bed13"  # reference time
    "419e34780c3b3629"  # origin time: the request's transmit time
    "eeaea25c71886615"  # receive time: 2026-11-23 11:30:36.443487 UTC
    "eeaea25c71a11f2a"  # transmit time: 377 microseconds later
)
"""chronyd 4.3 with ``local stratum 8`` answers :data:`CHRONYD_REQUEST`."""

CHRONYD_REPLY_RECEIVED = 1795433436.443487
"""When tcpdump saw :data:`CHRONYD_REQUEST` arrive."""

NTPDATE_REQUEST = bytes.fromhex(
    "e3"  # leap 3 (not synchronised), version 4, mode 3
    "00"  # stratum
    "00"  # poll
    "00"  # precision
    "00000000"  # root delay
    "00000000"  # root dispersion
    "00000000"  # reference id
    "0000000000000000"  # reference time
    "0000000000000000"  # origin time
    "0000000000000000"  # receive time
    "eeaea260969c5800"  # transmit time: 2026-11-23 11:30:40.588323 UTC
)
"""ntpdate of ntpsec 1.2.2: ``ntpdate -q 172.30.4.1``."""

CHRONYC_TRACKING = (
    "7F7F0101,,8,1795433434.443297212,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,"
    "0.000000000,0.000000000,0.0,Normal\n"
)
"""``chronyc -n -c tracking`` of the same chronyd."""

CHRONYC_SILENCE = "506 Cannot talk to daemon\n"
"""The same command without a chronyd."""

CHRONYC_TRACKING_UPSTREAM = (
    "AC1E0401,172.30.4.1,9,1795433501.604645377,-0.000006129,0.000001154,0.000001154,0.357,0.000,338.694,"
    "0.000020354,0.000319425,0.3,Normal\n"
)
"""``chronyc -n -c tracking`` of a chronyd 4.3 that follows 172.30.4.1, stratum 8."""
