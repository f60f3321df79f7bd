from __future__ import annotations

from typing import Any

import pytest

from specter.client.priority import Priority


@pytest.mark.parametrize(
    ("priority", "value"),
    [(Priority(), "u=3"), (Priority(0), "u=0"), (Priority(7, True), "u=7, i"), (Priority(incremental=True), "u=3, i")],
)
def test_the_field_value(priority: Priority, value: str) -> None:
    assert str(priority) == value
    assert Priority.parse(value) == priority


@pytest.mark.parametrize("urgency", [-1, 8, 2.5, "3", None])
def test_an_urgency_is_0_to_7(urgency: Any) -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        Priority(urgency)


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        ("", Priority()),
        ("i", Priority(incremental=True)),
        ("i=?1,u=5", Priority(5, True)),
        ("i=?0, u=5;x=1", Priority(5)),
        ("\tu=2 ,i;a", Priority(2, True)),
        ("u=1, u=6", Priority(6)),
        ("u=8, i=1", Priority()),
        ("u=10", Priority()),
        ("u=-1, U=1", Priority()),
        ("x=1, nonsense?, =,", Priority()),
        ("u=\u0661", Priority()),
    ],
)
def test_what_others_write(value: str, priority: Priority) -> None:
    assert Priority.parse(value) == priority
