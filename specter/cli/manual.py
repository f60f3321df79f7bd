"""The manual page, made from what ``--help`` is made from: ``python -m specter.cli.manual > specter.1``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import click

from specter._version import __version__
from specter.cli.command import COMMANDS, FETCH
from specter.cli.options import ENVIRONMENT, EXIT_STATUS, Sectioned

__all__ = ["manual_page"]

DESCRIPTION: Final = """\
specter fetches and sends data over HTTP/3: QUIC and TLS 1.3, nothing else. Its options are those of curl where curl has
one. A URL without a scheme is an https URL. Several URLs follow one another, or run at once with -Z, and share
connections. The certificate chain, its dates and the name in it are checked unless -k is given.

Bodies go to standard output unless -o or -O names a file; messages, progress and what -v tells go to standard error, in
colour and with progress bars only on a terminal.
"""
EXAMPLES: Final = (
    ("Say what is negotiated, and keep the page:", "specter -v https://cloudflare-quic.com/ -o page.html"),
    ("Send JSON, and follow redirects:", "specter -L https://example.com/api --json '{\"a\": 1}'"),
    ("Upload a form with a file, three attempts:", "specter https://example.com/form -F file=@photo.jpg --retry 2"),
    (
        "Fetch several files at once under their own names:",
        "specter -Z -O https://example.com/a -O https://example.com/b",
    ),
    ("Times for a script to read:", "specter -s https://example.com/ -o /dev/null --json-timing 2>&1"),
)


def manual_page() -> str:
    """Return the page in man(7)'s markup; it changes with the options and the version alone."""
    lines = [
        f'.TH SPECTER 1 "" "specter {__version__}" "User Commands"',
        *(".SH NAME", r"specter \- transfer data over HTTP/3"),
        *(".SH SYNOPSIS", *_synopses()),
        *(".SH DESCRIPTION", *_paragraphs()),
        *(".SH OPTIONS", *_options()),
        *(".SH COMMANDS", *_commands()),
        *(".SH ENVIRONMENT", *_definitions(ENVIRONMENT)),
        *('.SH "EXIT STATUS"', *_definitions(EXIT_STATUS)),
        *(".SH EXAMPLES", *_examples()),
        *(".SH COMPLETION", *_completion()),
        *('.SH "SEE ALSO"', r"\fBcurl\fR(1)"),
    ]
    return "\n".join(lines) + "\n"


def _synopses() -> Iterator[str]:
    yield r"\fBspecter\fR [\fIOPTION\fR...] \fIURL\fR..."
    for command in COMMANDS:
        yield ".br"
        yield rf"\fBspecter {command.name}\fR {_escaped(' '.join(_arguments(command)))}".rstrip()


def _arguments(command: click.Command) -> list[str]:
    pieces = command.collect_usage_pieces(click.Context(command))
    return ["[OPTION...]" if piece == "[OPTIONS]" else piece for piece in pieces]


def _paragraphs() -> Iterator[str]:
    for number, text in enumerate(DESCRIPTION.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield _escaped(text.replace("\n", " "))


def _options() -> Iterator[str]:
    for heading, records in _sections(FETCH):
        yield f'.SS "{heading}"'
        yield from _definitions(records)


def _sections(command: click.Command) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    context = click.Context(command, info_name="specter")
    if isinstance(command, Sectioned):
        return command.sections(context)
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return [("", [record for record in records if record is not None and record[0].startswith("-")])]


def _commands() -> Iterator[str]:
    for command in COMMANDS:
        yield f'.SS "specter {command.name} {_escaped(" ".join(_arguments(command)))}"'
        yield _escaped(re.sub(r"\s+", " ", command.help or "").strip())
        for _, records in _sections(command):
            yield from _definitions(records)


def _definitions(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in pairs:
        yield ".TP"
        yield rf"\fB{_escaped(term)}\fR"
        yield _escaped(re.sub(r"\s+", " ", text).strip())


def _examples() -> Iterator[str]:
    for text, words in EXAMPLES:
        yield ".PP"
        yield _escaped(text)
        yield from (".PP", ".RS 4", ".nf", _escaped(words), ".fi", ".RE")


def _completion() -> Iterator[str]:
    for shell, words in (
        ("bash", 'eval "$(specter completion bash)"'),
        ("zsh", 'eval "$(specter completion zsh)"'),
        ("fish", "specter completion fish | source"),
    ):
        yield from _definitions([(shell, f"put {words} into its start-up file")])


def _escaped(text: str) -> str:
    """Keep roff from reading anything into the text."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace('"', r"\(dq")
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    print(manual_page(), end="")
