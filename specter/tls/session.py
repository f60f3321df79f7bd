"""What a client keeps of a connection to resume it (RFC 9846, sections 2.2, 4.2.11 and 4.6.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from specter.tls.config import ClientTlsConfig

MAX_LIFETIME: Final = 7 * 24 * 3600
"""Seconds a ticket may be kept, and for which tickets of tickets may follow a handshake with a certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A ticket with its secret, and all that the connection it came on had agreed on. It never prints the secret.

    ``lifetime`` is in seconds, ``age_add`` obscures the ticket's age, ``early_data`` says that 0-RTT may be tried.
    ``transport_parameters`` are the server's, undecoded; ``application`` belongs to the protocol above QUIC.
    """

    ticket: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    age_add: int = field(repr=False)
    cipher_suite: int
    lifetime: int
    early_data: bool
    server_name: str
    alpn: str
    transport_parameters: bytes = field(repr=False)
    certificates: tuple[bytes, ...] = field(repr=False)
    """The server's chain (DER, leaf first) from the handshake in which it was shown."""
    not_after: int = 0
    """The second (POSIX) up to which that chain is valid, 0 when it was not verified."""
    quic_version: int = 1
    application: bytes = field(default=b"", repr=False)
    received: int = 0
    """When the ticket came, in milliseconds since 1970; whoever keeps the session sets it."""
    authenticated: int = 0
    """When the server last proved itself by certificate, in the same unit."""

    @property
    def size(self) -> int:
        """Bytes that it takes to keep."""
        values = (self.ticket, self.secret, self.transport_parameters, self.application, *self.certificates)
        return sum(map(len, values))

    def is_fresh(self, now: int) -> bool:
        """Whether it may be offered at ``now``, milliseconds since 1970: no limit of ticket or chain has passed."""
        age = now - self.received
        return (
            0 <= age <= min(self.lifetime, MAX_LIFETIME) * 1000
            and now - self.authenticated <= MAX_LIFETIME * 1000
            and (not self.not_after or now <= self.not_after * 1000)
        )

    def fits(self, config: ClientTlsConfig) -> bool:
        """Whether a connection with ``config`` may offer it: the same name, protocol and cipher suite."""
        return (
            self.server_name == config.server_name
            and self.alpn in config.alpn
            and self.cipher_suite in config.cipher_suites
            and bool(self.certificates)
        )

    def load_certificates(self) -> list[x509.Certificate]:
        """Return the chain. ValueError when what was kept does not parse."""
        return [x509.load_der_x509_certificate(data) for data in self.certificates]


@dataclass(frozen=True, slots=True)
class Resumption:
    """A session to offer once, ``age`` milliseconds after its ticket came; ``early_data`` asks for 0-RTT as well."""

    session: Session
    age: int
    early_data: bool = False
