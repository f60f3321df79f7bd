"""A request, ready to be sent."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

from specter.client.body import Body, ContentTypes, make_body
from specter.client.decoding import DecodeTypes, accept_encoding, make_limits
from specter.client.extras import InformationalHook, TrailerTypes, make_extras
from specter.client.headers import Headers, HeaderTypes
from specter.client.priority import Priority
from specter.client.url import URL, ParamTypes, with_params
from specter.net.extras import Extras
from specter.net.transfer import Transfer

__all__ = ["Request"]

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NEED_LENGTH: Final = frozenset({"POST", "PUT", "PATCH"})


class Request:
    """Method, URL, header fields and body of one request.

    ``decode`` asks for a body with content codings and for their undoing; ``request.decode`` has the limits of that.
    ``priority`` becomes a header field, unless there is one already. What ``trailers``, ``expect_continue`` and
    ``on_informational`` are is told at :meth:`Client.request`.

    Raises:
        ValueError: a method that is none, or more than one body.
        InvalidURL, UnsupportedProtocol: as :class:`URL` does.
    """

    __slots__ = ("body", "decode", "extras", "headers", "method", "url")

    carrier: ClassVar[type[Transfer]] = Transfer
    """What takes it through an exchange."""

    def __init__(
        self,
        method: str,
        url: str | URL,
        *,
        params: ParamTypes = None,
        headers: HeaderTypes | None = None,
        content: ContentTypes | None = None,
        data: ParamTypes = None,
        json: Any = None,
        decode: DecodeTypes = False,
        priority: Priority | None = None,
        trailers: TrailerTypes = None,
        expect_continue: bool | float = False,
        on_informational: InformationalHook | None = None,
    ) -> None:
        if not _TOKEN.fullmatch(method):
            raise ValueError(f"{method!r} is not a method")
        self.method = method.upper()
        self.url = with_params(url, params)
        self.headers = Headers(headers)
        self.body: Body | None
        self.body, described = make_body(content, data, json)
        if self.body is None and self.method in _NEED_LENGTH:
            described = [("content-length", "0")]
        for name, value in described:
            if name not in self.headers:
                self.headers.add(name, value)
        if priority is not None and "priority" not in self.headers:
            self.headers.add("priority", str(priority))
        self.decode = make_limits(decode) if decode else None
        if self.decode is not None and "accept-encoding" not in self.headers and "range" not in self.headers:
            self.headers.add("accept-encoding", accept_encoding())  # a part of the encoded form is of no use
        self.extras: Extras | None = None
        if trailers is not None or expect_continue is not False or on_informational is not None:
            self.extras = make_extras(trailers, expect_continue, on_informational)
        if expect_continue and self.body is not None and "expect" not in self.headers:
            self.headers.add("expect", "100-continue")

    @property
    def safe(self) -> bool:
        """Whether sending it twice does no harm (RFC 9110, section 9.2.1)."""
        return self.method in _SAFE

    @property
    def goes_early(self) -> bool:
        """Whether it may leave as early data, which somebody could record and send to the server again."""
        return self.safe and self.extras is None and (self.body is None or self.body.length == 0)

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again."""
        return self.body is None or self.body.fresh

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the header section as HTTP/3 sends it; a ``host`` field becomes ``:authority``."""
        lines = self.headers.raw
        authority = self.url.authority.encode()
        for name, value in lines:
            if name == b"host":
                authority = value
                lines = [line for line in lines if line[0] != b"host"]
                break
        return [
            (b":method", self.method.encode()),
            (b":scheme", b"https"),
            (b":authority", authority),
            (b":path", self.url.target.encode()),
            *lines,
        ]

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url}>"
