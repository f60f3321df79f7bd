"""The cache of sessions: who may have which, for how long, and what its file is like."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter.net.sessions import LARGEST, LARGEST_TICKET, LIMIT, PER_SERVER, SessionCache, session_key
from specter.testing.certificates import CLIENT_AUTH, CertificateAuthority
from specter.tls.config import ClientTlsConfig
from specter.tls.session import Session
from specter.tls.trust import TrustStore

AUTHORITY, OTHER = CertificateAuthority("One"), CertificateAuthority("Another")
TRUST, OTHER_TRUST = (TrustStore([each.certificate]) for each in (AUTHORITY, OTHER))
NAME = "server.example"
KEY = (NAME, 443, "partition")
HOUR = 3_600_000
posix = pytest.mark.skipif(os.name != "posix", reason="file modes")


def tls(**changes: Any) -> ClientTlsConfig:
    return ClientTlsConfig(**{"server_name": NAME, "trust": TRUST, **changes})


def session(ticket: bytes = b"ticket", **changes: Any) -> Session:
    values: dict[str, Any] = {
        "ticket": ticket,
        "secret": b"\x00\xff" * 16,
        "age_add": 7,
        "cipher_suite": 0x1301,
        "lifetime": 7200,
        "early_data": True,
        "server_name": NAME,
        "alpn": "h3",
        "transport_parameters": b"\x04\x01\x05",
        "certificates": (b"leaf", b"intermediate"),
        "application": b"settings",
    }
    return Session(**{**values, **changes})


class Clock:
    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.json"


def take(cache: SessionCache, key: tuple[str, int, str] = KEY, **changes: Any) -> Session | None:
    found = cache.take(key, tls(**changes), (1,), early_data=False)
    return None if found is None else found.session


# -- tickets ------------------------------------------------------------------------------------------


def test_a_ticket_is_used_once_the_newest_first(clock: Clock) -> None:
    cache = SessionCache(clock=clock)
    cache.put(KEY, session(b"one"))
    clock.now += 5
    cache.put(KEY, session(b"two"))
    clock.now += 1_000
    found = cache.take(KEY, tls(), (1,), early_data=True)
    assert found is not None
    assert (found.session.ticket, found.age, found.early_data) == (b"two", 1_000, True)
    assert found.session.received == found.session.authenticated == clock.now - 1_000
    second = take(cache)
    assert second is not None
    assert second.ticket == b"one"
    assert take(cache) is None
    assert len(cache) == 0


def test_tickets_of_a_resumed_connection_keep_the_date_of_the_certificate(clock: Clock) -> None:
    cache = SessionCache(clock=clock)
    cache.put(KEY, session(authenticated=1234 * HOUR))
    clock.now = 1234 * HOUR + 1
    cache.put(KEY, session(authenticated=1234 * HOUR))
    found = take(cache)
    assert found is not None
    assert (found.received, found.authenticated) == (1234 * HOUR + 1, 1234 * HOUR)


@pytest.mark.parametrize(
    ("changes", "later"),
    [
        ({"lifetime": 3600}, HOUR + 1),
        ({"lifetime": 1 << 30}, 7 * 24 * HOUR + 1),
        ({"not_after": 10**9 + 1800}, HOUR // 2 + 1),
        ({"authenticated": 10**12 - 7 * 24 * HOUR + 5}, 6),
        ({}, -1),
    ],
    ids=["lifetime", "a week", "certificate", "chain of tickets", "clock turned back"],
)
def test_a_ticket_that_is_too_old_is_not_offered(clock: Clock, changes: dict[str, Any], later: int) -> None:
    cache = SessionCache(clock=clock)
    for _ in range(2):
        cache.put(KEY, session(**changes))
    clock.now += later - 1 if later > 0 else 0
    assert take(cache) is not None
    clock.now += 1 if later > 0 else later
    assert take(cache) is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    "changes", [{"server_name": "other.example"}, {"alpn": ("other",)}, {"cipher_suites": (0x1302,)}]
)
def test_a_ticket_that_does_not_fit_is_not_offered(changes: dict[str, Any]) -> None:
    cache = SessionCache()
    cache.put(KEY, session())
    assert take(cache, **changes) is None


def test_a_ticket_of_another_version_of_quic_is_not_offered() -> None:
    cache = SessionCache()
    cache.put(KEY, session())
    assert cache.take(KEY, tls(), (0x6B3343CF,), early_data=False) is None


@pytest.mark.security
def test_what_is_kept_is_bounded() -> None:
    cache = SessionCache()
    for number in range(3 * PER_SERVER):
        cache.put(KEY, session(b"%d" % number))
    assert len(cache) == PER_SERVER
    for port in range(2 * LIMIT):
        cache.put((NAME, port, ""), session())
    assert len(cache) == LIMIT
    assert take(cache, (NAME, LIMIT - 1, "")) is None
    assert take(cache, (NAME, LIMIT, "")) is not None
    cache.clear()
    cache.put(KEY, session(bytes(LARGEST_TICKET + 1)))
    cache.put(KEY, session(certificates=(bytes(LARGEST),)))
    assert len(cache) == 0
    cache.put(KEY, session(bytes(LARGEST_TICKET)))
    assert len(cache) == 1


def test_a_server_heard_of_again_is_not_the_first_to_go() -> None:
    cache = SessionCache(limit=2)
    for port in (1, 2, 1, 3):
        cache.put((NAME, port, ""), session())
    assert take(cache, (NAME, 2, "")) is None
    assert take(cache, (NAME, 1, "")) is not None


def test_clear_and_repr() -> None:
    cache = SessionCache()
    cache.put(KEY, session())
    assert repr(cache) == "<SessionCache of 1 tickets>"
    cache.clear()
    assert len(cache) == 0


# -- who shares what ----------------------------------------------------------------------------------


@pytest.mark.security
def test_only_clients_that_trust_the_same_share() -> None:
    credentials = [AUTHORITY.issue("me", usages=CLIENT_AUTH).tls for _ in range(2)]
    configurations = [
        tls(),
        tls(trust=OTHER_TRUST),
        tls(trust=TrustStore([AUTHORITY.certificate, OTHER.certificate])),
        tls(verify=False, trust=None),
        tls(server_name="other.example"),
        tls(alpn=("h3", "other")),
        tls(client_credential=credentials[0]),
        tls(client_credential=credentials[1]),
    ]
    keys = [session_key("host", 443, each) for each in configurations]
    assert len(set(keys)) == len(keys)
    assert session_key("host", 444, tls()) != keys[0] != session_key("host2", 443, tls())


def test_the_same_trust_is_the_same_wherever_it_came_from() -> None:
    again = TrustStore([AUTHORITY.certificate, AUTHORITY.certificate])
    assert session_key("host", 443, tls(trust=again)) == session_key("host", 443, tls())
    assert session_key("host", 443, tls(trust=None)) == session_key("host", 443, tls(trust=TrustStore.load()))


# -- the file -----------------------------------------------------------------------------------------


@posix
def test_a_new_file_is_for_its_owner_alone(file: Path) -> None:
    before = os.umask(0)
    try:
        cache = SessionCache(file)
        assert not file.exists()
        cache.put(KEY, session())
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_another_process_goes_on_with_the_file(file: Path, clock: Clock) -> None:
    first = SessionCache(file, clock=clock)
    kept = session(not_after=12**9, quic_version=1)
    first.put(KEY, kept)
    first.put((NAME, 8443, "other"), session(b"two"))
    clock.now += 5
    second = SessionCache(file, clock=clock)
    assert len(second) == 2
    found = second.take(KEY, tls(), (1,), early_data=False)
    assert found is not None
    assert found.age == 5
    assert found.session == replace(kept, received=clock.now - 5, authenticated=clock.now - 5)


def test_a_ticket_taken_by_one_process_is_not_there_for_another(file: Path) -> None:
    first, second = SessionCache(file), SessionCache(file)
    first.put(KEY, session())
    assert take(second) is not None
    assert take(first) is None
    assert len(SessionCache(file)) == 0


def test_clearing_clears_the_file(file: Path) -> None:
    cache = SessionCache(file)
    cache.put(KEY, session())
    cache.clear()
    assert len(SessionCache(file)) == 0


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o620])
@pytest.mark.security
def test_a_file_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    SessionCache(file).put(KEY, session())
    file.chmod(mode)
    with pytest.raises(PermissionError, match=f"chmod 600 {file}"):
        SessionCache(file)


@posix
def test_a_file_that_becomes_readable_is_left_alone(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = SessionCache(file)
    cache.put(KEY, session())
    content = file.read_bytes()
    file.chmod(0o644)
    assert take(cache) is None
    cache.put(KEY, session(b"new"))
    assert take(cache) is not None, "in memory it goes on"
    assert file.read_bytes() == content
    assert "chmod 600" in caplog.text


def damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        content = json.loads(data)
        change(content["sessions"][0])
        return json.dumps(content).encode()

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\xff\xfe",
        lambda data: data[:-10],
        lambda data: b"[]",
        lambda data: b'{"format": 2, "sessions": [1]}',
        lambda data: b'{"format": 1, "sessions": 5}',
        lambda data: b'{"format": 1}',
        lambda data: b"[" * 100_000,
        damaged(lambda item: item.pop("secret")),
        damaged(lambda item: item.update(secret=5)),
        damaged(lambda item: item.update(secret="not base64!")),  # noqa: S106  nobody's secret
        damaged(lambda item: item.update(certificates="abc!")),
        damaged(lambda item: item.update(lifetime=-1)),
        damaged(lambda item: item.update(lifetime="1")),
        damaged(lambda item: item.update(lifetime=1 << 70)),
        damaged(lambda item: item.update(early_data=1)),
        damaged(lambda item: item.update(key=["a"])),
        damaged(lambda item: item.update(key=["a", "b", "c"])),
    ],
)
def test_damage_costs_tickets_and_nothing_else(file: Path, damage: Callable[[bytes], bytes]) -> None:
    SessionCache(file).put(KEY, session())
    data = damage(file.read_bytes())
    file.write_bytes(data)
    cache = SessionCache(file)
    assert len(cache) == 0
    cache.put(KEY, session())
    assert len(SessionCache(file)) == 1


@given(st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str).map(str.encode))
def test_any_content_is_sessions_or_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any sessions"
    path.touch(mode=0o600)
    path.write_bytes(data)
    assert len(SessionCache(path)) == 0


def test_a_folder_that_is_gone_costs_the_file_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SessionCache(tmp_path / "nowhere" / "sessions.json")
    cache.put(KEY, session())
    assert take(cache) is not None
    assert "not saved" in caplog.text


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"(?i)directory|permission"):
        SessionCache(tmp_path)


@posix
def test_after_a_fork_tickets_belong_to_the_parent(file: Path) -> None:
    memory, shared = SessionCache(), SessionCache(file)
    for cache in (memory, shared):
        cache.put(KEY, session())
        cache.forget()
    assert take(memory) is None
    assert take(shared) is not None


def test_many_processes_may_use_one_file(file: Path) -> None:
    """Whoever writes last wins; the file is whole at any moment."""
    script = (
        "import sys; from specter.net.sessions import SessionCache; from tests.net.test_sessions import *\n"
        "cache = SessionCache(sys.argv[1])\n"
        "for number in range(60): cache.put(KEY, session(b'%d' % number)); take(cache)\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", script, str(file)]
    running = [subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    SessionCache(file)
    assert list(file.parent.iterdir()) == [file]
