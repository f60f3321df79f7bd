"""Retry, Version Negotiation, and the transport parameters that vouch for the connection ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from specter._backend import batch as batches
from specter._backend import frames
from specter._entropy import SeededEntropy
from specter._frame_types import Ack, HandshakeDone, Padding, Ping
from specter._wire import VARINT_MAX
from specter._wire import TransportErrorCode as Code
from specter.quic import parameters
from specter.quic.config import MAX_TOKEN, SECOND, QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import CloseKind, ConnectionClosed, HandshakeCompleted, HandshakeConfirmed, StreamsAvailable
from specter.quic.handshake import Handshake
from specter.quic.packet import encode_retry, encode_version_negotiation, parse_header
from specter.quic.parameters import PreferredAddress, TransportParameters
from specter.quic.space import SpaceId
from tests.quic.scripted import Scripted, connected
from tests.quic.support import START, Pair, client_tls, server_tls

RETRY_SCID = b"retried!"


def closed(pair: Pair, name: str = "client") -> ConnectionClosed | None:
    return next((event for event in pair.events[name] if isinstance(event, ConnectionClosed)), None)


class Retried(Pair):
    """A pair whose server answers the first Initial with a Retry."""

    retry_scid: bytes | None = RETRY_SCID
    """What the server's transport parameters say; the Retry itself always says ``RETRY_SCID``."""

    def retry(self, *, scid: bytes = RETRY_SCID, token: bytes = b"a token", tag_of: bytes | None = None) -> bytes:
        self.flush(self.client, True)
        first = self.log[0][1]
        header = parse_header(first, 0, len(first), 8)
        self.original = header.dcid
        return encode_retry(1, scid, header.scid, header.dcid if tag_of is None else tag_of, token)

    def _accept(self, data: bytes) -> Connection:
        header = parse_header(data, 0, len(data), 8)
        return Connection.server(
            self.server_config,
            server_tls(),
            SeededEntropy("s"),
            self.now,
            original_dcid=self.original,
            client_cid=header.scid,
            retry_scid=self.retry_scid,
        )

    def run_after(self, *answers: bytes) -> None:
        """Let the client hear ``answers`` to its first flight, which is lost."""
        self.wire.clear()
        self._deliver(False, list(answers))
        self.settle(3 * SECOND)


# -- Retry ------------------------------------------------------------------------------------------------


def test_a_retry_starts_over_with_token_new_keys_and_the_next_packet_numbers() -> None:
    pair = Retried()
    retry = pair.retry()
    before = pair.client._core.spaces[SpaceId.INITIAL].sent.next_pn
    first_flight = len(pair.log)
    pair.run_after(retry)
    header = parse_header(pair.log[first_flight][1], 0, 1200, 8)
    assert (header.dcid, header.token) == (RETRY_SCID, b"a token")
    assert before == first_flight >= 2
    assert pair.client.confirmed


def test_a_retry_with_an_empty_id_is_followed() -> None:
    pair = Retried()
    pair.retry_scid = b""
    pair.run_after(pair.retry(scid=b""))
    assert pair.client.confirmed


def test_a_retry_with_a_bad_tag_is_dropped() -> None:
    pair = Retried()
    good = pair.retry()
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 0x10 if index == 0 else 1
        before = pair.client.stats.packets_dropped
        pair._deliver(False, [bytes(bad)])
        assert pair.client.stats.packets_dropped == before + 1, index
    pair._deliver(False, [pair.retry(tag_of=b"12345678")])
    assert pair.client._core.token == b""
    pair.run_after(good)
    assert pair.client.confirmed


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_truncated_retry_is_dropped(cut: int) -> None:
    pair = Retried()
    pair._deliver(False, [pair.retry()[:-cut]])
    assert pair.client._core.token == b""
    assert closed(pair) is None


def test_a_second_retry_is_dropped() -> None:
    pair = Retried()
    first, second = pair.retry(), pair.retry(scid=b"another!", token=b"other")
    pair.run_after(first, second)
    assert pair.client._core.token == b"a token"
    assert pair.client.confirmed


