"""Fewer, fuller bursts in a fast download: what interrupt moderation does for a network card."""

from __future__ import annotations

from typing import Final

from specter.net import clock

__all__ = ["Gathering"]

PAUSE: Final = 300e-6
"""How long (seconds) datagrams gather before they are read."""
ENOUGH: Final = 512
"""Datagrams without a lull that make a download worth it ..."""
DENSE: Final = 3
"""... if a wake-up finds this many on average."""
LULL: Final = 7 * clock.SECOND // 10_000
"""A wait this long (ns) ends a download."""

_WEIGHT: Final = 16


class Gathering:
    """Decides whether to let datagrams gather before the next read.

    A reader that is as fast as its server wakes up for a handful of datagrams each time, and pays for the wake-ups
    more than for the datagrams. In a long and dense download ``pause`` is ``PAUSE``, short against the round trip of
    any network that is not within one machine; otherwise it is 0.
    """

    __slots__ = ("_average", "_flow", "pause")

    def __init__(self) -> None:
        self._flow = 0
        self._average = 0  # of the datagrams a wake-up finds, times _WEIGHT
        self.pause = 0.0
        """Seconds to sleep before looking at the socket."""

    def count(self, datagrams: int, waited: int) -> None:
        """Note what one wake-up found, after ``waited`` nanoseconds."""
        self._flow = datagrams if waited > LULL else self._flow + datagrams
        self._average += datagrams - self._average // _WEIGHT
        dense = self._average >= DENSE * _WEIGHT
        self.pause = PAUSE if dense and self._flow >= ENOUGH else 0.0
