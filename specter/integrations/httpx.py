"""HTTP/3 for httpx (the extra ``httpx``).

::

    import httpx
    from specter.integrations.httpx import Transport

    with httpx.Client(transport=Transport()) as client:
        response = client.get("https://example.com/")
        response.http_version, response.extensions["specter"].reason
"""

from __future__ import annotations

import httpx

from specter.integrations._asyncio import AsyncioTransport
from specter.integrations._blocking import BlockingTransport
from specter.integrations._library import Library
from specter.integrations._outcome import Outcome, Reason

__all__ = ["AsyncTransport", "Outcome", "Reason", "Transport"]

_LIBRARY = Library(httpx)


class Transport(BlockingTransport, httpx.BaseTransport):
    __doc__ = BlockingTransport.__doc__
    _library = _LIBRARY


class AsyncTransport(AsyncioTransport, httpx.AsyncBaseTransport):
    __doc__ = AsyncioTransport.__doc__
    _library = _LIBRARY
