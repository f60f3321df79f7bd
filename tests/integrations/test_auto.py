"""``http3="auto"``: from TCP to HTTP/3 when the origin offers it, and back when it does not work."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import warnings
from typing import Any

import pytest

import specter
from specter.client.url import Origin
from specter.integrations._race import Dial
from specter.integrations.httpx import Outcome, Reason
from specter.net import clock
from specter.testing.messages import Reply, Request
from specter.testing.server import Server
from tests.integrations.support import Kit, Make, Relay
from tests.net.name_server import NameServer


def offer(port: int, more: str = "") -> list[tuple[str, str]]:
    return [("Alt-Svc", f'h3=":{port}"; ma=3600{more}')]


def outcome(response: Any) -> Outcome:
    found: Outcome = response.extensions["specter"]
    return found


def reason(response: Any) -> Reason:
    return outcome(response).reason


# -- moving to HTTP/3 -------------------------------------------------------------------------------


def test_it_starts_on_tcp_and_moves_to_http3(make_client: Make, make_tcp: Make, server: Server) -> None:
    tcp = make_tcp(fields=offer(server.port))
    client = make_client()
    responses = [client.get(f"{tcp.url}/bytes/5") for _ in range(3)]
    assert [r.http_version for r in responses] == ["HTTP/1.1", "HTTP/3", "HTTP/3"]
    assert [reason(r) for r in responses] == [Reason.NOT_OFFERED, Reason.FOUND, Reason.REUSED]
    assert [len(r.content) for r in responses] == [8, 5, 5]
    told = outcome(responses[1])
    assert (told.http_version, told.detail, told.via) == ("HTTP/3", "Alt-Svc", f"localhost:{server.port}")
    assert told.connection is not None
    assert told.connection.remote_address == ("127.0.0.1", server.port)
    assert responses[1].extensions["http_version"] == b"HTTP/3"
    assert len(tcp.seen) == 1


def test_the_request_stays_the_origins(make_client: Make, make_tcp: Make, server: Server) -> None:
    tcp = make_tcp(fields=offer(server.port))
    client = make_client()
    client.get(tcp.url)
    said = client.get(f"{tcp.url}/headers?a=b").json()
    assert said["authority"] == f"localhost:{tcp.port}"
    assert said["target"] == "/headers?a=b"
    assert ["alt-used", f"localhost:{server.port}"] in said["headers"]
    names = {name for name, _ in said["headers"]}
    assert names.isdisjoint({"connection", "host", "transfer-encoding"})


def test_http_urls_stay_on_tcp(make_client: Make, make_tcp: Make, server: Server) -> None:
    tcp = make_tcp(None, fields=offer(server.port))
    client = make_client()
    for _ in range(2):
        response = client.get(tcp.url)
        assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.NOT_HTTPS)


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"connection": "upgrade", "upgrade": "websocket"}},
        {"extensions": {"sni_hostname": "localhost"}},
    ],
)
def test_what_http3_does_not_do_stays_on_tcp(
    make_client: Make, make_tcp: Make, server: Server, options: dict[str, Any]
) -> None:
    tcp = make_tcp(fields=offer(server.port))
    client = make_client()
    client.get(tcp.url)
    response = client.get(tcp.url, **options)
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.UNSUPPORTED)


def test_clear_takes_it_back(make_client: Make, make_tcp: Make, make_server: Make) -> None:
    alternative = make_server(lambda _request: Reply(200, [("alt-svc", "clear")]))
    tcp = make_tcp(fields=offer(alternative.port))
    client = make_client()
    client.get(tcp.url)
    tcp.fields = []
    assert client.get(tcp.url).http_version == "HTTP/3"
    response = client.get(tcp.url)
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.NOT_OFFERED)


@pytest.mark.security
def test_who_is_not_authenticated_is_not_heard(kit: Kit, make_tcp: Make, server: Server) -> None:
    tcp = make_tcp(fields=offer(server.port))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", specter.InsecureWarning)
        transport = kit.Transport(verify=False, resolve={"localhost": "127.0.0.1"})
    with kit.client(transport) as client:
        client.get(tcp.url)
        assert client.get(tcp.url).http_version == "HTTP/1.1"


@pytest.mark.security
def test_an_alternative_without_the_origins_certificate_gets_nothing(
    make_client: Make, make_tcp: Make, make_server: Make, authority: Any
) -> None:
    seen: list[Request] = []
    impostor = make_server(lambda request: seen.append(request), credential=authority.issue("other.test"))
    tcp = make_tcp(fields=offer(impostor.port))
    client = make_client()
    client.get(tcp.url)
    response = client.get(tcp.url, headers={"authorization": "secret"})
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.FAILED)
    assert "certificate" in outcome(response).detail
    assert reason(client.get(tcp.url)) is Reason.BROKEN
    assert seen == []


def test_records_save_the_first_request_over_tcp(
    make_client: Make, make_tcp: Make, make_server: Make, authority: Any, tmp_path: Any
) -> None:
    credential = authority.issue("origin.test")
    alternative = make_server(credential=credential)
    names = NameServer()
    names.zone["_9._https.origin.test"] = (300, f"1 . alpn=h3 port={alternative.port} ipv4hint=127.0.0.1")
    records = specter.HttpsRecords(nameservers=["127.0.0.1"], port=names.port, timeout=5)
    client = make_client({"discovery": specter.Discovery(https_records=records), "resolve": None})
    try:
        response = client.get("https://origin.test:9/headers")
    finally:
        names.close()
    assert (response.http_version, reason(response)) == ("HTTP/3", Reason.FOUND)
    assert outcome(response).detail == "HTTPS record"
    assert response.json()["authority"] == "origin.test:9"


def test_alternatives_are_shared_and_kept_in_a_file(
    kit: Kit, make_client: Make, make_tcp: Make, server: Server, tmp_path: Any
) -> None:
    tcp = make_tcp(fields=offer(server.port))
    path = tmp_path / "alt-svc.json"
    client = make_client({"discovery": specter.Discovery(alt_svc=path)})
    client.get(tcp.url)
    client.close()
    client = make_client({"discovery": specter.Discovery(alt_svc=path)})
    assert client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3"


# -- when HTTP/3 does not work ----------------------------------------------------------------------


def test_blocked_udp_costs_the_head_start_once(make_client: Make, make_tcp: Make, black_hole: int) -> None:
    tcp = make_tcp(fields=offer(black_hole))
    client = make_client({"head_start": 0.3})
    client.get(tcp.url)
    before = time.monotonic()
    slow = client.get(tcp.url)
    first = time.monotonic() - before
    again = client.get(tcp.url)  # the attempt is still under way: TCP at once
    second = time.monotonic() - before - first
    assert [r.http_version for r in (slow, again)] == ["HTTP/1.1"] * 2
    assert [reason(r) for r in (slow, again)] == [Reason.SLOW] * 2
    assert 0.28 < first < 2
    assert second < 0.25


def test_refused_udp_costs_next_to_nothing(make_client: Make, make_tcp: Make) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tcp = make_tcp(fields=offer(port))
    client = make_client()
    client.get(tcp.url)
    before = time.monotonic()
    response = client.get(tcp.url)
    assert time.monotonic() - before < 1.5
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.FAILED)
    assert "refused" in outcome(response).detail
    response = client.get(tcp.url)
    assert reason(response) is Reason.BROKEN


def test_another_alternative_is_tried_before_tcp(make_client: Make, make_tcp: Make, server: Server) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tcp = make_tcp(fields=[("Alt-Svc", f'h3=":{port}", h3=":{server.port}"')])
    client = make_client()
    client.get(tcp.url)
    assert client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3"


def test_a_dial_that_is_over_is_nobodys_any_more(kit: Kit, ca_file: str, make_tcp: Make, server: Server) -> None:
    """Those who waited for it may be quicker with the next route than it is gone from the table."""
    tcp = make_tcp(fields=offer(server.port))
    transport = kit.Transport(verify=ca_file, resolve={"localhost": "127.0.0.1"}, head_start=10)
    with kit.client(transport, timeout=30) as client:
        client.get(tcp.url)
        over = Dial(clock.now())
        over.finished, over.error = True, specter.ConnectError("another route")
        transport._engine._dials[Origin("localhost", tcp.port)] = over
        assert client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3"


def test_a_slow_handshake_is_for_the_next_request(make_client: Make, make_tcp: Make, make_server: Make) -> None:
    """HTTP/3 connects after the head start: TCP has the request by then, the next one finds the connection."""
    alternative = make_server()
    relay = SlowStart(alternative.port, 0.4)
    try:
        tcp = make_tcp(fields=offer(relay.port))
        client = make_client({"head_start": 0.1})
        client.get(tcp.url)
        assert reason(client.get(tcp.url)) is Reason.SLOW
        assert eventually(lambda: client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3")
    finally:
        relay.close()


def test_http3_wins_when_tcp_is_the_slow_one(make_client: Make, make_tcp: Make, make_server: Make) -> None:
    """TCP is accepted and then nothing: the request goes over HTTP/3 as soon as that is connected."""
    alternative = make_server()
    relay = SlowStart(alternative.port, 0.6)
    try:
        tcp = make_tcp(fields=[*offer(relay.port), ("connection", "close")])
        client = make_client({"head_start": 0.1}, timeout=8)
        client.get(tcp.url)
        tcp.stalled.set()
        before = time.monotonic()
        response = client.post(f"{tcp.url}/echo", content=iter([b"once ", b"only"]))
        assert time.monotonic() - before < 4
        assert (response.http_version, response.content) == ("HTTP/3", b"once only")
        tcp.stalled.clear()
        assert eventually(lambda: tcp.connections == 2)
        time.sleep(0.2)
        assert len(tcp.seen) == 1  # TCP got as far as it takes to send, and no further
    finally:
        relay.close()


def test_http3_is_waited_for_when_tcp_fails(kit: Kit, make_client: Make, make_tcp: Make, make_server: Make) -> None:
    alternative = make_server()
    relay = SlowStart(alternative.port, 0.5)
    try:
        tcp = make_tcp(fields=[*offer(relay.port), ("connection", "close")])
        client = make_client({"head_start": 0.1}, timeout=8)
        client.get(tcp.url)
        tcp.close()
        assert client.get(f"{tcp.url}/bytes/3").http_version == "HTTP/3"
    finally:
        relay.close()


def test_when_neither_works_the_connect_timeout_holds(
    kit: Kit, make_client: Make, make_tcp: Make, black_hole: int
) -> None:
    tcp = make_tcp(fields=[*offer(black_hole), ("connection", "close")])
    client = make_client({"head_start": 0.3}, timeout=kit.httpx.Timeout(5, connect=1.0))
    client.get(tcp.url)
    tcp.stalled.set()
    before = time.monotonic()
    with pytest.raises(kit.httpx.ConnectTimeout):
        client.get(tcp.url)
    assert 0.9 < time.monotonic() - before < 1.6


def test_a_broken_path_is_left_alone_and_tried_again(make_client: Make, make_tcp: Make, server: Server) -> None:
    tcp = make_tcp(fields=offer(server.port))
    discovery = specter.Discovery()
    client = make_client({"discovery": discovery})
    client.get(tcp.url)
    origin, now = Origin("localhost", tcp.port), time.time_ns()
    route = discovery.offers.route(origin, now)
    assert route is not None
    discovery.offers.failed(origin, route, now)
    response = client.get(tcp.url)
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.BROKEN)
    discovery.network_changed()
    client.get(tcp.url)
    assert client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3"


def test_udp_blocked_later_falls_back(make_client: Make, make_tcp: Make, server: Server, make_relay: Make) -> None:
    """A connection that works falls silent: a request that does no harm goes over TCP."""
    relay: Relay = make_relay(server.port)
    tcp = make_tcp(fields=offer(relay.port))
    client = make_client({"head_start": 1}, timeout=10)
    client.get(tcp.url)
    assert client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3"
    relay.blocked = True
    before = time.monotonic()
    response = client.get(tcp.url)
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.SLOW)
    assert time.monotonic() - before < 6


def test_a_server_that_is_gone_is_noticed(make_client: Make, make_tcp: Make, make_server: Make) -> None:
    alternative = make_server()
    tcp = make_tcp(fields=offer(alternative.port))
    client = make_client()
    client.get(tcp.url)
    assert client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3"
    alternative.stop()
    response = client.post(tcp.url, content=b"x")
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.FAILED)
    assert tcp.seen[-1].body == b"x"


H3_REQUEST_REJECTED, H3_VERSION_FALLBACK, H3_INTERNAL_ERROR = 0x10B, 0x110, 0x102


@pytest.mark.parametrize("code", [H3_VERSION_FALLBACK, H3_REQUEST_REJECTED])
def test_what_the_server_does_not_process_goes_over_tcp(
    make_client: Make, make_tcp: Make, make_server: Make, code: int
) -> None:
    alternative = make_server(lambda request: Reply(reset=code) if request.method == "POST" else None)
    tcp = make_tcp(fields=offer(alternative.port))
    client = make_client()
    client.get(tcp.url)
    response = client.post(tcp.url, content=b"once")
    assert (response.http_version, reason(response)) == ("HTTP/1.1", Reason.REFUSED)
    assert [(seen.method, seen.body) for seen in tcp.seen] == [("GET", b""), ("POST", b"once")]
    assert client.get(f"{tcp.url}/bytes/1").http_version == "HTTP/3"


def test_what_may_have_been_processed_is_not_sent_again(
    kit: Kit, make_client: Make, make_tcp: Make, make_server: Make
) -> None:
    alternative = make_server(lambda _request: Reply(reset=H3_INTERNAL_ERROR))
    tcp = make_tcp(fields=offer(alternative.port))
    client = make_client()
    client.get(tcp.url)
    with pytest.raises(kit.httpx.RemoteProtocolError, match="H3_INTERNAL_ERROR"):
        client.post(tcp.url, content=b"once")
    assert len(tcp.seen) == 1


def test_a_body_that_is_used_up_is_not_sent_again(
    kit: Kit, make_client: Make, make_tcp: Make, make_server: Make
) -> None:
    alternative = make_server(lambda _request: Reply(reset=H3_VERSION_FALLBACK))
    tcp = make_tcp(fields=offer(alternative.port))
    client = make_client()
    client.get(tcp.url)
    with pytest.raises(kit.httpx.RemoteProtocolError, match="H3_VERSION_FALLBACK"):
        client.post(tcp.url, content=iter([b"once"]))
    assert len(tcp.seen) == 1


def test_a_misdirected_request_goes_to_the_origin(make_client: Make, make_tcp: Make, make_server: Make) -> None:
    alternative = make_server(lambda _request: Reply(421))
    tcp = make_tcp(fields=offer(alternative.port))
    client = make_client()
    client.get(tcp.url)
    tcp.fields = []
    response = client.post(tcp.url, content=b"x")
    assert (response.status_code, response.http_version, reason(response)) == (200, "HTTP/1.1", Reason.REFUSED)
    assert reason(client.get(tcp.url)) is Reason.NOT_OFFERED


def test_a_transport_that_was_closed_does_not_hang(
    blocking_kit: Kit, make_tcp: Make, server: Server, ca_file: str
) -> None:
    tcp = make_tcp(fields=offer(server.port))
    transport = blocking_kit.Transport(verify=ca_file, resolve={"localhost": "127.0.0.1"})
    request = blocking_kit.httpx.Request("GET", tcp.url)
    transport.handle_request(request).close()
    transport.close()
    response = transport.handle_request(request)
    assert reason(response) is Reason.FAILED
    response.close()
    transport.close()


@pytest.mark.security
def test_a_redirect_from_http3_to_tcp_strips_credentials(make_client: Make, make_tcp: Make, make_server: Make) -> None:
    target = make_tcp()
    alternative = make_server(lambda _request: Reply(302, [("location", f"{target.url}/there")]))
    tcp = make_tcp(fields=offer(alternative.port))
    client = make_client(follow_redirects=True)
    client.get(tcp.url)
    response = client.get(tcp.url, headers={"authorization": "Bearer secret", "cookie": "a=1"})
    assert [r.http_version for r in (*response.history, response)] == ["HTTP/3", "HTTP/1.1"]
    (seen,) = target.seen
    assert seen.target == "/there"
    assert {"authorization", "cookie"}.isdisjoint(seen.headers)


# -- what is told -----------------------------------------------------------------------------------


def test_one_line_a_request(
    make_client: Make, make_tcp: Make, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    tcp = make_tcp(fields=offer(server.port))
    client = make_client()
    caplog.set_level(logging.DEBUG, "specter.httpx")
    client.get(f"{tcp.url}/bytes/1?secret")
    client.get(f"{tcp.url}/bytes/1?secret")
    lines = [record.getMessage() for record in caplog.records if record.name == "specter.httpx"]
    assert lines == [
        f"GET localhost:{tcp.port} over HTTP/1.1: the origin is not known to offer HTTP/3",
        f"GET localhost:{tcp.port} over HTTP/3: the origin offers HTTP/3 (Alt-Svc)",
    ]


def test_what_went_wrong_is_worth_more_than_debug(
    make_client: Make, make_tcp: Make, black_hole: int, caplog: pytest.LogCaptureFixture
) -> None:
    tcp = make_tcp(fields=offer(black_hole))
    client = make_client({"head_start": 0.05})
    client.get(tcp.url)
    caplog.set_level(logging.INFO, "specter.httpx")
    client.get(tcp.url)
    (record,) = [record for record in caplog.records if record.name == "specter.httpx"]
    assert record.levelno == logging.INFO
    assert record.getMessage().endswith("over HTTP/1.1: HTTP/3 was not connected in time")


# -- the wrapped transport ----------------------------------------------------------------------------


def test_a_transport_of_the_callers_own(kit: Kit, make_tcp: Make, server: Server, make_client: Make) -> None:
    """One that knows nothing of traces: it is asked in the caller's thread, and its word is final."""
    threads: list[str] = []

    def answer(request: Any) -> Any:
        threads.append(threading.current_thread().name)
        return kit.httpx.Response(200, headers=offer(server.port), text="mocked")

    client = make_client({"fallback": kit.httpx.MockTransport(answer)})
    assert client.get("https://localhost:9/bytes/1").text == "mocked"
    assert client.get("https://localhost:9/bytes/1").http_version == "HTTP/3"
    if not kit.asynchronous:
        assert threads == [threading.current_thread().name]


