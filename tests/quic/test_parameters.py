from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._wire import NEVER, VARINT_MAX, TransportError, TransportErrorCode
from specter.quic import parameters
from specter.quic.parameters import ParameterId, PreferredAddress, TransportParameters, VersionInformation, decode

quick = settings(max_examples=200, deadline=None, derandomize=True)
Id = ParameterId
PREFERRED = PreferredAddress(bytes([127, 0, 0, 1]), 443, bytes(15) + b"\x01", 8443, b"\x07" * 5, b"\x09" * 16)
PREFERRED_WIRE = bytes.fromhex("7f00000101bb" + "00" * 15 + "0120fb05" + "07" * 5 + "09" * 16)
EVERYTHING = TransportParameters(
    original_destination_connection_id=b"\x01" * 8,
    max_idle_timeout=30_000,
    stateless_reset_token=b"\x02" * 16,
    max_udp_payload_size=1472,
    initial_max_data=1 << 24,
    initial_max_stream_data_bidi_local=1 << 20,
    initial_max_stream_data_bidi_remote=1 << 19,
    initial_max_stream_data_uni=1 << 18,
    initial_max_streams_bidi=100,
    initial_max_streams_uni=103,
    ack_delay_exponent=5,
    max_ack_delay=40,
    disable_active_migration=True,
    preferred_address=PREFERRED,
    active_connection_id_limit=8,
    initial_source_connection_id=b"\x03" * 20,
    retry_source_connection_id=b"",
    version_information=VersionInformation(1, (1, 0x6B3343CF)),
    max_datagram_frame_size=65535,
    grease_quic_bit=True,
    unknown=((27, b"grease"), (0x7157, b"")),
)
INTEGERS = [
    Id.MAX_IDLE_TIMEOUT, Id.MAX_UDP_PAYLOAD_SIZE, Id.INITIAL_MAX_DATA, Id.INITIAL_MAX_STREAM_DATA_BIDI_LOCAL,
    Id.INITIAL_MAX_STREAM_DATA_BIDI_REMOTE, Id.INITIAL_MAX_STREAM_DATA_UNI, Id.INITIAL_MAX_STREAMS_BIDI,
    Id.INITIAL_MAX_STREAMS_UNI, Id.ACK_DELAY_EXPONENT, Id.MAX_ACK_DELAY, Id.ACTIVE_CONNECTION_ID_LIMIT,
    Id.MAX_DATAGRAM_FRAME_SIZE,
]  # fmt: skip


def wire(*items: tuple[int, bytes]) -> bytes:
    return parameters.encode_raw(items)


def varint(value: int, width: int = 0) -> bytes:
    return parameters.encode_integer(value, width)


def refused(data: bytes, *, from_server: bool = True) -> str:
    with pytest.raises(TransportError) as caught:
        decode(data, from_server=from_server)
    assert caught.value.code == TransportErrorCode.TRANSPORT_PARAMETER_ERROR
    return caught.value.reason


def test_defaults_of_absent_parameters() -> None:
    empty = decode(b"", from_server=False)
    assert empty == TransportParameters()
    assert (empty.max_udp_payload_size, empty.ack_delay_exponent, empty.max_ack_delay) == (65527, 3, 25)
    assert (empty.active_connection_id_limit, empty.initial_max_data, empty.disable_active_migration) == (2, 0, False)
    assert parameters.encode(empty) == b""


def test_every_parameter_has_a_field() -> None:
    names = {known.name.lower() for known in ParameterId} | {"unknown"}
    assert names == set(TransportParameters.__dataclass_fields__)


def test_round_trip_of_everything() -> None:
    data = parameters.encode(EVERYTHING)
    assert decode(data, from_server=True) == EVERYTHING
    assert decode(memoryview(data), from_server=True) == EVERYTHING
    identifiers = [identifier for identifier, _ in parameters.decode_raw(data)]
    assert identifiers == [*sorted(ParameterId), 27, 0x7157]


def test_preferred_address_on_the_wire() -> None:
    data = wire((Id.PREFERRED_ADDRESS, PREFERRED_WIRE))
    assert decode(data, from_server=True).preferred_address == PREFERRED
    assert parameters.encode(TransportParameters(preferred_address=PREFERRED)) == data


def test_times_in_nanoseconds() -> None:
    params = TransportParameters(max_idle_timeout=30_000, max_ack_delay=26)
    assert params.max_idle_timeout_ns == 30_000_000_000
    assert params.max_ack_delay_ns == 26_000_000
    assert TransportParameters(max_idle_timeout=VARINT_MAX).max_idle_timeout_ns == NEVER
    assert TransportParameters().max_idle_timeout_ns == 0


# Order and widths


def test_order_is_kept_and_the_rest_follows() -> None:
    params = TransportParameters(
        max_idle_timeout=5, initial_max_data=6, initial_source_connection_id=b"", unknown=((27, b"g"), (58, b""))
    )
    order = [58, Id.INITIAL_MAX_DATA, Id.ACK_DELAY_EXPONENT, Id.DISABLE_ACTIVE_MIGRATION, Id.PREFERRED_ADDRESS, 1234]
    items = parameters.to_items(params, order)
    assert items == [(58, b""), (4, b"\x06"), (10, b"\x03"), (1, b"\x05"), (15, b""), (27, b"g")]
    assert decode(parameters.encode(params, order), from_server=False) == replace(
        params, unknown=((58, b""), (27, b"g"))
    )


