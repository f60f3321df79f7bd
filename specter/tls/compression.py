"""Certificate compression (RFC 8879) with a hard limit on what comes out.

zlib is always there. Brotli and Zstandard are used when a module is installed that can stop at a limit;
one that cannot would let a few kilobytes of the peer's fill the memory.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any, Final

from specter.tls.alerts import AlertDescription, TlsError, illegal_parameter

MAX_UNCOMPRESSED: Final = 128 << 10
"""The largest Certificate message that may come out, in bytes."""

_ZSTD_WINDOW_LOG: Final = 23  # the 8 MiB that RFC 8878 asks every decoder to allow

_Decompress = Callable[[bytes, int], bytes]
_Compress = Callable[[bytes], bytes]


class CompressionAlgorithm(IntEnum):
    """Algorithm numbers of compress_certificate."""

    ZLIB = 1
    BROTLI = 2
    ZSTD = 3


def decompress(algorithm: int, data: bytes, size: int) -> bytes:
    """Undo the compression of a message of exactly ``size`` bytes.

    TlsError: illegal_parameter for an algorithm that is not available, bad_certificate for anything
    that does not come out at ``size`` bytes or would be larger than :data:`MAX_UNCOMPRESSED`.
    """
    codec = _codec(algorithm)
    if codec is None:
        raise illegal_parameter(f"certificate compression algorithm {algorithm} is not available")
    if not 0 < size <= MAX_UNCOMPRESSED:
        raise _bad("a compressed certificate claims an unacceptable length")
    try:
        message = codec[1](data, size + 1)
    except Exception as error:  # each module has its own error type
        raise _bad("a compressed certificate does not decompress") from error
    if len(message) != size:
        raise _bad("a compressed certificate does not have the length it claims")
    return message


def compress(algorithm: int, data: bytes) -> bytes:
    """Compress a Certificate message with an available algorithm."""
    codec = _codec(algorithm)
    if codec is None:
        raise ValueError(f"certificate compression algorithm {algorithm} is not available")
    return codec[0](data)


def is_available(algorithm: int) -> bool:
    """Whether this process can handle ``algorithm``."""
    return _codec(algorithm) is not None


@cache
def _codec(algorithm: int) -> tuple[_Compress, _Decompress] | None:
    if algorithm == CompressionAlgorithm.ZLIB:
        return zlib.compress, _inflate
    if algorithm == CompressionAlgorithm.BROTLI:
        return _brotli()
    if algorithm == CompressionAlgorithm.ZSTD:
        return _zstd()
    return None


def _inflate(data: bytes, limit: int) -> bytes:
    decompressor = zlib.decompressobj()
    message = decompressor.decompress(data, limit)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("not one complete zlib stream")
    return message


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _brotli() -> tuple[_Compress, _Decompress] | None:
    module = _optional("brotli")
    if module is None:
        return None

    def expand(data: bytes, limit: int) -> bytes:
        decompressor = module.Decompressor()
        message: bytes = decompressor.process(data, output_buffer_limit=limit)
        if not decompressor.is_finished():
            raise ValueError("not one complete brotli stream")
        return message

    def shrink(data: bytes) -> bytes:
        result: bytes = module.compress(data)
        return result

    try:
        module.Decompressor().process(b"", output_buffer_limit=1)
    except TypeError:  # before 1.2 it has no limit
        return None
    return shrink, expand


def _zstd() -> tuple[_Compress, _Decompress] | None:
    module = _optional("compression.zstd") or _optional("backports.zstd")
    if module is None:
        return None

    def expand(data: bytes, limit: int) -> bytes:
        decompressor = module.ZstdDecompressor(options={module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
        message: bytes = decompressor.decompress(data, max_length=limit)
        if not decompressor.eof or decompressor.unused_data:
            raise ValueError("not one complete zstd frame")
        return message

    def shrink(data: bytes) -> bytes:
        result: bytes = module.compress(data)
        return result

    return shrink, expand


def _bad(reason: str) -> TlsError:
    return TlsError(AlertDescription.BAD_CERTIFICATE, reason)
