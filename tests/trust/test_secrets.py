"""Nothing that has to stay secret is in logs, event logs, errors, ``repr()``, or what ``-v`` prints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

import specter
from specter.cli import main
from specter.integrations.httpx import Transport
from specter.net.sessions import SessionCache
from specter.testing.certificates import CertificateAuthority, Credential
from specter.testing.messages import Reply, Request
from specter.testing.server import Server
from specter.tls.config import ServerTlsConfig
from specter.tls.session import Session
from specter.tls.trust import TrustStore
from tests.client.facade import LoopThread
from tests.trust.secrets import Search, keylog_secrets, known, private_key_secrets, session_secrets

pytestmark = pytest.mark.security

HEADERS = {
    "authorization": "Bearer 0123456789-authorization-of-the-client",
    "proxy-authorization": "Basic 0123456789-authorization-at-the-proxy",
    "cookie": "session=0123456789-cookie-of-the-client",
}
SET = {"set-cookie": "id=0123456789-cookie-of-the-server; Secure"}


def answer(request: Request) -> Reply | None:
    return Reply(200, list(SET.items()), b"ok") if request.path == "/" else None


class Remembering(SessionCache):
    """Keeps a list of all sessions it was given."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path)
        self.all: list[Session] = []

    def put(self, key: Any, session: Session) -> None:
        self.all.append(session)
        super().put(key, session)


