"""Names for the fixtures of ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

import specter
from specter.testing.server import Server

StartServer: TypeAlias = Callable[..., Server]
MakeClient: TypeAlias = Callable[..., specter.Client]

blocking_only = pytest.mark.parametrize("kind", ["blocking"])
"""For tests of what only threads do."""
