"""Content codings undone piece by piece, within limits (RFC 9110, section 8.4.1; RFC 8878 and 9659 for zstd).

What is read from the network is fed in, and what comes out is made when it is asked for: at no time is there more of it
than a piece for each coding, whatever the server sends.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from specter.errors import DecodingError

if TYPE_CHECKING:
    from specter.client.headers import Headers

__all__ = ["DecodeTypes", "Decoder", "DecodingLimits", "accept_encoding", "decoder_for", "make_limits"]

PIECE: Final = 1 << 16
"""Bytes that a coding is asked for at a time, and that it gets at a time."""
FREE: Final = 4 << 20
"""Decoded bytes (4 MiB) before the ratio counts."""
ZSTD_WINDOW_LOG: Final = 23
"""zstd as a content coding needs no more than 8 MiB of window (RFC 9659)."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_NO_CODING: Final = frozenset({"", "identity", "none"})
_WHOLE: Final = frozenset({204, 206, 304})
"""Statuses without a body of their own, and the one whose body is a part of the encoded form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingLimits:
    """What decoding a body may cost; a body beyond it ends in a ``DecodingError``.

    * ``max_codings``: codings applied one after the other; three by default
    * ``max_ratio``: decoded bytes for each byte received, once there are more than 4 MiB of them; 250 by default, None
      for any
    * ``max_size``: decoded bytes in all; None, the default, for any

    Raises:
        ValueError: a limit that is not above 0.
    """

    max_codings: int = 3
    max_ratio: float | None = 250.0
    max_size: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value!r}")


DecodeTypes: TypeAlias = bool | DecodingLimits


def make_limits(decode: DecodeTypes) -> DecodingLimits | None:
    """Return the limits that ``decode`` stands for, None for leaving bodies as they are."""
    if isinstance(decode, DecodingLimits):
        return decode
    return DecodingLimits() if decode else None


# -- the codings ------------------------------------------------------------------------------------


class Coding(Protocol):
    """One coding of one body. ``expand`` may raise anything for data that is not of its kind."""

    @property
    def complete(self) -> bool:
        """Whether the body may end here."""

    def expand(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` stands for, about ``PIECE`` bytes at a time."""


