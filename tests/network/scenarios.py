"""The scenarios of the QUIC interop runner by their names, with HTTP/3 on the virtual network; both roles are ours.

Each one checks what it is about and returns its figures. ``python -m tests.network.scenarios [NAME ...]`` prints them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from cryptography.hazmat.primitives.asymmetric import ed25519

from specter.quic.config import SECOND, QuicConfig
from specter.quic.connection import Connection
from specter.quic.early_data import EarlyDataStatus
from specter.quic.events import AddressPreferred, PathChanged, TicketReceived
from specter.quic.packet import QUIC_V2
from specter.quic.path import AMPLIFICATION_FACTOR
from specter.testing.certificates import CertificateAuthority, Credential
from specter.testing.network import Link, Transit
from specter.testing.pair import NAME, fixed_credential
from specter.testing.web import WebPair
from specter.tls.ciphers import CipherSuite
from specter.tls.config import ClientTlsConfig, ServerTlsConfig
from specter.tls.session import Resumption, Session
from specter.tls.tickets import TicketKeeper
from tests.network.scenario import HEADER, MEGABYTE, MS, Figures, Visit, losses, together

LINE = Link(delay=15 * MS, bandwidth=10_000_000, queue=25 * 1500)
"""The interop runner's: 10 Mbit/s, 15 ms one way, a queue for 25 packets."""
SCENARIOS: dict[str, Callable[[], Figures]] = {}


def scenario(name: str, **options: object) -> Callable[[Callable[..., Figures]], Callable[..., Figures]]:
    """Enter a scenario into the list; a function may stand for several."""

    def enter(function: Callable[..., Figures]) -> Callable[..., Figures]:
        SCENARIOS[name] = partial(function, **options)
        return function

    return enter


def visit(seed: int, link: Link = LINE, **options: object) -> Visit:
    return Visit(WebPair(seed, link, **options))  # type: ignore[arg-type]


# -- handshakes -------------------------------------------------------------------------------------


@scenario("handshake")
def handshake() -> Figures:
    it = visit(1)
    it.get(1024)
    it.web.run(lambda: it.web.moving.confirmed)
    assert (it.web.endpoint.stats.accepted, it.web.endpoint.stats.retries) == (1, 0)
    return it.finish()


@scenario("longrtt")
def longrtt() -> Figures:
    """Probes of the handshake leave before an answer can be there; it completes all the same."""
    it = visit(2, replace(LINE, delay=750 * MS))
    it.get(1024)
    assert it.seconds < 3 * 1.5 + 0.1
    return it.finish()


@scenario("chacha20")
def chacha20() -> Figures:
    suite = CipherSuite.TLS_CHACHA20_POLY1305_SHA256
    it = visit(3, client_tls=ClientTlsConfig(server_name=NAME, verify=False, cipher_suites=(suite,)))
    it.get(3 * MEGABYTE)
    assert it.web.moving.tls.cipher_suite == it.server.tls.cipher_suite == suite
    return it.finish()


@scenario("retry")
def retry() -> Figures:
    it = visit(4, retry=True)
    it.get(1024)
    assert it.web.endpoint.stats.retries > 0
    assert it.web.endpoint.stats.accepted == 1
    return it.finish(f"{it.web.endpoint.stats.retries} Retry packets")


@scenario("versionnegotiation")
def versionnegotiation() -> Figures:
    """The server does not know the version of the first flight: a Version Negotiation packet, and a new beginning."""
    it = visit(5, server_config=QuicConfig(versions=(QUIC_V2,)))
    it.get(1024)
    assert it.web.endpoint.stats.negotiations > 0
    assert it.web.moving.version == it.server.version == QUIC_V2
    return it.finish(f"{it.web.endpoint.stats.negotiations} Version Negotiation packets")


@scenario("v2")
def v2() -> Figures:
    """Compatible negotiation: the handshake that began in version 1 is in version 2 from the server's answer on."""
    it = visit(6, server_config=QuicConfig(preferred_version=QUIC_V2))
    it.get(1024)
    assert it.web.endpoint.stats.negotiations == 0
    assert it.web.moving.version == it.server.version == QUIC_V2
    return it.finish()


@scenario("amplificationlimit")
def amplificationlimit() -> Figures:
    """A chain of several datagrams, and a client whose datagrams are lost after the first: credit is short."""
    it = visit(7, server_tls=ServerTlsConfig(credentials=(long_chain().tls,)))
    came, sent, worst = it.web.network.up.size, 0, 0.0

    def count(transit: Transit) -> bool:
        nonlocal came, sent, worst
        if it.web.endpoint.peers and it.server.handshake_complete:
            return True
        if not transit.to_server:
            sent += len(transit.data)
            worst = max(worst, sent / came)
        elif 2 <= transit.index < 5:
            return False
        else:
            came += len(transit.data)
        return True

    it.web.network.filters.append(count)
    it.get(5 * 1024)
    assert 2.5 < worst <= AMPLIFICATION_FACTOR
    return it.finish(f"{worst:.2f} times what came, at most")


