from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specter.client.url import URL, Origin, encode_params
from specter.errors import Error, InvalidURL, UnsupportedProtocol


@pytest.mark.parametrize(
    ("text", "origin", "target"),
    [
        ("https://example.com", ("example.com", 443), "/"),
        ("https://EXAMPLE.com:443/", ("example.com", 443), "/"),
        ("https://example.com:8443/a?b=c#d", ("example.com", 8443), "/a?b=c"),
        ("HTTPS://example.com/a b".replace(" ", "%20"), ("example.com", 443), "/a%20b"),
        ("https://example.com?q", ("example.com", 443), "/?q"),
        ("https://[::1]:4433/x", ("::1", 4433), "/x"),
        ("https://[fe80::1%25eth0]/", ("fe80::1%eth0", 443), "/"),
        ("https://192.0.2.7/", ("192.0.2.7", 443), "/"),
        ("https://bücher.example/", ("xn--bcher-kva.example", 443), "/"),
        ("https://example.com./", ("example.com.", 443), "/"),
        ("https://under_score.example/", ("under_score.example", 443), "/"),
        ("https://example.com/ü?ä=ö", ("example.com", 443), "/%C3%BC?%C3%A4=%C3%B6"),
        ("https://example.com/100%", ("example.com", 443), "/100%25"),
        ("https://example.com/%7Euser%2f", ("example.com", 443), "/%7Euser%2f"),
        ('https://example.com/<>"{}', ("example.com", 443), "/%3C%3E%22%7B%7D"),
        ("https://example.com//double//slash", ("example.com", 443), "//double//slash"),
    ],
)
def test_what_a_url_says(text: str, origin: tuple[str, int], target: str) -> None:
    url = URL(text)
    assert url.origin == Origin(*origin)
    assert url.target == target


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../a", "/a"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/..", "/"),
        ("/.", "/"),
        ("/a/b/../../..", "/"),
        ("/a/...", "/a/..."),
        ("/.well-known/x", "/.well-known/x"),
    ],
)
def test_dot_segments(path: str, resolved: str) -> None:
    assert URL("https://h" + path).path == resolved


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "//example.com/",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:http/",
        "https://exa mple.com/",
        "https://example.com/a b",
        "https://example.com/a\nb",
        " https://example.com/",
        "https://example.com/\x00",
        "https://[::1/",
        "https://[::g]/",
        "https://[127.0.0.1]/",
        "https://-bad-.example/",
        "https://a..b/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://ex%61mple.com/",
        "https://example.com/" + "a" * 70_000,
        "https://a\u2100b/",
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(InvalidURL):
        URL(text)
    with pytest.raises(ValueError):  # noqa: PT011  it is one, too
        URL(text)


def test_credentials_do_not_show_in_the_error() -> None:
    with pytest.raises(InvalidURL) as caught:
        URL("https://user:secret@example.com/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://example.com/", "ftp://example.com/", "file:///etc/passwd", "HTTP://x/"])
def test_only_https(text: str) -> None:
    with pytest.raises(UnsupportedProtocol):
        URL(text)


def test_the_authority_has_no_default_port_and_no_zone() -> None:
    assert URL("https://a.example:443/").authority == "a.example"
    assert URL("https://a.example:444/").authority == "a.example:444"
    assert URL("https://[fe80::1%25eth0]:444/").authority == "[fe80::1]:444"


def test_text_and_back() -> None:
    text = "https://a.example:444/p?q=1#f"
    assert str(URL(text)) == text
    assert URL(text) == text
    assert URL(URL(text)) == URL(text)
    assert hash(URL(text)) == hash(URL(text))
    assert URL(text) != URL("https://a.example/")


def test_it_does_not_change() -> None:
    with pytest.raises(AttributeError):
        URL("https://a.example/").host = "b.example"


def test_join() -> None:
    page = URL("https://a.example/dir/page?q")
    assert str(page.join("other")) == "https://a.example/dir/other"
    assert str(page.join("/root")) == "https://a.example/root"
    assert str(page.join("//b.example/x")) == "https://b.example/x"
    with pytest.raises(UnsupportedProtocol):
        page.join("http://b.example/")


@pytest.mark.parametrize(
    ("params", "query"),
    [
        (None, ""),
        ({}, ""),
        ({"a": "1", "b": "x y"}, "a=1&b=x+y"),
        ({"a": ["1", "2"]}, "a=1&a=2"),
        ([("a", "1"), ("a", "2")], "a=1&a=2"),
        ({"t": True, "f": False, "n": None, "i": 3, "d": 0.5}, "t=true&f=false&n=&i=3&d=0.5"),
        ({"ü": "&="}, "%C3%BC=%26%3D"),
        ({"raw": b"\xff"}, "raw=%FF"),
        ("a=1&b=2", "a=1&b=2"),
        ("?a=1", "a=1"),
        (b"a=1", "a=1"),
        ("a=x y", "a=x%20y"),
    ],
)
def test_params(params: object, query: str) -> None:
    assert encode_params(params) == query  # type: ignore[arg-type]


def test_params_follow_the_query() -> None:
    assert URL("https://h/?a=1", {"b": 2}).query == "a=1&b=2"
    assert URL("https://h/", {"b": 2}).query == "b=2"
    assert URL("https://h/?a=1", {}).query == "a=1"


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_an_error(text: str) -> None:
    try:
        url = URL("https://" + text)
    except Error:
        return
    assert URL(str(url)) == url
    assert url.target.isascii()
    assert url.host.isascii()
    assert " " not in url.target


@given(st.text(max_size=60))
def test_any_path_can_be_asked_for(text: str) -> None:
    try:
        url = URL("https://h/" + text)
    except InvalidURL:
        return
    assert URL(str(url)) == url


@pytest.mark.parametrize("reference", ["//[/", "//a:b/", "https://[::1", "\ud800"])
def test_a_reference_that_cannot_be_understood(reference: str) -> None:
    with pytest.raises(InvalidURL):
        URL("https://a.example/").join(reference)


@pytest.mark.parametrize("url", ["https://a.example/\udcc3", "https://a.example/?\ud800", "https://\udc80.example/"])
def test_half_a_character_is_no_part_of_a_url(url: str) -> None:
    with pytest.raises(InvalidURL, match="has the character"):
        URL(url)
