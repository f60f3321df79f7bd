"""Entry points for TLS: messages, extensions and tickets, and both sides of a handshake."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from specter._entropy import SeededEntropy
from specter.quic.token import TokenMinter
from specter.testing.pair import NAME, fixed_credential
from specter.tls import extensions, messages
from specter.tls.alerts import TlsError
from specter.tls.client import ClientHandshake
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.engine import Handshake, Level, SendCrypto, TicketReceived
from specter.tls.key_exchange import NamedGroup
from specter.tls.psk import Identity, decode_offer, encode_offer
from specter.tls.server import ServerHandshake
from specter.tls.session import Resumption
from specter.tls.tickets import Ticket, TicketKeeper
from tests.fuzz.entry import Entry, Input, outcome, piece, require

GROUPS = (NamedGroup.X25519,)
ACTIONS = 50
Flight = list[tuple[Level, bytes]]


# -- messages and extensions ------------------------------------------------------------------------

MESSAGES: tuple[Any, ...] = (
    messages.ClientHello,
    messages.ServerHello,
    messages.CertificateRequest,
    messages.Certificate,
    messages.CompressedCertificate,
    messages.CertificateVerify,
    messages.NewSessionTicket,
)
PARSERS: tuple[Callable[[bytes], object], ...] = (
    messages.parse_encrypted_extensions,
    extensions.decode_server_name,
    extensions.decode_alpn,
    extensions.decode_u16_vector,
    extensions.decode_versions,
    extensions.decode_cookie,
    extensions.decode_share,
    extensions.decode_shares,
    extensions.decode_compression,
    extensions.decode_modes,
    extensions.decode_max_early_data,
    decode_offer,
)


def message(data: bytes) -> None:
    """The first byte picks what the rest is read as."""
    if not data:
        return
    which = data[0] % (len(MESSAGES) + len(PARSERS))
    if which >= len(MESSAGES):
        outcome(lambda: PARSERS[which - len(MESSAGES)](data[1:]), TlsError)
        return
    found = outcome(lambda: MESSAGES[which].parse(data[1:]), TlsError)
    if not isinstance(found, str):
        again = MESSAGES[which].parse(found.encode()[4:])
        require(again == found, f"{found} is {again} once encoded")
        if isinstance(found, messages.NewSessionTicket):
            outcome(lambda: found.early_data, TlsError)


def message_seeds() -> list[bytes]:
    ticket = messages.NewSessionTicket(3600, 5, b"n", b"ticket", {42: b"\xff\xff\xff\xff"})
    request = messages.CertificateRequest(b"", {13: b"\0\2\4\3"})
    offer = encode_offer(Identity(b"ticket", 7), bytes(32))
    made = [bytes([6]) + ticket.encode()[4:], bytes([2]) + request.encode()[4:], bytes([18]) + offer]
    kinds = {1: 0, 2: 1, 8: 7, 11: 3, 15: 5}
    made += [bytes([kinds[raw[0]]]) + raw[4:] for _, raw in _flights()[0] + _flights()[1] if raw[0] in kinds]
    return [*made, *(bytes([which]) + b"\0\3\2h3" for which in range(8, 18))]


# -- tickets and tokens -----------------------------------------------------------------------------


def ticket(data: bytes) -> None:
    """What a client shows us of what we gave it, or of what it made up."""
    found = outcome(lambda: Ticket.decode(data), TlsError, UnicodeDecodeError)
    if isinstance(found, Ticket):
        require(Ticket.decode(found.encode()) == found, "no round trip")
    require(_keeper().open(data) is None or data in _sealed(), "a forged ticket opens")
    require(_minter().open(data, "192.0.2.1", 10) is None or data in _sealed(), "a forged token opens")


def _keeper() -> TicketKeeper:
    return TicketKeeper(bytes(16), lambda: 0)


def _minter() -> TokenMinter:
    return TokenMinter(bytes(16))


def _ticket() -> Ticket:
    return Ticket(
        secret=bytes(32), cipher_suite=0x1301, issued=0, age_add=9, quic_version=1, server_name="a.test", alpn="h3",
        context=b"context",
    )  # fmt: skip


@cache
def _sealed() -> tuple[bytes, ...]:
    entropy = SeededEntropy("sealed")
    retry = _minter().mint("192.0.2.1", bytes(8), bytes(8), 5, entropy)
    return _keeper().seal(_ticket(), entropy), retry, _minter().mint("192.0.2.1", None, None, 5, entropy)


def ticket_seeds() -> list[bytes]:
    return [_ticket().encode(), *_sealed()]


# -- handshakes -------------------------------------------------------------------------------------


def _client(resumption: Resumption | None = None) -> ClientHandshake:
    config = ClientTlsConfig(server_name=NAME, verify=False, groups=GROUPS, key_shares=GROUPS)
    return ClientHandshake(config, SeededEntropy("client"), b"parameters", resumption)


def _server() -> ServerHandshake:
    config = ServerTlsConfig(credentials=(fixed_credential().tls,), groups=GROUPS, tickets=_keeper())
    return ServerHandshake(config, SeededEntropy("server"), b"parameters", 1)


def _drain(side: Handshake, sent: Flight, others: list[object]) -> None:
    for _ in range(ACTIONS):
        action = side.next_action()
        if action is None:
            return
        if isinstance(action, SendCrypto):
            sent += [(action.level, raw) for raw in _split(action.data)]
        else:
            others.append(action)
    require(False, "there is always something more to do")


def _split(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = 4 + int.from_bytes(data[1:4], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def _converse(client: Handshake, server: Handshake) -> tuple[Flight, Flight, list[object]]:
    """Let both talk; return what each said, and what the client is to do."""
    said: tuple[Flight, Flight] = ([], [])
    actions: list[object] = []
    heard = [0, 0]
    client.start()
    server.start()
    for _ in range(6):
        _drain(client, said[0], actions)
        _drain(server, said[1], [])
        for index, receiver in ((0, server), (1, client)):
            for level, raw in said[index][heard[index] :]:
                receiver.receive(level, raw)
            heard[index] = len(said[index])
    return *said, actions


@cache
def _flights() -> tuple[Flight, Flight]:
    """Return what client and server say to each other, the same in every process."""
    return _converse(_client(), _server())[:2]


@cache
def _resumption() -> Resumption:
    actions = _converse(_client(), _server())[2]
    session = next(action.session for action in actions if isinstance(action, TicketReceived))
    return Resumption(session, 0, early_data=True)


def _hear(side: Handshake, data: bytes) -> bytes:
    """Tell ``side`` the pieces of ``data``; return what it took until it was complete."""
    source, taken = Input(data), b""
    side.start()
    _drain(side, [], [])
    while source:
        level, said = Level(source.number() % 4), source.piece()
        taken += b"" if side.complete else said
        try:
            side.receive(level, said)
        except TlsError as error:
            again = outcome(lambda level=level: side.receive(level, b"x"), TlsError)
            require(again == f"{type(error).__name__}: {error}", "the handshake goes on after an error")
            break
        _drain(side, [], [])
    return taken


def _check(side: Handshake, data: bytes, *valid: Flight) -> None:
    taken = _hear(side, data)
    if side.complete:
        ticket = messages.HandshakeType.NEW_SESSION_TICKET
        said = tuple(b"".join(raw for _, raw in flight if raw[0] != ticket) for flight in valid)
        require(taken.startswith(said), "a handshake is complete that was tampered with")


def client(data: bytes) -> None:
    """A server that says anything."""
    _check(_client(), data, _flights()[1])


def server(data: bytes) -> None:
    """A client that says anything."""
    _check(_server(), data, _flights()[0], _resumed()[0])


@cache
def _resumed() -> tuple[Flight, Flight]:
    return _converse(_client(_resumption()), _server())[:2]


def _script(flight: Flight) -> bytes:
    return b"".join(bytes([level]) + piece(raw) for level, raw in flight)


def client_seeds() -> list[bytes]:
    whole = _script(_flights()[1])
    first = _flights()[1][0]
    halves = [(first[0], first[1][:20]), (first[0], first[1][20:]), *_flights()[1][1:]]
    return [whole, _script(halves), _script(_resumed()[1]), _script([first]) * 2]


def server_seeds() -> list[bytes]:
    return [_script(_flights()[0]), _script(_resumed()[0]), _script(_flights()[0][:1])]


ENTRIES = [
    Entry("tls_messages", message, message_seeds, runs=400),
    Entry("tickets", ticket, ticket_seeds),
    Entry("tls_client", client, client_seeds),
    Entry("tls_server", server, server_seeds, runs=100),
]
