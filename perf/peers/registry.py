"""The clients: how each is started, and which build of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from perf.kit.identity import sha256
from perf.kit.venvs import VenvUnavailable, python_of
from perf.peers import rust

SPIN: Final = 2_000
"""Microseconds of the spinning profile: longer than the pause between two chunks of the paced response."""


class PeerMissing(RuntimeError):
    """The client cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A client. ``ours`` ones are what is judged or explains it; the others are what it is compared with.

    ``module`` is an adapter of ``perf.peers.clients`` that runs in ``venv``; otherwise ``program`` is one of the Rust
    crate, whose version is that of ``crate``.
    """

    name: str
    title: str
    module: str = ""
    venv: str = ""
    program: str = ""
    crate: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the harness sets for this process, and declares in the manifest."""
    ours: bool = False

    def command(self) -> list[str]:
        """Return what to run, installing or compiling it on the first call.

        Raises:
            PeerMissing: that does not work here.
        """
        try:
            if self.program:
                return [str(rust.program(self.program))]
            return [str(python_of(self.venv)), "-m", "perf.peers.worker", self.module, json.dumps(dict(self.options))]
        except (VenvUnavailable, rust.RustUnavailable) as error:
            raise PeerMissing(str(error)) from error

    def identity(self, greeting: Mapping[str, Any]) -> dict[str, Any]:
        """Return what must be the same in every repetition."""
        if self.program:
            path = rust.program(self.program)
            return {"version": rust.version_of(self.crate), "build": sha256(path), "profile": greeting.get("profile")}
        return dict(greeting)


def _specter(name: str, title: str, module: str = "specter_blocking", **more: Any) -> Peer:
    return Peer(name, title, module=module, venv="specter", ours=True, **more)


PEERS: Final[Sequence[Peer]] = (
    _specter("specter", "Specter, blocking"),
    _specter("specter-spin", f"Specter, blocking, spin={SPIN}", options={"spin": SPIN}),
    _specter("specter-asyncio", "Specter, asyncio", "specter_asyncio"),
    _specter("specter-pure", "Specter, blocking, plain Python", environment={"SPECTER_PURE": "1"}),
    Peer("aioquic", "aioquic", module="aioquic_client", venv="aioquic"),
    Peer("niquests", "niquests (qh3)", module="niquests_client", venv="niquests"),
    Peer("curl_cffi", "curl_cffi", module="curl_cffi_client", venv="curl_cffi"),
    Peer("warpsock", "warpsock", module="warpsock_client", venv="warpsock"),
    Peer("quiche", "quiche (Rust)", program="quiche_direct", crate="quiche"),
    Peer("tokio-quiche", "tokio-quiche (Rust)", program="tokio_quiche", crate="tokio-quiche"),
    Peer("h3-quinn", "h3-quinn (Rust)", program="h3_quinn", crate="h3-quinn"),
    Peer("reqwest", "reqwest (Rust)", program="reqwest_h3", crate="reqwest"),
)
BY_NAME: Final[Mapping[str, Peer]] = {peer.name: peer for peer in PEERS}
COMPARATORS: Final = tuple(peer.name for peer in PEERS if not peer.ours)
