"""Randomness as an argument: the engine never asks the operating system itself."""

from __future__ import annotations

import hashlib
from typing import Protocol


class Entropy(Protocol):
    """A source of unpredictable bytes."""

    def token(self, size: int) -> bytes:
        """Return ``size`` fresh bytes."""
        ...


class SeededEntropy:
    """Reproducible bytes from a seed, for tests and replays; never for a real connection."""

    def __init__(self, seed: bytes | int | str) -> None:
        material = seed if isinstance(seed, bytes) else str(seed).encode()
        self._key = hashlib.sha256(material).digest()
        self._counter = 0

    def token(self, size: int) -> bytes:
        self._counter += 1
        block = self._key + self._counter.to_bytes(8, "big")
        return hashlib.shake_256(block).digest(size)
