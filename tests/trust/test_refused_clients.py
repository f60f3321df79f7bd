"""A server that does not want the client's certificate: said once, the same on each path, and no request is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import specter
from specter.integrations.httpx import Reason, Transport
from specter.tls.alerts import AlertDescription
from tests.integrations.support import TcpServer
from tests.trust.cases import HOST, Case, root
from tests.trust.paths import OVER_TCP, offering
from tests.trust.stage import PATIENCE, Stage, server_tls

REFUSED = Case("refused", lambda: root().issue(HOST), client="nothing to show")
STRANGER = Case("stranger", lambda: root().issue(HOST), client="stranger")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("trust"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("case", "alert"),
    [(REFUSED, AlertDescription.CERTIFICATE_REQUIRED), (STRANGER, AlertDescription.UNKNOWN_CA)],
    ids=str,
)
def test_one_handshake_is_enough_to_know(stage: Stage, case: Case, alert: AlertDescription) -> None:
    stage.begin()
    stage.origin.show(server_tls(case))
    before = stage.origin.handshakes()
    with specter.Client(**stage.options(case)) as client, pytest.raises(specter.HandshakeError) as caught:
        client.post(stage.url(case), content=b"x" * 100_000)
    error = caught.value
    assert (error.code, error.remote, error.retry_safe) == (0x100 + alert, True, True)
    assert alert.name.lower() in str(error)
    assert stage.origin.handshakes() == before + 1
    assert stage.seen == []


def test_a_body_that_is_gone_cannot_be_sent_again(stage: Stage) -> None:
    """The alert may come before the body is begun, when it can still be sent again."""
    stage.origin.show(server_tls(REFUSED))
    for _ in range(20):
        body = iter([b"x" * 100_000])
        with specter.Client(**stage.options(REFUSED)) as client, pytest.raises(specter.HandshakeError) as caught:
            client.post(stage.url(REFUSED), content=body)
        gone = next(body, None) is None
        assert not (gone and caught.value.retry_safe)
        if gone:
            return
    pytest.fail("the server was always faster")


def test_httpx_leaves_http3_alone_afterwards(stage: Stage) -> None:
    """A POST goes over TCP at once: the server that refused the client cannot have acted on it."""
    stage.begin()
    stage.origin.show(server_tls(REFUSED))
    before = stage.origin.handshakes()
    fallback = httpx.MockTransport(lambda request: httpx.Response(200, content=OVER_TCP.encode() + request.read()))
    discovery = offering(stage, REFUSED, stage.origin)
    options = stage.options(REFUSED, fallback=fallback, head_start=PATIENCE, discovery=discovery)
    with httpx.Client(transport=Transport(**options), timeout=PATIENCE) as client:
        responses = [client.post(stage.url(REFUSED), content=b"!") for _ in range(2)]
    outcomes = [response.extensions["specter"] for response in responses]
    assert [response.text for response in responses] == ["over tcp!", "over tcp!"]
    assert [outcome.reason for outcome in outcomes] == [Reason.REFUSED, Reason.BROKEN]
    assert "certificate_required" in outcomes[0].detail
    assert stage.origin.handshakes() == before + 1
    assert stage.seen == []


@pytest.mark.security
def test_httpx_judges_on_tcp_too(stage: Stage, tmp_path: Path) -> None:
    """The way back leads to nobody whose certificate is wrong either."""
    wrong = Case("wrong", lambda: root().issue("b.example"))
    stage.origin.show(server_tls(wrong))
    tcp = TcpServer(root().issue("b.example"), tmp_path)
    try:
        wrong = Case("wrong", lambda: root().issue("b.example"), host="localhost")
        options = stage.options(wrong, head_start=PATIENCE, discovery=offering(stage, wrong, stage.origin))
        options["resolve"]["localhost"] = "127.0.0.1"
        transport = Transport(**options)
        with httpx.Client(transport=transport, timeout=PATIENCE) as client, pytest.raises(httpx.ConnectError) as caught:
            client.get(tcp.url)
    finally:
        tcp.close()
    assert "certificate" in str(caught.value).lower()
    assert tcp.seen == []
