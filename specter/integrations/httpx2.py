"""HTTP/3 for httpx2 (the extra ``httpx2``).

::

    import httpx2
    from specter.integrations.httpx2 import Transport

    with httpx2.Client(transport=Transport()) as client:
        response = client.get("https://example.com/")
        response.http_version, response.extensions["specter"].reason
"""

from __future__ import annotations

import httpx2

from specter.integrations._asyncio import AsyncioTransport
from specter.integrations._blocking import BlockingTransport
from specter.integrations._library import Library
from specter.integrations._outcome import Outcome, Reason

__all__ = ["AsyncTransport", "Outcome", "Reason", "Transport"]

_LIBRARY = Library(httpx2)


class Transport(BlockingTransport, httpx2.BaseTransport):
    __doc__ = BlockingTransport.__doc__
    _library = _LIBRARY


class AsyncTransport(AsyncioTransport, httpx2.AsyncBaseTransport):
    __doc__ = AsyncioTransport.__doc__
    _library = _LIBRARY