def test_a_transport_of_the_callers_own_in_a_race(kit: Kit, make_client: Make, black_hole: int) -> None:
    def answer(_request: Any) -> Any:
        return kit.httpx.Response(200, headers=offer(black_hole), text="mocked")

    client = make_client({"fallback": kit.httpx.MockTransport(answer), "head_start": 0.1})
    client.get("https://localhost:9/")
    response = client.get("https://localhost:9/")
    assert (response.text, reason(response)) == ("mocked", Reason.SLOW)


def test_the_wrapped_transport_is_entered_and_closed(blocking_kit: Kit) -> None:
    kit = blocking_kit

    class Wrapped(kit.httpx.BaseTransport):  # type: ignore[misc, name-defined]
        said: list[str] = []  # noqa: RUF012

        def __enter__(self) -> Any:
            self.said.append("enter")
            return self

        def __exit__(self, *_: object) -> None:
            self.said.append("exit")

        def close(self) -> None:
            self.said.append("close")

    with kit.client(kit.Transport(fallback=Wrapped())):
        pass
    kit.open(kit.Transport(fallback=Wrapped())).close()
    assert Wrapped.said == ["enter", "exit", "close"]


def test_the_wrapped_transport_is_entered_and_closed_in_a_loop(async_kit: Kit) -> None:
    kit = async_kit

    class Wrapped(kit.httpx.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        said: list[str] = []  # noqa: RUF012

        async def __aenter__(self) -> Any:
            self.said.append("enter")
            return self

        async def __aexit__(self, *_: object) -> None:
            self.said.append("exit")

        async def aclose(self) -> None:
            self.said.append("close")

    async def main() -> None:
        async with kit.httpx.AsyncClient(transport=kit.Transport(fallback=Wrapped())):
            pass
        await kit.httpx.AsyncClient(transport=kit.Transport(fallback=Wrapped())).aclose()

    asyncio.run(main())
    assert Wrapped.said == ["enter", "exit", "close"]


def test_traces_of_the_caller_are_heard_in_a_race(make_client: Make, make_tcp: Make, black_hole: int) -> None:
    tcp = make_tcp(fields=offer(black_hole))
    client = make_client({"head_start": 0.05})
    client.get(tcp.url)
    heard: list[str] = []
    client.get(tcp.url, extensions={"trace": lambda name, _info: heard.append(name)})
    assert "http11.send_request_headers.started" in heard


def test_nothing_is_left_behind(kit: Kit, make_tcp: Make, server: Server, ca_file: str, black_hole: int) -> None:
    tcp = make_tcp(fields=offer(black_hole))
    alive = make_tcp(fields=offer(server.port))
    before = set(threading.enumerate())
    client = kit.open(kit.Transport(verify=ca_file, resolve={"localhost": "127.0.0.1"}, head_start=0.05))
    for url in (tcp.url, tcp.url, alive.url, alive.url):
        client.get(url)
    client.close()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("specter-"):
            thread.join(5)
            assert not thread.is_alive()


# -- helpers ------------------------------------------------------------------------------------------


class SlowStart(Relay):
    """A path that opens some seconds after the first datagram; what came before is lost."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(port)
        self.blocked = True
        self._opener = threading.Thread(target=self._open, args=(seconds,), daemon=True)
        self._opener.start()

    def _open(self, seconds: float) -> None:
        eventually(lambda: self.received > 0, 30)
        time.sleep(seconds)
        self.blocked = False


def eventually(condition: Any, limit: float = 10) -> bool:
    """Wait for a condition; return whether it came true."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
