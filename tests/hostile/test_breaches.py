"""Every breach of the table, from a server that is otherwise real: the code that the client leaves on the wire."""

from __future__ import annotations

import pytest

from specter.h3.events import MessageComplete, ResponseReceived
from tests.h3.support import OK, data_frame, headers_frame, settings_frame
from tests.hostile.breaches import PERMITTED, QUIC
from tests.hostile.server import CONTROL, REQUEST, HostileServer, On, Said
from tests.hostile.table import Breach
from tests.hostile.web_breaches import HTTP, QPACK

ALL = [*QUIC, *HTTP, *QPACK]
CONNECT = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]


@pytest.mark.parametrize("breach", ALL, ids=[f"{breach.rule}: {breach.fault}" for breach in ALL])
def test_the_client_answers_with_the_code(breach: Breach) -> None:
    server = HostileServer(CONNECT) if breach.tunnel else HostileServer()
    server.break_rules(*breach.said)
    if breach.on_stream:
        assert (server.stream_error, server.connection_error) == (breach.code, None)
    else:
        assert server.connection_error == breach.code
        assert server.target.closing


@pytest.mark.parametrize("said", PERMITTED)
def test_what_breaks_nothing_is_taken(said: tuple[Said, ...]) -> None:
    server = HostileServer()
    server.break_rules(*said)
    assert (server.stream_error, server.connection_error) == (None, None)


def test_a_server_that_keeps_the_rules_is_heard() -> None:
    server = HostileServer()
    head = headers_frame(*OK)
    server.break_rules(On(CONTROL, b"\x00" + settings_frame()), On(REQUEST, head[:3]))
    server.break_rules(On(REQUEST, head[3:] + data_frame(b"body"), fin=True))
    assert ResponseReceived(REQUEST, 200, ()) in server.events
    assert MessageComplete(REQUEST) in server.events
    assert (server.stream_error, server.connection_error) == (None, None)
