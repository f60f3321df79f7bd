"""``specter serve DIR``: the local HTTP/3 server, for tests and demonstrations."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specter.cli.failure import SUCCESS, USAGE, Failure

if TYPE_CHECKING:
    from specter.quic.config import QuicConfig
    from specter.testing.certificates import Credential

__all__ = ["ServeOptions", "run_serve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What ``specter serve`` was asked for; the names are those of the options."""

    directory: str
    port: int
    host: str
    cert: str | None
    key: str | None
    retry: bool
    test_paths: bool
    qlog: str | None


def run_serve(options: ServeOptions) -> int:
    """Serve until interrupted or terminated."""
    if bool(options.cert) != bool(options.key):
        raise Failure("--cert and --key go together", USAGE)
    if not Path(options.directory).is_dir():
        raise Failure(f"{options.directory} is not a directory", USAGE)
    credential = load_credential(options.cert, options.key) if options.cert and options.key else None
    _serve(options, credential)
    return SUCCESS


def _serve(options: ServeOptions, credential: Credential | None) -> None:
    from specter.testing.server import Server

    server = Server(
        directory=options.directory,
        host=options.host,
        port=options.port,
        retry=options.retry,
        credential=credential,
        test_paths=options.test_paths,
        config=_logged(options.qlog),
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except OSError as error:
            raise Failure(f"cannot listen on {options.host} port {options.port}: {error.strerror or error}") from error
        print(f"serving {options.directory} on {server.url}", flush=True)
        if credential is None:
            print(f"with a certificate of its own authority: specter {server.url}/ --cacert {server.ca_file}")
        print("Ctrl-C stops it", flush=True)
        _wait_for_signal()


def _logged(directory: str | None) -> QuicConfig | None:
    """Return a configuration with event logs in ``directory``."""
    if directory is None:
        return None
    from specter.net.qlog import QlogDirectory
    from specter.quic.config import QuicConfig

    try:
        return QuicConfig(qlog=QlogDirectory(directory))
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}", USAGE) from error


def _wait_for_signal() -> None:
    """Sleep until somebody interrupts or terminates this process."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def load_credential(certificate: str, key: str) -> Credential:
    """Read a certificate chain and its private key; ``Failure`` when that does not work."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    from specter.testing.certificates import Credential

    try:
        chain = load_pem_x509_certificates(Path(certificate).read_bytes())
        private = load_pem_private_key(Path(key).read_bytes(), None)
        credential = Credential(tuple(chain), private)  # type: ignore[arg-type]
        credential.tls.entries  # noqa: B018  making it checks that the two belong together
        return credential
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {error.strerror}", USAGE) from error
    except (TypeError, ValueError) as error:
        raise Failure(f"{certificate} and {key} are no use: {error}", USAGE) from error
