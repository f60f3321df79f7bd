"""Two hundred random networks with random transfers; a failure names the command that runs its seed again."""

from __future__ import annotations

import pytest

from specter.quic.early_data import EarlyDataStatus
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.pair import Pair
from specter.testing.replay import Failed, main, replay, scenario
from specter.testing.transfers import Action

SEEDS = 200
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


def test_a_failure_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specter.testing.replay.LIMIT", 0.001)
    with pytest.raises(Failed, match=r"(?s)python -m specter\.testing\.replay 7\n.*virtual seconds"):
        replay(7)


def test_the_command_runs_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3-4", "9"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("seed")] == [
        "seed 3",
        "seed 4",
        "seed 9",
    ]
