"""Sessions resumed and requests in early data, through the client's public face."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import specter
from specter.net.inline import run_inline
from specter.net.sessions import SessionCache
from specter.quic.config import QuicConfig
from specter.testing.certificates import CertificateAuthority
from specter.testing.messages import Reply, Request
from specter.testing.server import Server
from tests.client.support import MakeClient, StartServer

ROOT = Path(__file__).parents[2]


def drop_connections(client: specter.Client) -> None:
    """Close the client's connections, as idle timeouts and restarts do."""

    async def drop() -> None:
        for origin, connection in client.pool._connections.every():
            client.pool.discard(origin, connection)

    runner = getattr(client, "_runner", None)
    if runner is None:
        run_inline(drop())
    else:
        runner.run(drop())


def revisit(client: specter.Client, path: str = "/headers", method: str = "GET", **options: Any) -> specter.Response:
    """Make a request over a new connection."""
    drop_connections(client)
    return client.request(method, path, **options)


def facts(response: specter.Response) -> tuple[bool, str | None]:
    assert response.connection is not None
    return response.connection.resumed, response.early_data


class Counting:
    """A handler that keeps the requests it sees; each is whether it came early."""

    def __init__(self, status: int = 0) -> None:
        self.seen: list[bool] = []
        self.status = status

    def __call__(self, request: Request) -> Reply | None:
        self.seen.append(request.early_data)
        return Reply(self.status, body=b"") if self.status else None


# -- resumption ---------------------------------------------------------------------------------------


def test_a_second_connection_resumes_the_first(client: specter.Client) -> None:
    first = client.get("/bytes/10")
    second = revisit(client)
    assert facts(first) == (False, None)
    assert facts(second) == (True, None)
    assert second.connection is not None
    assert first.connection is not None
    assert second.connection.peer_certificates == first.connection.peer_certificates != ()
    assert second.json()["early_data"] is False
    assert facts(revisit(client, "/echo", "POST", content=b"x")) == (True, None)


def test_clients_do_not_share_by_themselves(server: Server, make_client: MakeClient) -> None:
    make_client(server).get("/bytes/1")
    assert facts(make_client(server).get("/bytes/1")) == (False, None)


def test_switched_off(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, session_cache=False)
    client.get("/bytes/1")
    assert facts(revisit(client)) == (False, None)


def test_a_shared_cache(server: Server, make_client: MakeClient) -> None:
    cache = specter.SessionCache()
    with specter.Client(verify=server.ca_file, session_cache=cache) as client:
        client.get(server.url + "/bytes/1")
    assert facts(make_client(server, session_cache=cache).get("/bytes/1")) == (True, None)
    assert facts(specter.get(server.url + "/bytes/1", verify=server.ca_file, session_cache=cache)) == (True, None)


def test_a_server_that_gives_no_tickets(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(resumption=False))
    client.get("/bytes/1")
    assert facts(revisit(client)) == (False, None)


def test_a_server_that_forgot_its_tickets(start_server: StartServer, make_client: MakeClient) -> None:
    authority = CertificateAuthority()
    credential = authority.issue("127.0.0.1")
    first = start_server(credential=credential)
    client = make_client(first, verify=[authority.certificate], early_data=True)
    client.get("/bytes/1")
    first.stop()
    start_server(credential=credential, port=first.port)
    response = revisit(client)
    assert facts(response) == (False, "rejected")
    assert response.json()["early_data"] is False


