"""What became of a request: which HTTP it went over, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from specter.client.url import Origin

if TYPE_CHECKING:
    from specter.client.base_response import BaseResponse
    from specter.client.headers import Headers
    from specter.client.timing import Timing
    from specter.net.info import ConnectionInfo

__all__ = ["Outcome", "Reason", "report"]

logger = logging.getLogger("specter.httpx")


class Reason(StrEnum):
    """Why a request went the way it did."""

    ONLY = "HTTP/3 is the only choice"
    REUSED = "an HTTP/3 connection was there"
    FOUND = "the origin offers HTTP/3"
    NOT_OFFERED = "the origin is not known to offer HTTP/3"
    NOT_HTTPS = "HTTP/3 serves https URLs only"
    UNSUPPORTED = "the request asks for what HTTP/3 does not do"
    NO_ASYNCIO = "HTTP/3 needs asyncio"
    BROKEN = "HTTP/3 failed lately and is left alone for now"
    SLOW = "HTTP/3 was not connected in time"
    FAILED = "HTTP/3 could not be connected"
    REFUSED = "the request was not processed over HTTP/3"


_WORTH_KNOWING = frozenset({Reason.SLOW, Reason.FAILED, Reason.REFUSED})
"""HTTP/3 was to be used and was not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``response.extensions["specter"]``: which HTTP was used, and why.

    ``detail`` says more, an error message for example. ``via`` is where an HTTP/3 connection leads, when that is not
    the origin's own address.
    """

    http_version: str
    reason: Reason
    detail: str = ""
    via: str | None = None
    _response: BaseResponse | None = field(default=None, repr=False, compare=False)

    @property
    def connection(self) -> ConnectionInfo | None:
        """The HTTP/3 connection, with its figures of this moment; None for TCP."""
        return None if self._response is None else self._response.connection

    @property
    def timing(self) -> Timing | None:
        """When things happened, over HTTP/3; None for TCP."""
        return None if self._response is None else self._response.timing

    @property
    def informational(self) -> tuple[tuple[int, Headers], ...]:
        """Interim responses (1xx) that came before, over HTTP/3."""
        return () if self._response is None else self._response.informational

    def __str__(self) -> str:
        return f"{self.http_version}: {self.reason}{f' ({self.detail})' if self.detail else ''}"


def report(method: str, origin: Origin | str, outcome: Outcome) -> None:
    """Write the one line that a request leaves in the log: INFO when HTTP/3 was tried in vain, else DEBUG."""
    level = logging.INFO if outcome.reason in _WORTH_KNOWING else logging.DEBUG
    if logger.isEnabledFor(level):
        logger.log(level, "%s %s over %s", method, origin, outcome)