def test_a_retry_that_keeps_the_clients_id_is_dropped() -> None:
    pair = Retried()
    retry = pair.retry()
    pair._deliver(False, [pair.retry(scid=pair.original)])
    assert pair.client._core.token == b""
    pair.run_after(retry)
    assert pair.client.confirmed


def test_a_retry_to_another_id_is_dropped() -> None:
    pair = Retried()
    pair.retry()
    pair._deliver(False, [encode_retry(1, RETRY_SCID, b"not mine", pair.original, b"t")])
    assert pair.client._core.token == b""


def test_a_retry_after_a_packet_of_the_server_is_dropped() -> None:
    pair = Retried()
    retry = pair.retry()
    pair.retry_scid = None
    pair.run(lambda: pair.client.stats.datagrams_received > 0)
    pair._deliver(False, [retry])
    assert pair.client._core.token == b""
    pair.handshake()


@pytest.mark.interpreted
@pytest.mark.security
@pytest.mark.parametrize("said", [None, b"", b"somebody"])
def test_parameters_must_name_the_retry_that_was_followed(monkeypatch: pytest.MonkeyPatch, said: bytes | None) -> None:
    """msquic GHSA-fr44-546p-7xcp: Retry, then a handshake whose parameters do not vouch for it."""
    original = Handshake._local_parameters

    def changed(self: Handshake) -> TransportParameters:
        mine = original(self)
        return mine if self._core.is_client else replace(mine, retry_source_connection_id=said)

    monkeypatch.setattr(Handshake, "_local_parameters", changed)
    pair = Retried()
    pair.run_after(pair.retry())
    end = closed(pair)
    assert end is not None
    assert end.error_code == Code.TRANSPORT_PARAMETER_ERROR
    assert "retry_source_connection_id" in end.reason


# -- transport parameters ----------------------------------------------------------------------------------


def with_parameters(
    monkeypatch: pytest.MonkeyPatch, server: bool, change: Callable[[TransportParameters], object]
) -> Pair:
    """Return a pair in which one side declares changed parameters, after its handshake went as far as it goes."""
    original = Handshake._local_parameters

    def changed(self: Handshake) -> TransportParameters:
        mine = original(self)
        if self._core.is_client == server:
            return mine
        result = change(mine)
        assert isinstance(result, TransportParameters)
        return result

    monkeypatch.setattr(Handshake, "_local_parameters", changed)
    pair = Pair()
    pair.settle(SECOND)
    return pair


PREFERRED = PreferredAddress(bytes(4), 0, bytes(16), 0, b"prefer!!", bytes(range(16)))


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("server", "name", "value"),
    [
        (True, "original_destination_connection_id", b"wrong!!!"),
        (True, "original_destination_connection_id", b""),
        (True, "original_destination_connection_id", None),
        (True, "initial_source_connection_id", b"wrong!!!"),
        (True, "initial_source_connection_id", None),
        (True, "retry_source_connection_id", b"no retry"),
        (True, "retry_source_connection_id", b""),
        (False, "initial_source_connection_id", b"wrong!!!"),
        (False, "initial_source_connection_id", None),
    ],
)
def test_ids_that_are_not_those_of_the_handshake(
    monkeypatch: pytest.MonkeyPatch, server: bool, name: str, value: bytes | None
) -> None:
    """RFC 9000, section 7.3: each of them wrong, empty, absent or too much, on either side."""
    pair = with_parameters(monkeypatch, server, lambda mine: replace(mine, **{name: value}))  # type: ignore[arg-type]
    end = closed(pair, "client" if server else "server")
    assert end is not None
    assert (end.kind, end.error_code) == (CloseKind.LOCAL, Code.TRANSPORT_PARAMETER_ERROR)
    other = closed(pair, "server" if server else "client")
    assert other is not None
    assert (other.kind, other.error_code) == (CloseKind.REMOTE, Code.TRANSPORT_PARAMETER_ERROR)
    assert not pair.client.handshake_complete


