"""QUIC version 2 and version negotiation with servers that others wrote."""

from __future__ import annotations

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.content import content
from tests.interop.conftest import MakeServer
from tests.interop.harness import ServerProcess

pytestmark = pytest.mark.interop

V1, V2 = f"{QUIC_V1:x}", f"{QUIC_V2:x}"
LIKES_V2 = QuicConfig(versions=(QUIC_V2, QUIC_V1))
STARTS_V2 = QuicConfig(versions=(QUIC_V2, QUIC_V1), original_version=QUIC_V2)


def fetch(server: ServerProcess, quic: QuicConfig) -> specter.Response:
    resolve = {"localhost": server.host}
    with specter.Client(verify=server.authority, resolve=resolve, timeout=10, quic=quic) as client:
        response = client.get(f"{server.url}/bytes/1000000")
    assert response.content == content(0, 1_000_000)
    return response


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize(
    ("quic", "versions", "expected"),
    [
        (QuicConfig(), f"{V1},{V2}", "QUICv1"),
        (LIKES_V2, f"{V1},{V2}", "QUICv2"),
        (QuicConfig(original_version=QUIC_V2), f"{V1},{V2}", "QUICv1"),
        (STARTS_V2, f"{V1},{V2}", "QUICv2"),
        (QuicConfig(), V2, "QUICv2"),
        (STARTS_V2, V1, "QUICv1"),
    ],
)
def test_aioquic(make_server: MakeServer, quic: QuicConfig, versions: str, expected: str, retry: bool) -> None:
    server = make_server("aioquic", versions=versions, retry=retry)
    response = fetch(server, quic)
    assert response.connection is not None
    assert response.connection.quic_version == expected


def test_no_version_in_common(make_server: MakeServer) -> None:
    server = make_server("aioquic", versions=V1)
    with pytest.raises(specter.HandshakeError, match="speaks only QUIC versions 0x00000001"):
        fetch(server, QuicConfig(versions=(QUIC_V2,)))


@pytest.mark.parametrize(
    ("quic", "expected"),
    [
        (QuicConfig(), {"QUICv1"}),
        (LIKES_V2, {"QUICv1"}),
        (STARTS_V2, {"QUICv1", "QUICv2"}),  # Caddy 2.6 answers with Version Negotiation, later ones speak version 2
    ],
)
def test_caddy(make_server: MakeServer, quic: QuicConfig, expected: set[str]) -> None:
    response = fetch(make_server("caddy"), quic)
    assert response.connection is not None
    assert response.connection.quic_version in expected
