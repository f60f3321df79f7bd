"""The command line as click sees it: the transfer without a name of its own, and the commands that have one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec

import click

from specter.cli.failure import INTERRUPTED
from specter.cli.options import PARAMETERS, Sectioned, make_options

__all__ = ["COMMANDS", "FETCH", "ROOT"]

P = ParamSpec("P")

UNNAMED: Final = " "
"""The name of what runs without one; nobody types it."""
SHELLS: Final = ("bash", "zsh", "fish")


def _quietly(run: Callable[P, int]) -> Callable[P, int]:
    """Keep click from printing an empty line for Ctrl-C."""

    @wraps(run)
    def guarded(*args: P.args, **values: P.kwargs) -> int:
        try:
            return run(*args, **values)
        except KeyboardInterrupt:
            return INTERRUPTED

    return guarded


class FetchContext(click.Context):
    @property
    def command_path(self) -> str:
        return "specter"


class Fetch(Sectioned):
    """``specter URL...``"""

    context_class = FetchContext


class Root(click.Group):
    """Takes the first word for a command if it is the name of one; else all of them are a transfer's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [UNNAMED, *args])


@_quietly
def _fetch(**values: Any) -> int:
    from specter.cli.fetch import run_fetch

    return run_fetch(make_options(values))


FETCH: Final = Fetch(
    UNNAMED,
    params=list(PARAMETERS),
    callback=_fetch,
    help="Transfer data over HTTP/3.",
    options_metavar="[OPTION...]",
)


@click.command(context_settings={"show_default": True})
@click.option("--size", type=click.IntRange(1, 100_000), default=100, metavar="MB", help="download size")
@_quietly
def demo(size: int) -> int:
    """Start a local HTTP/3 server, fetch a little and a lot from it, and tell what was negotiated."""
    from specter.cli.demo import run_demo

    return run_demo(size)


@click.command(context_settings={"show_default": True})
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--port", type=click.IntRange(0, 65535), default=4433, help="UDP port, 0 for any free one")
@click.option("--host", default="127.0.0.1", help="address to listen on")
@click.option("--cert", type=click.Path(), metavar="FILE", help="PEM file of the certificate and its chain, leaf first")
@click.option("--key", type=click.Path(), metavar="FILE", help="PEM file of its private key")
@click.option("--retry", is_flag=True, help="make every client show its address first (Retry)")
@click.option("--test-paths", is_flag=True, help="also serve /bytes/N, /echo, /status/N and the like")
@click.option("--qlog", type=click.Path(), metavar="DIR", help="write an event log of each connection into DIR")
@_quietly
def serve(**values: Any) -> int:
    """Serve the files of a directory over HTTP/3. For tests and demonstrations, not for the internet."""
    from specter.cli.serve import ServeOptions, run_serve

    return run_serve(ServeOptions(**values))


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the completion script of a shell. For bash: eval "$(specter completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(ROOT, {}, "specter", "_SPECTER_COMPLETE").source())
    return 0


COMMANDS: Final[tuple[click.Command, ...]] = (demo, serve, completion)
ROOT: Final = Root("specter", commands=[FETCH, *COMMANDS], add_help_option=False, no_args_is_help=False)
