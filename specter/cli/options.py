"""The options of ``specter URL...``: declared once, for parsing, help, completion and the manual page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from specter.cli.parameters import header, resolve, seconds, seconds_or_none

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

__all__ = ["ENVIRONMENT", "EXIT_STATUS", "PARAMETERS", "REMOTE_NAME", "Options", "Sectioned", "make_options"]

REMOTE_NAME: Final = "\0"
"""Stands for ``-O`` among the names of outputs."""
MAX_REDIRECTS: Final = 50
PARALLEL: Final = 50

EXIT_STATUS: Final = (
    ("0", "done"),
    ("1", "a transfer, a file or a server failed"),
    ("2", "wrong usage"),
    ("130", "interrupted"),
)
ENVIRONMENT: Final = (
    ("NO_COLOR", "no colours on a terminal"),
    ("QLOGDIR", "as --qlog"),
    ("SSLKEYLOGFILE", "as --keylog"),
    ("SPECTER_PURE", "1: use plain Python where compiled modules are there"),
    ("SPECTER_DEBUG", "1: show where an unexpected error came from"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one call of the command asked for; the names are those of the long options."""

    urls: tuple[str, ...]
    method: str
    headers: tuple[tuple[str, str], ...]
    data: tuple[str, ...]
    """``-d`` values: text, ``@FILE`` or ``@-``."""
    json: str | None
    form: tuple[str, ...]
    upload_file: str | None
    get: bool
    outputs: tuple[str, ...]
    """File names, ``-`` or ``REMOTE_NAME``, for the URLs in their order."""
    location: bool
    max_redirs: int
    compressed: bool
    head: bool
    include: bool
    silent: bool
    show_error: bool
    verbose: bool
    fail: bool
    json_timing: bool
    insecure: bool
    cacert: str | None
    cert: str | None
    key: str | None
    max_time: float | None
    connect_timeout: float | None
    resolve: tuple[tuple[str, int, str], ...]
    keylog: str | None
    ssl_sessions: str | None
    tls_earlydata: bool
    qlog: str | None
    retry: int
    retry_delay: float | None
    parallel: bool
    parallel_max: int

    @property
    def shows_errors(self) -> bool:
        return not self.silent or self.show_error


class Option(click.Option):
    """An option with the section of the help that it belongs to."""

    def __init__(self, *declarations: Any, section: str, **settings: Any) -> None:
        super().__init__(declarations, **settings)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class Sectioned(click.Command):
    """A command whose help has its options in sections."""

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield each heading with its options and what they do."""
        found: dict[str, list[tuple[str, str]]] = {}
        for parameter in sorted(self.get_params(ctx), key=lambda parameter: not hasattr(parameter, "section")):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                found.setdefault(getattr(parameter, "section", "General"), []).append(record)
        yield from found.items()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, records in self.sections(ctx):
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from specter.cli.command import COMMANDS

        with formatter.section("Commands"):
            formatter.write_dl([(_synopsis(command), command.get_short_help_str(100)) for command in COMMANDS])
        with formatter.section("Environment"):
            formatter.write_dl(ENVIRONMENT)
        with formatter.section("Exit status"):
            formatter.write_dl(EXIT_STATUS)


def _synopsis(command: click.Command) -> str:
    arguments = [
        parameter.make_metavar(click.Context(command)) for parameter in command.params if _is_argument(parameter)
    ]
    return " ".join(["specter", str(command.name), *arguments])


def _is_argument(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Argument)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from specter.cli.describe import version_text

        click.echo(version_text())
        ctx.exit()


def _complete_command(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The first word may be the name of a command."""
    from specter.cli.command import COMMANDS

    if ctx.params.get("urls"):
        return []
    found = [command for command in COMMANDS if str(command.name).startswith(incomplete)]
    return [CompletionItem(command.name, help=command.get_short_help_str()) for command in found]


