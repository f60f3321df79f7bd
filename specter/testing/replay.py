"""Random networks and random transfers from one number: ``python -m specter.testing.replay SEED`` runs one.

Whatever a seed brings, every byte must arrive once and in order, every reset with its code, and both sides must
end with nothing left to do.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from specter.quic.config import MILLISECOND, QuicConfig
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import CloseKind, ConnectionClosed, TicketReceived
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.network import BurstLoss, Link
from specter.testing.pair import ALPN, Pair, fixed_credential
from specter.testing.transfers import RESET_CODE, STOP_CODE, Action, Application, Order, Side
from specter.tls.config import ServerTlsConfig
from specter.tls.session import Resumption
from specter.tls.tickets import TicketKeeper

__all__ = ["Failed", "Scenario", "main", "replay", "scenario"]

LIMIT: Final = 600.0
"""Virtual seconds a scenario may take."""
IDLE: Final = 120_000 * MILLISECOND


_LIKES_V2: Final = {"versions": (QUIC_V2, QUIC_V1)}
VERSIONS: Final[tuple[tuple[dict[str, Any], dict[str, Any]], ...]] = (
    ({}, {}),
    ({}, {"preferred_version": QUIC_V2}),
    (_LIKES_V2, {}),
    ({**_LIKES_V2, "original_version": QUIC_V2}, {}),
    ({"original_version": QUIC_V2}, {}),
    ({}, {"versions": (QUIC_V2,)}),
    ({"original_version": QUIC_V2}, {"versions": (QUIC_V1,)}),
)
"""What client and server are configured for: the same QUIC version, one that the server moves to, one that is
negotiated."""


class Failed(Exception):
    """A seed that broke an invariant; the message has the line that runs it again."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a seed stands for."""

    seed: int
    up: Link
    down: Link
    client: QuicConfig
    server: QuicConfig
    orders: tuple[Order, ...]
    retry: bool
    key_updates: int
    early_data: EarlyDataStatus = EarlyDataStatus.NONE
    """What becomes of the first orders' going as early data."""


def scenario(seed: int, *, size: int = 150_000) -> Scenario:
    """Return the scenario of ``seed``, which moves about ``size`` bytes."""
    chance = random.Random(f"{seed} scenario")
    plan = Scenario(
        seed,
        _link(chance),
        _link(chance),
        _config(chance),
        _config(chance),
        _orders(chance, size),
        retry=chance.random() < 0.2,
        key_updates=chance.choice([0, 0, 0, 1, 3]),
        early_data=chance.choice([EarlyDataStatus.NONE, EarlyDataStatus.ACCEPTED, EarlyDataStatus.REJECTED]),
    )
    client, server = chance.choice(VERSIONS)
    return replace(plan, client=replace(plan.client, **client), server=replace(plan.server, **server))


def _link(chance: random.Random) -> Link:
    def sometimes(low: float, high: float) -> float:
        return chance.uniform(low, high) if chance.random() < 0.5 else 0.0

    narrow = chance.random() < 0.4
    return Link(
        delay=int(chance.uniform(0.1, 120) * MILLISECOND),
        jitter=int(sometimes(0, 20) * MILLISECOND),
        loss=sometimes(0.005, 0.12),
        burst_loss=BurstLoss(0.01, 0.4) if chance.random() < 0.3 else None,
        reorder=sometimes(0.01, 0.2),
        reorder_delay=int(chance.uniform(0.1, 30) * MILLISECOND),
        duplicate=sometimes(0.01, 0.2),
        corrupt=sometimes(0.005, 0.08),
        bandwidth=chance.choice([500_000, 2_000_000, 20_000_000]) if narrow else 0,
        queue=chance.choice([8_000, 30_000, 200_000]) if narrow else 0,
        mtu=chance.choice([1200, 1280, 1500]),
        ecn_ce=sometimes(0.01, 0.1),
        ecn_bleach=chance.random() < 0.1,
    )


def _config(chance: random.Random) -> QuicConfig:
    window = chance.choice([4_096, 20_000, 100_000, 1 << 20])
    return QuicConfig(
        idle_timeout=IDLE,
        handshake_timeout=IDLE,
        connection_window=chance.choice([window, 2 * window]),
        stream_window=window,
        max_streams_bidi=chance.choice([1, 3, 100]),
        max_streams_uni=chance.choice([1, 3, 100]),
        send_buffer=chance.choice([1_000, 30_000, 256 << 10]),
        congestion=chance.choice(["cubic", "newreno"]),
        ack_threshold=chance.choice([1, 2, 2, 4]),
        max_ack_delay=chance.choice([5, 25, 50]) * MILLISECOND,
    )


def _orders(chance: random.Random, size: int) -> tuple[Order, ...]:
    orders = []
    while size > 0:
        piece = min(size, chance.choice([0, 1, 100, 3_000, 20_000, 80_000]))
        orders.append(Order(chance.choice(list(Action)), piece, chance.randrange(1 << 20)))
        size -= piece + 2_000
    return tuple(orders)


