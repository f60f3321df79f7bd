"""One request through the pool: to a connection, out, and back as a response; again when that is safe."""

from __future__ import annotations

import logging
from typing import Final

from specter.client.headers import Headers
from specter.client.pool import Lease, Pool
from specter.client.request import Request
from specter.client.response import Response, Timing
from specter.client.timeouts import Timeouts
from specter.errors import Error, NetworkError
from specter.net.blocking import BlockingConnection
from specter.net.budget import Budget
from specter.net.exchange import HEAD
from specter.net.transfer import Transfer

__all__ = ["exchange"]

SIGN_OF_LIFE: Final = 1.0
"""Seconds within which a connection that was quiet has to answer with any packet."""

logger = logging.getLogger("specter")


def exchange(pool: Pool, request: Request, timeouts: Timeouts) -> Response:
    """Send ``request``; return its response with the body still to be read.

    It is sent a second time, on another connection, when the server did not process it, or when it does no harm
    twice and a connection that had been used before turns out to be dead.
    """
    budget = timeouts.start()
    timing = Timing(budget.started)
    for last in (False, True):
        lease = pool.acquire(request.url.origin, budget)
        timing.reused = lease.reused
        timing.mark("connected")
        transfer = Transfer(lease.connection, budget)
        try:
            _send(transfer, request, lease, budget)
            return _response(transfer, request, lease.connection, timing)
        except BaseException as error:
            transfer.close()
            if last or not isinstance(error, Error) or not _may_repeat(request, transfer, lease):
                raise
            logger.debug("%s %s once more: %s", request.method, request.url, error)
            pool.discard(request.url.origin, lease.connection)
    raise AssertionError("unreachable")


def _send(transfer: Transfer, request: Request, lease: Lease, budget: Budget) -> None:
    connection = lease.connection
    doubtful = lease.quiet and request.safe
    body = request.body
    transfer.start(request.fields(), None if body is None or body.length == 0 else body.pieces())
    if doubtful and not transfer.head_within(SIGN_OF_LIFE) and not connection.heard_since(transfer.exchange.sent_at):
        connection.abandon(f"{connection.host} does not answer on this connection any more")


def _may_repeat(request: Request, transfer: Transfer, lease: Lease) -> bool:
    state = transfer.exchange
    if not request.replayable or state.flags & HEAD:
        return False
    dead = lease.connection.closed and state.failure is not None and isinstance(state.failure(), NetworkError)
    return state.retry_safe or (dead and lease.reused and request.safe)


def _response(transfer: Transfer, request: Request, connection: BlockingConnection, timing: Timing) -> Response:
    status, fields = transfer.head()
    timing.mark("headers")
    interim = transfer.exchange.interim
    return Response(
        status,
        headers=Headers.from_wire(fields),
        request=request,
        source=transfer,
        timing=timing,
        informational=tuple((code, Headers.from_wire(lines)) for code, lines in interim),
        connection=connection.info,
    )
