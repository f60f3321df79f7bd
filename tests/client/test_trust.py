"""Who is believed: every way a certificate can be wrong must fail, and say how."""

from __future__ import annotations

import datetime
import socket
from pathlib import Path

import pytest

import specter
from specter.testing.certificates import CLIENT_AUTH, CertificateAuthority
from specter.testing.server import Server
from specter.tls.config import ServerTlsConfig
from specter.tls.trust import TrustStore
from tests.client.support import StartServer

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority("Another authority")


def refused(server: Server, authority: CertificateAuthority, host: str | None = None) -> specter.CertificateError:
    url = server.url if host is None else f"https://{host}:{server.port}"
    resolve = None if host is None else {host: "127.0.0.1"}
    with pytest.raises(specter.CertificateError) as caught:
        specter.get(url + "/bytes/1", verify=[authority.certificate], resolve=resolve)
    assert isinstance(caught.value, ConnectionError)
    return caught.value


@pytest.mark.security
def test_an_unknown_authority(server: Server, authority: CertificateAuthority) -> None:
    error = refused(server, authority)
    assert (error.check, error.name) == ("chain", "127.0.0.1")


@pytest.mark.security
def test_nobody_is_trusted_by_default(server: Server) -> None:
    with pytest.raises(specter.CertificateError) as caught:
        specter.get(server.url + "/bytes/1")
    assert caught.value.check == "chain"


@pytest.mark.security
@pytest.mark.parametrize("host", ["other.example", "sub.a.example"])
def test_a_wrong_name(start_server: StartServer, authority: CertificateAuthority, host: str) -> None:
    server = start_server(credential=authority.issue("a.example"))
    error = refused(server, authority, host)
    assert (error.check, error.name) == ("name", host)
    assert "a.example" in str(error)


@pytest.mark.security
def test_a_wrong_address(start_server: StartServer, authority: CertificateAuthority) -> None:
    server = start_server(credential=authority.issue("192.0.2.1", "localhost"))
    assert refused(server, authority).check == "name"


@pytest.mark.security
@pytest.mark.parametrize(("start", "end"), [(-3, -1), (1, 3)])
def test_the_wrong_time(start_server: StartServer, authority: CertificateAuthority, start: int, end: int) -> None:
    credential = authority.issue("127.0.0.1", not_before=NOW + start * DAY, not_after=NOW + end * DAY)
    assert refused(start_server(credential=credential), authority).check == "validity"


@pytest.mark.security
def test_the_wrong_use(start_server: StartServer, authority: CertificateAuthority) -> None:
    server = start_server(credential=authority.issue("127.0.0.1", usages=CLIENT_AUTH))
    assert refused(server, authority).check == "usage"


def test_the_right_name(start_server: StartServer, authority: CertificateAuthority) -> None:
    server = start_server(credential=authority.issue("a.example", "*.wild.example", "127.0.0.1"))
    for host in ("a.example", "A.Example", "a.example.", "x.wild.example"):
        resolve = {host: "127.0.0.1"}
        response = specter.get(f"https://{host}:{server.port}/headers", verify=[authority.certificate], resolve=resolve)
        assert response.json()["authority"] == f"{host.lower()}:{server.port}"
    assert specter.get(server.url + "/bytes/1", verify=authority.pem).status_code == 200


def test_no_verification(server: Server) -> None:
    with pytest.warns(specter.InsecureWarning):
        assert specter.get(server.url + "/bytes/1", verify=False).status_code == 200


def test_client_certificates(start_server: StartServer, authority: CertificateAuthority, tmp_path: Path) -> None:
    tls = ServerTlsConfig(
        credentials=(authority.issue("127.0.0.1").tls,),
        request_client_certificate=True,
        require_client_certificate=True,
        client_trust=TrustStore([authority.certificate]),
    )
    server = start_server(tls=tls)
    verify = [authority.certificate]
    cert = authority.issue("client", usages=CLIENT_AUTH).write(tmp_path, "client")
    assert specter.get(server.url + "/bytes/1", verify=verify, cert=cert).status_code == 200
    with pytest.raises(specter.Error, match="certificate_required"):
        specter.get(server.url + "/bytes/1", verify=verify)
    stranger = CertificateAuthority("Stranger").issue("client", usages=CLIENT_AUTH).write(tmp_path, "stranger")
    with pytest.raises(specter.Error, match="unknown_ca"):
        specter.get(server.url + "/bytes/1", verify=verify, cert=stranger)


def test_the_key_log(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    specter.get(server.url + "/bytes/1", verify=server.ca_file, keylog=path)
    labels = [line.split()[0] for line in path.read_text().splitlines()]
    for label in ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"):
        assert label in labels


def test_retry(start_server: StartServer) -> None:
    server = start_server(retry=True)
    with specter.Client(verify=server.ca_file) as client:
        assert client.get(server.url + "/bytes/9").status_code == 200
    assert server.endpoint is not None
    assert server.endpoint.stats.retries >= 1


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6(start_server: StartServer) -> None:
    server = start_server(host="::1")
    response = specter.get(server.url + "/headers", verify=server.ca_file)
    assert response.json()["authority"] == f"[::1]:{server.port}"
    assert response.connection is not None
    assert response.connection.remote_address == ("::1", server.port)


# -- several addresses ------------------------------------------------------------------------------------


def test_a_silent_address_first(start_server: StartServer) -> None:
    server = start_server()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.2", server.port))
        resolve = {"localhost": ["127.0.0.2", "127.0.0.1"]}
        response = specter.get(f"https://localhost:{server.port}/bytes/1", verify=server.ca_file, resolve=resolve)
    assert response.connection is not None
    assert response.connection.remote_address[0] == "127.0.0.1"
    assert response.timing.connected is not None
    assert 0.25 <= response.timing.connected < 1


def test_a_refusing_address_first(start_server: StartServer) -> None:
    server = start_server()
    resolve = {"localhost": ["127.0.0.2", "127.0.0.1"]}
    response = specter.get(f"https://localhost:{server.port}/bytes/1", verify=server.ca_file, resolve=resolve)
    assert response.timing.connected is not None
    assert response.timing.connected < 0.25


def test_every_address_refuses(start_server: StartServer) -> None:
    server = start_server()
    server.stop()
    with pytest.raises(specter.ConnectError, match=r"127\.0\.0\.2.*refused.*127\.0\.0\.3.*refused"):
        specter.get(f"https://localhost:{server.port}/", resolve={"localhost": ["127.0.0.2", "127.0.0.3"]})


def test_a_wrong_certificate_is_final(start_server: StartServer, authority: CertificateAuthority) -> None:
    good, port = start_server(credential=authority.issue("localhost")), 0
    port = good.port
    start_server(host="127.0.0.2", port=port)
    resolve = {"localhost": ["127.0.0.2", "127.0.0.1"]}
    with pytest.raises(specter.CertificateError):
        specter.get(f"https://localhost:{port}/bytes/1", verify=authority.pem, resolve=resolve)


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(specter.ConnectError, match="cannot look up"):
        specter.get("https://does-not-exist.invalid/", timeout=5)


def test_a_local_address(server: Server) -> None:
    response = specter.get(server.url + "/bytes/1", verify=server.ca_file, local_address="127.0.0.5")
    assert response.connection is not None
    assert response.connection.local_address[0] == "127.0.0.5"
    with pytest.raises(specter.ConnectError, match="cannot connect"):
        specter.get(server.url + "/bytes/1", verify=server.ca_file, local_address="192.0.2.1")
