"""One packet number space: its CRYPTO window, and what is left when its keys go."""

from __future__ import annotations

import pytest

from specter._frame_types import Crypto
from specter._wire import TransportError
from specter._wire import TransportErrorCode as Code
from specter.quic.config import QuicConfig
from specter.quic.space import CRYPTO_GAPS, CRYPTO_WINDOW, Space, SpaceId
from tests.quic.scripted import Scripted, connected
from tests.quic.support import Pair


def test_the_crypto_window_moves_as_tls_reads() -> None:
    space = Space(SpaceId.HANDSHAKE, QuicConfig())
    space.crypto_in.receive(0, bytes(CRYPTO_WINDOW), False)
    with pytest.raises(TransportError) as caught:
        space.crypto_in.receive(CRYPTO_WINDOW, b"x", False)
    assert caught.value.code == Code.CRYPTO_BUFFER_EXCEEDED
    assert len(space.read_crypto()) == CRYPTO_WINDOW
    space.crypto_in.receive(CRYPTO_WINDOW, b"x", False)
    assert space.read_crypto() == b"x"
    assert space.read_crypto() == b""


@pytest.mark.parametrize(("space_id", "delayed"), [(0, False), (1, False), (2, True)])
def test_only_application_packets_are_acknowledged_late(space_id: int, delayed: bool) -> None:
    space = Space(SpaceId(space_id), QuicConfig())
    space.acks.record(0, 1000, True, 0)
    assert space.acks.due(1000) is not delayed


def test_without_keys_nothing_wants_to_leave() -> None:
    space = Space(SpaceId.INITIAL, QuicConfig())
    space.crypto_out.write(b"hello")
    space.probes = 2
    assert not space.can_send
    assert not space.wants_to_send
    space.discard()
    assert (space.probes, space.discarded, space.wants_to_send) == (0, True, False)


def early(as_server: bool, until: SpaceId) -> Scripted:
    """Return a scripted peer in the middle of the handshake, when both ends have the keys of ``until``."""
    pair = Pair()
    pair.filter = lambda from_client, data: data if from_client else None

    def ready() -> bool:
        return pair.server is not None and pair.server._core.spaces[until].sealer is not None

    pair.run(ready)
    if until is SpaceId.HANDSHAKE:
        hold = [True]

        def keep_finished(from_client: bool, data: bytes) -> bytes | None:
            if from_client and pair.client.handshake_complete:
                hold[0] = False
            return data if not from_client else (data if hold[0] else None)

        pair.filter = keep_finished
        pair.run(lambda: pair.client._core.spaces[until].opener is not None)
    return Scripted(pair, as_server=as_server)


@pytest.mark.security
@pytest.mark.parametrize("space", list(SpaceId), ids=lambda space: space.name.lower())
def test_crypto_data_far_ahead_is_refused_in_every_space(space: SpaceId) -> None:
    """aioquic#501; quiche CVE-2024-1765; neqo PR#1546; xquic 1.9.4: CRYPTO at 1 MiB, after the handshake too."""
    peer = connected() if space is SpaceId.APPLICATION else early(True, space)
    peer.say(Crypto(1 << 20, b"x"), space=space)
    assert peer.closed is not None
    assert peer.closed.error_code == Code.CRYPTO_BUFFER_EXCEEDED
    assert peer.target._core.spaces[space].crypto_in.pending_segments == 0


@pytest.mark.security
@pytest.mark.parametrize("space", list(SpaceId), ids=lambda space: space.name.lower())
def test_crypto_bytes_with_gaps_are_capped(space: SpaceId) -> None:
    """quinn RUSTSEC-2026-0341: the cap on fragments holds for handshake bytes too, in every space."""
    peer = connected() if space is SpaceId.APPLICATION else early(True, space)
    base = peer.target._core.spaces[space].crypto_in.consumed
    for start in range(0, 3000, 100):
        if not peer.target.closing:
            peer.say(*[Crypto(base + 1 + 2 * n, b"x") for n in range(start, start + 100)], space=space)
    assert peer.closed is not None
    assert peer.target._core.spaces[space].crypto_in.pending_segments <= CRYPTO_GAPS


@pytest.mark.security
@pytest.mark.parametrize("space", list(SpaceId), ids=lambda space: space.name.lower())
def test_crypto_data_with_a_hole_is_bounded(space: SpaceId) -> None:
    """The same advisories: bytes within the window but never in order add up to the window at most."""
    peer = connected() if space is SpaceId.APPLICATION else early(True, space)
    base = peer.target._core.spaces[space].crypto_in.consumed
    for offset in range(1, 80_000, 1000):
        if not peer.target.closing:
            peer.say(Crypto(base + offset, bytes(1000)), space=space)
    assert peer.closed is not None
    assert peer.closed.error_code == Code.CRYPTO_BUFFER_EXCEEDED
    assert peer.target._core.spaces[space].crypto_in.highest <= base + CRYPTO_WINDOW
