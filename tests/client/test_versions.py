"""QUIC version 2 through the client's public face."""

from __future__ import annotations

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.quic.packet import QUIC_V1, QUIC_V2
from tests.client.support import MakeClient, StartServer


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (QuicConfig(), QuicConfig(), "QUICv1"),
        (QuicConfig(), QuicConfig(preferred_version=QUIC_V2), "QUICv2"),
        (QuicConfig(versions=(QUIC_V2, QUIC_V1)), QuicConfig(), "QUICv2"),
        (QuicConfig(), QuicConfig(versions=(QUIC_V2,)), "QUICv2"),
        (QuicConfig(original_version=QUIC_V2), QuicConfig(versions=(QUIC_V1,)), "QUICv1"),
    ],
)
@pytest.mark.parametrize("retry", [False, True])
def test_the_version_both_sides_agree_on(
    ours: QuicConfig,
    theirs: QuicConfig,
    expected: str,
    retry: bool,
    start_server: StartServer,
    make_client: MakeClient,
) -> None:
    client = make_client(start_server(config=theirs, retry=retry), quic=ours)
    for path, size in (("/bytes/200000", 200_000), ("/bytes/1", 1)):
        response = client.get(path)
        assert len(response.content) == size
        assert response.connection is not None
        assert response.connection.quic_version == expected


def test_no_version_in_common(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server(config=QuicConfig(versions=(QUIC_V1,)))
    client = make_client(server, quic=QuicConfig(versions=(QUIC_V2,)))
    with pytest.raises(specter.HandshakeError, match="speaks only QUIC versions 0x00000001"):
        client.get("/bytes/1")