def _inflated(engine: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    while True:
        piece = engine.decompress(data, PIECE)
        yield piece
        if engine.eof or len(piece) < PIECE:
            return
        data = engine.unconsumed_tail


class Gzip:
    """RFC 1952: members one behind the other. What follows them and is none is dropped, as gzip does."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(31)
        self._held = b""
        self._over = False

    @property
    def complete(self) -> bool:
        return self._member.eof

    def expand(self, data: bytes) -> Iterator[bytes]:
        data, self._held = self._held + data, b""
        while data and not self._over:
            if self._member.eof:
                if data == _GZIP_MAGIC[:1]:
                    self._held = data
                    return
                if not data.startswith(_GZIP_MAGIC):
                    self._over = True
                    return
                self._member = zlib.decompressobj(31)
            yield from _inflated(self._member, data)
            data = self._member.unused_data


class Deflate:
    """The zlib format (RFC 1950), or the bare deflate format (RFC 1951) that some servers send in its place."""

    def __init__(self) -> None:
        self._engine: zlib._Decompress | None = None
        self._held = b""

    @property
    def complete(self) -> bool:
        return self._engine is not None and self._engine.eof

    def expand(self, data: bytes) -> Iterator[bytes]:
        if self._engine is None:
            data = self._held + data
            if len(data) < 2:
                self._held = data
                return
            zlib_header = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
            self._engine = zlib.decompressobj(15 if zlib_header else -15)
        elif self._engine.eof:
            raise ValueError("it goes on after its end")
        yield from _inflated(self._engine, data)
        if self._engine.unused_data:
            raise ValueError("it goes on after its end")


class Brotli:
    """RFC 7932, by a ``brotli`` module that can stop at a limit (1.2 and newer)."""

    def __init__(self, module: Any) -> None:
        self._engine = module.Decompressor()

    @property
    def complete(self) -> bool:
        return bool(self._engine.is_finished())

    def expand(self, data: bytes) -> Iterator[bytes]:
        engine = self._engine
        piece = engine.process(data, output_buffer_limit=PIECE)
        while piece or not (engine.is_finished() or engine.can_accept_more_data()):
            yield piece
            piece = b"" if engine.is_finished() else engine.process(b"", output_buffer_limit=PIECE)


class Zstd:
    """RFC 8878: frames one behind the other."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._engine = self._open()

    def _open(self) -> Any:
        return self._module.ZstdDecompressor(
            options={self._module.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        )

    @property
    def complete(self) -> bool:
        return bool(self._engine.eof)

    def expand(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._engine.eof:
                self._engine = self._open()
            engine = self._engine
            yield engine.decompress(data, PIECE)
            while not engine.eof and not engine.needs_input:
                yield engine.decompress(b"", PIECE)
            data = engine.unused_data if engine.eof else b""


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _brotli() -> Callable[[], Coding] | None:
    module = _optional("brotli")
    if module is None or not hasattr(module.Decompressor, "can_accept_more_data"):  # before 1.2 it has no limit
        return None
    return lambda: Brotli(module)


def _zstd() -> Callable[[], Coding] | None:
    module = _optional("compression.zstd") or _optional("backports.zstd")
    return None if module is None else lambda: Zstd(module)


@cache
def _available() -> dict[str, Callable[[], Coding]]:
    """Return what makes each coding that can be undone here, in the order to ask for them."""
    found = {"gzip": Gzip, "deflate": Deflate, "br": _brotli(), "zstd": _zstd()}
    return {name: make for name, make in found.items() if make is not None}


def accept_encoding() -> str:
    """Return the value of Accept-Encoding: every coding that can be undone here."""
    return ", ".join(_available())


# -- a body -----------------------------------------------------------------------------------------


class _Stage:
    """One of the codings of a body, and what it made so far."""

    __slots__ = ("_coding", "name", "produced", "used")

    def __init__(self, name: str) -> None:
        make = _available().get("gzip" if name == "x-gzip" else name)
        if make is None:
            hint = "; pip install 'specter[compression]'" if name in ("br", "zstd") else ""
            raise DecodingError(f"the body is encoded with {name!r}, which cannot be undone here{hint}")
        self._coding = make()
        self.name = name
        self.produced = 0
        self.used = False

    def through(self, pieces: Iterable[bytes], check: Callable[[int], None]) -> Iterator[bytes]:
        """Yield what ``pieces`` stand for; ``check`` hears after every piece how much came out by now."""
        for piece in pieces:
            self.used = True
            try:
                for expanded in self._coding.expand(piece):
                    self.produced += len(expanded)
                    check(self.produced)
                    if expanded:
                        yield expanded
            except (DecodingError, MemoryError):
                raise
            except Exception as error:  # each module has its own
                raise DecodingError(f"the body is not valid {self.name}: {error}") from error

    def require_end(self) -> None:
        if self.used and not self._coding.complete:
            raise DecodingError(f"the body is cut off: its {self.name} data is not complete")


class Decoder:
    """Undoes the ``codings`` of one body: a step on the way of its pieces to the caller.

    ``feed`` and ``finish`` raise ``DecodingError``: for a coding that is not available, for data that is broken or cut
    off, and where ``limits`` are passed. A body of no bytes at all is taken as empty.
    """

    __slots__ = ("_codings", "_limits", "_received", "_stages")

    def __init__(self, codings: Sequence[str], limits: DecodingLimits) -> None:
        self._codings = codings
        self._limits = limits
        self._stages: list[_Stage] = []
        self._received = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Return what ``piece`` completes, to be taken before the next is fed."""
        if not self._stages:
            self._begin()
        pieces: Iterator[bytes] = self._slices(piece)
        for stage in self._stages[:-1]:
            pieces = stage.through(pieces, self._check_ratio)
        return self._stages[-1].through(pieces, self._check)

    def finish(self) -> tuple[bytes, ...]:
        """The body is over: raise if it should not be."""
        for stage in self._stages:
            stage.require_end()
        return ()

    def _begin(self) -> None:
        count, most = len(self._codings), self._limits.max_codings
        if count > most:
            raise DecodingError(f"the body is encoded {count} times over, at most {most} are allowed")
        self._stages = [_Stage(name) for name in reversed(self._codings)]

    def _slices(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._received += len(piece)
            yield piece

    def _check_ratio(self, produced: int) -> None:
        ratio = self._limits.max_ratio
        if ratio is not None and produced > FREE and produced > ratio * self._received:
            raise DecodingError(
                f"the body grows to more than {ratio:g} times its size when it is decoded: a decompression bomb?"
            )

    def _check(self, produced: int) -> None:
        self._check_ratio(produced)
        most = self._limits.max_size
        if most is not None and produced > most:
            raise DecodingError(f"the body has more than {most} bytes when it is decoded")


def decoder_for(method: str, status: int, headers: Headers, limits: DecodingLimits) -> Decoder | None:
    """Return what decodes a response's body, None where it is as it should be or not to be decoded.

    That is for HEAD, 204 and 304, which have no body, and for 206, whose body is a part of the encoded form.
    """
    if "content-encoding" not in headers or method == "HEAD" or status in _WHOLE:
        return None
    names = (name.lower() for name in headers.get_list("content-encoding", split_commas=True))
    codings = [name for name in names if name not in _NO_CODING]
    return Decoder(codings, limits) if codings else None
