from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._entropy import SeededEntropy
from specter.tls import key_exchange
from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.key_exchange import DEFAULT_GROUPS, DEFAULT_KEY_SHARES, SUPPORTED_GROUPS, NamedGroup

SIZES = {
    NamedGroup.SECP256R1: (65, 65, 32),
    NamedGroup.SECP384R1: (97, 97, 48),
    NamedGroup.SECP521R1: (133, 133, 66),
    NamedGroup.X25519: (32, 32, 32),
    NamedGroup.X25519MLKEM768: (1216, 1120, 64),
}


class Fixed:
    """Entropy of one repeated byte."""

    def __init__(self, byte: int) -> None:
        self._byte = byte

    def token(self, size: int) -> bytes:
        return bytes((self._byte,)) * size


@pytest.mark.parametrize("group", SUPPORTED_GROUPS)
def test_both_sides_agree(group: NamedGroup) -> None:
    ours = key_exchange.generate(group, SeededEntropy(1))
    share, secret = key_exchange.respond(group, ours.public, SeededEntropy(2))
    assert ours.finish(share) == secret
    assert (len(ours.public), len(share), len(secret)) == SIZES[group]


@pytest.mark.parametrize("group", SUPPORTED_GROUPS)
def test_shares_come_from_the_entropy(group: NamedGroup) -> None:
    shares = [key_exchange.generate(group, SeededEntropy(seed)).public for seed in (1, 1, 2)]
    assert shares[0] == shares[1] != shares[2]


@pytest.mark.parametrize("group", [NamedGroup.SECP256R1, NamedGroup.SECP384R1, NamedGroup.SECP521R1])
@pytest.mark.parametrize("byte", [0, 0xFF])
def test_extreme_entropy_still_makes_a_key(group: NamedGroup, byte: int) -> None:
    ours = key_exchange.generate(group, Fixed(byte))
    share, secret = key_exchange.respond(group, ours.public, SeededEntropy(2))
    assert ours.finish(share) == secret


@pytest.mark.parametrize("group", [NamedGroup.SECP256R1, NamedGroup.SECP384R1, NamedGroup.SECP521R1])
def test_curve_orders(group: NamedGroup) -> None:
    parameters = key_exchange._CURVES[group]
    assert parameters.order == parameters.curve.group_order


def test_hybrid_share_layout() -> None:
    entropy = SeededEntropy(5)
    ours = key_exchange.generate(NamedGroup.X25519MLKEM768, SeededEntropy(5))
    mlkem = MLKEM768PrivateKey.from_seed_bytes(entropy.token(64))
    assert ours.public[:1184] == mlkem.public_key().public_bytes_raw()
    share, secret = key_exchange.respond(NamedGroup.X25519MLKEM768, ours.public, SeededEntropy(6))
    assert secret[:32] == mlkem.decapsulate(share[:1088])


def test_defaults() -> None:
    assert DEFAULT_GROUPS[-3:] == (NamedGroup.X25519, NamedGroup.SECP256R1, NamedGroup.SECP384R1)
    assert DEFAULT_KEY_SHARES[-1] == NamedGroup.X25519
    assert key_exchange.is_supported(0x1D)
    assert not key_exchange.is_supported(0x1E)


@pytest.mark.parametrize("group", SUPPORTED_GROUPS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_bad_shares_are_illegal(group: NamedGroup, data: st.DataObject) -> None:
    ours = key_exchange.generate(group, SeededEntropy(1))
    size = data.draw(st.sampled_from((0, 1, 31, SIZES[group][0], SIZES[group][1])))
    share = data.draw(st.binary(min_size=size, max_size=size))
    for exchange in (ours.finish, lambda share: key_exchange.respond(group, share, SeededEntropy(3))):
        alert = _alert_of(exchange, share)
        if alert is None:
            assert group in (NamedGroup.X25519, NamedGroup.X25519MLKEM768)
        else:
            assert alert is AlertDescription.ILLEGAL_PARAMETER


def _alert_of(exchange: Callable[[bytes], object], share: bytes) -> AlertDescription | None:
    try:
        exchange(share)
    except TlsError as error:
        return error.alert
    return None


@pytest.mark.parametrize("group", [NamedGroup.SECP256R1, NamedGroup.SECP384R1, NamedGroup.SECP521R1])
def test_compressed_points_are_illegal(group: NamedGroup) -> None:
    ours = key_exchange.generate(group, SeededEntropy(1))
    share = key_exchange.generate(group, SeededEntropy(2)).public
    compressed = bytes((2 + share[-1] % 2,)) + share[1 : 1 + len(share) // 2]
    with pytest.raises(TlsError, match="uncompressed"):
        ours.finish(compressed)


@pytest.mark.parametrize("group", [NamedGroup.SECP256R1, NamedGroup.SECP384R1, NamedGroup.SECP521R1])
def test_points_off_the_curve_are_illegal(group: NamedGroup) -> None:
    ours = key_exchange.generate(group, SeededEntropy(1))
    for point in (bytes(len(ours.public) - 1), b"\xff" * (len(ours.public) - 1), ours.public[1:-1] + b"\x77"):
        with pytest.raises(TlsError, match="not on its curve"):
            ours.finish(b"\x04" + point)


def test_all_zero_x25519_secret_is_illegal() -> None:
    with pytest.raises(TlsError, match="illegal_parameter"):
        key_exchange.generate(NamedGroup.X25519, SeededEntropy(1)).finish(bytes(32))


@pytest.mark.parametrize("size", [0, 32, 1120, 1215, 1217])
def test_hybrid_shares_of_the_wrong_length(size: int) -> None:
    ours = key_exchange.generate(NamedGroup.X25519MLKEM768, SeededEntropy(1))
    with pytest.raises(TlsError, match="illegal_parameter"):
        key_exchange.respond(NamedGroup.X25519MLKEM768, bytes(size), SeededEntropy(1))
    with pytest.raises(TlsError, match="illegal_parameter"):
        ours.finish(bytes(size))


def test_without_mlkem_the_hybrid_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(seed: bytes) -> None:
        raise UnsupportedAlgorithm("no ML-KEM in this build")

    monkeypatch.setattr(MLKEM768PrivateKey, "from_seed_bytes", unsupported)
    assert not key_exchange._have_mlkem()


def test_out_of_range_encapsulation_key_is_illegal() -> None:
    share = b"\xff" * 1184 + bytes(32)
    with pytest.raises(TlsError, match="illegal_parameter"):
        key_exchange.respond(NamedGroup.X25519MLKEM768, share, SeededEntropy(1))
