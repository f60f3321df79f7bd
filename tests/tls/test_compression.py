from __future__ import annotations

import contextlib
import sys
import types
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter.tls import compression
from specter.tls.alerts import AlertDescription, TlsError
from specter.tls.compression import MAX_UNCOMPRESSED, CompressionAlgorithm

AVAILABLE = [algorithm for algorithm in CompressionAlgorithm if compression.is_available(algorithm)]
DATA = b"certificate" * 200


@pytest.fixture
def fresh_codecs() -> Iterator[None]:
    compression._codec.cache_clear()
    yield
    compression._codec.cache_clear()


def failure(algorithm: int, data: bytes, size: int) -> AlertDescription:
    with pytest.raises(TlsError) as caught:
        compression.decompress(algorithm, data, size)
    return caught.value.alert


@pytest.mark.parametrize("algorithm", AVAILABLE)
def test_round_trip(algorithm: CompressionAlgorithm) -> None:
    packed = compression.compress(algorithm, DATA)
    assert len(packed) < len(DATA)
    assert compression.decompress(algorithm, packed, len(DATA)) == DATA


@pytest.mark.parametrize("algorithm", AVAILABLE)
@pytest.mark.parametrize("size", [0, 1, len(DATA) - 1, len(DATA) + 1, MAX_UNCOMPRESSED, MAX_UNCOMPRESSED + 1, 0xFFFFFF])
def test_declared_length_must_be_right(algorithm: CompressionAlgorithm, size: int) -> None:
    packed = compression.compress(algorithm, DATA)
    assert failure(algorithm, packed, size) is AlertDescription.BAD_CERTIFICATE


@pytest.mark.security
@pytest.mark.parametrize("algorithm", AVAILABLE)
def test_a_bomb_stops_at_the_limit(algorithm: CompressionAlgorithm) -> None:
    packed = compression.compress(algorithm, bytes(50 << 20))
    assert failure(algorithm, packed, MAX_UNCOMPRESSED) is AlertDescription.BAD_CERTIFICATE


@pytest.mark.parametrize("algorithm", AVAILABLE)
def test_truncated_and_padded(algorithm: CompressionAlgorithm) -> None:
    packed = compression.compress(algorithm, DATA)
    assert failure(algorithm, packed[:-3], len(DATA)) is AlertDescription.BAD_CERTIFICATE
    assert failure(algorithm, b"", len(DATA)) is AlertDescription.BAD_CERTIFICATE


def test_zlib_with_something_behind() -> None:
    assert failure(1, zlib.compress(DATA) + b"x", len(DATA)) is AlertDescription.BAD_CERTIFICATE


def test_unknown_algorithm() -> None:
    assert failure(99, b"data", 4) is AlertDescription.ILLEGAL_PARAMETER
    assert not compression.is_available(99)
    with pytest.raises(ValueError, match="not available"):
        compression.compress(99, b"")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.integers(0, 1000), st.sampled_from([1, 2, 3]))
def test_any_bytes(data: bytes, size: int, algorithm: int) -> None:
    with contextlib.suppress(TlsError):
        assert len(compression.decompress(algorithm, data, size)) == size


@pytest.mark.usefixtures("fresh_codecs")
def test_a_brotli_without_limit_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Decompressor:
        def process(self, data: bytes) -> bytes:
            return data

    module: Any = types.ModuleType("brotli")
    module.Decompressor = Decompressor
    monkeypatch.setitem(sys.modules, "brotli", module)
    assert not compression.is_available(CompressionAlgorithm.BROTLI)


@pytest.mark.usefixtures("fresh_codecs")
def test_missing_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("brotli", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    assert not compression.is_available(CompressionAlgorithm.BROTLI)
    assert not compression.is_available(CompressionAlgorithm.ZSTD)
    assert compression.is_available(CompressionAlgorithm.ZLIB)


@pytest.mark.skipif(CompressionAlgorithm.ZSTD not in AVAILABLE, reason="needs a zstd module")
def test_zstd_with_a_huge_window_is_refused() -> None:
    frame = bytes.fromhex("28b52ffd") + bytes((0, 17 << 3)) + b"\x01\0\0"
    assert failure(CompressionAlgorithm.ZSTD, frame, 10) is AlertDescription.BAD_CERTIFICATE
