"""Addresses and subnets: who gets which."""

from __future__ import annotations

import ipaddress

import pytest

from onggi.errors import Conflict, Forbidden, InvalidArgument
from onggi.network.addresses import Addresses, Pools, check_config, settle_config
from onggi.network.records import IpamConfig


def test_addresses_follow_each_other_and_a_freed_one_rests() -> None:
    pool = Addresses("10.1.0.0/24")
    first, second = pool.take(), pool.take()
    assert (first, second) == ("10.1.0.2/24", "10.1.0.3/24")
    pool.give_back(first)
    assert pool.take() == "10.1.0.4/24"


def test_a_full_subnet_gives_what_is_freed_and_then_nothing() -> None:
    pool = Addresses("10.1.0.0/29")
    given = [pool.take() for _ in range(5)]
    assert len(set(given)) == 5
    with pytest.raises(Conflict, match="no available addresses on this pool"):
        pool.take()
    pool.give_back(given[2])
    assert pool.take() == given[2]


def test_an_address_belongs_to_one_at_a_time() -> None:
    pool = Addresses("10.1.0.0/24", reserved=["10.1.0.9"])
    assert pool.take("10.1.0.7") == "10.1.0.7/24"
    for taken in ("10.1.0.7", "10.1.0.9", "10.1.0.1"):
        with pytest.raises(Forbidden, match="Address already in use"):
            pool.take(taken)
    for wrong in ("10.2.0.1", "x"):
        with pytest.raises(InvalidArgument):
            pool.take(wrong)


def test_the_gateway_is_never_given_back() -> None:
    pool = Addresses("10.1.0.0/24")
    pool.give_back("10.1.0.1/24")
    assert pool.take() == "10.1.0.2/24"


def test_a_range_bounds_what_is_given_unasked() -> None:
    pool = Addresses("10.1.0.0/16", ip_range="10.1.5.0/30")
    assert [pool.take().partition("/")[0] for _ in range(3)] == ["10.1.5.1", "10.1.5.2", "10.1.5.3"]
    assert pool.take("10.1.9.9") == "10.1.9.9/16"


def test_a_subnet_of_ipv6_is_not_walked() -> None:
    pool = Addresses("fd00::/64")
    assert [pool.take() for _ in range(2)] == ["fd00::2/64", "fd00::3/64"]


@pytest.mark.row("P-022")
@pytest.mark.row("P-023")
def test_subnets_come_from_the_pools_beside_what_is_taken() -> None:
    pools = Pools()
    taken = [ipaddress.ip_network("172.17.0.0/16"), ipaddress.ip_network("172.18.4.0/24")]
    assert pools.choose(taken) == "172.19.0.0/16"
    with pytest.raises(Conflict, match="all predefined address pools have been fully subnetted"):
        pools.choose([ipaddress.ip_network("0.0.0.0/0")])
    with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
        settle_config(IpamConfig("172.18.0.0/16"), taken)


@pytest.mark.row("E-062")
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (IpamConfig("10.1.1.1/24"), "invalid subnet 10.1.1.1/24: it should be 10.1.1.0/24"),
        (IpamConfig("10.1.1.0"), "invalid subnet 10.1.1.0: invalid CIDR block notation"),
        (IpamConfig("x/24"), "invalid subnet x/24: invalid CIDR block notation"),
        (IpamConfig("10.1.0.0/24", "10.2.0.1"), "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/24 doesn't contain it"),
        (IpamConfig("10.1.0.0/24", "fd00::1"), "invalid gateway fd00::1: parent subnet is an IPv4 block"),
        (IpamConfig("10.1.0.0/24", "", "10.2.0.0/25"), "invalid ip-range 10.2.0.0/25: parent subnet 10.1.0.0/24 doesn't contain ip-range"),
        (IpamConfig("10.1.0.0/24", auxiliary={"a": "x"}), "invalid auxiliary address x: invalid address"),
    ],
)  # fmt: skip
def test_each_problem_of_a_subnet_is_named(config: IpamConfig, problem: str) -> None:
    assert list(check_config(config)) == [problem]
    assert list(check_config(IpamConfig("10.1.0.0/24", "10.1.0.1", "10.1.0.128/25", {"a": "10.1.0.9"}))) == []
