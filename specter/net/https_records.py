"""HTTPS records: what the DNS says about where and how an origin is served (RFC 9460).

The walk from one question to the next is a generator that knows nothing of sockets; :class:`HttpsRecords` takes its
questions to the DNS, through ``dnspython`` (the extra ``dns``). Where an answer is missing, late or malformed there
simply is no information: that is never an error of the request that wanted to know.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from specter.net import clock
from specter.net.clock import SECOND
from specter.net.resolver import literal

if TYPE_CHECKING:
    from dns.resolver import Answer
    from dns.resolver import Resolver as DnsResolver

__all__ = ["NO_RECORDS", "HttpsRecords", "Records", "Service"]

HTTPS_PORT: Final = 443
ALIASES: Final = 8
"""AliasMode records that are followed one after the other."""
SERVICES: Final = 16
"""ServiceMode records that are looked at; those of the best priority come first."""
HINTS: Final = 8
LONGEST: Final = 86_400
"""Seconds that an answer counts at most, ..."""
SHORTEST: Final = 60
"""... and at least; also when there was none."""

_MANDATORY, _ALPN, _NO_DEFAULT_ALPN, _PORT, _IPV4HINT, _ECH, _IPV6HINT = range(7)
_UNDERSTOOD: Final = frozenset({_ALPN, _NO_DEFAULT_ALPN, _PORT, _IPV4HINT, _IPV6HINT})

logger = logging.getLogger("specter")


@dataclass(frozen=True, slots=True)
class Service:
    """A ServiceMode record: ``host`` and ``port`` serve the origin, with the protocols of ``alpn``.

    ``hints`` are addresses of ``host``, for when looking it up gives none. ``ech`` is an ECHConfigList, or empty.
    """

    priority: int
    host: str
    port: int
    alpn: tuple[bytes, ...]
    hints: tuple[str, ...] = ()
    ech: bytes = b""


@dataclass(frozen=True, slots=True)
class Records:
    """The services of an origin, the preferred one first, and how long (ns) that may be believed."""

    services: tuple[Service, ...]
    lifetime: int


NO_RECORDS: Final = Records((), SHORTEST * SECOND)

Question = str
Walk = Generator[Question, "Answer | None", Records]


class HttpsRecords:
    """Looks up HTTPS records.

    * ``nameservers``, ``port``: whom to ask, by default those of the system
    * ``timeout``: seconds for all questions of one lookup

    Raises:
        ImportError: ``dnspython`` is not installed.
    """

    def __init__(self, *, nameservers: Sequence[str] | None = None, port: int = 53, timeout: float = 1.0) -> None:
        import dns.resolver

        if not timeout > 0:
            raise ValueError("timeout is a number of seconds above 0")
        self._timeout = timeout
        self._resolver = dns.resolver.Resolver(configure=nameservers is None)
        if nameservers is not None:
            self._resolver.nameservers = list(nameservers)
            self._resolver.port = port

    def lookup(self, host: str, port: int = HTTPS_PORT) -> Records:
        """Return what the DNS says about ``https://host:port``; blocks for ``timeout`` seconds at most."""
        walk = _walk(host, port)
        answer: Answer | None = None
        left = _Allowance(self._timeout)
        while True:
            try:
                question = walk.send(answer)
            except StopIteration as end:
                return _result(end)
            answer = _ask(self._resolver, question, left)


class _Allowance:
    """What is left of the time for a lookup."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = clock.after(clock.now(), seconds)

    def seconds(self) -> float:
        return max((self._end - clock.now()) / SECOND, 0.001)


def _result(end: StopIteration) -> Records:
    records: Records = end.value
    return records


def _ask(resolver: DnsResolver, name: Question, left: _Allowance) -> Answer | None:
    try:
        return resolver.resolve(name, "HTTPS", lifetime=left.seconds(), raise_on_no_answer=False, search=False)
    except Exception as error:
        _note(name, error)
        return None


def _note(name: Question, error: Exception) -> None:
    """No answer, an error code, a malformed message, no network: all the same."""
    logger.debug("no HTTPS records for %s: %s", name, error)


# -- the walk, without a socket -------------------------------------------------------------------


def _walk(host: str, port: int) -> Walk:
    """Yield the names to ask for, take the answers, return the result (section 3)."""
    if literal(host, port) is not None:
        return NO_RECORDS
    name = host if port == HTTPS_PORT else f"_{port}._https.{host}"
    lifetime = LONGEST
    for _ in range(ALIASES + 1):
        answer = yield name
        if answer is None or answer.rrset is None:
            return NO_RECORDS
        lifetime = min(lifetime, max(answer.rrset.ttl, SHORTEST))
        owner = _name(answer.rrset.name)
        aliases = [record for record in answer.rrset if record.priority == 0]
        if not aliases:
            return Records(_services(answer.rrset, owner, port), lifetime * SECOND)
        name = min(_name(record.target) for record in aliases)
        if not name:
            return Records((), lifetime * SECOND)
    return NO_RECORDS


def _services(records: Iterable[Any], owner: str, port: int) -> tuple[Service, ...]:
    ordered = sorted(records, key=lambda record: record.priority)
    made = [_service(record, owner, port) for record in ordered[:SERVICES]]
    return tuple(service for service in made if service is not None)


def _service(record: Any, owner: str, port: int) -> Service | None:
    """Read a record; None for one that must not be used by who does not understand all it takes (section 8)."""
    params = record.params
    mandatory = params.get(_MANDATORY)
    if mandatory is not None and not _UNDERSTOOD.issuperset(int(key) for key in mandatory.keys):
        return None
    host = _name(record.target) or owner
    where = params.get(_PORT)
    ech = params.get(_ECH)
    return Service(
        priority=record.priority,
        host=host,
        port=port if where is None or not where.port else where.port,
        alpn=_alpn(params),
        hints=_hints(params),
        ech=b"" if ech is None else bytes(ech.ech),
    )


def _alpn(params: Any) -> tuple[bytes, ...]:
    """Return the protocols: those listed, and HTTP/1.1 unless that is ruled out (section 7.1)."""
    listed = params.get(_ALPN)
    protocols = () if listed is None else tuple(bytes(name) for name in listed.ids)
    return protocols if _NO_DEFAULT_ALPN in params else (*protocols, b"http/1.1")


def _hints(params: Any) -> tuple[str, ...]:
    found = [params.get(key) for key in (_IPV6HINT, _IPV4HINT)]
    return tuple(str(address) for hint in found if hint is not None for address in list(hint.addresses)[:HINTS])


def _name(name: Any) -> str:
    """Return a domain name as text without the final dot; the root is empty."""
    text: str = name.to_text(omit_final_dot=True)
    return "" if text in (".", "@") else text.lower()