def test_repeated_order_entry_is_sent_once() -> None:
    assert parameters.to_items(TransportParameters(initial_max_data=1), [4, 4]) == [(4, b"\x01")]


def test_integer_widths() -> None:
    assert [varint(5, width).hex() for width in (0, 1, 2, 4, 8)] == ["05", "05", "4005", "80000005", "c000000000000005"]
    for value, width in ((64, 1), (1 << 14, 2), (1 << 30, 4), (1 << 62, 8), (-1, 8), (1, 3)):
        with pytest.raises(ValueError, match="does not fit"):
            varint(value, width)
    data = wire((Id.INITIAL_MAX_DATA, varint(7, 8)), (Id.MAX_IDLE_TIMEOUT, varint(9, 4)))
    assert decode(data, from_server=False) == TransportParameters(initial_max_data=7, max_idle_timeout=9)


@pytest.mark.parametrize(
    "params",
    [
        TransportParameters(max_udp_payload_size=1199),
        TransportParameters(ack_delay_exponent=21),
        TransportParameters(max_ack_delay=1 << 14),
        TransportParameters(active_connection_id_limit=1),
        TransportParameters(initial_max_streams_bidi=(1 << 60) + 1),
        TransportParameters(initial_max_data=-1),
        TransportParameters(stateless_reset_token=bytes(15)),
        TransportParameters(initial_source_connection_id=bytes(21)),
        TransportParameters(preferred_address=replace(PREFERRED, connection_id=b"")),
        TransportParameters(preferred_address=replace(PREFERRED, ipv4=bytes(16))),
        TransportParameters(version_information=VersionInformation(0, ())),
    ],
)
def test_what_no_peer_may_accept_is_not_encoded(params: TransportParameters) -> None:
    with pytest.raises(ValueError, match=r"outside|bytes|version|integer"):
        parameters.encode(params)


# Faults (SECURITY: quinn CVE-2026-31812, RUSTSEC-2026-0340)


@pytest.mark.security
@pytest.mark.parametrize("known", list(ParameterId))
def test_every_parameter_repeated_or_truncated(known: ParameterId) -> None:
    (item,) = [item for item in parameters.to_items(EVERYTHING) if item[0] == known]
    assert "repeated" in refused(wire(item, item))
    data = wire(item)
    assert decode(data, from_server=True) != TransportParameters()
    for end in range(1, len(data)):
        refused(data[:end])
    refused(wire((known, item[1] + bytes(200))))


def test_repeated_unknown_parameter() -> None:
    assert "0x1b is repeated" in refused(wire((27, b"a"), (1, b"\x05"), (27, b"b")))


@pytest.mark.security
@pytest.mark.parametrize("known", INTEGERS)
def test_integer_parameters_of_the_wrong_length(known: ParameterId) -> None:
    assert "truncated integer" in refused(wire((known, b"")))
    assert "truncated integer" in refused(wire((known, b"\x44")))
    assert "trailing bytes" in refused(wire((known, varint(1200) + b"\x00")))


@pytest.mark.security
@pytest.mark.parametrize(
    ("known", "good", "bad"),
    [
        (Id.MAX_UDP_PAYLOAD_SIZE, [1200, VARINT_MAX], [0, 1199]),
        (Id.ACK_DELAY_EXPONENT, [0, 20], [21, VARINT_MAX]),
        (Id.MAX_ACK_DELAY, [0, (1 << 14) - 1], [1 << 14, VARINT_MAX]),
        (Id.ACTIVE_CONNECTION_ID_LIMIT, [2, VARINT_MAX], [0, 1]),
        (Id.INITIAL_MAX_STREAMS_BIDI, [0, 1 << 60], [(1 << 60) + 1, VARINT_MAX]),
        (Id.INITIAL_MAX_STREAMS_UNI, [0, 1 << 60], [(1 << 60) + 1, VARINT_MAX]),
        (Id.INITIAL_MAX_DATA, [0, VARINT_MAX], []),
        (Id.MAX_IDLE_TIMEOUT, [0, VARINT_MAX], []),
        (Id.MAX_DATAGRAM_FRAME_SIZE, [0, VARINT_MAX], []),
    ],
)
def test_ranges(known: ParameterId, good: list[int], bad: list[int]) -> None:
    for value in good:
        assert getattr(decode(wire((known, varint(value))), from_server=False), known.name.lower()) == value
    for value in bad:
        assert known.name.lower() in refused(wire((known, varint(value))), from_server=False)


