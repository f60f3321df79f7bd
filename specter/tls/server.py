"""The server's half of the handshake, for the local server (RFC 9846, appendix A.2; RFC 9001, sections 4 and 8)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final

from specter._entropy import Entropy
from specter.tls import authentication, key_exchange, signatures
from specter.tls import extensions as ext
from specter.tls import key_schedule as keys
from specter.tls.alerts import (
    AlertDescription,
    TlsError,
    handshake_failure,
    illegal_parameter,
    missing_extension,
)
from specter.tls.ciphers import CipherSuite
from specter.tls.config import Credential, ServerTlsConfig
from specter.tls.engine import (
    Completed,
    EarlyDataDecided,
    Handshake,
    InstallKeys,
    Level,
    Message,
    PeerParameters,
    SendCrypto,
)
from specter.tls.extensions import ExtensionType
from specter.tls.key_exchange import NamedGroup
from specter.tls.key_schedule import KeySchedule, Transcript
from specter.tls.messages import (
    HELLO_RETRY_REQUEST_RANDOM,
    RANDOM_SIZE,
    CertificateRequest,
    ClientHello,
    HandshakeType,
    ServerHello,
    encode_encrypted_extensions,
    frame,
    parse_finished,
)
from specter.tls.psk import decode_offer
from specter.tls.tickets import Accepted, Ticket, TicketKeeper
from specter.tls.trust import failure

_REQUIRED: Final = (
    ExtensionType.SIGNATURE_ALGORITHMS,
    ExtensionType.SUPPORTED_GROUPS,
    ExtensionType.KEY_SHARE,
    ExtensionType.QUIC_TRANSPORT_PARAMETERS,
)


class ServerState(Enum):
    """What the server waits for."""

    START = auto()
    WAIT_CLIENT_HELLO = auto()
    WAIT_SECOND_CLIENT_HELLO = auto()
    WAIT_CERTIFICATE = auto()
    WAIT_CERTIFICATE_VERIFY = auto()
    WAIT_FINISHED = auto()
    CONNECTED = auto()


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a ClientHello offers, decoded."""

    random: bytes
    suites: tuple[int, ...]
    groups: tuple[int, ...]
    shares: dict[int, bytes]
    schemes: tuple[int, ...]
    protocols: tuple[bytes, ...]
    compression: tuple[int, ...]
    transport_parameters: bytes
    server_name: str
    cookie: bytes
    psks: bytes | None
    takes_tickets: bool
    early_data: bool


