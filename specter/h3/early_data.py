"""0-RTT in HTTP/3: settings remembered with a ticket, which the server must keep (RFC 9114, section 7.2.4.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from specter._wire import VARINT_MAX
from specter.h3.errors import H3Error, H3ErrorCode, H3Fault
from specter.h3.settings import Setting, Settings, decode_settings, encode_settings
from specter.tls.session import Session as TlsSession

__all__ = ["Tickets", "check_compatible", "recall"]

_KNOWN: Final = frozenset(Setting)


def recall(data: bytes) -> Settings:
    """Return the settings that :class:`Tickets` put into a session; defaults for none, or damaged ones."""
    try:
        return replace(Settings.from_pairs(decode_settings(data)), received=False)
    except H3Fault:
        return Settings()


def check_compatible(remembered: Settings, current: Settings) -> None:
    """Check the SETTINGS of a server that took early data: it may raise its limits, not lower or forget them.

    Raises ``H3Error``: QPACK_DECODER_STREAM_ERROR for another table capacity (RFC 9204, section 3.2.3),
    H3_SETTINGS_ERROR for the rest.
    """
    before, now = remembered, current
    if not before.pairs:
        return
    if before.qpack_max_table_capacity not in (0, now.qpack_max_table_capacity):
        reason = "the server changed its table capacity after it took early data"
        raise H3Error(H3ErrorCode.QPACK_DECODER_STREAM_ERROR, reason)
    left_out = before.max_field_section_size is not None and now.max_field_section_size is None
    if left_out or _limit(now.max_field_section_size) < _limit(before.max_field_section_size):
        raise _reduced("MAX_FIELD_SECTION_SIZE")
    if now.qpack_blocked_streams < before.qpack_blocked_streams:
        raise _reduced("QPACK_BLOCKED_STREAMS")
    if now.enable_connect_protocol < before.enable_connect_protocol:
        raise _reduced("ENABLE_CONNECT_PROTOCOL")
    if now.h3_datagram < before.h3_datagram:
        raise _reduced("H3_DATAGRAM")


def _limit(value: int | None) -> int:
    return VARINT_MAX if value is None else value


def _reduced(name: str) -> H3Error:
    return H3Error(H3ErrorCode.H3_SETTINGS_ERROR, f"the server took early data, then lowered or left out {name}")


class Tickets:
    """Session tickets, held back until the settings that belong to them are known. TLS limits how many there are."""

    __slots__ = ("_application", "_waiting")

    def __init__(self) -> None:
        self._application: bytes | None = None
        self._waiting: list[TlsSession] = []

    def arrived(self, session: TlsSession) -> list[TlsSession]:
        """Take a new one; return those that are ready to be kept."""
        self._waiting.append(session)
        return self._ready()

    def settle(self, settings: Settings) -> list[TlsSession]:
        """Hear of the server's settings; return the tickets that waited for them."""
        pairs = [(identifier, value) for identifier, value in settings.pairs if identifier in _KNOWN]
        self._application = encode_settings(pairs)
        return self._ready()

    def _ready(self) -> list[TlsSession]:
        if self._application is None:
            return []
        ready, self._waiting = self._waiting, []
        return [replace(session, application=self._application) for session in ready]
