from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specter.tls.names import Address, ip_address


@pytest.mark.parametrize("text", ["192.0.2.1", "::1", "::", "2001:db8::192.0.2.1", "fe80::1%eth0", "::ffff"])
def test_addresses(text: str) -> None:
    assert ip_address(text) == ipaddress.ip_address(text)


@pytest.mark.parametrize(
    "text", ["", "example.com", "host1", "1.2.3", "192.0.2.1.", "192.0.2.256", "a:b", "[::1]", "0x7f.1"]
)
def test_names(text: str) -> None:
    assert ip_address(text) is None


@given(st.text("0123456789abf.:%", max_size=12) | st.text(max_size=8) | st.ip_addresses().map(str))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_it_knows_what_the_library_knows(text: str) -> None:
    known: Address | None
    try:
        known = ipaddress.ip_address(text)
    except ValueError:
        known = None
    assert ip_address(text) == known
