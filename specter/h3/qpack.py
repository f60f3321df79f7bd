"""Field sections over pylsqpack, with limits on everything the peer can make us hold (RFC 9204).

What one encoded section may cost: a representation takes at least one byte and stands for one field line, whose
size is at most that of the dynamic table or, for literals, 8/5 of its Huffman-coded bytes. So a section of at
most ``max_field_lines`` bytes needs no look; a longer one is walked first and refused, undecoded, when it holds
more lines than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import pylsqpack

from specter.h3.errors import H3Error, H3ErrorCode, H3StreamError

if TYPE_CHECKING:
    from specter.h3.config import H3Config
    from specter.h3.settings import Settings
    from specter.h3.writer import StreamWriter

Lines: TypeAlias = list[tuple[bytes, bytes]]

__all__ = ["FieldDecoder", "FieldEncoder", "Lines", "check_line_count"]

MAX_UNACKNOWLEDGED: Final = 256
"""Streams whose sections the peer has not acknowledged before we stop using the dynamic table."""
MAX_STRING: Final = 65_535
"""The longest name or value the library encodes or decodes."""
_MAX_INTEGER_BYTES: Final = 10
_EMPTY_SECTION: Final = b"\0\0"


class FieldDecoder:
    """Decodes the peer's field sections; what it has to say goes to ``output``, our decoder stream."""

    def __init__(self, config: H3Config, output: StreamWriter) -> None:
        self._decoder = pylsqpack.Decoder(config.qpack_max_table_capacity, config.qpack_blocked_streams)
        self._config = config
        self._output = output
        self._blocked: dict[int, int] = {}
        self.blocked_bytes = 0

    def decode(self, stream_id: int, block: bytes) -> Lines | None:
        """Return the field lines; ``None`` when they wait for the encoder stream (``feed`` then has them).

        Raises ``H3StreamError`` H3_EXCESSIVE_LOAD for too many lines, ``H3Error`` for the rest.
        """
        if len(block) > self._config.max_field_lines:
            check_line_count(block, self._config.max_field_lines)
        try:
            acknowledgment, lines = self._decoder.feed_header(stream_id, block)
        except pylsqpack.StreamBlocked:
            self._hold(stream_id, len(block))
            return None
        except pylsqpack.DecompressionFailed:
            if block == _EMPTY_SECTION:  # correct, but nothing the library accepts
                return []
            raise _undecodable(stream_id) from None
        if acknowledgment:
            self._output.push(acknowledgment)
        return lines

    def _hold(self, stream_id: int, size: int) -> None:
        self._blocked[stream_id] = size
        self.blocked_bytes += size
        if len(self._blocked) > self._config.qpack_blocked_streams:
            raise H3Error(H3ErrorCode.QPACK_DECOMPRESSION_FAILED, "too many blocked streams")
        if self.blocked_bytes > self._config.max_blocked_bytes:
            raise H3Error(H3ErrorCode.H3_EXCESSIVE_LOAD, "blocked field sections take too many bytes")

    def feed(self, data: bytes) -> list[int]:
        """Take bytes of the peer's encoder stream; return the streams that ``resume`` can serve now."""
        try:
            return self._decoder.feed_encoder(data)
        except pylsqpack.EncoderStreamError:
            raise H3Error(H3ErrorCode.QPACK_ENCODER_STREAM_ERROR, "bad encoder instruction") from None

    def resume(self, stream_id: int) -> Lines:
        self._release(stream_id)
        try:
            acknowledgment, lines = self._decoder.resume_header(stream_id)
        except (pylsqpack.DecompressionFailed, pylsqpack.StreamBlocked):
            raise _undecodable(stream_id) from None
        if acknowledgment:
            self._output.push(acknowledgment)
        return lines

    def cancel(self, stream_id: int) -> None:
        """Tell the peer's encoder that this stream's sections will not be read (RFC 9204, section 2.2.2.2)."""
        self._release(stream_id)
        if self._config.qpack_max_table_capacity:
            self._output.push(self._decoder.cancel_stream(stream_id))

    def _release(self, stream_id: int) -> None:
        self.blocked_bytes -= self._blocked.pop(stream_id, 0)


def _undecodable(stream_id: int) -> H3Error:
    return H3Error(H3ErrorCode.QPACK_DECOMPRESSION_FAILED, f"field section of stream {stream_id} does not decode")