def test_a_restarted_server_takes_its_tickets_back(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    client = make_client(server)
    client.get("/bytes/1")
    server.stop()
    server.start()
    assert facts(revisit(client)) == (True, None)


def test_retry(start_server: StartServer, make_client: MakeClient) -> None:
    client = make_client(start_server(retry=True), early_data=True)
    client.get("/bytes/1")
    client.pool._dialer.tokens._tokens.clear()
    response = revisit(client)
    assert facts(response) == (True, "accepted")
    assert response.json()["early_data"] is True


# -- whom to trust ------------------------------------------------------------------------------------


@pytest.mark.security
def test_a_session_is_no_way_around_verification(server: Server) -> None:
    """What a client that verifies nothing has learnt is nothing to one that does, and the other way round."""
    cache = SessionCache()
    with pytest.warns(specter.InsecureWarning):
        assert specter.get(server.url + "/bytes/1", verify=False, session_cache=cache).is_success
    assert len(cache) == 2
    with pytest.raises(specter.CertificateError):
        specter.get(server.url + "/bytes/1", session_cache=cache)
    response = specter.get(server.url + "/bytes/1", verify=server.ca_file, session_cache=cache)
    assert facts(response) == (False, None)
    other = CertificateAuthority("Another authority")
    with pytest.raises(specter.CertificateError):
        specter.get(server.url + "/bytes/1", verify=[other.certificate], session_cache=cache)
    with pytest.warns(specter.InsecureWarning):
        assert facts(specter.get(server.url + "/bytes/1", verify=False, session_cache=cache)) == (True, None)


@pytest.mark.security
def test_a_session_is_good_for_its_name_only(start_server: StartServer) -> None:
    """The certificate does not name the other host, however well the server is known."""
    authority = CertificateAuthority()
    server = start_server(credential=authority.issue("a.example"))
    resolve = {"a.example": "127.0.0.1", "b.example": "127.0.0.1"}
    with specter.Client(verify=[authority.certificate], resolve=resolve, early_data=True) as client:
        client.get(f"https://a.example:{server.port}/bytes/1")
        with pytest.raises(specter.CertificateError) as caught:
            client.get(f"https://b.example:{server.port}/bytes/1")
    assert (caught.value.check, caught.value.name) == ("name", "b.example")


@pytest.mark.security
def test_a_session_does_not_outlive_the_certificate(server: Server, make_client: MakeClient) -> None:
    now = [time.time_ns() // 1_000_000]
    cache = SessionCache(clock=lambda: now[0])
    client = make_client(server, session_cache=cache)
    client.get("/bytes/1")
    ((session, *_),) = cache._sessions.values()
    expiry = server.credential.chain[0].not_valid_after_utc.timestamp()
    assert session.not_after == int(expiry)
    now[0] = int(expiry * 1000) + 1000
    assert facts(revisit(client)) == (False, None)


@pytest.mark.security
def test_whoever_takes_the_servers_place_has_to_show_a_certificate(
    start_server: StartServer, make_client: MakeClient
) -> None:
    first = start_server()
    client = make_client(first, early_data=True)
    client.get("/bytes/1")
    first.stop()
    counting = Counting()
    start_server(counting, port=first.port)
    drop_connections(client)
    with pytest.raises(specter.CertificateError) as caught:
        client.get("/headers")
    assert caught.value.check in ("chain", "signature")
    assert counting.seen == []


@pytest.mark.security
def test_a_ticket_that_comes_after_its_request_is_gone(server: Server, make_client: MakeClient) -> None:
    """curl CVE-2021-22901: what keeps tickets does not hang on the request that opened the connection."""
    client = make_client(server)
    with client.stream("GET", "/bytes/100000") as response:
        connection = client.pool._connections[response.url.origin]
        keep, kept = connection._exchanges.on_session, []
        connection._exchanges.on_session = kept.append  # the tickets are late
    response.close()
    del response
    gc.collect()
    connection._exchanges.on_session = keep
    client.get("/bytes/1")
    assert keep is not None
    for session in kept:
        keep(session)
    assert client.pool._dialer.sessions is not None
    assert len(client.pool._dialer.sessions) == 2
    assert facts(revisit(client)) == (True, None)


def test_tickets_that_nobody_waited_for_are_kept_at_the_end(server: Server, make_client: MakeClient) -> None:
    """An early response comes before the server has the handshake's end, so before the next tickets."""
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    for _ in range(6):
        response = revisit(client)
        assert facts(response) == (True, "accepted")
        time.sleep(0.05)


def test_the_log_tells(server: Server, make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "specter")
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    revisit(client)
    revisit(client, method="POST")
    revisit(client, "/too-early")
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("connected")]
    ends = [line.rpartition("h3")[2] for line in told]
    assert ends == ["", ", resumed, early data accepted", ", resumed", ", resumed, early data accepted"]
    assert any(record.getMessage().endswith("/too-early was too early") for record in caplog.records)
    assert "ticket" not in caplog.text.lower()


# -- early data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_early_data(server: Server, make_client: MakeClient, method: str) -> None:
    client = make_client(server, early_data=True)
    assert facts(client.get("/bytes/1")) == (False, None)
    response = revisit(client, "/headers", method)
    assert facts(response) == (True, "accepted")
    if method == "GET":
        assert response.json()["early_data"] is True
    assert facts(client.request(method, "/headers")) == (True, None), "the connection was there"


@pytest.mark.security
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("POST", {"content": b"x"}),
        ("POST", {}),
        ("PUT", {"content": b"x"}),
        ("PATCH", {"content": b"x"}),
        ("DELETE", {}),
        ("GET", {"content": b"a body"}),
        ("PURGE", {}),
    ],
)
def test_what_is_not_safe_to_replay_waits(
    start_server: StartServer, make_client: MakeClient, method: str, options: dict[str, Any]
) -> None:
    counting = Counting(status=200)
    client = make_client(start_server(counting), early_data=True)
    client.get("/bytes/1")
    assert facts(revisit(client, "/x", method, **options)) == (True, None)
    assert counting.seen == [False, False]


def test_early_data_is_off_by_default(start_server: StartServer, make_client: MakeClient) -> None:
    counting = Counting()
    client = make_client(start_server(counting))
    client.get("/bytes/1")
    assert facts(revisit(client)) == (True, None)
    assert counting.seen == [False, False]


