"""A client that looks elsewhere than at the origin's own address, with servers and a name server of the tests' own."""

from __future__ import annotations

import stat
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import specter
from specter.client.url import Origin
from specter.testing.certificates import CertificateAuthority
from specter.testing.messages import Reply, Request
from specter.testing.server import Server
from tests.client.support import StartServer
from tests.net.name_server import NameServer

Connect = Callable[..., specter.Client]

RESOLVE = {"origin.test": "127.0.0.1", "alt.test": "127.0.0.1"}


class Told:
    """What a server says, and what it saw."""

    def __init__(self, name: str, alt_svc: str = "", status: int = 200) -> None:
        self.name = name
        self.alt_svc = alt_svc
        self.status = status
        self.seen: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        self.seen.append(request)
        fields = [("alt-svc", self.alt_svc)] if self.alt_svc else []
        return Reply(self.status, fields, self.name.encode())


Pair = tuple[Server, Told, Server, Told]
"""The origin's server and the alternative, each with what it says."""


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture
def origin_and_alternative(start_server: StartServer, authority: CertificateAuthority) -> Pair:
    credential = authority.issue("origin.test")
    origin, alternative = Told("origin"), Told("alternative")
    first = start_server(origin, credential=credential)
    second = start_server(alternative, credential=credential)
    origin.alt_svc = f'h3="alt.test:{second.port}"; ma=3600'
    return first, origin, second, alternative


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


@pytest.fixture
def connect(authority: CertificateAuthority) -> Iterator[Connect]:
    with ExitStack() as stack:

        def make(discovery: specter.Discovery, **options: object) -> specter.Client:
            known = {"verify": authority.pem, "resolve": RESOLVE, "timeout": 5, **options}
            return stack.enter_context(specter.Client(discovery=discovery, **known))

        yield make


def drop(client: specter.Client) -> None:
    """Lose every connection."""
    for origin, connection in list(client.pool._connections.items()):
        client.pool.discard(origin, connection)


def test_an_alternative_is_used_for_the_next_connection(origin_and_alternative: Pair, connect: Connect) -> None:
    first, origin, second, alternative = origin_and_alternative
    client = connect(specter.Discovery())
    url = f"https://origin.test:{first.port}/path"
    assert client.get(url).text == "origin"
    assert client.get(url).text == "origin"  # the connection there is goes on
    drop(client)
    response = client.get(url)
    assert response.text == "alternative"
    assert response.connection.remote_address == ("127.0.0.1", second.port)
    (request,) = alternative.seen
    assert request.authority == f"origin.test:{first.port}"
    assert request.header("alt-used") == f"alt.test:{second.port}"
    assert all(request.header("alt-used") is None for request in origin.seen)


@pytest.mark.security
def test_the_alternative_has_to_be_the_origin(
    start_server: StartServer, authority: CertificateAuthority, connect: Connect
) -> None:
    """The certificate is the origin's, whatever the alternative is called; one that is not is left alone."""
    origin, impostor = Told("origin"), Told("impostor")
    first = start_server(origin, credential=authority.issue("origin.test"))
    second = start_server(impostor, credential=authority.issue("alt.test"))
    origin.alt_svc = f'h3="alt.test:{second.port}"'
    discovery = specter.Discovery()
    client = connect(discovery)
    url = f"https://origin.test:{first.port}/"
    for _ in range(3):
        assert client.get(url).text == "origin"
        drop(client)
    assert impostor.seen == []
    assert discovery.offers.broken_until(Origin("origin.test", first.port), time.time_ns()) > 0


def test_an_alternative_that_is_gone_costs_one_try(origin_and_alternative: Pair, connect: Connect) -> None:
    first, _origin, second, _alternative = origin_and_alternative
    client = connect(specter.Discovery())
    url = f"https://origin.test:{first.port}/"
    client.get(url)
    second.stop()
    drop(client)
    assert client.get(url).text == "origin"


def test_a_misdirected_request_costs_the_alternative_its_place(origin_and_alternative: Pair, connect: Connect) -> None:
    first, _origin, _second, alternative = origin_and_alternative
    client = connect(specter.Discovery())
    url = f"https://origin.test:{first.port}/"
    client.get(url)
    drop(client)
    alternative.status = 421
    alternative.alt_svc = 'h3=":1"'  # not heard in a 421
    assert client.get(url).status_code == 421
    assert client.get(url).text == "origin"


