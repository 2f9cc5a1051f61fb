"""Which addresses are public, and what a user can open."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async import ConfigError
from kling_async.addresses import Gate, is_public, parse, read_networks

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8"]
PRIVATE = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1"),
    *("5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1"),
]
NEVER = [
    "0.0.0.0",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "224.0.0.1",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
]
EVERYTHING = read_networks(["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert Gate().admits(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_not_public(address: str) -> None:
    assert not Gate().admits(address)


@pytest.mark.parametrize(
    "name", ["", "localhost", "clips.example", "127.1", "0x7f000001", "2130706433", "1.2.3", "[::1]"]
)
def test_what_is_not_an_address_is_no_way_round(name: str) -> None:
    assert parse(name) is None
    assert not Gate(loopback=True, networks=EVERYTHING).admits(name)


def test_loopback_is_open_for_the_emulator_and_nothing_else_with_it() -> None:
    gate = Gate(loopback=True)
    assert gate.admits("127.0.0.1")
    assert gate.admits("::1")
    assert gate.admits("8.8.8.8")
    assert not any(gate.admits(address) for address in PRIVATE if not ipaddress.ip_address(address).is_loopback)


def test_a_user_opens_networks() -> None:
    gate = Gate(networks=read_networks(["10.20.0.0/16", "fd12::/16", "192.168.1.7"]))
    assert [gate.admits(address) for address in ("10.20.3.4", "fd12::9", "192.168.1.7")] == [True] * 3
    assert [gate.admits(address) for address in ("10.21.3.4", "fd13::9", "192.168.1.8", "127.0.0.1")] == [False] * 4


@pytest.mark.parametrize("address", NEVER)
def test_some_are_opened_by_nothing(address: str) -> None:
    assert not Gate(networks=EVERYTHING).admits(address)


@pytest.mark.parametrize("networks", ["10.0.0.0/8", ["10.0.0.1/8"], ["somewhere"], 3, [None]])
def test_what_is_no_list_of_networks_is_refused(networks: object) -> None:
    with pytest.raises(ConfigError, match="private_networks"):
        read_networks(networks)  # type: ignore[arg-type]


@given(st.ip_addresses())
def test_never_more_open_than_the_standard_library_says(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """What Python calls private or multicast is never public; where an address holds another one, that decides."""
    if is_public(address) and address not in ipaddress.ip_network("64:ff9b::/96"):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_link_local
