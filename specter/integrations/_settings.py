"""The arguments of a transport: checked, and made into what it works with."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from specter.client.discovery import Discovery
from specter.client.limits import Limits
from specter.client.options import ConnectionOptions
from specter.integrations._library import Library

if TYPE_CHECKING:
    from specter.client.security import CertTypes, VerifyTypes

__all__ = ["Settings"]

_MODES: Final = ("always", "auto")
INSTANT: Final = 1e-3
"""Seconds; stands for an expiry of zero."""


class Settings:
    """What the arguments of ``Transport`` and ``AsyncTransport`` mean.

    Raises:
        ValueError, TypeError: an argument is none that makes sense.
    """

    def __init__(
        self,
        library: Library,
        http3: str,
        fallback: Any,
        limits: Any,
        trust_env: bool,
        head_start: float,
        options: ConnectionOptions,
    ) -> None:
        if http3 not in _MODES:
            raise ValueError(f"http3 is one of {', '.join(map(repr, _MODES))}, not {http3!r}")
        if not head_start >= 0:
            raise ValueError("head_start is a number of seconds from 0")
        self.always = http3 == "always"
        if self.always and fallback is not None:
            raise ValueError("with http3='always' there is no fallback")
        self._library = library
        self._fallback = fallback
        self._limits = limits
        self._trust_env = trust_env
        self.head_start = head_start
        self.options: dict[str, Any] = {**options}
        if limits is not None:
            self.options["limits"] = _limits(limits)
        self._verify = _trusted(options.get("verify", True), trust_env)
        self.options["verify"] = self._verify
        if not self.always:
            self.options["discovery"] = options.get("discovery") or Discovery()

    def fallback(self, kind: Callable[..., Any]) -> Any:
        """Return the transport for TCP: the caller's, or a new one of ``kind``; None where none is used."""
        if self.always or self._fallback is not None:
            return self._fallback
        context = _ssl_context(self._library, self._verify, self.options.get("cert"), self._trust_env)
        more = {} if self._limits is None else {"limits": self._limits}
        return kind(verify=context, http2=find_spec("h2") is not None, trust_env=self._trust_env, **more)


def _limits(limits: Any) -> Limits:
    """Return the library's limits as those of a client of ours."""
    expiry = limits.keepalive_expiry
    return Limits(
        max_connections=limits.max_connections,
        max_idle=limits.max_keepalive_connections,
        idle_expiry=None if expiry is None else max(expiry, INSTANT),
    )


def _trusted(verify: VerifyTypes, trust_env: bool) -> VerifyTypes:
    """Return what both protocols trust; as for httpx, variables of the environment may name it."""
    if isinstance(verify, ssl.SSLContext):
        raise TypeError(
            "verify is what specter.Client takes; an SSLContext is for TCP: fallback=HTTPTransport(verify=context)"
        )
    if verify is not True or not trust_env:
        return verify
    return os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or True


def _ssl_context(library: Library, verify: VerifyTypes, cert: CertTypes, trust_env: bool) -> ssl.SSLContext:
    """Return a context for TCP that trusts the same certificates."""
    context: ssl.SSLContext
    if isinstance(verify, bool):
        context = library.httpx.create_ssl_context(verify=verify, trust_env=trust_env)
    else:
        from cryptography.hazmat.primitives.serialization import Encoding

        from specter.tls.trust import TrustStore

        store = TrustStore.load(os.fspath(verify) if isinstance(verify, os.PathLike) else verify)
        encoded = [certificate.public_bytes(Encoding.DER) for certificate in store.certificates]
        context = ssl.create_default_context(cadata=b"".join(encoded))
    if cert is not None:
        context.load_cert_chain(*(cert if isinstance(cert, tuple) else (cert,)))
    return context