class ServerHandshake(Handshake):
    """Answers a client; see :class:`~specter.tls.engine.Handshake` for how it is driven.

    ``quic_version`` is the one the connection begins in. ``context`` is what early data depends on, apart from TLS:
    tickets of another context allow none.
    """

    _transcript: Transcript
    _schedule: KeySchedule
    _client_secret: bytes
    _server_secret: bytes
    _client_application_secret: bytes

    def __init__(
        self,
        config: ServerTlsConfig,
        entropy: Entropy,
        transport_parameters: bytes,
        quic_version: int = 1,
        context: bytes = b"",
    ) -> None:
        super().__init__(entropy, transport_parameters, config.key_log)
        self.server_name = ""
        """The host name the client asked for, empty when it named none."""
        self.quic_version = self._first_version = quic_version
        """The QUIC version that tickets will be for: whoever changes it before the handshake ends sets this."""
        self._config = config
        self._state = ServerState.START
        self._context = context if config.tickets is None else config.tickets.context + context
        self._resumption: Accepted | None = None
        self._early_data = False
        self._issues_tickets = False

    def start(self) -> None:
        """Wait for a ClientHello."""
        self._state = ServerState.WAIT_CLIENT_HELLO

    def _handler(self, kind: int) -> Callable[[Message], None] | None:
        method = _EXPECTED[self._state].get(kind)
        return partial(method, self) if method is not None else None

    # ClientHello

    def _on_client_hello(self, message: Message) -> None:
        offer = _read_offer(ClientHello.parse(message.body))
        suite = _first_common(self._config.cipher_suites, offer.suites, "cipher suite")
        group = self._choose_group(offer)
        self.cipher_suite = CipherSuite(suite)
        self._client_random = offer.random
        self._transcript = Transcript(suite)
        if self.answer_parameters is not None:
            self._transport_parameters = self.answer_parameters(offer.transport_parameters)
        if group not in offer.shares:
            self._transcript.update(message.raw)
            self._send_retry(group)
        else:
            self._accept(offer, group, message, first=True)

    def _choose_group(self, offer: _Offer) -> int:
        ready = [group for group in self._config.groups if group in offer.shares]
        return ready[0] if ready else _first_common(self._config.groups, offer.groups, "key exchange group")

    def _send_retry(self, group: int) -> None:
        extensions: dict[int, bytes] = {
            ExtensionType.SUPPORTED_VERSIONS: ext.TLS13.to_bytes(2, "big"),
            ExtensionType.KEY_SHARE: group.to_bytes(2, "big"),
        }
        if self._config.cookie:
            extensions[ExtensionType.COOKIE] = ext.encode_cookie(self._config.cookie)
        retry = ServerHello(HELLO_RETRY_REQUEST_RANDOM, self.cipher_suite, extensions)
        self._transcript.replace_by_message_hash()
        self._do(SendCrypto(Level.INITIAL, self._sent(retry.encode())))
        self.group = NamedGroup(group)
        self._state = ServerState.WAIT_SECOND_CLIENT_HELLO

    def _on_second_client_hello(self, message: Message) -> None:
        offer = _read_offer(ClientHello.parse(message.body))
        if offer.random != self._client_random or self.cipher_suite not in offer.suites:
            raise illegal_parameter("the second ClientHello is not the first one")
        if tuple(offer.shares) != (self.group,):
            raise illegal_parameter("the second ClientHello does not have the share that was asked for")
        if offer.cookie != self._config.cookie:
            raise illegal_parameter("the second ClientHello does not return the cookie")
        self._accept(offer, self.group, message, first=False)

    # The server's flight

    def _accept(self, offer: _Offer, group: int, message: Message, *, first: bool) -> None:
        self._resume(offer, message)
        self._transcript.update(message.raw)
        self.alpn = self._choose_alpn(offer)
        self.group = NamedGroup(group)
        self.server_name = offer.server_name
        share, secret = key_exchange.respond(group, offer.shares[group], self._entropy)
        if offer.early_data:
            self._decide_early_data(first=first)
        self._do(PeerParameters(offer.transport_parameters))
        self._send_hello(group, share)
        self._install_handshake_keys(secret)
        self._enter_level(Level.HANDSHAKE)
        self._send_flight(offer)
        self._install_application_keys()
        asks = self._config.request_client_certificate or self._config.require_client_certificate
        self._state = ServerState.WAIT_CERTIFICATE if asks else ServerState.WAIT_FINISHED

    def _resume(self, offer: _Offer, message: Message) -> None:
        keeper = self._config.tickets
        if keeper is None or not offer.takes_tickets:
            return
        self._issues_tickets = True
        if offer.psks is not None:
            psks = decode_offer(offer.psks)
            self._resumption = Accepted.choose(
                keeper,
                psks,
                lambda ticket: ticket.fits(self._first_version, offer.server_name, self.cipher_suite),
                message.raw,
                self._transcript,
            )
            self.resumed = self._resumption is not None

    def _decide_early_data(self, *, first: bool) -> None:
        resumption, keeper = self._resumption, self._config.tickets
        if first and resumption is not None and keeper is not None and resumption.index == 0:
            ticket = resumption.ticket
            same = (ticket.cipher_suite, ticket.alpn, ticket.context) == (self.cipher_suite, self.alpn, self._context)
            self._early_data = same and keeper.takes_early_data(ticket, resumption.identity)
        self._do(EarlyDataDecided(self._early_data))
        if self._early_data and resumption is not None:
            secret = resumption.schedule.derive(keys.CLIENT_EARLY_TRAFFIC, self._transcript.digest())
            self._log_secret("CLIENT_EARLY_TRAFFIC_SECRET", secret)
            self._do(InstallKeys(Level.EARLY_DATA, False, self.cipher_suite, secret))

    def _choose_credential(self, offer: _Offer) -> tuple[Credential, int]:
        for credential in self._config.credentials:
            scheme = signatures.choose_scheme(credential.private_key, offer.schemes)
            if scheme is not None:
                return credential, scheme
        raise handshake_failure("the client takes no signature scheme of ours")

    def _choose_alpn(self, offer: _Offer) -> str:
        for protocol in self._config.alpn:
            if protocol.encode("ascii") in offer.protocols:
                return protocol
        raise TlsError(AlertDescription.NO_APPLICATION_PROTOCOL, "no protocol in common")

    def _send_hello(self, group: int, share: bytes) -> None:
        extensions: dict[int, bytes] = {
            ExtensionType.SUPPORTED_VERSIONS: ext.TLS13.to_bytes(2, "big"),
            ExtensionType.KEY_SHARE: ext.encode_share(group, share),
        }
        if self._resumption is not None:
            extensions[ExtensionType.PRE_SHARED_KEY] = self._resumption.index.to_bytes(2, "big")
        hello = ServerHello(self._entropy.token(RANDOM_SIZE), self.cipher_suite, extensions)
        self._do(SendCrypto(Level.INITIAL, self._sent(hello.encode())))

    def _install_handshake_keys(self, shared_secret: bytes) -> None:
        self._schedule = KeySchedule(self.cipher_suite) if self._resumption is None else self._resumption.schedule
        self._schedule.mix_key_exchange(shared_secret)
        digest = self._transcript.digest()
        self._client_secret = self._schedule.derive(keys.CLIENT_HANDSHAKE_TRAFFIC, digest)
        self._server_secret = self._schedule.derive(keys.SERVER_HANDSHAKE_TRAFFIC, digest)
        self._log_secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET", self._client_secret)
        self._log_secret("SERVER_HANDSHAKE_TRAFFIC_SECRET", self._server_secret)
        self._do(
            InstallKeys(Level.HANDSHAKE, False, self.cipher_suite, self._client_secret),
            InstallKeys(Level.HANDSHAKE, True, self.cipher_suite, self._server_secret),
        )

    def _send_flight(self, offer: _Offer) -> None:
        flight = self._sent(self._encrypted_extensions())
        if self._resumption is None:
            flight += self._authentication_messages(offer)
        mac = self._schedule.finished_mac(self._server_secret, self._transcript.digest())
        flight += self._sent(frame(HandshakeType.FINISHED, mac))
        self._do(SendCrypto(Level.HANDSHAKE, flight))

    def _authentication_messages(self, offer: _Offer) -> bytes:
        config = self._config
        credential, scheme = self._choose_credential(offer)
        compression = next((item for item in config.certificate_compression if item in offer.compression), None)
        messages = b""
        if config.request_client_certificate or config.require_client_certificate:
            messages += self._sent(self._certificate_request())
        messages += self._sent(authentication.make_certificate(credential, compression))
        digest = self._transcript.digest()
        return messages + self._sent(authentication.make_proof(credential, scheme, digest, server=True))

    def _encrypted_extensions(self) -> bytes:
        extensions = [
            (ExtensionType.ALPN, ext.encode_alpn((self.alpn,))),
            (ExtensionType.QUIC_TRANSPORT_PARAMETERS, self._transport_parameters),
        ]
        if self.server_name:
            extensions.insert(0, (ExtensionType.SERVER_NAME, b""))
        if self._early_data:
            extensions.append((ExtensionType.EARLY_DATA, b""))
        return encode_encrypted_extensions(extensions)

    def _certificate_request(self) -> bytes:
        schemes = ext.encode_groups(self._config.signature_schemes)
        return CertificateRequest(b"", {ExtensionType.SIGNATURE_ALGORITHMS: schemes}).encode()

    def _install_application_keys(self) -> None:
        self._schedule.finish()
        digest = self._transcript.digest()
        client = self._schedule.derive(keys.CLIENT_APPLICATION_TRAFFIC, digest)
        server = self._schedule.derive(keys.SERVER_APPLICATION_TRAFFIC, digest)
        self._log_secret("CLIENT_TRAFFIC_SECRET_0", client)
        self._log_secret("SERVER_TRAFFIC_SECRET_0", server)
        self._client_application_secret = client
        self._do(InstallKeys(Level.APPLICATION, True, self.cipher_suite, server))

    def _sent(self, message: bytes) -> bytes:
        self._transcript.update(message)
        return message

    # The client's answer

    def _on_certificate(self, message: Message) -> None:
        chain = authentication.load_chain(authentication.read_chain(message, (), frozenset()))
        self._transcript.update(message.raw)
        if not chain:
            if self._config.require_client_certificate:
                raise failure("missing", "the client has no certificate", "client")
            self._state = ServerState.WAIT_FINISHED
            return
        if self._config.client_trust is not None:
            self._config.client_trust.verify_client(chain, self._config.verification_time)
        self.peer_certificates = chain
        self._state = ServerState.WAIT_CERTIFICATE_VERIFY

    def _on_certificate_verify(self, message: Message) -> None:
        digest = self._transcript.digest()
        authentication.check_proof(
            message, self.peer_certificates, self._config.signature_schemes, digest, server=False
        )
        self._transcript.update(message.raw)
        self._state = ServerState.WAIT_FINISHED

    def _on_finished(self, message: Message) -> None:
        received = parse_finished(message.body, self._schedule.hash_size)
        expected = self._schedule.finished_mac(self._client_secret, self._transcript.digest())
        if not hmac.compare_digest(received, expected):
            raise TlsError(AlertDescription.DECRYPT_ERROR, "the client's Finished is wrong")
        self._transcript.update(message.raw)
        self._enter_level(Level.APPLICATION)
        self._do(InstallKeys(Level.APPLICATION, False, self.cipher_suite, self._client_application_secret), Completed())
        if self._issues_tickets and self._config.tickets is not None:
            self._send_tickets(self._config.tickets)
        self._schedule.erase()
        self._client_secret = self._server_secret = self._client_application_secret = b""
        self.complete = True
        self._state = ServerState.CONNECTED

    def _send_tickets(self, keeper: TicketKeeper) -> None:
        resumption_secret = self._schedule.derive(keys.RESUMPTION, self._transcript.digest())
        for number in range(keeper.count):
            nonce = bytes((number,))
            ticket = Ticket(
                secret=self._schedule.ticket_secret(resumption_secret, nonce),
                cipher_suite=self.cipher_suite,
                issued=keeper.clock(),
                age_add=int.from_bytes(self._entropy.token(4), "big"),
                quic_version=self.quic_version,
                server_name=self.server_name,
                alpn=self.alpn,
                context=self._context,
            )
            self._do(SendCrypto(Level.APPLICATION, keeper.message(ticket, nonce, self._entropy)))