@pytest.mark.interpreted
def test_a_client_may_not_declare_what_only_servers_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = with_parameters(monkeypatch, False, lambda mine: replace(mine, stateless_reset_token=bytes(16)))
    end = closed(pair, "server")
    assert end is not None
    assert end.error_code == Code.TRANSPORT_PARAMETER_ERROR


@pytest.mark.interpreted
@pytest.mark.security
@pytest.mark.parametrize(
    "data",
    [
        b"\x04",
        b"\x04\x04\x80",
        b"\x04\x01\x01\x04\x01\x01",
        b"\x03\x02\x44\xaf",
        b"\x0a\x01\x15",
        b"\x0b\x04\x80\x00\x40\x00",
        b"\x0e\x01\x01",
        b"\x02\x0f" + bytes(15),
        b"\x00\x15" + bytes(21),
        b"\x0d\x03abc",
        b"\x08\x08\xd0\x00\x00\x00\x00\x00\x00\x01",
    ],
    ids=lambda data: data.hex()[:12],
)
def test_malformed_parameters_end_the_handshake_with_their_code(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """quinn CVE-2026-31812, on a whole connection: truncated, repeated, out of range."""
    pair = Pair()
    encode = parameters.encode
    monkeypatch.setattr(parameters, "encode", lambda mine: data if mine.stateless_reset_token else encode(mine))
    pair.settle(SECOND)
    end = closed(pair)
    assert end is not None
    assert (end.kind, end.error_code) == (CloseKind.LOCAL, Code.TRANSPORT_PARAMETER_ERROR)


@pytest.mark.interpreted
def test_limits_of_the_peer_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = with_parameters(
        monkeypatch,
        True,
        lambda mine: replace(
            mine,
            max_idle_timeout=7_000,
            max_ack_delay=77,
            active_connection_id_limit=3,
            initial_max_data=123,
            max_udp_payload_size=1200,
        ),
    )
    core = pair.client._core
    assert pair.client.confirmed
    assert core.idle.timeout == 7 * SECOND
    assert core.recovery.peer_max_ack_delay == 77_000_000
    assert core.packer.data_limit == 123
    assert len(core.local_cids.active) == 3
    assert core.datagram_size == 1200


MIN_ACK_DELAY = 0xFF04DE1B
"""Of the extension for acknowledgment frequency, in microseconds."""


@pytest.mark.interpreted
@pytest.mark.security
@pytest.mark.parametrize("min_ack_delay", [None, 0, 1_000, 1 << 24, VARINT_MAX])
@pytest.mark.parametrize(("max_ack_delay", "exponent"), [(0, 0), (0, 20), (25, 3), ((1 << 14) - 1, 20)])
def test_any_delays_of_the_peers_acknowledgments(
    monkeypatch: pytest.MonkeyPatch, min_ack_delay: int | None, max_ack_delay: int, exponent: int
) -> None:
    """quinn RUSTSEC-2026-0340: whichever is larger, and whatever ACK frames say of it, timers stay usable."""
    unknown = () if min_ack_delay is None else ((MIN_ACK_DELAY, frames.encode_varint(min_ack_delay)),)
    pair = with_parameters(
        monkeypatch,
        True,
        lambda mine: replace(
            mine, max_ack_delay=max_ack_delay, ack_delay_exponent=exponent, unknown=(*mine.unknown, *unknown)
        ),
    )
    assert pair.client.confirmed
    peer = Scripted(pair)
    for delay in (0, 1, 1 << 20, VARINT_MAX):
        peer.target.write(peer.target.open_stream(), b"hello")
        peer.flush()
        pair.now += 1_000_000
        peer.say(Ack(((0, peer.target._core.app.sent.next_pn - 1),), delay))
        pto = peer.target._core.recovery.rtt.pto_base() + peer.target._core.recovery.peer_max_ack_delay
        assert 0 < pto < 20 * SECOND
    assert peer.closed is None


@pytest.mark.interpreted
def test_a_preferred_address_brings_an_id_and_moves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = with_parameters(monkeypatch, True, lambda mine: replace(mine, preferred_address=PREFERRED))
    assert pair.client._core.remote_cids.available >= 1
    assert pair.client._core.remote_cids.current != PREFERRED.connection_id


# -- Version Negotiation ----------------------------------------------------------------------------------


def first_header(pair: Pair) -> tuple[bytes, bytes]:
    pair.flush(pair.client, True)
    data = pair.log[0][1]
    header = parse_header(data, 0, len(data), 8)
    return header.dcid, header.scid


@pytest.mark.parametrize("swap", ["dcid", "scid", "both"])
def test_version_negotiation_with_other_ids_is_dropped(swap: str) -> None:
    pair = Pair()
    dcid, scid = first_header(pair)
    source = b"wrong!!!" if swap in ("scid", "both") else dcid
    target = b"wrong!!!" if swap in ("dcid", "both") else scid
    pair._deliver(False, [encode_version_negotiation(source, target, [0x0A0A0A0A])])
    assert closed(pair) is None
    pair.handshake()


@pytest.mark.parametrize("tail", [b"", b"\x00", b"\x0a\x0a\x0a", b"\x0a\x0a\x0a\x0a\x01"])
def test_malformed_version_negotiation_is_dropped(tail: bytes) -> None:
    pair = Pair()
    dcid, scid = first_header(pair)
    pair._deliver(False, [encode_version_negotiation(dcid, scid, []) + tail])
    assert closed(pair) is None
    assert pair.client.stats.packets_dropped == 1


@pytest.mark.security
def test_a_server_ignores_version_negotiation_and_retry() -> None:
    """msquic GHSA-xh5m-8qqp-c5x7: packets that only a server may send, sent to one."""
    pair = Pair()
    dcid, scid = first_header(pair)
    pair.run(lambda: pair.server is not None)
    pair._deliver(True, [encode_version_negotiation(scid, dcid, [0x0A0A0A0A]), encode_retry(1, scid, dcid, dcid, b"t")])
    pair.handshake()


def test_version_negotiation_after_a_retry_is_dropped() -> None:
    pair = Retried()
    retry = pair.retry()
    dcid, scid = first_header(pair)
    pair.run_after(retry, encode_version_negotiation(dcid, scid, [0x0A0A0A0A]))
    assert pair.client.confirmed


# -- HANDSHAKE_DONE ----------------------------------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize("space", [SpaceId.INITIAL, SpaceId.HANDSHAKE], ids=["initial", "handshake"])
def test_handshake_done_before_its_time_is_a_violation(space: SpaceId) -> None:
    """quic-go CVE-2025-59530: HANDSHAKE_DONE in a packet of the handshake."""
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None and pair.server._core.spaces[space].sealer is not None)
    if space is SpaceId.HANDSHAKE:
        pair.filter = lambda from_client, data: data if not from_client else None
        pair.run(lambda: pair.client._core.spaces[space].opener is not None)
    peer = Scripted(pair)
    peer.say(HandshakeDone(), space=space)
    assert peer.closed is not None
    assert peer.closed.error_code == Code.PROTOCOL_VIOLATION


