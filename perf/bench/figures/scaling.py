"""What a packet costs must not depend on how much went before it, nor on how many streams are open."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Final

from perf.bench.figures.direct import median_of
from perf.bench.pump.client import make_client
from perf.bench.pump.feed import Feed
from perf.bench.pump.pump import Pump
from perf.bench.scale import Scale
from perf.bench.table import Row, at_most
from perf.kit import alternate, recording, twins
from perf.kit.chains import ReceiveChain

RAMP: Final = 512 << 10


def _pump(streams: int = 1, busy: int | None = None) -> Pump:
    pump = Pump(make_client("specter"), Feed(streams=streams, busy=busy), streams=streams)
    pump.connect()
    return pump


def one_gigabyte(scale: Scale) -> Iterator[Row]:
    """Bursts of a connection that has a gigabyte behind it, and of new ones around their first megabyte."""
    old = _pump()
    old.ramp(scale.large)
    bursts = 10

    def young() -> float:
        pump = _pump()
        pump.ramp(min(RAMP, scale.small))
        return median_of(lambda: pump.burst().per_packet, bursts)

    samples = alternate.rounds(
        {"old": lambda: median_of(lambda: old.burst().per_packet, bursts), "young": young}, max(3, scale.rounds // 2)
    )
    found = alternate.ratio(samples, "old", "young")
    note = f"{median(samples['old']):.0f} ns against {median(samples['young']):.0f}"
    yield Row(f"engine: a packet after {scale.large / 1e9:g} GB / 1 MB", found.value, "x", at_most(1.1), note)


def open_streams(scale: Scale) -> Iterator[Row]:
    """Many requests open: with one body flowing, and with all of them taking turns packet by packet."""
    count = scale.open_streams
    pumps = {"one": _pump(), "idle": _pump(count, busy=1), "busy": _pump(count)}
    for pump in pumps.values():
        pump.ramp(2 << 20)
    samples = alternate.rounds(
        {name: _measure(pump, scale.bursts) for name, pump in pumps.items()}, max(3, scale.rounds // 2)
    )
    for name, what in (("idle", "one body flows"), ("busy", "all bodies take turns")):
        found = alternate.ratio(samples, name, "one")
        note = f"{median(samples[name]):.0f} ns against {median(samples['one']):.0f}"
        yield Row(f"engine: a packet at {count:,} streams / 1, {what}", found.value, "x", at_most(1.25), note)
    yield _without_engine(scale)


def _without_engine(scale: Scale) -> Row:
    """The receive chain alone, every packet of another stream: no events, but as many reads as packets."""
    packets = max(scale.open_streams, recording.BURST)
    chains = {
        streams: ReceiveChain(twins.best(), _recorded(packets, streams), streams) for streams in (1, scale.open_streams)
    }
    samples = alternate.rounds(
        {str(streams): partial(median_of, chain.measure, scale.bursts) for streams, chain in chains.items()},
        max(3, scale.rounds // 2),
    )
    found = alternate.ratio(samples, str(scale.open_streams), "1")
    times = [median(values) / recording.BURST for values in samples.values()]
    note = f"{times[1]:.0f} ns against {times[0]:.0f}, one read a packet"
    return Row(f"  receive burst at {scale.open_streams:,} streams / 1, in turns", found.value, "x", None, note)


def _recorded(packets: int, streams: int) -> list[recording.Burst]:
    return recording.record(-(-packets // recording.BURST), recording.BURST, streams=streams)


def _measure(pump: Pump, bursts: int) -> alternate.Measure:
    return lambda: median_of(lambda: pump.burst().per_packet, bursts)
