"""``specter serve DIR``: the local HTTP/3 server, for tests and demonstrations."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from specter.cli.failure import SUCCESS, USAGE, Failure

if TYPE_CHECKING:
    from specter.testing.certificates import Credential

__all__ = ["run_serve"]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of ``specter serve``."""
    parser = argparse.ArgumentParser(
        prog="specter serve",
        description="Serve the files of a directory over HTTP/3. For tests and demonstrations, not for the internet.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="the directory; index.html stands for its folder")
    parser.add_argument("--port", type=_port, default=4433, help="UDP port, 0 for any free one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--cert", metavar="FILE", help="PEM file of the certificate and its chain, leaf first")
    parser.add_argument("--key", metavar="FILE", help="PEM file of its private key")
    parser.add_argument("--retry", action="store_true", help="make every client show its address first (Retry)")
    parser.add_argument("--test-paths", action="store_true", help="also serve /bytes/N, /echo, /status/N and the like")
    return parser


def run_serve(arguments: Sequence[str]) -> int:
    """Serve until interrupted or terminated."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if bool(options.cert) != bool(options.key):
        parser.error("--cert and --key go together")
    if not Path(options.directory).is_dir():
        raise Failure(f"{options.directory} is not a directory", USAGE)
    credential = load_credential(options.cert, options.key) if options.cert else None
    _serve(options, credential)
    return SUCCESS


def _serve(options: argparse.Namespace, credential: Credential | None) -> None:
    from specter.testing.server import Server

    server = Server(
        directory=options.directory,
        host=options.host,
        port=options.port,
        retry=options.retry,
        credential=credential,
        test_paths=options.test_paths,
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


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)
