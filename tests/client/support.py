"""Names for the fixtures of ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import specter
from specter.testing.server import Server

StartServer: TypeAlias = Callable[..., Server]
MakeClient: TypeAlias = Callable[..., specter.Client]
