"""httpx and httpx2 have the same names: what the transports need of either, bound to one of them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from specter import errors

__all__ = ["EXCEPTIONS", "Library"]

EXCEPTIONS: Final[dict[type[errors.Error], str]] = {
    errors.Error: "TransportError",
    errors.ConnectError: "ConnectError",
    errors.NetworkError: "ReadError",
    errors.Timeout: "TimeoutException",
    errors.ConnectTimeout: "ConnectTimeout",
    errors.ReadTimeout: "ReadTimeout",
    errors.WriteTimeout: "WriteTimeout",
    errors.PoolTimeout: "PoolTimeout",
    errors.TotalTimeout: "ReadTimeout",
    errors.ProtocolError: "ProtocolError",
    errors.RemoteProtocolError: "RemoteProtocolError",
    errors.LocalProtocolError: "LocalProtocolError",
    errors.StatusError: "RemoteProtocolError",
    errors.DecodingError: "DecodingError",
    errors.UnsupportedProtocol: "UnsupportedProtocol",
    errors.InvalidURL: "UnsupportedProtocol",
}
"""Specter's exceptions and httpx's names for them; one that is not here goes by its nearest ancestor."""


class Library:
    """``module`` is httpx or httpx2."""

    def __init__(self, module: ModuleType) -> None:
        self.httpx: Any = module
        self.response: Callable[..., Any] = module.Response
        self.byte_stream: type[Any] = module.ByteStream
        self.connect_failures: tuple[type[Exception], ...] = (module.ConnectError, module.ConnectTimeout)
        self.exceptions: dict[type[BaseException], type[Exception]] = {
            ours: getattr(module, name) for ours, name in EXCEPTIONS.items()
        }

    def translated(self, error: errors.Error) -> Exception:
        """Return the library's exception for one of Specter's."""
        kind = next(self.exceptions[kind] for kind in type(error).__mro__ if kind in self.exceptions)
        return kind(str(error))

    def traced(self, transport: Any, name: str, method: str) -> bool:
        """Whether ``transport`` is the library's own, which tells through the extension ``trace`` what it does."""
        own = getattr(self.httpx, name)
        return isinstance(transport, own) and getattr(type(transport), method) is getattr(own, method)

    def body(self, base: type[Any]) -> type[Any]:
        """Return ``base``, a stream of Specter's, as a stream of the library."""
        kind = self.httpx.SyncByteStream if hasattr(base, "close") else self.httpx.AsyncByteStream
        return type(base.__name__, (base, kind), {"__slots__": ()})
