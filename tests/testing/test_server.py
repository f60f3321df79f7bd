"""The server over real sockets: started, stopped, started again, and shared by good and bad clients."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

import specter
from specter.h3.connection import H3Connection
from specter.testing import CertificateAuthority, Reply, Request, Server
from specter.testing.content import content, content_chunks
from specter.testing.endpoint import Endpoint
from specter.testing.fixtures import ServerFactory
from specter.testing.responder import Responder


@pytest.fixture
def client(specter_server: Server) -> Iterator[specter.Client]:
    with specter.Client(verify=specter_server.ca_file, timeout=10.0) as client:
        yield client


# -- serving ----------------------------------------------------------------------------------------


def test_the_fixture_serves(specter_server: Server, client: specter.Client) -> None:
    response = client.get(f"{specter_server.url}/bytes/100000")
    assert (response.status_code, response.http_version) == (200, "HTTP/3")
    assert response.content == content(0, 100_000)


def test_an_upload_is_streamed(specter_server: Server, client: specter.Client) -> None:
    response = client.post(f"{specter_server.url}/digest", content=content_chunks(2_000_000))
    assert response.json() == {"bytes": 2_000_000, "sha256": hashlib.sha256(content(0, 2_000_000)).hexdigest()}


def test_echo_and_trailers(specter_server: Server, client: specter.Client) -> None:
    assert client.post(f"{specter_server.url}/echo", content=b"hello").content == b"hello"
    assert client.get(f"{specter_server.url}/trailers").trailers["x-checksum"] == "abc123"


def test_files(specter_server_factory: ServerFactory, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>hi</p>")
    server = specter_server_factory(directory=tmp_path)
    response = specter.get(f"{server.url}/page.html", verify=server.ca_file)
    assert (response.text, response.headers["content-type"]) == ("<p>hi</p>", "text/html")


def test_a_handler(specter_server_factory: ServerFactory) -> None:
    server = specter_server_factory(lambda request: Reply(200, [("x-path", request.path)], request.body[::-1]))
    response = specter.post(f"{server.url}/some/path", content=b"abc", verify=server.ca_file)
    assert (response.content, response.headers["x-path"]) == (b"cba", "/some/path")


def test_only_what_was_asked_for_is_served(specter_server_factory: ServerFactory, tmp_path: Path) -> None:
    server = specter_server_factory(directory=tmp_path, test_paths=False)
    assert specter.get(f"{server.url}/bytes/5", verify=server.ca_file).status_code == 404


def test_retry_and_delay(specter_server_factory: ServerFactory) -> None:
    server = specter_server_factory(retry=True, delay=0.1)
    begin = time.monotonic()
    assert specter.get(f"{server.url}/bytes/5", verify=server.ca_file).content == content(0, 5)
    assert time.monotonic() - begin >= 0.1
    assert server.endpoint is not None
    assert server.endpoint.stats.retries >= 1


def test_a_credential_of_ones_own(specter_server_factory: ServerFactory) -> None:
    authority = CertificateAuthority("mine")
    server = specter_server_factory(credential=authority.issue("127.0.0.1"))
    response = specter.get(f"{server.url}/status/204", verify=[authority.certificate])
    assert response.status_code == 204


def test_the_certificate_is_for_the_loopback_names_only(specter_server: Server) -> None:
    with (
        specter.Client(verify=specter_server.ca_file, resolve={"example.com": "127.0.0.1"}) as client,
        pytest.raises(specter.CertificateError),
    ):
        client.get(f"https://example.com:{specter_server.port}/")


def test_ipv6(specter_server_factory: ServerFactory) -> None:
    try:
        server = specter_server_factory(host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert server.url == f"https://[::1]:{server.port}"
    assert specter.get(f"{server.url}/bytes/3", verify=server.ca_file).content == content(0, 3)


def test_many_clients_at_once(specter_server: Server) -> None:
    def work(number: int) -> bytes:
        with specter.Client(verify=specter_server.ca_file, timeout=20.0) as client:
            for size in (1, 1000, 50_000):
                assert client.get(f"{specter_server.url}/bytes/{size + number}").content == content(0, size + number)
            return client.post(f"{specter_server.url}/echo", content=b"%d" % number).content

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [b"%d" % number for number in range(16)]


# -- starting and stopping --------------------------------------------------------------------------


def test_a_polite_stop_is_told_to_the_client() -> None:
    with Server() as server, specter.Client(verify=server.ca_file, timeout=5.0) as client:
        assert client.get(f"{server.url}/bytes/1").status_code == 200
        with client.stream("GET", f"{server.url}/drip?count=100&interval=0.2") as response:
            begin = time.monotonic()
            threading.Timer(0.1, server.stop).start()
            with pytest.raises(specter.Error):
                response.read()
            assert time.monotonic() - begin < 2.0


@pytest.mark.parametrize("abrupt", [False, True])
def test_a_restart_on_the_same_port(abrupt: bool) -> None:
    """The same client goes on; after a crash the stateless reset tells it at once that its connection is gone."""
    with Server() as server, specter.Client(verify=server.ca_file, timeout=5.0) as client:
        assert client.get(f"{server.url}/bytes/1").status_code == 200
        port = server.port
        server.stop(abrupt=abrupt)
        server.start()
        assert server.port == port
        begin = time.monotonic()
        for _ in range(3):
            try:
                assert client.get(f"{server.url}/bytes/2").content == content(0, 2)
                break
            except specter.NetworkError:
                continue
        else:
            pytest.fail("the client did not come back")
        assert time.monotonic() - begin < 2.0


def test_starting_and_stopping_twice() -> None:
    server = Server()
    server.stop()
    server.start()
    with pytest.raises(RuntimeError, match="runs already"):
        server.start()
    server.stop()
    server.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        server.call(lambda endpoint: None)


def test_a_taken_port_is_an_error() -> None:
    with Server() as server:
        other = Server(port=server.port)
        with pytest.raises(OSError, match="in use"):
            other.start()


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    with Server() as server:
        specter.get(f"{server.url}/bytes/1", verify=server.ca_file)
        ca_file = Path(server.ca_file)
        assert ca_file.exists()
    assert threading.active_count() == before
    assert not ca_file.exists()


def test_a_call_on_the_servers_thread(specter_server: Server, client: specter.Client) -> None:
    assert client.get(f"{specter_server.url}/bytes/1").status_code == 200
    called = threading.Event()

    def goaway(endpoint: Endpoint) -> None:
        for peer in endpoint.peers:
            assert isinstance(peer.engine, Responder)
            assert isinstance(peer.engine.h3, H3Connection)
            peer.engine.h3.shutdown()
        called.set()

    specter_server.call(goaway)
    assert called.wait(5.0)
    assert client.get(f"{specter_server.url}/bytes/2").status_code == 200


# -- bad clients ------------------------------------------------------------------------------------


@pytest.mark.security
def test_garbage_does_not_disturb_anybody(specter_server: Server, client: specter.Client) -> None:
    chance = random.Random(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(("127.0.0.1", specter_server.port))
        for number in range(300):
            data = bytearray(chance.randbytes(chance.choice([0, 1, 5, 20, 60, 1200, 1400, 9000])))
            if data and number % 3 == 0:
                data[:5] = b"\xc0\x00\x00\x00\x01"[: len(data)]
            stranger.send(data)
            if number % 100 == 0:
                assert client.get(f"{specter_server.url}/bytes/10").content == content(0, 10)
    assert client.get(f"{specter_server.url}/bytes/10").content == content(0, 10)


def test_a_handler_that_raises(specter_server_factory: ServerFactory, caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: Request) -> Reply:
        raise ValueError(request.path)

    server = specter_server_factory(handler)
    with specter.Client(verify=server.ca_file) as client:
        assert [client.get(f"{server.url}/{number}").status_code for number in range(2)] == [500, 500]
    assert "the handler failed" in caplog.text


def test_a_fault_in_one_connection_leaves_the_others(
    specter_server: Server, client: specter.Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.get(f"{specter_server.url}/bytes/1").status_code == 200

    def explode(batch: object, now: int) -> None:
        raise ZeroDivisionError

    broken = threading.Event()

    def break_it(endpoint: Endpoint) -> None:
        for peer in endpoint.peers:
            peer.engine.receive = explode  # type: ignore[method-assign]
        broken.set()

    specter_server.call(break_it)
    assert broken.wait(5.0)
    with specter.Client(verify=specter_server.ca_file) as other:
        assert other.get(f"{specter_server.url}/bytes/1").status_code == 200
    with contextlib.suppress(specter.NetworkError):  # its connection was reset, it may make a new one
        assert client.get(f"{specter_server.url}/bytes/1").status_code == 200
    assert "failed" in caplog.text


def test_a_client_that_reads_nothing_holds_up_nobody(specter_server: Server, client: specter.Client) -> None:
    with client.stream("GET", f"{specter_server.url}/bytes/100000000") as stuck:
        assert stuck.status_code == 200
        with specter.Client(verify=specter_server.ca_file) as other:
            assert other.get(f"{specter_server.url}/bytes/100000").content == content(0, 100_000)
        assert client.get(f"{specter_server.url}/bytes/1000").content == content(0, 1000)


@pytest.mark.parametrize(
    ("host", "named"),
    [("0.0.0.0", False), ("::", False), ("localhost", True), ("127.0.0.9", True)],  # noqa: S104
)
def test_the_certificate_names_the_host_unless_it_is_everywhere(host: str, named: bool) -> None:
    certificate = Server(host=host).credential.certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = {str(name.value) for name in names}
    assert {"localhost", "127.0.0.1", "::1"} <= found
    assert (host in found) is named
