from __future__ import annotations

from specter._wire import error_name
from specter.tls.alerts import AlertDescription, CertificateFailure, TlsError, unexpected_message


def test_codes() -> None:
    error = TlsError(AlertDescription.NO_APPLICATION_PROTOCOL, "no protocol")
    assert error.code == 0x178
    assert error_name(error.code) == "CRYPTO_ERROR(120)"
    assert str(error) == "no_application_protocol: no protocol"
    assert unexpected_message("late", protocol_violation=True).code == 0x0A


def test_certificate_failure() -> None:
    error = CertificateFailure(AlertDescription.UNKNOWN_CA, "no path", check="chain", name="a.example")
    assert (error.check, error.name, error.code) == ("chain", "a.example", 0x130)


def test_reasons_are_short() -> None:
    assert len(TlsError(AlertDescription.DECODE_ERROR, "x" * 10_000).reason) == 300
