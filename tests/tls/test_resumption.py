"""Resumption and early data: tickets of our server taken back, refused, misused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from specter._entropy import SeededEntropy
from specter.tls import psk as psks
from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.ciphers import CipherSuite
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.engine import EarlyDataDecided, InstallKeys, Level, PeerParameters, TicketReceived
from specter.tls.extensions import ExtensionType
from specter.tls.key_exchange import NamedGroup
from specter.tls.messages import ClientHello, HandshakeType, ServerHello, encode_encrypted_extensions, frame
from specter.tls.messages import parse_encrypted_extensions as parse_ee
from specter.tls.session import MAX_LIFETIME, Resumption, Session
from specter.tls.tickets import REMEMBERED, WINDOW, Ticket, TicketKeeper
from tests.tls import pki
from tests.tls.loopback import (
    CLIENT_PARAMETERS,
    SERVER_PARAMETERS,
    Loopback,
    Meddler,
    client_config,
    failure_of,
    server_config,
)

A = AlertDescription
E = ExtensionType
AES128, AES256, CHACHA = CipherSuite
P384 = (NamedGroup.SECP384R1,)


class Clock:
    """Milliseconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


CLOCK = Clock()


def keeper(**options: Any) -> TicketKeeper:
    return TicketKeeper(bytes(16), CLOCK, **options)


def tickets(loopback: Loopback) -> list[Session]:
    return [action.session for action in loopback.actions["client"] if isinstance(action, TicketReceived)]


def first_visit(
    server: ServerTlsConfig | None = None, client: ClientTlsConfig | None = None, **options: Any
) -> tuple[ServerTlsConfig, Session]:
    """Return a server and a session with it."""
    server = server or server_config(tickets=keeper())
    visit = Loopback(client, server, **options).run()
    visit.check_agreement()
    return server, tickets(visit)[0]


def resume(
    session: Session,
    server: ServerTlsConfig,
    client: ClientTlsConfig | None = None,
    *,
    early_data: bool = False,
    age: int = 0,
    **options: Any,
) -> Loopback:
    return Loopback(client, server, seed=7, resumption=Resumption(session, age, early_data), **options).run()


def decisions(loopback: Loopback, name: str) -> list[bool]:
    return [action.accepted for action in loopback.actions[name] if isinstance(action, EarlyDataDecided)]


PREPARED = first_visit()


# Resumption


@pytest.mark.parametrize("suite", [AES128, AES256, CHACHA])
def test_resumed(suite: CipherSuite) -> None:
    client = client_config(cipher_suites=(suite,))
    server, session = first_visit(client=client)
    assert session.cipher_suite == suite
    pair = resume(session, server, client)
    pair.check_agreement()
    assert pair.client.resumed
    assert pair.server.resumed
    assert decisions(pair, "client") == decisions(pair, "server") == []
    assert len(pair.keys("client")) == 4


def test_a_full_handshake_is_not_resumed() -> None:
    pair = Loopback(server=server_config(tickets=keeper())).run()
    assert (pair.client.resumed, pair.server.resumed) == (False, False)
    assert len(tickets(pair)) == 2
    first, second = tickets(pair)
    assert first.secret != second.secret
    assert first.ticket != second.ticket
    assert first.age_add != second.age_add


def test_the_certificates_of_the_first_connection_stay_known() -> None:
    server, session = first_visit()
    pair = resume(session, server)
    assert pair.client.peer_certificates == list(pki.credential().chain)
    second = tickets(pair)[0]
    assert second.certificates == session.certificates
    assert second.not_after == session.not_after


def test_tickets_of_tickets_remember_when_a_certificate_was_shown() -> None:
    server, session = first_visit()
    assert session.authenticated == 0
    pair = resume(replace(session, authenticated=1234), server)
    assert [ticket.authenticated for ticket in tickets(pair)] == [1234, 1234]
    again = resume(tickets(pair)[1], server)
    assert tickets(again)[0].authenticated == 1234


def test_resumption_keeps_forward_secrecy() -> None:
    """There is a key exchange, whatever is resumed."""
    server, session = first_visit()
    one = resume(session, server)
    other = Loopback(None, server, seed=99, resumption=Resumption(session, 0)).run()
    assert one.client.group == other.client.group == NamedGroup.X25519MLKEM768
    assert not set(one.keys("client").values()) & set(other.keys("client").values())


