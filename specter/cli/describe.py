"""What the command tells about itself, a connection and a response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import specter
from specter.h3.qlog import REDACTED

if TYPE_CHECKING:
    from cryptography import x509

    from specter.cli.display import Display

__all__ = ["Narrator", "connection_facts", "header_block", "timing_line", "version_text"]

HIDDEN: Final = "(redacted)"
"""What ``-v`` says is shown to others; ``-i`` writes the fields of a response as they are."""


def version_text() -> str:
    """Return the version, and for each module with a compiled twin which one is in use."""
    modules = specter.backend()
    width = max(map(len, modules), default=0)
    lines = [f"{name:<{width}}  {twin}" for name, twin in modules.items()]
    return "\n".join([f"specter {specter.__version__}", *lines])


def header_block(response: specter.Response) -> bytes:
    """Return status and header fields as ``-i`` writes them."""
    first = f"{response.http_version} {response.status_code}\r\n".encode()
    return first + b"".join(b"%b: %b\r\n" % field for field in response.headers.raw) + b"\r\n"


class Narrator:
    """Tells what ``-v`` asks for: ``*`` the connection, ``>`` the request, ``<`` the response.

    Where connections go and how they end the library's log tells, as it happens.
    """

    def __init__(self, display: Display, *, verbose: bool, checked: bool = True) -> None:
        self._display = display
        self._verbose = verbose
        self._checked = checked

    def note(self, text: str) -> None:
        if self._verbose:
            self._display.line(_printable(text.encode()), "dim", lead="* ")

    def response(self, response: specter.Response) -> None:
        """Tell about the connection, the request and everything up to the body."""
        if not self._verbose:
            return
        facts = connection_facts(response, checked=self._checked)
        lines = [("* ", "dim", _printable(f"{label}: {fact}".encode())) for label, fact in facts]
        request = response.request
        fields = request.fields()
        authority = next(value for name, value in fields if name == b":authority")
        lines += _message(">", "cyan", f"{request.method} {request.url.target} HTTP/3", [(b"host", authority), *fields])
        for status, headers in response.informational:
            lines += _message("<", "green", f"{response.http_version} {status}", headers.raw)
        lines += _message("<", "green", f"{response.http_version} {response.status_code}", response.headers.raw)
        self._display.lines(lines)

    def end(self, response: specter.Response, count: int) -> None:
        """Tell what came after the head."""
        if not self._verbose:
            return
        if response.trailers.raw:
            self._display.lines(_message("<", "green", "(trailers)", response.trailers.raw))
        self.note(f"{count} bytes of body in {response.timing.complete or 0.0:.3f} s")


def _message(
    lead: str, style: str, first: str, fields: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[str, str, str]]:
    yield f"{lead} ", style, _printable(first.encode())
    for name, value in fields:
        if not name.startswith(b":"):
            shown = HIDDEN if name in REDACTED else _printable(value)
            yield f"{lead} ", style, f"{_printable(name)}: {shown}"
    yield lead, style, ""


def connection_facts(response: specter.Response, *, checked: bool = True) -> Iterator[tuple[str, str]]:
    """Yield what the two sides agreed on: a label and the fact."""
    info = response.connection
    if info is None:
        return
    (local, local_port), (remote, remote_port) = info.local_address, info.remote_address
    kept = " (used again)" if response.timing.reused else ""
    yield "connection", f"{local} port {local_port} to {remote} port {remote_port}{kept}"
    if response.timing.reused:
        return
    yield "protocol", f"{response.http_version} over {info.quic_version}, ALPN {info.alpn}"
    resumed = ", resumed" if info.resumed else ""
    yield "TLS", f"{info.tls_version}, {info.cipher_suite}, key exchange {info.key_exchange}{resumed}"
    if response.early_data is not None:
        yield "early data", response.early_data
    if info.peer_certificates:
        yield from _certificate_facts(info.peer_certificates[0], response.url.host, checked)


def _certificate_facts(leaf: x509.Certificate, host: str, checked: bool) -> Iterator[tuple[str, str]]:
    subject = leaf.subject.rfc4514_string() or "(no subject)"
    dates = f"from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    yield "certificate", f"{subject}, {dates}"
    yield "issuer", leaf.issuer.rfc4514_string()
    yield "verified", f"chain, dates and name for {host}" if checked else "nothing (-k)"


def timing_line(response: specter.Response, count: int) -> str:
    """Return ``--json-timing``'s line of JSON; times are seconds since the request was started."""
    info, timing = response.connection, response.timing
    steps = ("looked_up", "answered", "secured", "connected", "headers", "complete")
    facts: dict[str, Any] = {
        "url": str(response.url),
        "method": response.request.method,
        "status": response.status_code,
        "http_version": response.http_version,
        "body_bytes": count,
        "connection_reused": timing.reused,
        "seconds": {step: getattr(timing, step) for step in steps},
    }
    if info is not None:
        facts["remote_address"] = list(info.remote_address)
        facts["quic"] = {
            "version": info.quic_version,
            "round_trip_time": info.round_trip_time,
            "bytes_sent": info.bytes_sent,
            "bytes_received": info.bytes_received,
            "packets_lost": info.packets_lost,
        }
        facts["tls"] = {
            "cipher_suite": info.cipher_suite,
            "key_exchange": info.key_exchange,
            "alpn": info.alpn,
            "resumed": info.resumed,
        }
    facts["early_data"] = response.early_data
    return json.dumps(facts)


def _printable(text: bytes) -> str:
    """The other side chose these bytes: keep what a terminal would obey out of it."""
    return "".join(char if char.isprintable() else "?" for char in text.decode("utf-8", "replace"))
