"""Random networks and random transfers from one number: ``python -m specter.testing.replay SEED`` runs one.

Whatever a seed brings, every byte must arrive once and in order, every reset with its code, and both sides must
end with nothing left, and agree why. A seed that fails is made smaller: ``--size`` changes about how many bytes it
moves, ``--without`` leaves parts of its scenario out, and the failure comes with the line that runs what is left.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from specter._wire import NEVER
from specter.quic.config import MILLISECOND, QuicConfig
from specter.quic.early_data import EarlyDataStatus
from specter.quic.errors import TransportErrorCode
from specter.quic.events import CloseKind, ConnectionClosed, TicketReceived
from specter.quic.packet import QUIC_V1, QUIC_V2
from specter.testing.network import BurstLoss, Link
from specter.testing.pair import ALPN, Pair, fixed_credential
from specter.testing.shrinking import shrink, simplify
from specter.testing.simulation import Stalled
from specter.testing.transfers import RESET_CODE, STOP_CODE, Action, Application, Order, Side
from specter.testing.uses import CLOSE_CODE, Ending, Use, UseKind, random_ending, random_uses, schedule
from specter.tls.config import ServerTlsConfig
from specter.tls.session import Resumption
from specter.tls.tickets import TicketKeeper

__all__ = ["Failed", "Replayed", "Scenario", "main", "replay", "scenario", "shrunk"]

LIMIT: Final = 600.0
"""Virtual seconds a scenario may take."""
IDLE: Final = 120_000 * MILLISECOND
KEPT: Final = 64
"""Packets that a side may remember that nobody has to acknowledge."""
SIZE: Final = 150_000
"""Bytes that a scenario moves, about."""
SMALLER: Final = (1_000, 5_000, 20_000, 60_000)
"""Sizes to try for a seed that failed."""

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
    uses: tuple[Use, ...] = ()
    """What else happens on the way."""
    ending: Ending | None = None
    """The end before everything is done, if that is how it ends."""

    @property
    def order_count(self) -> int:
        """How many orders the client gives, late ones included."""
        return len(self.orders) + sum(use.kind is UseKind.OPEN for use in self.uses)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A scenario at its end; ``how`` tells in a few words why client and server say it is one."""

    pair: Pair
    how: str


def scenario(seed: int, *, size: int = SIZE) -> Scenario:
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
    plan = replace(plan, client=replace(plan.client, **client), server=replace(plan.server, **server))
    chance = random.Random(f"{seed} uses")
    return replace(plan, uses=random_uses(chance), ending=random_ending(chance))


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


def replay(seed: int, *, size: int = SIZE, without: Iterable[str] = ()) -> Replayed:
    """Run the scenario of ``seed``, ``without`` some of its parts, to its end.

    Raises:
        Failed: an invariant does not hold.
        ValueError: the scenario has no such part.
    """
    left_out = tuple(without)
    plan = simplify(scenario(seed, size=size), left_out)
    try:
        return _run(plan)
    except Exception as error:
        words = [f"python -m specter.testing.replay {seed}"]
        words += [f"--size {size}"] if size != SIZE else []
        words += [f"--without {','.join(left_out)}"] if left_out else []
        text = f"seed {seed} failed; again with: {' '.join(words)}\n{plan}\n{type(error).__name__}: {error}"
        raise Failed(text) from error


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


def _run(plan: Scenario) -> Replayed:
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
    if plan.ending is not None:
        return Replayed(pair, _end_early(pair, plan.ending))
    try:
        _transfer(pair, plan)
    except Stalled:
        if _misled(pair, plan):
            return Replayed(pair, "client version")
        raise
    server = pair.server
    pair.run(lambda: not server.sides, limit=LIMIT)
    pair.run(lambda: not any(map(_awaits_acknowledgments, (server, pair.client))), limit=LIMIT)
    for end in (server, pair.client):
        _check_nothing_left(end)
    if pair.client.connection.early_data is not plan.early_data:
        raise Failed(f"early data was {pair.client.connection.early_data.value}")
    _check_sides(pair.client, plan, is_client=True)
    _check_sides(server, plan, is_client=False)
    pair.close(limit=LIMIT)
    _check_end(pair, server)
    return Replayed(pair, _how(pair.client, server))


def _how(client: Application, *servers: Application) -> str:
    """Return in a few words what the ends say why they ended."""
    kinds = [f"client {client.closed.kind.value}"] if client.closed is not None else []
    return ", ".join(kinds + [f"server {end.closed.kind.value}" for end in servers if end.closed is not None])


