"""``specter URL...``: one transfer after the other, or all at once, over as few connections as possible."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import specter
from specter.cli.describe import Narrator
from specter.cli.display import Display
from specter.cli.failure import USAGE, Failure
from specter.cli.options import Options
from specter.cli.transfer import Session, Transfer, printable

__all__ = ["open_client", "run_fetch"]


def run_fetch(options: Options) -> int:
    """Carry out the command line; return the exit status of the worst transfer."""
    display = Display(progress=not options.silent)
    narrator = Narrator(display, verbose=options.verbose, checked=not options.insecure)
    with display, _heard(display, options), open_client(options) as client:
        session = Session(options, client, display, narrator)
        names = [*options.outputs, *[None] * len(options.urls)]
        transfers = [Transfer(session, url, name) for url, name in zip(options.urls, names, strict=False)]
        if options.parallel and len(transfers) > 1:
            return _all_at_once(session, transfers)
        return max(transfer.run() for transfer in transfers)


def _all_at_once(session: Session, transfers: list[Transfer]) -> int:
    """Run the transfers in threads, which share the client's connections."""
    with ThreadPoolExecutor(min(session.options.parallel_max, len(transfers))) as pool:
        try:
            futures = [pool.submit(transfer.run) for transfer in transfers]
            return max(future.result() for future in futures)
        except BaseException:
            session.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            session.client.close()  # ends those that are under way
            raise


def open_client(options: Options) -> specter.Client:
    """Return the client that ``options`` ask for; ``Failure`` when one of their files is no use."""
    cert = options.cert if options.key is None or options.cert is None else (options.cert, options.key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", specter.InsecureWarning)  # -k was typed on purpose
        try:
            return specter.Client(
                verify=False if options.insecure else options.cacert or True,
                cert=cert,
                decode=options.compressed,
                resolve={f"{host}:{port}": address for host, port, address in options.resolve},
                keylog=options.keylog,
                session_cache=True if options.ssl_sessions is None else specter.SessionCache(options.ssl_sessions),
                early_data=options.tls_earlydata,
                qlog=options.qlog,
            )
        except OSError as error:
            reason = str(error) if error.strerror is None else f"{error.filename or 'certificates'}: {error.strerror}"
            raise Failure(reason, USAGE) from error
        except ValueError as error:
            raise Failure(str(error), USAGE) from error


class _Listener(logging.Handler):
    """Shows what the library logs: warnings as such, the rest as what ``-v`` asks for."""

    def __init__(self, display: Display, options: Options) -> None:
        super().__init__(logging.DEBUG if options.verbose else logging.WARNING)
        self._display = display
        self._options = options

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage())
        if record.levelno >= logging.WARNING:
            if self._options.shows_errors:
                self._display.line(text, "yellow", lead="specter: ")
        else:
            self._display.line(text, "dim", lead="* ")


@contextmanager
def _heard(display: Display, options: Options) -> Iterator[None]:
    """Listen to the library's loggers meanwhile."""
    logger, listener = logging.getLogger("specter"), _Listener(display, options)
    level, propagates = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    if options.verbose:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagates
