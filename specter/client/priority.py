"""How important a response is to the client (RFC 9218)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Priority"]

DEFAULT_URGENCY: Final = 3


@dataclass(frozen=True, slots=True)
class Priority:
    """What the server is told about the order in which responses are wanted (RFC 9218, section 4).

    * ``urgency``: 0, the most urgent, to 7; 3 is usual
    * ``incremental``: whether a part of the response is of use before the rest is there

    ``str(priority)`` is the value of the Priority header field. A server may do with it what it likes.

    Raises:
        ValueError: an urgency that is not 0 to 7.
    """

    urgency: int = DEFAULT_URGENCY
    incremental: bool = False

    def __post_init__(self) -> None:
        if self.urgency not in range(8):
            raise ValueError(f"an urgency is 0 to 7, not {self.urgency!r}")

    def __str__(self) -> str:
        return f"u={self.urgency}, i" if self.incremental else f"u={self.urgency}"

    @classmethod
    def parse(cls, value: str) -> Priority:
        """Return what a Priority field value says; what is missing, unknown or malformed counts as not said."""
        urgency, incremental = DEFAULT_URGENCY, False
        for member in value.split(","):
            key, _, said = member.partition(";")[0].strip(" \t").partition("=")
            if key == "u" and len(said) == 1 and said in "01234567":
                urgency = int(said)
            elif key == "i" and said in ("", "?0", "?1"):
                incremental = said != "?0"
        return cls(urgency, incremental)
