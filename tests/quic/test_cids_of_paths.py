"""Connection ids of the peer when several paths each need one."""

from __future__ import annotations

import pytest

from specter._frame_types import NewConnectionId, RetireConnectionId
from specter.quic.cids import RemoteConnectionIds


def remote(count: int = 4) -> RemoteConnectionIds:
    ids = RemoteConnectionIds(b"id 0", count)
    for sequence in range(1, count):
        ids.receive(NewConnectionId(sequence, 0, b"id %d" % sequence, bytes([sequence]) * 16))
    return ids


def test_an_id_is_given_out_once() -> None:
    ids = remote()
    assert [ids.take(), ids.take(), ids.take(), ids.take()] == [1, 2, 3, None]
    assert ids.current == b"id 0"
    assert ids.available == 0


def test_the_preferred_one_first_if_it_is_there() -> None:
    ids = remote()
    assert ids.take(preferred=3) == 3
    assert ids.take(preferred=3) == 1
    assert ids.take(preferred=99) == 2


def test_an_id_in_use_on_another_path_may_reset_the_connection() -> None:
    """RFC 9000, section 10.3: tokens count from when their id is used."""
    ids = remote()
    datagram = bytes(30) + bytes([2]) * 16
    assert not ids.is_stateless_reset(datagram, 0, len(datagram))
    ids.take()
    assert not ids.is_stateless_reset(datagram, 0, len(datagram))
    ids.take()
    assert ids.is_stateless_reset(datagram, 0, len(datagram))
    ids.release(2)
    assert not ids.is_stateless_reset(datagram, 0, len(datagram))


def test_moving_there_and_back() -> None:
    ids = remote()
    sequence = ids.take()
    assert sequence == 1
    ids.use(sequence)
    assert (ids.current, ids.current_sequence) == (b"id 1", 1)
    ids.use(0)
    assert ids.current == b"id 0"
    ids.release(1)
    assert ids.frames_to_send() == [RetireConnectionId(1)]
    assert ids.id_of(1) is None
    ids.use(1)
    assert ids.current == b"id 0"


@pytest.mark.parametrize("sequence", [0, 7])
def test_the_current_id_and_unknown_ones_are_not_released(sequence: int) -> None:
    ids = remote()
    ids.release(sequence)
    assert not ids.has_pending
    assert ids.current == b"id 0"


def test_released_ids_make_room_for_new_ones() -> None:
    ids = remote()
    for sequence in range(4, 40):
        taken = ids.take()
        assert taken is not None
        ids.release(taken)
        (frame,) = ids.frames_to_send()
        ids.acked(frame)
        ids.receive(NewConnectionId(sequence, 0, b"id %d" % sequence, bytes([sequence]) * 16))
    assert len(ids._active) == 4