def test_hello_retry_request() -> None:
    server, session = first_visit()
    pair = resume(session, replace(server, groups=P384))
    pair.check_agreement()
    assert pair.client.resumed


def test_hello_retry_request_with_another_hash_drops_the_ticket() -> None:
    server, session = first_visit()
    seen: list[ClientHello] = []

    def watch(sender: str, level: Level, message: bytes) -> bytes:
        if message[0] == HandshakeType.CLIENT_HELLO:
            seen.append(ClientHello.parse(message[4:]))
        return message

    pair = resume(session, replace(server, groups=P384, cipher_suites=(AES256,)), meddle=watch)
    pair.check_agreement()
    assert not pair.client.resumed
    assert [E.PRE_SHARED_KEY in hello.extensions for hello in seen] == [True, False]
    assert pair.client.peer_certificates == list(pki.credential().chain)


def test_a_suite_of_the_same_hash_will_do() -> None:
    server, session = first_visit()
    pair = resume(session, replace(server, cipher_suites=(CHACHA,)))
    pair.check_agreement()
    assert pair.client.resumed
    assert pair.client.cipher_suite == CHACHA


def test_key_log() -> None:
    lines: list[str] = []
    server, session = first_visit()
    resume(session, server, client_config(key_log=lines.append), early_data=True)
    labels = [line.split()[0] for line in lines]
    assert labels[0] == "CLIENT_EARLY_TRAFFIC_SECRET"
    assert len(labels) == 5
    assert len({line.split()[1] for line in lines}) == 1


# The server declines


def test_a_ticket_of_another_server() -> None:
    _, session = first_visit()
    pair = resume(session, server_config(tickets=TicketKeeper(bytes([1]) * 16, CLOCK)), early_data=True)
    pair.check_agreement()
    assert not pair.client.resumed
    assert decisions(pair, "client") == decisions(pair, "server") == [False]
    assert pair.client.peer_certificates == list(pki.credential().chain)


@pytest.mark.parametrize("tickets_of_server", [None, keeper()])
def test_a_server_without_tickets_ignores_them(tickets_of_server: TicketKeeper | None) -> None:
    _, session = first_visit()
    pair = resume(replace(session, ticket=b"nonsense"), server_config(tickets=tickets_of_server))
    pair.check_agreement()
    assert not pair.client.resumed


def test_an_old_ticket() -> None:
    keep = keeper(lifetime=60)
    server, session = first_visit(server_config(tickets=keep))
    try:
        CLOCK.now += 61_000
        assert not resume(session, server).client.resumed
    finally:
        CLOCK.now -= 61_000
    assert resume(session, server).client.resumed


def test_a_ticket_for_another_name() -> None:
    server, session = first_visit()
    moved = replace(session, server_name="other.example")
    assert not resume(moved, server, client_config(server_name="other.example", verify=False)).client.resumed


def test_a_server_that_asks_for_certificates_cannot_have_tickets() -> None:
    with pytest.raises(ValueError, match="cannot resume"):
        server_config(tickets=keeper(), request_client_certificate=True)


# The client does not offer


@pytest.mark.parametrize(
    "change",
    [
        {"server_name": "other.example"},
        {"alpn": "h2"},
        {"cipher_suite": AES256},
        {"certificates": ()},
        {"certificates": (b"damaged",)},
    ],
)
def test_a_session_that_does_not_fit_is_not_offered(change: dict[str, Any]) -> None:
    server, session = first_visit()
    offered: list[bool] = []

    def watch(sender: str, level: Level, message: bytes) -> bytes:
        if message[0] == HandshakeType.CLIENT_HELLO:
            offered.append(E.PRE_SHARED_KEY in ClientHello.parse(message[4:]).extensions)
        return message

    pair = resume(replace(session, **change), server, client_config(cipher_suites=(AES128,)), meddle=watch)
    pair.check_agreement()
    assert offered == [False]
    assert not pair.client.resumed


