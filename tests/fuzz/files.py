"""Entry points for the files that a client keeps: whatever they hold, they are used or left out."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from specter._entropy import SeededEntropy
from specter.client.altsvc_cache import AltSvcCache
from specter.client.url import Origin
from specter.h3.connection import H3Connection
from specter.net import session_file
from specter.net.sessions import SessionCache
from specter.quic.config import QuicConfig
from specter.quic.connection import Connection
from specter.quic.events import TicketReceived
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.pair import ALPN, NAME, Pair, fixed_credential
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.key_exchange import NamedGroup
from specter.tls.session import Session
from specter.tls.tickets import TicketKeeper
from tests.fuzz.entry import Entry, Input, piece, require

START = 1_000_000_000
NOW = 1_700_000_000_000
"""Milliseconds since 1970."""
KEY = (NAME, 443, "somebody")
NAMES = [field.name for field in fields(Session)]
GROUPS = (NamedGroup.X25519,)
TLS = ClientTlsConfig(server_name=NAME, verify=False, alpn=ALPN, groups=GROUPS, key_shares=GROUPS)


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    descriptor, path = tempfile.mkstemp()
    logging.disable()
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        yield path
    finally:
        logging.disable(logging.NOTSET)
        os.unlink(path)


# -- sessions ---------------------------------------------------------------------------------------


@cache
def _session() -> Session:
    keeper = TicketKeeper(bytes(16), lambda: 0)
    tls = ServerTlsConfig(credentials=(fixed_credential().tls,), alpn=ALPN, tickets=keeper)
    visit = Pair(1, server_tls=tls)
    visit.run(lambda: any(isinstance(event, TicketReceived) for event in visit.client.log))
    session = next(event.session for event in visit.client.log if isinstance(event, TicketReceived))
    fixed = {"ticket": bytes(range(200)), "secret": bytes(len(session.secret))}  # the handshake was one of many
    return replace(session, received=NOW, authenticated=NOW, **fixed)


def sessions(data: bytes) -> None:
    """A file with anything in it, or with a session whose values are replaced; what is found is offered."""
    source = Input(data)
    if source.number() & 1:
        content = source.rest()
    else:
        content = _damaged(source)
    with _file(content) as path:
        kept = SessionCache(path, clock=lambda: NOW)
        kept._path = None  # it would be written again, which takes long
        found = kept.take(KEY, TLS, (QUIC_V1, QUIC_V2), early_data=True)
        require(len(kept) <= 1_000_000 and (found is None or found.age >= 0), f"{found} is from the future")
    if found is None:
        return
    config = QuicConfig(original_version=found.session.quic_version)
    quic = Connection.client(config, TLS, SeededEntropy("client"), START, resumption=found)
    engine = H3Connection(quic, entropy=SeededEntropy("h3"), remembered=found.session.application)
    require(len(engine.send(START)), "a client that says nothing")
    engine.close()
    engine.send(START)


def _damaged(source: Input) -> bytes:
    values: dict[str, Any] = {}
    while source:
        name = NAMES[source.number() % len(NAMES)]
        said, before = source.piece(), getattr(_session(), name)
        if isinstance(before, bool):
            values[name] = bool(said)
        elif isinstance(before, int):
            values[name] = int.from_bytes(said[:8], "big")
        elif isinstance(before, str):
            values[name] = said.decode("latin-1")
        else:
            values[name] = said if isinstance(before, bytes) else (said,)
    entry = session_file._encode(KEY, replace(_session(), **values))
    return json.dumps({"format": session_file.FORMAT, "sessions": [entry]}).encode()


def session_seeds() -> list[bytes]:
    whole = b"\1" + _damaged(Input(b""))
    made = [whole, b"\0", b'\1{"format":1,"sessions":[]}', whole.replace(b"true", b"[]")]
    for name in NAMES:
        value = getattr(_session(), name)
        if isinstance(value, tuple):
            value = value[0]
        if isinstance(value, int):
            value = value.to_bytes(8, "big")
        value = value.encode() if isinstance(value, str) else value
        made.append(b"\0" + bytes([NAMES.index(name)]) + piece(value))
    return made


# -- alternative services ---------------------------------------------------------------------------


def alternatives(data: bytes) -> None:
    """A file with anything in it; then a field."""
    origin, source = Origin("a.test", 443), Input(data)
    content, value = source.piece(), source.rest()
    with _file(content) as path:
        kept = AltSvcCache(path, limit=10)
        require(len(kept) <= 10, "more origins than wanted")
        now = 1_700_000_000 * START
        kept.learn(origin, 200, [(b"alt-svc", value), (b"age", value[:5])], now)
        for each in kept.alternatives(origin, now):
            require(0 < each.port < 65_536, f"{each} cannot be")
            kept.remove(origin, each.host or origin.host, each.port)
        kept.network_changed()


def alternative_seeds() -> list[bytes]:
    with _file(b"") as path:
        kept = AltSvcCache(path)
        kept.learn(Origin("a.test", 443), 200, [(b"alt-svc", b'h3=":443"; ma=86400; persist=1')], START)
        kept.learn(Origin("b.test", 8443), 200, [(b"alt-svc", b'h3="c.test:1", h3-29=":2"')], START)
        kept.save(START)
        whole = Path(path).read_bytes()
    return [piece(whole) + b'h3=":443"', piece(b"") + b'h3="b:1", clear', piece(whole[:-3]) + b"clear"]


ENTRIES = [
    Entry("sessions", sessions, session_seeds, runs=200),
    Entry("alt_svc_file", alternatives, alternative_seeds),
]
