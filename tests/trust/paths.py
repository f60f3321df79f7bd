"""The ways there are to connect, each of which has to judge the server's certificate alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import time_ns
from typing import Any, Final

import httpx

import specter
from specter.cli import main
from specter.client.url import Origin
from specter.integrations.httpx import AsyncTransport, Outcome, Reason, Transport
from specter.net.clock import SECOND
from specter.net.https_records import HttpsRecords, Records, Service
from tests.trust.cases import Case, issued
from tests.trust.stage import PATIENCE, Actor, Stage, carelessly, server_tls

HELLO: Final = "hello"
OVER_TCP: Final = "over tcp"


@dataclass(frozen=True)
class Verdict:
    """What came of it: ``error`` is the exception, or what stands for one; None when the server answered."""

    error: object = None
    message: str = ""
    check: str = ""
    """As far as this way of connecting tells it apart from the message."""


@dataclass(frozen=True)
class Path:
    """``attempt`` tries to get through to what a case's server has to say.

    ``certificate`` and ``alert`` are what it reports when the client refuses the server, or is refused by it.
    """

    name: str
    attempt: Callable[[Stage, Case], Verdict]
    certificate: object = specter.CertificateError
    alert: object = specter.HandshakeError
    after: int = 0
    """Requests that get through before the one that matters."""

    def __str__(self) -> str:
        return self.name


def get(client: Any, url: str) -> tuple[Verdict, Any]:
    """Return the verdict on a GET by ``client``, and the response if there is one."""
    try:
        response = client.get(url)
    except (specter.Error, httpx.HTTPError) as error:
        return Verdict(type(error), str(error), getattr(error, "check", "")), None
    assert (response.status_code, response.text) == (200, HELLO)
    return Verdict(), response


# -- clients ----------------------------------------------------------------------------------------


def blocking(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))
    with specter.Client(**stage.options(case)) as client:
        return get(client, stage.url(case))[0]


def asynchronous(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))

    async def work() -> Verdict:
        async with specter.AsyncClient(**stage.options(case)) as client:
            try:
                response = await client.get(stage.url(case))
            except specter.Error as error:
                return Verdict(type(error), str(error), getattr(error, "check", ""))
            assert response.text == HELLO
            return Verdict()

    return stage.loop.run(work())


def tunnel(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))
    with specter.Client(**stage.options(case)) as client:
        try:
            with client.tunnel(f"{stage.url(case)}echo", "echo") as opened:
                opened.send(HELLO.encode(), eof=True)
                assert opened.receive() == HELLO.encode()
        except specter.Error as error:
            return Verdict(type(error), str(error), getattr(error, "check", ""))
        return Verdict()


def command(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))
    words = ["--silent", "--show-error", "--cacert", stage.ca_file(case)]
    words += ["--resolve", stage.url(case).removeprefix("https://").removesuffix("/") + ":127.0.0.1"]
    if (cert := stage.cert(case)) is not None:
        words += ["--cert", str(cert[0]), "--key", str(cert[1])]
    assert stage.capture is not None
    status = main([*words, stage.url(case)])
    out, err = stage.capture.readouterr()
    if status == 0:
        assert (out, err) == (HELLO, "")
        return Verdict()
    assert (out, err.count("\n")) == ("", 1)
    return Verdict(f"exit status {status}", err.strip())


def retry(stage: Stage, case: Case) -> Verdict:
    actor = stage.retrying
    actor.show(server_tls(case))
    before = actor.ask(lambda endpoint: endpoint.stats.retries)
    with specter.Client(**stage.options(case)) as client:
        verdict, _ = get(client, stage.url(case, actor))
    assert actor.ask(lambda endpoint: endpoint.stats.retries) > before
    return verdict


# -- httpx ------------------------------------------------------------------------------------------


def httpx_always(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))
    with httpx.Client(transport=Transport(http3="always", **stage.options(case)), timeout=PATIENCE) as client:
        return get(client, stage.url(case))[0]


def httpx_always_asynchronous(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))

    async def work() -> Verdict:
        transport = AsyncTransport(http3="always", **stage.options(case))
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:
            try:
                response = await client.get(stage.url(case))
            except httpx.HTTPError as error:
                return Verdict(type(error), str(error))
            assert response.text == HELLO
            return Verdict()

    return stage.loop.run(work())


def _auto(stage: Stage, case: Case) -> dict[str, Any]:
    """Options of a transport that was told of HTTP/3, and has a TCP side that always works."""
    fallback = httpx.MockTransport(lambda _request: httpx.Response(200, text=OVER_TCP))
    discovery = offering(stage, case, stage.origin)
    return stage.options(case, http3="auto", fallback=fallback, head_start=PATIENCE, discovery=discovery)


def _auto_verdict(response: httpx.Response) -> Verdict:
    outcome: Outcome = response.extensions["specter"]
    if response.text == HELLO:
        assert (response.http_version, outcome.reason) == ("HTTP/3", Reason.FOUND)
        return Verdict()
    assert response.text == OVER_TCP
    return Verdict(outcome.reason, outcome.detail)


def httpx_auto(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))
    with httpx.Client(transport=Transport(**_auto(stage, case)), timeout=PATIENCE) as client:
        return _auto_verdict(client.get(stage.url(case)))


def httpx_auto_asynchronous(stage: Stage, case: Case) -> Verdict:
    stage.origin.show(server_tls(case))

    async def work() -> Verdict:
        async with httpx.AsyncClient(transport=AsyncTransport(**_auto(stage, case)), timeout=PATIENCE) as client:
            return _auto_verdict(await client.get(stage.url(case)))

    return stage.loop.run(work())


# -- by way of somewhere else -------------------------------------------------------------------------


def origin_of(stage: Stage, case: Case) -> Origin:
    return Origin(specter.URL(stage.url(case)).host, stage.origin.port)


def offering(stage: Stage, case: Case, actor: Actor) -> specter.Discovery:
    """Return what a client knows that was told in Alt-Svc that ``actor`` stands in for the origin."""
    discovery = specter.Discovery()
    field = (b"alt-svc", b'h3=":%d"' % actor.port)
    discovery.offers.learn(origin_of(stage, case), 200, [field], time_ns())
    return discovery


class Zone(HttpsRecords):
    """A DNS that has one answer."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def lookup(self, host: str, port: int = 443) -> Records:
        return Records((self._service,), 60 * SECOND)


