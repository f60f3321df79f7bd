"""Datagrams of Caddy and aioquic, recorded once, give the same datagrams from both backends as on that day."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from specter.testing.content import content
from specter.tls.key_exchange import NamedGroup, is_supported
from tests.qlog_schema import check_event
from tests.twins.replay import LOGGED, RECORDINGS, VARIANTS, Log, Mismatch, Recording, load, make_variants, play, trace

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("aioquic", "caddy")
BACKENDS = {
    "reference": {"SPECTER_PURE": "1"},
    "compiled": {},
    "compiled without libcrypto": {"SPECTER_LIBCRYPTO": "none"},
}

pytestmark = pytest.mark.skipif(
    not is_supported(NamedGroup.X25519MLKEM768), reason="the recorded ClientHello has an ML-KEM share"
)


@pytest.fixture(scope="module", params=SERVERS)
def recording(request: pytest.FixtureRequest) -> Recording:
    return load(RECORDINGS / f"{request.param}.json.gz")


def test_a_recording_plays_as_it_was(recording: Recording) -> None:
    player = play(recording)
    assert player.responses == recording["responses"]
    assert player.negotiated == recording["negotiated"]


def test_a_recording_plays_as_it_was_with_an_event_log(recording: Recording) -> None:
    log = Log()
    assert play(recording, log).responses == recording["responses"]
    events = [json.loads(line) for line in log.lines if line != "finished"]
    for _, name, data in events:
        check_event(name, data)
    assert sum(name == "transport:packet_received" for _, name, _ in events) > 50
    assert sum(name == "http:frame_parsed" for _, name, _ in events) > 5


def test_the_recorded_responses_are_the_right_ones(recording: Recording) -> None:
    one, many, posted = recording["responses"].values()
    for response, size in ((one, 1), (many, 60_000)):
        assert (response["status"], response["size"]) == (200, size)
        assert response["sha256"] == hashlib.sha256(content(0, size)).hexdigest()
    upload = {"bytes": 20_000, "sha256": hashlib.sha256(content(0, 20_000)).hexdigest()}
    assert posted["sha256"] == hashlib.sha256(json.dumps(upload).encode()).hexdigest()


def test_the_client_offered_the_hybrid_group(recording: Recording) -> None:
    """Its share is part of the first datagrams, whatever the server chose."""
    assert NamedGroup.X25519MLKEM768 in recording["connection"]["key_shares"]
    first = recording["calls"][0]
    assert first[0] == "send"
    assert len(first[3]) == 2


def test_damage_shows(recording: Recording) -> None:
    """The damaged runs are not all the same, nor all like the one without damage."""
    runs = {tuple(trace(variant.recording)) for variant in make_variants(recording)} - {tuple(trace(recording))}
    assert len(runs) > VARIANTS // 2


def test_a_difference_is_noticed(recording: Recording) -> None:
    changed = copy.deepcopy(recording)
    changed["connection"]["seed"] = "another"
    with pytest.raises(Mismatch, match="call 0, send"):
        play(changed)


def start(**environment: str) -> subprocess.Popen[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("SPECTER_")} | environment
    command = [sys.executable, "-m", "tests.twins.replay", str(RECORDINGS)]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


@pytest.mark.skipif(
    os.environ.get("SPECTER_PURE", "0") not in ("", "0", "layers"), reason="SPECTER_PURE: one backend only"
)
def test_backends_agree_on_recordings_and_on_damaged_ones() -> None:
    processes = {name: start(**environment) for name, environment in BACKENDS.items()}
    outputs = {}
    for name, process in processes.items():
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, f"{name}: {errors}"
        outputs[name] = output.splitlines()
    used = [lines[-1].split()[1] for lines in outputs.values()]
    assert used == ["reference", "compiled", "compiled"]
    expected = outputs["reference"][:-1]
    assert len(expected) == len(SERVERS) * (1 + VARIANTS + 1 + LOGGED)
    logged = [line for line in expected if " qlog " in line]
    assert len(logged) == len(SERVERS) * LOGGED
    assert all(": True " in line for line in logged)
    for lines in outputs.values():
        assert lines[:-1] == expected
