"""Event logs as files: one a connection, JSON text sequences (``.sqlog``) as qvis and other tools read them."""

from __future__ import annotations

import json
import logging
import os
import time
import weakref
from pathlib import Path
from typing import Any, Final

from specter._version import __version__

__all__ = ["QlogDirectory"]

logger = logging.getLogger("specter.qlog")

BUFFER: Final = 64 << 10
"""Characters held before they are written."""
DELAY: Final = 1_000_000_000
"""Nanoseconds on the connection's clock after which they are written although they are fewer."""
RECORD_SEPARATOR: Final = "\x1e"
"""RFC 7464."""


class QlogDirectory:
    """Opens ``DIR/<original destination id>_client.sqlog`` for each connection; goes into ``QuicConfig.qlog``.

    Files can be read by their owner alone: they tell what was fetched. A file that cannot be written is given up
    with a warning in the log; the connection goes on.

    Raises:
        OSError: the directory is not there and cannot be made.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = Path(directory)
        self.path.mkdir(parents=True, exist_ok=True)

    def __call__(self, original_dcid: bytes, is_client: bool, now: int) -> QlogFile:
        """Return the sink of a new connection; its clock shows ``now`` (ns)."""
        role = "client" if is_client else "server"
        return QlogFile(self.path / f"{original_dcid.hex()}_{role}.sqlog", original_dcid, role, now)


class QlogFile:
    """Writes the events of one connection, a record each, and holds little of them."""

    def __init__(self, path: Path, original_dcid: bytes, role: str, now: int) -> None:
        self._started = self._written = now
        self._file = _File(path)
        weakref.finalize(self, self._file.close)
        self._file.put(_header(original_dcid, role))

    def write(self, time: int, name: str, data: dict[str, Any]) -> None:
        """Take an event; ``time`` is the connection's clock (ns)."""
        moment = (time - self._started) / 1_000_000
        self._file.put({"time": round(moment, 6), "name": name, "data": data})
        if self._file.waiting >= BUFFER or time - self._written >= DELAY:
            self._written = time
            self._file.flush()

    def finish(self) -> None:
        """Write the rest and close the file."""
        self._file.close()


class _File:
    """Text on its way to a descriptor; it belongs to the process that opened it."""

    def __init__(self, path: Path) -> None:
        self.waiting = 0
        self._texts: list[str] = []
        self._path = path
        self._owner = os.getpid()
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            self._give_up(error)

    def put(self, record: dict[str, Any]) -> None:
        if self._descriptor >= 0:
            text = json.dumps(record, separators=(",", ":"))
            self._texts += (RECORD_SEPARATOR, text, "\n")
            self.waiting += len(text) + 2

    def flush(self) -> None:
        texts, self._texts, self.waiting = self._texts, [], 0
        if self._descriptor < 0 or not texts or os.getpid() != self._owner:
            return
        view = memoryview("".join(texts).encode())
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        self.flush()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _give_up(self, error: OSError) -> None:
        logger.warning("no qlog in %s: %s", self._path, error.strerror)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _header(original_dcid: bytes, role: str) -> dict[str, Any]:
    common = {
        "ODCID": original_dcid.hex(),
        "group_id": original_dcid.hex(),
        "protocol_type": ["QUIC", "HTTP3"],
        "time_format": "relative",
        "reference_time": time.time() * 1000,
    }
    return {
        "qlog_version": "0.3",
        "qlog_format": "JSON-SEQ",
        "title": f"specter {__version__}",
        "trace": {"vantage_point": {"name": "specter", "type": role}, "common_fields": common},
    }
