"""Many seeds at once: what is told of them, and that failures are."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from specter.testing import soak
from specter.testing.transfers import Mismatch, Side


def test_it_tells_how_many_there_were_and_how_they_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["30", "--processes", "1"]) == 0
    summary, *ends = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"30 connections \((compiled|reference)\) in \d+ s, 0 failures", summary)
    counts = {how: int(count) for count, how in (line.split(maxsplit=1) for line in ends)}
    assert sum(counts.values()) == 30
    assert counts["client local, server remote"] > 15
    assert any(how.startswith("early: ") for how in counts)


def test_failures_are_counted_and_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(side: Side, data: bytes) -> None:
        raise Mismatch("nothing is right")

    monkeypatch.setattr(Side, "_check", spoil)
    tally = soak.run(2, 3)
    assert tally.ends == Counter(failed=2)
    assert all("--without" in text and "nothing is right" in text for text in tally.failures)
    soak._summarize(tally.ends, len(tally.failures), 1.0)


def test_a_process_that_keeps_what_is_over_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    monkeypatch.setattr(soak, "WARM", 5)
    monkeypatch.setattr(soak, "_memory", soak._Memory())
    assert soak.run(10, 14).failures == ()
    assert soak.run(15, 16).failures == ()
    original = soak.replay
    monkeypatch.setattr(soak, "replay", lambda seed: kept.append(done := original(seed)) or done)
    (failure,) = soak.run(17, 20).failures
    assert re.match(r"seeds 17-20: \d+ blocks of memory more", failure)
