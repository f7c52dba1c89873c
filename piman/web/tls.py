# -*- test-case-name: tests.test_serving -*-
"""
HTTPS from two files: a certificate with its chain, and its key.

The files are looked at again at SIGHUP, so a certificate that was renewed needs no restart; where the new ones cannot
be used, the old ones stay in use.
"""

import re
from pathlib import Path

from OpenSSL.crypto import Error as CryptoError
from OpenSSL.SSL import Context, Error
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate
from zope.interface import implementer

from piman.host.regular import read_regular

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class BadCertificate(Exception):
    """Files that no HTTPS can be made of; the text says why, and never what is in them."""


def read_certificate(certificate: Path, key: Path) -> CertificateOptions:
    """
    What Twisted makes of the files: TLS 1.2 and later.

    :raises BadCertificate: when they cannot be read, are none, or do not belong together.
    """
    try:
        chain = _PEM.findall(read_regular(certificate))
        private = read_regular(key)
    except OSError as reason:
        raise BadCertificate(f"{reason.filename}: {reason.strerror}") from reason
    if b"ENCRYPTED" in private:
        raise BadCertificate(f"{key}: found a key with a pass phrase, expected one without (openssl pkey)")
    if not chain:
        raise BadCertificate(f"{certificate}: found no certificate in it, expected PEM (BEGIN CERTIFICATE)")
    try:
        others = [Certificate.loadPEM(each).original for each in chain[1:]]
        made = PrivateCertificate.loadPEM(chain[0] + b"\n" + private)
        options = CertificateOptions(
            privateKey=made.privateKey.original, certificate=made.original, extraCertChain=others
        )
        options.getContext().check_privatekey()
    except (CryptoError, Error, VerifyError, ValueError, TypeError) as reason:
        raise BadCertificate(f"{certificate} and {key} do not make a certificate with its private key") from reason
    return options


@implementer(IOpenSSLContextFactory)
class Certified:
    """
    A context factory whose certificate can be read again.

    :raises BadCertificate: when there is none at the beginning.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._options = read_certificate(certificate, key)

    def read_again(self) -> None:
        """
        Take the files as they are now; connections that there are go on with what they have.

        :raises BadCertificate: when they cannot be used; nothing changes.
        """
        self._options = read_certificate(*self._files)

    def getContext(self) -> Context:
        """For the next connection."""
        found: Context = self._options.getContext()
        return found
