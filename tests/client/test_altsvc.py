from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter.client.altsvc import DEFAULT_MAX_AGE, MAX_AGE, MAX_ALTERNATIVES, Alternative, parse_alt_svc
from specter.client.altsvc_cache import AltSvcCache
from specter.client.backoff import Backoff
from specter.client.url import Origin
from specter.net.clock import SECOND

H3 = Alternative(b"h3", "", 443)
ORIGIN = Origin("example.com", 443)
DAY = 86_400 * SECOND
NOW = 1_800_000_000 * SECOND


# -- the field ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (b'h3=":443"', (H3,)),
        (b'h3=":443"; ma=2592000', (Alternative(b"h3", "", 443, 2_592_000),)),
        (b'h3=":443";ma=60;persist=1', (Alternative(b"h3", "", 443, 60, True),)),
        (b'h3=":443" ;\tMA="60" ; Persist="1"', (Alternative(b"h3", "", 443, 60, True),)),
        (b'h3=":443"; ma=60;', (Alternative(b"h3", "", 443, 60),)),
        (b'h3=":443"; persist=2', (H3,)),
        (b'h3=":443"; v="46,43"; quux=x; ma=5', (Alternative(b"h3", "", 443, 5),)),
        (b'h3=":443"; ma=1; ma=2', (Alternative(b"h3", "", 443, 1),)),
        (b'h3=":443"; ma=99999999999999999999', (Alternative(b"h3", "", 443, MAX_AGE),)),
        (b'h3=":443"; ma=0', (Alternative(b"h3", "", 443, 0),)),
        (b'h3="alt.Example.NET:8443"', (Alternative(b"h3", "alt.example.net", 8443),)),
        (b'h3="[2001:DB8::1]:443"', (Alternative(b"h3", "2001:db8::1", 443),)),
        (b'h3="192.0.2.1:443"', (Alternative(b"h3", "192.0.2.1", 443),)),
        (b'h3="\\a\\l\\t:443"', (Alternative(b"h3", "alt", 443),)),
        (b'h3=":443", h2="alt:80"; ma=9', (H3, Alternative(b"h2", "alt", 80, 9))),
        (b', h3=":443",,\th3="b:1" ,', (H3, Alternative(b"h3", "b", 1))),
        (b'w%3Dx%3Ay#z=":1"', (Alternative(b"w=x:y#z", "", 1),)),
        (b'x%25y=":1"', (Alternative(b"x%y", "", 1),)),
        (b'%E2%82%AC=":1"', (Alternative("€".encode(), "", 1),)),
        (b"clear", ()),
        (b" clear ", ()),
        (b'h3=":443", clear', ()),
        (b'clear, h3=":443"', ()),
    ],
)
def test_what_a_field_says(value: bytes, meaning: tuple[Alternative, ...]) -> None:
    assert parse_alt_svc(value) == meaning


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"Clear",
        b"clear; x=1",
        b"h3",
        b"h3=",
        b"h3=:443",
        b"h3=''",
        b'h3 =":443"',
        b'h3= ":443"',
        b'h3=""',
        b'h3="443"',
        b'h3=":"',
        b'h3=":0"',
        b'h3=":65536"',
        b'h3=":+443"',
        b'h3=": 443"',
        b'h3=":443 "',
        b'h3="https://alt:443"',
        b'h3="user@alt:443"',
        b'h3="alt:443/path"',
        b'h3="a b:443"',
        b'h3="-.-:443"',
        b'h3="2001:db8::1:443"',
        b'h3="[::1:443"',
        b'h3="[nonsense]:443"',
        b'h3="[fe80::1%25eth0]:443"',
        b'h3="b\xc3\xbccher.example:443"',
        b'h3="alt\x00:443"',
        b'h3=":443" ma=5',
        b'h3=":443"; ma',
        b'h3=":443"; ma=',
        b'h3=":443"; ma=-1',
        b'h3=":443"; ma=1.5',
        b'h3=":443"; ma=\xb2',
        b'h3=":443"x',
        b'%683=":443"',  # there is one way to write a name (section 3)
        b'%3d=":443"',
        b'%=":443"',
        b'x%2=":443"',
        b'x%zz=":443"',
        b'=":443"',
    ],
)
def test_what_is_malformed_is_skipped(member: bytes) -> None:
    assert parse_alt_svc(member) is None
    assert parse_alt_svc(member + b', h3=":443"') == (H3,)
    assert parse_alt_svc(b'h3=":443", ' + member) == (H3,)


def test_an_open_quote_ends_the_field() -> None:
    assert parse_alt_svc(b'h3=":443", h2=":80, h3=\\":81') == (H3,)
    assert parse_alt_svc(b'"') is None


def test_no_more_than_so_many() -> None:
    many = b", ".join(b'h3=":%d"' % (port + 1) for port in range(500))
    parsed = parse_alt_svc(many)
    assert parsed is not None
    assert [item.port for item in parsed] == list(range(1, MAX_ALTERNATIVES + 1))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from([b'"', b"\\", b",", b";", b"=", b":", b"h3", b"443", b"%", b" ", b"ma", b"\xff", b"clear"])
    )
)
def test_anything_is_alternatives_or_nothing(parts: list[bytes]) -> None:
    parsed = parse_alt_svc(b"".join(parts))
    assert parsed is None or all(0 < item.port < 65_536 and 0 <= item.max_age <= MAX_AGE for item in parsed)


