from __future__ import annotations

import os
import select

import pytest

from specter.net.waker import Waker


def readable(waker: Waker) -> bool:
    return bool(select.select([waker.fd], [], [], 0)[0])


@pytest.mark.parametrize("has_eventfd", [True, False])
def test_waking_and_clearing(monkeypatch: pytest.MonkeyPatch, has_eventfd: bool) -> None:
    if not has_eventfd:
        monkeypatch.delattr(os, "eventfd", raising=False)
    waker = Waker()
    assert not readable(waker)
    waker.clear()
    for _ in range(70_000 if not has_eventfd else 3):  # more than a socket holds
        waker.wake()
    assert readable(waker)
    while readable(waker):
        waker.clear()
    waker.wake()
    assert readable(waker)
    waker.close()
    waker.close()
    waker.wake()
    waker.clear()
