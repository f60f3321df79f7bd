"""``-F`` and the other ways to send something."""

from __future__ import annotations

import io
import json
import os
import subprocess
from email import policy
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter.cli.form import Multipart, Part, multipart, parse_part
from specter.testing import Server
from tests.cli.support import Run, command


def decoded(kind: str, body: bytes) -> list[Message]:
    """Let a parser that others wrote take a form apart."""
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    assert message.is_multipart()
    assert not message.defects
    return list(message.iter_parts())  # type: ignore[attr-defined]


def everything(form: Multipart, size: int = -1) -> bytes:
    return b"".join(iter(lambda: form.read(size), b""))


def test_a_form_with_files_arrives(run: Run, folder: Path) -> None:
    (folder / "page.html").write_bytes(b"<p>\r\n--specter-\r\n")
    (folder / "note").write_bytes(b"from a file")
    words = ["-F", "a=text;type=text/x", "-F", "b=@page.html", "-F", "c=<note", "-F", 'd=@note;filename="n;\\".txt"']
    status, out, _ = run("URL/body", "-i", *words)
    head, _, body = out.partition(b"\r\n\r\n")
    assert status == 0
    kind = next(line for line in head.decode().split("\r\n") if line.startswith("content-type:")).partition(": ")[2]
    first, second, third, fourth = decoded(kind, body)
    assert first["content-disposition"].params == {"name": "a"}
    assert (first.get_content_type(), first.get_payload()) == ("text/x", "text")
    assert second["content-disposition"].params == {"name": "b", "filename": "page.html"}
    assert (second.get_content_type(), second.get_payload(decode=True)) == ("text/html", b"<p>\r\n--specter-\r\n")
    assert (third["content-disposition"].params, third.get_payload()) == ({"name": "c"}, "from a file")
    assert fourth["content-disposition"].params["filename"] == "n;%22.txt"


def test_the_length_is_known_beforehand(run: Run, folder: Path) -> None:
    (folder / "large").write_bytes(bytes(300_000))
    _, out, _ = run("URL/headers", "-F", "a=@large", "-F", "b=c")
    fields = dict(json.loads(out)["headers"])
    assert int(fields["content-length"]) > 300_000
    assert fields["content-type"].startswith("multipart/form-data; boundary=specter-")


def test_standard_input_is_a_file_too(server: Server) -> None:
    words = command(f"{server.url}/body", "--cacert", server.ca_file, "-F", "a=@-;type=text/plain")
    done = subprocess.run(words, input=b"typed", capture_output=True, check=True, timeout=30)
    assert b'name="a"; filename="-"\r\nContent-Type: text/plain\r\n\r\ntyped\r\n' in done.stdout


@pytest.mark.parametrize("word", ["no equals", "=x", "a=@missing", "a=<missing", "a=b;type=x\ny"])
def test_forms_that_cannot_be(run: Run, folder: Path, word: str) -> None:
    status, out, err = run("URL/body", "-F", word)
    assert status in (1, 2)
    assert (out, err.count("\n")) == (b"", 1)


def test_a_file_that_shrinks_while_it_is_sent(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "file"
    path.write_bytes(bytes(100_000))
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: _grown(real(*a, **k)) if a[0] == Path("file") else real(*a, **k))
    status, out, err = run("URL/digest", "-F", "a=@file")
    assert (status, out) == (1, b"")
    assert err == "specter: file became shorter while it was sent\n"


def _grown(result: os.stat_result) -> os.stat_result:
    fields = list(result)
    fields[6] += 50_000
    return os.stat_result(fields)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a=b", Part("a", b"b")),
        ("a=b=c;d", Part("a", b"b=c;d")),
        ("a=", Part("a", b"")),
        ("a=b;type=x/y", Part("a", b"b", None, "x/y")),
        ("a=b; type=x/y ; filename=f", Part("a", b"b", "f", "x/y")),
        ("a=type=x", Part("a", b"type=x")),
        ("a=@p.json", Part("a", Path("p.json"), "p.json", "application/json")),
        ("a=@d/p;filename=q", Part("a", Path("d/p"), "q", "application/octet-stream")),
    ],
)
def test_parts_are_taken_apart(text: str, part: Part) -> None:
    assert parse_part(text) == part


def test_names_cannot_break_out() -> None:
    part = Part('a"\r\nX: y', b"", 'f"\r\n', None)
    assert part.head == b'Content-Disposition: form-data; name="a%22%0D%0AX: y"; filename="f%22%0D%0A"\r\n\r\n'


@settings(max_examples=100, deadline=None, derandomize=True)
@given(contents=st.lists(st.binary(max_size=300), min_size=1, max_size=5), size=st.integers(1, 400))
def test_reading_in_any_pieces_gives_the_same(contents: list[bytes], size: int) -> None:
    form = Multipart([Part(f"n{index}", data) for index, data in enumerate(contents)], "edge")
    whole = everything(form)
    assert form.tell() == len(whole) == form.seek(0, io.SEEK_END)
    assert form.read(10) == b""
    form.seek(0)
    assert everything(form, size) == whole
    assert whole.count(b"--edge\r\n") >= len(contents)
    assert whole.endswith(b"\r\n--edge--\r\n")


def test_only_the_start_and_the_end_can_be_sought() -> None:
    form = multipart(["a=b"])
    with pytest.raises(OSError, match="from its start"):
        form.seek(3)


def test_boundaries_differ() -> None:
    assert multipart(["a=b"]).boundary != multipart(["a=b"]).boundary


# -- other bodies -----------------------------------------------------------------------------------------


def test_upload_file(run: Run, folder: Path) -> None:
    (folder / "data.bin").write_bytes(b"12345")
    _, out, _ = run("-T", "data.bin", "URL/headers/")
    said = json.loads(out)
    assert (said["method"], said["target"]) == ("PUT", "/headers/data.bin")
    assert dict(said["headers"])["content-length"] == "5"
    assert "content-type" not in dict(said["headers"])


def test_upload_from_standard_input(server: Server) -> None:
    words = command(f"{server.url}/digest", "--cacert", server.ca_file, "-T", "-")
    done = subprocess.run(words, input=bytes(150_000), capture_output=True, check=True, timeout=30)
    assert json.loads(done.stdout)["bytes"] == 150_000


def test_get_puts_data_into_the_query(run: Run, folder: Path) -> None:
    (folder / "more").write_text("c=d e")
    _, out, _ = run("-G", "URL/headers?x=y", "-d", "a=b", "-d", "@more")
    said = json.loads(out)
    assert (said["method"], said["target"]) == ("GET", "/headers?x=y&a=b&c=d%20e")
    assert "content-type" not in dict(said["headers"])


def test_user_and_agent(run: Run) -> None:
    _, out, _ = run("URL/headers", "-u", "me:pass", "-A", "mine/1")
    fields = json.loads(out)["headers"]
    assert ["authorization", "Basic bWU6cGFzcw=="] in fields
    assert [value for name, value in fields if name == "user-agent"] == ["mine/1"]
