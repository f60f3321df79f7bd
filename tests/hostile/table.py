"""What a row of the conformance table is."""

from __future__ import annotations

from dataclasses import dataclass

from tests.hostile.server import Said

BREACHES = "hostile/test_breaches.py::test_the_client_answers_with_the_code"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule, and what the hostile server says to break it.

    ``rule`` is an RFC, a section and, where a section has several rules, the paragraph.
    """

    rule: str
    fault: str
    said: tuple[Said, ...]
    code: str
    on_stream: bool = False
    """Only the request fails; the connection goes on."""

    tunnel: bool = False
    """The request is a CONNECT."""

    @property
    def test(self) -> str:
        return f"{BREACHES}[{self.rule}: {self.fault}]"


@dataclass(frozen=True, slots=True)
class Reference:
    """A rule whose breach is tested elsewhere: a test below ``tests``, with all its parameters or those in brackets."""

    rule: str
    fault: str
    code: str
    test: str
    on_stream: bool = False
