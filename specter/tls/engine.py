"""What both halves of the handshake share: actions, message framing, key log (RFC 9001, section 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography import x509

from specter._entropy import Entropy
from specter.tls.alerts import TlsError, decode_error, unexpected_message
from specter.tls.ciphers import CipherSuite
from specter.tls.config import KeyLog
from specter.tls.key_exchange import NamedGroup
from specter.tls.messages import HandshakeType
from specter.tls.session import Session

HEADER_SIZE: Final = 4
MAX_HANDSHAKE_BYTES: Final = 256 << 10
"""All the handshake bytes a peer may send before the handshake is complete."""

MESSAGE_LIMITS: Final[dict[int, int]] = {
    HandshakeType.CLIENT_HELLO: 32 << 10,
    HandshakeType.SERVER_HELLO: 16 << 10,
    HandshakeType.ENCRYPTED_EXTENSIONS: 16 << 10,
    HandshakeType.CERTIFICATE_REQUEST: 64 << 10,
    HandshakeType.CERTIFICATE: 128 << 10,
    HandshakeType.COMPRESSED_CERTIFICATE: 64 << 10,
    HandshakeType.CERTIFICATE_VERIFY: 4 << 10,
    HandshakeType.FINISHED: 64,
    HandshakeType.NEW_SESSION_TICKET: 32 << 10,
}
"""The longest body of each message, in bytes."""


class Level(IntEnum):
    """Encryption levels of QUIC."""

    INITIAL = 0
    EARLY_DATA = 1
    HANDSHAKE = 2
    APPLICATION = 3


@dataclass(frozen=True, slots=True)
class SendCrypto:
    """Send ``data`` in CRYPTO frames of ``level``."""

    level: Level
    data: bytes


@dataclass(frozen=True, slots=True)
class InstallKeys:
    """Keys of ``level`` are ready for ``writing`` or for reading."""

    level: Level
    writing: bool
    cipher_suite: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeerParameters:
    """The peer's transport parameters; not to be relied on before :class:`Completed`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EarlyDataDecided:
    """Whether the server takes early data; only where the client offered some, and ahead of PeerParameters."""

    accepted: bool


@dataclass(frozen=True, slots=True)
class TicketReceived:
    """The server can resume this connection; ``session`` is what that will need, without the time it came."""

    session: Session


@dataclass(frozen=True, slots=True)
class Completed:
    """The handshake is complete and the peer authenticated."""


Action = SendCrypto | InstallKeys | EarlyDataDecided | PeerParameters | TicketReceived | Completed


@dataclass(frozen=True, slots=True)
class Message:
    """One complete handshake message; ``raw`` has the header too."""

    kind: int
    body: bytes
    raw: bytes


class MessageBuffer:
    """Cuts the byte stream of one encryption level into messages."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self, check: Callable[[int], None]) -> Message | None:
        """Return the next complete message, if there is one.

        ``check`` sees the type as soon as it is there and raises for one that must not come now: a message nobody
        waits for is not buffered. A length above :data:`MESSAGE_LIMITS` is a decode_error at once.
        """
        data = self._data
        if not data:
            return None
        kind = data[0]
        check(kind)
        if len(data) < HEADER_SIZE:
            return None
        size = int.from_bytes(data[1:HEADER_SIZE], "big")
        if size > MESSAGE_LIMITS.get(kind, 0):
            raise decode_error(f"handshake message {kind} of {size} bytes is too long")
        if len(data) < HEADER_SIZE + size:
            return None
        raw = bytes(data[: HEADER_SIZE + size])
        del data[: HEADER_SIZE + size]
        return Message(kind, raw[HEADER_SIZE:], raw)

    def clear(self) -> None:
        self._data.clear()


class Handshake(ABC):
    """One side of a handshake: bytes in with :meth:`receive`, actions out with :meth:`next_action`.

    After a TlsError the handshake is dead; every further :meth:`receive` raises the same error.
    """

    def __init__(self, entropy: Entropy, transport_parameters: bytes, key_log: KeyLog | None) -> None:
        self.alpn = ""
        """The chosen protocol, empty until known."""
        self.cipher_suite: CipherSuite | int = 0
        """The chosen :class:`~specter.tls.ciphers.CipherSuite`, 0 until known."""
        self.group: NamedGroup | int = 0
        """The :class:`~specter.tls.key_exchange.NamedGroup` in use, 0 until known."""
        self.peer_certificates: list[x509.Certificate] = []
        self.complete = False
        self.answer_parameters: Callable[[bytes], bytes] | None = None
        """Server: gets the client's transport parameters and returns ours, in place of those given at first."""
        self.resumed = False
        """Whether a ticket of an earlier connection stands in for the certificate."""
        self._entropy = entropy
        self._transport_parameters = transport_parameters
        self._key_log = key_log
        self._client_random = b""
        self._actions: deque[Action] = deque()
        self._buffer = MessageBuffer()
        self._level = Level.INITIAL
        self._received = 0
        self._failure: TlsError | None = None

    @abstractmethod
    def start(self) -> None:
        """Begin; the client makes its ClientHello, the server waits for one."""

    @abstractmethod
    def _handler(self, kind: int) -> Callable[[Message], None] | None:
        """Return what takes a message of ``kind`` in the present state, None when it must not come."""

    def receive(self, level: Level, data: bytes) -> None:
        """Take the next CRYPTO bytes of ``level``, in order. Raises TlsError when the connection must close."""
        if self._failure is not None:
            raise self._failure
        if not data:
            return
        try:
            self._receive(level, data)
        except TlsError as error:
            self._failure = error
            self._buffer.clear()
            raise

    def next_action(self) -> Action | None:
        """Return the next thing to do, in the order it must be done."""
        return self._actions.popleft() if self._actions else None

    def _receive(self, level: Level, data: bytes) -> None:
        if level != self._level:
            older = level < self._level
            raise unexpected_message("handshake data at the wrong encryption level", protocol_violation=older)
        self._received += len(data)
        if not self.complete and self._received > MAX_HANDSHAKE_BYTES:
            raise decode_error("the handshake is too long")
        self._buffer.feed(data)
        while (message := self._buffer.next(self._check_expected)) is not None:
            handler = self._handler(message.kind)
            if handler is not None:
                handler(message)

    def _check_expected(self, kind: int) -> None:
        if self._handler(kind) is None:
            violation = self.complete and kind == HandshakeType.CERTIFICATE_REQUEST
            raise unexpected_message(f"handshake message {_name(kind)} at this point", protocol_violation=violation)

    def _enter_level(self, level: Level) -> None:
        """Read from ``level`` from now on; nothing may be left of the one before."""
        if self._buffer:
            raise unexpected_message("handshake data left over at a change of keys", protocol_violation=True)
        self._level = level

    def _do(self, *actions: Action) -> None:
        self._actions.extend(actions)

    def _log_secret(self, label: str, secret: bytes) -> None:
        if self._key_log is not None:
            self._key_log(f"{label} {self._client_random.hex()} {secret.hex()}")


def _name(kind: int) -> str:
    try:
        return HandshakeType(kind).name.lower()
    except ValueError:
        return str(kind)
