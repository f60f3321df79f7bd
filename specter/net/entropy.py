"""Randomness from the operating system, for real connections."""

from __future__ import annotations

import os


class SystemEntropy:
    """The system's cryptographic random numbers."""

    __slots__ = ()

    def token(self, size: int) -> bytes:
        return os.urandom(size)