@pytest.mark.security
@pytest.mark.parametrize(
    ("known", "value"),
    [
        (Id.STATELESS_RESET_TOKEN, b""),
        (Id.STATELESS_RESET_TOKEN, bytes(15)),
        (Id.STATELESS_RESET_TOKEN, bytes(17)),
        (Id.ORIGINAL_DESTINATION_CONNECTION_ID, bytes(21)),
        (Id.INITIAL_SOURCE_CONNECTION_ID, bytes(21)),
        (Id.RETRY_SOURCE_CONNECTION_ID, bytes(21)),
        (Id.DISABLE_ACTIVE_MIGRATION, b"\x00"),
        (Id.GREASE_QUIC_BIT, b"\x01"),
        (Id.PREFERRED_ADDRESS, b""),
        (Id.PREFERRED_ADDRESS, bytes(24)),
        (Id.PREFERRED_ADDRESS, bytes(24) + b"\x00" + bytes(16)),
        (Id.PREFERRED_ADDRESS, bytes(24) + b"\x15" + bytes(21 + 16)),
        (Id.PREFERRED_ADDRESS, PREFERRED_WIRE[:-1]),
        (Id.PREFERRED_ADDRESS, PREFERRED_WIRE + b"\x00"),
        (Id.VERSION_INFORMATION, b""),
        (Id.VERSION_INFORMATION, b"\x00\x00\x01"),
        (Id.VERSION_INFORMATION, b"\x00\x00\x00\x01\x00"),
        (Id.VERSION_INFORMATION, bytes(4)),
        (Id.VERSION_INFORMATION, b"\x00\x00\x00\x01" + bytes(4)),
    ],
)
def test_malformed_values(known: ParameterId, value: bytes) -> None:
    refused(wire((known, value)))


@pytest.mark.parametrize("length", [1, 20])
def test_preferred_address_id_lengths(length: int) -> None:
    address = replace(PREFERRED, connection_id=b"\x05" * length)
    data = parameters.encode(TransportParameters(preferred_address=address))
    assert decode(data, from_server=True).preferred_address == address


@pytest.mark.parametrize(
    "known",
    [
        Id.ORIGINAL_DESTINATION_CONNECTION_ID,
        Id.STATELESS_RESET_TOKEN,
        Id.PREFERRED_ADDRESS,
        Id.RETRY_SOURCE_CONNECTION_ID,
    ],
)
def test_server_only_parameters_from_a_client(known: ParameterId) -> None:
    (item,) = [item for item in parameters.to_items(EVERYTHING) if item[0] == known]
    assert "from a client" in refused(wire(item), from_server=False)


def test_version_information_of_a_client_offers_what_it_uses() -> None:
    data = parameters.encode(TransportParameters(version_information=VersionInformation(1, (0x6B3343CF,))))
    assert decode(data, from_server=True).version_information == VersionInformation(1, (0x6B3343CF,))
    assert "does not offer" in refused(data, from_server=False)


@pytest.mark.security
def test_unknown_parameters_are_bounded() -> None:
    many = wire(*((31 * n + 27, bytes(8)) for n in range(5000)), (Id.INITIAL_MAX_DATA, b"\x01"))
    params = decode(many, from_server=False)
    assert params.initial_max_data == 1
    assert len(params.unknown) == parameters.MAX_UNKNOWN
    large = decode(wire((27, bytes(4000)), (58, bytes(97)), (89, bytes(96))), from_server=False)
    assert [identifier for identifier, _ in large.unknown] == [27, 89]


# 0-RTT


def test_limits_that_0rtt_was_sent_under_may_only_grow() -> None:
    parameters.check_not_reduced(EVERYTHING, EVERYTHING)
    parameters.check_not_reduced(EVERYTHING, replace(EVERYTHING, initial_max_data=1 << 30, max_idle_timeout=0))
    for name in ("active_connection_id_limit", "initial_max_streams_uni", "initial_max_stream_data_bidi_remote"):
        with pytest.raises(TransportError, match=f"smaller {name}") as caught:
            parameters.check_not_reduced(EVERYTHING, replace(EVERYTHING, **{name: 2}))
        assert caught.value.code == TransportErrorCode.PROTOCOL_VIOLATION


# Bad input


def decode_or_none(data: bytes, from_server: bool) -> TransportParameters | None:
    """Decode, or get the one error there may be."""
    try:
        return decode(data, from_server=from_server)
    except TransportError as error:
        if error.code != TransportErrorCode.TRANSPORT_PARAMETER_ERROR:
            raise
        return None


@quick
@given(data=st.binary(max_size=200), from_server=st.booleans())
def test_random_bytes(data: bytes, from_server: bool) -> None:
    decode_or_none(data, from_server)


@quick
@given(
    items=st.lists(st.tuples(st.sampled_from([*ParameterId, 27, 58]), st.binary(max_size=60)), max_size=6),
    from_server=st.booleans(),
)
def test_random_values(items: list[tuple[int, bytes]], from_server: bool) -> None:
    params = decode_or_none(wire(*items), from_server)
    if params is not None:
        assert decode(parameters.encode(params), from_server=from_server) == params


@quick
@given(at=st.integers(0, len(parameters.encode(EVERYTHING)) - 1), value=st.integers(0, 255))
def test_one_changed_byte(at: int, value: int) -> None:
    data = bytearray(parameters.encode(EVERYTHING))
    data[at] = value
    decode_or_none(bytes(data), True)
