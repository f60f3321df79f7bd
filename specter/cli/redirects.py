"""``-L``: where a redirect leads, with what, and what stays behind (RFC 9110, section 15.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import specter
from specter.cli.failure import Failure

__all__ = ["CREDENTIALS", "Hop", "is_redirect", "next_hop"]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Fields that are for the origin they were typed for, and for no other."""
ABOUT_BODIES: Final = frozenset({"content-type", "content-length", "content-encoding", "content-language"})


@dataclass(frozen=True, slots=True)
class Hop:
    """One request of a chain of redirects."""

    url: specter.URL
    method: str
    headers: tuple[tuple[str, str], ...]
    with_body: bool
    count: int = 0
    """Redirects that led here."""


def is_redirect(response: specter.Response) -> bool:
    return response.status_code in REDIRECTS and "location" in response.headers


def next_hop(hop: Hop, response: specter.Response, limit: int) -> Hop:
    """Return the request that ``response`` asks for.

    Raises:
        Failure: it leads to what HTTP/3 does not serve, or it is one redirect too many.
    """
    if hop.count >= limit:
        raise Failure(f"more than {limit} redirects, the last to {_shown(response.headers['location'])}")
    return _changed(replace(hop, url=_target(hop.url, response), count=hop.count + 1), hop.url, response.status_code)


def _target(url: specter.URL, response: specter.Response) -> specter.URL:
    location = response.headers["location"]
    try:
        return url.join(location)
    except (specter.InvalidURL, specter.UnsupportedProtocol, ValueError) as error:
        raise Failure(f"{url} redirects to {_shown(location)}: {error}") from error


def _changed(hop: Hop, before: specter.URL, status: int) -> Hop:
    """Turn a POST into a GET where browsers do, and leave credentials with the origin they are for."""
    headers = hop.headers
    if hop.url.origin != before.origin:
        headers = tuple(field for field in headers if field[0].lower() not in CREDENTIALS)
    becomes_get = (status == 303 and hop.method != "HEAD") or (status in (301, 302) and hop.method == "POST")
    if not becomes_get:
        return replace(hop, headers=headers)
    headers = tuple(field for field in headers if field[0].lower() not in ABOUT_BODIES)
    return replace(hop, headers=headers, method="GET", with_body=False)


def _shown(location: str) -> str:
    """The server chose these characters: keep what a terminal would obey out of messages."""
    return "".join(char if char.isprintable() else "?" for char in location[:200])
