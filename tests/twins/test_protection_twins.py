"""Both twins of ``protection`` seal to the same bytes and open, or refuse, the same packets."""

from __future__ import annotations

import gc
import os
import random
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from specter._wire import TransportError
from tests.twins.compare import outcome, resident

SUITES = (0x1301, 0x1302, 0x1303)
ATTRIBUTES = (
    "confidentiality_limit",
    "failed",
    "first_pn",
    "integrity_limit",
    "key_phase",
    "sealed",
    "updates",
)


@pytest.fixture(scope="module")
def pair(twins):
    return twins("protection")


@pytest.fixture(scope="module")
def loader(pair):
    from specter._speedups import _libcrypto

    yield _libcrypto
    _libcrypto.load(os.environ.get("SPECTER_LIBCRYPTO"))


@pytest.fixture(scope="module", params=["libcrypto", "cryptography"])
def engine(request, loader):
    """What the compiled twin seals and opens with."""
    loader.load("none" if request.param == "cryptography" else None)
    assert loader.describe().startswith("OpenSSL " if request.param == "libcrypto" else "cryptography")
    yield request.param
    loader.load()


def secret(suite, seed=0):
    return random.Random(seed).randbytes(48 if suite == 0x1302 else 32)


def both(pair, suite, version=1, seed=0):
    made = [module.PacketProtection(suite, secret(suite, seed), version) for module in (pair.reference, pair.compiled)]
    assert_same(*made)
    return made


def assert_same(reference, compiled):
    assert [getattr(reference, name) for name in ATTRIBUTES] == [getattr(compiled, name) for name in ATTRIBUTES]


def draft(rng, pn, *, phase=0, long=False):
    """Return ``(buffer, start, pn_offset, pn_length, end)`` of a packet to be sealed, with something before it."""
    start = rng.choice((0, 0, 17))
    cid = rng.randbytes(rng.choice((0, 8, 20)))
    pn_length = rng.randrange(1, 5)
    first = (0xC0 if long else 0x40 | phase << 2) | (pn_length - 1)
    header = bytes((first,)) + cid + (pn & (1 << 8 * pn_length) - 1).to_bytes(pn_length, "big")
    payload = rng.randbytes(max(4 - pn_length, rng.choice((0, 1, 20, 1200))))
    buffer = bytearray(rng.randbytes(start) + header + payload + bytes(16) + rng.randbytes(start))
    end = start + len(header) + len(payload)
    return buffer, start, start + 1 + len(cid), pn_length, end


# --- what is shared


def test_what_is_not_hot_is_the_reference_s(pair):
    assert pair.compiled.__all__ == pair.reference.__all__
    own = {name for name in pair.reference.__all__ if getattr(pair.compiled, name) is not getattr(pair.reference, name)}
    assert own == {"HeaderProtection", "PacketProtection", "libcrypto"}


def test_the_library_has_a_name(pair, loader, engine):
    assert pair.compiled.libcrypto() == loader.describe()


@pytest.mark.parametrize("suite", SUITES)
def test_masks(pair, engine, suite):
    rng = random.Random(suite)
    key = rng.randbytes(16 if suite == 0x1301 else 32)
    reference, compiled = (module.HeaderProtection(suite, key) for module in (pair.reference, pair.compiled))
    for _ in range(50):
        sample = rng.randbytes(16)
        assert compiled.mask(sample) == reference.mask(sample) == compiled.mask(memoryview(sample))
    for size in (0, 15, 17):
        with pytest.raises(ValueError, match="16 bytes long"):
            compiled.mask(bytes(size))


@pytest.mark.parametrize(
    "arguments",
    [(0x1301, b"", 1), (0x1302, bytes(32), 1), (0x1300, bytes(32), 1), (0x1301, bytes(32), 3), (0x1301, "x" * 32, 1)],
)
def test_what_makes_no_keys(pair, engine, arguments):
    assert outcome(pair.compiled.PacketProtection, *arguments) == outcome(pair.reference.PacketProtection, *arguments)


@pytest.mark.parametrize("arguments", [(0x1301, b"x"), (0x1302, bytes(16)), (0x1303, bytes(16)), (0x1304, bytes(16))])
def test_what_makes_no_header_protection(pair, engine, arguments):
    assert outcome(pair.compiled.HeaderProtection, *arguments) == outcome(pair.reference.HeaderProtection, *arguments)


