from __future__ import annotations

from specter.client.altsvc_cache import AltSvcCache
from specter.client.backoff import FIRST
from specter.client.offers import LIMIT, Offers
from specter.client.url import Origin
from specter.net.clock import SECOND
from specter.net.https_records import NO_RECORDS, Records, Service
from specter.net.route import Route, Source

ORIGIN = Origin("example.com", 443)
NOW = 1_800_000_000 * SECOND
H3 = (b"h3", b"http/1.1")


def told(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"alt-svc", value)]


def route(offers: Offers, now: int = NOW) -> str:
    return str(offers.route(ORIGIN, now))


def test_the_first_alternative_that_did_not_fail() -> None:
    offers = Offers()
    offers.learn(ORIGIN, 200, told(b'h3=":443", h3="alt:444"'), NOW)
    first = offers.route(ORIGIN, NOW)
    assert first == Route("example.com", 443, Source.ALT_SVC)
    offers.failed(ORIGIN, first, NOW)
    assert route(offers) == "alt:444"
    assert route(offers, NOW + FIRST) == "example.com:443"


def test_when_every_route_failed_there_is_none_for_a_while() -> None:
    offers = Offers()
    assert offers.broken_until(ORIGIN, NOW) == 0
    offers.learn(ORIGIN, 200, told(b'h3=":443"'), NOW)
    only = offers.route(ORIGIN, NOW)
    assert only is not None
    now = NOW
    for pause in (FIRST, 2 * FIRST, 4 * FIRST):
        offers.failed(ORIGIN, only, now)
        assert offers.route(ORIGIN, now) is None
        assert offers.broken_until(ORIGIN, now) == now + pause
        offers.learn(ORIGIN, 200, told(b'h3=":443"; ma=86400'), now + 1)  # hearing of it again mends nothing
        assert offers.route(ORIGIN, now + pause - 1) is None
        now += pause
        assert offers.route(ORIGIN, now) == only
    offers.succeeded(ORIGIN, only)
    offers.failed(ORIGIN, only, now)
    assert offers.broken_until(ORIGIN, now) == now + FIRST


def test_a_failure_concerns_one_origin() -> None:
    """Who advertises somebody else's server cannot keep others from using it."""
    offers = Offers()
    other = Origin("attacker.example", 443)
    offers.learn(ORIGIN, 200, told(b'h3=":443"'), NOW)
    offers.learn(other, 200, told(b'h3="example.com:443"'), NOW)
    wrong = offers.route(other, NOW)
    assert wrong is not None
    offers.failed(other, wrong, NOW)
    assert offers.route(other, NOW) is None
    assert route(offers) == "example.com:443"


def test_records_come_after_what_the_origin_said_itself() -> None:
    offers = Offers(records=True)
    services = (Service(1, "h2.test", 443, (b"h2",)), Service(2, "svc.test", 8443, H3, ("192.0.2.1",)))
    offers.found(ORIGIN, Records(services, 60 * SECOND), NOW)
    assert offers.route(ORIGIN, NOW) == Route("svc.test", 8443, Source.RECORD, ("192.0.2.1",))
    offers.learn(ORIGIN, 200, told(b'h3=":444"'), NOW)
    assert route(offers) == "example.com:444"
    offers.learn(ORIGIN, 200, told(b"clear"), NOW)
    assert route(offers) == "svc.test:8443"
    assert offers.route(ORIGIN, NOW + 60 * SECOND) is None


def test_records_are_asked_for_once_and_again_when_they_are_old() -> None:
    offers = Offers(records=True)
    assert offers.wants_records(ORIGIN, NOW)
    assert not offers.wants_records(ORIGIN, NOW)
    offers.found(ORIGIN, NO_RECORDS, NOW)
    assert not offers.wants_records(ORIGIN, NOW + NO_RECORDS.lifetime - 1)
    assert offers.wants_records(ORIGIN, NOW + NO_RECORDS.lifetime)
    assert not Offers().wants_records(ORIGIN, NOW)


def test_who_asks_and_never_answers_does_not_keep_others_from_asking() -> None:
    offers = Offers(records=True)
    assert offers.wants_records(ORIGIN, NOW)
    assert offers.wants_records(ORIGIN, NOW + 60 * SECOND)


def test_a_misdirected_route_is_forgotten() -> None:
    offers = Offers()
    offers.learn(ORIGIN, 200, told(b'h3="alt:443"'), NOW)
    offers.misdirected(ORIGIN, NOW)  # the origin itself said so: there is nothing to forget
    chosen = offers.route(ORIGIN, NOW)
    offers.succeeded(ORIGIN, chosen)
    assert offers.via(ORIGIN) == chosen
    offers.misdirected(ORIGIN, NOW)
    assert offers.alt_svc.alternatives(ORIGIN, NOW) == ()


def test_a_connection_to_the_origin_itself_is_by_no_route() -> None:
    offers = Offers()
    offers.succeeded(ORIGIN, Route("alt", 1, Source.ALT_SVC))
    offers.succeeded(ORIGIN, None)
    assert offers.via(ORIGIN) is None
    offers.lost(ORIGIN, NOW)


def test_another_network_makes_failures_and_records_void() -> None:
    offers = Offers(records=True)
    offers.learn(ORIGIN, 200, told(b'h3=":443"; persist=1, h3=":444"'), NOW)
    first = offers.route(ORIGIN, NOW)
    assert first is not None
    offers.failed(ORIGIN, first, NOW)
    offers.found(ORIGIN, Records((Service(1, "svc.test", 1, H3),), SECOND), NOW)
    offers.network_changed()
    assert offers.route(ORIGIN, NOW) == first
    assert offers.wants_records(ORIGIN, NOW)
    assert [item.port for item in offers.alt_svc.alternatives(ORIGIN, NOW)] == [443]


def test_what_is_kept_is_bounded() -> None:
    offers = Offers(alt_svc=AltSvcCache(limit=10), records=True)
    for number in range(2 * LIMIT):
        origin = Origin(f"host{number}.example", 443)
        offers.learn(origin, 200, told(b'h3=":443"'), NOW)
        offers.found(origin, NO_RECORDS, NOW)
        offers.succeeded(origin, Route("alt", 1, Source.ALT_SVC))
    assert len(offers.alt_svc) == 10
    assert len(offers._records) == len(offers._via) == LIMIT
