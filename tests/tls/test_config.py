from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from specter.tls.config import ClientTlsConfig, Credential, ServerTlsConfig
from specter.tls.key_exchange import NamedGroup
from tests.tls import pki


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server_name": ""}, "server_name is needed"),
        ({"server_name": "bücher.example"}, "ASCII"),
        ({"alpn": ()}, "at least one"),
        ({"alpn": ("",)}, "not a protocol name"),
        ({"alpn": ("x" * 256,)}, "not a protocol name"),
        ({"cipher_suites": ()}, "cipher_suites"),
        ({"cipher_suites": (0x1304,)}, "cipher_suites"),
        ({"groups": (0x1E,)}, "groups must be"),
        ({"groups": (0x1D, 0x1D)}, "duplicate"),
        ({"groups": (0x1D,), "key_shares": (0x17,)}, "key_shares"),
        ({"groups": (0x1D, 0x17), "key_shares": (0x17, 0x1D)}, "key_shares"),
        ({"signature_schemes": ()}, "signature_schemes"),
        ({"signature_schemes": (0x10000,)}, "signature_schemes"),
        ({"certificate_compression": (9,)}, "compression"),
    ],
)
def test_bad_client_values(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClientTlsConfig(**{"server_name": pki.NAME, **changes})


def test_client_values() -> None:
    assert ClientTlsConfig(server_name="", verify=False).server_name == ""
    assert ClientTlsConfig(server_name="x", groups=(NamedGroup.X25519,), key_shares=()).key_shares == ()


def test_a_server_needs_a_credential() -> None:
    with pytest.raises(ValueError, match="credential"):
        ServerTlsConfig(credentials=())


def test_credential_from_files(tmp_path: Path) -> None:
    good = pki.credential()
    chain = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in good.chain)
    key = good.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = good.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    for name, data in (("chain", chain), ("key", key), ("both", key + chain), ("locked", locked)):
        (tmp_path / name).write_bytes(data)
    assert Credential.load(tmp_path / "chain", tmp_path / "key").entries == good.entries
    assert Credential.load(str(tmp_path / "both")).entries == good.entries
    assert Credential.load(tmp_path / "chain", tmp_path / "locked", b"word").entries == good.entries


def test_bad_credentials() -> None:
    good = pki.credential()
    with pytest.raises(ValueError, match="at least one"):
        Credential((), good.private_key)
    with pytest.raises(ValueError, match="does not belong"):
        Credential(good.chain, pki.private_key("p256", "another"))
    with pytest.raises(ValueError, match="RSA, ECDSA or Ed25519"):
        Credential(good.chain, x25519.X25519PrivateKey.generate())  # type: ignore[arg-type]


def test_private_keys_are_not_shown() -> None:
    assert "private" not in repr(pki.credential())
    assert "private" not in repr(ServerTlsConfig(credentials=(pki.credential(),)))
