"""Alternative services by origin: learnt from Alt-Svc fields, kept while fresh, in a file if asked for (RFC 7838)."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from specter.client.altsvc import MAX_AGE, MAX_ALTERNATIVES, Alternative, parse_alt_svc
from specter.client.url import Origin
from specter.net.clock import SECOND
from specter.net.files import replace_file

__all__ = ["LIMIT", "AltSvcCache"]

LIMIT: Final = 1000
"""Origins whose alternatives are kept; those longest not heard of are forgotten first."""
MISDIRECTED: Final = 421
LARGEST_FILE: Final = 1 << 24
FORMAT: Final = 1
REFRESH: Final = 60 * SECOND
"""The same field again within this time (ns) is no news."""

logger = logging.getLogger("specter")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one origin said, and when (ns)."""

    alternatives: tuple[Alternative, ...]
    heard: int

    def fresh(self, now: int) -> tuple[Alternative, ...]:
        """What counts ``now``; nothing does that was heard in the future: the clock was set."""
        if self.heard > now + REFRESH:
            return ()
        return tuple(item for item in self.alternatives if now < self.heard + item.max_age * SECOND)


class AltSvcCache:
    """Remembers which origins have alternative services. Time is an argument, the system's clock in nanoseconds.

    With a ``path`` it starts from that file, and :meth:`save` writes it. Only what came from an authenticated
    server may be given to it. For any number of threads.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, limit: int = LIMIT) -> None:
        self._path = None if path is None else Path(path)
        self._limit = limit
        self._entries: dict[Origin, _Entry] = {}
        self._lock = threading.Lock()
        self._changed = False
        if self._path is not None:
            self._load(self._path)

    def __len__(self) -> int:
        return len(self._entries)

    # -- learning ---------------------------------------------------------------------------------

    def learn(self, origin: Origin, status: int, fields: Sequence[tuple[bytes, bytes]], now: int) -> bool:
        """Take over what a response of ``origin`` says, which replaces all that it said before.

        Returns:
            False when the origin has no alternatives any more (``clear``), else True.
        """
        values = [value for name, value in fields if name == b"alt-svc"]
        if not values or status == MISDIRECTED:
            return True
        alternatives = parse_alt_svc(values[0] if len(values) == 1 else b",".join(values))
        if alternatives is None:
            return True
        heard = now - _age(fields) * SECOND
        known = self._entries.get(origin)
        if known is None or known.alternatives != alternatives or abs(heard - known.heard) > REFRESH:
            self._put(origin, _Entry(alternatives, heard))
        return bool(alternatives)

    def _put(self, origin: Origin, entry: _Entry) -> None:
        with self._lock:
            before = self._entries.pop(origin, None)
            if entry.alternatives:
                self._entries[origin] = entry
            elif before is None:
                return
            while len(self._entries) > self._limit:
                del self._entries[next(iter(self._entries))]
            self._changed = True

    # -- asking -----------------------------------------------------------------------------------

    def alternatives(self, origin: Origin, now: int, protocol: bytes = b"h3") -> tuple[Alternative, ...]:
        """Return the fresh alternatives that speak ``protocol``, the most preferred first."""
        entry = self._entries.get(origin)
        if entry is None:
            return ()
        return tuple(item for item in entry.fresh(now) if item.protocol == protocol)

    # -- forgetting -------------------------------------------------------------------------------

    def remove(self, origin: Origin, host: str, port: int) -> None:
        """Forget one alternative: it said that it is not responsible (421; RFC 7838, section 6)."""
        entry = self._entries.get(origin)
        if entry is not None:
            kept = tuple(item for item in entry.alternatives if ((item.host or origin.host), item.port) != (host, port))
            self._put(origin, _Entry(kept, entry.heard))

    def network_changed(self) -> None:
        """Forget what was not meant to outlive a change of networks (``persist``; RFC 7838, section 2.2)."""
        for origin, entry in list(self._entries.items()):
            kept = tuple(item for item in entry.alternatives if item.persist)
            if kept != entry.alternatives:
                self._put(origin, _Entry(kept, entry.heard))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._changed = self._changed or bool(self._entries)
            self._entries.clear()

    # -- the file ---------------------------------------------------------------------------------

    def save(self, now: int) -> None:
        """Write what is fresh to the file, if there is one and anything changed: in one step, for the owner's eyes.

        Raises:
            OSError: it cannot be written.
        """
        if self._path is None:
            return
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            entries = [
                {
                    "host": origin.host,
                    "port": origin.port,
                    "heard": entry.heard // SECOND,
                    "alternatives": [_plain(item) for item in fresh],
                }
                for origin, entry in self._entries.items()
                if (fresh := entry.fresh(now))
            ]
        replace_file(os.fspath(self._path), json.dumps({"format": FORMAT, "origins": entries}, indent=1))

    def _load(self, path: Path) -> None:
        """Take what a file holds; one that is not readable or not ours is as good as none."""
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise ValueError("the file is too large")
            content = json.loads(path.read_bytes())
            entries = dict(_entry(item) for item in content["origins"]) if content["format"] == FORMAT else {}
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("the alternative services in %s are not used: %s", path, error)
            return
        newest = sorted(entries.items(), key=lambda item: item[1].heard)[-self._limit :]
        self._entries.update(newest)


def _age(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """Return how many seconds a cache on the way kept the response (RFC 9111, section 5.1)."""
    for name, value in fields:
        if name == b"age" and value.isdigit():
            return min(int(value[:10]), MAX_AGE)
    return 0


def _plain(item: Alternative) -> dict[str, Any]:
    return {**asdict(item), "protocol": item.protocol.decode("latin-1")}


def _entry(item: dict[str, Any]) -> tuple[Origin, _Entry]:
    """Read one origin of the file. Raises what a malformed one leads to."""
    origin = Origin(_text(item["host"]), _number(item["port"], 65_535))
    alternatives = tuple(_alternative(value) for value in item["alternatives"][:MAX_ALTERNATIVES])
    return origin, _Entry(alternatives, _number(item["heard"], 1 << 40) * SECOND)


def _alternative(item: dict[str, Any]) -> Alternative:
    return Alternative(
        protocol=_text(item["protocol"]).encode("latin-1"),
        host=_text(item["host"]),
        port=_number(item["port"], 65_535),
        max_age=_number(item["max_age"], MAX_AGE),
        persist=item["persist"] is True,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _number(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} is not a number up to {most}")
    return value
