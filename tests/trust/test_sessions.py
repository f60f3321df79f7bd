"""A session is for those who would have judged the server alike: never a way around another judgement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import specter
from specter.net.sessions import session_key
from specter.testing.certificates import CertificateAuthority
from specter.tls.config import ClientTlsConfig, Credential
from specter.tls.trust import TrustStore
from tests.trust.cases import HOST, Case, root
from tests.trust.paths import drop, get
from tests.trust.stage import Stage, carelessly, server_tls

OTHER = "b.example"
CASE = Case("good", lambda: root().issue(HOST, OTHER))
STRANGER = CertificateAuthority("A stranger")

pytestmark = pytest.mark.security

RULES: dict[str, dict[str, Any]] = {
    "the root": {"verify": [root().certificate]},
    "the root and a stranger": {"verify": [root().certificate, STRANGER.certificate]},
    "nobody": {"verify": False},
    "the root, as a client": {"verify": [root().certificate], "cert": "good"},
    "the root, as another client": {"verify": [root().certificate], "cert": "stranger"},
    "the root, by another name": {"verify": [root().certificate], "host": OTHER},
    "a stranger": {"verify": [STRANGER.certificate]},
    "the usual authorities": {"verify": True},
}
REFUSED = {"a stranger", "the usual authorities"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("trust"))
    made.origin.show(server_tls(CASE))
    yield made
    made.close()


def ask(stage: Stage, cache: specter.SessionCache, rules: str) -> tuple[bool, bool, str | None]:
    """GET under ``rules``; return whether the server answered, whether that resumed a session, and what came early."""
    options = dict(RULES[rules])
    host = options.pop("host", HOST)
    cert = {"cert": stage._credentials[options["cert"]]} if "cert" in options else {}
    more = {"session_cache": cache, "early_data": True, "resolve": {host: "127.0.0.1"}}
    with carelessly(), specter.Client(**{**options, **cert, **more}) as client:
        verdict, response = get(client, f"https://{host}:{stage.origin.port}/")
    if response is None:
        assert verdict.error is specter.CertificateError
        return False, False, None
    return True, response.connection.resumed, response.early_data


@pytest.mark.parametrize("second", RULES)
@pytest.mark.parametrize("first", [rules for rules in RULES if rules not in REFUSED])
def test_who_may_resume_whose_sessions(stage: Stage, first: str, second: str) -> None:
    follow(stage, specter.SessionCache(), first, second)


@pytest.mark.parametrize(
    ("first", "second"), [("nobody", "the root"), ("the root", "nobody"), ("nobody", "a stranger")]
)
def test_a_file_of_sessions_is_no_way_around_either(stage: Stage, tmp_path: Path, first: str, second: str) -> None:
    follow(stage, specter.SessionCache(tmp_path / "sessions.json"), first, second)


def follow(stage: Stage, cache: specter.SessionCache, first: str, second: str) -> None:
    """Connect under one set of rules and then under another."""
    assert ask(stage, cache, first) == (True, False, None)
    stage.begin()
    answered, resumed, early = ask(stage, cache, second)
    assert answered is (second not in REFUSED)
    assert (resumed, early) == ((True, "accepted") if first == second else (False, None))
    assert [request.early_data for request in stage.seen] == ([first == second] if answered else [])
    assert ask(stage, cache, first) == (True, True, "accepted"), "what the other one did changes nothing"


def test_everything_that_decides_is_in_the_key() -> None:
    shown = root().issue_client()
    settings: list[dict[str, Any]] = [
        {},
        {"server_name": OTHER},
        {"verify": False},
        {"trust": TrustStore([STRANGER.certificate])},
        {"trust": None},
        {"alpn": ("h3", "other")},
        {"client_credential": Credential(shown.chain, shown.key)},
        {"verification_time": root().certificate.not_valid_before_utc},
    ]
    usual = {"server_name": HOST, "trust": TrustStore([root().certificate])}
    keys = [session_key(HOST, 443, ClientTlsConfig(**{**usual, **more})) for more in settings]
    keys += [session_key(HOST, 444, ClientTlsConfig(**usual)), session_key(OTHER, 443, ClientTlsConfig(**usual))]
    assert len(set(keys)) == len(keys)
    again = ClientTlsConfig(server_name=HOST, trust=TrustStore([root().certificate]))
    assert session_key(HOST, 443, again) == keys[0], "the same rules, however often they are made"


def test_a_ticket_does_not_help_who_took_the_servers_place(stage: Stage) -> None:
    """It gets a ticket and early data that it cannot read, and then is judged by what it shows."""
    cache = specter.SessionCache()
    options = {"verify": [root().certificate], "session_cache": cache, "early_data": True}
    with specter.Client(**options, resolve={HOST: "127.0.0.1"}) as client:
        url = f"https://{HOST}:{stage.origin.port}/"
        assert get(client, url)[1] is not None
        stage.begin()
        stage.origin.show(server_tls(Case("impostor", lambda: STRANGER.issue(HOST))))
        drop(client)
        verdict, _ = get(client, url)
        assert (verdict.error, verdict.check) == (specter.CertificateError, "chain")
        assert stage.seen == []
        stage.origin.show(server_tls(CASE))
        assert get(client, url)[1].early_data in (None, "rejected")
