"""Random networks with random transfers and anything in between; a failure names the command that runs its seed."""

from __future__ import annotations

import re

import pytest

from specter.quic.early_data import EarlyDataStatus
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.pair import Pair
from specter.testing.replay import Failed, main, replay, scenario
from specter.testing.transfers import Action, Mismatch, Side
from specter.testing.uses import UseKind

SEEDS = 240
CHUNK = 10


def nothing_left(pair: Pair) -> None:
    """Both ends forgot every stream, and nothing is in flight."""
    for application in (pair.client, pair.server):
        assert application.connection._core.streams.by_id == {}
        assert application.connection.stats.bytes_in_flight == 0


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        replay(seed, inspect=nothing_left)


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


def test_a_failure_shrinks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(side: Side, data: bytes) -> None:
        if side.received + len(data) > 100:
            raise Mismatch("more than a hundred bytes")
        side.received += len(data)

    monkeypatch.setattr(Side, "_check", spoil)
    whole = (Action.DOWNLOAD, Action.UPLOAD, Action.ECHO)
    small = ((seed, scenario(seed, size=5000)) for seed in range(SEEDS))
    seed = next(
        seed
        for seed, plan in small
        if plan.ending is None and any(order.action in whole and order.size > 100 for order in plan.orders)
    )
    assert main([str(seed), "--quiet"]) == 1
    told = capsys.readouterr().out
    assert re.search(rf"python -m specter\.testing\.replay {seed} --size (1000|5000)\n", told)
    assert "more than a hundred bytes" in told


def test_the_command_runs_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3-4", "9", "--size", "20000"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("seed")] == [
        "seed 3",
        "seed 4",
        "seed 9",
    ]