def test_when_a_session_is_fresh() -> None:
    _, session = first_visit()
    now = 10**12
    session = replace(session, received=now, authenticated=now, lifetime=3600, not_after=now // 1000 + 5000)
    assert session.is_fresh(now)
    assert session.is_fresh(now + 3_600_000)
    assert not session.is_fresh(now + 3_600_001)
    assert not session.is_fresh(now - 1), "the clock was turned back"
    expired = replace(session, not_after=now // 1000 - 1)
    assert not expired.is_fresh(now)
    assert replace(expired, not_after=0).is_fresh(now), "nobody verified the chain"


def test_a_session_is_never_kept_longer_than_a_week() -> None:
    """Nor does a chain of tickets put off the next certificate."""
    _, session = first_visit()
    now, week = 10**12, MAX_LIFETIME * 1000
    session = replace(session, received=now, authenticated=now, lifetime=1 << 31, not_after=0)
    assert session.is_fresh(now + week)
    assert not session.is_fresh(now + week + 1)
    assert not replace(session, authenticated=now - week - 1).is_fresh(now)


def test_nothing_secret_is_printed() -> None:
    _, session = first_visit()
    text = repr(session) + repr(Resumption(session, 5)) + str(TicketReceived(session))
    assert repr(session.secret)[2:-1] not in text
    assert session.secret.hex() not in text
    assert repr(session.ticket)[2:-1] not in text


# The obscured age and the shape of the offer


def test_shape_of_the_offer() -> None:
    server, session = first_visit()
    hellos: list[ClientHello] = []

    def watch(sender: str, level: Level, message: bytes) -> bytes:
        if message[0] == HandshakeType.CLIENT_HELLO:
            hellos.append(ClientHello.parse(message[4:]))
        return message

    resume(replace(session, age_add=0xFFFFFFF0), server, age=0x20, meddle=watch)
    resume(session, server, early_data=True, meddle=watch)
    plain, early = hellos
    assert list(plain.extensions)[-1] == list(early.extensions)[-1] == E.PRE_SHARED_KEY
    assert plain.extensions[E.PSK_KEY_EXCHANGE_MODES] == b"\x01\x01"
    offer = psks.decode_offer(plain.extensions[E.PRE_SHARED_KEY])
    assert offer.identities == (psks.Identity(session.ticket, 0x10),)
    assert len(offer.binders[0]) == 32
    assert E.EARLY_DATA not in plain.extensions
    assert early.extensions[E.EARLY_DATA] == b""


def test_the_ticket_stays_last_whatever_the_order() -> None:
    server, session = first_visit()
    seen: list[list[int]] = []

    def order(extensions: Any, entropy: Any) -> Any:
        seen.append([kind for kind, _ in extensions])
        return list(reversed(extensions))

    pair = resume(session, server, client_config(order_extensions=order), early_data=True)
    pair.check_agreement()
    assert pair.client.resumed
    assert E.EARLY_DATA in seen[0]
    assert E.PRE_SHARED_KEY not in seen[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\x07" + b"\0\x01a" + bytes(4),
        b"\0\0" + b"\0\x21" + b"\x20" + bytes(32),
        b"\0\x07" + b"\0\x01a" + bytes(4) + b"\0\x20" + b"\x1f" + bytes(31),
        b"\0\x07" + b"\0\x01a" + bytes(4) + b"\0\x21" + b"\x20" + bytes(32) + b"x",
        b"\0\x06" + b"\0\0" + bytes(4) + b"\0\x21" + b"\x20" + bytes(32),
        b"\0\x08" + b"\0\x01a" + bytes(5) + b"\0\x21" + b"\x20" + bytes(32),
    ],
)
def test_malformed_offers(data: bytes) -> None:
    assert failure_of(lambda: psks.decode_offer(data)).alert is A.DECODE_ERROR


def test_offer_with_a_binder_too_many() -> None:
    data = b"\0\x07" + b"\0\x01a" + bytes(4) + b"\0\x42" + (b"\x20" + bytes(32)) * 2
    assert failure_of(lambda: psks.decode_offer(data)).alert is A.ILLEGAL_PARAMETER


def test_offers_without_end_are_looked_at_in_part() -> None:
    entry = psks.encode_offer(psks.Identity(b"a", 0), bytes(32))
    one, binder = entry[2:9], entry[11:]
    data = (700).to_bytes(2, "big") + one * 100 + (3300).to_bytes(2, "big") + binder * 100
    assert len(psks.decode_offer(data).identities) == psks.MAX_IDENTITIES


@given(st.binary(max_size=120))
def test_any_offer_decodes_or_is_refused(data: bytes) -> None:
    try:
        offer = psks.decode_offer(data)
    except TlsError:
        return
    assert len(offer.identities) == len(offer.binders) >= 1
    assert 0 < offer.binders_size < len(data)


@given(
    st.sampled_from([HandshakeType.SERVER_HELLO, HandshakeType.ENCRYPTED_EXTENSIONS]), st.integers(0), st.integers(0)
)
def test_a_damaged_resumption_ends_in_an_alert(kind: int, position: int, value: int) -> None:
    server, session = PREPARED

    def damage(message: bytes) -> bytes:
        body = bytearray(message)
        body[4 + position % (len(body) - 4)] ^= value % 255 + 1
        return bytes(body)

    try:
        resume(session, server, early_data=True, meddle=Meddler("server", kind, damage))
    except TlsError:
        return
    raise AssertionError("the damage went unnoticed")


# A server that breaks the rules


def hello_extension(kind: int, data: bytes | None) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        hello = ServerHello.parse(message[4:])
        extensions = {k: v for k, v in hello.extensions.items() if k != kind}
        return replace(hello, extensions=extensions if data is None else {**extensions, kind: data}).encode()

    return change


def outcome(kind: int, change: Callable[[bytes], bytes], **options: Any) -> TlsError:
    server, session = first_visit()
    return failure_of(lambda: resume(session, server, meddle=Meddler("server", kind, change), **options))


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (hello_extension(E.PRE_SHARED_KEY, b"\0\x01"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.PRE_SHARED_KEY, b"\xff\xff"), A.ILLEGAL_PARAMETER),
        (hello_extension(E.PRE_SHARED_KEY, b"\0"), A.DECODE_ERROR),
        (hello_extension(E.PRE_SHARED_KEY, b"\0\0\0"), A.DECODE_ERROR),
        (hello_extension(E.KEY_SHARE, None), A.MISSING_EXTENSION),
        (lambda message: replace(ServerHello.parse(message[4:]), cipher_suite=AES256).encode(), A.ILLEGAL_PARAMETER),
    ],
)
def test_selected_identity_and_suite(change: Callable[[bytes], bytes], alert: AlertDescription) -> None:
    assert outcome(HandshakeType.SERVER_HELLO, change).alert is alert


