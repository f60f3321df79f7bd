"""How a request of httpx's is carried out: the one copy of it, for threads and event loops alike.

It is made of coroutines; what they wait with is the :class:`Host`'s, which in a blocking transport never suspends.
"""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from time import time_ns
from typing import Any, Final, Protocol

from specter._wire import NEVER
from specter.client.base_response import BaseResponse
from specter.client.pool import Pool
from specter.client.request import Request
from specter.client.sending import exchange
from specter.client.timeouts import Timeouts
from specter.client.url import URL, Origin
from specter.errors import Error, StreamReset
from specter.integrations._library import Library
from specter.integrations._messages import convert, obstacle, timeouts, url_of
from specter.integrations._outcome import Outcome, Reason, report
from specter.integrations._plan import Plan, Way
from specter.integrations._race import Dial, Gate, Leg, Runner
from specter.net import clock
from specter.net.driver import Event

__all__ = ["Engine", "Host"]

MISDIRECTED: Final = 421
EVENT: Final = "http3.handle_request"
"""What the extension ``trace`` calls the exchange, up to the head of its response."""
FORGOTTEN: Final = 60 * clock.SECOND
"""A connection that has been in the making for so long (ns) is one nobody works on: the process forked since."""
PATIENCE: Final = 5.0
"""Seconds that a connection in the making is given at least, even if no request waits for it that long."""


class Host(Protocol):
    """What depends on whether threads or tasks wait."""

    def able(self) -> bool:
        """Whether the caller can wait for HTTP/3 at all."""

    def content(self, request: Any) -> Any:
        """Return a request's body for Specter's, None for an empty one."""

    def body(self, response: Any) -> Any:
        """Return the body of a response of Specter's as a stream of the library."""

    async def fallback(self, request: Any) -> Any:
        """Send over TCP."""

    def leg(self, request: Any, gate: Gate, decided: Event) -> Leg:
        """Start to send over TCP, which ``gate`` has to allow; set ``decided`` when it has, or when it failed."""

    def event(self) -> Event:
        """Return an event that has not happened."""

    async def tell(self, trace: Any, name: str, info: dict[str, Any]) -> None:
        """Call the caller's ``trace``."""

    def spawn(self, job: Coroutine[Any, Any, None]) -> object:
        """Run ``job`` in the background."""