def _elsewhere(stage: Stage, case: Case, discovery: specter.Discovery, **names: str) -> Verdict:
    """Both the origin and its stand-in are the case's: the one is tried, and then the other."""
    for actor in (stage.origin, stage.alternative):
        actor.show(server_tls(case))
    before = stage.alternative.handshakes()
    options = stage.options(case, discovery=discovery)
    options["resolve"] |= names
    with specter.Client(**options) as client:
        verdict, response = get(client, stage.url(case))
    assert stage.alternative.handshakes() > before
    if response is not None:
        assert response.connection.remote_address[1] == stage.alternative.port
    return verdict


def alternative_service(stage: Stage, case: Case) -> Verdict:
    return _elsewhere(stage, case, offering(stage, case, stage.alternative))


def https_record(stage: Stage, case: Case) -> Verdict:
    """The record has another name for the host: one that no certificate of the matrix is good for."""
    service = Service(1, "elsewhere.test", stage.alternative.port, (b"h3",))
    discovery = specter.Discovery(https_records=Zone(service))
    return _elsewhere(stage, case, discovery, **{"elsewhere.test": "127.0.0.1"})


# -- after an earlier connection ----------------------------------------------------------------------


def drop(client: specter.Client) -> None:
    """Lose every connection."""
    for origin, connection in list(client.pool._connections.items()):
        client.pool.discard(origin, connection)


