from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter._entropy import SeededEntropy
from specter._frame_types import NewConnectionId, RetireConnectionId
from specter._wire import TransportError, TransportErrorCode
from specter.quic import cids
from specter.quic.cids import LocalConnectionIds, RemoteConnectionIds

FIRST = b"\xaa" * 8
KEY = b"k" * 32
FLOOD = 20_000


def local(limit: int = 4, length: int = 8) -> LocalConnectionIds:
    ids = LocalConnectionIds(SeededEntropy(1), length, first=b"\xaa" * length, reset_key=KEY)
    ids.set_peer_limit(limit)
    return ids


def new(
    sequence: int, retire_prior_to: int = 0, *, cid: bytes | None = None, token: bytes | None = None
) -> NewConnectionId:
    tag = sequence.to_bytes(8, "big")
    return NewConnectionId(sequence, retire_prior_to, tag if cid is None else cid, tag * 2 if token is None else token)


def retired(ids: RemoteConnectionIds) -> list[int]:
    return [frame.sequence for frame in ids.frames_to_send(1000)]


def refused(ids: RemoteConnectionIds, frame: NewConnectionId, code: TransportErrorCode) -> str:
    with pytest.raises(TransportError) as caught:
        ids.receive(frame)
    assert caught.value.code == code
    assert caught.value.frame_type == 0x18
    return caught.value.reason


@contextmanager
def only(*codes: TransportErrorCode) -> Iterator[None]:
    """Let pass these transport errors, and nothing else."""
    try:
        yield
    except TransportError as error:
        if error.code not in codes:
            raise


def state_size(ids: RemoteConnectionIds | LocalConnectionIds) -> int:
    """Items in every container the object has."""
    names = [name for name in dir(ids) if name.startswith("_") and not name.startswith("__")]
    return sum(len(value) for name in names if isinstance(value := getattr(ids, name), dict | set | list))


# Ours


def test_nothing_is_issued_before_the_peer_sets_a_limit() -> None:
    ids = LocalConnectionIds(SeededEntropy(1), first=FIRST, reset_key=KEY)
    assert not ids.has_pending
    assert ids.frames_to_send() == []
    assert ids.active == {FIRST}


@pytest.mark.parametrize(("limit", "count"), [(2, 1), (4, 3), (8, 7), (1 << 60, 7)])
def test_ids_are_issued_up_to_the_limit(limit: int, count: int) -> None:
    ids = local(limit)
    assert ids.has_pending
    frames = ids.frames_to_send(100)
    assert [frame.sequence for frame in frames] == list(range(1, count + 1))
    assert ids.active == {FIRST, *(frame.connection_id for frame in frames)}
    assert all(len(frame.connection_id) == 8 and frame.retire_prior_to == 0 for frame in frames)
    assert not ids.has_pending
    assert ids.frames_to_send() == []


def test_reset_tokens_follow_from_key_and_id() -> None:
    ids = local(8)
    frames = ids.frames_to_send()
    assert [frame.reset_token for frame in frames] == [cids.reset_token(KEY, frame.connection_id) for frame in frames]
    assert ids.first_reset_token == cids.reset_token(KEY, FIRST)
    assert len({frame.reset_token for frame in frames} | {ids.first_reset_token}) == 8
    assert cids.reset_token(b"other", FIRST) != ids.first_reset_token


def test_frames_in_small_portions_and_again_when_lost() -> None:
    ids = local(4)
    (one,) = ids.frames_to_send(1)
    two, three = ids.frames_to_send()
    ids.lost(three)
    ids.lost(one)
    assert ids.has_pending
    assert ids.frames_to_send(1) == [three]
    assert ids.frames_to_send() == [one]
    ids.lost(two)
    ids.retire(RetireConnectionId(two.sequence), FIRST)
    ids.lost(two)
    assert [frame.sequence for frame in ids.frames_to_send()] == [4]


def test_a_retired_id_is_replaced() -> None:
    ids = local(3)
    one, two = ids.frames_to_send()
    ids.retire(RetireConnectionId(0), one.connection_id)
    assert FIRST not in ids.active
    (three,) = ids.frames_to_send()
    assert three.sequence == 3
    assert ids.active == {one.connection_id, two.connection_id, three.connection_id}
    ids.retire(RetireConnectionId(0), one.connection_id)
    assert ids.frames_to_send() == []


