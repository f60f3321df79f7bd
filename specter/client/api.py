"""Requests without a client: each makes one, and closes its connection afterwards.

For more than one request to a server, a :class:`~specter.client.client.Client` saves the handshakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack, cast

from specter.client.client import Client
from specter.client.options import ConnectionOptions, RequestOptions, SingleRequestOptions
from specter.client.response import Response
from specter.client.url import URL

__all__ = ["delete", "get", "head", "options", "patch", "post", "put", "request", "stream"]

_CONNECTION = frozenset(ConnectionOptions.__annotations__)


def _split(options: SingleRequestOptions) -> tuple[ConnectionOptions, RequestOptions]:
    """Tell the client's options from the request's. A client of one connection has no use for tickets."""
    own = {"session_cache": False} | {name: value for name, value in options.items() if name in _CONNECTION}
    rest = {name: value for name, value in options.items() if name not in _CONNECTION}
    return cast("ConnectionOptions", own), cast("RequestOptions", rest)


def request(method: str, url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """Send one request and return its response.

    ``options`` are those of :meth:`Client.request` (``params``, ``headers``, ``content``, ``data``, ``json``,
    ``timeout``) and those of :class:`Client` that concern the connection (``verify``, ``cert``, ``resolve``,
    ``keylog``, ``congestion`` ...). Sessions are kept only in a ``session_cache`` that is given.
    """
    own, rest = _split(options)
    with Client(**own) as client:
        return client.request(method, url, **rest)


@contextmanager
def stream(method: str, url: str | URL, **options: Unpack[SingleRequestOptions]) -> Iterator[Response]:
    """Like :func:`request`, with the body still to be read: ``with specter.stream("GET", url) as response:``"""
    own, rest = _split(options)
    with Client(**own) as client, client.stream(method, url, **rest) as response:
        yield response


def get(url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """GET; ``options`` are those of :func:`request`."""
    return request("GET", url, **options)


def head(url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """HEAD; ``options`` are those of :func:`request`."""
    return request("HEAD", url, **options)


def options(url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """OPTIONS; ``options`` are those of :func:`request`."""
    return request("OPTIONS", url, **options)


def post(url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """POST; ``options`` are those of :func:`request`."""
    return request("POST", url, **options)


def put(url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """PUT; ``options`` are those of :func:`request`."""
    return request("PUT", url, **options)


def patch(url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """PATCH; ``options`` are those of :func:`request`."""
    return request("PATCH", url, **options)


def delete(url: str | URL, **options: Unpack[SingleRequestOptions]) -> Response:
    """DELETE; ``options`` are those of :func:`request`."""
    return request("DELETE", url, **options)
