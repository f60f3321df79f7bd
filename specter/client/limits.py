"""How many connections a client may have, and how long it keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on a client's connections; None means none.

    * ``max_connections``: at once, those in the making included. A request that needs one more closes the longest
      unused; where all are in use it waits, for ``Timeouts.pool`` at most. None by default
    * ``max_per_origin``: at once to one origin. One is enough for any number of requests until the server's limit on
      streams is reached: then requests wait for a stream, or with more than 1 take another connection. 1 by default
      (RFC 9114, section 3.3)
    * ``max_idle``: connections that nobody uses are closed beyond this number, the longest unused first, when a new
      one is made. 100 by default
    * ``idle_expiry``: seconds after which an unused connection is not used again. Without it the idle timeout that
      client and server agreed on counts, as it does anyway

    Raises:
        ValueError: a limit that is not above 0 (``max_idle`` may be 0).
    """

    max_connections: int | None = None
    max_per_origin: int = 1
    max_idle: int | None = 100
    idle_expiry: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_per_origin", "idle_expiry"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value!r}")
        if self.max_idle is not None and not self.max_idle >= 0:
            raise ValueError(f"max_idle must not be negative, not {self.max_idle!r}")


DEFAULT_LIMITS: Final = Limits()