@pytest.mark.parametrize(("sequence", "dcid"), [(4, FIRST), (1 << 61, FIRST), (0, FIRST)])
def test_bad_retirement(sequence: int, dcid: bytes) -> None:
    ids = local(4)
    ids.frames_to_send()
    with pytest.raises(TransportError) as caught:
        ids.retire(RetireConnectionId(sequence), dcid)
    assert (caught.value.code, caught.value.frame_type) == (TransportErrorCode.PROTOCOL_VIOLATION, 0x19)


def test_id_that_was_not_sent_cannot_be_retired() -> None:
    ids = local(4)
    with pytest.raises(TransportError, match="never issued"):
        ids.retire(RetireConnectionId(1), FIRST)


def test_empty_id_issues_nothing_and_cannot_be_retired() -> None:
    ids = LocalConnectionIds(SeededEntropy(1), first=b"", reset_key=KEY)
    ids.set_peer_limit(8)
    assert ids.frames_to_send() == []
    assert ids.active == {b""}
    with pytest.raises(TransportError, match="PROTOCOL_VIOLATION"):
        ids.retire(RetireConnectionId(0), b"")


def test_lengths() -> None:
    for length in (0, 21):
        with pytest.raises(ValueError, match="1 to 20"):
            LocalConnectionIds(SeededEntropy(1), length, first=b"", reset_key=KEY)
    with pytest.raises(ValueError, match="same length"):
        LocalConnectionIds(SeededEntropy(1), 8, first=b"\x01", reset_key=KEY)
    assert len({frame.connection_id for frame in local(8, length=1).frames_to_send()}) == 7


def test_repeating_entropy_does_not_hang_or_repeat_an_id() -> None:
    class Stuck:
        def token(self, size: int) -> bytes:
            return bytes(size)

    ids = LocalConnectionIds(Stuck(), first=FIRST, reset_key=KEY)
    ids.set_peer_limit(4)
    assert [frame.connection_id for frame in ids.frames_to_send()] == [bytes(8)]
    assert not ids.has_pending


@pytest.mark.security
def test_retirement_flood_does_not_grow_what_we_keep() -> None:
    ids = local(8)
    ids.frames_to_send()
    sequence, keep = 0, 7
    dcid = ids._ids[keep]
    for _ in range(FLOOD):
        if sequence == keep:
            sequence += 1
        ids.retire(RetireConnectionId(sequence), dcid)
        for frame in ids.frames_to_send(1):
            ids.lost(frame)
        sequence += 1
        assert state_size(ids) <= 3 * cids.MAX_LOCAL_IDS
    assert len(ids.active) <= cids.MAX_LOCAL_IDS


@pytest.mark.security
def test_retirements_alone_queue_nothing() -> None:
    ids = local(8)
    frames = ids.frames_to_send()
    for frame in frames[:-1]:
        ids.retire(RetireConnectionId(frame.sequence), frames[-1].connection_id)
    with pytest.raises(TransportError, match="never issued"):
        ids.retire(RetireConnectionId(8), frames[-1].connection_id)
    assert ids.active == {FIRST, frames[-1].connection_id}


# The peer's


def test_initial_id_is_replaced_by_the_server() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    assert ids.current == FIRST
    ids.set_initial_scid(b"retry")
    ids.set_initial_scid(b"server")
    assert (ids.current, ids.current_sequence) == (b"server", 0)
    assert ids.reset_tokens == []


def test_late_news_of_the_handshake_id_changes_nothing() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(1, 1))
    ids.set_initial_scid(b"late")
    ids.set_initial_reset_token(b"t" * 16)
    assert ids.current == new(1).connection_id
    assert ids.reset_tokens == [new(1).reset_token]


def test_new_ids_wait_until_rotation() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    assert not ids.rotate()
    ids.receive(new(1))
    ids.receive(new(2))
    assert (ids.current, ids.available) == (FIRST, 2)
    assert ids.rotate()
    assert (ids.current, ids.available) == (new(1).connection_id, 1)
    assert retired(ids) == [0]
    assert ids.rotate()
    assert not ids.rotate()
    assert ids.current_sequence == 2


def test_retire_prior_to_moves_on_and_retires() -> None:
    ids = RemoteConnectionIds(FIRST, 3)
    ids.receive(new(1))
    ids.receive(new(2))
    ids.receive(new(3, 2))
    assert ids.current_sequence == 2
    assert retired(ids) == [0, 1]
    ids.receive(new(4, 1))
    assert ids.current_sequence == 2
    assert retired(ids) == []


def test_a_whole_set_is_replaced_within_the_limit() -> None:
    ids = RemoteConnectionIds(FIRST, 2)
    for generation in range(1, 50):
        ids.receive(new(generation, generation))
        assert ids.current_sequence == generation
        for frame in ids.frames_to_send():
            ids.acked(frame)
    assert state_size(ids) == 1


