"""Random networks with random transfers and anything in between; a failure names the command that runs its seed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from specter.quic.early_data import EarlyDataStatus
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.replay import SIZE, Failed, Scenario, main, replay, scenario, shrunk
from specter.testing.shrinking import simplify
from specter.testing.transfers import Action, Mismatch, Side
from specter.testing.uses import UseKind

SEEDS = 300
CHUNK = 10


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        replay(seed)


def test_the_seeds_cover_what_they_should() -> None:
    plans = [scenario(seed) for seed in range(SEEDS)]
    assert {order.action for plan in plans for order in plan.orders} == set(Action)
    for name in ("loss", "burst_loss", "reorder", "duplicate", "corrupt", "bandwidth", "jitter", "ecn_ce"):
        assert sum(bool(getattr(plan.up, name)) for plan in plans) >= 30
    assert sum(plan.retry for plan in plans) >= 20
    assert sum(plan.key_updates > 0 for plan in plans) >= 40
    for first, spoken in [(QUIC_V1, (QUIC_V1, QUIC_V2)), (QUIC_V2, (QUIC_V1, QUIC_V2)), (QUIC_V1, (QUIC_V2,))]:
        assert sum((plan.client.first_version, plan.server.versions) == (first, spoken) for plan in plans) >= 15
    for status in (EarlyDataStatus.NONE, EarlyDataStatus.ACCEPTED, EarlyDataStatus.REJECTED):
        assert sum(plan.early_data is status for plan in plans) >= 50
    for kind in UseKind:
        assert sum(kind in [use.kind for use in plan.uses] for plan in plans) >= 20
    assert sum(not plan.uses for plan in plans) >= 80
    endings = [plan.ending for plan in plans if plan.ending is not None]
    assert len(endings) >= 20
    assert {ending.by_client for ending in endings} == {True, False}


def test_a_failure_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specter.testing.replay.LIMIT", 0.001)
    with pytest.raises(Failed, match=r"(?s)python -m specter\.testing\.replay 7\n.*virtual seconds"):
        replay(7)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> int:
    """Streams fail that carry more than a hundred bytes; return a seed that has some, and much else."""

    def spoil(side: Side, data: bytes) -> None:
        if side.received + len(data) > 100:
            raise Mismatch("more than a hundred bytes")
        side.received += len(data)

    monkeypatch.setattr(Side, "_check", spoil)
    return next(
        seed
        for seed in range(SEEDS)
        if (plan := scenario(seed)).ending is None
        and plan.retry
        and plan.uses
        and plan.up.loss
        and len(plan.orders) > 5
    )


def test_a_failure_shrinks_and_its_line_runs_what_is_left(faulty: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(faulty)]) == 1
    told = capsys.readouterr().out
    line = re.search(r"again with: python -m specter\.testing\.replay (.*)\n", told)
    assert line is not None
    assert told.endswith("Mismatch: more than a hundred bytes\n")
    assert main(line[1].split()) == 1
    assert capsys.readouterr().out == told
    whole, left = scenario(faulty), _scenario_of(line[1])
    assert len(left.orders) == 1 < len(whole.orders)
    assert sum(order.size for order in left.orders) < sum(order.size for order in whole.orders)
    assert (left.uses, left.retry, left.key_updates) == ((), False, 0)
    assert all(not (link.loss or link.corrupt or link.reorder or link.duplicate) for link in (left.up, left.down))


def _scenario_of(words: str) -> Scenario:
    options = dict(re.findall(r"--(size|without) (\S+)", words))
    plan = scenario(int(words.split()[0]), size=int(options.get("size", SIZE)))
    return simplify(plan, options["without"].split(","))


def test_what_fails_otherwise_is_another_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specter.testing.replay.LIMIT", 0.001)
    with pytest.raises(Failed) as caught:
        replay(7)
    monkeypatch.setattr("specter.testing.replay.replay", _always(Mismatch("another one")))
    assert shrunk(caught.value, 7) is caught.value


def _always(error: Exception) -> Callable[..., None]:
    def fail(*args: object, **options: object) -> None:
        raise Failed("in another way") from error

    return fail


def test_parts_that_are_not_there_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="no part 'order-999'"):
        replay(3, without=["order-999"])


def test_the_command_runs_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3-4", "9", "--size", "20000"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("seed")] == [
        "seed 3",
        "seed 4",
        "seed 9",
    ]
