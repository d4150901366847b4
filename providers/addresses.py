"""Which addresses lead inside: to this machine, to the network around it, or to a cloud's metadata.

A provider's name that resolves to one of them is either a mistake or an attack: with per-tenant URLs a user
decides a part of the name, and a name server anybody's answer. The networks are IANA's special-purpose
registries (RFC 6890) and multicast; a list of our own, because what the standard library knows of them
differs between its versions.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_INSIDE_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host, unspecified (RFC 791 §3.2)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # behind a carrier's NAT (RFC 6598); Alibaba's metadata too
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local (RFC 3927); most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments (RFC 6890); Oracle's metadata
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # Azure's own services; public by its number alone
    )
)
_INSIDE_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "::/128",  # unspecified
        "::1/128",  # loopback
        "64:ff9b:1::/48",  # NAT64 of a network's own (RFC 8215)
        "100::/64",  # discard (RFC 6666)
        "2001::/23",  # protocol assignments, Teredo among them (RFC 2928)
        "2001:db8::/32",  # documentation (RFC 3849)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
        "fc00::/7",  # unique local (RFC 4193); Amazon's metadata too
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, once
        "ff00::/8",  # multicast
    )
)
#: IPv6 networks whose addresses stand for an IPv4 address, and by how many bits it is shifted.
_CARRYING_V4: Final = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped (RFC 4291 §2.5.5.2)
    (IPv6Network("::/96"), 0),  # compatible, once (§2.5.5.1)
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated (RFC 2765)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052)
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
)


def points_inside(text: str) -> bool:
    """Say whether an address, as a name server's answer has it, leads inside; what is no address does."""
    try:
        address = ip_address(text)
    except ValueError:
        return True
    return _v4_inside(address) if isinstance(address, IPv4Address) else _v6_inside(address)


def _v4_inside(address: IPv4Address) -> bool:
    return any(address in network for network in _INSIDE_V4)


def _v6_inside(address: IPv6Address) -> bool:
    # A scope ("%eth0") is given with link-local addresses alone, and takes part in comparisons.
    plain = IPv6Address(int(address))
    if any(plain in network for network in _INSIDE_V6):
        return True
    for network, shift in _CARRYING_V4:
        if plain in network:
            return _v4_inside(IPv4Address(int(plain) >> shift & 0xFFFFFFFF))
    return False
