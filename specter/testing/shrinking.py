"""Parts of a random scenario that can be left out, to find what a failure needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from specter.quic.early_data import EarlyDataStatus
from specter.quic.packet import QUIC_V1, QUIC_V2

if TYPE_CHECKING:
    from specter.testing.replay import Scenario

__all__ = ["parts", "shrink", "simplify"]

T = TypeVar("T")

_LINKS: Final[dict[str, dict[str, Any]]] = {
    "loss": {"loss": 0.0},
    "bursts": {"burst_loss": None},
    "corruption": {"corrupt": 0.0},
    "reordering": {"reorder": 0.0, "jitter": 0},
    "duplicates": {"duplicate": 0.0},
    "bandwidth": {"bandwidth": 0, "queue": 0},
    "mtu": {"mtu": 1500},
    "ecn": {"ecn_ce": 0.0, "ecn_bleach": False},
}
_PLAN: Final[dict[str, dict[str, Any]]] = {
    "uses": {"uses": ()},
    "ending": {"ending": None},
    "retry": {"retry": False},
    "keys": {"key_updates": 0},
    "early-data": {"early_data": EarlyDataStatus.NONE},
}
_ONE_VERSION: Final[dict[str, Any]] = {
    "versions": (QUIC_V1, QUIC_V2),
    "original_version": None,
    "preferred_version": None,
}


def parts(plan: Scenario) -> list[str]:
    """Return the names of what ``plan`` can do without, the larger parts first."""
    orders = [f"order-{index}" for index in range(len(plan.orders))]
    return [*_PLAN, "versions", *_LINKS, *orders, *(f"use-{index}" for index in range(len(plan.uses)))]


def simplify(plan: Scenario, without: Iterable[str]) -> Scenario:
    """Return ``plan`` without the parts of these names.

    Raises:
        ValueError: there is no such part.
    """
    names = set(without)
    if unknown := names.difference(parts(plan)):
        raise ValueError(f"the scenario has no part {min(unknown)!r}")
    changed = replace(plan, orders=_left(plan.orders, "order", names), uses=_left(plan.uses, "use", names))
    for name in names & _PLAN.keys():
        changed = replace(changed, **_PLAN[name])
    for name in names & _LINKS.keys():
        changed = replace(changed, up=replace(changed.up, **_LINKS[name]), down=replace(changed.down, **_LINKS[name]))
    if "versions" in names:
        client, server = replace(changed.client, **_ONE_VERSION), replace(changed.server, **_ONE_VERSION)
        changed = replace(changed, client=client, server=server)
    return changed


def _left(items: Sequence[T], kind: str, names: set[str]) -> tuple[T, ...]:
    return tuple(item for index, item in enumerate(items) if f"{kind}-{index}" not in names)


def shrink(plan: Scenario, fails: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...]:
    """Return what can be left out of ``plan`` so that it still ``fails``: one part after the other is tried."""
    without: tuple[str, ...] = ()
    for name in parts(plan):
        wanted = (*without, name)
        if simplify(plan, wanted) != simplify(plan, without) and fails(wanted):
            without = wanted
    return without