def replay(seed: int, *, size: int = 150_000, inspect: Callable[[Pair], None] | None = None) -> Pair:
    """Run the scenario of ``seed`` to its end. Raises ``Failed`` when an invariant does not hold.

    ``inspect`` looks at the pair after the last byte was acknowledged and before the client closes.
    """
    plan = scenario(seed, size=size)
    try:
        return _run(plan, inspect)
    except Exception as error:
        line = f"python -m specter.testing.replay {seed}"
        raise Failed(f"seed {seed} failed; again with: {line}\n{plan}\n{type(error).__name__}: {error}") from error


def _server_tls(*, rejects: bool = False) -> ServerTlsConfig:
    keeper = TicketKeeper(bytes(16), lambda: 0, context=b"has changed" if rejects else b"")
    return ServerTlsConfig(credentials=(fixed_credential().tls,), alpn=ALPN, tickets=keeper)


def _session(plan: Scenario) -> Resumption | None:
    """Visit the server once, over a good network, for a ticket."""
    if plan.early_data is EarlyDataStatus.NONE:
        return None
    visit = Pair(plan.seed, client_config=plan.client, server_config=plan.server, server_tls=_server_tls())
    visit.run(lambda: any(isinstance(event, TicketReceived) for event in visit.client.log))
    session = next(event.session for event in visit.client.log if isinstance(event, TicketReceived))
    return Resumption(session, 0, early_data=True)


def _run(plan: Scenario, inspect: Callable[[Pair], None] | None = None) -> Pair:
    resumption = _session(plan)
    client = plan.client
    if resumption is not None:
        client = replace(client, original_version=resumption.session.quic_version)
    pair = Pair(
        plan.seed,
        plan.up,
        plan.down,
        orders=plan.orders,
        client_config=client,
        server_config=plan.server,
        retry=plan.retry,
        server_tls=_server_tls(rejects=plan.early_data is EarlyDataStatus.REJECTED),
        resumption=resumption,
    )
    for _ in range(plan.key_updates):
        pair.transfer(len(pair.client.finished) + max(1, len(plan.orders) // 4), limit=LIMIT)
        pair.client.connection.update_keys()
    pair.transfer(limit=LIMIT)
    server = pair.server
    pair.run(lambda: not server.sides, limit=LIMIT)
    pair.run(lambda: all(end.connection.stats.bytes_in_flight == 0 for end in (server, pair.client)), limit=LIMIT)
    if inspect is not None:
        inspect(pair)
    if pair.client.connection.early_data is not plan.early_data:
        raise Failed(f"early data was {pair.client.connection.early_data.value}")
    _check_sides(pair.client, plan, is_client=True)
    _check_sides(server, plan, is_client=False)
    pair.close(limit=LIMIT)
    _check_end(pair, server)
    return pair


def _check_sides(application: Application, plan: Scenario, *, is_client: bool) -> None:
    sides = application.finished.values()
    if is_client and len(sides) != len(plan.orders):
        raise Failed(f"{len(sides)} of {len(plan.orders)} orders finished")
    for side in sides:
        _check_side(side, is_client=is_client)


def _check_side(side: Side, *, is_client: bool) -> None:
    order = side.order
    resetting, stopping = (
        (Action.SERVER_RESETS, Action.SERVER_STOPS) if is_client else (Action.CLIENT_RESETS, Action.CLIENT_STOPS)
    )
    if side.reset_by_peer >= 0:
        if side.reset_by_peer != RESET_CODE or (order is not None and order.action is not resetting):
            raise Failed(f"stream {side.stream_id}: {order} was reset with {side.reset_by_peer}")
    elif side.stop_at < 0 and side.received != side.to_receive:
        raise Failed(f"stream {side.stream_id}: {order} ended after {side.received} of {side.to_receive} bytes")
    if side.stopped_by_peer >= 0 and (order is None or (order.action, side.stopped_by_peer) != (stopping, STOP_CODE)):
        raise Failed(f"stream {side.stream_id}: {order} was stopped with {side.stopped_by_peer}")


def _check_end(pair: Pair, server: Application) -> None:
    ends = [pair.client.closed, server.closed]
    kinds = [end.kind if isinstance(end, ConnectionClosed) else None for end in ends]
    if kinds[0] is not CloseKind.LOCAL or kinds[1] not in (CloseKind.REMOTE, CloseKind.IDLE):
        raise Failed(f"the ends are {ends}")
    if pair.endpoint.peers:
        raise Failed("the server keeps a connection that is over")


def main(arguments: list[str]) -> int:
    """Run the seeds named on the command line; ``A-B`` is a range."""
    failures = 0
    for argument in arguments:
        first, _, last = argument.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            failures += not _report(seed)
    return 1 if failures else 0


def _report(seed: int) -> bool:
    try:
        pair = replay(seed)
    except Failed as failed:
        sys.stdout.write(f"{failed}\n")
        return False
    stats = pair.network
    sys.stdout.write(f"seed {seed}: {len(pair.client.finished)} streams\n  up {stats.up}\n  down {stats.down}\n")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
