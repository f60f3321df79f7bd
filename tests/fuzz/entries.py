"""All entry points by name."""

from __future__ import annotations

from tests.fuzz import answers, engine, files, http, quic, tls, web
from tests.fuzz.entry import Entry

MODULES = (quic, tls, http, web, answers, files, engine)
ENTRIES: dict[str, Entry] = {entry.name: entry for module in MODULES for entry in module.ENTRIES}
