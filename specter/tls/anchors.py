"""Loading certificates from PEM, DER, files and directories."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Final

from cryptography import x509

_PEM_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SYSTEM_PATHS: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
    Path("/etc/ssl/certs"),
)


def system_path() -> Path:
    """Return where the default trust anchors are: certifi's bundle, or else the system's."""
    try:
        import certifi
    except ImportError:
        found = next((path for path in _SYSTEM_PATHS if path.exists()), None)
        if found is None:
            raise ValueError("no trust anchors: install certifi or name a file") from None
        return found
    return Path(certifi.where())


def load_path(path: Path, *, tolerant: bool) -> list[x509.Certificate]:
    """Load the certificates of a file, or of the files directly in a directory.

    A directory may hold other things too; what is no certificate in it is passed over.
    """
    if not path.is_dir():
        return load_pem(path.read_bytes(), tolerant=tolerant)
    found: list[x509.Certificate] = []
    for entry in sorted(path.iterdir()):
        if entry.is_file():
            found.extend(_load_if_any(entry))
    return found


def load_pem(data: bytes, *, tolerant: bool) -> list[x509.Certificate]:
    """Load the certificates in PEM text, or the one that DER bytes are.

    ``tolerant`` leaves out what does not parse; otherwise that is a ValueError, as is finding none.
    """
    blocks = _PEM_BLOCK.findall(data)
    with warnings.catch_warnings():
        # Old roots with odd serial numbers are no reason to speak up: they are trusted by name and key.
        warnings.simplefilter("ignore")
        if not blocks:
            return [x509.load_der_x509_certificate(data)]
        if tolerant:
            return [certificate for block in blocks if (certificate := _load_block(block)) is not None]
        return [x509.load_pem_x509_certificate(block) for block in blocks]


def _load_block(block: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(block)
    except ValueError:
        return None


def _load_if_any(path: Path) -> list[x509.Certificate]:
    try:
        return load_pem(path.read_bytes(), tolerant=True)
    except (OSError, ValueError):
        return []
