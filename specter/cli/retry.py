"""``--retry``: which failures may pass, and how long to wait for that."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final

import specter
from specter.cli.failure import Failure

__all__ = ["StatusFailure", "delays", "may_pass", "retry_after"]

TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
LONGEST: Final = 600.0
"""Seconds that are waited at most, whatever a server asks for."""


class StatusFailure(Failure):
    """The server answered, with a status that is a failure; ``wait`` is how long it says to wait (seconds)."""

    def __init__(self, message: str, status: int, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait


def may_pass(error: Exception) -> bool:
    """Whether the same request may work a little later."""
    if isinstance(error, StatusFailure):
        return error.status in TRANSIENT
    if isinstance(error, specter.CertificateError):
        return False
    return isinstance(error, specter.Timeout | specter.ConnectError | specter.NetworkError | specter.StreamReset)


def delays(fixed: float | None) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt."""
    delay = 1.0
    while True:
        yield delay if fixed is None else fixed
        delay = min(2 * delay, LONGEST)


def retry_after(response: specter.Response) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, section 10.2.3), at most ``LONGEST``."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST) if len(value) < 10 else LONGEST
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return min(max((moment - datetime.datetime.now(datetime.UTC)).total_seconds(), 0.0), LONGEST)
