"""TLS sessions in a file. It holds secrets, so it has to be its owner's alone."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final, TypeAlias

from specter.net.files import replace_file
from specter.tls.session import Session

__all__ = ["Key", "load", "save"]

Key: TypeAlias = tuple[str, int, str]
"""Host, port, and what the client trusts and shows there."""

FORMAT: Final = 1
LARGEST: Final = 1 << 25
"""Bytes of the largest file that is read."""


def load(path: str) -> list[tuple[Key, Session]]:
    """Return the sessions of a file, in its order; entries that are damaged are left out.

    Raises:
        PermissionError: others may read the file, or it is somebody else's.
        OSError: it cannot be read; FileNotFoundError: there is none.
        ValueError: it is not such a file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _require_private(path, status)
        if status.st_size > LARGEST:
            raise ValueError("it is too large")
        data = file.read(LARGEST)
    try:
        content = json.loads(data)
        items = content["sessions"] if content["format"] == FORMAT else []
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    return [entry for item in items if (entry := _decode(item)) is not None] if isinstance(items, list) else []


def _require_private(path: str, status: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise PermissionError(f"{path} holds TLS secrets and others may read or change it: chmod 600 {path}")
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} holds TLS secrets and belongs to another user")


def save(path: str, entries: Sequence[tuple[Key, Session]]) -> None:
    """Write sessions into the place of a file, which only its owner can read. Raises OSError."""
    replace_file(path, json.dumps({"format": FORMAT, "sessions": [_encode(*entry) for entry in entries]}))


def _encode(key: Key, session: Session) -> dict[str, Any]:
    item: dict[str, Any] = {"key": list(key)}
    for name in _FIELDS:
        value = getattr(session, name)
        if isinstance(value, bytes):
            value = _text(value)
        elif isinstance(value, tuple):
            value = [_text(each) for each in value]
        item[name] = value
    return item


def _decode(item: Any) -> tuple[Key, Session] | None:
    try:
        host, port, partition = item["key"]
        values = {name: _read(kind, item[name]) for name, kind in _FIELDS.items()}
        return (_read("str", host), _read("int", port), _read("str", partition)), Session(**values)
    except (ValueError, LookupError, TypeError):
        return None


def _read(kind: str, value: Any) -> Any:
    """Return a value of the file as what it stands for. Raises TypeError or ValueError when it is something else."""
    if kind == "bytes":
        return base64.b64decode(value, validate=True)
    if kind == "tuple[bytes, ...]":
        return tuple(base64.b64decode(each, validate=True) for each in value)
    if type(value).__name__ != kind or (kind == "int" and not 0 <= value < 1 << 63):
        raise TypeError(f"{value!r} is not {kind}")
    return value


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_FIELDS: Final[dict[str, str]] = {field.name: str(field.type) for field in fields(Session)}
"""The names of a session's values, and what they are."""