# --- sealing and opening


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("version", [1, 0x6B3343CF])
def test_the_same_bytes(pair, engine, suite, version):
    rng = random.Random(suite * version)
    sealers, openers = both(pair, suite, version), both(pair, suite, version)
    largest = -1
    for _ in range(60):
        pn = largest + rng.randrange(1, 100)
        buffer, start, pn_offset, pn_length, end = draft(rng, pn, long=rng.random() < 0.3)
        packets = [bytearray(buffer), bytearray(buffer)]
        ends = [
            keys.seal(rng.choice((packet, memoryview(packet))), start, pn_offset, pn_length, end, pn)
            for keys, packet in zip(sealers, packets, strict=True)
        ]
        assert ends == [end + 16, end + 16]
        assert packets[0] == packets[1]
        opened = [
            keys.open(packet, start, pn_offset, end + 16, largest)
            for keys, packet in zip(openers, packets, strict=True)
        ]
        assert opened[0] == opened[1] == (pn, pn_offset + pn_length, end, buffer[start])
        assert packets[0][:end] == packets[1][:end] == buffer[:end]
        largest = pn
        assert_same(*sealers)
        assert_same(*openers)


class Line:
    """A peer's packets on their way to the two openers, some changed, late, repeated or forged."""

    def __init__(self, pair, suite, seed):
        self.rng = random.Random(seed)
        self.openers = both(pair, suite, seed=seed)
        self.sealer = pair.reference.PacketProtection(suite, secret(suite, seed))
        self.older = pair.reference.PacketProtection(suite, secret(suite, seed))
        self.pn = 0
        self.largest = -1
        self.late = []

    def sealed(self, sealer, pn, phase):
        buffer, start, pn_offset, pn_length, end = draft(self.rng, pn, phase=phase)
        buffer[start] |= 0x03
        del buffer[end + 16 :]
        header = buffer[:pn_offset] + pn.to_bytes(4, "big")
        packet = header + buffer[pn_offset + pn_length :]
        end = sealer.seal(packet, start, pn_offset, 4, len(packet) - 16, pn)
        return bytes(packet), start, pn_offset, end

    def next_packet(self):
        self.pn += self.rng.choice((1, 1, 1, 2, 30))
        choice = self.rng.random()
        if choice < 0.1:
            return self.sealed(self.sealer, self.pn, self.sealer.key_phase ^ 1)  # a phase bit that lies
        if choice < 0.15:
            return self.sealed(self.older, self.pn, self.older.key_phase)  # keys of long ago
        packet = self.sealed(self.sealer, self.pn, self.sealer.key_phase)
        if choice < 0.35:
            self.late.append(packet)
        if choice < 0.5:
            return self.damaged(*packet)
        if self.late and choice < 0.7:
            return self.late.pop(self.rng.randrange(len(self.late)))
        return packet

    def damaged(self, packet, start, pn_offset, end):
        changed = bytearray(packet)
        if self.rng.random() < 0.3:
            cut = self.rng.randrange(start, end)
            return bytes(changed[:cut]), start, pn_offset, cut
        changed[self.rng.randrange(start, end)] ^= 1 << self.rng.randrange(7)  # it stays a short header
        return bytes(changed), start, pn_offset, end

    def deliver(self, packet, start, pn_offset, end):
        buffers = [bytearray(packet), bytearray(packet)]
        results = [
            outcome(keys.open, buffer, start, pn_offset, end, self.largest)
            for keys, buffer in zip(self.openers, buffers, strict=True)
        ]
        assert results[0] == results[1]
        if results[0][0] == "returned":
            assert buffers[0] == buffers[1]
            self.largest = max(self.largest, results[0][2][0])
            return "opened"
        if results[0][0].__name__ == "DecryptError":
            for buffer in buffers:
                assert buffer[: pn_offset + 4] == packet[: pn_offset + 4]
                assert buffer[-16:] == packet[-16:]
        return results[0][-1] if results[0][0] is not TransportError else results[0][2]

    def step(self):
        choice = self.rng.random()
        if choice < 0.05:
            self.sealer.update()
        elif choice < 0.06:
            for keys in self.openers:
                keys.update()
            self.sealer.update()
        elif choice < 0.1:
            for keys in self.openers:
                keys.drop_previous()
        news = self.deliver(*self.next_packet())
        assert_same(*self.openers)
        return news


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("seed", range(4))
def test_a_rough_line(pair, engine, suite, seed):
    line = Line(pair, suite, seed)
    news = {line.step() for _ in range(250)}
    assert {"opened", "packet does not authenticate", "packet is too short"} <= news
    assert line.openers[0].updates > 0


