"""Random use of a connection while it transfers: what a program, its user and its network may do at any time."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from specter.quic.errors import LocalProtocolError
from specter.testing.pair import Pair
from specter.testing.transfers import Action, Application, Order

__all__ = ["CLOSE_CODE", "Ending", "Use", "UseKind", "random_ending", "random_uses", "schedule"]

CLOSE_CODE: Final = 79


class UseKind(Enum):
    """What happens."""

    MIGRATE = "migrate"
    """The client moves to another port or, with an odd ``value``, to another host."""
    REBIND = "rebind"
    """A NAT moves it, without its knowledge; what it is still to say shows where it is."""
    CLIENT_PAUSES = "client pauses"
    """It reads nothing for ``value`` milliseconds."""
    SERVER_PAUSES = "server pauses"
    CLIENT_KEYS = "client keys"
    SERVER_KEYS = "server keys"
    PING = "ping"
    OPEN = "open"
    """The client gives another order, of ``value`` bytes."""


@dataclass(frozen=True, slots=True)
class Use:
    """One thing that happens ``after`` so many virtual seconds with a confirmed handshake."""

    kind: UseKind
    after: float
    value: int


@dataclass(frozen=True, slots=True)
class Ending:
    """One side closes the connection ``after`` so many virtual seconds, whatever is under way."""

    by_client: bool
    after: float


def random_uses(chance: random.Random) -> tuple[Use, ...]:
    """Return up to six uses; none for half of the seeds."""
    count = chance.randrange(1, 7) if chance.random() < 0.5 else 0
    kinds = list(UseKind)
    return tuple(Use(chance.choice(kinds), chance.uniform(0, 3), chance.randrange(2_000)) for _ in range(count))


def random_ending(chance: random.Random) -> Ending | None:
    """Return an early end for every eighth seed; some come before the handshake is complete."""
    return (
        Ending(chance.random() < 0.6, chance.choice([0.05, 0.5, 4.0]) * chance.random())
        if chance.random() < 0.125
        else None
    )


def schedule(pair: Pair, uses: tuple[Use, ...]) -> Callable[[], bool]:
    """Have ``uses`` happen from now on; return what tells whether all did, and every pause is over."""
    left = set(range(len(uses)))

    def appoint(index: int, use: Use) -> None:
        def happen() -> None:
            pause = _happen(pair, use)
            if pause is None:
                left.discard(index)
                return

            def resume() -> None:
                pause.resume()
                pair.poke()
                left.discard(index)

            pair.at(use.value / 1000, resume)

        pair.at(use.after, happen)

    for index, use in enumerate(uses):
        appoint(index, use)
    return lambda: not left


def _happen(pair: Pair, use: Use) -> Application | None:
    """Do it; return the side that pauses, if one does."""
    client, server = pair.client, pair.server
    if client.closed is not None or server.closed is not None:
        return None
    if use.kind in (UseKind.CLIENT_PAUSES, UseKind.SERVER_PAUSES):
        side: Application = client if use.kind is UseKind.CLIENT_PAUSES else server
        side.paused = True
        return side
    with suppress(LocalProtocolError):
        _act(pair, use)
    pair.poke()
    return None


def _act(pair: Pair, use: Use) -> None:
    client, server = pair.client, pair.server
    match use.kind:
        case UseKind.MIGRATE:
            pair.migrate(host=bool(use.value & 1))
        case UseKind.REBIND:
            pair.rebind(host=bool(use.value & 1))
        case UseKind.CLIENT_KEYS:
            client.connection.update_keys()
        case UseKind.SERVER_KEYS:
            server.connection.update_keys()
        case UseKind.PING:
            client.connection.ping()
        case UseKind.OPEN:
            client.order(Order(list(Action)[use.value % len(Action)], use.value))