def _transfer(pair: Pair, plan: Scenario) -> None:
    """Carry out the orders, and what happens meanwhile."""
    client = pair.client
    for _ in range(plan.key_updates):
        pair.transfer(len(client.finished) + max(1, len(plan.orders) // 4), limit=LIMIT)
        client.connection.update_keys()
    if plan.uses:
        pair.run(lambda: client.connection.confirmed or client.closed is not None, limit=LIMIT)
        over = schedule(pair, plan.uses)
        pair.run(lambda: over() or client.closed is not None, limit=LIMIT)
    pair.transfer(limit=LIMIT)
    if any(use.kind is UseKind.REBIND for use in plan.uses):
        client.connection.ping()  # of a client that is silent since then its server cannot know where it is
        pair.poke()


def _misled(pair: Pair, plan: Scenario) -> bool:
    """Whether the client believed a spoilt Version Negotiation packet: nothing but UDP's checksum protects those."""
    closed = pair.client.closed
    return plan.down.corrupt > 0 and isinstance(closed, ConnectionClosed) and closed.kind is CloseKind.VERSION


def _end_early(pair: Pair, ending: Ending) -> str:
    """Close while things are under way; the other side has to hear of it, or to notice. Return how that was."""
    servers: dict[int, Application] = {}

    def over() -> bool:
        servers.update((id(engine), engine) for engine in pair.applications)
        ended = all(end.closed is not None for end in (pair.client, *servers.values()))
        return ended and bool(closing) and pair.next_instant() == NEVER

    def close() -> None:
        side = pair.client if ending.by_client else next(iter(pair.applications), pair.client)
        side.connection.close(CLOSE_CODE, "early")
        side.work()
        pair.poke()
        closing.append(side)

    closing: list[Application] = []
    pair.at(ending.after, close)
    pair.run(over, limit=LIMIT)
    _check_early_end(pair, closing[0], [pair.client, *servers.values()])
    return f"early: {_how(pair.client, *servers.values())}"


def _check_early_end(pair: Pair, closing: Application, ends: list[Application]) -> None:
    codes = (CLOSE_CODE, TransportErrorCode.APPLICATION_ERROR)  # before 1-RTT keys are there it cannot say more
    noticed = [CloseKind.REMOTE, CloseKind.IDLE, CloseKind.TIMEOUT]
    if closing is not pair.client:
        noticed.append(CloseKind.RESET)  # all that told of the end was lost, and the server has forgotten it
    for end in ends:
        how = end.closed
        expected = [CloseKind.LOCAL] if end is closing else noticed
        if how is None or how.kind not in expected:
            raise Failed(f"the ends are {[end.closed for end in ends]}")
        if how.kind is CloseKind.REMOTE and how.error_code not in codes:
            raise Failed(f"closed with {CLOSE_CODE}, heard {how}")
    if pair.endpoint.peers:
        raise Failed("the server keeps a connection that is over")


def _awaits_acknowledgments(application: Application) -> bool:
    connection = application.connection
    return bool(connection.stats.bytes_in_flight or connection._core.app.sent.ack_eliciting_in_flight)


def _check_nothing_left(application: Application) -> None:
    """Everything was read and acknowledged: nothing is kept of it."""
    core = application.connection._core
    if core.streams.by_id or core.receiver.streams:
        raise Failed(f"streams are left: {sorted({*core.streams.by_id, *core.receiver.streams})}")
    if len(core.app.sent) > KEPT:
        raise Failed(f"{len(core.app.sent)} packets are remembered, none of them to be acknowledged")


def _check_sides(application: Application, plan: Scenario, *, is_client: bool) -> None:
    sides = application.finished.values()
    if is_client and len(sides) != plan.order_count:
        raise Failed(f"{len(sides)} of {plan.order_count} orders finished")
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


def shrunk(failed: Failed, seed: int, *, size: int = SIZE) -> Failed:
    """Return how the smallest scenario fails that was found to fail in the same way as ``seed`` did."""

    def fails(smaller: int, without: tuple[str, ...] = ()) -> bool:
        nonlocal failed
        try:
            replay(seed, size=smaller, without=without)
        except Failed as again:
            if type(again.__cause__) is type(failed.__cause__):
                failed = again
                return True
        return False

    size = next((smaller for smaller in SMALLER if smaller < size and fails(smaller)), size)
    shrink(scenario(seed, size=size), lambda without: fails(size, without))
    return failed


def main(arguments: list[str]) -> int:
    """Run the seeds named on the command line; ``A-B`` is a range. Returns 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m specter.testing.replay")
    parser.add_argument("seeds", nargs="+", help="a number, or A-B for all from A to B")
    parser.add_argument("--size", type=int, default=SIZE, help=f"bytes that each moves, about ({SIZE})")
    parser.add_argument("--without", default="", help="parts of the scenario to leave out, with commas between them")
    options = parser.parse_args(arguments)
    without = tuple(filter(None, options.without.split(",")))
    failures = 0
    for argument in options.seeds:
        first, _, last = argument.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            failures += not _report(seed, options.size, without)
    return 1 if failures else 0


def _report(seed: int, size: int, without: tuple[str, ...]) -> bool:
    try:
        done = replay(seed, size=size, without=without)
    except Failed as failed:
        sys.stdout.write(f"{failed if without else shrunk(failed, seed, size=size)}\n")
        return False
    stats, client = done.pair.network, done.pair.client
    sys.stdout.write(f"seed {seed}: {done.how}, {len(client.finished)} streams\n  up {stats.up}\n  down {stats.down}\n")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