class World:
    """Two servers, the second of which wants to know its clients, and everything a client is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = CertificateAuthority()
        self.shown: Credential = self.authority.issue_client()
        self.cert = self.shown.write(folder, "client")
        credential = self.authority.issue("127.0.0.1")
        self.server = Server(answer, credential=credential).start()
        asking = ServerTlsConfig(
            credentials=(credential.tls,),
            request_client_certificate=True,
            require_client_certificate=True,
            client_trust=TrustStore([self.authority.certificate]),
        )
        self.asking = Server(answer, credential=credential, tls=asking).start()
        self.ca_file = str(self.authority.write(folder / "ca.pem"))
        self.keylog = folder / "keys.log"
        self.qlog = folder / "qlog"
        self.sessions = Remembering(folder / "sessions.json")

    def options(self, **more: Any) -> dict[str, Any]:
        known = {"verify": self.ca_file, "cert": self.cert, "qlog": self.qlog, "keylog": self.keylog}
        return {**known, "session_cache": self.sessions, "early_data": True, "headers": HEADERS, **more}

    def search(self) -> Search:
        """Return a search for all that was secret up to now."""
        secrets = [*keylog_secrets(self.keylog), *session_secrets(self.sessions.all)]
        secrets += private_key_secrets(self.shown.key)
        secrets += known({**HEADERS, **SET})
        return Search(secrets)

    def close(self) -> None:
        self.server.stop()
        self.asking.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def drop(client: specter.Client | specter.AsyncClient) -> None:
    for origin, connection in list(client.pool._connections.items()):
        client.pool.discard(origin, connection)


def update_keys(client: specter.Client | specter.AsyncClient) -> None:
    for connection in client.pool._connections.values():
        connection._quic.update_keys()


def check(search: Search, world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert len(search.needles) > 200
    search.folder(world.qlog)
    search.records("the log", caplog.records)
    assert search.searched > 10_000
    assert not search.found, "\n".join(sorted({line.partition(": ")[0] for line in search.found}))


def errors_of(client: specter.Client, world: World) -> list[BaseException]:
    """Make requests fail in many ways, with all that is secret in them."""
    attempts = [
        lambda: client.get(world.server.url + "/reset"),
        lambda: client.get(world.server.url + "/close"),
        lambda: client.get(world.server.url + "/status/403").raise_for_status(),
        lambda: client.get(world.server.url + "/", headers={"bad\nname": HEADERS["cookie"]}),
        lambda: client.get(world.server.url + "/", headers={"authorization": HEADERS["authorization"] + "\r\nx: y"}),
        lambda: client.get("https://" + HEADERS["authorization"] + "/"),
        lambda: client.get(world.server.url + "/delay/5", timeout=0.1),
        lambda: client.get(world.server.url + "/", headers={"x-large": "y" * 1_000_000}),
    ]
    errors: list[BaseException] = []
    for attempt in attempts:
        with suppress(AssertionError):
            try:
                attempt()
            except (specter.Error, ValueError, TypeError) as error:
                errors.append(error)
    return errors


def test_the_blocking_client(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with specter.Client(**world.options()) as client:
        first = client.get(world.server.url + "/")
        update_keys(client)
        client.get(world.server.url + "/bytes/100000")
        drop(client)
        second = client.get(world.server.url + "/")
        assert second.connection is not None
        assert (first.headers["set-cookie"], second.connection.resumed) == (SET["set-cookie"], True)
        assert second.early_data == "accepted"
        assert client.get(world.asking.url + "/").text == "ok"
        errors = errors_of(client, world)
        assert len(errors) >= 6
        search = world.search()
        for error in errors:
            search.error(f"{type(error).__name__}", error)
        assert search.objects() > 100
        for thing in (client, first, first.request, first.headers, first.request.headers, first.connection):
            search.text("repr", f"{thing!r} {thing!s}")
    labels = {line.split()[0] for line in world.keylog.read_text().splitlines()}
    assert {"CLIENT_EARLY_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"} <= labels
    assert world.sessions.all
    check(search, world, caplog)


def test_the_asynchronous_client(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with specter.AsyncClient(**world.options()) as client:
            await client.get(world.server.url + "/")
            update_keys(client)
            await client.get(world.server.url + "/bytes/100000")
            drop(client)
            response = await client.get(world.server.url + "/")
            assert response.early_data == "accepted"
            await client.get(world.asking.url + "/")
            with pytest.raises(specter.StreamReset) as caught:
                await client.get(world.server.url + "/reset")
            found.append(world.search())
            found[0].error("StreamReset", caught.value)
            found[0].objects()
            found[0].text("repr", f"{client!r} {response!r} {response.headers!r}")

    found: list[Search] = []
    runner = LoopThread()
    try:
        runner.run(work())
    finally:
        runner.stop()
    check(found[0], world, caplog)


def test_httpx(world: World, caplog: pytest.LogCaptureFixture) -> None:
    options = world.options()
    del options["headers"]
    with httpx.Client(transport=Transport(http3="always", **options), headers=HEADERS) as client:
        first = client.get(world.server.url + "/")
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            client.get(world.server.url + "/reset")
        search = world.search()
        search.error("RemoteProtocolError", caught.value)
        search.text("extensions", repr(first.extensions["specter"]))
        search.objects()
    check(search, world, caplog)


def test_refused_certificates_and_broken_files(world: World, caplog: pytest.LogCaptureFixture) -> None:
    chain, key = world.cert
    other = CertificateAuthority("Another")
    options = world.options(verify=[other.certificate])
    with specter.Client(**options) as client, pytest.raises(specter.CertificateError) as refused:
        client.get(world.server.url + "/")
    stranger = other.issue_client()
    wrong_chain, _ = stranger.write(world.folder, "stranger")
    found: list[BaseException] = [refused.value]
    for cert in ((wrong_chain, key), (key, chain), (chain, chain), (chain, key, "pass phrase of the key")):
        with pytest.raises((ValueError, TypeError)) as caught:
            specter.Client(cert=cert)
        found.append(caught.value)
    search = world.search()
    for error in found:
        search.error(type(error).__name__, error)
        assert "pass phrase" not in str(error)
    check(search, world, caplog)


def test_the_command(world: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    words = ["-v", "--cacert", world.ca_file, "--cert", str(world.cert[0]), "--key", str(world.cert[1])]
    words += ["--keylog", str(world.keylog), "--qlog", str(world.qlog)]
    words += ["--ssl-sessions", str(world.folder / "sessions.json"), "--tls-earlydata"]
    for name, value in HEADERS.items():
        words += ["-H", f"{name}: {value}"]
    said = ""
    for url in (world.server.url + "/", world.server.url + "/", world.asking.url + "/", world.server.url + "/reset"):
        status = main([*words, url])
        out, err = capfd.readouterr()
        assert (status, out) == ((1, "") if url.endswith("reset") else (0, "ok"))
        said += err
    assert "early data: accepted" in said
    kept = specter.SessionCache(world.folder / "sessions.json")
    world.sessions.all += [session for sessions in kept._sessions.values() for session in sessions]
    search = world.search()
    search.text("what -v says", said)
    assert "> authorization: (redacted)" in said
    check(search, world, caplog)


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """A search that finds nothing has to be one that would."""
    secret = bytes(range(100, 132))
    for text in (secret.decode("latin-1"), repr(b"xy" + secret), secret.hex(), secret.hex(":"), f"[{[*secret]}]"):
        search = Search([("secret", secret)])
        search.text("somewhere", f"before {text} behind")
        assert search.found, text
    import base64

    for before in range(3):
        search = Search([("secret", secret)])
        search.text("somewhere", base64.b64encode(bytes(before) + secret + b"behind").decode())
        assert search.found
    search = Search([("secret", secret)])
    try:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError("innocent") from error
    except ValueError as error:
        search.error("ValueError", error)
    assert search.found
    assert not Search([("secret", secret)]).found
