# -*- test-case-name: tests.test_snmp -*-
"""
SNMP versions 1, 2c and 3 with many switches at once: GET, SET and walks, by pysnmp on the asyncio reactor.

One engine (and one UDP socket) serves all targets that are shown the same credentials; different credentials never
share one, since two users of version 3 with one name and different keys overwrite each other there.  No thread: names
are not resolved, a target is an address.  Whatever happens, every call ends within its schedule.

RFC 1157, RFC 3416 (operations), RFC 3414 (users), RFC 7860 (SHA-2), RFC 3826 (AES).
"""

from collections.abc import Iterable
from typing import Any

from pyasn1.type import univ
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch.asyncio import auth as pysnmp_auth
from pysnmp.hlapi.v3arch.asyncio.lcd import CommandGeneratorLcdConfigurator
from pysnmp.hlapi.v3arch.asyncio.transport import UdpTransportTarget
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.error import StatusInformation
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from piman.switching.agent import Answer, Request, Target, silence
from piman.switching.session import (
    Community,
    Credentials,
    Datum,
    Secret,
    SwitchRefused,
    User,
    failure_of_indication,
    nonsense,
)

PYSNMP_SECONDS = 120
"""When pysnmp forgets a request by itself: after all of our waits, which are what counts."""

_MODELS = {"1": 0, "2c": 1}
VERSION_3 = 3
"""Message processing model of version 3 (RFC 3411)."""

_AUTHENTICATION = {
    "md5": pysnmp_auth.USM_AUTH_HMAC96_MD5,
    "sha": pysnmp_auth.USM_AUTH_HMAC96_SHA,
    "sha224": pysnmp_auth.USM_AUTH_HMAC128_SHA224,
    "sha256": pysnmp_auth.USM_AUTH_HMAC192_SHA256,
    "sha384": pysnmp_auth.USM_AUTH_HMAC256_SHA384,
    "sha512": pysnmp_auth.USM_AUTH_HMAC384_SHA512,
}
_PRIVACY = {
    "des": pysnmp_auth.USM_PRIV_CBC56_DES,
    "3des": pysnmp_auth.USM_PRIV_CBC168_3DES,
    "aes128": pysnmp_auth.USM_PRIV_CFB128_AES,
    "aes192": pysnmp_auth.USM_PRIV_CFB192_AES_BLUMENTHAL,
    "aes256": pysnmp_auth.USM_PRIV_CFB256_AES_BLUMENTHAL,
    "aes192-c": pysnmp_auth.USM_PRIV_CFB192_AES,
    "aes256-c": pysnmp_auth.USM_PRIV_CFB256_AES,
}
"""
The long AES keys have two traditions, which differ when the digest is shorter than the key (MD5, SHA-1):
draft-blumenthal-aes-usm-04, and draft-reeder-snmpv3-usm-3desede-00, which Cisco and others follow.  The names are
those of net-snmp (``-x AES-256``, ``-x AES-256-C``).
"""


def datum(value: Any) -> Datum | None:
    """
    A value of pysnmp's as one of ours; noSuchObject, noSuchInstance and endOfMibView are None.

    :raises SwitchRefused: when it is none that SNMP knows.
    """
    if isinstance(value, univ.Null):  # which is an OctetString to pyasn1
        return None
    if isinstance(value, univ.ObjectIdentifier):
        return tuple(map(int, value))
    if isinstance(value, univ.Integer):
        return int(value)
    if isinstance(value, univ.OctetString):
        return bytes(value)
    raise nonsense(f"a value of type {type(value).__name__}")


class Engines:
    """
    The pysnmp side: an :data:`piman.switching.agent.Exchange`, with one engine for each set of credentials.

    :param clock: pysnmp counts its own timeouts by the time of day, which may jump; ours end each wait.
    """

    _log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._engines: dict[Credentials, SnmpEngine] = {}
        self._lcd = CommandGeneratorLcdConfigurator()

    def __len__(self) -> int:
        return len(self._engines)

    def exchange(self, target: Target, credentials: Credentials, request: Request, wait: float) -> "Deferred[Answer]":
        """Send once; see :data:`piman.switching.agent.Exchange`."""
        done: Deferred[Answer] = Deferred()
        ending = self._clock.callLater(wait, self._expire, done, target, credentials)

        def received(engine: Any, handle: Any, indication: Any, status: Any, index: Any, values: Any, _: Any) -> None:
            if not done.called:
                ending.cancel()
                _conclude(done, credentials, indication, int(status), int(index), values)

        try:
            self._send(target, credentials, request, received)
        except (PySnmpError, StatusInformation) as reason:
            if done.called:
                return done
            ending.cancel()
            self._log.debug("pysnmp cannot ask {target}: {reason}", target=target, reason=reason)
            indication = reason.get("errorIndication") if isinstance(reason, StatusInformation) else None
            done.errback(failure_of_indication(indication_name(indication) if indication else f"pysnmp: {reason}"))
        return done

    def _expire(self, done: "Deferred[Answer]", target: Target, credentials: Credentials) -> None:
        if isinstance(credentials, User) and credentials in self._engines:
            _forget_peer(self._engines[credentials], target)
        done.errback(silence(credentials))

    def _send(self, target: Target, credentials: Credentials, request: Request, received: Any) -> None:
        engine = self._engines.get(credentials)
        if engine is None:
            engine = self._engines[credentials] = SnmpEngine()
        context = credentials.context if isinstance(credentials, User) else ""
        name, _ = self._lcd.configure(engine, _authentication(credentials), _TransportTarget(target))
        pairs = [(rfc1902.ObjectName(oid), _written(request)) for oid in request.oids]
        if request.operation == "bulk":
            bulk = cmdgen.BulkCommandGeneratorSingleRun()
            bulk.send_varbinds(engine, name, None, context, 0, request.repetitions, pairs, received)
        else:
            _COMMANDS[request.operation]().send_varbinds(engine, name, None, context, pairs, received)

    def close(self) -> None:
        """Close all sockets: what is under way times out, what is asked later opens new ones."""
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            engine.close_dispatcher()


