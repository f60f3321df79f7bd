from __future__ import annotations

import pytest

import specter._wire
import specter.errors
from specter.quic import errors
from specter.quic.errors import StreamLimitReached, TransportError, TransportErrorCode, UnknownStream


def test_wire_errors_are_the_shared_ones() -> None:
    assert errors.TransportError is specter._wire.TransportError
    assert errors.error_name is specter._wire.error_name
    assert all(hasattr(errors, name) for name in errors.__all__)


def test_caller_faults_are_local_protocol_errors() -> None:
    assert issubclass(StreamLimitReached, specter.errors.LocalProtocolError)
    assert issubclass(UnknownStream, specter.errors.LocalProtocolError)
    assert not issubclass(TransportError, specter.errors.Error)


def test_stream_limit_says_which_and_how_many() -> None:
    error = StreamLimitReached(3, unidirectional=True)
    assert (error.limit, error.unidirectional) == (3, True)
    assert "3 unidirectional" in str(error)
    assert "0 bidirectional" in str(StreamLimitReached(0, unidirectional=False))


def test_unknown_stream_names_it() -> None:
    assert UnknownStream(8).stream_id == 8
    assert "stream 8" in str(UnknownStream(8))


@pytest.mark.parametrize("code", [code for code in TransportErrorCode if code < 0x100])
def test_messages_carry_the_name_of_the_code(code: TransportErrorCode) -> None:
    assert str(TransportError(code, "why")) == f"{code.name}: why"


def test_names_outside_the_table() -> None:
    assert errors.error_name(0x100 + 40) == "CRYPTO_ERROR(40)"
    assert errors.error_name(0x1234) == "0x1234"
