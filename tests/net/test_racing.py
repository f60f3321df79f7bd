from __future__ import annotations

from collections.abc import Sequence

import pytest

from specter._wire import NEVER
from specter.errors import CertificateError, ConnectError, ConnectTimeout, Error, HandshakeError
from specter.net.clock import SECOND
from specter.net.inline import run_inline
from specter.net.racing import STAGGER, Address, Race

A, B, C = ("192.0.2.1", 443), ("192.0.2.2", 443), ("192.0.2.3", 443)
MS = SECOND // 1000


class Runner:
    """An attempt that is ready, or fails, so long after its start."""

    def __init__(self, address: Address, start: int, lasts: int, error: Error | None) -> None:
        self.address = address
        self.end = start + lasts
        self.error = error
        self.abandoned = 0

    def next_deadline(self) -> int:
        return self.end

    def advance(self, now: int) -> bool:
        if now < self.end:
            return False
        if self.error is not None:
            raise self.error
        return True

    def abandon(self, now: int) -> None:
        self.abandoned += 1


class Track:
    """A race in virtual time. ``plan`` says for each address how long it takes and how it ends."""

    def __init__(self, plan: dict[Address, tuple[int, Error | OSError | None]]) -> None:
        self.plan = plan
        self.now = 0
        self.runners: list[Runner] = []
        self.starts: list[tuple[Address, int]] = []
        self.parked_without_limit = False

    def begin(self, address: Address, now: int) -> Runner:
        self.starts.append((address, now))
        lasts, error = self.plan[address]
        if isinstance(error, OSError) and not isinstance(error, Error):
            raise error
        runner = Runner(address, now, lasts, error)
        self.runners.append(runner)
        return runner

    async def park(self, runners: Sequence[Runner], until: int) -> None:
        assert runners
        assert until > self.now
        self.now = until

    def run(self, deadline: int = 60 * SECOND) -> Address | None:
        race = Race("a.example", self.begin, self.park, now=lambda: self.now)
        try:
            winner = run_inline(race.run(list(self.plan), deadline))
        finally:
            self.winner = None
        if winner is None:
            return None
        assert winner.abandoned == 0
        assert all(runner.abandoned == 1 for runner in self.runners if runner is not winner)
        return winner.address


def test_the_first_address_has_a_head_start() -> None:
    track = Track({A: (100 * MS, None), B: (1 * MS, None)})
    assert track.run() == A
    assert track.starts == [(A, 0)]


def test_a_silent_address_loses() -> None:
    track = Track({A: (NEVER, None), B: (50 * MS, None), C: (1, None)})
    assert track.run() == B
    assert track.starts == [(A, 0), (B, STAGGER)]


def test_a_slow_first_may_still_win() -> None:
    track = Track({A: (300 * MS, None), B: (100 * MS, None)})
    assert track.run() == A
    assert track.starts == [(A, 0), (B, STAGGER)]


def test_a_failure_starts_the_next_at_once() -> None:
    track = Track(
        {A: (10 * MS, ConnectError("refused")), B: (10 * MS, HandshakeError("no", code=1, remote=True)), C: (1, None)}
    )
    assert track.run() == C
    assert track.starts == [(A, 0), (B, 10 * MS), (C, 20 * MS)]


def test_no_route_starts_the_next_at_once() -> None:
    track = Track({A: (0, OSError(101, "Network is unreachable")), B: (5 * MS, None)})
    assert track.run() == B
    assert track.starts == [(A, 0), (B, 0)]


def test_a_refused_certificate_ends_the_race() -> None:
    refusal = CertificateError("wrong name", check="name", name="a.example")
    track = Track({A: (300 * MS, refusal), B: (NEVER, None), C: (1, None)})
    with pytest.raises(CertificateError, match="wrong name"):
        track.run()
    assert [address for address, _ in track.starts] == [A, B]
    assert all(runner.abandoned == 1 for runner in track.runners)


def test_the_deadline_ends_the_race() -> None:
    track = Track({A: (NEVER, None), B: (NEVER, None)})
    assert track.run(deadline=SECOND) is None
    assert track.now == SECOND
    assert all(runner.abandoned == 1 for runner in track.runners)


def test_one_failure_is_told_as_it_is() -> None:
    with pytest.raises(ConnectError, match=r"cannot connect to a\.example \(192\.0\.2\.1 port 443\): refused"):
        Track({A: (1, ConnectError("refused"))}).run()
    with pytest.raises(HandshakeError, match=r"^no$") as caught:
        Track({A: (1, HandshakeError("no", code=0x178, remote=True))}).run()
    assert caught.value.code == 0x178


def test_several_failures_are_told_together() -> None:
    with pytest.raises(ConnectError) as caught:
        Track({A: (1, ConnectError("refused")), B: (0, OSError(101, "Network is unreachable"))}).run()
    assert type(caught.value) is ConnectError
    for part in ("192.0.2.1: refused", "192.0.2.2: Network is unreachable"):
        assert part in str(caught.value)
    with pytest.raises(ConnectTimeout):
        Track({A: (1, ConnectTimeout("slow")), B: (1, ConnectTimeout("slow"))}).run()


def test_no_address() -> None:
    with pytest.raises(ConnectError, match="no address"):
        Track({}).run()


def test_an_interruption_leaves_nobody_running() -> None:
    class Interrupted(Track):
        async def park(self, runners: Sequence[Runner], until: int) -> None:
            if len(runners) == 2:
                raise KeyboardInterrupt
            await super().park(runners, until)

    track = Interrupted({A: (NEVER, None), B: (NEVER, None)})
    with pytest.raises(KeyboardInterrupt):
        track.run()
    assert [runner.abandoned for runner in track.runners] == [1, 1]


def test_a_programming_error_is_not_taken_for_a_dead_address() -> None:
    class Broken(Track):
        def begin(self, address: Address, now: int) -> Runner:
            raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        Broken({A: (1, None), B: (1, None)}).run()
