"""Field rules where something is remembered: a line seen before means what it meant the first time."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter.h3 import fields
from specter.h3.fields import FieldError, KnownLines, parse_request, parse_response, parse_trailers
from tests.h3.support import GET, OK

QUICK = settings(max_examples=200, deadline=None, derandomize=True)
CHARS = st.sampled_from([bytes([byte]) for byte in b"\0\t\n\r !-:~\x7f\x80\xffaAzZ09"])
TEXT = st.lists(CHARS, max_size=6).map(b"".join) | st.sampled_from(
    [b"te", b"host", b"content-length", b"upgrade", b"1"]
)
LINES = st.lists(st.tuples(TEXT, TEXT | st.just(b"v" * 200) | st.just(b"v" * 200 + b" ")), max_size=4)


def outcome(parse, *arguments, **options):
    try:
        return parse(*arguments, **options)
    except FieldError as error:
        return str(error)


@QUICK
@given(LINES, st.booleans())
def test_quick_look_agrees_with_the_thorough_one(lines, outgoing):
    quick = outcome(fields._regular, lines, 0, KnownLines(), outgoing)
    assert quick == outcome(fields._thorough, lines, outgoing)


@QUICK
@given(LINES, LINES, st.booleans())
def test_known_lines_change_nothing(before, lines, outgoing):
    known = KnownLines()
    with suppress(FieldError):
        parse_trailers(before, known)
    for parse in (
        lambda known: parse_trailers(lines, known, outgoing=outgoing),
        lambda known: parse_response([*OK, *lines], known, outgoing=outgoing),
        lambda known: parse_request([*GET, *lines], known, extended_connect=False, outgoing=outgoing),
    ):
        fresh = outcome(parse, KnownLines())
        assert outcome(parse, known) == fresh
        assert outcome(parse, known) == fresh


@pytest.mark.security
def test_known_lines_are_limited():
    known = KnownLines()
    for number in range(10_000):
        parse_trailers([(b"x-%d" % number, b"v" * (number % 300))], known)
        assert len(known) <= 128
        assert sum(map(len, max(known, key=lambda line: sum(map(len, line))))) <= 128


def test_special_names_are_never_known():
    known = KnownLines()
    parse_request([*GET, (b"te", b"trailers"), (b"host", b"example.org"), (b"a", b"b")], known, extended_connect=False)
    parse_response([*OK, (b"content-length", b"1")], known)
    assert known == {(b"a", b"b")}
