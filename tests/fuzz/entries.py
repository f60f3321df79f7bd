"""All entry points by name."""

from __future__ import annotations

from tests.fuzz import engine, http, quic, tls, web
from tests.fuzz.entry import Entry

ENTRIES: dict[str, Entry] = {entry.name: entry for module in (quic, tls, http, web, engine) for entry in module.ENTRIES}
