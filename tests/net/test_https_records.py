"""HTTPS records from a name server of the test's own, over UDP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from specter.net.clock import SECOND
from specter.net.https_records import ALIASES, LONGEST, NO_RECORDS, SERVICES, SHORTEST, HttpsRecords, Records, Service
from tests.net.name_server import NameServer


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


Ask = Callable[..., Records]


@pytest.fixture
def ask(name_server: NameServer) -> Ask:
    """Look something up."""

    def lookup(host: str, port: int = 443, timeout: float = 5.0) -> Records:
        return HttpsRecords(nameservers=["127.0.0.1"], port=name_server.port, timeout=timeout).lookup(host, port)

    return lookup


def test_a_service(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, '1 . alpn="h3,h2"')
    assert ask("a.test") == Records((Service(1, "a.test", 443, (b"h3", b"h2", b"http/1.1")),), 300 * SECOND)
    assert name_server.asked == ["a.test"]


def test_everything_a_record_can_say(name_server: NameServer, ask: Ask) -> None:
    where = "no-default-alpn port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1"
    name_server.zone["a.test"] = (
        300,
        f"1 Svc.Test. alpn=h3 {where} ech=AAYAAQIDBAU= key65000=x mandatory=alpn,port",
    )
    hints = ("2001:db8::1", "192.0.2.1", "192.0.2.2")
    (service,) = ask("a.test").services
    assert service == Service(1, "svc.test", 8443, (b"h3",), hints, bytes([0, 6, 0, 1, 2, 3, 4, 5]))


def test_another_port_is_asked_for_by_name(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["_8443._https.a.test"] = (300, "1 svc.test. alpn=h3", "2 svc.test. alpn=h3 port=9")
    assert [service.port for service in ask("a.test", 8443).services] == [8443, 9]


def test_priorities_order_services(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, "20 last. alpn=h3", "3 second. alpn=h3", "1 first. alpn=h2")
    assert [service.host for service in ask("a.test").services] == ["first", "second", "last"]


def test_a_record_that_takes_more_than_we_understand_is_not_used(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, "1 a. alpn=h3 key65000=x mandatory=key65000", "2 b. alpn=h3")
    assert [service.host for service in ask("a.test").services] == ["b"]


def test_aliases_are_followed_without_the_port(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["_8443._https.a.test"] = (300, "0 b.test.", "1 ignored. alpn=h3")
    name_server.zone["b.test"] = (200, "0 c.test.")
    name_server.zone["c.test"] = (900, "1 . alpn=h3")
    assert ask("a.test", 8443) == Records((Service(1, "c.test", 8443, (b"h3", b"http/1.1")),), 200 * SECOND)
    assert name_server.asked == ["_8443._https.a.test", "b.test", "c.test"]


def test_a_cname_is_the_owner_of_what_it_leads_to(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, "@b.test.")
    name_server.zone["b.test"] = (300, "1 . alpn=h3")
    assert [service.host for service in ask("a.test").services] == ["b.test"]


def test_an_alias_to_nowhere_says_that_there_is_no_service(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, "0 .")
    assert ask("a.test") == Records((), 300 * SECOND)


def test_aliases_that_go_round_end(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, "0 b.test.")
    name_server.zone["b.test"] = (300, "0 a.test.")
    assert ask("a.test") == NO_RECORDS
    assert len(name_server.asked) == ALIASES + 1


def test_no_more_services_than_so_many(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, *(f"{number} s{number}. alpn=h3" for number in range(1, 60)))
    name_server.twist = lambda message: message if len(message) < 4096 else None
    assert [service.priority for service in ask("a.test").services] == list(range(1, SERVICES + 1))


@pytest.mark.parametrize(("ttl", "seconds"), [(0, SHORTEST), (2_000_000, LONGEST)])
def test_lifetimes_are_within_bounds(name_server: NameServer, ask: Ask, ttl: int, seconds: int) -> None:
    name_server.zone["a.test"] = (ttl, "1 . alpn=h3")
    assert ask("a.test").lifetime == seconds * SECOND


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_is_not_looked_up(name_server: NameServer, ask: Ask, host: str) -> None:
    assert ask(host) == NO_RECORDS
    assert name_server.asked == []


def test_no_answer_no_information(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["empty.test"] = ()
    assert ask("empty.test") == NO_RECORDS
    assert ask("missing.test") == NO_RECORDS


@pytest.mark.parametrize("host", ["a..test", "x" * 64 + ".test", "\udcff.test"])
def test_what_is_no_domain_name_has_no_records(ask: Ask, host: str) -> None:
    assert ask(host) == NO_RECORDS


def broken(message: bytes) -> bytes:
    return message[:-3]


def test_a_malformed_answer_is_no_information(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, "1 . alpn=h3")
    name_server.twist = broken
    assert ask("a.test", timeout=0.3) == NO_RECORDS


def test_silence_ends_in_time(name_server: NameServer, ask: Ask) -> None:
    name_server.twist = lambda _message: None
    before = time.monotonic()
    assert ask("a.test", timeout=0.3) == NO_RECORDS
    assert time.monotonic() - before < 2


def test_silence_behind_an_alias_takes_no_longer(name_server: NameServer, ask: Ask) -> None:
    name_server.zone["a.test"] = (300, "0 b.test.")
    name_server.twist = lambda message: message if name_server.asked == ["a.test"] else None
    before = time.monotonic()
    assert ask("a.test", timeout=0.5) == NO_RECORDS
    assert time.monotonic() - before < 2


def test_a_timeout_is_above_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        HttpsRecords(nameservers=["127.0.0.1"], timeout=0)


def test_the_systems_name_servers_are_the_default() -> None:
    assert HttpsRecords().lookup("127.0.0.1") == NO_RECORDS
