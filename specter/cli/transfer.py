"""One URL of the command line: sent, followed where it redirects, tried again, and its body delivered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import specter
from specter.cli.body import Counted, RequestBody, Source, form_query, request_body
from specter.cli.describe import Narrator, header_block, timing_line
from specter.cli.display import Bar, Display
from specter.cli.failure import FAILED, SUCCESS, USAGE, Failure
from specter.cli.options import Options
from specter.cli.output import Output, open_output
from specter.cli.redirects import Hop, is_redirect, next_hop
from specter.cli.retry import StatusFailure, delays, may_pass, retry_after

__all__ = ["Session", "Transfer"]

CHUNK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Session:
    """What all transfers of one call share."""

    options: Options
    client: specter.Client
    display: Display
    narrator: Narrator
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Who may write to standard output."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when the whole call is given up: failures are no news from then on."""

    def report(self, message: str, status: int) -> int:
        """Say in one line what went wrong; return ``status``."""
        if self.options.shows_errors and not self.stopped.is_set():
            self.display.line(printable(message), "red", lead="specter: ")
        return status


class Transfer:
    """Fetches one URL into what ``name`` says (``None``: standard output)."""

    def __init__(self, session: Session, url: str, name: str | None) -> None:
        self._session = session
        self._options = session.options
        self._url = url if "://" in url else f"https://{url}"
        self._name = name

    def run(self) -> int:
        """Do it; return its exit status. Failures become a line on standard error."""
        try:
            self._attempts(open_output(self._name, self._url, self._session.turn))
        except Failure as failure:
            return self._session.report(str(failure), failure.code)
        except (specter.InvalidURL, specter.UnsupportedProtocol, ValueError) as error:
            return self._session.report(str(error), USAGE)
        except (specter.Error, OSError) as error:
            return self._session.report(str(error), FAILED)
        return SUCCESS

    def _attempts(self, output: Output) -> None:
        """Try until it works, or as often as ``--retry`` allows."""
        waits = delays(self._options.retry_delay)
        try:
            for left in range(self._options.retry, 0, -1):
                try:
                    return self._attempt(output, last=False)
                except (Failure, specter.Error, OSError) as error:
                    if not may_pass(error) or output.began or not self._replayable():
                        raise
                    self._pause(error, next(waits), left)
                output.restart()
            return self._attempt(output, last=True)
        finally:
            output.close()

    def _pause(self, error: Exception, wait: float, left: int) -> None:
        asked = error.wait if isinstance(error, StatusFailure) else None
        if asked is not None and self._options.retry_delay is None:
            wait = max(wait, asked)
        self._session.report(f"{error}; again in {wait:g} s ({left} left)", FAILED)
        if self._session.stopped.wait(wait):
            raise error

    def _replayable(self) -> bool:
        options = self._options
        return "@-" not in (*options.data, options.json) and options.upload_file != "-" and not _reads_input(options)

    # -- requests ---------------------------------------------------------------------------------

    def _attempt(self, output: Output, *, last: bool) -> None:
        """Send the request and those it redirects to; deliver the last response."""
        hop: Hop | None = self._first_hop()
        started = time.monotonic()
        while hop is not None:
            with self._exchange(hop, self._limits(time.monotonic() - started)) as response:
                hop = self._take(hop, response, output, last=last)

    def _first_hop(self) -> Hop:
        options = self._options
        url = self._url
        if options.upload_file not in (None, "-") and url.endswith("/"):
            url += str(options.upload_file).replace("\\", "/").rpartition("/")[2]
        return Hop(specter.URL(url, form_query(options) or None), options.method, options.headers, with_body=True)

    def _limits(self, spent: float) -> specter.Timeouts:
        """Return the limits of a request that begins ``spent`` seconds after the transfer did."""
        options = self._options
        left = None if options.max_time is None else options.max_time - spent
        if left is not None and left <= 0:
            raise specter.TotalTimeout(f"{self._url} took longer than {options.max_time:g} seconds")
        return specter.Timeouts(None, connect=options.connect_timeout, total=left)

    @contextmanager
    def _exchange(self, hop: Hop, limits: specter.Timeouts) -> Iterator[specter.Response]:
        """Send the request of ``hop``, and give its response."""
        body = request_body(self._options) if hop.with_body else None
        if hop.count and body is not None and not body.replayable:
            raise Failure(f"{hop.url}: standard input was sent already and cannot be sent again")
        bar = self._session.display.bar(f"up {hop.url.host}", None if body is None else body.size)
        try:
            content = None if body is None else _watched(body.content, bar)
            with self._session.client.stream(
                hop.method, hop.url, headers=_fields(hop, body), content=content, timeout=limits
            ) as response:
                bar.finish()
                self._session.narrator.response(response)
                yield response
        finally:
            bar.finish()
            if body is not None:
                body.close()

    def _take(self, hop: Hop, response: specter.Response, output: Output, *, last: bool) -> Hop | None:
        """Return where a redirect leads; deliver anything else."""
        options = self._options
        redirected = options.location and is_redirect(response)
        if not redirected and response.is_error and (options.fail or not last):
            self._refuse(hop, response, last=last)
        if options.include or options.head:
            output.write(header_block(response))
        if redirected:
            following = next_hop(hop, response, options.max_redirs)
            self._session.narrator.note(f"redirected to {following.url} ({following.method})")
            return following
        self._deliver(response, output)
        return None

    def _refuse(self, hop: Hop, response: specter.Response, *, last: bool) -> None:
        """An error status is a failure with ``--fail``, and one to try again if it may pass."""
        message = f"{hop.url} answered {response.status_code} {response.reason_phrase}".rstrip()
        failure = StatusFailure(message, response.status_code, retry_after(response))
        if self._options.fail or (not last and may_pass(failure) and self._replayable()):
            raise failure

    # -- the body ---------------------------------------------------------------------------------

    def _deliver(self, response: specter.Response, output: Output) -> None:
        output.write(b"")
        count = self._copy(response, output)
        output.close()
        self._session.narrator.end(response, count)
        if self._options.json_timing:
            self._session.display.line(timing_line(response, count))

    def _copy(self, response: specter.Response, output: Output) -> int:
        """Move the body to ``output``; return its size."""
        bar = self._session.display.bar(
            response.url.path.rpartition("/")[2] or response.url.host, self._total(response)
        )
        buffer = memoryview(bytearray(CHUNK))
        done = 0
        try:
            while count := response.readinto(buffer):
                output.write(buffer[:count])
                if not output.to_terminal:
                    bar.advance(count)
                done += count
        finally:
            bar.finish()
        return done

    def _total(self, response: specter.Response) -> int | None:
        """Return the size of the body, if it is known beforehand."""
        if self._options.compressed and "content-encoding" in response.headers:
            return None
        length = response.headers.get("content-length", "")
        return int(length) if length.isascii() and length.isdigit() else None


def _watched(content: bytes | Source, bar: Bar) -> bytes | Counted:
    return content if isinstance(content, bytes) else Counted(content, bar)


def _reads_input(options: Options) -> bool:
    contents = [content.partition("=")[2].partition(";")[0] for content in options.form]
    return "@-" in contents or "<-" in contents


def _fields(hop: Hop, body: RequestBody | None) -> list[tuple[str, str]]:
    """Return what the caller says with ``-H``, and what the body needs beyond that."""
    said = {name.lower() for name, _ in hop.headers}
    needed = [field for field in (body.headers if body else ()) if field[0] not in said]
    return [*needed, *hop.headers]


def printable(text: str) -> str:
    """Keep to one line, and what a terminal would obey out of it."""
    return "".join(char if char.isprintable() else " " for char in text)
