"""The bare cost of the AEAD: OpenSSL's EVP calls over a burst, from a C loop on one context."""

from __future__ import annotations

import re
from ctypes.util import find_library
from functools import cache
from importlib import import_module
from time import perf_counter_ns
from typing import Any

from perf.kit.build import NativeUnavailable, native
from perf.kit.recording import Burst, Packets, key_and_iv
from specter._reference.protection import AES_128_GCM_SHA256


@cache
def libcrypto() -> str:
    """Return the path of the libcrypto that the compiled twin uses, or of the system's when it uses none."""
    try:
        described: str = import_module("specter._speedups._libcrypto").describe()
    except ImportError:
        described = ""
    path = re.search(r"\((.+)\)$", described)
    found = path[1] if path else find_library("crypto")
    if not found:
        raise NativeUnavailable("no libcrypto found")
    return found


def bare_aead(suite: int = AES_128_GCM_SHA256) -> Any:
    """Return contexts with the key of the recordings.

    Raises:
        NativeUnavailable: the helper does not compile here.
    """
    return native("bare_aead").BareAead(libcrypto(), suite, *key_and_iv(suite))


class BareBurst:
    """Opens or seals recorded bursts in a buffer that each time is filled before the clock starts.

    Opening wants the clear headers of a recording, sealing takes the same packets as if they were plaintext.
    """

    def __init__(self, burst: Burst, suite: int = AES_128_GCM_SHA256) -> None:
        self._aead = bare_aead(suite)
        self._packets: Packets = burst.clear
        self._buffer = bytearray(burst.clear.data)

    def open(self) -> float:
        """Return the nanoseconds that opening all packets took."""
        return self._time(self._aead.open_all)

    def seal(self) -> float:
        """Return the nanoseconds that sealing all packets took."""
        return self._time(self._aead.seal_all)

    def _time(self, function: Any) -> float:
        packets = self._packets
        self._buffer[:] = packets.data
        arguments = (self._buffer, packets.starts, packets.payloads, packets.ends, packets.numbers)
        begin = perf_counter_ns()
        good = function(*arguments)
        spent = perf_counter_ns() - begin
        if good != len(packets):
            raise RuntimeError(f"only {good} of {len(packets)} packets passed the bare cipher")
        return spent
