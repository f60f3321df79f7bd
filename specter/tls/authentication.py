"""Certificate and CertificateVerify, for either side (RFC 9846, section 4.4; RFC 8879)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from specter.tls import compression, signatures
from specter.tls.alerts import AlertDescription, TlsError, illegal_parameter, unexpected_message
from specter.tls.config import Credential
from specter.tls.engine import Message
from specter.tls.extensions import CERTIFICATE, check_response
from specter.tls.messages import Certificate, CertificateVerify, CompressedCertificate, HandshakeType


def read_chain(message: Message, algorithms: Sequence[int], requested: frozenset[int]) -> tuple[bytes, ...]:
    """Parse a Certificate or CompressedCertificate message into DER certificates, which may be none.

    ``algorithms`` are the compression algorithms we offered, ``requested`` the extensions entries may have.
    """
    certificate = Certificate.parse(_uncompressed(message, algorithms))
    if certificate.context:
        raise illegal_parameter("Certificate has a request context")
    for entry in certificate.entries:
        check_response(entry.extensions, requested, CERTIFICATE, "Certificate")
    return tuple(entry.data for entry in certificate.entries)


def load_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """Return certificates for their DER form."""
    return [_load(data) for data in chain]


def check_proof(
    message: Message, chain: Sequence[x509.Certificate], offered: Sequence[int], digest: bytes, *, server: bool
) -> None:
    """Check the CertificateVerify of the ``server`` or the client over a transcript hash."""
    proof = CertificateVerify.parse(message.body)
    if proof.algorithm not in offered:
        raise illegal_parameter(f"signature scheme 0x{proof.algorithm:04x} was not offered")
    try:
        key = chain[0].public_key()
    except Exception as error:  # unknown key types and malformed keys alike
        raise TlsError(AlertDescription.UNSUPPORTED_CERTIFICATE, "the certificate's key cannot be used") from error
    signatures.verify(proof.algorithm, key, proof.signature, signatures.signed_content(digest, server=server))


def make_certificate(credential: Credential | None, algorithm: int | None = None) -> bytes:
    """Return a framed Certificate message, compressed with ``algorithm`` when that is not None."""
    certificate = Certificate(b"", credential.entries if credential is not None else ())
    if algorithm is None:
        return certificate.encode()
    body = certificate.encode_body()
    return CompressedCertificate(algorithm, len(body), compression.compress(algorithm, body)).encode()


def make_proof(credential: Credential, scheme: int, digest: bytes, *, server: bool) -> bytes:
    """Return a framed CertificateVerify message for a transcript hash."""
    content = signatures.signed_content(digest, server=server)
    return CertificateVerify(scheme, signatures.sign(scheme, credential.private_key, content)).encode()


def _uncompressed(message: Message, algorithms: Sequence[int]) -> bytes:
    if message.kind == HandshakeType.CERTIFICATE:
        return message.body
    if not algorithms:
        raise unexpected_message("CompressedCertificate without an offer to take one")
    packed = CompressedCertificate.parse(message.body)
    if packed.algorithm not in algorithms:
        raise illegal_parameter(f"certificate compression algorithm {packed.algorithm} was not offered")
    return compression.decompress(packed.algorithm, packed.data, packed.uncompressed_length)


def _load(data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except Exception as error:  # the library may also warn, and a warning may be an error
        raise TlsError(AlertDescription.BAD_CERTIFICATE, "a certificate does not parse") from error
