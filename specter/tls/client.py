"""The client's half of the handshake (RFC 9846, appendix A.1; RFC 9001, sections 4 and 8)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final

from specter._entropy import Entropy
from specter.tls import authentication, key_exchange, signatures
from specter.tls import extensions as ext
from specter.tls import key_schedule as keys
from specter.tls.alerts import (
    AlertDescription,
    CertificateFailure,
    TlsError,
    decode_error,
    illegal_parameter,
    missing_extension,
    unexpected_message,
)
from specter.tls.ciphers import CipherSuite
from specter.tls.config import ClientTlsConfig
from specter.tls.engine import (
    Completed,
    EarlyDataDecided,
    Handshake,
    InstallKeys,
    Level,
    Message,
    PeerParameters,
    SendCrypto,
    TicketReceived,
)
from specter.tls.extensions import ExtensionType
from specter.tls.hello import first_hello, second_hello
from specter.tls.key_exchange import NamedGroup, PrivateShare
from specter.tls.key_schedule import KeySchedule, Transcript
from specter.tls.messages import (
    DOWNGRADE_SENTINELS,
    LEGACY_VERSION,
    CertificateRequest,
    ClientHello,
    HandshakeType,
    NewSessionTicket,
    ServerHello,
    frame,
    parse_encrypted_extensions,
    parse_finished,
)
from specter.tls.psk import PskOffer
from specter.tls.session import MAX_LIFETIME, Resumption, Session
from specter.tls.trust import TrustStore


class ClientState(Enum):
    """What the client waits for."""

    START = auto()
    WAIT_SERVER_HELLO = auto()
    WAIT_ENCRYPTED_EXTENSIONS = auto()
    WAIT_CERTIFICATE_OR_REQUEST = auto()
    WAIT_CERTIFICATE = auto()
    WAIT_CERTIFICATE_VERIFY = auto()
    WAIT_FINISHED = auto()
    CONNECTED = auto()


class ClientHandshake(Handshake):
    """Connects to a server; see :class:`~specter.tls.engine.Handshake` for how it is driven.

    ``resumption`` is offered unless it does not fit ``config``; ``resumed`` tells whether the server took it.
    """

    _hello: ClientHello
    _transcript: Transcript
    _schedule: KeySchedule
    _client_secret: bytes
    _server_secret: bytes
    _resumption_secret: bytes

    def __init__(
        self,
        config: ClientTlsConfig,
        entropy: Entropy,
        transport_parameters: bytes,
        resumption: Resumption | None = None,
    ) -> None:
        super().__init__(entropy, transport_parameters, config.key_log)
        self._config = config
        self._state = ClientState.START
        self._hello_bytes = b""
        self._shares: dict[int, PrivateShare] = {}
        self._retry: ServerHello | None = None
        self._request: CertificateRequest | None = None
        self._tickets = 0
        self._server_parameters = b""
        self._chain: tuple[bytes, ...] = ()
        self._not_after = self._authenticated = 0
        self._psk = PskOffer.make(resumption, config)
        self._early_data = self._psk is not None and self._psk.early_data
        """Whether early data was offered and the server has not decided about it."""

    def start(self) -> None:
        """Make the ClientHello."""
        for group in self._config.key_shares:
            self._shares[group] = key_exchange.generate(group, self._entropy)
        hello = first_hello(self._config, self._shares, self._transport_parameters, self._entropy, self._psk)
        self._client_random = hello.random
        self._send_hello(hello)
        if self._psk is not None and self._early_data:
            secret = self._psk.early_secret(self._hello_bytes)
            self._log_secret("CLIENT_EARLY_TRAFFIC_SECRET", secret)
            self._do(InstallKeys(Level.EARLY_DATA, True, self._psk.session.cipher_suite, secret))
        self._state = ClientState.WAIT_SERVER_HELLO

    def _handler(self, kind: int) -> Callable[[Message], None] | None:
        method = _EXPECTED[self._state].get(kind)
        return partial(method, self) if method is not None else None

    def _send_hello(self, hello: ClientHello) -> None:
        self._hello = hello
        self._hello_bytes = hello.encode()
        if self._psk is not None:
            self._hello_bytes = self._psk.bind(self._hello_bytes, self._transcript if self._retry is not None else None)
        self._offered = frozenset(hello.extensions)
        self._do(SendCrypto(Level.INITIAL, self._hello_bytes))

    # ServerHello and HelloRetryRequest

    def _on_server_hello(self, message: Message) -> None:
        hello = ServerHello.parse(message.body)
        self._check_version(hello)
        if hello.session_id_echo:
            raise illegal_parameter("ServerHello echoes a session id that was not sent")
        if hello.compression:
            raise illegal_parameter("ServerHello selects compression")
        if hello.cipher_suite not in self._config.cipher_suites:
            raise illegal_parameter(f"cipher suite 0x{hello.cipher_suite:04x} was not offered")
        if hello.is_retry:
            self._on_retry(hello, message)
        else:
            self._on_hello(hello, message)

    def _check_version(self, hello: ServerHello) -> None:
        if ExtensionType.SUPPORTED_VERSIONS not in hello.extensions:
            if hello.random.endswith(DOWNGRADE_SENTINELS):
                raise illegal_parameter("the server was made to use an older version of TLS")
            raise TlsError(AlertDescription.PROTOCOL_VERSION, "the server does not use TLS 1.3")
        if ext.decode_u16(hello.extensions[ExtensionType.SUPPORTED_VERSIONS]) != ext.TLS13:
            raise illegal_parameter("the server selected a version that was not offered")
        if hello.version != LEGACY_VERSION:
            raise TlsError(AlertDescription.PROTOCOL_VERSION, "ServerHello has an unknown legacy version")

    def _on_retry(self, hello: ServerHello, message: Message) -> None:
        if self._retry is not None:
            raise unexpected_message("a second HelloRetryRequest")
        offered = self._offered | {ExtensionType.COOKIE}
        ext.check_response(hello.extensions, offered, ext.HELLO_RETRY_REQUEST, "HelloRetryRequest")
        share = self._retry_share(hello)
        cookie = hello.extensions.get(ExtensionType.COOKIE)
        if share is None and cookie is None:
            raise illegal_parameter("HelloRetryRequest asks for no change")
        self._retry = hello
        self._transcript = Transcript(hello.cipher_suite)
        self._transcript.update(self._hello_bytes)
        self._transcript.replace_by_message_hash()
        self._transcript.update(message.raw)
        self._decide_early_data(accepted=False)
        if self._psk is not None and not self._psk.has_hash_of(hello.cipher_suite):
            self._psk = None
        cookie = ext.decode_cookie(cookie) if cookie is not None else b""
        self._send_hello(second_hello(self._hello, share, cookie, psk=self._psk is not None))

    def _decide_early_data(self, *, accepted: bool) -> None:
        if self._early_data:
            self._early_data = False
            self._do(EarlyDataDecided(accepted))

    def _retry_share(self, hello: ServerHello) -> tuple[int, bytes] | None:
        data = hello.extensions.get(ExtensionType.KEY_SHARE)
        if data is None:
            return None
        group = ext.decode_u16(data)
        if group not in self._config.groups or group in self._shares:
            raise illegal_parameter(f"HelloRetryRequest asks for group {group}")
        self._shares = {group: key_exchange.generate(group, self._entropy)}
        return group, self._shares[group].public

    def _on_hello(self, hello: ServerHello, message: Message) -> None:
        ext.check_response(hello.extensions, self._offered, ext.SERVER_HELLO, "ServerHello")
        if self._retry is None:
            self._transcript = Transcript(hello.cipher_suite)
        elif hello.cipher_suite != self._retry.cipher_suite:
            raise illegal_parameter("the cipher suite changed after HelloRetryRequest")
        shared = self._shared_secret(hello)
        self._schedule = self._early_schedule(hello)
        self.cipher_suite = CipherSuite(hello.cipher_suite)
        self._transcript.update(self._hello_bytes)
        self._transcript.update(message.raw)
        self._schedule.mix_key_exchange(shared)
        self._shares.clear()
        self._hello_bytes = b""
        self._install_handshake_keys()
        self._enter_level(Level.HANDSHAKE)
        self._state = ClientState.WAIT_ENCRYPTED_EXTENSIONS

    def _early_schedule(self, hello: ServerHello) -> KeySchedule:
        """Return the schedule of the session that the server resumes, or of none."""
        selected = hello.extensions.get(ExtensionType.PRE_SHARED_KEY)
        if selected is None or self._psk is None:
            return KeySchedule(hello.cipher_suite)
        schedule = self._psk.select(selected, hello.cipher_suite)
        self.resumed = True
        session = self._psk.session  # the server is whoever showed its certificates when the session began
        self.peer_certificates, self._chain = self._psk.certificates, session.certificates
        self._not_after, self._authenticated = session.not_after, session.authenticated
        return schedule

    def _shared_secret(self, hello: ServerHello) -> bytes:
        if ExtensionType.KEY_SHARE not in hello.extensions:
            raise missing_extension("ServerHello has no key share")
        group, share = ext.decode_share(hello.extensions[ExtensionType.KEY_SHARE])
        private = self._shares.get(group)
        if private is None:
            raise illegal_parameter(f"no share was sent for group {group}")
        self.group = NamedGroup(group)
        return private.finish(share)

    def _install_handshake_keys(self) -> None:
        digest = self._transcript.digest()
        self._client_secret = self._schedule.derive(keys.CLIENT_HANDSHAKE_TRAFFIC, digest)
        self._server_secret = self._schedule.derive(keys.SERVER_HANDSHAKE_TRAFFIC, digest)
        self._log_secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET", self._client_secret)
        self._log_secret("SERVER_HANDSHAKE_TRAFFIC_SECRET", self._server_secret)
        self._do(
            InstallKeys(Level.HANDSHAKE, False, self.cipher_suite, self._server_secret),
            InstallKeys(Level.HANDSHAKE, True, self.cipher_suite, self._client_secret),
        )

    # The server's encrypted flight

    def _on_encrypted_extensions(self, message: Message) -> None:
        found = parse_encrypted_extensions(message.body)
        ext.check_response(found, self._offered, ext.ENCRYPTED_EXTENSIONS, "EncryptedExtensions")
        if found.get(ExtensionType.SERVER_NAME):
            raise decode_error("the server's server_name is not empty")
        self._select_alpn(found.get(ExtensionType.ALPN))
        if ExtensionType.QUIC_TRANSPORT_PARAMETERS not in found:
            raise missing_extension("the server sent no transport parameters")
        if ExtensionType.EARLY_DATA in found:
            self._check_early_data()
        self._decide_early_data(accepted=ExtensionType.EARLY_DATA in found)
        self._psk = None
        self._transcript.update(message.raw)
        self._server_parameters = found[ExtensionType.QUIC_TRANSPORT_PARAMETERS]
        self._do(PeerParameters(self._server_parameters))
        self._state = ClientState.WAIT_FINISHED if self.resumed else ClientState.WAIT_CERTIFICATE_OR_REQUEST

    def _check_early_data(self) -> None:
        session = self._psk.session if self._psk is not None and self.resumed else None
        if session is None or (session.cipher_suite, session.alpn) != (self.cipher_suite, self.alpn):
            raise illegal_parameter("the server accepted early data, but not what goes with it")

    def _select_alpn(self, data: bytes | None) -> None:
        if data is None:
            raise TlsError(AlertDescription.NO_APPLICATION_PROTOCOL, "the server selected no protocol")
        names = ext.decode_alpn(data)
        if len(names) != 1:
            raise decode_error("the server selected several protocols")
        chosen = next((name for name in self._config.alpn if name.encode("ascii") == names[0]), None)
        if chosen is None:
            raise TlsError(AlertDescription.NO_APPLICATION_PROTOCOL, "the server selected a protocol not offered")
        self.alpn = chosen

    def _on_certificate_request(self, message: Message) -> None:
        request = CertificateRequest.parse(message.body)
        if request.context:
            raise illegal_parameter("CertificateRequest has a context")
        if ExtensionType.SIGNATURE_ALGORITHMS not in request.extensions:
            raise missing_extension("CertificateRequest has no signature algorithms")
        ext.decode_u16_vector(request.extensions[ExtensionType.SIGNATURE_ALGORITHMS])
        self._request = request
        self._transcript.update(message.raw)
        self._state = ClientState.WAIT_CERTIFICATE

    def _on_certificate(self, message: Message) -> None:
        config = self._config
        self._chain = authentication.read_chain(message, config.certificate_compression, self._offered)
        chain = authentication.load_chain(self._chain)
        if not chain:
            alert = AlertDescription.DECODE_ERROR
            raise CertificateFailure(alert, "the server sent no certificate", check="missing", name=config.server_name)
        if config.verify:
            trust = config.trust if config.trust is not None else TrustStore.load()
            self._not_after = int(trust.verify_server(chain, config.server_name, config.verification_time).timestamp())
        self.peer_certificates = chain
        self._transcript.update(message.raw)
        self._state = ClientState.WAIT_CERTIFICATE_VERIFY

    def _on_certificate_verify(self, message: Message) -> None:
        digest = self._transcript.digest()
        authentication.check_proof(message, self.peer_certificates, self._config.signature_schemes, digest, server=True)
        self._transcript.update(message.raw)
        self._state = ClientState.WAIT_FINISHED

    def _on_finished(self, message: Message) -> None:
        received = parse_finished(message.body, self._schedule.hash_size)
        expected = self._schedule.finished_mac(self._server_secret, self._transcript.digest())
        if not hmac.compare_digest(received, expected):
            raise TlsError(AlertDescription.DECRYPT_ERROR, "the server's Finished is wrong")
        self._transcript.update(message.raw)
        self._enter_level(Level.APPLICATION)
        self._schedule.finish()
        digest = self._transcript.digest()
        flight = self._authentication_flight()
        self._do(SendCrypto(Level.HANDSHAKE, flight))
        self._install_application_keys(digest)
        self._resumption_secret = self._schedule.derive(keys.RESUMPTION, self._transcript.digest())
        self._schedule.erase()
        self._client_secret = self._server_secret = b""
        self.complete = True
        self._do(Completed())
        self._state = ClientState.CONNECTED

    # The client's answer

    def _authentication_flight(self) -> bytes:
        credential = b"" if self._request is None else self._credential_messages(self._request)
        mac = self._schedule.finished_mac(self._client_secret, self._transcript.digest())
        return credential + self._sent(frame(HandshakeType.FINISHED, mac))

    def _credential_messages(self, request: CertificateRequest) -> bytes:
        """Certificate and CertificateVerify, or an empty Certificate when we have nothing the server can take."""
        credential = self._config.client_credential
        offered = ext.decode_u16_vector(request.extensions[ExtensionType.SIGNATURE_ALGORITHMS])
        scheme = signatures.choose_scheme(credential.private_key, offered) if credential is not None else None
        if credential is None or scheme is None:
            return self._sent(authentication.make_certificate(None))
        certificate = self._sent(authentication.make_certificate(credential))
        digest = self._transcript.digest()
        return certificate + self._sent(authentication.make_proof(credential, scheme, digest, server=False))

    def _sent(self, message: bytes) -> bytes:
        self._transcript.update(message)
        return message

    def _install_application_keys(self, digest: bytes) -> None:
        client = self._schedule.derive(keys.CLIENT_APPLICATION_TRAFFIC, digest)
        server = self._schedule.derive(keys.SERVER_APPLICATION_TRAFFIC, digest)
        self._log_secret("CLIENT_TRAFFIC_SECRET_0", client)
        self._log_secret("SERVER_TRAFFIC_SECRET_0", server)
        self._do(
            InstallKeys(Level.APPLICATION, True, self.cipher_suite, client),
            InstallKeys(Level.APPLICATION, False, self.cipher_suite, server),
        )

    # After the handshake

    def _on_new_session_ticket(self, message: Message) -> None:
        ticket = NewSessionTicket.parse(message.body)
        early_data = ticket.early_data
        if not ticket.lifetime or self._tickets >= self._config.max_tickets:
            return
        self._tickets += 1
        self._do(TicketReceived(self._session(ticket, early_data)))

    def _session(self, ticket: NewSessionTicket, early_data: bool) -> Session:
        return Session(
            ticket=ticket.ticket,
            secret=self._schedule.ticket_secret(self._resumption_secret, ticket.nonce),
            age_add=ticket.age_add,
            cipher_suite=self.cipher_suite,
            lifetime=min(ticket.lifetime, MAX_LIFETIME),
            early_data=early_data,
            server_name=self._config.server_name,
            alpn=self.alpn,
            transport_parameters=self._server_parameters,
            certificates=self._chain,
            not_after=self._not_after,
            authenticated=self._authenticated,
        )


_Method = Callable[[ClientHandshake, Message], None]

# Every arrow of the client's state machine: what may come in a state, and who takes it. Whatever else comes is
# an unexpected_message; the methods set the next state.
_CERTIFICATES: Final[dict[int, _Method]] = {
    HandshakeType.CERTIFICATE: ClientHandshake._on_certificate,
    HandshakeType.COMPRESSED_CERTIFICATE: ClientHandshake._on_certificate,
}
_EXPECTED: Final[dict[ClientState, dict[int, _Method]]] = {
    ClientState.START: {},
    ClientState.WAIT_SERVER_HELLO: {HandshakeType.SERVER_HELLO: ClientHandshake._on_server_hello},
    ClientState.WAIT_ENCRYPTED_EXTENSIONS: {
        HandshakeType.ENCRYPTED_EXTENSIONS: ClientHandshake._on_encrypted_extensions
    },
    ClientState.WAIT_CERTIFICATE_OR_REQUEST: {
        HandshakeType.CERTIFICATE_REQUEST: ClientHandshake._on_certificate_request,
        **_CERTIFICATES,
    },
    ClientState.WAIT_CERTIFICATE: _CERTIFICATES,
    ClientState.WAIT_CERTIFICATE_VERIFY: {HandshakeType.CERTIFICATE_VERIFY: ClientHandshake._on_certificate_verify},
    ClientState.WAIT_FINISHED: {HandshakeType.FINISHED: ClientHandshake._on_finished},
    ClientState.CONNECTED: {HandshakeType.NEW_SESSION_TICKET: ClientHandshake._on_new_session_ticket},
}