class Engine:
    """Carries out requests.

    HTTP/3 goes over the connections of ``pool``, whose responses are ``respond`` objects. ``always`` knows nothing
    else. Otherwise the pool's discovery says where it is worth a try; it gets ``head_start`` seconds before TCP is
    tried as well.
    """

    def __init__(
        self,
        library: Library,
        host: Host,
        pool: Pool[Any],
        respond: type[BaseResponse],
        *,
        always: bool,
        head_start: float,
    ) -> None:
        self._library = library
        self._host = host
        self._pool = pool
        self._respond = respond
        self._discovery = pool.discovery
        self._always = always
        self._head_start = head_start
        self._dials: dict[Origin, Dial] = {}
        self._lock = threading.Lock()

    async def handle(self, request: Any) -> Any:
        """Return the library's response to its ``request``, or raise its exceptions."""
        if request.url.scheme != "https":
            return await self._refuse(request, Reason.NOT_HTTPS, f"not {request.url.scheme}")
        try:
            if not self._host.able():
                return await self._refuse(request, Reason.NO_ASYNCIO, "this is another event loop")
            hindrance = obstacle(request)
            if hindrance:
                return await self._refuse(request, Reason.UNSUPPORTED, hindrance)
            return await self._carry_out(_Task(request, url_of(request), self._host))
        except Error as error:
            raise self._library.translated(error) from error

    async def _refuse(self, request: Any, reason: Reason, detail: str) -> Any:
        """This is not for HTTP/3."""
        if self._always:
            raise self._library.httpx.UnsupportedProtocol(f"{reason} ({detail})")
        response = await self._host.fallback(request)
        return self._finished(request, response, f"{request.url.scheme}://{request.url.host}", reason, detail)

    async def _carry_out(self, task: _Task) -> Any:
        origin = task.origin
        discovery = self._discovery
        plan = Plan(None if self._always or discovery is None else discovery.offers, origin)
        connected = self._pool.find(origin) is not None
        if not connected and not self._always and discovery is not None:
            await discovery.look_up(origin, task.limits.start(), self._host.event)
        while True:
            way = plan.way(connected, time_ns())
            if way is Way.HTTP3:
                response = await self._over_http3(task, plan)
            elif way is Way.RACE:
                response = await self._race(task, plan)
            else:
                return await self._over_tcp(task.request, plan, origin)
            if response is not None:
                return response
            loss = self._pool.loss(origin) if way is Way.RACE else None
            if loss is not None:
                plan.lost(loss)
            connected = self._pool.find(origin) is not None

    # -- HTTP/3 -----------------------------------------------------------------------------------

    async def _over_http3(self, task: _Task, plan: Plan) -> Any | None:
        """Return the response, or None when the request may go another way."""
        trace = task.request.extensions.get("trace")
        if trace is not None:
            await self._host.tell(trace, f"{EVENT}.started", {"request": task.request})
        try:
            response = await exchange(self._pool, task.ours, task.limits, self._respond, repeat=self._always)
        except Error as error:
            if trace is not None:
                await self._host.tell(trace, f"{EVENT}.failed", {"exception": error})
            if self._always or not plan.may_repeat(error, task.fresh):
                raise
            plan.lost(error)
            return None
        if trace is not None:
            told = (b"HTTP/3", response.status_code, response.headers.raw)
            await self._host.tell(trace, f"{EVENT}.complete", {"return_value": told})
        if response.status_code == MISDIRECTED and task.fresh and not self._always:
            await response._close()
            plan.lost(StreamReset(f"{task.origin} is not served there (421)"))
            return None
        return self._answered(task, response, plan)

    def _answered(self, task: _Task, response: Any, plan: Plan) -> Any:
        outcome = Outcome("HTTP/3", plan.reason, plan.detail, self._via(task.origin), response)
        report(task.request.method, task.origin, outcome)
        body = self._host.body(response)
        made = self._library.response(
            response.status_code,
            headers=response.headers.raw,
            stream=body,
            extensions={"http_version": b"HTTP/3", "specter": outcome},
        )
        body.extensions = made.extensions
        return made

    def _via(self, origin: Origin) -> str | None:
        route = None if self._discovery is None else self._discovery.offers.via(origin)
        return None if route is None or (route.host, route.port) == origin else str(route)

    # -- TCP --------------------------------------------------------------------------------------

    async def _over_tcp(self, request: Any, plan: Plan, origin: Origin) -> Any:
        response = await self._host.fallback(request)
        return self._came_over_tcp(request, response, plan, origin)

    def _came_over_tcp(self, request: Any, response: Any, plan: Plan, origin: Origin) -> Any:
        """Hear what the server says about alternatives."""
        if self._pool.learns and self._discovery is not None and "alt-svc" in response.headers:
            fields = [(name.lower(), value) for name, value in response.headers.raw]
            self._discovery.offers.learn(origin, response.status_code, fields, time_ns())
        return self._finished(request, response, origin, plan.reason, plan.detail)

    def _finished(self, request: Any, response: Any, origin: Origin | str, reason: Reason, detail: str) -> Any:
        outcome = Outcome(response.http_version, reason, detail)
        response.extensions["specter"] = outcome
        report(request.method, origin, outcome)
        return response

    # -- both -------------------------------------------------------------------------------------

    async def _race(self, task: _Task, plan: Plan) -> Any | None:
        """Return the response if TCP was first, else None: HTTP/3 is connected, or cannot be."""
        dial = self._dial(task)
        if await dial.tell(self._host.event()).wait(clock.after(dial.started, task.patience(self._head_start))):
            if not dial.connected:
                plan.not_connected(dial.error)
            return None
        gate, decided = Gate(), self._host.event()
        leg = self._host.leg(task.late(self._library), gate, decided)
        try:
            await dial.tell(decided).wait(NEVER)
            if dial.connected and gate.claim(Runner.HTTP3):
                return None
            response = await leg.result()
        except self._library.connect_failures:
            if await dial.tell(self._host.event()).wait(task.connect_deadline) and dial.connected:
                return None
            raise
        finally:
            leg.abandon()
        plan.overtaken(dial.error)
        return self._came_over_tcp(task.request, response, plan, task.origin)

    def _dial(self, task: _Task) -> Dial:
        """Return the dial that is under way to the origin, or start one."""
        with self._lock:
            dial = self._dials.get(task.origin)
            if dial is None or dial.finished or task.started - dial.started > FORGOTTEN:
                dial = Dial(clock.now())
                patience = max(task.limits.connect or PATIENCE, PATIENCE)
                self._host.spawn(self._run(dial, task.origin, Timeouts(connect=patience, pool=patience)))
                self._dials[task.origin] = dial
            return dial

    async def _run(self, dial: Dial, origin: Origin, limits: Timeouts) -> None:
        try:
            await dial.run(self._pool.prepare(origin, limits.start(), offered=True))
        finally:
            with self._lock:
                if self._dials.get(origin) is dial:
                    del self._dials[origin]


class _Task:
    """One request, and what is derived from it when it is needed."""

    __slots__ = ("_host", "_ours", "limits", "origin", "request", "started", "url")

    def __init__(self, request: Any, url: URL, host: Host) -> None:
        self.request = request
        self.url = url
        self.origin = url.origin
        self.limits = timeouts(request.extensions.get("timeout") or {})
        self.started = clock.now()
        self._host = host
        self._ours: Request | None = None

    @property
    def ours(self) -> Request:
        if self._ours is None:
            self._ours = convert(self.request, self.url, self._host.content(self.request))
        return self._ours

    @property
    def fresh(self) -> bool:
        """Whether the body can be sent (again)."""
        return self._ours is None or self._ours.replayable

    @property
    def connect_deadline(self) -> int:
        return clock.after(self.started, self.limits.connect)

    def patience(self, head_start: float) -> float:
        """Return the seconds to wait for HTTP/3 alone: TCP needs its share of the time, too."""
        limit = self.limits.connect
        return head_start if limit is None else min(head_start, limit / 3)

    def late(self, library: Library) -> Any:
        """Return a copy of the library's request with what is left of its time to connect."""
        request, limit = self.request, self.limits.connect
        extensions = dict(request.extensions)
        if limit is not None:
            left = max(limit - (clock.now() - self.started) / clock.SECOND, 0.001)
            extensions["timeout"] = {**extensions["timeout"], "connect": left}
        return library.httpx.Request(
            request.method, request.url, headers=request.headers, stream=request.stream, extensions=extensions
        )
