"""Which endpoints of tenants' may be reached: decided by every address that their host has, never by its name."""

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
MOST_ADDRESSES = 64
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
# What ``is_global`` lets through, or has changed its mind about between versions of Python.
INSIDE: tuple[Network, ...] = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; also where clouds put services of their own
        "168.63.129.16/32",  # Azure's host
        "192.0.0.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "64:ff9b:1::/48",  # a site's own NAT64, whose form only the site knows
        "2001::/23",  # Teredo and other protocols
        "3fff::/20",  # documentation
        "fc00::/7",  # with EC2's fd00:ec2::254
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
GLOBAL_IPV6 = IPv6Network("2000::/3")
NAT64, SIX_TO_FOUR = IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")
ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""Upper half of interface ids whose lower half is an IPv4 address."""


@dataclass(frozen=True, slots=True)
class EgressRules:
    """What the operator allows.

    Attributes
    ----------
    allowed : networks inside that tenants may reach all the same, e.g. a MinIO of the same site.
    http : whether requests may go out in clear.
    """

    allowed: tuple[Network, ...] = ()
    http: bool = False

    @classmethod
    def of(cls, networks: Iterable[str], *, http: bool = False) -> "EgressRules":
        """Rules with networks as text. Raises ``ValueError`` for one that is not in CIDR notation."""
        return cls(tuple(ip_network(one) for one in networks), http)


def resolved(host: str, port: int) -> Sequence[str]:
    """Every address of a host, by the system's resolver."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def check_endpoint(url: str, rules: EgressRules, resolve: Resolve = resolved) -> tuple[Address, ...]:
    """The addresses behind a URL, all of which may be reached.

    They hold for this moment, as a name may have others in the next: whoever connects does it through ``egress.http``,
    which checks again and connects to what it has checked.

    Raises
    ------
    EndpointRefused
        It is not https, carries a user or password, is spelled so that two readers may read two hosts, has no address,
        or has one that lies inside.
    """
    host, port = check_spelling(url, rules)
    return check_host(host, port, rules, resolve)


def check_spelling(url: str, rules: EgressRules) -> tuple[str, int]:
    """Host and port of a URL, without asking anybody. Raises ``EndpointRefused``."""
    scheme, host, port = _parts(url)
    if scheme not in PORTS or (scheme == "http" and not rules.http):
        raise EndpointRefused("an endpoint begins with https://")
    if _literal(host) is None:
        _check_name(host)
    return host, port or PORTS[scheme]


def check_host(host: str, port: int, rules: EgressRules, resolve: Resolve = resolved) -> tuple[Address, ...]:
    """The addresses of a host, all of which may be reached. Raises ``EndpointRefused``."""
    literal = _literal(host)
    if literal is not None:
        return (check_address(literal, rules),)
    _check_name(host)
    try:
        found = tuple(ip_address(one) for one in resolve(host, port))
    except (OSError, UnicodeError, ValueError) as error:
        raise EndpointRefused(f"{host} has no address") from error
    if not 0 < len(found) <= MOST_ADDRESSES:
        raise EndpointRefused(f"{host} has {len(found)} addresses")
    # All of them: whoever connects takes any.
    return tuple(check_address(one, rules, host) for one in found)


def check_address(address: Address, rules: EgressRules, host: str = "") -> Address:
    """The address itself. Raises ``EndpointRefused`` when it lies inside and the operator does not allow it."""
    if not is_outside(address) and not _is_allowed(address, rules):
        # A name's address stays unsaid: it would tell a tenant what our resolver knows of the inside.
        raise EndpointRefused(f"{host or address} leads to an address that is not public")
    return address


def is_outside(address: Address) -> bool:
    """Whether an address, and the IPv4 address that it leads to, is one of the public internet's hosts."""
    if isinstance(address, IPv6Address):
        carried = _carried(address)
        if carried is not None:
            return is_outside(carried)
        if address.scope_id is not None or address not in GLOBAL_IPV6 or not _isatap_is_outside(address):
            return False
    within = any(address in network for network in INSIDE if network.version == address.version)
    return address.is_global and not within and not (address.is_multicast or address.is_reserved)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address where packets to a mapped, NAT64 or 6to4 address end."""
    if address.scope_id is not None:
        return None
    if address in SIX_TO_FOUR:
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else address.ipv4_mapped


def _isatap_is_outside(address: IPv6Address) -> bool:
    """Whether packets could end at an IPv4 address inside, as the interface's id is made of one."""
    interface, carried = int(address) >> 32 & 0xFFFF_FFFF, IPv4Address(int(address) & 0xFFFF_FFFF)
    return interface not in ISATAP or is_outside(carried)


def _is_allowed(address: Address, rules: EgressRules) -> bool:
    """An allowed IPv4 network is allowed in its mapped form as well, which is how some resolvers put it."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        address = address.ipv4_mapped or address
    return any(address in network for network in rules.allowed if network.version == address.version)


def _parts(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port. Anything that readers of URLs disagree about is refused rather than understood."""
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise EndpointRefused("an endpoint is plain ASCII; write an international name as xn--…")
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port
    except ValueError as error:
        raise EndpointRefused(f"not a URL: {error}") from error
    if "@" in split.netloc:
        raise EndpointRefused("an endpoint carries no user and no password")
    if not url.lower().startswith(f"{split.scheme}://") or not host:
        raise EndpointRefused("an endpoint has a scheme, :// and a host")
    if port == 0 or split.netloc.endswith(":"):
        raise EndpointRefused("an endpoint's port is 1 to 65535, or left out")
    return split.scheme, host, port


def _literal(host: str) -> Address | None:
    """The address that a host is. Only its usual spelling is one; ``_check_name`` refuses the rest."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _check_name(host: str) -> None:
    """Refuse what is no name, and what some resolvers take for a number: ``0x7f.1``, ``2130706433``, ``127.1``."""
    labels = host.removesuffix(".").split(".")
    spelled = set(host) <= LETTERS and len(host) <= 253
    if not spelled or not all(label and len(label) <= 63 and label.strip("-") == label for label in labels):
        raise EndpointRefused(f"{host!r} is not the name of a host")
    if labels[-1][0].isdigit():
        raise EndpointRefused(f"{host} is an address in an unusual spelling; write 192.0.2.1 or [2001:db8::1]")
