"""The curves: what is varied, the cost at each point, and how steep it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any, Final

from perf.bench.figures.direct import median_of
from perf.bench.pump.client import make_client
from perf.bench.pump.feed import Feed
from perf.bench.pump.pump import Pump
from perf.growth.network import download, path

MB: Final = 1_000_000
RAMP: Final = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How far the curves go, and how often each point is measured."""

    sizes: Sequence[int] = (1 * MB, 4 * MB, 16 * MB, 64 * MB, 256 * MB, 1000 * MB, 4000 * MB)
    streams: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    depths: Sequence[int] = (0, 1, 4, 16, 64, 256)
    losses: Sequence[float] = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
    rtts: Sequence[float] = (0.0, 1.0, 10.0, 50.0, 100.0, 200.0)
    transfer: int = 8 * MB
    bursts: int = 60
    rounds: int = 5


FULL: Final = Scale()
QUICK: Final = Scale(
    sizes=(MB, 2 * MB),
    streams=(1, 10),
    depths=(0, 4),
    losses=(0.0, 1.0),
    rtts=(1.0, 20.0),
    transfer=3 * MB // 2,
    bursts=3,
    rounds=1,
)


@dataclass(frozen=True, slots=True)
class Curve:
    """The client's processor time for a packet (ns) over ``label``.

    ``logarithmic``: the slope is the change over a tenfold ``x``, else over ``step`` of it; as a share of the cost
    at the first point.
    """

    name: str
    label: str
    points: Sequence[tuple[float, float]]
    logarithmic: bool
    step: float = 1.0

    @property
    def slope(self) -> float:
        """Return the slope of the straight line through the points that fits best."""
        spans = [(math.log10(x) if self.logarithmic else x / self.step, y) for x, y in self.points]
        across, up = fmean(x for x, _ in spans), fmean(y for _, y in spans)
        spread = sum((x - across) ** 2 for x, _ in spans)
        return sum((x - across) * (y - up) for x, y in spans) / spread / self.points[0][1] if spread else 0.0

    def describe(self) -> str:
        """Return the slope in words."""
        per = "ten times as much" if self.logarithmic else f"{self.step:g} more"
        return f"{self.slope:+.1%} for {per}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "slope": self.slope}


def from_json(written: dict[str, Any]) -> Curve:
    points = [(float(x), float(y)) for x, y in written["points"]]
    return Curve(written["name"], written["label"], points, written["logarithmic"], written["step"])


def by_size(scale: Scale) -> Curve:
    """One connection that carries more and more."""
    pump = _pump(1)
    points = []
    for size in scale.sizes:
        pump.ramp(max(size - pump.client.received, 0))
        points.append((size / MB, median_of(lambda: pump.burst().per_packet, scale.bursts)))
    return Curve("size", "MB that the connection has carried", points, True)


def by_streams(scale: Scale) -> Curve:
    """More and more responses at once, which take turns packet by packet."""
    points = []
    for streams in scale.streams:
        pump = _pump(streams)
        pump.ramp(min(RAMP, scale.transfer))
        points.append((float(streams), median_of(lambda pump=pump: pump.burst().per_packet, scale.bursts)))
    return Curve("streams", "streams open", points, True)


def _pump(streams: int) -> Pump:
    pump = Pump(make_client("specter"), Feed(streams=streams), streams=streams)
    pump.connect()
    return pump


def by_depth(scale: Scale) -> Curve:
    """A tenth of the datagrams arrive later by so many others."""
    points = [(float(depth), _median(scale, depth=depth)) for depth in scale.depths]
    return Curve("reordering", "datagrams that a late one is overtaken by", points, False, 100)


def by_loss(scale: Scale) -> Curve:
    points = [(loss, _median(scale, loss=loss)) for loss in scale.losses]
    return Curve("loss", "loss, %", points, False, 1)


def by_rtt(scale: Scale) -> Curve:
    points = [(rtt, _median(scale, rtt=rtt)) for rtt in scale.rtts]
    return Curve("round trip", "round trip, ms", points, False, 100)


def _median(scale: Scale, **conditions: float) -> float:
    down, up = path(**conditions)  # type: ignore[arg-type]
    return median(download(scale.transfer, down, up, seed=seed) for seed in range(scale.rounds))


CURVES: Final[dict[str, Callable[[Scale], Curve]]] = {
    "size": by_size,
    "streams": by_streams,
    "reordering": by_depth,
    "loss": by_loss,
    "rtt": by_rtt,
}
