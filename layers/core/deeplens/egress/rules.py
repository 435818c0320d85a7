"""Decide which endpoints of tenants may be reached, by all addresses of their host and never by its name."""

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from deeplens.errors import EndpointRefused

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network
type Resolve = Callable[[str, int], Sequence[str]]

PORTS = {"https": 443, "http": 80}
MAX_ADDRESSES = 64
HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
# Internal networks that ``is_global`` allows, or treats differently between versions of Python.
INTERNAL: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT, and internal services of clouds
        "168.63.129.16/32",  # Azure's host
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "64:ff9b:1::/48",  # local NAT64, with a format that only the site knows
        "2001::/23",  # Teredo and other protocols
        "3fff::/20",  # documentation
        "fc00::/7",  # includes EC2's fd00:ec2::254
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
GLOBAL_IPV6 = IPv6Network("2000::/3")
NAT64, SIX_TO_FOUR = IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")
ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""Upper halves of interface ids with an IPv4 address in the lower half."""


@dataclass(frozen=True, slots=True)
class EgressRules:
    """Exceptions that the operator allows.

    Attributes
    ----------
    allowed : internal networks that tenants may reach, e.g. of a MinIO at the same site.
    http : whether unencrypted requests are allowed.
    """

    allowed: tuple[Network, ...] = ()
    http: bool = False

    @classmethod
    def of(cls, networks: Iterable[str], *, http: bool = False) -> "EgressRules":
        """Parse networks. Raises ``ValueError`` for one that is not in CIDR notation."""
        return cls(tuple(map(ip_network, networks)), http)


def resolved(host: str, port: int) -> Sequence[str]:
    """Return all addresses of a host, by the system's resolver."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def check_endpoint(url: str, rules: EgressRules, resolve: Resolve = resolved) -> tuple[Address, ...]:
    """Return the addresses of a URL's host, all of which are allowed.

    A name may have other addresses a moment later, so connections are made by ``egress.http``, which checks again.

    Raises
    ------
    EndpointRefused
        The URL is not https, contains a user or password, is ambiguous, or its host has no address or an internal one.
    """
    host, port = check_spelling(url, rules)
    return check_host(host, port, rules, resolve)


def check_spelling(url: str, rules: EgressRules) -> tuple[str, int]:
    """Return host and port of a URL, without resolving it. Raises ``EndpointRefused``."""
    scheme, host, port = _parts(url)
    if scheme not in PORTS or (scheme == "http" and not rules.http):
        raise EndpointRefused("the endpoint must begin with https://")
    if _literal(host) is None:
        _check_name(host)
    return host, port or PORTS[scheme]


def check_host(host: str, port: int, rules: EgressRules, resolve: Resolve = resolved) -> tuple[Address, ...]:
    """Return the addresses of a host, all of which are allowed. Raises ``EndpointRefused``."""
    literal = _literal(host)
    if literal is not None:
        return (check_address(literal, rules, host),)
    _check_name(host)
    # One message for every reason: the difference would reveal internal names of our resolver to a tenant.
    refused = EndpointRefused(f"{host} must have 1 to {MAX_ADDRESSES} addresses, all of them public")
    try:
        addresses = tuple(map(ip_address, resolve(host, port)))
    except (OSError, UnicodeError, ValueError):
        raise refused from None
    # All of them, as the connection may use any.
    if not 0 < len(addresses) <= MAX_ADDRESSES or not all(is_reachable(address, rules) for address in addresses):
        raise refused
    return addresses


def check_address(address: Address, rules: EgressRules, host: str) -> Address:
    """Return the address. Raises ``EndpointRefused`` when it is internal and the operator does not allow it."""
    if not is_reachable(address, rules):
        raise EndpointRefused(f"{host} leads to an address that is not public")
    return address


def is_reachable(address: Address, rules: EgressRules) -> bool:
    """Return whether an address is public, or in an internal network that the operator allows."""
    return is_public(address) or _is_allowed(address, rules)


def is_public(address: Address) -> bool:
    """Return whether an address, and an IPv4 address embedded in it, is a public host's."""
    if isinstance(address, IPv6Address):
        if (embedded := _embedded(address)) is not None:
            return is_public(embedded)
        if address.scope_id is not None or address not in GLOBAL_IPV6 or not _isatap_is_public(address):
            return False
    internal = any(address in network for network in INTERNAL if network.version == address.version)
    return address.is_global and not internal and not (address.is_multicast or address.is_reserved)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address in a mapped, NAT64 or 6to4 address."""
    if address.scope_id is not None:
        return None
    if address in SIX_TO_FOUR:
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else address.ipv4_mapped


def _isatap_is_public(address: IPv6Address) -> bool:
    """Return False when the interface id contains an internal IPv4 address."""
    interface, embedded = int(address) >> 32 & 0xFFFF_FFFF, IPv4Address(int(address) & 0xFFFF_FFFF)
    return interface not in ISATAP or is_public(embedded)


def _is_allowed(address: Address, rules: EgressRules) -> bool:
    """Return whether a network is allowed; IPv4 networks also in their mapped form, which some resolvers return."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        address = address.ipv4_mapped or address
    return any(address in network for network in rules.allowed if network.version == address.version)


def _parts(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port. Raises ``EndpointRefused`` for URLs that parsers interpret differently."""
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise EndpointRefused("the endpoint must be plain ASCII; write an international name as xn--…")
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port
    except ValueError as error:
        raise EndpointRefused(f"not a URL: {error}") from error
    if "@" in split.netloc:
        raise EndpointRefused("the endpoint must not contain a user or password")
    if not url.lower().startswith(f"{split.scheme}://") or not host:
        raise EndpointRefused("the endpoint must have a scheme, :// and a host")
    if port == 0 or split.netloc.endswith(":"):
        raise EndpointRefused("the endpoint's port must be 1 to 65535, or omitted")
    return split.scheme, host, port


def _literal(host: str) -> Address | None:
    """Return the address if the host is one in the usual notation; ``_check_name`` refuses other notations."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _check_name(host: str) -> None:
    """Refuse invalid names, and names that some resolvers read as numbers: ``0x7f.1``, ``2130706433``, ``127.1``."""
    labels = host.removesuffix(".").split(".")
    valid = set(host) <= HOST_CHARACTERS and len(host) <= 253
    if not valid or not all(label and len(label) <= 63 and label.strip("-") == label for label in labels):
        raise EndpointRefused(f"{host!r} is not a valid host name")
    if labels[-1][0].isdigit():
        raise EndpointRefused(f"{host} is an address in an unusual notation; write 192.0.2.1 or [2001:db8::1]")
