"""Which twin is chosen, what is said about it, and that every mixture works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from specter._backend import TWINS, backend

ROOT = Path(__file__).parents[1]
SWITCHES = ("SPECTER_PURE", "SPECTER_LIBCRYPTO")
NEEDS = {
    "acks": {"frames"},
    "datapath": {"acks", "batch", "frames", "protection", "reassembly", "sendbuffer", "sent"},
    "reassembly": {"frames"},
    "udp": {"batch"},
}
"""Which compiled twins are made of others: such a one falls back with them."""

needs_compiled = pytest.mark.skipif(
    any(find_spec(f"specter._speedups.{name}") is None for name in TWINS), reason="not everything is compiled"
)

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            raise {error}
        return None

sys.meta_path.insert(0, Blocker())
"""
REPORT = """
import json
import specter
print(json.dumps(specter.backend()))
"""
REQUEST = """
from specter.testing import Server

with Server() as server, specter.Client(verify=server.ca_file) as client:
    data = client.post(server.url + "/echo", content=bytes(range(256)) * 800).content
    assert data == bytes(range(256)) * 800, len(data)
    assert len(client.get(server.url + "/bytes/300000").content) == 300_000
"""


def run(code: str, **environment: str) -> tuple[dict[str, str], list[str]]:
    """Run a program of which ``REPORT`` is a part; return its backend and the warnings it gave."""
    inherited = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    command = [sys.executable, "-W", "always::RuntimeWarning", "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]


def without(error: str, *names: str) -> str:
    """Return code that makes the import of compiled modules raise ``error``."""
    return BLOCKER.format(names=tuple(f"specter._speedups.{name}" for name in names), error=error)


def reference(used: dict[str, str]) -> set[str]:
    return {name for name in TWINS if used[name] == "reference"}


def dependents(name: str) -> set[str]:
    found = {name}
    while more := {user for user, needed in NEEDS.items() if needed & found} - found:
        found |= more
    return found


def test_what_this_run_is_about() -> None:
    """CI names the configuration it means to test; a compiled module that silently is not there fails here."""
    if os.environ.get("SPECTER_REQUIRE_COMPILED", "") not in ("", "0"):
        assert reference(backend()) == set()
        bare = backend()["libcrypto"] == "cryptography"
        assert bare is (os.environ.get("SPECTER_LIBCRYPTO") == "none")
    if os.environ.get("SPECTER_REQUIRE_LAYERS", "") not in ("", "0"):
        assert backend()["layers"] == "compiled"
    if os.environ.get("SPECTER_PURE", "") not in ("", "0", "layers"):
        assert reference(backend()) == set(TWINS)
    if os.environ.get("SPECTER_PURE", "") not in ("", "0"):
        assert backend()["layers"] == "interpreted"


@pytest.mark.parametrize("value", ["1", "yes"])
def test_pure(value: str) -> None:
    used, warned = run(REPORT + REQUEST, SPECTER_PURE=value)
    assert reference(used) == set(TWINS)
    assert used["libcrypto"].endswith("(cryptography)")
    assert warned == []


def test_pure_loads_nothing_compiled() -> None:
    code = "import sys; assert not [name for name in sys.modules if name.startswith('specter._speedups')]"
    run(REPORT + code, SPECTER_PURE="1")


@needs_compiled
def test_interpreted_layers_with_compiled_twins() -> None:
    used, warned = run(REPORT + REQUEST, SPECTER_PURE="layers")
    assert reference(used) == set()
    assert used["layers"] == "interpreted"
    assert warned == []


@needs_compiled
@pytest.mark.parametrize("value", ["", "0"])
def test_not_pure(value: str) -> None:
    used, warned = run(REPORT, SPECTER_PURE=value)
    assert reference(used) == set()
    assert warned == []


@needs_compiled
@pytest.mark.parametrize("name", TWINS)
def test_a_module_that_does_not_load_falls_back_alone_and_says_so(name: str) -> None:
    used, warned = run(without("ImportError('it is broken')", name) + REPORT + REQUEST)
    assert {name} <= reference(used) <= dependents(name)
    assert len(warned) == 1
    for fallen in reference(used):
        assert f"{fallen} (" in warned[0]
    assert f"{name} (it is broken)" in warned[0]


@needs_compiled
@pytest.mark.parametrize("error", ["ValueError('size changed')", "TypeError('wrong signature')", "OSError('no space')"])
def test_whatever_goes_wrong_while_loading(error: str) -> None:
    used, warned = run(without(error, "datapath") + REPORT + REQUEST)
    assert reference(used) == {"datapath"}
    assert len(warned) == 1


@pytest.mark.parametrize("names", [("udp",), ("batch",), ("frames",), TWINS], ids=["udp", "batch", "frames", "all"])
def test_a_module_that_was_not_built_falls_back_silently(names: tuple[str, ...]) -> None:
    used, warned = run(without("ModuleNotFoundError(f'No module named {name!r}', name=name)", *names) + REPORT)
    assert set(names) <= reference(used)
    assert warned == []


@needs_compiled
def test_the_loader_of_libcrypto_may_break_too() -> None:
    used, warned = run(without("ImportError('it is broken')", "_libcrypto") + REPORT + REQUEST)
    assert reference(used) == dependents("protection")
    assert len(warned) == 1


# --- libcrypto


@needs_compiled
def test_no_libcrypto_wanted() -> None:
    used, warned = run(REPORT + REQUEST, SPECTER_LIBCRYPTO="none")
    assert reference(used) == set()
    assert used["libcrypto"] == "cryptography"
    assert warned == []


@needs_compiled
def test_a_libcrypto_that_is_not_there() -> None:
    used, warned = run(REPORT + REQUEST, SPECTER_LIBCRYPTO="/absent/libcrypto.so.3")
    assert used["libcrypto"] == "cryptography"
    assert len(warned) == 1
    assert "SPECTER_LIBCRYPTO: /absent/libcrypto.so.3 cannot be loaded" in warned[0]


@needs_compiled
def test_a_libcrypto_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "libcrypto.so.3"
    path.write_bytes(b"not a library")
    used, warned = run(REPORT, SPECTER_LIBCRYPTO=str(path))
    assert used["libcrypto"] == "cryptography"
    assert len(warned) == 1
    assert f"SPECTER_LIBCRYPTO: {path} cannot be loaded" in warned[0]


def compile_library(path: Path, source: str) -> None:
    path.with_suffix(".c").write_text(source)
    command = ["cc", "-shared", "-fPIC", "-o", str(path), str(path.with_suffix(".c"))]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a C compiler")


@needs_compiled
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compiles a shared library the Linux way")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("unsigned long OpenSSL_version_num(void) { return 0x1010117fUL; }", "is older than OpenSSL 3.0 (0x1010117f)"),
        ("int something;", "is not OpenSSL's libcrypto"),
    ],
    ids=["old", "another"],
)
def test_a_libcrypto_that_will_not_do(tmp_path: Path, source: str, reason: str) -> None:
    path = tmp_path / "libcrypto.so"
    compile_library(path, source)
    used, warned = run(REPORT + REQUEST, SPECTER_LIBCRYPTO=str(path))
    assert used["libcrypto"] == "cryptography"
    assert len(warned) == 1
    assert f"SPECTER_LIBCRYPTO: {path} {reason}" in warned[0]


def test_the_reference_does_not_look_for_one() -> None:
    assert run(REPORT, SPECTER_PURE="1", SPECTER_LIBCRYPTO="/absent/libcrypto.so.3")[1] == []


# --- what is shown


def version(**environment: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    command = [sys.executable, "-W", "ignore", "-m", "specter", "--version"]
    done = subprocess.run(command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=True)
    return {words[0]: words[1] for line in done.stdout.splitlines() if (words := line.split(maxsplit=1))}


def test_the_command_shows_it() -> None:
    shown = version(SPECTER_PURE="1")
    assert reference(shown) == set(TWINS)
    assert shown["libcrypto"].endswith("(cryptography)")


@needs_compiled
def test_the_command_shows_what_is_compiled() -> None:
    shown = version(SPECTER_LIBCRYPTO="none")
    assert reference(shown) == set()
    assert shown["libcrypto"] == "cryptography"


def test_the_chooser_stays_small() -> None:
    assert len((ROOT / "specter" / "_backend.py").read_text(encoding="utf-8").splitlines()) < 40
