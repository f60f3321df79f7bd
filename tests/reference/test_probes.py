"""Probes in the hot path: datagrams of their own, and packets that only probe a path."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from specter._frame_types import MaxData, NewConnectionId, PathChallenge, PathResponse, Stream
from tests.reference.hotpath import NOW, End, encode


@pytest.mark.parametrize(
    ("said", "probing"),
    [
        ([PathChallenge(bytes(8))], True),
        ([PathResponse(bytes(8)), b"\x00\x00"], True),
        ([NewConnectionId(1, 0, b"other id", bytes(16)), PathChallenge(bytes(8))], True),
        ([b"\x00" * 40], True),
        ([b"\x01"], False),
        ([PathChallenge(bytes(8)), b"\x01"], False),
        ([PathChallenge(bytes(8)), Stream(0, 0, b"data", False)], False),
        ([MaxData(1 << 20), PathChallenge(bytes(8))], False),
    ],
)
def test_packets_of_probing_frames_alone_are_told_apart(end: End, said: list[object], probing: bool) -> None:
    end.run(end.seal(b"\x01" if probing else encode(end, PathChallenge(bytes(8)))))
    assert end.receiver.probing is not probing
    end.run(end.seal(encode(end, *said)))
    assert end.receiver.probing is probing


# -- probes -------------------------------------------------------------------------------------------------


def test_a_probe_is_a_padded_datagram_of_its_own(end: End) -> None:
    end.buffer(0, b"data that has to wait")
    end.packer.ecn = 2
    for size in (60, 1200, 1452):
        assert end.packer.probe(NOW, b"\x01", size, "token") == size
    assert [(len(data), ecn) for data, _, ecn in end.out] == [(60, 2), (1200, 2), (1452, 2)]
    for said in end.delivered():
        assert [type(frame).__name__ for frame in said] == ["Ping", "Padding"]
    assert (end.sent.bytes_in_flight, end.sent.ack_eliciting_in_flight, len(end.sent)) == (0, 0, 3)
    assert end.sent.marked == 3
    assert end.sent.acknowledge([(0, 2)], NOW).tokens == ["token"] * 3


def test_a_probe_waits_for_keys_and_room(twins: SimpleNamespace) -> None:
    end = End(twins, capacity=1)
    assert end.packer.probe(NOW, b"\x01", 1200, None) == 1200
    assert end.packer.probe(NOW, b"\x01", 1200, None) == 0
    end.packer.keys = None
    end.delivered()
    assert end.packer.probe(NOW, b"\x01", 1200, None) == 0
    assert end.sent.next_pn == 1


@pytest.mark.parametrize(("data", "size"), [(b"\x01", 1537), (bytes(2000), 1200), (b"\x01", 20), (b"\x01", -1)])
def test_a_probe_has_to_fit(end: End, data: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="outside the batch"):
        end.packer.probe(NOW, data, size, None)
    assert end.sent.next_pn == 0
