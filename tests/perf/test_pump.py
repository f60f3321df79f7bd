"""The pump: one engine feeds another, on a virtual clock."""

from __future__ import annotations

import pytest

from perf.bench.pump import client as clients
from perf.bench.pump import pump as pumps
from perf.bench.pump.feed import Feed
from perf.bench.pump.pump import BURST, Pump, Stalled
from perf.bench.pump.upload import Upload


@pytest.fixture(scope="module")
def pump():
    made = Pump(clients.make_client("specter"), Feed())
    made.connect()
    made.ramp(200_000)
    return made


def test_bursts_are_full_and_reach_the_application(pump):
    before = pump.client.received
    times = [pump.burst() for _ in range(3)]
    assert [time.packets for time in times] == [BURST] * 3
    size = sum(time.size for time in times)
    assert 0.9 * size < pump.client.received - before < size
    assert all(0 < time.per_packet == time.nanoseconds / BURST for time in times)


def test_many_requests_share_the_connection():
    pump = Pump(clients.make_client("specter"), Feed(streams=20), streams=20)
    pump.connect()
    assert pump.feed.answered == 20
    assert pump.burst(16).packets == 16


def test_idle_streams_stay_open():
    pump = Pump(clients.make_client("specter"), Feed(streams=5, busy=1), streams=5)
    pump.connect()
    pump.burst(8)
    assert pump.client.h3.open_exchanges == 5
    assert len(pump.feed._streams) == 1


def test_upload_is_acknowledged_whole():
    upload = Upload()
    upload.connect()
    upload.ramp(400_000)
    time = upload.burst()
    assert time.packets >= BURST - 2
    assert time.sending > 0
    assert time.acknowledging > 0


def test_a_client_that_says_nothing_is_noticed(monkeypatch):
    monkeypatch.setattr(pumps, "PATIENCE", 3)
    client = clients.make_client("specter")
    monkeypatch.setattr(client, "ready", lambda: False)
    with pytest.raises(Stalled):
        Pump(client, Feed()).connect()


def test_aioquic_is_driven_by_the_same_server():
    pytest.importorskip("aioquic")
    pump = Pump(clients.make_client("aioquic"), Feed())
    pump.connect()
    pump.ramp(50_000)
    assert pump.burst(16).packets == 16
    assert pump.client.received > 50_000
