"""The fixtures that users of the package get, as they get them."""

from __future__ import annotations

from specter.testing.fixtures import specter_server, specter_server_factory

__all__ = ["specter_server", "specter_server_factory"]