def resumed(stage: Stage, case: Case) -> Verdict:
    """There are tickets, of a client that verified nothing; a good server's own tickets are then used."""
    stage.origin.show(tls := server_tls(case))
    cache = specter.SessionCache()
    with carelessly(), specter.Client(**stage.options(case, verify=False, session_cache=cache)) as careless:
        get(careless, stage.url(case))
    assert bool(len(cache)) is (tls.tickets is not None)
    stage.begin()
    with specter.Client(**stage.options(case, session_cache=cache, early_data=True)) as client:
        verdict, response = get(client, stage.url(case))
        if response is not None:
            assert (response.connection.resumed, response.early_data) == (False, None)
            drop(client)
            verdict, response = get(client, stage.url(case))
            assert response.connection.resumed is (tls.tickets is not None)
            assert response.connection.peer_certificates[0] == issued(case).certificate
    return verdict


def early(stage: Stage, case: Case) -> Verdict:
    """Tickets of a good server are offered, with a request in early data, to the one who took its place."""
    stage.origin.greet(case.host)
    with specter.Client(**stage.options(case, early_data=True)) as client:
        assert get(client, stage.url(case))[1] is not None
        stage.origin.show(server_tls(case))
        drop(client)
        verdict, response = get(client, stage.url(case))
        if response is not None:
            assert (response.connection.resumed, response.early_data) == (False, "rejected")
            assert response.connection.peer_certificates[0] == issued(case).certificate
    assert not any(request.early_data for request in stage.seen)
    return verdict


def moved(stage: Stage, case: Case) -> Verdict:
    """A connection moves and stays with whom it was made to; the next one is judged anew."""
    stage.origin.greet(case.host)
    with specter.Client(**stage.options(case, session_cache=False)) as client:
        assert get(client, stage.url(case))[1] is not None
        stage.origin.show(server_tls(case))
        before = stage.origin.handshakes()
        assert client.migrate() == 1
        _, response = get(client, stage.url(case))
        assert response.connection.path.changes == 1
        assert response.connection.peer_certificates[0].issuer.rfc4514_string() == "CN=The house"
        assert stage.origin.handshakes() == before
        drop(client)
        return get(client, stage.url(case))[0]


def rebound(stage: Stage, case: Case) -> Verdict:
    """A NAT forgets the client, who notices nothing; the next connection is judged anew."""
    stage.origin.greet(case.host)
    with specter.Client(**stage.options(case, session_cache=False)) as client:
        url = stage.url(case, stage.relay)
        assert get(client, url)[1] is not None
        stage.origin.show(server_tls(case))
        before, address = stage.origin.handshakes(), stage.origin.newest_client()
        stage.relay.rebind()
        assert get(client, url)[1].connection.peer_certificates[0].issuer.rfc4514_string() == "CN=The house"
        assert stage.origin.handshakes() == before
        assert stage.origin.newest_client() != address
        drop(client)
        return get(client, url)[0]


def pooled(stage: Stage, case: Case) -> Verdict:
    """Another host's good connection to the same server is nobody else's."""
    stage.origin.greet("good.example")
    options = stage.options(case)
    options["resolve"]["good.example"] = "127.0.0.1"
    with specter.Client(**options) as client:
        assert get(client, f"https://good.example:{stage.origin.port}/")[1] is not None
        stage.origin.show(server_tls(case))
        with suppress(specter.Error):
            get(client, stage.url(case))
        return get(client, stage.url(case))[0]


PATHS: Final = (
    Path("Client", blocking),
    Path("AsyncClient", asynchronous),
    Path("a tunnel", tunnel),
    Path("the command", command, "exit status 1", "exit status 1"),
    Path("httpx", httpx_always, httpx.ConnectError, httpx.ConnectError),
    Path("httpx, asyncio", httpx_always_asynchronous, httpx.ConnectError, httpx.ConnectError),
    Path("httpx or TCP", httpx_auto, Reason.FAILED, Reason.REFUSED),
    Path("httpx or TCP, asyncio", httpx_auto_asynchronous, Reason.FAILED, Reason.REFUSED),
    Path("after Retry", retry),
    Path("an alternative service", alternative_service),
    Path("an HTTPS record", https_record),
    Path("with a ticket", resumed),
    Path("with early data", early, after=1),
    Path("after migration", moved, after=2),
    Path("after a rebinding", rebound, after=2),
    Path("beside another host", pooled, after=1),
)
