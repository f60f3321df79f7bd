"""Client and server against each other: every combination that must work."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from specter._entropy import Entropy, SeededEntropy
from specter.tls import compression
from specter.tls.alerts import AlertDescription, CertificateFailure
from specter.tls.ciphers import DEFAULT_CIPHER_SUITES, CipherSuite
from specter.tls.client import ClientHandshake
from specter.tls.compression import CompressionAlgorithm
from specter.tls.config import Credential, ServerTlsConfig
from specter.tls.engine import Completed, InstallKeys, Level, PeerParameters, SendCrypto
from specter.tls.extensions import Extension, ExtensionType
from specter.tls.key_exchange import SUPPORTED_GROUPS, NamedGroup
from specter.tls.messages import ClientHello, HandshakeType
from specter.tls.signatures import SignatureScheme
from tests.tls import pki
from tests.tls.loopback import Loopback, client_config, failure_of, server_config, split

COMPRESSION = [algorithm for algorithm in CompressionAlgorithm if compression.is_available(algorithm)]


@pytest.mark.parametrize("group", SUPPORTED_GROUPS)
@pytest.mark.parametrize("suite", DEFAULT_CIPHER_SUITES)
def test_groups_and_suites(group: NamedGroup, suite: CipherSuite) -> None:
    pair = Loopback(client_config(groups=(group,), key_shares=(group,), cipher_suites=(suite,)), _everything()).run()
    pair.check_agreement()
    for side in (pair.client, pair.server):
        assert (side.group, side.cipher_suite, side.alpn) == (group, suite, "h3")
        assert isinstance(side.cipher_suite, CipherSuite)
        assert isinstance(side.group, NamedGroup)


def _everything() -> ServerTlsConfig:
    return server_config(groups=tuple(SUPPORTED_GROUPS))


@pytest.mark.parametrize("kind", pki.KEY_KINDS)
def test_certificate_kinds(kind: str) -> None:
    pair = Loopback(server=server_config(credentials=(pki.credential(kind),))).run()
    pair.check_agreement()
    assert tuple(pair.client.peer_certificates) == pki.credential(kind).chain


@pytest.mark.parametrize("kind", pki.KEY_KINDS)
@pytest.mark.parametrize("trusted", [True, False])
def test_client_certificates(kind: str, trusted: bool) -> None:
    pair = Loopback(
        client_config(client_credential=pki.client_credential(kind)),
        server_config(require_client_certificate=True, client_trust=pki.trust() if trusted else None),
    ).run()
    pair.check_agreement()
    assert tuple(pair.server.peer_certificates) == pki.client_credential(kind).chain


def test_a_client_without_the_requested_certificate() -> None:
    pair = Loopback(server=server_config(request_client_certificate=True)).run()
    pair.check_agreement()
    assert pair.server.peer_certificates == []


def test_a_client_without_the_required_certificate() -> None:
    error = failure_of(Loopback(server=server_config(require_client_certificate=True)).run)
    assert isinstance(error, CertificateFailure)
    assert (error.check, error.alert) == ("missing", AlertDescription.CERTIFICATE_REQUIRED)


def test_a_client_whose_key_the_server_cannot_check() -> None:
    pair = Loopback(
        client_config(client_credential=pki.client_credential("ed25519")),
        server_config(request_client_certificate=True, signature_schemes=(SignatureScheme.ECDSA_SECP256R1_SHA256,)),
    ).run()
    pair.check_agreement()
    assert pair.server.peer_certificates == []


def test_an_untrusted_client_certificate() -> None:
    stranger = pki.make_leaf((), usages=pki.CLIENT_AUTH, self_signed=True)
    credential = Credential((stranger,), pki.private_key("p256"))
    error = failure_of(
        Loopback(
            client_config(client_credential=credential),
            server_config(request_client_certificate=True, client_trust=pki.trust()),
        ).run
    )
    assert (error.alert, getattr(error, "check", "")) == (AlertDescription.UNKNOWN_CA, "chain")


def test_order_of_the_clients_actions() -> None:
    pair = Loopback().run()
    assert [_summary(action) for action in pair.actions["client"]] == [
        (SendCrypto, Level.INITIAL),
        (InstallKeys, Level.HANDSHAKE, False),
        (InstallKeys, Level.HANDSHAKE, True),
        (PeerParameters,),
        (SendCrypto, Level.HANDSHAKE),
        (InstallKeys, Level.APPLICATION, True),
        (InstallKeys, Level.APPLICATION, False),
        (Completed,),
    ]


def test_order_of_the_servers_actions() -> None:
    pair = Loopback().run()
    assert [_summary(action) for action in pair.actions["server"]] == [
        (PeerParameters,),
        (SendCrypto, Level.INITIAL),
        (InstallKeys, Level.HANDSHAKE, False),
        (InstallKeys, Level.HANDSHAKE, True),
        (SendCrypto, Level.HANDSHAKE),
        (InstallKeys, Level.APPLICATION, True),
        (InstallKeys, Level.APPLICATION, False),
        (Completed,),
    ]


def _summary(action: object) -> tuple[object, ...]:
    if isinstance(action, InstallKeys):
        return InstallKeys, action.level, action.writing
    if isinstance(action, SendCrypto):
        return SendCrypto, action.level
    return (type(action),)


def test_server_preferences() -> None:
    pair = Loopback(
        server=server_config(
            cipher_suites=(CipherSuite.TLS_CHACHA20_POLY1305_SHA256, CipherSuite.TLS_AES_128_GCM_SHA256),
            groups=(NamedGroup.X25519, NamedGroup.SECP256R1),
            alpn=("other", "h3"),
            credentials=(pki.credential("rsa"), pki.credential("p256")),
        )
    ).run()
    pair.check_agreement()
    assert pair.client.cipher_suite == CipherSuite.TLS_CHACHA20_POLY1305_SHA256
    assert pair.client.group == NamedGroup.X25519
    assert pair.client.peer_certificates[0] == pki.credential("rsa").chain[0]


def test_the_server_takes_a_credential_the_client_can_check() -> None:
    pair = Loopback(
        client_config(signature_schemes=(SignatureScheme.ECDSA_SECP256R1_SHA256,)),
        server_config(credentials=(pki.credential("rsa"), pki.credential("p256"))),
    ).run()
    assert pair.client.peer_certificates[0] == pki.credential("p256").chain[0]


# HelloRetryRequest


@pytest.mark.parametrize("group", SUPPORTED_GROUPS)
@pytest.mark.parametrize("cookie", [b"", b"cookie" * 50])
@pytest.mark.parametrize("suite", [CipherSuite.TLS_AES_128_GCM_SHA256, CipherSuite.TLS_AES_256_GCM_SHA384])
def test_hello_retry_request(group: NamedGroup, cookie: bytes, suite: CipherSuite) -> None:
    others = tuple(other for other in SUPPORTED_GROUPS if other != group)[:1]
    client = client_config(groups=(*others, group), key_shares=others, cipher_suites=(suite,))
    pair = Loopback(client, server_config(groups=(group,), cookie=cookie)).run()
    pair.check_agreement()
    assert pair.client.group == group
    hellos = [action.data for action in pair.actions["client"] if isinstance(action, SendCrypto)][:2]
    first, second = (ClientHello.parse(hello[4:]) for hello in hellos)
    assert (first.random, first.cipher_suites) == (second.random, second.cipher_suites)
    assert [kind for kind in second.extensions if kind != ExtensionType.COOKIE] == list(first.extensions)
    changed = {kind for kind, data in second.extensions.items() if first.extensions.get(kind) != data}
    assert changed == {ExtensionType.KEY_SHARE} | ({ExtensionType.COOKIE} if cookie else set())
    keys_sent = [action for action in pair.actions["server"] if isinstance(action, PeerParameters)]
    assert len(keys_sent) == 1


def test_no_share_at_all() -> None:
    pair = Loopback(client_config(key_shares=())).run()
    pair.check_agreement()
    assert pair.client.group == SUPPORTED_GROUPS[-1]


# Nothing in common


@pytest.mark.parametrize(
    ("client", "server", "alert"),
    [
        (
            {"cipher_suites": (CipherSuite.TLS_AES_128_GCM_SHA256,)},
            {"cipher_suites": (CipherSuite.TLS_AES_256_GCM_SHA384,)},
            AlertDescription.HANDSHAKE_FAILURE,
        ),
        (
            {"groups": (NamedGroup.X25519,), "key_shares": (NamedGroup.X25519,)},
            {"groups": (NamedGroup.SECP256R1,)},
            AlertDescription.HANDSHAKE_FAILURE,
        ),
        ({"signature_schemes": (SignatureScheme.ED25519,)}, {}, AlertDescription.HANDSHAKE_FAILURE),
        ({"alpn": ("h3",)}, {"alpn": ("hq-interop",)}, AlertDescription.NO_APPLICATION_PROTOCOL),
    ],
)
def test_nothing_in_common(client: dict[str, object], server: dict[str, object], alert: AlertDescription) -> None:
    error = failure_of(Loopback(client_config(**client), server_config(**server)).run)
    assert error.alert is alert
    assert error.code == 0x100 + alert


# Certificates


def test_the_name_is_checked() -> None:
    error = failure_of(Loopback(client_config(server_name="other.example")).run)
    assert isinstance(error, CertificateFailure)
    assert (error.check, error.name) == ("name", "other.example")


def test_verify_false_takes_any_certificate() -> None:
    stranger = Credential(
        (pki.make_leaf(["x"], self_signed=True, end=pki.NOW - pki.YEAR / 2),), pki.private_key("p256")
    )
    pair = Loopback(
        client_config(verify=False, trust=None, server_name=""), server_config(credentials=(stranger,))
    ).run()
    pair.check_agreement()


def test_the_default_store_is_used() -> None:
    error = failure_of(Loopback(client_config(trust=None)).run)
    assert getattr(error, "check", "") == "chain"


def test_ip_addresses_are_not_sent_as_server_name() -> None:
    leaf = pki.make_leaf(["192.0.2.1"])
    credential = Credential((leaf, pki.intermediate().certificate), pki.private_key("p256"))
    pair = Loopback(client_config(server_name="192.0.2.1"), server_config(credentials=(credential,))).run()
    pair.check_agreement()
    assert pair.server.server_name == ""
    assert Loopback().run().server.server_name == pki.NAME


@pytest.mark.parametrize("algorithm", COMPRESSION)
def test_compressed_certificate(algorithm: CompressionAlgorithm) -> None:
    pair = Loopback(
        client_config(certificate_compression=(algorithm,)), server_config(certificate_compression=(algorithm,))
    ).run()
    pair.check_agreement()
    assert HandshakeType.COMPRESSED_CERTIFICATE in _kinds(pair, "server")


def test_compression_is_used_only_when_both_want_it() -> None:
    for client, server in (((), (1,)), ((1,), ())):
        pair = Loopback(
            client_config(certificate_compression=client), server_config(certificate_compression=server)
        ).run()
        pair.check_agreement()
        assert HandshakeType.CERTIFICATE in _kinds(pair, "server")


def _kinds(pair: Loopback, name: str) -> list[int]:
    flights = [action.data for action in pair.actions[name] if isinstance(action, SendCrypto)]
    return [message[0] for message in itertools.chain.from_iterable(map(split, flights))]


# Key log, entropy, shape of the ClientHello


def test_key_log() -> None:
    lines: dict[str, list[str]] = {"client": [], "server": []}
    pair = Loopback(client_config(key_log=lines["client"].append), server_config(key_log=lines["server"].append)).run()
    assert lines["client"] == lines["server"]
    assert [line.split()[0] for line in lines["client"]] == [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    ]
    keys = pair.keys("client")
    logged = [line.split()[2] for line in lines["client"]]
    order = [(Level.HANDSHAKE, True), (Level.HANDSHAKE, False), (Level.APPLICATION, True), (Level.APPLICATION, False)]
    assert logged == [keys[key][1].hex() for key in order]
    hello = pair.actions["client"][0]
    assert isinstance(hello, SendCrypto)
    assert {line.split()[1] for line in lines["client"]} == {ClientHello.parse(hello.data[4:]).random.hex()}


def test_same_entropy_same_bytes() -> None:
    config = client_config(groups=(NamedGroup.X25519,), key_shares=(NamedGroup.X25519,))
    first, second, other = (Loopback(config, seed=seed).run() for seed in (7, 7, 8))
    assert first.actions == second.actions
    assert first.actions["client"][0] != other.actions["client"][0]


def test_client_hello() -> None:
    hello = _first_hello()
    assert hello.session_id == b""
    assert list(hello.extensions) == [
        ExtensionType.SERVER_NAME,
        ExtensionType.SUPPORTED_GROUPS,
        ExtensionType.SIGNATURE_ALGORITHMS,
        ExtensionType.ALPN,
        ExtensionType.SUPPORTED_VERSIONS,
        ExtensionType.PSK_KEY_EXCHANGE_MODES,
        ExtensionType.KEY_SHARE,
        ExtensionType.QUIC_TRANSPORT_PARAMETERS,
    ]
    assert hello.extensions[ExtensionType.SUPPORTED_VERSIONS] == b"\x02\x03\x04"
    assert hello.extensions[ExtensionType.PSK_KEY_EXCHANGE_MODES] == b"\x01\x01"
    assert hello.extensions[ExtensionType.ALPN] == b"\0\x03\x02h3"
    assert hello.extensions[ExtensionType.SERVER_NAME].endswith(b"\0\0\x0e" + pki.NAME.encode())


def test_extra_extensions_and_their_order() -> None:
    def backwards(extensions: Sequence[Extension], entropy: Entropy) -> Sequence[Extension]:
        assert len(entropy.token(4)) == 4
        return extensions[::-1]

    extra = ((0x0A0A, b""), (ExtensionType.STATUS_REQUEST, b"\x01\0\0\0\0"))
    config = client_config(extra_extensions=extra, order_extensions=backwards)
    pair = Loopback(config).run()
    pair.check_agreement()
    hello = pair.actions["client"][0]
    assert isinstance(hello, SendCrypto)
    kinds = list(ClientHello.parse(hello.data[4:]).extensions)
    assert kinds[:2] == [ExtensionType.STATUS_REQUEST, 0x0A0A]
    assert kinds[-1] == ExtensionType.SERVER_NAME


def _first_hello() -> ClientHello:
    client = ClientHandshake(client_config(server_name=pki.NAME + "."), SeededEntropy(1), b"")
    client.start()
    action = client.next_action()
    assert isinstance(action, SendCrypto)
    assert client.next_action() is None
    return ClientHello.parse(action.data[4:])


def test_secrets_are_not_shown() -> None:
    pair = Loopback().run()
    shown = repr(pair.actions) + repr(pair.client) + repr(pair.server) + repr(pair.client._schedule)
    for action in pair.actions["client"]:
        if isinstance(action, InstallKeys):
            assert repr(action.secret) not in shown
            assert action.secret.hex() not in shown
