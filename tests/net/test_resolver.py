from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from specter.errors import ConnectError, ConnectTimeout, NetworkError
from specter.net.budget import Budget
from specter.net.inline import run_inline
from specter.net.resolver import Address, Resolver, interleave, literal, system_lookup
from specter.net.threads import ThreadEvent

V4, V4B, V4C = ("192.0.2.1", 443), ("192.0.2.2", 443), ("192.0.2.3", 443)
V6, V6B = ("2001:db8::1", 443, 0, 0), ("2001:db8::2", 443, 0, 0)


def never(host: str, port: int) -> Sequence[Address]:
    raise AssertionError("nobody should ask")


def resolve(resolver: Resolver, host: str, port: int, budget: Budget, **options: Any) -> list[Address]:
    return run_inline(resolver.resolve(host, port, budget, ThreadEvent, **options))


@pytest.mark.parametrize(
    ("addresses", "ordered"),
    [
        ([], []),
        ([V4], [V4]),
        ([V6, V6B, V4, V4B, V4C], [V6, V4, V6B, V4B, V4C]),
        ([V4, V4B, V6], [V4, V6, V4B]),
        ([V4, V4, V6], [V4, V6]),
    ],
)
def test_families_alternate(addresses: list[Address], ordered: list[Address]) -> None:
    assert interleave(addresses) == ordered


def test_addresses_need_no_lookup() -> None:
    resolver = Resolver(lookup=never)
    assert resolve(resolver, "192.0.2.1", 443, Budget.of()) == [V4]
    assert resolve(resolver, "2001:db8::1", 443, Budget.of()) == [V6]
    assert literal("fe80::1%7", 1) == ("fe80::1", 1, 0, 7)
    assert literal("example.com", 443) is None


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "localhost.", "app.localhost", "a.b.localhost."])
def test_localhost_needs_no_lookup(name: str) -> None:
    """RFC 6761, section 6.3."""
    assert resolve(Resolver(lookup=never), name, 443, Budget.of()) == [("127.0.0.1", 443), ("::1", 443, 0, 0)]
    assert resolve(Resolver({name: "192.0.2.1"}, never), name, 443, Budget.of()) == [V4]


@pytest.mark.parametrize("name", ["notlocalhost", "localhost.example", "localhost.example.", "local.host"])
def test_names_that_only_look_like_localhost(name: str) -> None:
    assert resolve(Resolver(lookup=lambda *_: [V4]), name, 443, Budget.of()) == [V4]


def test_an_unknown_zone() -> None:
    with pytest.raises(ConnectError, match="interface"):
        literal("fe80::1%nosuchinterface", 443)


def test_overrides() -> None:
    resolver = Resolver(
        {"a.example": "192.0.2.1", "B.example:8443": ["192.0.2.2", "[2001:db8::2]"], "::1": "192.0.2.3"}, lookup=never
    )
    assert resolve(resolver, "a.example", 443, Budget.of()) == [V4]
    assert resolve(resolver, "A.EXAMPLE", 1, Budget.of()) == [("192.0.2.1", 1)]
    assert resolve(resolver, "b.example", 8443, Budget.of()) == [("192.0.2.2", 8443), ("2001:db8::2", 8443, 0, 0)]
    assert resolve(resolver, "::1", 443, Budget.of()) == [V4C]
    with pytest.raises(AssertionError):
        never("b.example", 443)
    with pytest.raises(ValueError, match=r"not to 'b\.example'"):
        Resolver({"a.example": "b.example"})


def test_a_lookup() -> None:
    asked: list[tuple[str, int]] = []

    def lookup(host: str, port: int) -> list[Address]:
        asked.append((host, port))
        return [V4, V4B, V6]

    assert resolve(Resolver(lookup=lookup), "a.example", 443, Budget.of()) == [V4, V6, V4B]
    assert asked == [("a.example", 443)]


def test_the_system_knows_localhost() -> None:
    addresses = system_lookup("localhost", 443)
    assert {address[0] for address in addresses} <= {"127.0.0.1", "::1"}
    assert addresses


def test_a_name_that_does_not_exist() -> None:
    def lookup(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(ConnectError, match=r"cannot look up no\.example: Name or service not known"):
        resolve(Resolver(lookup=lookup), "no.example", 443, Budget.of())
    with pytest.raises(ConnectError, match="has no address"):
        resolve(Resolver(lookup=lambda host, port: []), "no.example", 443, Budget.of())


def test_a_slow_lookup_ends_in_time() -> None:
    answer = threading.Event()

    def lookup(host: str, port: int) -> list[Address]:
        answer.wait(5)
        return [V4]

    start = time.monotonic()
    with pytest.raises(ConnectTimeout, match="looking up"):
        resolve(Resolver(lookup=lookup), "slow.example", 443, Budget.of(connect=0.05))
    assert time.monotonic() - start < 1
    answer.set()


def test_a_lookup_that_nobody_wants_any_more() -> None:
    answer = threading.Event()

    def lookup(host: str, port: int) -> list[Address]:
        answer.wait(5)
        return [V4]

    def stop() -> None:
        raise NetworkError("closed")

    with pytest.raises(NetworkError, match="closed"):
        resolve(Resolver(lookup=lookup), "slow.example", 443, Budget.of(), stop=stop)
    answer.set()
