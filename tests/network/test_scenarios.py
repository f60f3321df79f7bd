"""The interop scenarios: each is carried through, with the same figures on both backends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.network.scenarios import SCENARIOS

NAMES = (
    *("handshake", "longrtt", "chacha20", "retry", "versionnegotiation", "v2", "amplificationlimit"),
    *("handshakeloss", "handshakecorruption", "transfer", "http3", "multiplexing", "transferloss"),
    *("transfercorruption", "blackhole", "keyupdate", "ecn", "resumption", "zerortt", "rebind-port", "rebind-addr"),
    *("connectionmigration", "ipv6", "goodput", "goodput-loss", "goodput-loss-30ms", "crosstraffic", "recovery"),
)
COMPARED = ("handshake", "amplificationlimit", "multiplexing", "transferloss", "zerortt", "connectionmigration")


def test_every_scenario_is_there() -> None:
    assert set(NAMES) == set(SCENARIOS)


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name: str) -> None:
    figures = SCENARIOS[name]()
    assert figures.requests >= figures.connections >= 1
    assert figures.seconds > 0


def test_both_backends_have_the_same_figures() -> None:
    command = [sys.executable, "-m", "tests.network.scenarios", *COMPARED]
    environment = os.environ | {"SPECTER_PURE": "1", "SPECTER_REQUIRE_COMPILED": ""}
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    rows = other.stdout.splitlines()[1:]
    assert rows == [SCENARIOS[name]().row(name) for name in COMPARED]
