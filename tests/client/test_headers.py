from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter.client.headers import Headers


def test_names_have_no_case() -> None:
    headers = Headers({"Content-Type": "text/plain"})
    assert headers["content-type"] == headers["CONTENT-TYPE"] == "text/plain"
    assert "CoNtEnT-tYpE" in headers
    assert "other" not in headers
    assert 5 not in headers
    assert headers.get("other") is None
    assert headers.get("other", "x") == "x"
    with pytest.raises(KeyError):
        headers["other"]


def test_repetitions_are_kept_in_order() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("A", "3")])
    assert headers["a"] == "1, 3"
    assert headers.get_list("a") == ["1", "3"]
    assert headers.raw == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert headers.multi_items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert list(headers) == ["a", "b"]
    assert dict(headers) == {"a": "1, 3", "b": "2"}
    assert list(headers.items()) == [("a", "1, 3"), ("b", "2")]
    assert len(headers) == 2


def test_commas_can_be_split() -> None:
    headers = Headers([("a", "1, 2"), ("a", "3")])
    assert headers.get_list("a", split_commas=True) == ["1", "2", "3"]


def test_setting_takes_the_place_of_the_first() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")])
    headers["A"] = "5"
    assert headers.multi_items() == [("a", "5"), ("b", "2")]
    headers["c"] = "6"
    assert headers.multi_items()[-1] == ("c", "6")
    headers.add("c", "7")
    assert headers.get_list("c") == ["6", "7"]
    del headers["C"]
    assert "c" not in headers
    with pytest.raises(KeyError):
        del headers["c"]


def test_update_replaces_by_name() -> None:
    headers = Headers([("a", "1"), ("a", "2"), ("b", "3")])
    headers.update([("A", "4"), ("A", "5"), ("c", "6")])
    assert headers.multi_items() == [("b", "3"), ("a", "4"), ("a", "5"), ("c", "6")]
    headers.update(None)
    assert len(headers) == 3


def test_copies_are_independent() -> None:
    headers = Headers({"a": "1"})
    copy = headers.copy()
    copy["a"] = "2"
    assert headers["a"] == "1"
    assert Headers(headers) == headers


def test_equality_ignores_order() -> None:
    assert Headers([("a", "1"), ("b", "2")]) == Headers([("B", "2"), ("A", "1")])
    assert Headers({"a": "1"}) == {"A": "1"}
    assert Headers({"a": "1"}) != {"a": "2"}
    assert Headers({"a": "1"}) != 5


def test_bytes_are_fine_and_text_is_utf_8() -> None:
    headers = Headers({b"A": b"caf\xc3\xa9", b"B": b"\xe9"})
    assert headers["a"] == "café"
    assert headers["b"] == "é"
    assert Headers({"a": "é"}).raw == [(b"a", b"\xc3\xa9")]


@pytest.mark.parametrize("bad", [{"a": 1}, {1: "a"}, [("a", None)]])
def test_other_types_are_refused(bad: object) -> None:
    with pytest.raises(TypeError):
        Headers(bad)  # type: ignore[arg-type]


def test_surrounding_space_goes() -> None:
    assert Headers({"a": " x\t"}).raw == [(b"a", b"x")]


def test_secrets_do_not_show() -> None:
    shown = repr(Headers({"Authorization": "Bearer 123", "cookie": "session=1", "x": "y"}))
    assert "123" not in shown
    assert "session" not in shown
    assert "y" in shown


@given(st.lists(st.tuples(st.sampled_from("abcABC"), st.text("xyz", max_size=3))))
def test_like_a_list_of_pairs(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    assert headers.multi_items() == [(name.lower(), value) for name, value in pairs]
    for name in "abc":
        values = [value for key, value in pairs if key.lower() == name]
        assert headers.get_list(name) == values
        assert headers.get(name) == (", ".join(values) if values else None)