def _complete_file(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


# -- declarations ---------------------------------------------------------------------------------

Declare = Callable[..., Option]


def _in(section: str) -> tuple[Declare, Declare, Declare]:
    """Return what declares a flag, an option with a value, and one that may be given several times."""

    def flag(*names: str, help: str, **settings: Any) -> Option:  # noqa: A002  click's word
        return Option(*names, section=section, is_flag=True, help=help, **settings)

    def value(*names: str, help: str, **settings: Any) -> Option:  # noqa: A002
        return Option(*names, section=section, help=help, **settings)

    def several(*names: str, help: str, **settings: Any) -> Option:  # noqa: A002
        return Option(*names, section=section, multiple=True, help=help, **settings)

    return flag, value, several


def _request() -> Sequence[click.Parameter]:
    flag, value, several = _in("Request")
    return (
        value("-X", "--request", "request", metavar="METHOD", help="the method, if it is not GET, HEAD, POST or PUT"),
        several("-H", "--header", "headers", type=header, metavar="'NAME: VALUE'", help="add a header field"),
        value("-A", "--user-agent", metavar="TEXT", help="the User-Agent field"),
        value("-u", "--user", metavar="NAME:PASSWORD", help="log in (Basic); asks for a password that is not there"),
        several(
            "-d",
            "--data",
            "data",
            metavar="DATA",
            help="POST DATA, the bytes of @FILE, or of standard input (@-); several are joined by &",
        ),
        value("--json", metavar="DATA", help="POST DATA (or @FILE, @-) as application/json and ask for JSON"),
        several(
            "-F",
            "--form",
            "form",
            metavar="NAME=CONTENT",
            help="POST a form with files: NAME=TEXT, NAME=@FILE to upload, NAME=<FILE for its text; "
            ";type=KIND and ;filename=NAME may follow",
        ),
        value("-T", "--upload-file", type=click.Path(), metavar="FILE", help="PUT FILE, or standard input (-)"),
        flag("-G", "--get", help="put what -d says into the query of a GET"),
        flag("-I", "--head", help="HEAD: show the header fields only"),
        flag("-L", "--location", help="follow redirects; credentials stay with the first origin"),
        value(
            "--max-redirs",
            type=click.IntRange(0),
            default=MAX_REDIRECTS,
            show_default=True,
            metavar="NUMBER",
            help="how many of them",
        ),
        flag("--compressed", help="ask for a compressed body and decompress it"),
    )


def _output() -> Sequence[click.Parameter]:
    flag, _, several = _in("Output")
    return (
        several(
            "-o",
            "--output",
            "outputs",
            shell_complete=_complete_file,
            metavar="FILE",
            help="write the body to FILE; the n-th -o or -O is for the n-th URL; - is standard output, binary or not",
        ),
        several(
            "-O",
            "--remote-name",
            "outputs",
            is_flag=True,
            flag_value=REMOTE_NAME,
            help="write the body to a file with the last name in the URL",
        ),
        flag("-i", "--include", help="write the response's header fields too"),
        flag("-s", "--silent", help="no progress and no error messages"),
        flag("-S", "--show-error", help="error messages even with -s"),
        flag("-v", "--verbose", help="tell about connection, negotiation and header fields on standard error"),
        flag("-f", "--fail", help="a status of 400 or above is a failure, without body"),
        flag("--json-timing", help="one line of JSON per URL on standard error: times, sizes, connection"),
    )


def _connection() -> Sequence[click.Parameter]:
    flag, value, several = _in("Connection")
    return (
        flag("-k", "--insecure", help="accept any certificate"),
        value("--cacert", type=click.Path(), metavar="FILE", help="PEM file of the authorities to trust, no others"),
        value("--cert", type=click.Path(), metavar="FILE", help="PEM file of a client certificate and its chain"),
        value("--key", type=click.Path(), metavar="FILE", help="PEM file of its private key, if --cert has it not"),
        value("--connect-timeout", type=seconds, metavar="SECONDS", help="limit until connected"),
        value("-m", "--max-time", type=seconds, metavar="SECONDS", help="limit of each transfer as a whole"),
        several("--resolve", type=resolve, metavar="HOST:PORT:ADDRESS", help="connect to ADDRESS for HOST and PORT"),
        value(
            "--ssl-sessions",
            type=click.Path(),
            metavar="FILE",
            help="keep TLS sessions in FILE, so that the next call resumes them; nobody else may read it",
        ),
        flag(
            "--tls-earlydata",
            help="send GET, HEAD and OPTIONS along with a resumed handshake (0-RTT); others could replay them",
        ),
        flag("--http3-only", help="changes nothing: HTTP/3 is all that is spoken", expose_value=False),
        value("--keylog", type=click.Path(), metavar="FILE", help="append TLS secrets in NSS format, for Wireshark"),
        value("--qlog", type=click.Path(), metavar="DIR", help="write an event log of each connection, for qvis"),
    )


def _repetition() -> Sequence[click.Parameter]:
    flag, value, _ = _in("Several transfers")
    return (
        value(
            "--retry",
            type=click.IntRange(0),
            default=0,
            metavar="NUMBER",
            help="try so often again after a failure that may pass: time-outs, lost connections, 408, 429, 5xx",
        ),
        value(
            "--retry-delay",
            type=seconds_or_none,
            metavar="SECONDS",
            help="wait so long in between, instead of 1, 2, 4 ... or what Retry-After says",
        ),
        flag("-Z", "--parallel", help="all URLs at once"),
        value(
            "--parallel-max",
            type=click.IntRange(1, 1000),
            default=PARALLEL,
            show_default=True,
            metavar="NUMBER",
            help="at most so many at once",
        ),
    )


PARAMETERS: Final[tuple[click.Parameter, ...]] = (
    click.Argument(["urls"], nargs=-1, metavar="URL...", shell_complete=_complete_command),
    *_request(),
    *_output(),
    *_connection(),
    *_repetition(),
    Option(
        "--version",
        section="General",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="print the version and what runs compiled, then exit",
    ),
)


# -- what they mean together ----------------------------------------------------------------------


def make_options(values: Mapping[str, Any]) -> Options:
    """Return the options from what click found.

    Raises:
        click.UsageError: they make no sense together.
    """
    problem = _problem(values)
    if problem:
        raise click.UsageError(problem)
    settings = {name: value for name, value in values.items() if name not in ("request", "user", "user_agent")}
    headers = [*values["headers"], *_named_fields(values)]
    return Options(**{**settings, "headers": tuple(headers), "method": _method(values)})


def _problem(values: Mapping[str, Any]) -> str | None:
    """Return what is wrong with options that are fine one by one."""
    urls, bodies = values["urls"], _bodies(values)
    if not urls:
        return "no URL given"
    if len(values["outputs"]) > len(urls):
        return "more -o and -O than URLs"
    if len(bodies) > 1:
        return f"{' and '.join(bodies)} exclude each other"
    if values["head"] and bodies and not values["get"]:
        return f"-I sends no body: it excludes {bodies[0]}"
    if values["get"] and bodies not in ([], ["-d"]):
        return f"-G excludes {bodies[0]}"
    if _standard_inputs(values) * len(urls) > 1:
        return "standard input can be sent once only"
    return "--key needs --cert" if values["key"] and not values["cert"] else None


def _bodies(values: Mapping[str, Any]) -> list[str]:
    kinds = (("-d", values["data"]), ("--json", values["json"] is not None), ("-F", values["form"]))
    return [name for name, given in (*kinds, ("-T", values["upload_file"])) if given]


def _standard_inputs(values: Mapping[str, Any]) -> int:
    """Count what is to be read from standard input."""
    parts = [content.partition("=")[2].partition(";")[0] for content in values["form"]]
    said = [*values["data"], values["json"], *(part.replace("<", "@", 1) for part in parts)]
    return said.count("@-") + int(values["upload_file"] == "-")


def _method(values: Mapping[str, Any]) -> str:
    if values["request"]:
        return str(values["request"])
    if values["head"]:
        return "HEAD"
    if values["upload_file"]:
        return "PUT"
    return "POST" if _bodies(values) and not values["get"] else "GET"


def _named_fields(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the header fields that have options of their own, unless ``-H`` says them."""
    said = {name.lower() for name, _ in values["headers"]}
    if values["user_agent"] is not None and "user-agent" not in said:
        yield "user-agent", values["user_agent"]
    if values["user"] is not None and "authorization" not in said:
        yield "authorization", _basic(values["user"])


def _basic(user: str) -> str:
    """Return Basic credentials (RFC 7617); a password that is missing is asked for."""
    from base64 import b64encode

    if ":" not in user:
        user = f"{user}:{click.prompt(f'password of {user}', hide_input=True, err=True)}"
    return f"Basic {b64encode(user.encode(errors='surrogateescape')).decode()}"
