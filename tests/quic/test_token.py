from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._entropy import SeededEntropy
from specter.quic.packet import QUIC_V2
from specter.quic.token import MAX_TOKEN_SIZE, AddressToken, TokenMinter

ADDRESS = "192.0.2.7:4433"
NOW = 1_700_000_000
DCID, SCID = b"original", b"retry-scid"
quick = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.fixture
def minter() -> TokenMinter:
    return TokenMinter(b"k" * 32, retry_lifetime=30, new_token_lifetime=1000)


def retry(minter: TokenMinter, seed: int = 1) -> bytes:
    return minter.mint(ADDRESS, DCID, SCID, NOW, SeededEntropy(seed))


def test_retry_token_round_trip(minter: TokenMinter) -> None:
    token = retry(minter)
    opened = minter.open(token, ADDRESS, NOW + 30)
    assert opened == AddressToken(NOW, DCID, SCID)
    assert opened.from_retry
    assert minter.is_retry(token)
    assert len(token) < 100


def test_new_token_round_trip(minter: TokenMinter) -> None:
    token = minter.mint(b"host", None, None, NOW, SeededEntropy(1))
    opened = minter.open(token, b"host", NOW + 1000)
    assert opened == AddressToken(NOW)
    assert not opened.from_retry
    assert not minter.is_retry(token)
    assert minter.open(token, "host", NOW) == opened


@pytest.mark.parametrize("size", [0, 20])
def test_connection_ids_of_any_length(minter: TokenMinter, size: int) -> None:
    token = minter.mint(ADDRESS, bytes(size), bytes(size), NOW, SeededEntropy(1))
    assert minter.open(token, ADDRESS, NOW) == AddressToken(NOW, bytes(size), bytes(size))


def test_each_token_is_different_and_hides_its_contents(minter: TokenMinter) -> None:
    one, two = retry(minter, 1), retry(minter, 2)
    assert one != two
    assert DCID not in one
    assert SCID not in one


def test_token_of_another_address_version_or_key(minter: TokenMinter) -> None:
    token = retry(minter)
    assert minter.open(token, "192.0.2.8:4433", NOW) is None
    assert minter.open(token, ADDRESS, NOW, version=QUIC_V2) is None
    assert TokenMinter(b"j" * 32).open(token, ADDRESS, NOW) is None


@pytest.mark.parametrize(("seconds", "valid"), [(-1, False), (0, True), (30, True), (31, False)])
def test_retry_token_expires(minter: TokenMinter, seconds: int, valid: bool) -> None:
    assert (minter.open(retry(minter), ADDRESS, NOW + seconds) is not None) is valid


def test_new_token_expires(minter: TokenMinter) -> None:
    token = minter.mint(ADDRESS, None, None, NOW, SeededEntropy(1))
    assert minter.open(token, ADDRESS, NOW + 1001) is None


def test_every_changed_or_missing_byte_is_noticed(minter: TokenMinter) -> None:
    token = retry(minter)
    for at in range(len(token)):
        changed = bytearray(token)
        changed[at] ^= 0x03
        assert minter.open(bytes(changed), ADDRESS, NOW) is None, at
        assert minter.open(token[:at], ADDRESS, NOW) is None, at
    assert minter.open(token + b"\x00", ADDRESS, NOW) is None


def test_token_of_an_unknown_kind(minter: TokenMinter) -> None:
    assert minter.open(b"\x07" + retry(minter)[1:], ADDRESS, NOW) is None


def test_bad_arguments(minter: TokenMinter) -> None:
    with pytest.raises(ValueError, match="key"):
        TokenMinter(b"short")
    for ids in ((DCID, None), (None, SCID)):
        with pytest.raises(ValueError, match="both"):
            minter.mint(ADDRESS, *ids, NOW, SeededEntropy(1))


@quick
@given(token=st.binary(max_size=MAX_TOKEN_SIZE + 50), kind=st.sampled_from([b"", b"\x01", b"\x02"]))
def test_random_tokens_open_to_nothing(token: bytes, kind: bytes) -> None:
    assert TokenMinter(b"k" * 16).open(kind + token, ADDRESS, NOW) is None
