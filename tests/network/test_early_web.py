"""HTTP/3 requests in 0-RTT against the local server's engine, over bad networks too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from specter.h3.config import H3Config
from specter.quic.config import QuicConfig
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import TicketReceived
from specter.testing.network import Link
from specter.testing.web import WebPair
from specter.tls.session import Resumption, Session
from specter.tls.tickets import TicketKeeper
from tests.network.test_impairments import LINKS

MS = 1_000_000
PATIENT = QuicConfig(idle_timeout=120_000 * MS, handshake_timeout=120_000 * MS)


def keeper(*, rejects: bool = False) -> TicketKeeper:
    return TicketKeeper(bytes(16), lambda: 1_000, context=b"changed" if rejects else b"")


def first_visit(**options: Any) -> Session:
    pair = WebPair(1, tickets=keeper(), **options)
    pair.run(lambda: any(isinstance(event, TicketReceived) for event in pair.client.log))
    return next(event.session for event in pair.client.log if isinstance(event, TicketReceived))


def again(session: Session, seed: int = 2, *links: Link, rejects: bool = False, **options: Any) -> WebPair:
    return WebPair(seed, *links, tickets=keeper(rejects=rejects), resumption=Resumption(session, 0, True), **options)


def test_a_request_and_its_response_in_one_round_trip() -> None:
    link = Link(delay=50 * MS)
    pair = again(first_visit(), 2, link, link)
    begin = pair.now
    fetch = pair.fetch("/headers")
    assert fetch.status == 200
    assert json.loads(bytes(fetch.body))["early_data"] is True
    assert pair.now - begin == 100 * MS
    assert pair.client.h3.quic.early_data is EarlyDataStatus.ACCEPTED
    pair.close()


def test_a_rejected_request_is_told_so_and_sent_again() -> None:
    pair = again(first_visit(), rejects=True)
    fetch = pair.fetch("/headers")
    assert fetch.failed is not None
    assert fetch.failed.retry_safe
    fetch = pair.fetch("/headers")
    assert json.loads(bytes(fetch.body))["early_data"] is False
    assert pair.responder.requests == 1
    pair.close()


def test_too_early() -> None:
    session = first_visit()
    pair = again(session)
    assert pair.fetch("/too-early").status == 425
    assert pair.fetch("/too-early").status == 200


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_early_downloads_over_bad_networks(link: Link) -> None:
    session = first_visit()
    for seed in range(2):
        pair = again(session, seed, link, link, client_config=PATIENT, server_config=PATIENT)
        fetches = [pair.start(f"/bytes/{size}") for size in (0, 10, 50_000)]
        pair.run(lambda fetches=fetches: all(fetch.done for fetch in fetches), limit=300)  # type: ignore[misc]
        assert [fetch.length for fetch in fetches] == [0, 10, 50_000]
        assert pair.client.h3.quic.early_data is EarlyDataStatus.ACCEPTED


def test_the_servers_settings_are_remembered() -> None:
    session = first_visit(server_h3=H3Config(max_field_section_size=2_000))
    pair = again(session, server_h3=H3Config(max_field_section_size=2_000))
    assert pair.client.h3.peer_settings.max_field_section_size == 2_000
    assert pair.fetch("/bytes/5").status == 200


def test_a_server_with_lower_settings_that_took_early_data_is_left() -> None:
    """Our own server would have rejected it: this one has forgotten what it once said."""
    pair = again(first_visit(), server_h3=H3Config(max_field_section_size=2_000))
    pair.start("/bytes/5")
    pair.run(lambda: pair.client.closed is not None)
    assert pair.client.closed is not None
    assert pair.client.closed.error_code == 0x109
