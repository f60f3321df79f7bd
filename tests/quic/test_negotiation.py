"""Version information in transport parameters: what each side says, and what it takes from the other (RFC 9368)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from specter._backend import batch as batches
from specter.quic.config import QuicConfig
from specter.quic.events import CloseKind, ConnectionClosed
from specter.quic.handshake import Handshake
from specter.quic.packet import QUIC_V1, QUIC_V2, encode_version_negotiation, parse_header
from specter.quic.parameters import TransportParameters, VersionInformation
from tests.quic.support import Pair

BOTH = (QUIC_V1, QUIC_V2)
GREASE = 0x0A1A2A3A
LIKES_V2 = QuicConfig(versions=(QUIC_V2, QUIC_V1))
VERSION_NEGOTIATION_ERROR = 0x11
TRANSPORT_PARAMETER_ERROR = 0x08

Forge = Callable[[str, object], None]


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    """Return a function that makes the client or the server send this version information instead of its own."""
    real = Handshake._local_parameters

    def use(role: str, information: object) -> None:
        def forged(self: Handshake) -> TransportParameters:
            made = real(self)
            return (
                replace(made, version_information=information) if self._core.is_client == (role == "client") else made
            )

        monkeypatch.setattr(Handshake, "_local_parameters", forged)

    return use


def refusal(pair: Pair, side: str) -> ConnectionClosed:
    """Run until ``side`` closed the connection."""

    def closed() -> list[Any]:
        return [event for event in pair.events[side] if isinstance(event, ConnectionClosed)]

    pair.run(lambda: bool(closed()))
    (event,) = closed()
    assert event.kind is CloseKind.LOCAL
    return event


def restart(pair: Pair, *versions: int) -> None:
    """Let the client act on a Version Negotiation packet before its first flight arrives anywhere."""
    pair.flush(pair.client, True)
    header = parse_header(pair.wire[0][2], 0, len(pair.wire[0][2]), 8)
    pair.wire.clear()
    batch = batches.ReceiveBatch()
    batch.append(encode_version_negotiation(header.dcid, header.scid, versions))
    pair.client.receive(batch, pair.now)


@pytest.mark.parametrize(
    ("client", "server", "told"),
    [
        (QuicConfig(), QuicConfig(), (QUIC_V1, QUIC_V1)),
        (LIKES_V2, QuicConfig(), (QUIC_V1, QUIC_V2)),
        (QuicConfig(original_version=QUIC_V2), QuicConfig(), (QUIC_V2, QUIC_V1)),
    ],
)
def test_both_sides_tell_what_they_chose_and_what_they_speak(
    client: QuicConfig, server: QuicConfig, told: tuple[int, int]
) -> None:
    pair = Pair(client, server)
    pair.handshake()
    assert pair.server is not None
    ours, theirs = pair.client._core.local_parameters, pair.client._core.peer_parameters
    assert theirs is not None
    assert ours.version_information == VersionInformation(told[0], client.versions)
    assert theirs.version_information == VersionInformation(told[1], server.versions)
    assert pair.server._core.local_parameters.version_information == theirs.version_information


# -- what a client refuses ----------------------------------------------------------------------------


@pytest.mark.interpreted
@pytest.mark.security
@pytest.mark.parametrize(
    ("config", "information"),
    [
        (QuicConfig(), VersionInformation(QUIC_V2, BOTH)),
        (QuicConfig(), VersionInformation(GREASE, BOTH)),
        (LIKES_V2, VersionInformation(QUIC_V1, BOTH)),
        (LIKES_V2, None),
    ],
)
def test_a_server_that_does_not_confirm_its_version(config: QuicConfig, information: object, forge: Forge) -> None:
    forge("server", information)
    event = refusal(Pair(config), "client")
    assert event.error_code == VERSION_NEGOTIATION_ERROR


@pytest.mark.interpreted
@pytest.mark.parametrize("config", [QuicConfig(), QuicConfig(versions=(QUIC_V2,))])
def test_a_server_without_version_information(config: QuicConfig, forge: Forge) -> None:
    """Nothing was negotiated, so nothing needs to be confirmed (RFC 9368, section 4)."""
    forge("server", None)
    pair = Pair(config)
    pair.handshake()
    assert pair.client.version == config.first_version


@pytest.mark.interpreted
@pytest.mark.parametrize("available", [(), (QUIC_V1,), (GREASE, QUIC_V2)])
def test_what_else_a_server_speaks_counts_only_after_version_negotiation(
    available: tuple[int, ...], forge: Forge
) -> None:
    forge("server", VersionInformation(QUIC_V1, available))
    Pair().handshake()


# -- ... after a Version Negotiation packet -----------------------------------------------------------


@pytest.mark.interpreted
@pytest.mark.parametrize("information", [None, VersionInformation(QUIC_V1, (QUIC_V1,))])
def test_a_restart_in_version_1(information: object, forge: Forge) -> None:
    """A server of before RFC 9368 says nothing: section 8 takes that for version 1 alone."""
    forge("server", information)
    pair = Pair(QuicConfig(original_version=QUIC_V2))
    restart(pair, GREASE, QUIC_V1)
    pair.handshake()
    assert pair.client.version == QUIC_V1


@pytest.mark.interpreted
@pytest.mark.security
@pytest.mark.parametrize(
    "information",
    [
        None,
        VersionInformation(QUIC_V2, ()),
        VersionInformation(QUIC_V2, BOTH),
        VersionInformation(QUIC_V1, (QUIC_V2,)),
    ],
)
def test_a_restart_that_the_server_did_not_ask_for(information: object, forge: Forge) -> None:
    forge("server", information)
    pair = Pair(server_config=QuicConfig(versions=(QUIC_V2,)))
    restart(pair, QUIC_V2)
    event = refusal(pair, "client")
    assert event.error_code == VERSION_NEGOTIATION_ERROR


@pytest.mark.interpreted
def test_a_restart_with_versions_of_others_about(forge: Forge) -> None:
    forge("server", VersionInformation(QUIC_V2, (GREASE, QUIC_V2)))
    pair = Pair(server_config=QuicConfig(versions=(QUIC_V2,)))
    restart(pair, GREASE, QUIC_V2)
    pair.handshake()
    assert pair.client.version == QUIC_V2


def test_a_restart_then_compatible_negotiation() -> None:
    """A server may say it takes version 2 only and then choose version 1; the client would have tried that first."""
    pair = Pair(server_config=QuicConfig(preferred_version=QUIC_V1))
    restart(pair, QUIC_V2)
    assert refusal(pair, "client").error_code == VERSION_NEGOTIATION_ERROR


@pytest.mark.interpreted
def test_a_restart_forgets_the_token_and_keeps_nothing_of_the_first_flight() -> None:
    pair = Pair(server_config=QuicConfig(versions=(QUIC_V2,)))
    pair.client._core.token = b"of version 1"
    first = pair.client.tls
    original = pair.client._core.remote_cids.current
    restart(pair, QUIC_V2)
    assert pair.client.tls is not first
    assert pair.client.stats.bytes_in_flight == 0
    pair.flush(pair.client, True)
    header = parse_header(pair.wire[0][2], 0, len(pair.wire[0][2]), 8)
    assert (header.version, header.token) == (QUIC_V2, b"")
    assert header.dcid != original
    pair.handshake()


# -- what a server refuses ----------------------------------------------------------------------------


@pytest.mark.interpreted
@pytest.mark.security
def test_a_client_whose_packets_are_of_another_version_than_it_says(forge: Forge) -> None:
    forge("client", VersionInformation(QUIC_V2, BOTH))
    pair = Pair()
    assert refusal(pair, "server").error_code == VERSION_NEGOTIATION_ERROR


@pytest.mark.interpreted
def test_a_client_without_version_information(forge: Forge) -> None:
    forge("client", None)
    pair = Pair(server_config=QuicConfig(preferred_version=QUIC_V2))
    pair.handshake()
    assert pair.client.version == QUIC_V1


@pytest.mark.interpreted
@pytest.mark.parametrize("preferred", [None, QUIC_V2])
def test_a_server_takes_nothing_that_was_not_offered(preferred: int | None, forge: Forge) -> None:
    forge("client", VersionInformation(QUIC_V1, (GREASE, 0x709A50C4, QUIC_V1)))
    pair = Pair(server_config=QuicConfig(preferred_version=preferred))
    pair.handshake()
    assert pair.client.version == QUIC_V1


@pytest.mark.interpreted
@pytest.mark.security
@pytest.mark.parametrize("sender", ["client", "server"])
@pytest.mark.parametrize("value", [b"", b"\0\0\0", bytes(4), b"\0\0\0\1\0\0\0\0", b"\0\0\0\1\0"])
def test_malformed_version_information(sender: str, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Handshake._encode_parameters

    def encode(self: Handshake) -> bytes:
        encoded = real(self)
        if self._core.is_client is not (sender == "client"):
            return encoded
        start = encoded.index(b"\x11\x0c")
        return encoded[:start] + bytes([0x11, len(value)]) + value + encoded[start + 14 :]

    monkeypatch.setattr(Handshake, "_encode_parameters", encode)
    event = refusal(Pair(), "server" if sender == "client" else "client")
    assert event.error_code == TRANSPORT_PARAMETER_ERROR


# -- configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"versions": ()},
        {"versions": (QUIC_V1, QUIC_V1)},
        {"versions": (GREASE,)},
        {"versions": (QUIC_V1,), "original_version": QUIC_V2},
        {"versions": (QUIC_V2,), "preferred_version": QUIC_V1},
    ],
)
def test_versions_that_cannot_be_configured(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="version"):
        QuicConfig(**wrong)


@pytest.mark.parametrize(
    ("config", "first"),
    [
        (QuicConfig(), QUIC_V1),
        (LIKES_V2, QUIC_V1),
        (QuicConfig(versions=(QUIC_V2,)), QUIC_V2),
        (QuicConfig(original_version=QUIC_V2), QUIC_V2),
    ],
)
def test_the_first_flight_is_of_the_version_that_most_servers_know(config: QuicConfig, first: int) -> None:
    assert config.first_version == first
