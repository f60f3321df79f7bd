"""What is measured, how often, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from perf.fixture.paced import CHUNK, CHUNKS, TUNNEL

MESSAGE: Final = 1024
WRITES: Final = 40
STREAM: Final = "/stream"
STREAM_BYTES: Final = CHUNK * CHUNKS


@dataclass(frozen=True, slots=True)
class Workload:
    """What a client is told to do, and what has to come of it."""

    name: str
    title: str
    command: Mapping[str, Any]
    bytes: int
    """Of each sample."""
    paced: bool
    """Whether each sample has its response in the ledger."""


WORKLOADS: Final[Mapping[str, Workload]] = {
    "get": Workload("get", "GET, paced", {"do": "stream", "path": STREAM}, STREAM_BYTES, True),
    "echo": Workload("echo", "tunnel: echo", {"do": "echo", "path": TUNNEL, "size": MESSAGE}, MESSAGE, False),
    "close": Workload(
        "close", "tunnel: open, echo, close", {"do": "close_fin", "path": TUNNEL, "size": MESSAGE}, MESSAGE, False
    ),
    "mixed": Workload(
        "mixed",
        "tunnel and GET",
        {"do": "mixed", "path": STREAM, "tunnel": TUNNEL, "size": MESSAGE, "writes": WRITES},
        STREAM_BYTES + MESSAGE * WRITES,
        True,
    ),
}
GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "get": ("get",),
    "tunnels": ("echo", "close", "mixed"),
    "all": tuple(WORKLOADS),
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How often. The full counts are the only ones that prove anything."""

    samples: int = 100
    warm_ups: int = 10
    repetitions: int = 4

    @property
    def total(self) -> int:
        return self.samples + self.warm_ups

    def as_json(self) -> dict[str, int]:
        return asdict(self)


FULL: Final = Counts()
QUICK: Final = Counts(samples=5, warm_ups=2, repetitions=2)


@dataclass(frozen=True, slots=True)
class Step:
    """One process of one client."""

    sequence: int
    workload: str
    client: str
    repetition: int

    @property
    def file(self) -> str:
        return f"runs/{self.sequence:03}-{self.workload}-{self.client}.jsonl.gz"


def steps(workloads: Sequence[str], clients: Sequence[str], repetitions: int) -> Iterator[Step]:
    """Give the runs in order: A B, B A, B A, A B ..., so that what drifts disturbs all alike."""
    sequence = 0
    for workload in workloads:
        for repetition in range(repetitions):
            backwards = repetition % 4 in (1, 2)
            for client in reversed(clients) if backwards else clients:
                yield Step(sequence, workload, client, repetition)
                sequence += 1