def _read_offer(hello: ClientHello) -> _Offer:
    found = hello.extensions
    _check_hello(hello)
    groups = ext.decode_u16_vector(found[ExtensionType.SUPPORTED_GROUPS])
    shares = ext.decode_shares(found[ExtensionType.KEY_SHARE])
    if not set(shares) <= set(groups):
        raise illegal_parameter("a key share is for a group that is not offered")
    name = found.get(ExtensionType.SERVER_NAME)
    compression = found.get(ExtensionType.COMPRESS_CERTIFICATE)
    cookie = found.get(ExtensionType.COOKIE)
    return _Offer(
        random=hello.random,
        suites=hello.cipher_suites,
        groups=groups,
        shares=shares,
        schemes=ext.decode_u16_vector(found[ExtensionType.SIGNATURE_ALGORITHMS]),
        protocols=ext.decode_alpn(found[ExtensionType.ALPN]),
        compression=ext.decode_compression(compression) if compression is not None else (),
        transport_parameters=found[ExtensionType.QUIC_TRANSPORT_PARAMETERS],
        server_name=ext.decode_server_name(name) if name is not None else "",
        cookie=ext.decode_cookie(cookie) if cookie is not None else b"",
        psks=found.get(ExtensionType.PRE_SHARED_KEY),
        takes_tickets=ext.PSK_DHE_KE in ext.decode_modes(found.get(ExtensionType.PSK_KEY_EXCHANGE_MODES)),
        early_data=ExtensionType.EARLY_DATA in found,
    )


