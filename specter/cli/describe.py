"""What the command tells about itself, a connection and a response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import specter

__all__ = ["connection_facts", "header_block", "timing_line", "verbose_lines", "version_text"]


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


def verbose_lines(response: specter.Response) -> Iterator[str]:
    """Yield what ``-v`` shows: ``*`` the connection, ``>`` the request, ``<`` the response."""
    for label, fact in connection_facts(response):
        yield f"* {label}: {_printable(fact.encode())}"
    request = response.request
    for name, value in request.fields():
        yield f"> {_printable(name)}: {_printable(value)}"
    yield ">"
    for status, headers in response.informational:
        yield from _message(response, status, headers.raw)
    yield from _message(response, response.status_code, response.headers.raw)


def connection_facts(response: specter.Response) -> Iterator[tuple[str, str]]:
    """Yield what the two sides agreed on: a label and the fact."""
    info = response.connection
    if info is None:
        return
    (local, local_port), (remote, remote_port) = info.local_address, info.remote_address
    kept = " (used again)" if response.timing.reused else ""
    yield "connection", f"{local} port {local_port} to {remote} port {remote_port}{kept}"
    yield "protocol", f"{response.http_version} over {info.quic_version}, ALPN {info.alpn}"
    resumed = ", resumed" if info.resumed else ""
    yield "TLS", f"{info.tls_version}, {info.cipher_suite}, key exchange {info.key_exchange}{resumed}"
    if response.early_data is not None:
        yield "early data", response.early_data
    if info.peer_certificates:
        leaf = info.peer_certificates[0]
        subject = leaf.subject.rfc4514_string() or "(no subject)"
        yield "certificate", f"{subject}, until {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        yield "issuer", leaf.issuer.rfc4514_string()


def timing_line(response: specter.Response, count: int) -> str:
    """Return ``--json-timing``'s line of JSON; times are seconds since the request was started."""
    info, timing = response.connection, response.timing
    facts: dict[str, Any] = {
        "url": str(response.url),
        "status": response.status_code,
        "http_version": response.http_version,
        "body_bytes": count,
        "connection_reused": timing.reused,
        "seconds": {"connected": timing.connected, "headers": timing.headers, "complete": timing.complete},
    }
    if info is not None:
        facts["tls"] = {
            "cipher_suite": info.cipher_suite,
            "key_exchange": info.key_exchange,
            "alpn": info.alpn,
            "resumed": info.resumed,
        }
    facts["early_data"] = response.early_data
    return json.dumps(facts)


def _message(response: specter.Response, status: int, fields: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    yield f"< {response.http_version} {status}"
    for name, value in fields:
        yield f"< {_printable(name)}: {_printable(value)}"
    yield "<"


def _printable(text: bytes) -> str:
    """The other side chose these bytes: keep what a terminal would obey out of it."""
    return "".join(char if char.isprintable() else "?" for char in text.decode("utf-8", "replace"))
