"""Which counters an attempt to sign in has."""

import pytest
from deeplens.identity.throttle import MAX_ATTEMPTS, counters_of, network_of

ADDRESS = "ada@example.test"


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("testclient", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_network_is_what_one_customer_of_a_provider_has(host: str, network: str) -> None:
    assert network_of(host) == network


@pytest.mark.parametrize(
    ("email", "host", "device", "shared"),
    [
        (ADDRESS, "203.0.113.7", None, 3),
        (ADDRESS, "203.0.113.8", None, 1),
        ("eve@example.test", "203.0.113.7", None, 1),
        ("eve@example.test", "203.0.113.8", None, 0),
        (ADDRESS, "203.0.113.7", "a device", 0),
    ],
)
def test_attempts_share_the_counters_of_what_they_have_in_common(
    email: str, host: str, device: str | None, shared: int
) -> None:
    first, second = counters_of(ADDRESS, "203.0.113.7", None), counters_of(email, host, device)
    assert len(set(first) & set(second)) == shared


def test_a_known_device_has_its_own_counter_alone() -> None:
    (counter,) = counters_of(ADDRESS, "203.0.113.7", "a device")
    assert counter.max_attempts == MAX_ATTEMPTS
    assert counters_of(ADDRESS, "198.51.100.1", "a device") == [counter]
    assert counters_of("eve@example.test", "203.0.113.7", "a device") != [counter]
    assert ADDRESS.encode() not in counter.key