@pytest.mark.parametrize("suite", SUITES)
def test_new_keys_on_an_old_number(pair, engine, suite):
    line = Line(pair, suite, 1)
    line.deliver(*line.sealed(line.sealer, 50, 0))
    line.sealer.update()
    for _ in range(2):
        news = line.deliver(*line.sealed(line.sealer, 49, 1))
        assert news == "KEY_UPDATE_ERROR: new keys on an old packet number"
        assert_same(*line.openers)
    assert line.deliver(*line.sealed(line.sealer, 51, 1)) == "opened"
    assert_same(*line.openers)


@pytest.mark.parametrize("suite", SUITES)
def test_sealing_over_updates(pair, engine, suite):
    sealers = both(pair, suite)
    for pn in range(12):
        buffers = [bytearray(60), bytearray(60)]
        for keys, buffer in zip(sealers, buffers, strict=True):
            keys.seal(buffer, 3, 5, 1 + pn % 4, 40, 1000 + pn)
            if pn % 5 == 4:
                keys.update()
        assert buffers[0] == buffers[1]
        assert_same(*sealers)


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 5, 2, 40, 1),
        (5, 5, 2, 40, 1),
        (0, 5, 0, 40, 1),
        (0, 5, -3, 40, 1),
        (0, 5, 5, 40, 1),
        (0, 5, 2, 6, 1),
        (0, 5, 2, 8, 1),
        (0, 5, 2, 9, 1),
        (0, 5, 2, 84, 1),
        (0, 5, 2, 85, 1),
        (0, 5, 2, 2**63 - 1, 1),
        (0, 2**63 - 1, 2, 2**63 - 1, 1),
        (0, 5, 2**63 - 1, 40, 1),
        (0, 5, 2, -(2**63), 1),
        (0, 5, 2, 40, -1),
        (0, 5, 2, 40, (1 << 62) - 1),
        (0, "5", 2, 40, 1),
    ],
)
def test_what_cannot_be_sealed(pair, engine, arguments):
    reference, compiled = both(pair, 0x1301)
    buffers = [bytearray(100), bytearray(100)]
    results = [outcome(reference.seal, buffers[0], *arguments), outcome(compiled.seal, buffers[1], *arguments)]
    if results[0] != results[1]:
        assert results[0][0] is results[1][0] is TypeError
    assert buffers[0] == buffers[1]
    assert_same(reference, compiled)


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 5, 40, -1),
        (5, 5, 40, -1),
        (0, 5, 101, -1),
        (0, 5, 24, -1),
        (0, 5, 25, -1),
        (0, 5, 100, -1),
        (0, 5, -(2**63), -1),
        (0, 2**63 - 1, 100, -1),
        (0, 99, 100, -1),
        (90, 5, 100, -1),
        (0, 5, 100, (1 << 62) - 1),
    ],
)
def test_what_cannot_be_opened(pair, engine, arguments):
    reference, compiled = both(pair, 0x1301)
    assert outcome(compiled.open, bytearray(100), *arguments) == outcome(reference.open, bytearray(100), *arguments)
    assert_same(reference, compiled)


@pytest.mark.parametrize("buffer", [bytes(100), memoryview(bytes(100)), "text", 5, None])
def test_what_is_no_buffer_to_write_to(pair, engine, buffer):
    reference, compiled = both(pair, 0x1301)
    for call in ("seal", "open"):
        arguments = (0, 5, 2, 40, 1) if call == "seal" else (0, 5, 40, -1)
        results = [outcome(getattr(keys, call), buffer, *arguments) for keys in (reference, compiled)]
        assert results[0] == results[1]
        assert results[0][0] is TypeError


def test_attributes_can_be_set(pair, engine):
    for keys in both(pair, 0x1301):
        for name in ATTRIBUTES:
            setattr(keys, name, 1)
            assert getattr(keys, name) == 1


# --- which libcrypto