def test_time_is_linear_in_the_length() -> None:
    for piece in (b'"', b'\\"', b";", b" ;", b'h3=":443";', b"a=", b"%25", b","):
        assert parse_alt_svc(piece * 100_000) in (None, (H3,))


# -- the cache ------------------------------------------------------------------------------------


def told(value: bytes, *others: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"text/html"), (b"alt-svc", value), *others]


def test_alternatives_expire() -> None:
    cache = AltSvcCache()
    assert cache.learn(ORIGIN, 200, told(b'h3=":443"; ma=10, h3="alt:8443"; ma=20'), NOW)
    assert [item.port for item in cache.alternatives(ORIGIN, NOW + 10 * SECOND - 1)] == [443, 8443]
    assert [item.port for item in cache.alternatives(ORIGIN, NOW + 10 * SECOND)] == [8443]
    assert cache.alternatives(ORIGIN, NOW + 20 * SECOND) == ()
    assert cache.alternatives(Origin("example.com", 8443), NOW) == ()


def test_a_day_without_ma_and_less_the_age_of_the_response() -> None:
    cache = AltSvcCache()
    cache.learn(ORIGIN, 200, told(b'h3=":443"', (b"age", b"3600")), NOW)
    last = NOW + (DEFAULT_MAX_AGE - 3600) * SECOND - 1
    assert cache.alternatives(ORIGIN, last) == (H3,)
    assert cache.alternatives(ORIGIN, last + 1) == ()


def test_only_the_protocol_asked_for() -> None:
    cache = AltSvcCache()
    cache.learn(ORIGIN, 200, told(b'h3-29=":443", h2=":443", h3=":444"'), NOW)
    assert [item.port for item in cache.alternatives(ORIGIN, NOW)] == [444]
    assert [item.port for item in cache.alternatives(ORIGIN, NOW, b"h2")] == [443]


def test_what_is_heard_replaces_what_was_known() -> None:
    cache = AltSvcCache()
    cache.learn(ORIGIN, 200, told(b'h3=":443", h3=":444"'), NOW)
    cache.learn(ORIGIN, 404, told(b'h2=":443"'), NOW)
    assert cache.alternatives(ORIGIN, NOW) == ()


def test_several_lines_are_one_field() -> None:
    cache = AltSvcCache()
    cache.learn(ORIGIN, 200, told(b'h3=":443"', (b"alt-svc", b'h3=":444"')), NOW)
    assert [item.port for item in cache.alternatives(ORIGIN, NOW)] == [443, 444]


def test_the_same_again_keeps_it_fresh() -> None:
    cache = AltSvcCache()
    for hour in range(0, 96, 12):
        cache.learn(ORIGIN, 200, told(b'h3=":443"'), NOW + hour * 3600 * SECOND)
    assert cache.alternatives(ORIGIN, NOW + 4 * DAY) == (H3,)


def test_clear_forgets_everything_of_the_origin() -> None:
    cache = AltSvcCache()
    other = Origin("example.net", 443)
    cache.learn(ORIGIN, 200, told(b'h3=":443"; persist=1'), NOW)
    cache.learn(other, 200, told(b'h3=":443"'), NOW)
    assert not cache.learn(ORIGIN, 200, told(b"clear"), NOW)
    assert cache.alternatives(ORIGIN, NOW) == ()
    assert cache.alternatives(other, NOW) == (H3,)


@pytest.mark.parametrize("value", [b"garbage", b'h3="', b""])
def test_garbage_changes_nothing(value: bytes) -> None:
    cache = AltSvcCache()
    cache.learn(ORIGIN, 200, told(b'h3=":443"'), NOW)
    assert cache.learn(ORIGIN, 200, told(value), NOW)
    assert cache.alternatives(ORIGIN, NOW) == (H3,)


def test_a_misdirected_response_says_nothing_and_costs_the_alternative_its_place() -> None:
    cache = AltSvcCache()
    cache.learn(ORIGIN, 200, told(b'h3=":443", h3="alt:444"'), NOW)
    cache.learn(ORIGIN, 421, told(b"clear"), NOW)
    assert len(cache.alternatives(ORIGIN, NOW)) == 2
    cache.remove(ORIGIN, "example.com", 443)
    assert [item.host for item in cache.alternatives(ORIGIN, NOW)] == ["alt"]
    cache.remove(ORIGIN, "alt", 444)
    assert len(cache) == 0


