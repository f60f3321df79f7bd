"""What ``logging`` hears under ``specter``: beginnings, ends and the reasons; formatted only when heard; no secrets."""

from __future__ import annotations

import logging
import time

import pytest

import specter
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "specter")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("specter")]


def test_a_connection_from_its_beginning_to_its_end(
    server: Server, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    with make_client(server) as client:
        info = client.get("/bytes/1").connection
        client.get("/bytes/1")
        assert info is not None
    port = info.remote_address[1]
    negotiated = f"{info.quic_version}, {info.cipher_suite}, {info.key_exchange}, h3"
    assert said(caplog) == [
        f"connecting to 127.0.0.1 at 127.0.0.1 port {port}",
        f"connected to 127.0.0.1 at 127.0.0.1 port {port}: {negotiated}",
        "the connection to 127.0.0.1 is over: the client closed the connection to 127.0.0.1",
    ]


def test_the_server_goes_away(server: Server, make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    client = make_client(server)
    client.get("/goaway")
    end = time.monotonic() + 2
    while client.get("/bytes/1").timing.reused and time.monotonic() < end:
        pass
    assert "127.0.0.1 takes no new requests (GOAWAY)" in said(caplog)
    assert sum(line.startswith("connected to") for line in said(caplog)) == 2


def test_a_request_that_is_sent_again_says_why(
    start_server: StartServer, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    server.call(lambda endpoint: [peer.connection.close(0, "restart") for peer in endpoint.peers])
    time.sleep(0.2)  # it is done soon, not at once
    assert client.get("/bytes/1?token=s3cret").status_code == 200
    assert any("is over: 127.0.0.1 closed the connection" in line for line in said(caplog))
    assert not any("s3cret" in line for line in said(caplog))


def test_a_failed_attempt_says_why(caplog: pytest.LogCaptureFixture, server: Server) -> None:
    with pytest.raises(specter.ConnectError), specter.Client(verify=server.ca_file, timeout=5) as client:
        client.get("https://127.0.0.1:1/")
    assert any(line.startswith("no connection to 127.0.0.1 at 127.0.0.1: ") for line in said(caplog))


def test_no_secrets(server: Server, make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    client = make_client(server, headers={"authorization": "Bearer s3cret", "cookie": "s3cret"})
    client.post("/echo?key=s3cret", content=b"s3cret")
    client.close()
    assert said(caplog)
    assert not any("s3cret" in line for line in said(caplog))


def test_formatting_waits_until_somebody_listens(
    server: Server, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    with make_client(server) as client:
        client.get("/bytes/1")
    records = [record for record in caplog.records if record.name.startswith("specter")]
    assert records
    assert all(record.args for record in records)