def test_a_server_may_not_resume_what_was_not_offered() -> None:
    change = hello_extension(E.PRE_SHARED_KEY, b"\0\0")
    pair = Loopback(meddle=Meddler("server", HandshakeType.SERVER_HELLO, change))
    assert failure_of(pair.run).alert is A.UNSUPPORTED_EXTENSION


@pytest.mark.parametrize("kind", [HandshakeType.CERTIFICATE, HandshakeType.CERTIFICATE_REQUEST])
def test_no_certificates_on_resumption(kind: HandshakeType) -> None:
    """A certificate that nobody checks must not replace the one that was."""
    bodies = {HandshakeType.CERTIFICATE: b"\0\0\0\0", HandshakeType.CERTIFICATE_REQUEST: b"\0\0\0"}
    error = outcome(HandshakeType.FINISHED, lambda message: frame(kind, bodies[kind]))
    assert error.alert is A.UNEXPECTED_MESSAGE


def test_a_server_without_the_tickets_secret() -> None:
    """Whoever knows the ticket alone cannot take the server's place."""
    server, session = first_visit()
    forged = replace(session, secret=bytes(32))
    with pytest.raises(TlsError) as raised:
        resume(forged, server)
    assert raised.value.alert is A.DECRYPT_ERROR


def test_a_binder_of_another_hello() -> None:
    server, session = first_visit()

    def change(message: bytes) -> bytes:
        hello = ClientHello.parse(message[4:])
        return replace(hello, random=bytes(32)).encode()

    meddler = Meddler("client", HandshakeType.CLIENT_HELLO, change)
    error = failure_of(lambda: resume(session, server, meddle=meddler))
    assert error.alert is A.DECRYPT_ERROR


