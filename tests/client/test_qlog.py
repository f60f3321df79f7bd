"""``qlog=`` and ``QLOGDIR``: what a person finds in the directory after a few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import specter
from specter.testing.server import Server
from tests.client.support import MakeClient
from tests.qlog_schema import Record, check_file

SECRETS = {
    "authorization": "Bearer s3cret-one",
    "proxy-authorization": "Basic s3cret-two",
    "cookie": "session=s3cret-three",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def events(directory: Path) -> list[Record]:
    """Return the checked events of the one file that is there."""
    (path,) = directory.glob("*_client.sqlog")
    return check_file(path.read_text())


def named(found: list[Record], name: str) -> Iterator[Any]:
    return (event["data"] for event in found if event["name"] == name)


def headers(found: list[Record], name: str) -> list[dict[str, str]]:
    return [
        {field["name"]: field["value"] for field in data["frame"]["headers"]}
        for data in named(found, name)
        if data["frame"]["frame_type"] == "headers"
    ]


def test_requests_and_responses_are_told(server: Server, make_client: MakeClient, directory: Path) -> None:
    with make_client(server, qlog=directory) as client:
        client.get("/bytes/40000", headers={"x-mine": "yes"}).raise_for_status()
        client.post("/echo", content=b"x" * 30_000).raise_for_status()
        client.get("/bytes/40000").raise_for_status()
    found = events(directory)
    requests = headers(found, "http:frame_created")
    assert [(fields[":method"], fields[":path"]) for fields in requests] == [
        ("GET", "/bytes/40000"),
        ("POST", "/echo"),
        ("GET", "/bytes/40000"),
    ]
    assert requests[0]["x-mine"] == "yes"
    responses = headers(found, "http:frame_parsed")
    assert [fields[":status"] for fields in responses] == ["200"] * 3
    created = [data for data in named(found, "http:frame_created") if data["frame"]["frame_type"] == "data"]
    assert sum(data["length"] for data in created) == 30_000
    parsed = [data for data in named(found, "http:frame_parsed") if data["frame"]["frame_type"] == "data"]
    sizes = {stream: sum(data["length"] for data in parsed if data["stream_id"] == stream) for stream in (0, 4, 8)}
    assert sizes == {0: 40_000, 4: 30_000, 8: 40_000}
    streams = {(data["owner"], data["new"]) for data in named(found, "http:stream_type_set")}
    kinds = ("control", "qpack_encode", "qpack_decode")
    assert streams == {("local", "data")} | {(owner, kind) for owner in ("local", "remote") for kind in kinds}
    owners = [data["owner"] for data in named(found, "http:parameters_set")]
    assert sorted(owners) == ["local", "remote"]
    settings = [data["frame"]["settings"] for data in named(found, "http:frame_parsed") if "settings" in data["frame"]]
    assert {setting["name"] for setting in settings[0]} >= {"SETTINGS_QPACK_MAX_TABLE_CAPACITY"}


def test_the_addresses_are_those_of_the_socket(server: Server, make_client: MakeClient, directory: Path) -> None:
    with make_client(server, qlog=directory) as client:
        info = client.get("/bytes/1").connection
        assert info is not None
    (started,) = named(events(directory), "connectivity:connection_started")
    assert (started["src_ip"], started["src_port"]) == info.local_address
    assert (started["dst_ip"], started["dst_port"]) == info.remote_address


def test_credentials_stay_out(server: Server, make_client: MakeClient, directory: Path, tmp_path: Path) -> None:
    keylog = tmp_path / "keys"
    with make_client(server, qlog=directory, keylog=keylog) as client:
        client.get("/bytes/1", headers=SECRETS)
    (path,) = directory.iterdir()
    text = path.read_text()
    assert "s3cret" not in text
    (request,) = headers(events(directory), "http:frame_created")
    assert {request[name] for name in SECRETS} == {"(redacted)"}
    for line in keylog.read_text().splitlines():
        assert line.split()[2] not in text


def test_a_response_sets_no_cookie_in_the_log(start_server: Any, make_client: MakeClient, directory: Path) -> None:
    from specter.testing import Reply

    server = start_server(lambda request: Reply(200, [("set-cookie", "id=s3cret"), ("server", "test")], b"ok"))
    with make_client(server, qlog=directory) as client:
        assert client.get("/").headers["set-cookie"] == "id=s3cret"
    (response,) = headers(events(directory), "http:frame_parsed")
    assert (response["set-cookie"], response["server"]) == ("(redacted)", "test")


def test_each_connection_has_its_file(server: Server, make_client: MakeClient, directory: Path) -> None:
    for _ in range(3):
        with make_client(server, qlog=directory) as client:
            client.get("/bytes/1")
    assert len(list(directory.iterdir())) == 3
    for path in directory.iterdir():
        assert check_file(path.read_text())


def test_the_environment_can_ask_for_it(
    server: Server, make_client: MakeClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLOGDIR", str(directory))
    with make_client(server) as client:
        client.get("/bytes/1")
    assert events(directory)


def test_an_argument_counts_more_than_the_environment(
    server: Server, make_client: MakeClient, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLOGDIR", str(tmp_path / "elsewhere"))
    with make_client(server, qlog=directory) as client:
        client.get("/bytes/1")
    assert events(directory)
    assert not (tmp_path / "elsewhere").exists()


def test_a_single_request_takes_it_too(server: Server, directory: Path) -> None:
    specter.get(f"{server.url}/bytes/1", verify=server.ca_file, qlog=directory)
    assert events(directory)


def test_a_failed_connection_leaves_its_story(directory: Path, black_hole: int) -> None:
    with pytest.raises(specter.ConnectTimeout):
        specter.get(f"https://127.0.0.1:{black_hole}/", qlog=directory, timeout=0.3)
    found = events(directory)
    assert list(named(found, "transport:packet_sent"))
    assert not list(named(found, "transport:packet_received"))
    assert list(named(found, "connectivity:connection_closed"))


def test_the_asyncio_client_keeps_logs_too(server: Server, directory: Path) -> None:
    async def fetch() -> None:
        async with specter.AsyncClient(verify=server.ca_file, qlog=directory) as client:
            (await client.get(f"{server.url}/bytes/40000", headers=SECRETS)).raise_for_status()

    asyncio.run(fetch())
    found = events(directory)
    parsed = [data["length"] for data in named(found, "http:frame_parsed") if data["frame"]["frame_type"] == "data"]
    assert sum(parsed) == 40_000
    assert {headers(found, "http:frame_created")[0][name] for name in SECRETS} == {"(redacted)"}
    assert list(named(found, "connectivity:connection_closed"))


def test_early_data_is_in_the_log(server: Server, directory: Path) -> None:
    cache = specter.SessionCache()
    for _ in range(2):
        with specter.Client(verify=server.ca_file, qlog=directory, session_cache=cache, early_data=True) as client:
            assert client.get(f"{server.url}/bytes/1").status_code == 200
    logs = [check_file(path.read_text()) for path in directory.iterdir()]
    early = [
        data
        for found in logs
        for data in named(found, "transport:packet_sent")
        if data["header"]["packet_type"] == "0RTT"
    ]
    assert early
    assert all("stream" in [frame["frame_type"] for frame in data["frames"]] for data in early)


def test_a_directory_that_is_none_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        specter.Client(verify=server.ca_file, qlog=tmp_path / "file")
