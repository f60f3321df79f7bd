"""QUIC version 2 through the client's public face."""

from __future__ import annotations

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing import Server
from tests.client.support import MakeClient, StartServer
from tests.client.test_resumption import facts, revisit

MOVES_TO_V2 = QuicConfig(preferred_version=QUIC_V2)


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


def version_of(response: specter.Response) -> str:
    assert response.connection is not None
    return response.connection.quic_version


@pytest.mark.parametrize("early_data", [False, True])
def test_a_session_of_version_2_is_resumed_in_version_2(
    early_data: bool, start_server: StartServer, make_client: MakeClient
) -> None:
    """The client begins in version 1 where it knows nothing; the session it gets is good for version 2 only."""
    client = make_client(start_server(config=MOVES_TO_V2), early_data=early_data)
    first = client.get("/bytes/10")
    second = revisit(client)
    assert [version_of(first), version_of(second)] == ["QUICv2", "QUICv2"]
    assert [facts(first), facts(second)] == [(False, None), (True, "accepted" if early_data else None)]


def test_who_insists_on_a_version_resumes_in_no_other(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(config=MOVES_TO_V2), quic=QuicConfig(original_version=QUIC_V1))
    assert facts(client.get("/bytes/10")) == (False, None)
    again = revisit(client)
    assert (version_of(again), facts(again)) == ("QUICv2", (False, None))


@pytest.mark.parametrize("early_data", [False, True])
def test_a_server_that_speaks_version_2_no_more(
    early_data: bool, start_server: StartServer, make_client: MakeClient
) -> None:
    """The session's version is answered with Version Negotiation: the client starts over, without the session."""
    server = start_server(config=MOVES_TO_V2)
    client = make_client(server, early_data=early_data)
    assert version_of(client.get("/bytes/10")) == "QUICv2"
    server.stop()
    with Server(port=server.port, credential=server.credential, config=QuicConfig(versions=(QUIC_V1,))):
        again = revisit(client)
        assert (version_of(again), again.status_code) == ("QUICv1", 200)
        assert facts(again)[0] is False
