"""What a request may have besides a head and a body."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from specter.h3.events import Headers
from specter.net.connection import Fields

__all__ = ["Extras"]


class Extras(NamedTuple):
    """Trailers, ``Expect: 100-continue``, and who wants to hear of interim responses."""

    trailers: Callable[[], Fields] | None = None
    """Gives the trailer section; called after the last piece of the body."""
    patience: int = 0
    """How long (ns) the body waits for a sign that it is wanted."""
    on_interim: Callable[[int, Headers], object] | None = None
    """Hears of each interim response before anything that comes after it; may return something to await."""
