"""Event logs as files: where, for whom, complete, and never in anybody's way."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from specter.net.qlog import BUFFER, DELAY, QlogDirectory, QlogFile
from tests.qlog_schema import check_file, parse

DCID = bytes.fromhex("0123456789abcdef")
START = 5_000_000_000_000
SET = ("http:stream_type_set", {"stream_id": 0, "new": "data"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0123456789abcdef_client.sqlog"


def opened(tmp_path: Path) -> QlogFile:
    return QlogDirectory(tmp_path)(DCID, True, START)


def test_a_file_is_a_json_text_sequence(tmp_path: Path, path: Path) -> None:
    log = opened(tmp_path)
    log.write(START, *SET)
    log.write(START + 1_234_567, *SET)
    log.finish()
    events = check_file(path.read_text())
    assert [event["time"] for event in events] == [0, 1.234567]
    header, _ = parse(path.read_text())
    assert header["trace"]["common_fields"]["group_id"] == DCID.hex()
    assert header["trace"]["common_fields"]["time_format"] == "relative"
    assert header["trace"]["vantage_point"]["type"] == "client"


def test_the_directory_is_made_and_the_file_is_the_owners(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "logs"
    QlogDirectory(directory)(DCID, False, START).finish()
    (made,) = directory.iterdir()
    assert made.name == "0123456789abcdef_server.sqlog"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        QlogDirectory(tmp_path / "file" / "logs")


def test_little_is_held_back(tmp_path: Path, path: Path) -> None:
    log = opened(tmp_path)
    most = 0
    for number in range(5000):
        log.write(START + number, *SET)
        most = max(most, log._file.waiting)
    assert most <= BUFFER + 200
    assert path.stat().st_size > 5000 * 50 - 2 * BUFFER
    before = path.stat().st_size
    log.write(START + 2 * DELAY, *SET)
    assert path.stat().st_size > before
    log.finish()
    assert len(check_file(path.read_text())) == 5001


def test_a_forgotten_log_is_written_to_its_end(tmp_path: Path, path: Path) -> None:
    log = opened(tmp_path)
    log.write(START, *SET)
    descriptor = log._file._descriptor
    os.fstat(descriptor)
    del log
    gc.collect()
    assert len(check_file(path.read_text())) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_full_disk_is_said_once_and_harms_nobody(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    path.symlink_to("/dev/full")
    log = opened(tmp_path)
    with caplog.at_level(logging.WARNING, "specter.qlog"):
        for number in range(10):
            log.write(START + number * DELAY, *SET)
        log.finish()
    (record,) = caplog.records
    assert "No space left" in record.getMessage()
    assert log._file.waiting == 0


def test_a_file_that_cannot_be_opened_is_done_without(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    with caplog.at_level(logging.WARNING, "specter.qlog"):
        log = opened(tmp_path)
    log.write(START, *SET)
    log.finish()
    assert len(caplog.records) == 1


def test_a_forked_child_writes_nothing(tmp_path: Path, path: Path) -> None:
    log = opened(tmp_path)
    log.write(START, *SET)
    child = multiprocessing.get_context("fork").Process(target=log.finish)
    child.start()
    child.join()
    assert path.read_text() == ""
    log.finish()
    assert len(check_file(path.read_text())) == 1
