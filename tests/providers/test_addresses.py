"""Which addresses lead inside: loopback, private, link-local, multicast, and what stands for them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.addresses import points_inside

INSIDE_V4 = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
]  # fmt: skip
OUTSIDE_V4 = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.1", "168.63.129.17", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
]  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        *INSIDE_V4,
        "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
        "2001:db8::1", "2001::1", "64:ff9b:1::1", "100::1", "nonsense", "", "127.1", "0x7f.1",
    ],
)  # fmt: skip
def test_it_leads_inside(address: str) -> None:
    assert points_inside(address)


@pytest.mark.parametrize("address", [*OUTSIDE_V4, "2606:4700:4700::1111", "2a00:1450:4001::1", "2003::1"])
def test_it_leads_outside(address: str) -> None:
    assert not points_inside(address)


def forms(address: IPv4Address) -> list[IPv6Address]:
    """The IPv6 addresses that stand for an IPv4 address: mapped, compatible, translated, NAT64, 6to4."""
    number = int(address)
    prefixes = ["::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"]
    found = [IPv6Address(int(IPv6Address(prefix)) | number) for prefix in prefixes]
    return [*found, IPv6Address(int(IPv6Address("2002::")) | number << 80)]


@settings(deadline=None)
@given(st.sampled_from(INSIDE_V4) | st.sampled_from(OUTSIDE_V4))
def test_what_stands_for_an_address_leads_where_it_does(text: str) -> None:
    address = IPv4Address(text)

    assert {points_inside(str(form)) for form in forms(address)} == {points_inside(text)}


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_private_address_is_let_out(number: int) -> None:
    """Whatever the standard library calls private, loopback, multicast and so on leads inside."""
    address = IPv4Address(number)
    inside = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )

    assert points_inside(str(address)) or not inside
