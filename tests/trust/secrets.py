"""What must not be told to anybody: the secrets of a run, in every form they could slip out in, and where to look."""

from __future__ import annotations

import base64
import gc
import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from specter._backend import protection
from specter.testing.certificates import PrivateKey
from specter.tls.session import Session

SUITES = {32: 0x1301, 48: 0x1302}
"""A cipher suite for each size of a secret."""
PIECE = 12
"""Bytes of a secret that may not be found, at its beginning and at its end."""


def keylog_secrets(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the secrets of a key log, and every key that follows from them."""
    for line in path.read_text().splitlines():
        label, _client_random, text = line.split()
        secret = bytes.fromhex(text)
        yield label, secret
        yield from _traffic_keys(label, secret)
        if label.endswith("TRAFFIC_SECRET_0"):
            for update in range(1, 4):
                secret = _expand(secret, b"quic ku", len(secret))
                yield f"{label}, update {update}", secret
                yield from _traffic_keys(f"{label}, update {update}", secret)


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    return protection.expand_label(SUITES[len(secret)], secret, label, size)


def _traffic_keys(label: str, secret: bytes) -> Iterator[tuple[str, bytes]]:
    size = {32: 16, 48: 32}[len(secret)]
    yield f"{label}, key", _expand(secret, b"quic key", size)
    yield f"{label}, iv", _expand(secret, b"quic iv", 12)
    yield f"{label}, hp", _expand(secret, b"quic hp", size)


def session_secrets(sessions: Iterable[Session]) -> Iterator[tuple[str, bytes]]:
    for session in sessions:
        yield "PSK", session.secret
        yield "ticket", session.ticket


def private_key_secrets(key: PrivateKey) -> Iterator[tuple[str, bytes]]:
    """Yield the number that is the private key; it is in every way to write one."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    yield "private key", key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")


def spellings(secret: bytes) -> Iterator[str]:
    """Yield how ``secret`` looks in text: as it is, escaped, hexadecimal, base64 at each offset, as numbers."""
    for piece in {secret[:PIECE], secret[-PIECE:]}:
        yield piece.decode("latin-1")
        yield repr(piece)[2:-1]
        yield piece.hex()
        yield piece.hex().upper()
        yield piece.hex(":")
        yield ", ".join(map(str, piece))
        for offset in range(3):
            # Without the characters that the bytes before and behind it have a part in.
            coded = base64.b64encode(bytes(offset) + piece).decode()[4 if offset else 0 : -4]
            yield coded
            yield coded.replace("+", "-").replace("/", "_")
    yield str(int.from_bytes(secret, "big"))


class Search:
    """Looks for secrets in what was said; ``found`` lists what and where."""

    def __init__(self, secrets: Iterable[tuple[str, bytes]]) -> None:
        self.needles: dict[str, str] = {}
        for name, secret in secrets:
            for text in spellings(secret):
                self.needles.setdefault(text, name)
        self.found: list[str] = []
        self.searched = 0

    def text(self, where: str, text: str) -> None:
        self.searched += len(text)
        for needle, name in self.needles.items():
            if needle in text:
                start = max(0, text.index(needle) - 60)
                self.found.append(f"{name} in {where}: {text[start : start + 200]!r}")

    def data(self, where: str, data: bytes) -> None:
        self.text(where, data.decode("latin-1"))

    def error(self, where: str, error: BaseException) -> None:
        """Look into an exception, all that led to it, and what they hold."""
        self.text(where, "".join(traceback.format_exception(error)))
        seen: BaseException | None = error
        while seen is not None:
            self.text(where, f"{seen!s} {seen!r} {seen.args!r} {getattr(seen, '__dict__', {})!r}")
            seen = seen.__cause__ or seen.__context__

    def records(self, where: str, records: Iterable[logging.LogRecord]) -> None:
        for record in records:
            self.text(where, f"{record.getMessage()} {record.args!r} {record.exc_text or ''}")

    def folder(self, path: Path) -> None:
        for file in path.rglob("*"):
            if file.is_file():
                self.data(file.name, file.read_bytes())

    def objects(self) -> int:
        """Look at the ``repr`` of every object of ours there is; return how many there were."""
        ours = [thing for thing in gc.get_objects() if _is_ours(thing)]
        for thing in ours:
            self.text(f"repr of {type(thing).__qualname__}", repr(thing))
        return len(ours)


def _is_ours(thing: Any) -> bool:
    module = getattr(type(thing), "__module__", "")
    outside = ("specter.testing", "specter.cli")
    return isinstance(module, str) and module.startswith("specter.") and not module.startswith(outside)


def known(header_values: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield what headers hold that only their receiver may know."""
    for name, value in header_values.items():
        yield name, value.encode()