def long_chain() -> Credential:
    """Return a certificate that takes more than three datagrams, the same in every process."""
    known = fixed_credential().tls
    begin, end = known.chain[0].not_valid_before_utc, known.chain[0].not_valid_after_utc
    root_key, leaf_key = (ed25519.Ed25519PrivateKey.from_private_bytes(bytes([fill]) * 32) for fill in (3, 4))
    root = CertificateAuthority(key=root_key, not_before=begin, not_after=end, serial=1)
    names = [f"host{number}.{NAME}" for number in range(250)]
    return root.issue(*names, key=leaf_key, not_before=begin, not_after=end, serial=2)


@scenario("handshakeloss", link=replace(LINE, loss=0.3))
@scenario("handshakecorruption", link=replace(LINE, corrupt=0.3))
def fifty_handshakes(link: Link) -> Figures:
    """Fifty connections in a row, each of which has to come about in time and bring its file."""
    figures = []
    for seed in range(50):
        it = visit(seed, link)
        it.get(1024, limit=30)
        figures.append(it.finish())
    return together(figures, f"slowest {max(one.seconds for one in figures):.2f} s")


# -- transfers --------------------------------------------------------------------------------------


@scenario("transfer")
def transfer() -> Figures:
    it = visit(10)
    it.get(2 * MEGABYTE, 3 * MEGABYTE, 5 * MEGABYTE)
    return it.finish()


@scenario("http3")
def http3() -> Figures:
    it = visit(11)
    it.get(5_000, 10_000, 500_000)
    return it.finish()


@scenario("multiplexing")
def multiplexing() -> Figures:
    """Two thousand small files on one connection, twenty times as many as streams may be open at once."""
    it = visit(12)
    it.get(*[32] * 2000)
    assert it.web.responder.requests == 2000
    return it.finish()


@scenario("transferloss", link=replace(LINE, loss=0.02))
@scenario("transfercorruption", link=replace(LINE, corrupt=0.02))
def bad_line(link: Link) -> Figures:
    it = visit(13, link)
    it.get(2 * MEGABYTE)
    assert losses(it.web.network.down) > 10
    return it.finish()


@scenario("blackhole")
def blackhole() -> Figures:
    """Two seconds without a packet in mid-transfer; the rest comes soon after."""
    it = visit(14)
    it.ask(5 * MEGABYTE)
    it.web.run(lambda: it.web.client.fetches[0].length > MEGABYTE)
    it.web.network.set_links(replace(LINE, loss=1.0), replace(LINE, loss=1.0))
    it.web.advance(2.0)
    it.web.network.set_links(LINE, LINE)
    opened, had = it.seconds, it.web.client.fetches[0].length
    it.web.run(lambda: it.web.client.fetches[0].length > had)
    silent = it.seconds - opened
    it.wait()
    assert silent < 2.0
    return it.finish(f"silent for {silent:.2f} s afterwards")


@scenario("keyupdate")
def keyupdate() -> Figures:
    it = visit(15)
    it.ask(3 * MEGABYTE)
    it.web.run(lambda: it.web.client.fetches[0].length > 100_000)
    it.web.moving.update_keys()
    it.wait()
    assert updates(it.web.moving) == updates(it.server) == (1, 1)
    return it.finish()


def updates(end: Connection) -> tuple[int, int]:
    """Return how often an end has changed the keys it reads and writes with."""
    space = end._core.app
    assert space.opener is not None
    assert space.sealer is not None
    return space.opener.updates, space.sealer.updates


@scenario("ecn")
def ecn() -> Figures:
    """Both sides mark what they send, and find that the path keeps the marks."""
    it = visit(16)
    marks: dict[bool, set[int]] = {True: set(), False: set()}
    it.web.network.taps.append(lambda transit: marks[transit.to_server].add(transit.ecn))
    it.get(MEGABYTE)
    assert 2 in marks[True]
    assert 2 in marks[False]
    assert it.web.moving.ecn.state.value == it.server.ecn.state.value == "capable"
    return it.finish()


# -- sessions ---------------------------------------------------------------------------------------


def keeper() -> TicketKeeper:
    return TicketKeeper(bytes(16), lambda: 1_000)


def first_visit(seed: int) -> tuple[Figures, Session]:
    it = visit(seed, tickets=keeper())
    it.get(1024)
    it.web.run(lambda: any(isinstance(event, TicketReceived) for event in it.web.client.log))
    session = next(event.session for event in it.web.client.log if isinstance(event, TicketReceived))
    return it.finish(), session


@scenario("resumption")
def resumption() -> Figures:
    first, session = first_visit(20)
    it = visit(21, tickets=keeper(), resumption=Resumption(session, 0, False))
    it.get(1024)
    assert it.web.moving.tls.resumed
    assert it.server.tls.resumed
    assert it.web.moving.early_data is EarlyDataStatus.NONE
    return together([first, it.finish()])


@scenario("zerortt")
def zerortt() -> Figures:
    """Forty files asked for in 0-RTT: they are there after one round trip."""
    first, session = first_visit(22)
    it = visit(23, tickets=keeper(), resumption=Resumption(session, 0, True))
    it.get(*[32] * 40)
    assert it.web.moving.early_data is EarlyDataStatus.ACCEPTED
    assert it.seconds < 0.045
    note = f"forty files in {1000 * it.seconds:.1f} ms"
    return together([first, it.finish()], note)


