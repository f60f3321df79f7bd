"""What a run leaves behind: one compressed file of JSON lines, which says all that a verdict is made from.

The first line describes the run (``{"run": {...}}``), then comes a line for each sample
(``{"sample": N, "times": [request_ns, headers_ns, first_body_ns, complete_ns, bytes]}``), warm-ups included, and the
fixture's ledger (``{"chunk": {...}}``).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MEASURED: Final = "measured"
UNSUPPORTED: Final = "unsupported"
MISSING: Final = "missing"
FAILED: Final = "failed"


@dataclass(slots=True)
class Run:
    """One process of one client doing one workload."""

    workload: str
    client: str
    repetition: int
    status: str = MEASURED
    reason: str = ""
    """Why it was not measured."""
    identity: dict[str, Any] = field(default_factory=dict)
    """The build of the client."""
    fixture: dict[str, Any] = field(default_factory=dict)
    """The build of the fixture."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Processor time, memory, what else the machine did: context, judged by nobody."""
    samples: list[tuple[int, list[int]]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)

    @property
    def measured(self) -> bool:
        return self.status == MEASURED

    def head(self) -> dict[str, Any]:
        names = ("workload", "client", "repetition", "status", "reason", "identity", "fixture", "notes")
        return {name: getattr(self, name) for name in names}


def write(run: Run, path: Path) -> None:
    """Write a run; the same run gives the same file."""
    lines: list[dict[str, Any]] = [{"run": run.head()}]
    lines += [{"sample": number, "times": times} for number, times in run.samples]
    lines += [{"chunk": entry} for entry in run.ledger]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read(path: Path) -> Run:
    """Read a run.

    Raises:
        ValueError: that is no such file.
    """
    try:
        lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        run = Run(**lines[0]["run"])
        for line in lines[1:]:
            if "sample" in line:
                run.samples.append((int(line["sample"]), list(line["times"])))
            else:
                run.ledger.append(dict(line["chunk"]))
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path.name} is not what a run leaves: {error!r}") from error
    return run


def times_of(run: Run, warm_ups: int) -> Sequence[list[int]]:
    """Return the samples that count."""
    return [times for number, times in sorted(run.samples) if number >= warm_ups]
