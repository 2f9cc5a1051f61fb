"""Which addresses a file may be fetched from: public ones, and those that the user has named.

Stage: decider. Before: a host name's addresses. After: fetch. Pure: the same arguments give the same answer.

Theory: the address of a file is told by a host, so whoever can make the host tell an address could otherwise make the
caller's machine ask what only it can reach: a neighbour, its own services, the cloud's metadata. The list is our own,
because what `ipaddress` calls global differs between Python's releases and includes multicast.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final

import attrs

from .errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Source: IANA's registries of special-purpose addresses, IPv4 and IPv6.
_NOT_PUBLIC_4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a provider's customers
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "168.63.129.16/32",  # metadata of one large cloud, at an address that looks public
    )
)
_PUBLIC_6: Final = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # of the protocol's own, tunnels among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
# An IPv4 address as networks that have only IPv6 write it: as good as the one it holds. Source: RFC 6052.
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")

# What no list of the user's can open: nobody keeps files there, and a cloud's keys are told there.
_NEVER: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "224.0.0.0/3",
        "::/128",
        "fe80::/10",
        "fd00:ec2::254/128",
        "ff00::/8",
    )
)


def parse(host: str) -> Address | None:
    """Read a literal address, without the zone of an IPv6 one; None: it is a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public internet, and to one machine there."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _TRANSLATED:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


@attrs.frozen(kw_only=True)
class Gate:
    """Which addresses may be connected to.

    Attributes:
        networks: private networks that the user has opened.
        loopback: whether this machine's own addresses are open, as for the emulator.
    """

    networks: tuple[Network, ...] = ()
    loopback: bool = False

    def admits(self, host: str) -> bool:
        """Tell whether a literal address may be connected to; a name may not: it has to be resolved first."""
        address = parse(host)
        if address is None:
            return False
        if self.loopback and address.is_loopback:
            return True
        if is_public(address):
            return True
        opened = any(address in network for network in self.networks)
        return opened and not any(address in network for network in _NEVER)


def read_networks(networks: Collection[str]) -> tuple[Network, ...]:
    """Read what a user gave as `private_networks`.

    Raises:
        ConfigError: not a collection of networks or addresses.
    """
    if isinstance(networks, str):
        raise ConfigError(f"private_networks={networks!r} must be a list of networks: [{networks!r}]")
    try:
        return tuple(ipaddress.ip_network(network) for network in networks)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"private_networks must hold networks as '10.20.0.0/16': {error}") from None
