"""How one HTTP/3 connection behaves; nothing here changes after it started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class H3Config:
    """Limits on what the peer may make us hold, and what we announce. Sizes are bytes."""

    max_field_section_size: int = 65_536
    """Largest header, interim or trailer section we take, counted as in RFC 9114, section 4.2.2.

    It also limits the encoded form. A larger section ends its exchange with H3_EXCESSIVE_LOAD.
    """
    max_field_lines: int = 512
    """Most field lines in one section; more end the exchange with H3_EXCESSIVE_LOAD.

    Decoding one section takes at most about ``max_field_lines * qpack_max_table_capacity`` bytes for a moment,
    because a one-byte representation can stand for an entry as large as the dynamic table.
    """
    max_interim_responses: int = 32
    """Most 1xx responses before the final one; more end the exchange with H3_EXCESSIVE_LOAD."""

    qpack_max_table_capacity: int = 4096
    """The dynamic table we keep for the peer's encoder, and the most we use of the one it offers."""
    qpack_blocked_streams: int = 16
    """Streams that may wait for the peer's encoder stream, and the most of ours that we let wait at the peer."""
    max_blocked_bytes: int = 256 << 10
    """Encoded sections held for blocked streams, all together; more close with H3_EXCESSIVE_LOAD."""

    enable_connect_protocol: bool = False
    """Accept extended CONNECT (RFC 9220); a server's setting."""
    grease: bool = True
    """Send one reserved setting and one reserved frame (RFC 9114, sections 7.2.4.1 and 7.2.8)."""
    settings: tuple[tuple[int, int], ...] | None = None
    """The exact SETTINGS to send, in order, instead of those made from the limits above. GREASE still follows.

    They must not promise more than the limits above, and name the same table capacity or none.
    """

    def __post_init__(self) -> None:
        for name in ("max_field_section_size", "max_field_lines", "max_interim_responses", "max_blocked_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive")
        if not 0 <= self.qpack_max_table_capacity <= 1 << 24:
            raise ValueError("qpack_max_table_capacity must be 0 to 16 MiB")
        if not 0 <= self.qpack_blocked_streams <= 1 << 16:
            raise ValueError("qpack_blocked_streams must be 0 to 65536")
        self._check_announced(dict(self.settings or ()))

    def _check_announced(self, announced: dict[int, int]) -> None:
        if announced.get(0x01, self.qpack_max_table_capacity) != self.qpack_max_table_capacity:
            raise ValueError("settings name another QPACK table capacity than qpack_max_table_capacity")
        if announced.get(0x07, 0) > self.qpack_blocked_streams:
            raise ValueError("settings allow more blocked streams than qpack_blocked_streams")
        if announced.get(0x06, 0) > self.max_field_section_size:
            raise ValueError("settings allow larger field sections than max_field_section_size")