def _check_hello(hello: ClientHello) -> None:
    found = hello.extensions
    versions = found.get(ExtensionType.SUPPORTED_VERSIONS)
    if versions is None or ext.TLS13 not in ext.decode_versions(versions):
        raise TlsError(AlertDescription.PROTOCOL_VERSION, "the client does not offer TLS 1.3")
    if hello.session_id:
        alert = AlertDescription.ILLEGAL_PARAMETER
        raise TlsError(alert, "the client asks for compatibility mode", protocol_violation=True)
    for kind in _REQUIRED:
        if kind not in found:
            raise missing_extension(f"ClientHello has no {kind.name.lower()}")
    if ExtensionType.PRE_SHARED_KEY in found and ExtensionType.PSK_KEY_EXCHANGE_MODES not in found:
        raise missing_extension("ClientHello offers tickets without a way to use them")
    if ExtensionType.ALPN not in found:
        raise TlsError(AlertDescription.NO_APPLICATION_PROTOCOL, "the client names no protocol")


def _first_common(ours: tuple[int, ...], theirs: tuple[int, ...], what: str) -> int:
    for choice in ours:
        if choice in theirs:
            return choice
    raise handshake_failure(f"no {what} in common")


_Method = Callable[[ServerHandshake, Message], None]

# Every arrow of the server's state machine: what may come in a state, and who takes it. Whatever else comes is
# an unexpected_message; the methods set the next state.
_EXPECTED: Final[dict[ServerState, dict[int, _Method]]] = {
    ServerState.START: {},
    ServerState.WAIT_CLIENT_HELLO: {HandshakeType.CLIENT_HELLO: ServerHandshake._on_client_hello},
    ServerState.WAIT_SECOND_CLIENT_HELLO: {HandshakeType.CLIENT_HELLO: ServerHandshake._on_second_client_hello},
    ServerState.WAIT_CERTIFICATE: {HandshakeType.CERTIFICATE: ServerHandshake._on_certificate},
    ServerState.WAIT_CERTIFICATE_VERIFY: {HandshakeType.CERTIFICATE_VERIFY: ServerHandshake._on_certificate_verify},
    ServerState.WAIT_FINISHED: {HandshakeType.FINISHED: ServerHandshake._on_finished},
    ServerState.CONNECTED: {},
}
