from __future__ import annotations

from specter.net.gathering import DENSE, ENOUGH, LULL, PAUSE, Gathering


def flow(gathering: Gathering, datagrams: int, burst: int, waited: int = 50_000) -> None:
    for _ in range(0, datagrams, burst):
        gathering.count(burst, waited)


def test_small_exchanges_never_wait() -> None:
    gathering = Gathering()
    for _ in range(1000):
        flow(gathering, 100, 20)
        gathering.count(1, LULL + 1)
        assert gathering.pause == 0


def test_a_response_that_comes_in_portions_is_read_as_it_comes() -> None:
    gathering = Gathering()
    flow(gathering, 100 * ENOUGH, 14, waited=1_000_000)
    assert gathering.pause == 0


def test_a_long_dense_download_gathers() -> None:
    gathering = Gathering()
    flow(gathering, ENOUGH - 20, 10)
    assert gathering.pause == 0
    flow(gathering, 40, 10)
    assert gathering.pause == PAUSE


def test_a_lull_ends_it() -> None:
    gathering = Gathering()
    flow(gathering, 2 * ENOUGH, 10)
    gathering.count(10, LULL + 1)
    assert gathering.pause == 0


def test_a_slow_network_is_read_as_it_comes() -> None:
    gathering = Gathering()
    flow(gathering, 10 * ENOUGH, DENSE - 1)
    assert gathering.pause == 0


def test_a_download_that_thins_out_stops_gathering() -> None:
    gathering = Gathering()
    flow(gathering, 2 * ENOUGH, 40)
    flow(gathering, 200, 1)
    assert gathering.pause == 0
