"""The stream table: who may open what, and when a stream is over."""

from __future__ import annotations

import pytest

from specter._frame_types import MaxStreamData, ResetStream, StopSending, Stream, StreamDataBlocked
from specter._wire import TransportError
from specter._wire import TransportErrorCode as Code
from specter.quic.config import SECOND, QuicConfig
from specter.quic.errors import StreamLimitReached
from specter.quic.events import StreamOpened, StreamsAvailable
from specter.quic.parameters import TransportParameters
from specter.quic.streams import AcceptLimit, StreamTable
from tests.quic.scripted import connected
from tests.quic.support import Pair


def table(*, is_client: bool = True, bidi: int = 3, uni: int = 2, **config: int) -> StreamTable:
    streams = StreamTable(QuicConfig(**config), is_client=is_client)  # type: ignore[arg-type]
    streams.apply_peer_parameters(
        TransportParameters(
            initial_max_streams_bidi=bidi,
            initial_max_streams_uni=uni,
            initial_max_stream_data_bidi_local=11,
            initial_max_stream_data_bidi_remote=12,
            initial_max_stream_data_uni=13,
        )
    )
    return streams


def test_ids_and_halves_of_streams_we_open() -> None:
    streams = table()
    first, second, push = streams.open(False, 0), streams.open(False, 0), streams.open(True, 0)
    assert (first.id, second.id, push.id) == (0, 4, 2)
    assert first.send is not None
    assert first.recv is not None
    assert push.send is not None
    assert push.recv is None
    assert (first.send.limit, push.send.limit) == (12, 13)


def test_ids_and_halves_of_streams_the_peer_opens() -> None:
    streams = table()
    opened = streams.accept(9, 0x08, 0)
    assert [stream.id for stream in opened] == [1, 5, 9]
    assert all(stream.send is not None and stream.send.limit == 11 for stream in opened)
    (push,) = streams.accept(3, 0x08, 0)
    assert push.send is None
    assert push.recv is not None
    assert streams.accept(5, 0x08, 0) == []


def test_opening_stops_at_the_peers_limit_and_goes_on_when_it_rises() -> None:
    streams = table(bidi=1)
    streams.open(False, 0)
    assert not streams.can_open(False)
    with pytest.raises(StreamLimitReached) as caught:
        streams.open(False, 0)
    assert (caught.value.limit, caught.value.unidirectional) == (1, False)
    assert not streams.raise_open_limit(False, 1)
    assert not streams.raise_open_limit(False, 0)
    assert streams.raise_open_limit(False, 2)
    assert streams.open(False, 0).id == 4
    assert not streams.raise_open_limit(False, 9), "nobody was waiting"


def test_asking_before_the_handshake_is_not_being_blocked() -> None:
    pair = Pair()
    assert not pair.client.can_open()
    pair.handshake()
    assert not pair.client._core.streams.ours[False].blocked
    assert pair.client.can_open()


@pytest.mark.security
@pytest.mark.parametrize("frame_type", [0x04, 0x05, 0x08, 0x11, 0x15])
@pytest.mark.parametrize("stream_id", [1 + 4 * 100, 3 + 4 * 100, (1 << 62) - 1, (1 << 62) - 3])
def test_no_stream_above_the_limit_is_opened(stream_id: int, frame_type: int) -> None:
    """quinn RUSTSEC-2026-0523: a frame with a huge id must not open 2^40 streams."""
    streams = table()
    with pytest.raises(TransportError) as caught:
        streams.accept(stream_id, frame_type, 0)
    assert (caught.value.code, caught.value.frame_type) == (Code.STREAM_LIMIT_ERROR, frame_type)
    assert streams.by_id == {}


@pytest.mark.security
@pytest.mark.parametrize(
    "said",
    [
        Stream(1 + 4 * 100, 0, b"x", False),
        ResetStream(1 + 4 * 100, 0, 0),
        StopSending(1 + 4 * 100, 0),
        MaxStreamData((1 << 62) - 3, 1),
        StreamDataBlocked((1 << 62) - 1, 1),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_every_frame_with_a_stream_id_above_the_limit_closes(said: Stream) -> None:
    """quinn RUSTSEC-2026-0523, on a whole connection."""
    peer = connected()
    peer.say(said)
    assert peer.closed is not None
    assert peer.closed.error_code == Code.STREAM_LIMIT_ERROR
    assert peer.target._core.streams.by_id == {}


def test_a_stream_of_ours_that_was_never_opened() -> None:
    streams = table()
    stream = streams.open(False, 0)
    assert streams.lookup(0, 0x08) is stream
    assert streams.lookup(1, 0x08) is None
    with pytest.raises(TransportError) as caught:
        streams.lookup(4, 0x11)
    assert (caught.value.code, caught.value.frame_type) == (Code.STREAM_STATE_ERROR, 0x11)


def test_a_stream_leaves_when_both_halves_are_over() -> None:
    streams = table()
    (stream,) = streams.accept(1, 0x08, 0)
    stream.send = None
    assert not streams.finish(stream)
    stream.recv = None
    assert streams.finish(stream)
    assert streams.by_id == {}
    assert streams.theirs[False].finished == 1
    streams.finish(stream)
    assert streams.theirs[False].finished == 1, "counted once"


def test_our_own_streams_make_no_room_for_the_peers() -> None:
    streams = table()
    stream = streams.open(True, 0)
    stream.send = None
    assert streams.finish(stream)
    assert streams.theirs[True].finished == 0


def test_the_accept_limit_moves_in_halves() -> None:
    limit = AcceptLimit(10)
    limit.finished = 4
    assert not limit.due
    limit.finished = 5
    assert limit.due
    assert limit.advance() == 15
    assert not limit.due
    limit.tell_again = True
    assert limit.due
    assert limit.advance() == 15
    assert not limit.due


def test_a_limit_of_none_stays_none() -> None:
    limit = AcceptLimit(0)
    assert not limit.due
    streams = table(max_streams_uni=0)
    with pytest.raises(TransportError):
        streams.accept(3, 0x08, 0)


def test_streams_opened_by_a_higher_one_are_announced_in_order() -> None:
    peer = connected()
    peer.say(Stream(11, 0, b"x", False))
    assert [event for event in peer.events if isinstance(event, StreamOpened)] == [
        StreamOpened(3),
        StreamOpened(7),
        StreamOpened(11),
    ]


def test_frames_for_a_finished_stream_are_ignored() -> None:
    peer = connected()
    peer.say(Stream(3, 0, b"abc", True))
    assert peer.target.read(3) == b"abc"
    assert peer.target._core.streams.by_id == {}
    peer.say(Stream(3, 0, b"abc", True), ResetStream(3, 1, 3), StreamDataBlocked(3, 3))
    assert peer.closed is None
    assert peer.target._core.streams.by_id == {}


def test_streams_available_comes_once_per_refusal() -> None:
    pair = Pair(server_config=QuicConfig(max_streams_uni=2))
    pair.handshake()
    server = pair.server
    assert server is not None
    for _ in range(2):
        pair.client.write(pair.client.open_stream(unidirectional=True), b"x", fin=True)
    assert not pair.client.can_open(unidirectional=True)
    pair.run(lambda: server.readable(6) == 1)
    server.read(2)
    server.read(6)
    pair.settle(SECOND)
    assert pair.events["client"].count(StreamsAvailable(True)) == 1