class FieldEncoder:
    """Encodes our field sections; instructions go to ``output``, our encoder stream.

    Without the peer's settings, while the encoder stream is stuck, or when the peer acknowledges nothing, sections
    use the static table only: they never wait for another stream and add no state.
    """

    def __init__(self, config: H3Config, output: StreamWriter) -> None:
        self._encoder = pylsqpack.Encoder()
        self._static = pylsqpack.Encoder()
        self._last: tuple[Lines, bytes] = ([], _EMPTY_SECTION)
        self._config = config
        self._output = output
        self._dynamic = False
        self._acknowledgments = AcknowledgmentCounter()

    def apply(self, settings: Settings) -> None:
        """Use the table the peer offers, as far as we want it."""
        capacity = min(settings.qpack_max_table_capacity, self._config.qpack_max_table_capacity)
        if capacity == 0:
            return
        blocked = min(settings.qpack_blocked_streams, self._config.qpack_blocked_streams)
        self._output.push(self._encoder.apply_settings(capacity, blocked))
        self._dynamic = True

    def encode(self, stream_id: int, lines: Lines) -> bytes:
        """Return an encoded field section."""
        if not self._dynamic or self._output.pending or self._acknowledgments.missing >= MAX_UNACKNOWLEDGED:
            return self._encode_static(lines)
        instructions, block = self._encoder.encode(stream_id, lines)
        if instructions:
            self._output.push(instructions)
        if block[0]:
            self._acknowledgments.expect(stream_id)
        return block

    def _encode_static(self, lines: Lines) -> bytes:
        """Encode without state: the same lines always give the same bytes, so those of the last section are kept."""
        if lines == self._last[0]:
            return self._last[1]
        block: bytes = self._static.encode(0, lines)[1]
        self._last = lines.copy(), block
        return block

    def feed(self, data: bytes) -> None:
        """Take bytes of the peer's decoder stream."""
        try:
            self._encoder.feed_decoder(data)
        except pylsqpack.DecoderStreamError:
            raise H3Error(H3ErrorCode.QPACK_DECODER_STREAM_ERROR, "bad decoder instruction") from None
        self._acknowledgments.feed(data)


class AcknowledgmentCounter:
    """Counts the streams whose sections refer to the dynamic table and are not acknowledged."""

    def __init__(self) -> None:
        self._sections: dict[int, int] = {}
        self._partial = b""

    @property
    def missing(self) -> int:
        return len(self._sections)

    def expect(self, stream_id: int) -> None:
        self._sections[stream_id] = self._sections.get(stream_id, 0) + 1

    def feed(self, data: bytes) -> None:
        data = self._partial + data
        pos = 0
        while pos < len(data):
            first = data[pos]
            try:
                value, after = _read_integer(data, pos, 7 if first & 0x80 else 6)
            except IndexError:
                break
            self._apply(first, value)
            pos = after
        self._partial = data[pos:]

    def _apply(self, first: int, stream_id: int) -> None:
        if first & 0x80:
            left = self._sections.get(stream_id, 0) - 1
            if left > 0:
                self._sections[stream_id] = left
                return
        elif not first & 0x40:
            return
        self._sections.pop(stream_id, None)


def _read_integer(data: bytes, pos: int, prefix: int) -> tuple[int, int]:
    """Return a prefixed integer and the position after it; ``IndexError`` when it is cut off."""
    limit = (1 << prefix) - 1
    value = data[pos] & limit
    pos += 1
    if value < limit:
        return value, pos
    for shift in range(0, 7 * _MAX_INTEGER_BYTES, 7):
        byte = data[pos]
        pos += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
    raise H3Error(H3ErrorCode.QPACK_DECOMPRESSION_FAILED, "integer too long")


def check_line_count(block: bytes, limit: int) -> None:
    """Walk an encoded section without decoding it.

    Raises ``H3StreamError`` H3_EXCESSIVE_LOAD for more than ``limit`` lines and ``H3Error``
    QPACK_DECOMPRESSION_FAILED for a section that ends inside a representation.
    """
    try:
        _, pos = _read_integer(block, 0, 8)
        _, pos = _read_integer(block, pos, 7)
        lines = 0
        while pos < len(block):
            lines += 1
            if lines > limit:
                raise H3StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, f"more than {limit} field lines")
            pos = _skip_line(block, pos)
    except IndexError:
        pos = len(block) + 1
    if pos > len(block):
        raise H3Error(H3ErrorCode.QPACK_DECOMPRESSION_FAILED, "field section ends inside a field line")


def _skip_line(block: bytes, pos: int) -> int:
    first = block[pos]
    if first & 0x80:
        return _read_integer(block, pos, 6)[1]
    if first & 0x40:
        _, pos = _read_integer(block, pos, 4)
    elif first & 0x20:
        length, pos = _read_integer(block, pos, 3)
        pos += length
    elif first & 0x10:
        return _read_integer(block, pos, 4)[1]
    else:
        _, pos = _read_integer(block, pos, 3)
    length, pos = _read_integer(block, pos, 7)
    return pos + length