def test_clear_ends_the_use_of_the_alternative(origin_and_alternative: Pair, connect: Connect) -> None:
    first, _origin, _second, alternative = origin_and_alternative
    client = connect(specter.Discovery())
    url = f"https://origin.test:{first.port}/"
    client.get(url)
    drop(client)
    alternative.alt_svc = "clear"
    assert client.get(url).text == "alternative"
    assert client.get(url).text == "origin"


@pytest.mark.security
def test_who_is_not_authenticated_is_not_heard(origin_and_alternative: Pair) -> None:
    first, *_ = origin_and_alternative
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", specter.InsecureWarning)
        client = specter.Client(verify=False, resolve=RESOLVE, discovery=(discovery := specter.Discovery()))
    with client:
        client.get(f"https://origin.test:{first.port}/")
    assert len(discovery.offers.alt_svc) == 0


def test_alternatives_outlive_the_client_in_a_file(
    origin_and_alternative: Pair, connect: Connect, tmp_path: Path
) -> None:
    first, _origin, second, _alternative = origin_and_alternative
    path = tmp_path / "alt-svc.json"
    url = f"https://origin.test:{first.port}/"
    with connect(specter.Discovery(alt_svc=path)) as client:
        client.get(url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first.stop()
    response = connect(specter.Discovery(alt_svc=path)).get(url)
    assert response.text == "alternative"
    assert response.connection.remote_address[1] == second.port


def test_a_full_disk_fails_no_request(
    origin_and_alternative: Pair, connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, *_ = origin_and_alternative
    with connect(specter.Discovery(alt_svc=tmp_path / "gone" / "alt-svc.json")) as client:
        assert client.get(f"https://origin.test:{first.port}/").status_code == 200
    assert "were not saved" in caplog.text


def records(name_server: NameServer, timeout: float = 5) -> specter.Discovery:
    asked = specter.HttpsRecords(nameservers=["127.0.0.1"], port=name_server.port, timeout=timeout)
    return specter.Discovery(https_records=asked)


def test_a_record_leads_to_the_server(origin_and_alternative: Pair, connect: Connect, name_server: NameServer) -> None:
    _first, _origin, second, alternative = origin_and_alternative
    name_server.zone["_9._https.origin.test"] = (300, f"1 alt.test. alpn=h3 port={second.port}")
    client = connect(records(name_server))
    for _ in range(2):
        assert client.get("https://origin.test:9/").text == "alternative"
        drop(client)
    assert alternative.seen[0].authority == "origin.test:9"
    assert alternative.seen[0].header("alt-used") is None  # that is for Alt-Svc
    assert name_server.asked == ["_9._https.origin.test"]


def test_hints_stand_in_for_a_name_without_addresses(
    origin_and_alternative: Pair, connect: Connect, name_server: NameServer
) -> None:
    _first, _origin, second, _alternative = origin_and_alternative
    record = f"1 nowhere.invalid. alpn=h3 port={second.port} ipv4hint=127.0.0.1"
    name_server.zone["_9._https.origin.test"] = (300, record)
    assert connect(records(name_server)).get("https://origin.test:9/").text == "alternative"


def test_without_a_record_the_origin_is_asked_itself(
    origin_and_alternative: Pair, connect: Connect, name_server: NameServer
) -> None:
    first, *_ = origin_and_alternative
    assert connect(records(name_server)).get(f"https://origin.test:{first.port}/").text == "origin"


def test_a_silent_name_server_costs_no_more_than_its_time(
    origin_and_alternative: Pair, connect: Connect, name_server: NameServer
) -> None:
    first, *_ = origin_and_alternative
    name_server.twist = lambda _message: None
    client = connect(records(name_server, timeout=0.3))
    assert client.get(f"https://origin.test:{first.port}/").text == "origin"


def test_a_route_that_leads_into_silence_is_left_alone(
    origin_and_alternative: Pair, connect: Connect, black_hole: int
) -> None:
    first, origin, *_ = origin_and_alternative
    origin.alt_svc = f'h3=":{black_hole}"'
    client = connect(specter.Discovery(), timeout=specter.Timeouts(5, connect=0.5))
    url = f"https://origin.test:{first.port}/"
    client.get(url)
    drop(client)
    before = time.monotonic()
    with pytest.raises(specter.ConnectTimeout) as caught:
        client.get(url)
    assert time.monotonic() - before < 1.5
    assert caught.value.retry_safe
    assert client.get(url).text == "origin"
