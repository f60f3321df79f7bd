"""Certificates, cipher suites, key exchange and address validation with servers that others wrote."""

from __future__ import annotations

import pytest

import specter
from specter.testing.certificates import CertificateAuthority
from specter.testing.content import content
from tests.interop.conftest import MakeServer, Workshop
from tests.interop.harness import ServerProcess

pytestmark = pytest.mark.interop

SUITES = {
    "AES_128_GCM_SHA256": "TLS_AES_128_GCM_SHA256",
    "AES_256_GCM_SHA384": "TLS_AES_256_GCM_SHA384",
    "CHACHA20_POLY1305_SHA256": "TLS_CHACHA20_POLY1305_SHA256",
}


def fetch(server: ServerProcess, url: str | None = None, **options: object) -> specter.Response:
    settings = {"verify": server.authority, "resolve": {"localhost": server.host}, "timeout": 10, **options}
    with specter.Client(**settings) as client:  # type: ignore[arg-type]
        return client.get(f"{url or server.url}/bytes/1000000")


@pytest.mark.security
def test_a_wrong_host_name_is_refused(server: ServerProcess) -> None:
    with pytest.raises(specter.CertificateError) as caught:
        fetch(server, server.url_for("wrong.test"), resolve={"wrong.test": server.host})
    assert (caught.value.check, caught.value.name) == ("name", "wrong.test")


@pytest.mark.security
def test_a_wrong_address_is_refused(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind, names=("localhost", "127.0.0.2"))
    with pytest.raises(specter.CertificateError) as caught:
        fetch(server, server.url_for(server.host))
    assert (caught.value.check, caught.value.name) == ("name", server.host)


def test_an_address_in_the_certificate_is_accepted(server: ServerProcess) -> None:
    assert fetch(server, server.url_for(server.host)).content == content(0, 1_000_000)


@pytest.mark.security
def test_an_unknown_authority_is_refused(server: ServerProcess) -> None:
    stranger = CertificateAuthority("somebody else")
    with pytest.raises(specter.CertificateError) as caught:
        fetch(server, verify=stranger.pem)
    assert caught.value.check == "chain"


def test_the_usual_authorities_do_not_vouch_for_it(server: ServerProcess) -> None:
    with pytest.raises(specter.CertificateError):
        fetch(server, verify=True)


def test_not_verifying_is_possible_with_a_warning(server: ServerProcess) -> None:
    with pytest.warns(specter.InsecureWarning):
        assert fetch(server, verify=False).status_code == 200


@pytest.mark.parametrize("key", ["p256", "p384", "rsa", "ed25519"])
def test_kinds_of_certificates(make_server: MakeServer, kind: str, key: str) -> None:
    assert fetch(make_server(kind, key=key)).content == content(0, 1_000_000)


@pytest.mark.parametrize("cipher", sorted(SUITES))
def test_cipher_suites(make_server: MakeServer, cipher: str) -> None:
    response = fetch(make_server("aioquic", cipher=cipher))
    assert response.content == content(0, 1_000_000)
    assert response.connection is not None
    assert response.connection.cipher_suite == SUITES[cipher]


def test_the_post_quantum_offer_does_not_disturb(server: ServerProcess) -> None:
    """These servers know nothing of ML-KEM: they must cope with a ClientHello in two datagrams and take X25519."""
    response = fetch(server)
    assert response.connection is not None
    assert response.connection.key_exchange == "X25519"
    assert response.connection.alpn == "h3"


def test_retry(make_server: MakeServer) -> None:
    server = make_server("aioquic", retry=True)
    assert fetch(server).content == content(0, 1_000_000)


def test_the_harness_makes_certificates_of_the_session_authority(workshop: Workshop, server: ServerProcess) -> None:
    response = fetch(server)
    assert response.connection is not None
    assert response.connection.peer_certificates[0].issuer == workshop.authority.certificate.subject
