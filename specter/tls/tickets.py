"""Session tickets of the local server: sealed, so that it keeps nothing; early data is taken once for each.

The server's key opens a ticket whose lifetime is not over. Replayed early data meets two guards (RFC 9846, sections
8.1 and 8.3): the client's account of the ticket's age has to be right within a few seconds, and within that time
every ticket is remembered that early data came with.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from specter._entropy import Entropy
from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.ciphers import hash_name
from specter.tls.extensions import ExtensionType
from specter.tls.key_schedule import KeySchedule, Transcript
from specter.tls.messages import EARLY_DATA_UNLIMITED, NewSessionTicket
from specter.tls.psk import Identity, OfferedPsks
from specter.tls.reader import Reader, vector8, vector16

LIFETIME: Final = 24 * 3600
"""Seconds."""
WINDOW: Final = 10_000
"""Milliseconds by which a client's account of a ticket's age may be off when it sends early data."""
REMEMBERED: Final = 4096
"""Tickets remembered for their early data; while there are so many, no more early data is taken."""

_NONCE_SIZE: Final = 12
_LABEL: Final = b"specter session ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a ticket says. ``issued`` is in milliseconds, ``context`` whatever early data depends on besides.

    It is good for connections to ``server_name`` that begin in ``quic_version``.
    """

    secret: bytes = field(repr=False)
    cipher_suite: int
    issued: int
    age_add: int
    quic_version: int
    server_name: str
    alpn: str
    context: bytes

    def encode(self) -> bytes:
        numbers = ((self.cipher_suite, 2), (self.issued, 8), (self.age_add, 4), (self.quic_version, 4))
        head = b"".join(number.to_bytes(size, "big") for number, size in numbers)
        names = vector8(self.alpn.encode()) + vector16(self.server_name.encode())
        return head + vector8(self.secret) + names + vector16(self.context)

    def fits(self, version: int, server_name: str, suite: int) -> bool:
        """Whether it is for a connection that begins so and goes on with ``suite``."""
        same = (self.quic_version, self.server_name) == (version, server_name)
        return same and hash_name(self.cipher_suite) == hash_name(suite)

    @classmethod
    def decode(cls, data: bytes) -> Ticket:
        reader = Reader(data)
        suite, issued, age_add = reader.u16(), int.from_bytes(reader.take(8), "big"), reader.u32()
        version = reader.u32()
        secret, alpn, name, context = reader.vector8(), reader.vector8(), reader.vector16(), reader.vector16()
        reader.finish()
        return cls(
            secret=secret,
            cipher_suite=suite,
            issued=issued,
            age_add=age_add,
            quic_version=version,
            server_name=name.decode(),
            alpn=alpn.decode(),
            context=context,
        )


class TicketKeeper:
    """Seals tickets with ``key`` (AES-GCM, 16 to 32 bytes) and opens them again.

    ``clock`` gives milliseconds that never go back, over restarts too where ``key`` survives them. Each connection is
    given ``count`` tickets; ``early_data`` allows 0-RTT with them, where ``context`` is still the same.
    """

    def __init__(
        self,
        key: bytes,
        clock: Callable[[], int],
        *,
        lifetime: int = LIFETIME,
        count: int = 2,
        early_data: bool = True,
        context: bytes = b"",
    ) -> None:
        self.clock = clock
        self.lifetime = lifetime
        self.count = count
        self.early_data = early_data
        self.context = context
        self._aead = AESGCM(key)
        self._used: dict[bytes, int] = {}

    def seal(self, ticket: Ticket, entropy: Entropy) -> bytes:
        nonce = entropy.token(_NONCE_SIZE)
        return nonce + self._aead.encrypt(nonce, ticket.encode(), _LABEL)

    def message(self, ticket: Ticket, nonce: bytes, entropy: Entropy) -> bytes:
        """Return the NewSessionTicket message that gives ``ticket`` to the client."""
        extensions: dict[int, bytes] = {}
        if self.early_data:
            extensions[ExtensionType.EARLY_DATA] = EARLY_DATA_UNLIMITED.to_bytes(4, "big")
        sealed = self.seal(ticket, entropy)
        return NewSessionTicket(self.lifetime, ticket.age_add, nonce, sealed, extensions).encode()

    def open(self, data: bytes) -> Ticket | None:
        """Return what a ticket of ours says, None for others and for those whose time is over."""
        try:
            ticket = Ticket.decode(self._aead.decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], _LABEL))
        except (InvalidTag, ValueError, TlsError):
            return None
        return ticket if 0 <= self.clock() - ticket.issued <= self.lifetime * 1000 else None

    def takes_early_data(self, ticket: Ticket, identity: Identity) -> bool:
        """Whether early data with this ticket is fresh and comes for the first time; asking counts as coming."""
        now = self.clock()
        age = (identity.obfuscated_age - ticket.age_add) & 0xFFFFFFFF
        if not self.early_data or abs(now - ticket.issued - age) > WINDOW:
            return False
        self._used = {used: until for used, until in self._used.items() if until > now}
        mark = identity.ticket[:_NONCE_SIZE]
        if mark in self._used or len(self._used) >= REMEMBERED:
            return False
        self._used[mark] = now + 2 * WINDOW
        return True


@dataclass(frozen=True, slots=True)
class Accepted:
    """The ticket that a connection goes on from, its place in the client's list, and the schedule it starts."""

    index: int
    identity: Identity
    ticket: Ticket
    schedule: KeySchedule

    @classmethod
    def choose(
        cls, keeper: TicketKeeper, psks: OfferedPsks, fits: Callable[[Ticket], bool], hello: bytes, before: Transcript
    ) -> Accepted | None:
        """Take the first ticket of ours that ``fits``, None if there is none.

        ``hello`` is the whole ClientHello, ``before`` the transcript of what came before it. TlsError when the client
        does not have the secret of the ticket.
        """
        for index, identity in enumerate(psks.identities):
            ticket = keeper.open(identity.ticket)
            if ticket is None or not fits(ticket):
                continue
            schedule = KeySchedule(ticket.cipher_suite, ticket.secret)
            transcript = Transcript(ticket.cipher_suite, before)
            transcript.update(hello[: -psks.binders_size])
            if not hmac.compare_digest(psks.binders[index], schedule.binder(transcript.digest())):
                raise TlsError(AlertDescription.DECRYPT_ERROR, "the binder of a ticket is wrong")
            return cls(index, identity, ticket, schedule)
        return None