def test_late_id_below_retire_prior_to_is_retired_once() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(3, 3))
    assert retired(ids) == [0]
    for _ in range(3):
        ids.receive(new(1))
    assert retired(ids) == [1]
    assert ids.current_sequence == 3


def test_late_id_in_a_gap_is_usable() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(2))
    ids.receive(new(1))
    assert ids.available == 2
    assert ids.rotate()
    assert ids.current_sequence == 1


def test_duplicate_after_rotation_does_not_come_back() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(1))
    ids.receive(new(2))
    ids.rotate()
    ids.rotate()
    ids.receive(new(1))
    assert ids.available == 0
    assert ids.current_sequence == 2


@pytest.mark.parametrize(
    "frame",
    [
        new(1, cid=b"different"),
        new(1, token=b"\x01" * 16),
        new(0, cid=b"different"),
        new(2, cid=new(1).connection_id),
        new(2, cid=FIRST),
        new(2, token=new(1).reset_token),
    ],
)
def test_contradictions(frame: NewConnectionId) -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(1))
    refused(ids, frame, TransportErrorCode.PROTOCOL_VIOLATION)


def test_reset_token_of_the_handshake_is_not_reused() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.set_initial_reset_token(b"t" * 16)
    refused(ids, new(1, token=b"t" * 16), TransportErrorCode.PROTOCOL_VIOLATION)


def test_more_ids_than_the_limit() -> None:
    ids = RemoteConnectionIds(FIRST, 3)
    ids.receive(new(1))
    ids.receive(new(2))
    assert "more than 3" in refused(ids, new(3), TransportErrorCode.CONNECTION_ID_LIMIT_ERROR)


def test_retire_prior_to_above_the_sequence() -> None:
    ids = RemoteConnectionIds(FIRST, 3)
    refused(ids, new(1, 2), TransportErrorCode.FRAME_ENCODING_ERROR)


def test_empty_remote_id_takes_no_new_ones() -> None:
    ids = RemoteConnectionIds(b"", 4)
    refused(ids, new(1), TransportErrorCode.PROTOCOL_VIOLATION)
    with pytest.raises(TransportError, match="TRANSPORT_PARAMETER_ERROR"):
        ids.add_preferred(b"abcd", bytes(16))
    assert not ids.rotate()


def test_last_id_cannot_be_retired_by_a_repeated_frame() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(2))
    ids.rotate()
    ids.receive(new(1))
    ids.rotate()
    assert ids.current_sequence == 1
    assert "last connection id" in refused(ids, new(2, 2), TransportErrorCode.PROTOCOL_VIOLATION)


def test_repeated_frame_may_raise_retire_prior_to() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(1))
    ids.receive(new(1, 1))
    assert ids.current_sequence == 1
    assert retired(ids) == [0]


def test_preferred_address_id_is_number_one() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.add_preferred(b"preferred", b"p" * 16)
    refused(ids, new(1), TransportErrorCode.PROTOCOL_VIOLATION)
    ids = RemoteConnectionIds(FIRST, 4)
    ids.add_preferred(b"preferred", b"p" * 16)
    ids.receive(new(2))
    assert ids.available == 2
    ids.rotate()
    assert ids.current == b"preferred"


# RETIRE_CONNECTION_ID frames


def test_retirements_are_sent_until_acknowledged() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(1, 1))
    assert ids.has_pending
    (frame,) = ids.frames_to_send()
    assert frame == RetireConnectionId(0)
    assert not ids.has_pending
    ids.lost(frame)
    ids.lost(frame)
    assert ids.frames_to_send() == [frame]
    ids.lost(frame)
    ids.acked(frame)
    assert ids.frames_to_send() == []
    ids.lost(frame)
    assert not ids.has_pending
    assert state_size(ids) == 1


# Stateless reset


def test_only_tokens_of_ids_in_use_reset() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.set_initial_reset_token(b"0" * 16)
    ids.receive(new(1))

    def resets(token: bytes, size: int = 40) -> bool:
        datagram = b"xx" + b"\x41" * (size - 16) + token + b"yy"
        return ids.is_stateless_reset(memoryview(datagram), 2, len(datagram) - 2)

    one = new(1).reset_token
    assert resets(b"0" * 16)
    assert not resets(one)
    assert resets(b"0" * 16, 21)
    assert not resets(b"0" * 16, 20)
    ids.rotate()
    assert ids.reset_tokens == [one]
    assert resets(one)
    assert not resets(b"0" * 16)
    assert not resets(one[:-1] + b"\x00")


