"""Requests and replies of the test server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import parse_qsl

from specter.client.priority import Priority

if TYPE_CHECKING:
    from specter.h3.events import Headers

__all__ = ["Body", "BodyReader", "BufferedBody", "Fields", "HalfClose", "Handler", "Pause", "Reply", "Request"]

Fields: TypeAlias = Sequence[tuple[str | bytes, str | bytes]]
"""Header fields; text is sent as Latin-1."""


class BodyReader(Protocol):
    """A request body as it arrives."""

    def read(self, max_bytes: int = 65_536) -> bytes | None:
        """Return bytes that are here, ``b""`` when none are here yet, ``None`` after the last."""


class BufferedBody:
    """A body that is here already."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, max_bytes: int = 65_536) -> bytes | None:
        if not self._data:
            return None
        piece, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return bytes(piece)


@dataclass(slots=True)
class Request:
    """What the client asked. ``body`` is complete for handlers; streaming routes and tunnels pull ``stream`` instead.

    ``protocol`` is that of an extended CONNECT (RFC 9220), else empty.
    """

    method: str
    scheme: str
    authority: str
    target: str
    """Path and query as they came."""
    headers: Headers
    body: bytes = b""
    trailers: Headers = ()
    stream: BodyReader = field(default_factory=lambda: BufferedBody(b""))
    protocol: str = ""
    early_data: bool = False
    """Whether it came in 0-RTT, before the handshake was complete: it may be a replay (RFC 8470)."""
    priority_update: bytes | None = None
    """The newest Priority field value that came apart from the request (RFC 9218, section 7.2)."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's last value of each name."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def priority(self) -> Priority:
        """What the client says about the order of responses; it may say something else while the reply is made."""
        if self.priority_update is not None:
            return Priority.parse(self.priority_update.decode("latin-1"))
        return Priority.parse(self.header("priority") or "")

    def header(self, name: str) -> str | None:
        """Return the first field called ``name`` (any case), if there is one."""
        wanted = name.lower().encode("latin-1")
        return next((value.decode("latin-1") for key, value in self.headers if key == wanted), None)


@dataclass(frozen=True, slots=True)
class Pause:
    """Yielded by a body to send nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Yielded by a tunnel's body: end our direction and go on reading the client's."""


Body: TypeAlias = bytes | Iterable[bytes | Pause | HalfClose]


@dataclass(slots=True)
class Reply:
    """What the server answers.

    An iterable ``body`` is pulled only as fast as the client takes it; it may yield a :class:`Pause`, and a
    streaming route's body yields ``b""`` to be asked again once more of the request has arrived. The body of a
    2xx reply to CONNECT is what goes back through the tunnel.
    """

    status: int = 200
    headers: Fields = ()
    body: Body = b""
    trailers: Fields = ()
    interim: Sequence[tuple[int, Fields] | Pause] = ()
    """Interim responses (1xx) to send first, and pauses between them."""
    delay: float = 0.0
    """Seconds to wait before anything is sent."""
    reset: int | None = None
    """Reset the stream with this code in place of its end."""
    goaway: bool = False
    """Send GOAWAY along with the response."""
    close: int | None = None
    """Close the connection with this code in place of the end of the body."""


Handler: TypeAlias = Callable[[Request], Reply | None]
"""Answers a request whose body is complete; ``None`` passes it on to the files and the built-in paths."""
