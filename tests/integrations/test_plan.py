"""Which way a request goes, without sockets and clocks."""

from __future__ import annotations

from specter.client.offers import Offers
from specter.client.url import Origin
from specter.errors import ConnectError, NetworkError, StreamReset
from specter.h3.errors import H3ErrorCode
from specter.integrations._outcome import Reason
from specter.integrations._plan import Plan, Way
from specter.net.clock import SECOND

ORIGIN = Origin("example.com", 443)
NOW = 1_800_000_000 * SECOND


def offers(value: bytes = b'h3=":443"') -> Offers:
    known = Offers()
    known.learn(ORIGIN, 200, [(b"alt-svc", value)], NOW)
    return known


def test_always_is_always() -> None:
    plan = Plan(None, ORIGIN)
    assert plan.way(False, NOW) is Way.HTTP3
    assert plan.reason is Reason.ONLY


def test_a_connection_is_used_whatever_is_known() -> None:
    plan = Plan(Offers(), ORIGIN)
    assert plan.way(True, NOW) is Way.HTTP3
    assert plan.reason is Reason.REUSED


def test_what_is_offered_is_raced_for_and_then_used() -> None:
    plan = Plan(offers(), ORIGIN)
    assert plan.way(False, NOW) is Way.RACE
    assert plan.way(True, NOW) is Way.HTTP3
    assert (plan.reason, plan.detail) == (Reason.FOUND, "Alt-Svc")


def test_what_is_not_offered_is_not_tried() -> None:
    plan = Plan(Offers(), ORIGIN)
    assert plan.way(False, NOW) is Way.FALLBACK
    assert plan.reason is Reason.NOT_OFFERED


def test_what_failed_is_replaced_by_the_next_and_then_by_tcp() -> None:
    known = offers(b'h3=":443", h3=":444"')
    plan = Plan(known, ORIGIN)
    for _ in range(2):
        assert plan.way(False, NOW) is Way.RACE
        route = known.route(ORIGIN, NOW)
        assert route is not None
        known.failed(ORIGIN, route, NOW)
        plan.not_connected(ConnectError("no"))
    assert plan.way(False, NOW) is Way.FALLBACK
    assert (plan.reason, plan.detail) == (Reason.FAILED, "no")
    later = Plan(known, ORIGIN)
    assert later.way(False, NOW) is Way.FALLBACK
    assert later.reason is Reason.BROKEN


def test_a_failure_that_is_not_the_routes_is_not_run_into_twice() -> None:
    """The client was closed, say: the route is as good as before, and still of no use."""
    plan = Plan(offers(), ORIGIN)
    assert plan.way(False, NOW) is Way.RACE
    plan.not_connected(NetworkError("the client is closed"))
    assert plan.way(False, NOW) is Way.FALLBACK
    assert (plan.reason, plan.detail) == (Reason.FAILED, "the client is closed")


def test_who_is_overtaken_stays_behind() -> None:
    plan = Plan(offers(), ORIGIN)
    plan.way(False, NOW)
    plan.overtaken(None)
    assert plan.way(True, NOW) is Way.FALLBACK
    assert plan.reason is Reason.SLOW
    plan = Plan(offers(), ORIGIN)
    plan.overtaken(ConnectError("no"))
    assert (plan.reason, plan.detail) == (Reason.FAILED, "no")


def test_a_lost_connection_is_made_once_more() -> None:
    plan = Plan(offers(), ORIGIN)
    assert plan.way(True, NOW) is Way.HTTP3
    plan.lost(NetworkError("gone"))
    assert plan.way(False, NOW) is Way.RACE
    assert plan.way(True, NOW) is Way.HTTP3
    assert (plan.reason, plan.detail) == (Reason.FOUND, "at the second try: gone")
    plan.lost(NetworkError("gone again"))
    assert plan.way(True, NOW) is Way.FALLBACK
    assert (plan.reason, plan.detail) == (Reason.REFUSED, "gone again")


def test_a_refusal_is_taken_at_its_word() -> None:
    plan = Plan(offers(), ORIGIN)
    plan.lost(StreamReset("rejected", code=H3ErrorCode.H3_REQUEST_REJECTED, retry_safe=True))
    assert plan.way(True, NOW) is Way.FALLBACK


def test_what_may_be_sent_again() -> None:
    safe, unsafe = NetworkError("x"), NetworkError("x")
    safe.retry_safe = True
    assert Plan.may_repeat(safe, fresh=True)
    assert not Plan.may_repeat(safe, fresh=False)
    assert not Plan.may_repeat(unsafe, fresh=True)
    fallback = StreamReset("x", code=H3ErrorCode.H3_VERSION_FALLBACK)
    assert Plan.may_repeat(fallback, fresh=True)
    assert not Plan.may_repeat(fallback, fresh=False)
    assert not Plan.may_repeat(StreamReset("x", code=H3ErrorCode.H3_INTERNAL_ERROR), fresh=True)
