"""The pre_shared_key extension and its binders (RFC 9846, section 4.2.11)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from specter.tls.alerts import illegal_parameter
from specter.tls.ciphers import hash_name
from specter.tls.config import ClientTlsConfig
from specter.tls.extensions import decode_u16
from specter.tls.key_schedule import CLIENT_EARLY_TRAFFIC, KeySchedule, Transcript
from specter.tls.reader import Reader, vector8, vector16
from specter.tls.session import Resumption

MAX_IDENTITIES: Final = 16
"""Tickets of one ClientHello that a server looks at."""
_BINDER_OVERHEAD: Final = 2 + 1
"""Bytes around our one binder."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A ticket that a client offers, and the age it says it has (milliseconds, obscured)."""

    ticket: bytes = field(repr=False)
    obfuscated_age: int


@dataclass(frozen=True, slots=True)
class OfferedPsks:
    """A ClientHello's offer; ``binders_size`` is what the list of binders takes at the end of the message."""

    identities: tuple[Identity, ...]
    binders: tuple[bytes, ...]
    binders_size: int


def encode_offer(identity: Identity, binder: bytes) -> bytes:
    """Write an offer of one ticket."""
    entry = vector16(identity.ticket) + identity.obfuscated_age.to_bytes(4, "big")
    return vector16(entry) + vector16(vector8(binder))


def decode_offer(data: bytes) -> OfferedPsks:
    """Read a ClientHello's offer; of more than ``MAX_IDENTITIES`` the first ones count."""
    reader = Reader(data)
    listed = Reader(reader.vector16(7))
    binders_size = reader.remaining
    proofs = Reader(reader.vector16(33))
    reader.finish()
    identities, binders = [], []
    while listed.remaining:
        identities.append(Identity(listed.vector16(1), listed.u32()))
    while proofs.remaining:
        binders.append(proofs.vector8(32))
    if len(identities) != len(binders):
        raise illegal_parameter("pre_shared_key has not one binder for each identity")
    return OfferedPsks(tuple(identities[:MAX_IDENTITIES]), tuple(binders[:MAX_IDENTITIES]), binders_size)


class PskOffer:
    """The one session that a client offers in its ClientHellos."""

    def __init__(self, resumption: Resumption, certificates: list[x509.Certificate]) -> None:
        self.session = resumption.session
        self.certificates = certificates
        self.early_data = resumption.early_data and resumption.session.early_data
        self._schedule = KeySchedule(self.session.cipher_suite, self.session.secret)
        self._identity = Identity(self.session.ticket, (resumption.age + self.session.age_add) & 0xFFFFFFFF)

    @classmethod
    def make(cls, resumption: Resumption | None, config: ClientTlsConfig) -> PskOffer | None:
        """Return an offer, None when there is nothing to resume or it does not fit the connection."""
        if resumption is None or not resumption.session.fits(config):
            return None
        try:
            return cls(resumption, resumption.session.load_certificates())
        except ValueError:  # kept by somebody who damaged it
            return None

    def extension(self) -> bytes:
        """Return the extension's value; its binder is zero until :meth:`bind`."""
        return encode_offer(self._identity, bytes(self._schedule.hash_size))

    def bind(self, hello: bytes, before: Transcript | None) -> bytes:
        """Return the ClientHello ``hello``, which ends with :meth:`extension`, with the binder filled in.

        ``before`` is the transcript of the messages before it, None when it is the first.
        """
        size = self._schedule.hash_size
        transcript = Transcript(self.session.cipher_suite, before)
        transcript.update(hello[: -(_BINDER_OVERHEAD + size)])
        return hello[:-size] + self._schedule.binder(transcript.digest())

    def early_secret(self, hello: bytes) -> bytes:
        """Return the secret that early data behind the ClientHello ``hello`` is protected with."""
        transcript = Transcript(self.session.cipher_suite)
        transcript.update(hello)
        return self._schedule.derive(CLIENT_EARLY_TRAFFIC, transcript.digest())

    def has_hash_of(self, suite: int) -> bool:
        """Whether ``suite`` has the hash that the session's secret is bound to."""
        return hash_name(suite) == hash_name(self.session.cipher_suite)

    def select(self, identity: bytes, suite: int) -> KeySchedule:
        """Return the schedule to go on with, given the server's pre_shared_key and cipher suite."""
        if decode_u16(identity) != 0:
            raise illegal_parameter("the server selected a ticket that was not offered")
        if not self.has_hash_of(suite):
            raise illegal_parameter("the server's cipher suite does not go with the ticket's secret")
        return self._schedule
