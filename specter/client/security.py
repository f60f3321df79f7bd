"""Trust, client certificates and key log: from a client's arguments to TLS configurations."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from specter.net.resolver import literal

if TYPE_CHECKING:
    from cryptography import x509

    from specter.tls.config import ClientTlsConfig, Credential
    from specter.tls.trust import TrustStore

__all__ = ["CertTypes", "InsecureWarning", "Security", "VerifyTypes"]

Path: TypeAlias = str | os.PathLike[str]
VerifyTypes: TypeAlias = "bool | Path | bytes | Sequence[x509.Certificate | bytes]"
CertTypes: TypeAlias = "Path | tuple[Path, Path] | tuple[Path, Path, str | None] | None"


class InsecureWarning(UserWarning):
    """Servers are not authenticated: whoever is on the network can be any of them."""


class KeyLogFile:
    """Appends TLS secrets to a file in the NSS format, for packet analysers. Only the owner can read a new file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __call__(self, line: str) -> None:
        with self._lock, open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
            file.write(line + "\n")


class Security:
    """Makes the TLS configuration for a host.

    ``verify``: True trusts the usual authorities (certifi), a path (file or directory), PEM bytes or a list of
    certificates those; False trusts anyone, with an ``InsecureWarning``. ``cert`` is the client's certificate: a PEM
    file with chain and key, or ``(chain, key)``, or ``(chain, key, password)``. ``keylog`` names a file for TLS
    secrets; without it the environment variable ``SSLKEYLOGFILE`` counts.

    Raises:
        OSError, ValueError: a file cannot be read, or is not what it should be.
    """

    def __init__(self, verify: VerifyTypes = True, cert: CertTypes = None, keylog: Path | None = None) -> None:
        self._verify = verify is not False
        self._lock = threading.Lock()
        self._trust: TrustStore | None = None
        if verify is False:
            warnings.warn("servers are not authenticated (verify=False)", InsecureWarning, stacklevel=3)
        elif verify is not True:
            from specter.tls.trust import TrustStore

            self._trust = TrustStore.load(os.fspath(verify) if isinstance(verify, os.PathLike) else verify)
        self._credential = _load_credential(cert)
        path = keylog or os.environ.get("SSLKEYLOGFILE")
        self._key_log = KeyLogFile(path) if path else None

    def config(self, host: str) -> ClientTlsConfig:
        """Return the configuration for a connection to ``host``, an ASCII name or an IP address."""
        from specter.tls.config import ClientTlsConfig

        name = host.partition("%")[0] if literal(host, 0) else host.rstrip(".")
        return ClientTlsConfig(
            server_name=name,
            verify=self._verify,
            trust=self._trusted() if self._verify else None,
            client_credential=self._credential,
            key_log=self._key_log,
        )

    def _trusted(self) -> TrustStore:
        """Load the usual authorities when they are first needed."""
        with self._lock:
            if self._trust is None:
                from specter.tls.trust import TrustStore

                self._trust = TrustStore.load(True)
            return self._trust


def _load_credential(cert: CertTypes) -> Credential | None:
    if cert is None:
        return None
    from specter.tls.config import Credential

    if not isinstance(cert, tuple):
        return Credential.load(os.fspath(cert))
    password = cert[2] if len(cert) == 3 else None
    return Credential.load(os.fspath(cert[0]), os.fspath(cert[1]), None if password is None else password.encode())
