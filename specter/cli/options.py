"""The command line of ``specter URL...`` as a value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Options", "make_parser", "parse_options"]

EPILOG: Final = """\
commands:
  specter demo           a local server, a small GET and a large download over HTTP/3
  specter serve DIR      serve the files of a directory over HTTP/3

exit status:
  0 done, 1 a request failed, 2 wrong usage, 130 interrupted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one call of the command asked for; the names are those of the long options."""

    urls: tuple[str, ...]
    method: str
    headers: tuple[tuple[str, str], ...]
    data: tuple[str, ...]
    """``-d`` values: text, ``@FILE`` or ``@-``."""
    json: str | None
    outputs: tuple[str, ...]
    head: bool
    include: bool
    silent: bool
    show_error: bool
    verbose: bool
    insecure: bool
    cacert: str | None
    cert: str | None
    key: str | None
    max_time: float | None
    connect_timeout: float | None
    resolve: tuple[tuple[str, int, str], ...]
    json_timing: bool
    keylog: str | None
    ssl_sessions: str | None
    tls_earlydata: bool
    fail: bool

    @property
    def shows_errors(self) -> bool:
        return not self.silent or self.show_error


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; its help text is the reference of the command."""
    parser = argparse.ArgumentParser(
        prog="specter",
        usage="specter [OPTION...] URL [URL...]",
        description="Transfer data over HTTP/3.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("urls", nargs="*", metavar="URL", help="https is assumed where no scheme is given")
    _add_request(parser.add_argument_group("request"))
    _add_output(parser.add_argument_group("output"))
    _add_connection(parser.add_argument_group("connection"))
    parser.add_argument("--version", action="store_true", help="print the version and what runs compiled, then exit")
    return parser


def _add_request(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-X", "--request", metavar="METHOD", help="the method; GET, or POST with -d or --json")
    group.add_argument(
        "-H", "--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'", help="add a header field"
    )
    group.add_argument(
        "-d",
        "--data",
        action="append",
        default=[],
        metavar="DATA",
        help="send DATA, the bytes of @FILE, or of standard input (@-); several are joined by &",
    )
    group.add_argument("--json", metavar="DATA", help="send DATA (or @FILE, @-) as application/json and ask for JSON")
    group.add_argument("-I", "--head", action="store_true", help="HEAD: show the header fields only")


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="FILE",
        help="write the body to FILE; the n-th -o is for the n-th URL; - is standard output, binary or not",
    )
    group.add_argument("-i", "--include", action="store_true", help="write the response's header fields too")
    group.add_argument("-s", "--silent", action="store_true", help="no progress line and no error messages")
    group.add_argument("-S", "--show-error", action="store_true", help="error messages even with -s")
    group.add_argument("-v", "--verbose", action="store_true", help="tell about connection and header fields on stderr")
    group.add_argument("-f", "--fail", action="store_true", help="a status of 400 or above is a failure, without body")
    group.add_argument("--json-timing", action="store_true", help="one line of JSON per URL on stderr: times, sizes")


def _add_connection(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-k", "--insecure", action="store_true", help="accept any certificate")
    group.add_argument(
        "--cacert", metavar="FILE", help="PEM file of the authorities to trust instead of the usual ones"
    )
    group.add_argument("--cert", metavar="FILE", help="PEM file of a client certificate and its chain")
    group.add_argument("--key", metavar="FILE", help="PEM file of its private key, where --cert does not hold it")
    group.add_argument("--max-time", type=_seconds, metavar="SECONDS", help="limit of one transfer as a whole")
    group.add_argument("--connect-timeout", type=_seconds, metavar="SECONDS", help="limit until connected")
    group.add_argument(
        "--resolve",
        action="append",
        default=[],
        type=_resolve,
        metavar="HOST:PORT:ADDRESS",
        help="connect to ADDRESS for HOST and PORT",
    )
    group.add_argument("--keylog", metavar="FILE", help="append TLS secrets in NSS format, for packet analysers")
    group.add_argument(
        "--ssl-sessions", metavar="FILE", help="resume TLS sessions kept in FILE, and keep new ones there"
    )
    group.add_argument(
        "--tls-earlydata",
        action="store_true",
        help="send GET, HEAD and OPTIONS along with a resumed handshake; others could replay them",
    )


def parse_options(arguments: Sequence[str]) -> Options | None:
    """Return the options, ``None`` for ``--version``; wrong usage exits with status 2."""
    parser = make_parser()
    values = parser.parse_args(arguments)
    if values.version:
        return None
    problem = _problem(values)
    if problem:
        parser.error(problem)
    return _options(values)


def _problem(values: argparse.Namespace) -> str | None:
    """Return what is wrong with options that are fine one by one."""
    if not values.urls:
        return "no URL given"
    if len(values.output) > len(values.urls):
        return "more -o than URLs"
    if values.json is not None and values.data:
        return "--json and -d exclude each other"
    if values.head and (values.data or values.json is not None):
        return "-I sends no body: it excludes -d and --json"
    if [*values.data, values.json].count("@-") * len(values.urls) > 1:
        return "standard input can be sent once only"
    if values.key and not values.cert:
        return "--key needs --cert"
    return None


def _options(values: argparse.Namespace) -> Options:
    has_body = bool(values.data) or values.json is not None
    return Options(
        urls=tuple(values.urls),
        method=values.request or ("HEAD" if values.head else "POST" if has_body else "GET"),
        headers=tuple(values.header),
        data=tuple(values.data),
        json=values.json,
        outputs=tuple(values.output),
        head=values.head,
        include=values.include,
        silent=values.silent,
        show_error=values.show_error,
        verbose=values.verbose,
        insecure=values.insecure,
        cacert=values.cacert,
        cert=values.cert,
        key=values.key,
        max_time=values.max_time,
        connect_timeout=values.connect_timeout,
        resolve=tuple(values.resolve),
        json_timing=values.json_timing,
        keylog=values.keylog,
        ssl_sessions=values.ssl_sessions,
        tls_earlydata=values.tls_earlydata,
        fail=values.fail,
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not 'name: value'")
    return name.strip(), value.strip()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _resolve(text: str) -> tuple[str, int, str]:
    host, _, rest = text.partition(":")
    port, _, address = rest.partition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536 or not address:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port:address")
    return host.lower(), int(port), address