def test_another_network_leaves_what_persists() -> None:
    cache = AltSvcCache()
    cache.learn(ORIGIN, 200, told(b'h3=":443", h3=":444"; persist=1'), NOW)
    cache.learn(Origin("example.net", 443), 200, told(b'h3=":443"'), NOW)
    cache.network_changed()
    assert [item.port for item in cache.alternatives(ORIGIN, NOW)] == [444]
    assert len(cache) == 1


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    cache = AltSvcCache(limit=10)
    for number in range(1000):
        cache.learn(Origin(f"host{number}.example", 443), 200, told(b'h3=":443"'), NOW + number)
    assert len(cache) == 10
    assert cache.alternatives(Origin("host989.example", 443), NOW + 1000) == ()
    assert cache.alternatives(Origin("host990.example", 443), NOW + 1000) == (H3,)


# -- the file -------------------------------------------------------------------------------------


def test_a_file_outlives_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "alt-svc.json"
    cache = AltSvcCache(path)
    cache.learn(ORIGIN, 200, told(b'h3="alt:444"; ma=3600; persist=1, w%3D=":1"'), NOW)
    cache.learn(Origin("::1", 8443), 200, told(b'h3=":443"; ma=1'), NOW)
    cache.save(NOW + 2 * SECOND)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["alt-svc.json"]
    again = AltSvcCache(path)
    assert again.alternatives(ORIGIN, NOW) == (Alternative(b"h3", "alt", 444, 3600, True),)
    assert again.alternatives(ORIGIN, NOW, b"w=") == (Alternative(b"w=", "", 1),)
    assert again.alternatives(ORIGIN, NOW + 3600 * SECOND) == ()
    assert len(again) == 1  # the other one was not fresh any more


def test_a_file_is_written_only_when_something_changed(tmp_path: Path) -> None:
    path = tmp_path / "alt-svc.json"
    cache = AltSvcCache(path)
    cache.save(NOW)
    assert not path.exists()
    cache.learn(ORIGIN, 200, told(b'h3=":443"'), NOW)
    cache.save(NOW)
    before = path.stat().st_ino
    cache.learn(ORIGIN, 200, told(b'h3=":443"'), NOW + SECOND)
    cache.save(NOW)
    assert path.stat().st_ino == before
    cache.clear()
    cache.save(NOW)
    assert json.loads(path.read_text())["origins"] == []


GOOD = {"host": "a", "port": 1, "heard": NOW // SECOND, "alternatives": []}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": 1, "origins": 5}',
        b'{"format": 1, "origins": ["x"]}',
        json.dumps({"format": 1, "origins": [{**GOOD, "port": "1"}]}).encode(),
        json.dumps({"format": 1, "origins": [{**GOOD, "port": 65_536}]}).encode(),
        json.dumps({"format": 1, "origins": [{**GOOD, "host": None}]}).encode(),
        json.dumps({"format": 1, "origins": [{**GOOD, "heard": 1e400}]}).encode(),
        json.dumps({"format": 1, "origins": [{**GOOD, "alternatives": [{}]}]}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "alt-svc.json"
    path.write_bytes(content)
    assert len(AltSvcCache(path)) == 0
    assert "are not used" in caplog.text


def test_a_file_of_another_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "alt-svc.json"
    path.write_text('{"format": 2, "origins": {}}')
    assert len(AltSvcCache(path)) == 0


def test_nothing_from_the_future_counts(tmp_path: Path) -> None:
    path = tmp_path / "alt-svc.json"
    cache = AltSvcCache(path)
    cache.learn(ORIGIN, 200, told(b'h3=":443"'), NOW)
    cache.save(NOW)
    assert AltSvcCache(path).alternatives(ORIGIN, NOW - DAY) == ()


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    cache = AltSvcCache(tmp_path / "missing" / "alt-svc.json")
    cache.learn(ORIGIN, 200, told(b'h3=":443"'), NOW)
    with pytest.raises(OSError, match="missing"):
        cache.save(NOW)


# -- what did not work ------------------------------------------------------------------------------


def test_each_failure_in_a_row_doubles_the_pause() -> None:
    backoff = Backoff[str](first=10, most=50)
    now = 1000
    pauses = []
    for _ in range(6):
        until = backoff.failed("a", now)
        pauses.append(until - now)
        assert backoff.until("a", until - 1) == until
        assert backoff.until("a", until) == 0
        now = until
    assert pauses == [10, 20, 40, 50, 50, 50]
    assert backoff.until("b", now) == 0


def test_one_outage_met_by_many_is_one_failure() -> None:
    backoff = Backoff[str](first=10, most=1000)
    assert {backoff.failed("a", 1000 + late) for late in range(10)} == {1010}
    assert backoff.failed("a", 1010) == 1030


def test_success_makes_the_next_failure_a_first_one() -> None:
    backoff = Backoff[str](first=10, most=1000)
    backoff.failed("a", 0)
    backoff.failed("a", 10)
    backoff.succeeded("a")
    assert backoff.until("a", 11) == 0
    assert backoff.failed("a", 100) == 110


def test_failures_are_bounded() -> None:
    backoff = Backoff[int](limit=10)
    for number in range(100):
        backoff.failed(number, 0)
    assert len(backoff) == 10
    assert backoff.until(89, 0) == 0
    assert backoff.until(90, 0) > 0
    backoff.clear()
    assert len(backoff) == 0
