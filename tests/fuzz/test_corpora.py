"""Every entry point of the fuzzer over its corpus and mutations of it, always the same ones."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.fuzz import __main__ as program
from tests.fuzz.entries import ENTRIES
from tests.fuzz.entry import CORPUS, Bug, Entry, require
from tests.fuzz.mutations import mutate


@pytest.mark.parametrize("name", ENTRIES)
def test_the_corpus(name: str) -> None:
    corpus = ENTRIES[name].corpus()
    assert len(corpus) >= 3
    for data in corpus:
        ENTRIES[name].one(data)


@pytest.mark.parametrize("name", ENTRIES)
def test_mutations(name: str) -> None:
    entry, chance = ENTRIES[name], random.Random(name)
    corpus = [*entry.corpus(), b""]
    for _ in range(entry.runs):
        data = mutate(chance, chance.choice(corpus), chance.choice(corpus))
        try:
            entry.one(data)
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error} for {data!r}")


def test_seeds_are_always_the_same() -> None:
    command = "import sys\nfrom tests.fuzz.entries import ENTRIES\nfrom hashlib import sha256\n"
    command += "print(sha256(repr([e.seeds() for e in ENTRIES.values()]).encode()).hexdigest())"
    root = Path(__file__).parents[2]
    made = {
        subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    }
    assert len(made) == 1


def test_what_is_kept_belongs_to_an_entry_point() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(ENTRIES)


def test_mutations_follow_from_their_seed() -> None:
    def run() -> list[bytes]:
        chance = random.Random(5)
        return [mutate(chance, b"an input", b"another one") for _ in range(200)]

    assert run() == run()
    assert len(set(run())) > 100


# -- the program ------------------------------------------------------------------------------------


def _one(data: bytes) -> None:
    require(b"!" not in data, "an exclamation mark")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setitem(ENTRIES, "broken", Entry("broken", _one, lambda: [b"hello!"]))
    monkeypatch.setattr(program, "FOUND", tmp_path)
    return tmp_path


def test_it_lists_the_entry_points(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(ENTRIES)
    assert program.main(["--native"]) == 0
    assert {"frames", "datapath", "protection", "acks", "reassembly"} <= set(capsys.readouterr().out.split())


def test_it_runs_until_its_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["varint", "--plain", "--time", "1"]) == 0
    assert "no bug" in capsys.readouterr().out


@pytest.mark.parametrize(("said", "code"), [("stat::number_of_executed_units: 1234567", 0), ("Bug: it hangs", 77)])
def test_it_tells_what_a_guided_search_found(
    said: str, code: int, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """libFuzzer itself runs in another process, and only where atheris is installed."""

    def search(command: list[str], *, stdout: IO[bytes], **options: object) -> subprocess.CompletedProcess[bytes]:
        assert command[-4:] == ["varint", "--time", "7", "--child"]
        stdout.write(f"INFO: begins\n{said}\n".encode())
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(program.subprocess, "run", search)
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: name)
    assert program.main(["varint", "--time", "7"]) == (1 if code else 0)
    told = capsys.readouterr()
    if code:
        assert "Bug: it hangs" in told.err
        assert str(toy / "varint.log") in told.err
    else:
        assert told.out == "varint: 1,234,567 inputs in 7 s, no bug\n"


@pytest.mark.slow
def test_a_guided_search(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("atheris")
    assert program.main(["varint", "--time", "1"]) == 0
    assert re.fullmatch(r"varint: [\d,]+ inputs in 1 s, no bug\n", capsys.readouterr().out)


def test_it_keeps_an_input_that_fails(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Bug, match="exclamation"):
        program.main(["broken", "--plain", "--time", "1"])
    (found,) = toy.glob("broken-*")
    assert found.read_bytes() == b"hello!"
    assert f"python -m tests.fuzz broken {found}" in capsys.readouterr().err
    with pytest.raises(Bug, match="exclamation"):
        program.main(["broken", str(found)])
    assert program.main(["varint", str(found)]) == 0


def test_an_input_that_ends_the_process_is_kept(tmp_path: Path) -> None:
    """As what compiled modules do wrong may."""
    program = f"""
import os, pathlib
from tests.fuzz import __main__ as program
from tests.fuzz.entries import ENTRIES
from tests.fuzz.entry import Entry
program.FOUND = pathlib.Path({str(tmp_path)!r})
end = lambda data: os._exit(9) if data == b"the end" else None
ENTRIES["broken"] = Entry("broken", end, lambda: [b"a", b"the end"])
program.main(["broken", "--plain", "--time", "5"])
"""
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 9
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"broken-last": b"the end"}
