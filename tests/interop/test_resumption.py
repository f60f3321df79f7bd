"""Sessions resumed and early data with servers that others wrote."""

from __future__ import annotations

import signal

import pytest

import specter
from specter.quic.config import QuicConfig
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.content import content
from tests.interop.conftest import MakeServer
from tests.interop.harness import ServerProcess

pytestmark = pytest.mark.interop

V2 = QuicConfig(versions=(QUIC_V2,))


def make_client(server: ServerProcess, *, early_data: bool = True, quic: QuicConfig | None = None) -> specter.Client:
    resolve = {"localhost": server.host}
    return specter.Client(
        verify=server.authority, resolve=resolve, timeout=20, base_url=server.url, early_data=early_data, quic=quic
    )


def drop_connections(client: specter.Client) -> None:
    for origin, connection in client.pool._connections.every():
        client.pool.discard(origin, connection)


def visit(client: specter.Client, path: str = "/bytes/1000000") -> specter.Response:
    """Fetch over a new connection; what comes after the response, tickets among it, is waited for with another one."""
    drop_connections(client)
    response = client.get(path)
    client.post("/echo", content=b"x").raise_for_status()
    return response


def resumed(response: specter.Response) -> bool:
    assert response.connection is not None
    return response.connection.resumed


@pytest.fixture
def own(make_server: MakeServer, kind: str) -> ServerProcess:
    """A server of the test's own that gives out tickets."""
    return make_server(kind, tickets=True)


def test_resumption(own: ServerProcess) -> None:
    with make_client(own, early_data=False) as client:
        first = visit(client)
        for _ in range(3):
            again = visit(client)
            assert resumed(again)
            assert again.early_data is None
            assert again.content == content(0, 1_000_000)
            assert first.connection is not None
            assert again.connection is not None
            assert again.connection.peer_certificates == first.connection.peer_certificates
        assert not resumed(first)


def test_early_data_accepted(own: ServerProcess, kind: str) -> None:
    with make_client(own) as client:
        assert visit(client).early_data is None
        for _ in range(3):
            again = visit(client)
            assert (resumed(again), again.early_data) == (True, "accepted")
            assert again.content == content(0, 1_000_000)
        if kind == "aioquic":
            assert visit(client, "/early").text == "yes"


def test_early_data_rejected(own: ServerProcess) -> None:
    """The server has forgotten the key of its tickets."""
    with make_client(own) as client:
        visit(client)
        own.restart(signal.SIGKILL)
        again = visit(client)
        assert (resumed(again), again.early_data) == (False, "rejected")
        assert again.content == content(0, 1_000_000)
        again = visit(client)
        assert (resumed(again), again.early_data) == (True, "accepted")


@pytest.mark.security
def test_tickets_are_for_those_who_trust_the_same(own: ServerProcess) -> None:
    cache = specter.SessionCache()
    options = {"verify": own.authority, "resolve": {"localhost": own.host}, "session_cache": cache}
    assert specter.get(own.url + "/bytes/1", **options).is_success  # type: ignore[arg-type]
    tickets = len(cache)
    assert tickets
    with pytest.raises(specter.CertificateError):
        specter.get(own.url + "/bytes/1", resolve={"localhost": own.host}, session_cache=cache)
    assert len(cache) == tickets


def test_early_data_after_retry(make_server: MakeServer) -> None:
    server = make_server("aioquic", tickets=True, retry=True)
    with make_client(server) as client:
        visit(client)
        client.pool._dialer.tokens._tokens.clear()
        assert visit(client, "/early").text == "yes"
        client.pool._dialer.tokens._tokens.clear()
        again = visit(client)
        assert (resumed(again), again.early_data) == (True, "accepted")
        assert again.content == content(0, 1_000_000)


def test_early_data_in_version_2(make_server: MakeServer) -> None:
    server = make_server("aioquic", tickets=True, versions=f"{QUIC_V1:x},{QUIC_V2:x}")
    with make_client(server, quic=V2) as client:
        visit(client)
        again = visit(client, "/early")
        assert again.text == "yes"
        assert again.connection is not None
        assert again.connection.quic_version == "QUICv2"
