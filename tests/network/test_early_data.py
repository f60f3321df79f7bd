"""Resumption and 0-RTT over bad networks, through Retry, and with every version of QUIC."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from specter.quic.config import QuicConfig
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import EarlyDataRejected, TicketReceived
from specter.quic.packet import QUIC_V1, QUIC_V2, Header, PacketError, PacketType, parse_header
from specter.testing.early_arrivals import LIMIT
from specter.testing.network import Link, Transit
from specter.testing.pair import ALPN, Pair, fixed_credential
from specter.testing.transfers import Action, Order
from specter.tls.config import ServerTlsConfig
from specter.tls.key_exchange import NamedGroup
from specter.tls.session import Resumption, Session
from specter.tls.tickets import TicketKeeper
from tests.network.test_impairments import LINKS

MS = 1_000_000
ORDERS = (
    Order(Action.UPLOAD, 3_000),
    Order(Action.DOWNLOAD, 30_000, 5),
    Order(Action.ECHO, 20_000, 9),
    Order(Action.NOTIFY, 500),
)
PATIENT = QuicConfig(idle_timeout=120_000 * MS, handshake_timeout=120_000 * MS)
ACCEPTED, REJECTED, NONE = EarlyDataStatus.ACCEPTED, EarlyDataStatus.REJECTED, EarlyDataStatus.NONE
ONLY_V1 = QuicConfig(versions=(QUIC_V1,))
ONLY_V2 = QuicConfig(versions=(QUIC_V2,))
BOTH = (QUIC_V1, QUIC_V2)


def server_tls(*, rejects: bool = False, **options: Any) -> ServerTlsConfig:
    keeper = TicketKeeper(bytes(16), lambda: 1_000, context=b"changed" if rejects else b"")
    return ServerTlsConfig(credentials=(fixed_credential().tls,), alpn=ALPN, tickets=keeper, **options)


def first_visit(**options: Any) -> Session:
    pair = Pair(1, server_tls=server_tls(), **options)
    pair.run(lambda: len(tickets(pair)) == 2)
    return tickets(pair)[0]


def tickets(pair: Pair) -> list[Session]:
    return [event.session for event in pair.client.log if isinstance(event, TicketReceived)]


def again(session: Session, seed: int = 2, *links: Link, rejects: bool = False, **options: Any) -> Pair:
    options = {"server_tls": server_tls(rejects=rejects), "orders": ORDERS} | options
    return Pair(seed, *links, resumption=Resumption(session, 0, early_data=True), **options)


def finish(pair: Pair) -> None:
    """Carry out the orders; nothing is left of them anywhere."""
    pair.transfer(limit=300)
    server = pair.server
    pair.run(lambda: not server.sides, limit=300)
    assert len(server.finished) == len(pair.client.finished) == len(ORDERS)
    for side in (*pair.client.finished.values(), *server.finished.values()):
        assert side.received == side.to_receive
    pair.close(limit=300)
    assert pair.endpoint.peers == {}


def headers(transit: Transit) -> list[Header]:
    found, pos = [], 0
    while pos < len(transit.data):
        try:
            header = parse_header(transit.data, pos, len(transit.data), 8)
        except PacketError:
            break
        found.append(header)
        pos = header.end
    return found


class EarlyPackets:
    """Keeps the headers of the 0-RTT packets that are sent."""

    def __init__(self, pair: Pair) -> None:
        self.found: list[Header] = []
        pair.network.taps.append(self.tap)

    def tap(self, transit: Transit) -> None:
        self.found += [header for header in headers(transit) if header.type is PacketType.ZERO_RTT]


@pytest.mark.parametrize("rejects", [False, True], ids=["accepted", "rejected"])
@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_early_data_over_bad_networks(link: Link, rejects: bool) -> None:
    session = first_visit()
    for seed in range(3):
        pair = again(session, seed, link, link, rejects=rejects, client_config=PATIENT, server_config=PATIENT)
        finish(pair)
        assert pair.client.connection.early_data is (REJECTED if rejects else ACCEPTED)
        assert (EarlyDataRejected() in pair.client.log) is rejects


def test_it_saves_a_round_trip() -> None:
    link = Link(delay=100 * MS)
    session = first_visit()
    times = []
    for resumption in (None, Resumption(session, 0, early_data=True)):
        order = Order(Action.DOWNLOAD, 1_000)
        pair = Pair(3, link, link, server_tls=server_tls(), orders=[order], resumption=resumption)
        begin = pair.now
        pair.transfer()
        times.append((pair.now - begin) // MS)
    assert times == [400, 200]


@pytest.mark.parametrize("rejects", [False, True], ids=["accepted", "rejected"])
def test_retry(rejects: bool) -> None:
    """The server forgets what came before: early data is sent again, in new packets, to the new connection id."""
    pair = again(first_visit(), retry=True, rejects=rejects, start=False)
    early = EarlyPackets(pair)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    before = len(early.found)
    assert before
    used = pair.client.connection._core.app.sent.next_pn
    assert used == before
    pair.run(lambda: len(early.found) > before)
    assert len({header.dcid for header in early.found}) == 2
    assert pair.client.connection._core.app.sent.next_pn == len(early.found)
    finish(pair)
    assert pair.endpoint.stats.retries >= 1
    assert pair.client.connection.early_data is (REJECTED if rejects else ACCEPTED)


def test_hello_retry_request_rejects() -> None:
    tls = replace(server_tls(), groups=(NamedGroup.SECP384R1,))
    pair = again(first_visit(), server_tls=tls)
    finish(pair)
    assert pair.client.connection.early_data is REJECTED
    assert pair.client.connection.tls.resumed


def test_early_packets_may_overtake_the_client_hello() -> None:
    pair = again(first_visit(), start=False)
    held: list[Transit] = []

    def hold(transit: Transit) -> bool:
        if transit.to_server and not pair.endpoint.peers and headers(transit)[0].type is PacketType.INITIAL:
            held.append(transit)
            return False
        return True

    pair.network.filters.append(hold)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    pair.advance(0.02)
    assert len(pair.endpoint._early) >= 1
    for transit in held:
        pair.network.inject(transit, pair.now)
    pair.advance(0)
    assert len(pair.endpoint._early) == 0
    server = pair.server
    assert server.sides or server.finished
    assert not server.connection.handshake_complete
    finish(pair)
    assert pair.client.connection.early_data is ACCEPTED


@pytest.mark.security
def test_early_packets_without_a_connection_are_kept_within_a_limit() -> None:
    pair = again(first_visit(), start=False)
    early: list[bytes] = []

    def only_early(transit: Transit) -> bool:
        if transit.to_server:
            early.extend(
                transit.data[header.start : header.end]
                for header in headers(transit)
                if header.type is PacketType.ZERO_RTT
            )
        return False

    pair.network.filters.append(only_early)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    for number in range(10 * LIMIT):
        data = bytearray(early[0])
        data[6:8] = number.to_bytes(2, "big")  # another connection id each time
        transit = Transit(("elsewhere", 1), pair.network.server, bytes(data), 0, pair.now, True, number)
        pair.network.inject(transit, pair.now)
    pair.advance(0)
    assert len(pair.endpoint._early) == LIMIT
    assert not pair.endpoint.peers


@pytest.mark.parametrize("size", [1, 200, 3_000])
def test_lost_round_trips_in_a_row(size: int) -> None:
    """Whichever datagrams of the first round trips are lost, everything is delivered, once."""
    session = first_visit()
    for lost in range(1, 64):
        orders = (Order(Action.ECHO, size),)
        pair = again(session, lost, orders=orders, start=False)
        pair.network.filters.append(
            lambda transit, lost=lost: transit.index > 2 or not lost >> (3 * transit.to_server + transit.index) & 1
        )  # type: ignore[misc]
        pair.client_host = pair.add(pair.client, pair.client_host.address)
        pair.transfer()
        assert pair.client.connection.early_data is ACCEPTED


# -- versions -------------------------------------------------------------------------------------------


def test_a_ticket_is_for_the_version_it_came_in() -> None:
    session = first_visit(client_config=ONLY_V2, versions=BOTH)
    assert session.quic_version == QUIC_V2
    pair = again(session, client_config=ONLY_V1)
    finish(pair)
    assert not pair.client.connection.tls.resumed
    assert pair.client.connection.early_data is NONE


def test_version_2() -> None:
    session = first_visit(client_config=ONLY_V2, versions=BOTH)
    pair = again(session, client_config=ONLY_V2, versions=BOTH, start=False)
    early = EarlyPackets(pair)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    finish(pair)
    assert pair.client.connection.early_data is ACCEPTED
    assert {header.version for header in early.found} == {QUIC_V2}


@pytest.mark.security
def test_a_server_takes_no_ticket_of_another_version() -> None:
    """Clients do not offer such a ticket; one that does gets a full handshake."""
    session = first_visit()
    pair = again(replace(session, quic_version=QUIC_V2), client_config=ONLY_V2, versions=BOTH)
    finish(pair)
    assert not pair.client.connection.tls.resumed
    assert pair.client.connection.early_data is REJECTED


def test_early_data_stays_in_the_original_version() -> None:
    """The server moves to version 2; its ticket from then on is for that."""
    pair = again(first_visit(), server_config=QuicConfig(preferred_version=QUIC_V2), versions=BOTH, start=False)
    early = EarlyPackets(pair)
    pair.client_host = pair.add(pair.client, pair.client_host.address)
    pair.transfer()
    assert pair.client.connection.version == QUIC_V2
    assert pair.client.connection.early_data is ACCEPTED
    assert {header.version for header in early.found} == {QUIC_V1}
    assert {session.quic_version for session in tickets(pair)} <= {QUIC_V2}
    finish(pair)


def test_version_negotiation_starts_over_without_early_data() -> None:
    config = QuicConfig(versions=BOTH)
    pair = again(first_visit(), client_config=config, server_config=ONLY_V2, versions=(QUIC_V2,))
    finish(pair)
    assert pair.client.connection.version == QUIC_V2
    assert pair.client.connection.early_data is REJECTED
    assert not pair.client.connection.tls.resumed
