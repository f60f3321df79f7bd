"""One request through the pool: to a connection, out, and back as a response; again when that is safe."""

from __future__ import annotations

import logging
from typing import Any, Final, TypeVar

from specter.client.base_response import BaseResponse
from specter.client.headers import Headers
from specter.client.pool import Lease, Pool
from specter.client.request import Request
from specter.client.silence import Silence
from specter.client.timeouts import Timeouts
from specter.client.timing import Timing
from specter.errors import Error, HandshakeError, NetworkError, Timeout
from specter.net.budget import Budget
from specter.net.early import ACCEPTED, REJECTED, EarlyRequest
from specter.net.exchange import HEAD

__all__ = ["exchange"]

SIGN_OF_LIFE: Final = 1.0
"""Seconds within which a connection used before has to answer with any packet, ..."""
ROUND_TRIPS: Final = 4
"""... or round trips, where these take longer."""

TOO_EARLY: Final = 425
"""The status that asks for the same request after the handshake (RFC 8470, section 5.2)."""

R = TypeVar("R", bound=BaseResponse)

logger = logging.getLogger("specter.client")


async def exchange(
    pool: Pool[Any], request: Request, timeouts: Timeouts, respond: type[R], *, repeat: bool = True
) -> R:
    """Send ``request``; return its response, a ``respond``, with the body still to be read.

    It is sent a second time, on another connection, when the server did not process it, or when it does no harm
    twice and a connection that had been used before turns out to be dead. With ``repeat`` off that is the caller's
    to do (the error is ``retry_safe`` then), and no connection is made where HTTP/3 is not known to be offered.
    A request that left as early data is sent again over the same connection when the server finds that too early.
    """
    budget = timeouts.start()
    timing = Timing(budget.started)
    origin = request.url.origin
    goes_early, last = pool.early_data and request.goes_early, not repeat
    outcome: str | None = None
    while True:
        early, lease = None, pool.find(origin)
        if lease is None:
            early = EarlyRequest(request.fields()) if goes_early else None
            lease = await _acquire(pool, request, budget, offered=not repeat, early=early)
            outcome = early.outcome if early is not None else outcome
            goes_early = goes_early and outcome is None
        elif pool.limited:
            lease = pool.hold(lease)
        timing.reused = lease.reused
        if not lease.reused:
            timing.steps = lease.connection.steps
        timing.connected = timing.elapsed()
        attempt = _Attempt(request, lease, budget, early)
        error: BaseException | None = None
        try:
            response, error = await attempt.run(timing, respond, pool.alt_used(origin))
            if response is not None:
                if pool.learns:
                    pool.hear(origin, lease, response.status_code, attempt.transfer.exchange.headers)
                if response.status_code != TOO_EARLY or not attempt.was_early:
                    response.early_data = outcome
                    return response
                attempt.transfer.close()
                outcome = REJECTED
                logger.debug("%s %s%s was too early", request.method, request.url.origin, request.url.path)
            if error is not None:
                await attempt.transfer.aclose()
                attempt.judge(error, pool, last=last)
                last = True
                logger.debug("%s %s%s once more: %s", request.method, request.url.origin, request.url.path, error)
        finally:
            error = None  # its traceback holds this frame
            if lease.held:
                pool.release(lease)


async def _acquire(
    pool: Pool[Any], request: Request, budget: Budget, *, offered: bool, early: EarlyRequest | None
) -> Lease[Any]:
    try:
        return await pool.acquire(request.url.origin, budget, offered=offered, early=early)
    except Error as error:
        error.retry_safe = request.replayable
        raise


class _Attempt:
    """One way of a request over one connection."""

    __slots__ = ("_lease", "_request", "transfer", "was_early")

    def __init__(self, request: Request, lease: Lease[Any], budget: Budget, early: EarlyRequest | None) -> None:
        self._request = request
        self._lease = lease
        self.transfer = request.carrier(lease.connection, budget, request.extras)
        self.was_early = early is not None and early.outcome == ACCEPTED
        if early is not None and self.was_early:
            self.transfer.exchange = early.exchange

    async def run(
        self, timing: Timing, respond: type[R], alt_used: bytes | None
    ) -> tuple[R | None, BaseException | None]:
        """Return a response or what went wrong: awaiting inside ``except`` confuses compiled coroutines."""
        try:
            return await self._run(timing, respond, alt_used), None
        except BaseException as error:
            return None, error

    async def _run(self, timing: Timing, respond: type[R], alt_used: bytes | None) -> R:
        request, transfer, connection = self._request, self.transfer, self._lease.connection
        body, lines = request.body, request.fields()
        if alt_used is not None:
            lines.append((b"alt-used", alt_used))
        pieces = None if body is None or body.length == 0 else body.pieces(awaiting=connection.suspends)
        await transfer.start(lines, pieces)
        if self._lease.reused and request.safe:
            await self._expect_a_sign()
        status, fields = await transfer.head()
        timing.headers = timing.elapsed()
        return respond(
            status,
            headers=Headers.from_wire(fields),
            request=request,
            source=transfer,
            timing=timing,
            informational=tuple((code, Headers.from_wire(lines)) for code, lines in transfer.exchange.interim),
            connection=connection.info,
        )

    async def _expect_a_sign(self) -> None:
        """A server that lost the connection may say nothing at all: do not wait for it until the read timeout."""
        connection = self._lease.connection
        limit = max(SIGN_OF_LIFE, ROUND_TRIPS * connection.round_trip)
        if not await self.transfer.head_within(limit) and connection.signs_of_life == self.transfer.exchange.signs:
            raise Silence(f"{connection.host} does not answer on this connection any more")

    def judge(self, error: BaseException, pool: Pool[Any], *, last: bool) -> None:
        """Raise ``error`` unless the request may be sent once more; tell the pool of a connection that is no good."""
        again = self.may_repeat(error)
        last = last or isinstance(error, HandshakeError)  # the next one would end in the same way
        if (again and not last) or self.futile(error):
            pool.give_up(self._request.url.origin, self._lease, error)
        if last or not again:
            if isinstance(error, Error):
                error.retry_safe = again
            raise error

    def may_repeat(self, error: BaseException) -> bool:
        """Whether to try once more after ``error``, which came before any part of a response."""
        request, state = self._request, self.transfer.exchange
        if not isinstance(error, Error) or not request.replayable or state.flags & HEAD:
            return False
        dead = isinstance(error, NetworkError) and self._lease.connection.closed and self._lease.reused
        refused = isinstance(error, HandshakeError) and not self.was_early  # nothing is processed before it is complete
        return state.retry_safe or refused or isinstance(error, Silence) or (dead and request.safe)

    def futile(self, error: BaseException) -> bool:
        """Whether nobody answers, or nobody wants us: the next request should not have to find that out again."""
        if isinstance(error, Silence | HandshakeError):
            return True
        return isinstance(error, Timeout) and self._lease.connection.signs_of_life == self.transfer.exchange.signs