@pytest.mark.security
def test_handshake_done_in_a_1_rtt_packet_ahead_of_the_handshake_waits_for_its_keys() -> None:
    """quic-go CVE-2025-59530: before the client has keys, it is a packet like any other that came too early."""
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client else None
    pair.run(lambda: pair.server is not None and pair.server._core.app.sealer is not None)
    flight = [data for from_client, data in pair.log if not from_client]
    peer = Scripted(pair)
    assert peer.say(HandshakeDone()) == []
    peer.deliver(b"\x40" + next(iter(peer.target.host_cids)) + bytes(40))
    assert not peer.target.confirmed
    for data in flight:
        assert not peer.target.confirmed
        peer.deliver(data)
    assert peer.closed is None
    assert peer.target.confirmed


@pytest.mark.security
def test_handshake_done_twice_confirms_once() -> None:
    """quic-go CVE-2025-59530: and once more after confirmation, then a packet that does not open."""
    peer = connected()
    peer.say(HandshakeDone(), HandshakeDone())
    peer.deliver(b"\x40" + next(iter(peer.target.host_cids)) + bytes(40))
    assert peer.closed is None
    assert not any(isinstance(event, HandshakeConfirmed) for event in peer.events)


@pytest.mark.security
@pytest.mark.parametrize("order", ["ack last", "ack first", "ack both", "ping between"])
def test_any_frame_order_in_the_packet_that_completes_the_handshake(order: str) -> None:
    """quic-go CVE-2023-46239: the space goes in the middle of the packet; what follows must find nothing to break."""
    pair = Pair()
    pair.filter = lambda from_client, data: None if from_client and pair.client.handshake_complete else data
    pair.run(lambda: pair.client.handshake_complete)
    peer = Scripted(pair, as_server=False)
    space = pair.client._core.spaces[SpaceId.HANDSHAKE]
    finished = space.crypto_out.take(0, space.crypto_out.offset_end, False)
    crypto = b"\x06\x00" + (0x4000 | len(finished)).to_bytes(2, "big") + bytes(finished)
    newest = peer.target._core.spaces[SpaceId.HANDSHAKE].sent.next_pn - 1
    ack = Ack(((0, newest),), 0)
    said = {
        "ack last": [crypto, ack],
        "ack first": [ack, crypto],
        "ack both": [ack, crypto, ack, Padding(3)],
        "ping between": [crypto, Ping(), ack],
    }[order]
    peer.say(*said, space=SpaceId.HANDSHAKE)
    assert peer.closed is None
    assert peer.target.confirmed
    assert peer.target._core.spaces[SpaceId.HANDSHAKE].discarded


