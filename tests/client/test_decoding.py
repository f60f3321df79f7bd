"""Content codings on their own: what comes out, what is refused, and how little is held."""

from __future__ import annotations

import gzip
import importlib
import sys
import tracemalloc
import types
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, Final

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter.client import decoding
from specter.client.decoding import Decoder, DecodingLimits, accept_encoding, decoder_for, make_limits
from specter.client.headers import Headers
from specter.client.pieces import through
from specter.errors import DecodingError

zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

MIB = 1 << 20
TEXT: Final = b"".join(b"%d: the quick brown fox jumps over the lazy dog\n" % number for number in range(5000))


def bare_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(data) + engine.flush()


ENCODERS: Final[dict[str, tuple[str, Callable[[bytes], bytes]]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "br": ("br", partial(brotli.compress, quality=5)),
    "zstd": ("zstd", zstd.compress),
}
EVERY = pytest.mark.parametrize("kind", ENCODERS)


def encoded(kind: str, data: bytes) -> tuple[str, bytes]:
    name, encode = ENCODERS[kind]
    return name, encode(data)


def decode(names: str | list[str], *pieces: bytes, **limits: Any) -> bytes:
    decoder = Decoder([names] if isinstance(names, str) else names, DecodingLimits(**limits))
    whole = bytearray()
    for part in through(decoder, pieces):
        assert 0 < len(part) <= 2 * decoding.PIECE
        whole += part
    return bytes(whole)


@pytest.fixture
def fresh_codings() -> Iterator[None]:
    decoding._available.cache_clear()
    yield
    decoding._available.cache_clear()


# -- what comes out -------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("data", [b"", b"a", TEXT, bytes(300_000)], ids=["none", "one", "text", "zeros"])
def test_round_trip(kind: str, data: bytes) -> None:
    name, body = encoded(kind, data)
    assert decode(name, body) == data


@EVERY
def test_byte_by_byte(kind: str) -> None:
    name, body = encoded(kind, TEXT[:500])
    assert decode(name, *(body[index : index + 1] for index in range(len(body)))) == TEXT[:500]


@given(
    kind=st.sampled_from(sorted(ENCODERS)),
    data=st.binary(max_size=300).map(lambda seed: seed * 50),
    cuts=st.lists(st.integers(0, 20_000), max_size=5),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_pieces_do_not_matter(kind: str, data: bytes, cuts: list[int]) -> None:
    name, body = encoded(kind, data)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    assert decode(name, *(body[start:end] for start, end in pairwise(edges))) == data


def test_chains_are_undone_from_the_outside() -> None:
    body = zstd.compress(brotli.compress(gzip.compress(TEXT)))
    assert decode(["gzip", "br", "zstd"], body[:100], body[100:]) == TEXT


@EVERY
def test_a_body_of_no_bytes_is_empty(kind: str) -> None:
    assert decode(ENCODERS[kind][0]) == b""
    assert decode([ENCODERS[kind][0], "br"], brotli.compress(b"")) == b""


def test_gzip_members_and_zstd_frames_follow_one_another() -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"two")
    assert decode("gzip", body) == b"one two"
    assert decode("gzip", *(body[index : index + 1] for index in range(len(body)))) == b"one two"
    assert decode("zstd", zstd.compress(b"one ") + zstd.compress(b"two")) == b"one two"


@pytest.mark.parametrize("padding", [bytes(1000), b"\n", b"\x1f", b"\x1fx", b"garbage"])
def test_what_follows_the_last_gzip_member_is_dropped(padding: bytes) -> None:
    body = gzip.compress(b"data")
    assert decode("gzip", body + padding) == decode("gzip", body, padding, b"more") == b"data"


# -- what is broken -------------------------------------------------------------------------------------


@EVERY
def test_a_cut_body(kind: str) -> None:
    name, body = encoded(kind, TEXT)
    for end in (1, 5, len(body) // 2, len(body) - 1):
        with pytest.raises(DecodingError, match=f"cut off: its {name}"):
            decode(name, body[:end])


@EVERY
def test_data_of_another_kind(kind: str) -> None:
    with pytest.raises(DecodingError, match=r"not valid|cut off"):
        decode(ENCODERS[kind][0], b"<!doctype html><p>this is no compressed data at all, not one bit of it")


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_a_checksum_that_is_wrong(kind: str) -> None:
    name, body = encoded(kind, TEXT)
    broken = bytearray(body)
    broken[-6 if kind == "gzip" else -1] ^= 1
    with pytest.raises(DecodingError, match=f"not valid {name}"):
        decode(name, bytes(broken))


@pytest.mark.parametrize("kind", ["deflate", "bare deflate", "br", "zstd"])
def test_something_after_the_end(kind: str) -> None:
    name, body = encoded(kind, TEXT)
    for pieces in ([body + b"\xffmore"], [body, b"\xffmore"]):
        with pytest.raises(DecodingError, match=f"not valid {name}"):
            decode(name, *pieces)


@given(kind=st.sampled_from(sorted(ENCODERS)), junk=st.binary(max_size=200), position=st.integers(0, 300))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_whatever_comes_ends_in_bytes_or_a_decoding_error(kind: str, junk: bytes, position: int) -> None:
    name, body = encoded(kind, TEXT[:2000])
    for data in (junk, body[:position] + junk + body[position + len(junk) :]):
        with suppress(DecodingError):
            decode(name, data)


@pytest.mark.parametrize("name", ["compress", "dcz", "utf-8", "aws-chunked"])
def test_an_unknown_coding(name: str) -> None:
    with pytest.raises(DecodingError, match=rf"encoded with '{name}', which cannot be undone here$"):
        decode(name, b"data")


def test_codings_whose_module_is_missing(monkeypatch: pytest.MonkeyPatch, fresh_codings: None) -> None:
    for name in ("brotli", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    assert accept_encoding() == "gzip, deflate"
    for name in ("br", "zstd"):
        with pytest.raises(DecodingError, match=r"pip install 'specter\[compression\]'"):
            decode(name, b"data")


def test_a_brotli_that_cannot_stop_is_not_used(monkeypatch: pytest.MonkeyPatch, fresh_codings: None) -> None:
    old: Any = types.ModuleType("brotli")
    old.Decompressor = type("Decompressor", (), {"process": lambda self, data: data})
    monkeypatch.setitem(sys.modules, "brotli", old)
    assert "br" not in accept_encoding().split(", ")


def test_what_is_asked_for() -> None:
    assert accept_encoding() == "gzip, deflate, br, zstd"


# -- limits ---------------------------------------------------------------------------------------------


@pytest.mark.security
@EVERY
def test_a_bomb(kind: str) -> None:
    """urllib3 GHSA-mf9v-mfxr-j63j: little data that expands without end."""
    name, body = encoded(kind, bytes(16 * MIB))
    tracemalloc.start()
    with pytest.raises(DecodingError, match="more than 250 times its size"):
        for _ in through(Decoder([name], DecodingLimits()), [body]):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MIB


@pytest.mark.security
def test_a_bomb_inside_a_chain() -> None:
    """urllib3 GHSA-gm62-xv2j-4w53: each coding multiplies what the one before it made."""
    for body in (
        gzip.compress(gzip.compress(bytes(16 * MIB))),
        gzip.compress(gzip.compress(b"") * 400_000),  # much in the middle, nothing in the end
    ):
        with pytest.raises(DecodingError, match="decompression bomb"):
            decode(["gzip", "gzip"], body)


@pytest.mark.security
def test_a_chain_that_is_too_long() -> None:
    """urllib3 GHSA-gm62-xv2j-4w53: any number of codings."""
    body = TEXT
    for _ in range(4):
        body = gzip.compress(body)
    with pytest.raises(DecodingError, match="encoded 4 times over, at most 3 are allowed"):
        decode(["gzip"] * 4, body)
    assert decode(["gzip"] * 4, body, max_codings=4) == TEXT
    with pytest.raises(DecodingError, match="encoded 1000 times over"):
        decode(["gzip"] * 1000, b"x")


@pytest.mark.security
def test_a_zstd_window_that_is_too_large() -> None:
    """A frame may claim a window of terabytes, for which a decoder would have to find the room."""
    with pytest.raises(DecodingError, match="not valid zstd"):
        decode("zstd", b"\x28\xb5\x2f\xfd\x00" + bytes([20 << 3]) + bytes(20))


@EVERY
def test_the_ratio_counts_from_four_megabytes_on(kind: str) -> None:
    name, body = encoded(kind, bytes(4 * MIB))
    assert decode(name, body) == bytes(4 * MIB)


@EVERY
def test_limits_can_be_set(kind: str) -> None:
    name, body = encoded(kind, bytes(6 * MIB))
    assert len(decode(name, body, max_ratio=None)) == 6 * MIB
    with pytest.raises(DecodingError, match="more than 5 times its size"):
        decode(name, body, max_ratio=5)
    with pytest.raises(DecodingError, match="more than 1000000 bytes"):
        decode(name, body, max_ratio=None, max_size=1_000_000)
    assert len(decode(name, body, max_ratio=None, max_size=6 * MIB)) == 6 * MIB


@pytest.mark.parametrize("name", ["max_codings", "max_ratio", "max_size"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        DecodingLimits(**{name: value})


def test_the_ways_to_ask_for_decoding() -> None:
    limits = DecodingLimits(max_size=5)
    assert make_limits(False) is None
    assert make_limits(True) == DecodingLimits()
    assert make_limits(limits) is limits


# -- which bodies -----------------------------------------------------------------------------------------


def decoded_reply(values: list[str], body: bytes, *, method: str = "GET", status: int = 200) -> bytes | None:
    headers = Headers([("content-encoding", value) for value in values])
    decoder = decoder_for(method, status, headers, DecodingLimits())
    return None if decoder is None else b"".join(through(decoder, [body]))


@pytest.mark.parametrize("values", [["GZip, BR"], ["gzip", "br"], ["gzip", "identity, br"], ["x-gzip,,br"]])
def test_the_header(values: list[str]) -> None:
    assert decoded_reply(values, brotli.compress(gzip.compress(b"data"))) == b"data"


@pytest.mark.parametrize("values", [[], [""], ["identity"], ["none"], ["identity", "none"]])
def test_no_coding(values: list[str]) -> None:
    assert decoded_reply(values, b"data") is None


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 206)])
def test_bodies_that_are_left_alone(method: str, status: int) -> None:
    assert decoded_reply(["gzip"], b"data", method=method, status=status) is None
