from __future__ import annotations

import pytest

from specter._wire import NEVER
from specter.client.timeouts import DEFAULT_TIMEOUTS, Timeouts
from specter.errors import ConnectTimeout, PoolTimeout, ReadTimeout, TotalTimeout, WriteTimeout
from specter.net import clock
from specter.net.budget import Budget, Wait


def values(timeouts: Timeouts) -> tuple[float | None, ...]:
    return timeouts.connect, timeouts.read, timeouts.write, timeouts.pool, timeouts.total


def test_the_ways_to_write_them() -> None:
    assert values(Timeouts(5)) == (5, 5, 5, 5, None)
    assert values(Timeouts()) == (None, None, None, None, None)
    assert values(Timeouts(None)) == (None, None, None, None, None)
    assert values(Timeouts(5, connect=30, total=60)) == (30, 5, 5, 5, 60)
    assert values(Timeouts(5, read=None)) == (5, None, 5, 5, None)
    assert values(Timeouts((1, 2, None, 4))) == (1, 2, None, 4, None)
    assert values(Timeouts(Timeouts(5, total=9), read=1)) == (5, 1, 5, 5, 9)
    assert values(DEFAULT_TIMEOUTS) == (5, 5, 5, 5, None)
    assert Timeouts.of(DEFAULT_TIMEOUTS) is DEFAULT_TIMEOUTS
    assert Timeouts.of(3) == Timeouts(3)


@pytest.mark.parametrize("bad", [0, -1, float("nan")])
def test_a_limit_is_above_zero(bad: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Timeouts(bad)
    with pytest.raises(ValueError, match="total"):
        Timeouts(1, total=bad)


def test_a_tuple_has_four() -> None:
    with pytest.raises(ValueError, match="tuple"):
        Timeouts((1, 2, 3))  # type: ignore[arg-type]


def test_each_wait_starts_anew_and_the_total_does_not() -> None:
    budget = Budget.of(read=2, total=5, started=10 * clock.SECOND)
    assert budget.deadline(Wait.READ, 10 * clock.SECOND) == 12 * clock.SECOND
    assert budget.deadline(Wait.READ, 14 * clock.SECOND) == 15 * clock.SECOND
    assert budget.deadline(Wait.WRITE, 14 * clock.SECOND) == 15 * clock.SECOND
    assert Budget.of(read=2).deadline(Wait.WRITE, 0) == NEVER


@pytest.mark.parametrize(
    ("wait", "kind"),
    [
        (Wait.CONNECT, ConnectTimeout),
        (Wait.READ, ReadTimeout),
        (Wait.WRITE, WriteTimeout),
        (Wait.POOL, PoolTimeout),
    ],
)
def test_each_wait_has_its_exception(wait: Wait, kind: type[Exception]) -> None:
    budget = Budget.of(connect=0.5, read=0.5, write=0.5, pool=0.5)
    error = budget.expired(wait, "detail")
    assert type(error) is kind
    assert isinstance(error, TimeoutError)
    assert "0.5 s" in str(error)
    assert "detail" in str(error)


def test_the_total_comes_first() -> None:
    error = Budget.of(read=0.5, total=1, started=clock.now() - 2 * clock.SECOND).expired(Wait.READ)
    assert type(error) is TotalTimeout
    assert "1 s" in str(error)