# -- paths ------------------------------------------------------------------------------------------


@scenario("rebind-port", host=False)
@scenario("rebind-addr", host=True)
def rebinding(host: bool) -> Figures:
    """Every second the client has another address, and does not know."""
    it = visit(30)

    def move() -> None:
        if not it.web.client.done:
            it.web.rebind(host=host)
            it.web.at(1.0, move)

    it.web.at(1.0, move)
    it.get(10 * MEGABYTE)
    moves = it.server.stats.path_changes
    assert moves >= 8
    assert it.seconds < 14
    return it.finish(f"{moves} moves")


@scenario("connectionmigration")
def connectionmigration() -> Figures:
    """The client moves on purpose, from a network to another, in mid-transfer."""
    it = visit(31)
    it.ask(2 * MEGABYTE)
    it.web.run(lambda: it.web.client.fetches[0].length > MEGABYTE)
    new = it.web.migrate(host=True)
    it.wait()
    assert [event.address for event in it.web.client.log if isinstance(event, PathChanged)] == [new]
    assert it.server.address == new
    return it.finish()


@scenario("ipv6")
def ipv6() -> Figures:
    """The server asks its clients over to an IPv6 address; there an Ethernet frame carries twenty bytes less."""
    it = visit(32, server_config=QuicConfig(preferred_ipv6=("2001:db8::80", 443)))
    it.web.network.server_aliases.append(("2001:db8::80", 443))
    it.web.run(lambda: it.web.moving.confirmed)
    assert AddressPreferred((("2001:db8::80", 443),)) in it.web.client.log
    it.web.network.set_links(replace(LINE, mtu=1452), replace(LINE, mtu=1452))
    new = it.web.migrate(remote=("2001:db8::80", 443))
    it.get(2 * MEGABYTE)
    assert it.server.address == new
    assert 1444 <= it.server.stats.datagram_size <= 1452
    return it.finish(f"datagrams of {it.server.stats.datagram_size} bytes")


# -- rates ------------------------------------------------------------------------------------------


@scenario("goodput", link=LINE, share=0.85)
@scenario("goodput-loss", link=replace(LINE, delay=5 * MS, loss=0.02), share=0.70)
@scenario("goodput-loss-30ms", link=replace(LINE, loss=0.02), share=0.28)
def goodput(link: Link, share: float) -> Figures:
    """Of a line, and of one that loses 2 % of everything, acknowledgments too, at random.

    CUBIC cannot tell such loss from congestion. With windows this small it does what Reno would (RFC 9438, section
    4.3), 1.22 / sqrt(loss) = 8.6 datagrams in a round trip: the whole line at 10 ms, a third of it at 30 ms.
    """
    it = visit(40, link)
    it.get(10 * MEGABYTE)
    figures = it.finish(f"at least {share:.0%} of the line")
    assert figures.rate >= share * link.bandwidth, figures
    return figures


@scenario("crosstraffic")
def crosstraffic() -> Figures:
    """Another connection comes into a bottleneck that is in use; what both carry from then on is shared."""
    it = visit(41)
    it.ask(10 * MEGABYTE)
    it.web.advance(2.0)
    other, host = it.web.connect("other", ("other", 50_000))
    it.clients.append(other)
    fetches = it.web.client.fetches[0], other.fetch(f"/bytes/{10 * MEGABYTE}")
    it.web.flush(host)
    before, began = fetches[0].length, it.seconds
    it.web.run(lambda: any(fetch.done for fetch in fetches))
    carried, seconds = (fetches[0].length - before, fetches[1].length), it.seconds - began
    it.wait()
    share = min(carried) / sum(carried)
    assert share > 0.25, carried
    assert sum(carried) * 8 / seconds > 0.85 * LINE.bandwidth, carried
    return it.finish(f"the lesser carries {share:.0%} of {sum(carried) * 8 / seconds / 1e6:.2f} Mbit/s")


@scenario("recovery")
def recovery() -> Figures:
    """Two seconds in which 30 % of everything is lost; then the line is full again within three."""
    it = visit(42)
    it.ask(20 * MEGABYTE)
    fetch = it.web.client.fetches[0]
    it.web.run(lambda: fetch.length > 2 * MEGABYTE)
    it.web.network.set_links(replace(LINE, loss=0.3), replace(LINE, loss=0.3))
    it.web.advance(2.0)
    low = it.server.stats.congestion_window
    it.web.network.set_links(LINE, LINE)
    ended = it.seconds
    it.web.run(lambda: it.server.stats.congestion_window * 8 * SECOND >= LINE.bandwidth * 2 * LINE.delay)
    took = it.seconds - ended
    it.wait()
    assert took < 3.0
    return it.finish(f"a window of {low} bytes filled the line again after {took:.2f} s")


def main(names: list[str]) -> None:
    print(HEADER)
    for name in names or SCENARIOS:
        print(SCENARIOS[name]().row(name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