def test_keys_outlive_the_choice_of_another_library(pair, loader):
    reference = pair.reference.PacketProtection(0x1301, bytes(32))
    keys = pair.compiled.PacketProtection(0x1301, bytes(32))
    loader.load("none")
    others = pair.compiled.PacketProtection(0x1301, bytes(32))
    loader.load()
    sealed = set()
    for made in (reference, keys, others):
        buffer = bytearray(60)
        made.seal(buffer, 0, 9, 2, 44, 7)
        made.update()
        made.seal(buffer, 0, 9, 2, 44, 8)
        sealed.add(bytes(buffer))
    assert len(sealed) == 1


def test_the_interpreter_s_library_is_found(loader):
    loader.load()
    assert re.fullmatch(r"OpenSSL [34]\.\d+\.\d+\S* \(.*(crypto|python).*\)", loader.describe())
    path = re.search(r"\((.*)\)", loader.describe()).group(1)
    description = loader.describe()
    loader.load(path)
    assert loader.describe() == description
    assert loader.refused() == []


def refuse(loader, path):
    """Load a library that will not do; return the one warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loader.load(str(path))
    assert loader.describe() == "cryptography"
    assert len(caught) == 1
    assert caught[0].category is RuntimeWarning
    assert loader.refused()[0] in str(caught[0].message)
    loader.load()
    assert loader.describe() != "cryptography"
    return str(caught[0].message)


def test_no_library(loader, tmp_path):
    assert "cannot be loaded" in refuse(loader, tmp_path / "absent.so")
    (tmp_path / "text.so").write_text("no library")
    assert "cannot be loaded" in refuse(loader, tmp_path / "text.so")
    import _socket  # a library, but another one

    assert "is not OpenSSL's libcrypto" in refuse(loader, _socket.__file__)


OLD = "unsigned long OpenSSL_version_num(void) { return 0x1010117fUL; }"
BARE = "unsigned long OpenSSL_version_num(void) { return 0x30000000UL; }"
CALLS = (
    "void *EVP_CIPHER_CTX_new(void) { return &made; }",
    "void *EVP_CIPHER_fetch(void *a, const char *b, const char *c) { return &made; }",
    'const char *OpenSSL_version(int what) { return "OpenSSL 3.0.0"; }',
    "void ERR_clear_error(void) {}",
    "void EVP_CIPHER_CTX_free(void *a) {}",
    *(
        f"int EVP_{name}(void) {{ return 1; }}"
        for name in (
            "CIPHER_CTX_set_params",
            "CIPHER_CTX_get_params",
            "EncryptInit_ex",
            "DecryptInit_ex",
            "EncryptUpdate",
            "DecryptUpdate",
            "EncryptFinal_ex",
            "DecryptFinal_ex",
        )
    ),
)
DOES_NOTHING = "\n".join((BARE, "static int made;", *CALLS))


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform == "win32", reason="needs a C compiler")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (OLD, "is older than OpenSSL 3.0 (0x1010117f)"),
        (BARE, "has no OpenSSL_version"),
        (DOES_NOTHING.replace("EVP_EncryptFinal_ex", "EVP_other"), "has no EVP_EncryptFinal_ex"),
        (DOES_NOTHING, "failed the self-test"),
        (DOES_NOTHING.replace("{ return 1; }", "{ return 0; }"), "failed the self-test"),
    ],
    ids=["old", "bare", "incomplete", "wrong answers", "no keys"],
)
def test_a_library_that_will_not_do(loader, tmp_path, source, reason):
    (tmp_path / "fake.c").write_text(source)
    path = tmp_path / "fake.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(tmp_path / "fake.c")], check=True)  # noqa: S607
    assert f"{path} {reason}; packets go through" in refuse(loader, path)


@pytest.mark.parametrize("value", ["none", "/absent/libcrypto.so"])
def test_the_environment_variable(value):
    program = "from specter._speedups import _libcrypto; print(_libcrypto.describe())"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"SPECTER_LIBCRYPTO": value, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "cryptography"
    assert result.stderr.count("RuntimeWarning") == (value != "none")


# --- memory


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "ASAN_OPTIONS" in os.environ,
    reason="reads /proc, and a sanitizer keeps what is freed",
)
def test_contexts_are_freed(pair, loader):
    loader.load()

    def run(count):
        for _ in range(count):
            keys = pair.compiled.PacketProtection(0x1301, bytes(32))
            keys.seal(bytearray(60), 0, 9, 2, 44, 7)
            keys.update()
            outcome(keys.open, bytearray(60), 0, 9, 60, -1)
        gc.collect()
        return resident()

    before = run(300)
    assert run(1500) - before < 1 << 20
