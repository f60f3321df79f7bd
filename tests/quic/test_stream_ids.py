"""The two low bits of a stream id (RFC 9000, table 1)."""

from __future__ import annotations

import pytest

from specter.quic.stream_ids import first_stream_id, is_client_initiated, is_unidirectional


@pytest.mark.parametrize(
    ("first", "by_client", "unidirectional"), [(0, True, False), (1, False, False), (2, True, True), (3, False, True)]
)
def test_table_1(first: int, by_client: bool, unidirectional: bool) -> None:
    assert first_stream_id(by_client=by_client, unidirectional=unidirectional) == first
    for index in (0, 1, 7, (1 << 60) - 1):
        stream_id = first + 4 * index
        assert is_client_initiated(stream_id) is by_client
        assert is_unidirectional(stream_id) is unidirectional
