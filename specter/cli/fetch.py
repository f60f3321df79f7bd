"""``specter URL...``: one request after the other, over as few connections as possible."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Final

import specter
from specter.cli.body import RequestBody, request_body
from specter.cli.describe import header_block, timing_line, verbose_lines, version_text
from specter.cli.failure import FAILED, SUCCESS, USAGE, Failure
from specter.cli.options import Options, parse_options
from specter.cli.output import Output, open_output
from specter.cli.progress import ProgressLine, choose_progress

__all__ = ["open_client", "run_fetch"]

CHUNK: Final = 1 << 18


def run_fetch(arguments: Sequence[str]) -> int:
    """Carry out the command line; return the exit status of the worst request."""
    options = parse_options(arguments)
    if options is None:
        print(version_text())
        return SUCCESS
    status = SUCCESS
    with open_client(options) as client:
        for index, url in enumerate(options.urls):
            name = options.outputs[index] if index < len(options.outputs) else None
            status = max(status, _attempt(client, url, options, open_output(name)))
    return status


def open_client(options: Options) -> specter.Client:
    """Return the client that ``options`` ask for; ``Failure`` when one of their files is no use."""
    cert = options.cert if options.key is None or options.cert is None else (options.cert, options.key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", specter.InsecureWarning)  # -k was typed on purpose
        try:
            return specter.Client(
                verify=False if options.insecure else options.cacert or True,
                cert=cert,
                timeout=specter.Timeouts(None, connect=options.connect_timeout, total=options.max_time),
                resolve={f"{host}:{port}": address for host, port, address in options.resolve},
                keylog=options.keylog,
                session_cache=True if options.ssl_sessions is None else specter.SessionCache(options.ssl_sessions),
                early_data=options.tls_earlydata,
            )
        except OSError as error:
            reason = str(error) if error.strerror is None else f"{error.filename or 'certificates'}: {error.strerror}"
            raise Failure(reason, USAGE) from error
        except ValueError as error:
            raise Failure(str(error), USAGE) from error


def _attempt(client: specter.Client, url: str, options: Options, output: Output) -> int:
    """Fetch one URL; say in one line what went wrong, if something did."""
    try:
        _fetch(client, url if "://" in url else f"https://{url}", options, output)
    except Failure as failure:
        return _report(options, str(failure), failure.code)
    except (specter.InvalidURL, specter.UnsupportedProtocol, ValueError) as error:
        return _report(options, f"{error}", USAGE)
    except (specter.Error, OSError) as error:
        return _report(options, f"{error}", FAILED)
    return SUCCESS


def _report(options: Options, message: str, status: int) -> int:
    if options.shows_errors:
        print(f"specter: {message}", file=sys.stderr)
    return status


def _fetch(client: specter.Client, url: str, options: Options, output: Output) -> None:
    body = request_body(options)
    content = None if body is None else body.content
    try:
        with client.stream(options.method, url, headers=_headers(options, body), content=content) as response:
            if options.verbose:
                print("\n".join(verbose_lines(response)), file=sys.stderr)
            if options.fail and response.is_error:
                raise Failure(f"{url} answered {response.status_code} {response.reason_phrase}".rstrip())
            _deliver(response, options, output)
    finally:
        if body is not None:
            body.close()


def _headers(options: Options, body: RequestBody | None) -> list[tuple[str, str]]:
    """Return what the caller says with ``-H``, and what the body needs beyond that."""
    said = {name.lower() for name, _ in options.headers}
    needed = [field for field in (body.headers if body else ()) if field[0] not in said]
    return [*needed, *options.headers]


def _deliver(response: specter.Response, options: Options, output: Output) -> None:
    """Hand the response to ``output``, and its times to standard error if they are wanted."""
    quiet = options.silent or output.to_terminal
    progress = choose_progress(sys.stderr, wanted=not quiet)
    try:
        output.write(header_block(response) if options.include or options.head else b"")
        count = _copy(response, output, progress)
    finally:
        progress.stop()
        output.close()
    if options.json_timing:
        print(timing_line(response, count), file=sys.stderr, flush=True)


def _copy(response: specter.Response, output: Output, progress: ProgressLine) -> int:
    """Move the body to ``output``; return its size."""
    length = response.headers.get("content-length", "")
    progress.start(int(length) if length.isascii() and length.isdigit() else None)
    buffer = memoryview(bytearray(CHUNK))
    done = 0
    while count := response.readinto(buffer):
        output.write(buffer[:count])
        progress.advance(count)
        done += count
    return done
