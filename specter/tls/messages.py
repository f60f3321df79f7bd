"""The handshake messages as values: ``parse`` from a body, ``encode`` to a framed message (RFC 9846, section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from specter.tls.alerts import AlertDescription, TlsError, decode_error, illegal_parameter
from specter.tls.extensions import (
    Extension,
    ExtensionType,
    decode_max_early_data,
    encode_extensions,
    parse_extensions,
)
from specter.tls.reader import Reader, encode_u16_list, u16_list, vector8, vector16, vector24

LEGACY_VERSION: Final = 0x0303
RANDOM_SIZE: Final = 32
HELLO_RETRY_REQUEST_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
DOWNGRADE_SENTINELS: Final = (b"DOWNGRD\x00", b"DOWNGRD\x01")
EARLY_DATA_UNLIMITED: Final = 0xFFFFFFFF
MAX_CERTIFICATES: Final = 16
"""The longest chain that is looked at."""


class HandshakeType(IntEnum):
    """Handshake message types."""

    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    NEW_SESSION_TICKET = 4
    END_OF_EARLY_DATA = 5
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    CERTIFICATE_REQUEST = 13
    CERTIFICATE_VERIFY = 15
    FINISHED = 20
    KEY_UPDATE = 24
    COMPRESSED_CERTIFICATE = 25
    MESSAGE_HASH = 254


def frame(kind: int, body: bytes) -> bytes:
    """Put the four-byte handshake header in front of ``body``."""
    return bytes((kind,)) + vector24(body)


@dataclass(frozen=True, slots=True)
class ClientHello:
    """A ClientHello; ``extensions`` in the order of the wire."""

    random: bytes
    cipher_suites: tuple[int, ...]
    extensions: dict[int, bytes] = field(repr=False)
    session_id: bytes = b""

    @classmethod
    def parse(cls, body: bytes) -> ClientHello:
        reader = Reader(body)
        version = reader.u16()
        random = reader.take(RANDOM_SIZE)
        session_id = reader.vector8(0, 32)
        suites = u16_list(reader.vector16(2, 0xFFFE))
        compression = reader.vector8(1)
        extensions = parse_extensions(reader) if reader.remaining else {}
        reader.finish()
        if version != LEGACY_VERSION:
            raise TlsError(AlertDescription.PROTOCOL_VERSION, "ClientHello has an unknown legacy version")
        if compression != b"\0":
            raise illegal_parameter("ClientHello offers compression")
        if ExtensionType.PRE_SHARED_KEY in extensions and next(reversed(extensions)) != ExtensionType.PRE_SHARED_KEY:
            raise illegal_parameter("pre_shared_key is not the last extension")
        return cls(random, suites, extensions, session_id)

    def encode(self) -> bytes:
        parts = (
            LEGACY_VERSION.to_bytes(2, "big"),
            self.random,
            vector8(self.session_id),
            vector16(encode_u16_list(self.cipher_suites)),
            b"\x01\0",
            encode_extensions(self.extensions.items()),
        )
        return frame(HandshakeType.CLIENT_HELLO, b"".join(parts))


@dataclass(frozen=True, slots=True)
class ServerHello:
    """A ServerHello or, told by ``random``, a HelloRetryRequest."""

    random: bytes
    cipher_suite: int
    extensions: dict[int, bytes]
    session_id_echo: bytes = b""
    compression: int = 0
    version: int = LEGACY_VERSION

    @property
    def is_retry(self) -> bool:
        return self.random == HELLO_RETRY_REQUEST_RANDOM

    @classmethod
    def parse(cls, body: bytes) -> ServerHello:
        reader = Reader(body)
        version = reader.u16()
        random = reader.take(RANDOM_SIZE)
        session_id_echo = reader.vector8(0, 32)
        suite = reader.u16()
        compression = reader.u8()
        extensions = parse_extensions(reader) if reader.remaining else {}
        reader.finish()
        return cls(random, suite, extensions, session_id_echo, compression, version)

    def encode(self) -> bytes:
        parts = (
            self.version.to_bytes(2, "big"),
            self.random,
            vector8(self.session_id_echo),
            self.cipher_suite.to_bytes(2, "big"),
            bytes((self.compression,)),
            encode_extensions(self.extensions.items()),
        )
        return frame(HandshakeType.SERVER_HELLO, b"".join(parts))


def parse_encrypted_extensions(body: bytes) -> dict[int, bytes]:
    """Return the extensions of an EncryptedExtensions message."""
    reader = Reader(body)
    extensions = parse_extensions(reader)
    reader.finish()
    return extensions


def encode_encrypted_extensions(extensions: Iterable[Extension]) -> bytes:
    return frame(HandshakeType.ENCRYPTED_EXTENSIONS, encode_extensions(extensions))


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A server's wish for a client certificate."""

    context: bytes
    extensions: dict[int, bytes]

    @classmethod
    def parse(cls, body: bytes) -> CertificateRequest:
        reader = Reader(body)
        context = reader.vector8()
        extensions = parse_extensions(reader)
        reader.finish()
        return cls(context, extensions)

    def encode(self) -> bytes:
        body = vector8(self.context) + encode_extensions(self.extensions.items())
        return frame(HandshakeType.CERTIFICATE_REQUEST, body)


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """One DER certificate and its extensions."""

    data: bytes
    extensions: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain, the end entity first."""

    context: bytes
    entries: tuple[CertificateEntry, ...]

    @classmethod
    def parse(cls, body: bytes) -> Certificate:
        reader = Reader(body)
        context = reader.vector8()
        entries = Reader(reader.vector24())
        reader.finish()
        found: list[CertificateEntry] = []
        while entries.remaining:
            found.append(CertificateEntry(entries.vector24(1), parse_extensions(entries)))
            if len(found) > MAX_CERTIFICATES:
                raise TlsError(AlertDescription.BAD_CERTIFICATE, f"more than {MAX_CERTIFICATES} certificates")
        return cls(context, tuple(found))

    def encode(self) -> bytes:
        return frame(HandshakeType.CERTIFICATE, self.encode_body())

    def encode_body(self) -> bytes:
        """The message without its header, as certificate compression wants it."""
        entries = (vector24(entry.data) + encode_extensions(entry.extensions.items()) for entry in self.entries)
        return vector8(self.context) + vector24(b"".join(entries))


@dataclass(frozen=True, slots=True)
class CompressedCertificate:
    """A Certificate message in compressed form (RFC 8879, section 4)."""

    algorithm: int
    uncompressed_length: int
    data: bytes

    @classmethod
    def parse(cls, body: bytes) -> CompressedCertificate:
        reader = Reader(body)
        message = cls(reader.u16(), reader.u24(), reader.vector24(1))
        reader.finish()
        return message

    def encode(self) -> bytes:
        head = self.algorithm.to_bytes(2, "big") + self.uncompressed_length.to_bytes(3, "big")
        return frame(HandshakeType.COMPRESSED_CERTIFICATE, head + vector24(self.data))


@dataclass(frozen=True, slots=True)
class CertificateVerify:
    """The proof that the peer has the private key."""

    algorithm: int
    signature: bytes

    @classmethod
    def parse(cls, body: bytes) -> CertificateVerify:
        reader = Reader(body)
        message = cls(reader.u16(), reader.vector16())
        reader.finish()
        return message

    def encode(self) -> bytes:
        body = self.algorithm.to_bytes(2, "big") + vector16(self.signature)
        return frame(HandshakeType.CERTIFICATE_VERIFY, body)


def parse_finished(body: bytes, size: int) -> bytes:
    """Return the ``verify_data``, which must have the length of the hash."""
    if len(body) != size:
        raise decode_error("Finished has the wrong length")
    return body


@dataclass(frozen=True, slots=True)
class NewSessionTicket:
    """A ticket for resumption; ``lifetime`` in seconds."""

    lifetime: int
    age_add: int
    nonce: bytes
    ticket: bytes = field(repr=False)
    extensions: dict[int, bytes]

    @classmethod
    def parse(cls, body: bytes) -> NewSessionTicket:
        reader = Reader(body)
        lifetime, age_add, nonce, ticket = reader.u32(), reader.u32(), reader.vector8(), reader.vector16(1)
        extensions = parse_extensions(reader)
        reader.finish()
        return cls(lifetime, age_add, nonce, ticket, extensions)

    @property
    def early_data(self) -> bool:
        """Whether it allows 0-RTT. TlsError for a limit on it, which QUIC does not have (RFC 9001, section 4.6.1)."""
        data = self.extensions.get(ExtensionType.EARLY_DATA)
        if data is None:
            return False
        if decode_max_early_data(data) != EARLY_DATA_UNLIMITED:
            alert = AlertDescription.ILLEGAL_PARAMETER
            raise TlsError(alert, "a ticket limits early data by TLS's count", protocol_violation=True)
        return True

    def encode(self) -> bytes:
        head = self.lifetime.to_bytes(4, "big") + self.age_add.to_bytes(4, "big")
        body = head + vector8(self.nonce) + vector16(self.ticket) + encode_extensions(self.extensions.items())
        return frame(HandshakeType.NEW_SESSION_TICKET, body)