def test_tickets_without_modes() -> None:
    server, session = first_visit()

    def change(message: bytes) -> bytes:
        hello = ClientHello.parse(message[4:])
        kept = {kind: data for kind, data in hello.extensions.items() if kind != E.PSK_KEY_EXCHANGE_MODES}
        return replace(hello, extensions=kept).encode()

    meddler = Meddler("client", HandshakeType.CLIENT_HELLO, change)
    assert failure_of(lambda: resume(session, server, meddle=meddler)).alert is A.MISSING_EXTENSION


# Early data


def test_early_data_accepted() -> None:
    server, session = first_visit()
    pair = resume(session, server, early_data=True)
    pair.check_agreement()
    assert decisions(pair, "client") == decisions(pair, "server") == [True]
    kinds = [type(action) for action in pair.actions["client"]]
    assert kinds.index(EarlyDataDecided) < kinds.index(PeerParameters)
    first_keys = next(action for action in pair.actions["client"] if isinstance(action, InstallKeys))
    assert (first_keys.level, first_keys.writing) == (Level.EARLY_DATA, True)


def test_early_data_that_the_ticket_does_not_allow_is_not_offered() -> None:
    server, session = first_visit(server_config(tickets=keeper(early_data=False)))
    assert not session.early_data
    pair = resume(session, server, early_data=True)
    pair.check_agreement()
    assert pair.client.resumed
    assert decisions(pair, "client") == []
    assert len(pair.keys("client")) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": P384},
        {"cipher_suites": (CHACHA,)},
        {"tickets": keeper(early_data=False)},
        {"tickets": keeper(context=b"other settings")},
    ],
    ids=["hello retry request", "another suite", "switched off", "another context"],
)
def test_early_data_rejected(changes: dict[str, Any]) -> None:
    server, session = first_visit()
    pair = resume(session, replace(server, **changes), early_data=True)
    assert pair.client.complete
    assert pair.server.complete
    assert pair.client.resumed
    assert decisions(pair, "client") == [False]
    assert decisions(pair, "server") == ([] if "groups" in changes else [False])
    assert (Level.EARLY_DATA, False) not in pair.keys("server")


def test_another_context_of_quic_rejects_early_data() -> None:
    server, session = first_visit(context=b"limits")
    assert decisions(resume(session, server, early_data=True, context=b"limits"), "server") == [True]
    assert decisions(resume(session, server, early_data=True, context=b"lower limits"), "server") == [False]


def test_another_protocol_rejects_early_data() -> None:
    alpn = ("h3", "other")
    server, session = first_visit(server_config(tickets=keeper(), alpn=alpn), client_config(alpn=alpn))
    pair = resume(session, replace(server, alpn=("other",)), client_config(alpn=alpn), early_data=True)
    assert pair.client.resumed
    assert decisions(pair, "client") == decisions(pair, "server") == [False]


def test_replayed_early_data_is_rejected() -> None:
    server, session = first_visit()
    assert decisions(resume(session, server, early_data=True), "server") == [True]
    again = resume(session, server, early_data=True)
    assert again.client.resumed
    assert decisions(again, "server") == [False]


@pytest.mark.parametrize(("age", "accepted"), [(WINDOW, True), (WINDOW + 1, False), (3_600_000, False)])
def test_early_data_has_to_be_fresh(age: int, accepted: bool) -> None:
    """A recorded first flight is worth nothing once the window is over, with or without a memory of it."""
    server, session = first_visit()
    assert decisions(resume(session, server, early_data=True, age=age), "server") == [accepted]


def test_the_memory_of_early_data_is_bounded() -> None:
    keep = keeper()
    ticket = Ticket(
        secret=bytes(32),
        cipher_suite=AES128,
        issued=CLOCK.now,
        age_add=0,
        quic_version=1,
        server_name="",
        alpn="h3",
        context=b"",
    )
    for number in range(REMEMBERED):
        assert keep.takes_early_data(ticket, psks.Identity(number.to_bytes(12, "big"), 0))
    assert not keep.takes_early_data(ticket, psks.Identity(b"one too many", 0))
    try:
        CLOCK.now += 2 * WINDOW
        later = replace(ticket, issued=CLOCK.now)
        assert keep.takes_early_data(later, psks.Identity(b"one too many", 0))
        assert len(keep._used) == 1
    finally:
        CLOCK.now -= 2 * WINDOW