def _forget_peer(engine: SnmpEngine, target: Target) -> None:
    """
    Let pysnmp discover an agent's engine id anew: the switch may have been replaced.

    RFC 3414, section 4, wants a discovery when the engine id is wrong; pysnmp 7.1 drops the report that says so,
    because it comes from an engine it has no user for, and would go on asking the one that is gone for 5 minutes.
    """
    model = engine.message_processing_subsystems[VERSION_3]
    cache, queue = (
        getattr(model, f"_SnmpV3MessageProcessingModel__engineIdCache{part}", {}) for part in ("", "ExpQueue")
    )
    peer = (str(target.address), target.port)
    for key in [key for key in cache if tuple(key[1]) == peer]:
        del cache[key]
        for due in queue.values():
            due[:] = [each for each in due if each != key]  # else its expiry would raise


_COMMANDS: dict[str, Any] = {
    "get": cmdgen.GetCommandGenerator,
    "next": cmdgen.NextCommandGeneratorSingleRun,
    "set": cmdgen.SetCommandGenerator,
}


def _written(request: Request) -> Any:
    return rfc1902.Integer32(request.value) if request.operation == "set" else rfc1905.unSpecified


class _Transport(udp.UdpAsyncioTransport):  # type: ignore[misc]
    """What pysnmp cannot read it drops with an exception of any kind, which asyncio would print with its traceback."""

    _log = Logger()

    def datagram_received(self, datagram: bytes, address: Any) -> None:
        self.loop.call_soon(self._hand_on, datagram, address)

    def _hand_on(self, datagram: bytes, address: Any) -> None:
        if self._callback_function is None:  # closed meanwhile
            return
        try:
            self._callback_function(self, address, datagram)
        except Exception as reason:
            self._log.debug("ignored SNMP from {address}: {reason!r}", address=address, reason=reason)


class _TransportTarget(UdpTransportTarget):  # type: ignore[misc]
    """A target by its address: ``UdpTransportTarget.create`` would resolve it, in a thread."""

    PROTO_TRANSPORT = _Transport

    def __init__(self, target: Target) -> None:
        self.transport_address = (str(target.address), target.port)
        super().__init__(timeout=PYSNMP_SECONDS, retries=0)


def _authentication(credentials: Credentials) -> Any:
    if isinstance(credentials, Community):
        return pysnmp_auth.CommunityData(credentials.community, mpModel=_MODELS[credentials.version or "2c"])
    auth, priv = credentials.auth, credentials.priv
    return pysnmp_auth.UsmUserData(
        credentials.name,
        authKey=_phrase(auth),
        privKey=_phrase(priv),
        authProtocol=_AUTHENTICATION[auth.protocol] if auth else pysnmp_auth.USM_AUTH_NONE,
        privProtocol=_PRIVACY[priv.protocol] if priv else pysnmp_auth.USM_PRIV_NONE,
    )


def _phrase(secret: Secret | None) -> bytes | None:
    return secret.phrase.encode() if secret else None


def indication_name(indication: Any) -> str:
    """``wrongDigest`` for pysnmp's ``WrongDigest``: a key of :data:`piman.switching.session.INDICATIONS`."""
    if isinstance(indication, str):
        return indication
    kind = type(indication).__name__
    return kind[0].lower() + kind[1:]


def _conclude(
    done: "Deferred[Answer]", credentials: Credentials, indication: Any, status: int, index: int, values: Iterable[Any]
) -> None:
    if indication:
        name = indication_name(indication)
        done.errback(silence(credentials) if name == "requestTimedOut" else failure_of_indication(name))
        return
    try:
        pairs = [] if status else [(tuple(map(int, oid)), datum(value)) for oid, value in values]
    except SwitchRefused as reason:
        done.errback(reason)
    else:
        done.callback(Answer(status, index, tuple(pairs)))
