"""Sessions to resume: one ticket for one connection, kept apart by server and by what the client trusts."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from time import time_ns
from typing import Final

from specter.net import session_file
from specter.net.session_file import Key
from specter.tls.config import ClientTlsConfig
from specter.tls.session import Resumption, Session
from specter.tls.trust import TrustStore

__all__ = ["SessionCache", "session_key"]

LIMIT: Final = 128
"""Servers whose tickets are kept; those that gave none for the longest time are forgotten first."""
PER_SERVER: Final = 4
"""Tickets kept of one server, the newest."""
LARGEST: Final = 32 << 10
"""Bytes of a session worth keeping, its certificates included."""
LARGEST_TICKET: Final = 4 << 10
"""Bytes of a ticket worth keeping: it makes the first flight so much longer."""

logger = logging.getLogger("specter")


def _now() -> int:
    return time_ns() // 1_000_000


def session_key(host: str, port: int, tls: ClientTlsConfig) -> Key:
    """Return what a session is filed under: only clients that trust the same, and show the same, share it."""
    digest = hashlib.sha256(repr((tls.server_name, tls.alpn, tls.verify)).encode())
    if tls.verify:
        digest.update((tls.trust if tls.trust is not None else TrustStore.load()).fingerprint)
        digest.update(str(tls.verification_time).encode())
    if tls.client_credential is not None:
        digest.update(tls.client_credential.entries[0].data)
    return host, port, digest.hexdigest()[:32]


class SessionCache:
    """Keeps what servers give to resume connections: the handshake is shorter then, and shows no certificate again.

    In memory, or with ``path`` in a file as well, which other processes may use at the same time. The file holds
    secrets: it is made for its owner alone, and one that others may read is refused. What it holds is dropped when it
    is damaged. The file is written whenever a ticket comes or goes, which nobody else waits for.

    May be given to several clients; what they do not trust alike they do not share. For any number of threads. Every
    ticket is used once. It is good for a week at most, and no longer than the certificates it goes back to. ``limit``
    is the number of servers whose tickets are kept, ``clock`` gives milliseconds since 1970.

    Raises:
        PermissionError: others may read the file at ``path``.
        OSError: it cannot be read.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, limit: int = LIMIT, clock: Callable[[], int] = _now
    ) -> None:
        self._path = None if path is None else os.fspath(path)
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[Key, list[Session]] = {}
        self._stamp: tuple[int, ...] | None = None
        """What the file looked like when it was read or written last."""
        if self._path is not None:
            self._load(self._path)

    def __len__(self) -> int:
        """How many tickets there are."""
        return sum(map(len, self._sessions.values()))

    @property
    def empty(self) -> bool:
        """Whether there is certainly nothing to be taken."""
        return self._path is None and not self._sessions

    def __repr__(self) -> str:
        return f"<SessionCache of {len(self)} tickets>"

    def put(self, key: Key, session: Session) -> None:
        """Keep a session that has just begun to be known."""
        now = self._clock()
        session = replace(session, received=now, authenticated=session.authenticated or now)
        if session.size > LARGEST or len(session.ticket) > LARGEST_TICKET:
            return
        with self._lock:
            self._refresh()
            kept = self._sessions.pop(key, [])
            self._sessions[key] = [*kept, session][-PER_SERVER:]
            self._shrink()
            self._save()

    def take(
        self, key: Key, tls: ClientTlsConfig, quic_versions: Collection[int], *, early_data: bool
    ) -> Resumption | None:
        """Return the newest session that can be offered now, which is forgotten with that; None when there is none.

        Those of connections in other than ``quic_versions`` cannot.
        """
        with self._lock:
            self._refresh()
            now, found = self._clock(), None
            kept = self._sessions.pop(key, None)
            if kept is None:
                return None
            while kept and found is None:
                session = kept.pop()
                if session.is_fresh(now) and session.fits(tls) and session.quic_version in quic_versions:
                    found = session
            if kept:
                self._sessions[key] = kept
            self._save()
        return None if found is None else Resumption(found, now - found.received, early_data)

    def clear(self) -> None:
        """Forget everything, in the file too."""
        with self._lock:
            self._sessions.clear()
            self._save()

    def forget(self) -> None:
        """In the child of a fork: tickets in memory are the parent's; those of a file belong to who comes first."""
        self._lock = threading.Lock()
        self._sessions.clear()
        self._stamp = None

    def _shrink(self) -> None:
        while len(self._sessions) > self._limit:
            del self._sessions[next(iter(self._sessions))]

    # -- the file ---------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Read the file again if another process has written it."""
        if self._path is None or self._stamp_of(self._path) == self._stamp:
            return
        try:
            self._load(self._path)
        except OSError as error:
            logger.warning("the TLS sessions in %s are not used: %s", self._path, error)
            self._sessions.clear()
            self._path = None

    def _load(self, path: str) -> None:
        self._stamp = self._stamp_of(path)
        self._sessions.clear()
        try:
            entries = session_file.load(path)
        except FileNotFoundError:
            return
        except ValueError as error:
            logger.warning("the TLS sessions in %s are dropped: %s", path, error)
            return
        for key, session in entries:
            kept = self._sessions.pop(key, [])
            self._sessions[key] = [*kept, session][-PER_SERVER:]
        self._shrink()

    def _save(self) -> None:
        if self._path is None:
            return
        entries = [(key, session) for key, kept in self._sessions.items() for session in kept]
        try:
            session_file.save(self._path, entries)
            self._stamp = self._stamp_of(self._path)
        except OSError as error:
            logger.warning("the TLS sessions were not saved: %s", error)

    @staticmethod
    def _stamp_of(path: str) -> tuple[int, ...] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode
