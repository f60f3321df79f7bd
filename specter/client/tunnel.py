"""A tunnel of the blocking client."""

from __future__ import annotations

from types import TracebackType

from specter.client.response import Response
from specter.client.tunneling import CHUNK, BaseTunnel, moment
from specter.net.inline import run_inline

__all__ = ["Tunnel"]


class Tunnel(BaseTunnel[Response]):
    """Bytes in both directions, each of which has its own end. ``Client.tunnel`` opens one.

    One thread may send while another receives. While a thread waits in ``receive``, PINGs keep the connection alive;
    with ``Client(keep_alive=seconds)`` they always do.

    Every operation raises what went wrong: ``StreamReset`` when the server reset the tunnel, ``NetworkError`` when the
    connection is lost, ``StreamClosed`` after ``close``.
    """

    def send(self, data: bytes | bytearray | memoryview, *, eof: bool = False) -> None:
        """Send all of ``data``; where flow control makes it wait, the client's write timeout counts. ``eof`` ends this
        direction with it.

        Raises:
            WriteTimeout: the server took no more; how much of ``data`` it has is unknown.
        """
        run_inline(self._use().send(data, eof=eof))

    def send_eof(self) -> None:
        """End this direction; the server's goes on. Any number of times."""
        self._use().send_eof()

    def receive(self, max_bytes: int = CHUNK, *, timeout: float | None = None) -> bytes:
        """Return 1 to ``max_bytes`` bytes, ``b""`` when the server has ended its direction.

        Bytes that are not received make the server wait, by flow control.

        Raises:
            ReadTimeout: nothing came for ``timeout`` seconds; the tunnel goes on. None waits for as long as it takes.
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        return run_inline(self._use().receive(max_bytes, moment(timeout)))

    def receive_into(self, buffer: bytearray | memoryview, *, timeout: float | None = None) -> int:
        """Like ``receive``, into ``buffer``, without a copy in between; return how many bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not view:
            raise ValueError("the buffer is empty")
        return run_inline(self._use().receive_into(view, moment(timeout)))

    def close(self) -> None:
        """End the tunnel: what is not finished in either direction is cancelled. Any number of times.

        A thread that waits in it gets ``StreamClosed``.
        """
        self._end()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
