"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("specter", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("specter")