def add_early_data(message: bytes) -> bytes:
    return encode_encrypted_extensions([*parse_ee(message[4:]).items(), (E.EARLY_DATA, b"")])


def test_early_data_accepted_though_none_was_offered() -> None:
    assert outcome(HandshakeType.ENCRYPTED_EXTENSIONS, add_early_data).alert is A.UNSUPPORTED_EXTENSION


@pytest.mark.parametrize(
    "changes",
    [{"tickets": None}, {"cipher_suites": (CHACHA,)}, {"alpn": ("other",)}],
    ids=["not resumed", "another suite", "another protocol"],
)
def test_early_data_accepted_against_the_rules(changes: dict[str, Any]) -> None:
    client = client_config(alpn=("h3", "other"))
    server, session = first_visit(client=client)
    meddler = Meddler("server", HandshakeType.ENCRYPTED_EXTENSIONS, add_early_data)
    run = lambda: resume(session, replace(server, **changes), client, early_data=True, meddle=meddler)  # noqa: E731
    assert failure_of(run).alert is A.ILLEGAL_PARAMETER


def test_early_data_accepted_after_hello_retry_request() -> None:
    server, session = first_visit()
    meddler = Meddler("server", HandshakeType.ENCRYPTED_EXTENSIONS, add_early_data)
    run = lambda: resume(session, replace(server, groups=P384), early_data=True, meddle=meddler)  # noqa: E731
    assert failure_of(run).alert is A.UNSUPPORTED_EXTENSION


def test_end_of_early_data_is_never_sent_nor_taken() -> None:
    """RFC 9001, section 8.3."""
    server, session = first_visit()
    kinds: list[int] = []

    def watch(sender: str, level: Level, message: bytes) -> bytes:
        kinds.append(message[0])
        return message

    pair = resume(session, server, early_data=True, meddle=watch)
    assert HandshakeType.END_OF_EARLY_DATA not in kinds
    pair = Loopback(None, server, seed=8, resumption=Resumption(tickets(pair)[0], 0, True))
    pair.client.start()
    pair.server.start()
    pair.server.receive(Level.INITIAL, pair.client.next_action().data)  # type: ignore[union-attr]
    error = failure_of(lambda: pair.server.receive(Level.HANDSHAKE, frame(HandshakeType.END_OF_EARLY_DATA, b"")))
    assert error.alert is A.UNEXPECTED_MESSAGE


# Tickets


def test_tickets_are_sealed() -> None:
    keep = keeper()
    ticket = Ticket(
        secret=b"s" * 32,
        cipher_suite=AES128,
        issued=CLOCK.now,
        age_add=7,
        quic_version=1,
        server_name=pki.NAME,
        alpn="h3",
        context=b"c",
    )
    sealed = keep.seal(ticket, SeededEntropy(1))
    assert keep.open(sealed) == ticket
    assert b"s" * 16 not in sealed
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        assert keep.open(bytes(changed)) is None
    for size in range(len(sealed)):
        assert keep.open(sealed[:size]) is None


def test_a_ticket_of_the_future_is_not_opened() -> None:
    keep = keeper()
    ticket = Ticket(
        secret=bytes(32),
        cipher_suite=AES128,
        issued=CLOCK.now + 1,
        age_add=0,
        quic_version=1,
        server_name="",
        alpn="h3",
        context=b"",
    )
    assert keep.open(keep.seal(ticket, SeededEntropy(1))) is None


def test_what_a_session_knows() -> None:
    _, session = first_visit()
    assert session.transport_parameters == SERVER_PARAMETERS != CLIENT_PARAMETERS
    assert session.certificates == tuple(each.public_bytes(Encoding.DER) for each in pki.credential().chain)
    assert (session.server_name, session.alpn, session.lifetime) == (pki.NAME, "h3", 86_400)
