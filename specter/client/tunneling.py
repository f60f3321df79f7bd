"""Tunnels, as far as both clients have them in common: the CONNECT request, its answer, and what is done through one.

RFC 9114, section 4.4, and RFC 9220.
"""

from __future__ import annotations

import re
from typing import Any, Final, Generic, TypeVar

from specter._wire import NEVER
from specter.client.base_response import BaseResponse
from specter.client.headers import HeaderTypes
from specter.client.pool import Pool
from specter.client.request import Request
from specter.client.sending import exchange
from specter.client.timeouts import Timeouts
from specter.client.url import URL, ParamTypes
from specter.errors import StreamClosed, TunnelRefused
from specter.net import clock
from specter.net.tunnel import TunnelTransfer

__all__ = ["CHUNK", "BaseTunnel", "TunnelRequest", "moment", "open_tunnel", "secure"]

CHUNK: Final = 1 << 16
"""Bytes that are received at a time at most, unless the caller says otherwise."""
REFUSAL: Final = 1 << 16
"""Bytes that are read of the body of a refusal."""
_PROTOCOL: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[!-9;-?A-~]+):[0-9]{1,5}")

R = TypeVar("R", bound=BaseResponse)


class TunnelRequest(Request):
    """CONNECT: to what ``url`` names, to speak ``protocol``; without a protocol to ``target``, a host and a port.

    Raises:
        ValueError: a protocol or target that is none, or not exactly one of the two.
    """

    __slots__ = ("protocol", "target")
    carrier = TunnelTransfer

    def __init__(
        self,
        url: str | URL,
        *,
        protocol: str | None,
        target: str | None = None,
        params: ParamTypes = None,
        headers: HeaderTypes | None = None,
    ) -> None:
        if (protocol is None) == (target is None):
            raise ValueError("a tunnel has either a protocol or, as a plain CONNECT, a target")
        if protocol is not None and not _PROTOCOL.fullmatch(protocol):
            raise ValueError(f"{protocol!r} is not a protocol")
        if target is not None and not _TARGET.fullmatch(target):
            raise ValueError(f"{target!r} is not a host and a port")
        super().__init__("CONNECT", url, params=params, headers=headers)
        self.protocol = protocol
        self.target = target

    def fields(self) -> list[tuple[bytes, bytes]]:
        method, scheme, authority, path, *lines = super().fields()
        if self.protocol is not None:
            return [method, (b":protocol", self.protocol.encode()), scheme, authority, path, *lines]
        return [method, (b":authority", (self.target or "").encode()), *lines]


def secure(url: str | URL) -> str | URL:
    """Return the ``https`` URL that a ``wss`` URL stands for (RFC 8441, section 5)."""
    if isinstance(url, str) and url[:6].lower() == "wss://":
        return f"https://{url[6:]}"
    return url


async def open_tunnel(
    pool: Pool[Any], request: TunnelRequest, limits: Timeouts, respond: type[R]
) -> tuple[R, TunnelTransfer]:
    """Return the server's answer, a ``respond``, and the open tunnel.

    Raises:
        TunnelRefused: the server answered with a status other than 2xx.
        TunnelUnsupported: it does not offer extended CONNECT.
    """
    response = await exchange(pool, request, limits, respond)
    transfer = response._source
    assert isinstance(transfer, TunnelTransfer)
    if response.is_success:
        response._hand_over()
        if limits.total is not None:
            transfer.renew(Timeouts(limits, total=None).start())
        return response, transfer
    transfer.send_eof()
    await response._read_beginning(REFUSAL)
    what = f"{response.status_code} {response.reason_phrase}".rstrip()
    raise TunnelRefused(f"{request.url.origin} refused the tunnel: {what}", response=response)


class BaseTunnel(Generic[R]):
    """Bytes in both directions, each of which has its own end.

    One caller may send while another receives.
    """

    def __init__(self, response: R, transfer: TunnelTransfer) -> None:
        self.response = response
        """The server's answer: status, header fields, ``connection``."""
        self._transfer = transfer
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self._transfer.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.response.request.url}>"

    def _use(self) -> TunnelTransfer:
        if self._closed:
            raise StreamClosed("the tunnel is closed")
        return self._transfer


def moment(timeout: float | None) -> int:
    """Return when a wait of so many seconds that starts now is over (ns)."""
    if timeout is None:
        return NEVER
    if timeout < 0:
        raise ValueError("a timeout is not negative")
    return clock.after(clock.now(), timeout)
