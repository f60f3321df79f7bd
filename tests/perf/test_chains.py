"""Recordings, and the chains that digest them: both twins do the whole work and nothing but it."""

from __future__ import annotations

import pytest

from perf.kit import chains, recording, twins
from specter._reference.protection import AES_128_GCM_SHA256, PacketProtection

TWINS = twins.available()


@pytest.fixture(params=TWINS, ids=[twin.kind for twin in TWINS])
def twin(request):
    return request.param


def test_recorded_packets_open_and_go_on():
    bursts = recording.record(2, 3, streams=2)
    keys = PacketProtection(AES_128_GCM_SHA256, recording.secret(AES_128_GCM_SHA256))
    numbers = []
    for datagram in (datagram for burst in bursts for datagram in burst.datagrams):
        assert len(datagram) == recording.SIZE
        number, *_ = keys.open(bytearray(datagram), 0, 9, len(datagram), len(numbers) - 1)
        numbers.append(number)
    assert numbers == list(range(6))


def test_clear_packets_differ_in_their_headers_only():
    burst = recording.record(1, 4)[0]
    for start, payload, end in zip(burst.clear.starts, burst.clear.payloads, burst.clear.ends, strict=True):
        assert burst.clear.data[payload:end] == burst.sealed.data[payload:end]
        assert burst.clear.data[start] == 0x41
        assert burst.clear.data[start + 1 : start + 9] == recording.CID


@pytest.mark.parametrize(("count", "streams", "group"), [(1, 1, 4), (4, 1, 1), (4, 3, 1)])
def test_receive_chain_delivers_every_byte(twin, count, streams, group):
    chain = chains.ReceiveChain(twin, recording.record(5, count, streams=streams), streams, group=group)
    for _ in range(7):
        assert chain.measure() > 0


def test_receive_chain_notices_what_is_missing(twin):
    bursts = recording.record(2, 4)
    bursts[1].datagrams[0] = bursts[0].datagrams[0]
    chain = chains.ReceiveChain(twin, bursts)
    chain.measure()
    with pytest.raises(RuntimeError, match="bytes arrived"):
        chain.measure()


@pytest.mark.parametrize(("count", "group"), [(1, 4), (8, 1)])
def test_send_chain_fills_datagrams(twin, count, group):
    chain = chains.SendChain(twin, count, group=group)
    for _ in range(4):
        assert chain.measure() > 0