def test_rejected_early_data_is_sent_again_once(start_server: StartServer, make_client: MakeClient) -> None:
    counting = Counting()
    server = start_server(counting)
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    assert server.tls.tickets is not None
    server.tls.tickets.early_data = False
    response = revisit(client, "/bytes/70000")
    assert facts(response) == (True, "rejected")
    assert len(response.content) == 70_000
    assert counting.seen == [False, False]
    assert server.endpoint is not None
    assert server.endpoint.stats.accepted == 2, "over the same connection"


def test_early_data_rejected_for_other_limits(start_server: StartServer, make_client: MakeClient) -> None:
    """Fewer streams than the client was told before: it has to wait for its turn after the rejection."""
    server = start_server(config=QuicConfig(max_streams_bidi=100))
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    server.stop()
    server.config = QuicConfig(max_streams_bidi=1)
    server.start()
    assert facts(revisit(client)) == (True, "rejected")
    assert client.get("/bytes/5").content


def test_too_early(server: Server, make_client: MakeClient) -> None:
    """RFC 8470, section 5.2."""
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    response = revisit(client, "/too-early")
    assert (response.status_code, response.text) == (200, "in time\n")
    assert facts(response) == (True, "rejected")


def test_too_early_is_not_asked_again_for_ever(start_server: StartServer, make_client: MakeClient) -> None:
    counting = Counting(status=425)
    client = make_client(start_server(counting), early_data=True)
    assert client.get("/").status_code == 425
    response = revisit(client, "/")
    assert response.status_code == 425
    assert facts(response) == (True, "rejected")
    assert counting.seen == [False, True, False]


def test_a_large_early_response(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    response = revisit(client, "/bytes/3000000")
    assert len(response.content) == 3_000_000
    assert facts(response) == (True, "accepted")


def test_an_early_request_that_is_too_large_waits(start_server: StartServer, make_client: MakeClient) -> None:
    """What the server's settings did not allow then, it may allow now; if not, the error is the usual one."""
    from specter.h3.config import H3Config

    client = make_client(start_server(h3_config=H3Config(max_field_section_size=1_000)), early_data=True)
    client.get("/bytes/1")
    with pytest.raises(specter.LocalProtocolError, match="the peer takes 1000"):
        revisit(client, headers={"x-large": "y" * 1_000})
    assert facts(revisit(client)) == (True, "accepted")


def test_an_early_request_while_others_want_the_same_server(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    drop_connections(client)
    results: list[specter.Response] = []
    threads = [threading.Thread(target=lambda: results.append(client.get("/headers"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(results) == 8
    early = [response for response in results if response.early_data is not None]
    assert len(early) == 1, "the one that dialled"
    assert [response.json()["early_data"] for response in early] == [True]
    assert len({response.connection.local_address for response in results if response.connection}) == 1


def test_streamed_early_responses(server: Server, make_client: MakeClient) -> None:
    client = make_client(server, early_data=True)
    client.get("/bytes/1")
    drop_connections(client)
    with client.stream("GET", "/bytes/200000") as response:
        assert response.early_data == "accepted"
        assert sum(map(len, response.iter_bytes())) == 200_000
    drop_connections(client)
    with client.stream("GET", "/bytes/200000") as response:
        assert next(response.iter_bytes())  # and leave in the middle
    assert client.get("/bytes/3").content


def test_connections_raced_do_not_share_a_ticket(server: Server, make_client: MakeClient) -> None:
    """The first address does not answer: the second one is tried with another ticket."""
    cache = SessionCache()
    resolve = {"localhost": ["127.0.0.1"]}
    client = make_client(server, session_cache=cache, resolve=resolve, base_url=f"https://localhost:{server.port}")
    client.get("/bytes/1")
    assert len(cache) == 2
    slow = make_client(
        server,
        session_cache=cache,
        early_data=True,
        resolve={"localhost": ["192.0.2.1", "127.0.0.1"]},
        base_url=f"https://localhost:{server.port}",
    )
    response = slow.get("/headers")
    assert facts(response) == (True, "accepted")


# -- the file -----------------------------------------------------------------------------------------


def test_a_file_carries_sessions_from_one_process_to_the_next(server: Server, tmp_path: Path) -> None:
    script = (
        "import sys, specter\n"
        "cache = specter.SessionCache(sys.argv[2])\n"
        "response = specter.get(sys.argv[1] + '/headers', verify=sys.argv[3], session_cache=cache, early_data=True)\n"
        "print(response.connection.resumed, response.early_data)\n"
    )
    arguments = [server.url, str(tmp_path / "sessions.json"), server.ca_file]
    told = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for _ in range(3)
    ]
    assert told == ["False None", "True accepted", "True accepted"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_leaves_its_parents_tickets_alone(client: specter.Client) -> None:
    client.get("/bytes/1")
    child = os.fork()
    if not child:
        sessions = client.pool._dialer.sessions
        os._exit(0 if sessions is not None and len(sessions) == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert facts(revisit(client)) == (True, None)