def test_stateless_reset_is_smaller_than_its_cause() -> None:
    entropy = SeededEntropy(2)
    assert cids.encode_stateless_reset(bytes(16), 21, entropy) is None
    for trigger in (22, 30, 43, 44, 1200):
        data = cids.encode_stateless_reset(b"t" * 16, trigger, entropy)
        assert data is not None
        assert 21 <= len(data) < trigger
        assert len(data) <= 43
        assert data[0] & 0xC0 == 0x40
        assert data.endswith(b"t" * 16)


# Floods (quic-go CVE-2024-22189, quiche CVE-2024-1410, quinn RUSTSEC-2026-0339, OpenSSL CVE-2026-107494)


@pytest.mark.security
def test_retire_prior_to_flood_without_acknowledgments() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    for sequence in range(1, ids.retirement_limit + 1):
        ids.receive(new(sequence, sequence))
    before = state_size(ids)
    for sequence in range(ids.retirement_limit + 1, 200):
        refused(ids, new(sequence, sequence), TransportErrorCode.CONNECTION_ID_LIMIT_ERROR)
    assert state_size(ids) == before


@pytest.mark.security
def test_retirements_in_flight_count_as_well() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    for sequence in range(1, ids.retirement_limit + 1):
        ids.receive(new(sequence, sequence))
        ids.frames_to_send()
    assert not ids.has_pending
    refused(ids, new(sequence + 1, sequence + 1), TransportErrorCode.CONNECTION_ID_LIMIT_ERROR)


@pytest.mark.security
def test_flood_of_old_sequence_numbers() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(FLOOD, FLOOD))
    largest = sys.getsizeof(ids._missing)
    for sequence in range(1, FLOOD):
        with only(TransportErrorCode.CONNECTION_ID_LIMIT_ERROR):
            ids.receive(new(sequence, 0))
        assert state_size(ids) <= 64
    assert sys.getsizeof(ids._missing) <= largest
    assert len(retired(ids)) <= ids.retirement_limit


@pytest.mark.security
def test_flood_of_repeated_frames() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    ids.receive(new(1, 1))
    ids.receive(new(2, 1))
    before = state_size(ids)
    for _ in range(FLOOD):
        ids.receive(new(2, 1))
        ids.receive(new(1, 1))
    ids.rotate()
    for _ in range(FLOOD):
        ids.receive(new(1, 1))
    assert state_size(ids) <= before
    assert retired(ids) == [0, 1]


@pytest.mark.security
def test_leaping_sequence_numbers_stay_cheap() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    for step in range(1, 2000):
        ids.receive(new(step << 40, step << 40))
        for frame in ids.frames_to_send():
            ids.acked(frame)
        assert state_size(ids) <= 64
    assert ids.current_sequence == 1999 << 40


@pytest.mark.security
def test_rotation_waits_for_acknowledgments_instead_of_failing() -> None:
    ids = RemoteConnectionIds(FIRST, 4)
    sequence = 0
    while True:
        sequence += 1
        ids.receive(new(sequence))
        if not ids.rotate():
            break
    assert sequence == ids.retirement_limit + 1
    (frame,) = ids.frames_to_send(1)
    ids.acked(frame)
    assert ids.rotate()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    limit=st.integers(2, 8),
    steps=st.lists(
        st.tuples(st.sampled_from(["new", "rotate", "send", "ack", "lose"]), st.integers(0, 30), st.integers(0, 30)),
        max_size=60,
    ),
)
def test_any_sequence_keeps_one_current_id(limit: int, steps: list[tuple[str, int, int]]) -> None:
    ids = RemoteConnectionIds(FIRST, limit)
    sent: list[RetireConnectionId] = []
    announced: set[int] = set()
    for action, first, second in steps:
        closed = True
        with only(
            TransportErrorCode.FRAME_ENCODING_ERROR,
            TransportErrorCode.CONNECTION_ID_LIMIT_ERROR,
            TransportErrorCode.PROTOCOL_VIOLATION,
        ):
            if action == "new":
                ids.receive(new(first, second))
            elif action == "rotate":
                ids.rotate()
            elif action == "send":
                fresh = ids.frames_to_send(second)
                announced |= {frame.sequence for frame in fresh}
                sent += fresh
            elif sent:
                frame = sent.pop(first % len(sent))
                (ids.acked if action == "ack" else ids.lost)(frame)
            closed = False
        if closed:
            return
        assert ids.current
        assert ids.current_sequence not in announced
        assert len(ids._active) <= limit
        assert state_size(ids) <= limit + 4 * limit + ids.retirement_limit
