"""Mutations of an input, all of them drawn from one source of chance: the same seed gives the same inputs."""

from __future__ import annotations

import random

INTERESTING = (0, 1, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xFF)


def mutate(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """Return ``data`` after one to four changes; ``other`` is an input to take pieces from."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        chance.choice(_CHANGES)(chance, changed, other)
    return bytes(changed)


def _place(chance: random.Random, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _flip(chance: random.Random, data: bytearray, other: bytes) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, data: bytearray, other: bytes) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(INTERESTING)


def _number(chance: random.Random, data: bytearray, other: bytes) -> None:
    """Overwrite with an integer of eight bytes, as lengths and offsets are."""
    start = _place(chance, data)
    data[start : start + 8] = (chance.choice(INTERESTING) << 56 | chance.randrange(1 << 20)).to_bytes(8, "big")


def _insert(chance: random.Random, data: bytearray, other: bytes) -> None:
    start = _place(chance, data)
    data[start:start] = chance.randbytes(chance.randint(1, 8))


def _remove(chance: random.Random, data: bytearray, other: bytes) -> None:
    start = _place(chance, data)
    del data[start : start + chance.randint(1, 16)]


def _truncate(chance: random.Random, data: bytearray, other: bytes) -> None:
    del data[_place(chance, data) :]


def _repeat(chance: random.Random, data: bytearray, other: bytes) -> None:
    start = _place(chance, data)
    data[start:start] = data[start : start + chance.randint(1, 64)]


def _splice(chance: random.Random, data: bytearray, other: bytes) -> None:
    start = chance.randrange(len(other) + 1)
    at = _place(chance, data)
    data[at : at + chance.choice((0, 16))] = other[start : start + chance.randint(1, 64)]


_CHANGES = (_flip, _flip, _set, _number, _insert, _remove, _truncate, _repeat, _splice)