@pytest.mark.security
def test_an_acknowledgment_behind_the_completing_crypto_from_a_server() -> None:
    """quic-go CVE-2023-46239, the client's side: ServerHello..Finished and an ACK in every order of datagrams."""
    for turn in range(6):
        pair = Pair(seed=turn)
        pair.run(lambda pair=pair: len(pair.wire) > 1 and not pair.wire[-1][1])  # type: ignore[misc]
        pair.wire.sort(key=lambda entry: hash((turn, entry[2])))
        pair.handshake()


def test_the_handshake_is_told_once_and_in_order() -> None:
    pair = Pair()
    assert not pair.client.can_open()
    pair.handshake()
    told = [
        event
        for event in pair.events["client"]
        if isinstance(event, HandshakeCompleted | HandshakeConfirmed | StreamsAvailable)
    ]
    assert told == [HandshakeCompleted(b"h3"), HandshakeConfirmed()]


def test_a_token_too_long_for_a_packet_is_not_used() -> None:
    """A server may give out any token; one that fills the packet would keep us from ever coming back."""
    sizes = []
    for size in (0, MAX_TOKEN, MAX_TOKEN + 1, 5000):
        client = Connection.client(QuicConfig(), client_tls(), SeededEntropy(1), START, token=bytes(size))
        batch = client.send(START)
        datagram = bytes(next(iter(batch))[0])
        sizes.append(len(parse_header(datagram, 0, len(datagram), 8).token))
    assert sizes == [0, MAX_TOKEN, 0, 0]


def test_a_server_gives_out_no_token_that_a_client_cannot_use() -> None:
    pair = Pair()
    pair.handshake()
    assert pair.server is not None
    for token in (b"", bytes(MAX_TOKEN + 1)):
        with pytest.raises(ValueError, match="token"):
            pair.server.issue_token(token)


def test_receiving_nothing_is_harmless() -> None:
    pair = Pair()
    pair.client.receive(batches.ReceiveBatch(), START)
    pair.handshake()
