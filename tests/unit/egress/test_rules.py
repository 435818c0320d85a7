"""Which endpoints of tenants' are refused, however they are spelled."""

from collections.abc import Callable, Sequence
from ipaddress import ip_address

import pytest
from deeplens.bootstrap.container import Container
from deeplens.egress.rules import EgressRules, check_endpoint, is_public
from deeplens.errors import DeepLensError, EndpointRefused
from deeplens.settings import Settings

PUBLIC = "93.184.215.14"
RULES = EgressRules()


def leads_to(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda host, port: addresses


def never(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://hooks.example.com/path?a=1", PUBLIC),
        ("HTTPS://Hooks.Example.COM", PUBLIC),
        ("https://hooks.example.com.:8443/", PUBLIC),
        ("https://xn--bcher-kva.example/", PUBLIC),
        ("https://1e100.net/", PUBLIC),
        (f"https://{PUBLIC}/", PUBLIC),
        ("https://[2606:4700::6810:85e5]:9000/", "2606:4700::6810:85e5"),
        (f"https://[::ffff:{PUBLIC}]/", f"::ffff:{PUBLIC}"),
    ],
)
def test_a_public_endpoint_gives_its_addresses(url: str, address: str) -> None:
    assert check_endpoint(url, RULES, leads_to(PUBLIC)) == (ip_address(address),)


@pytest.mark.parametrize(
    "url",
    [
        # other schemes
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com:6379/_INFO",
        "//hooks.example.com/",
        "hooks.example.com",
        "https:hooks.example.com",
        "https:/hooks.example.com",
        "javascript:alert(1)",
        "",
        # credentials, and hosts that hide behind them
        "https://user@hooks.example.com/",
        "https://user:password@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
        "https://127.0.0.1@hooks.example.com/",
        "https://a@b@hooks.example.com/",
        # what two readers read differently
        "https://hooks.example.com\\@127.0.0.1/",
        "https:\\\\127.0.0.1\\",
        "https://hooks.example.com\t.evil/",
        "https://hooks.example.com\n/",
        " https://hooks.example.com/",
        "https://hooks.example.com /",
        "https://hooks.example.com\x00.evil/",
        "https://hooks.example.com%00/",
        "https://%6c%6fcalhost/",
        "https://127.0.0.1%2f@hooks.example.com/",
        "https://hooks_example.com/",
        "https://ⓛocalhost/",
        "https://127。0。0。1/",
        "https://１２７.0.0.1/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:44x/",
        "https://hooks..example.com/",
        "https://.example.com/",
        "https://-a.example.com/",
        "https://example.com../",
        "https:///path",
        "https://:443/",
        "https://[::1/",
        "https://[hooks.example.com]/",
        "https://" + "a" * 64 + ".example.com/",
        "https://" + "a." * 130 + "com/",
        # addresses in unusual notations: decimal, octal, hexadecimal, short, with a dot at the end
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0x0.0x0.0x1/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://127.000.000.001/",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.0.0.1./",
        "https://0/",
        "https://1/",
        f"https://{PUBLIC}./",
        "https://93.184.215.014/",
        "https://1.2.3.4.5/",
        "https://256.256.256.256/",
        "https://2852039166/",
        "https://0xa9fea9fe/",
        # IPv6 with a zone
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[::1%25lo]/",
        "https://[2606:4700::1%251]/",
    ],
)
def test_an_endpoint_that_could_be_read_as_another_is_refused_before_it_is_looked_up(url: str) -> None:
    with pytest.raises(EndpointRefused):
        check_endpoint(url, RULES, never)


INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::7f00:1",
    "::93.184.215.14",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:100.64.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::93.184.215.14",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:0:7f00:1::80ff:fffe",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:169.254.169.254",
    "fd00:ec2::254",
    "fc00::1",
    "fdff:ffff::1",
    "fe80::1",
    "fe80::5efe:93.184.215.14",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "2001:db8::1",
    "2001:2::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused_as_itself_and_behind_a_name(address: str) -> None:
    for url in (f"https://[{address}]/" if ":" in address else f"https://{address}/", "https://hooks.example.com/"):
        with pytest.raises(EndpointRefused, match="public"):
            check_endpoint(url, RULES, leads_to(address))


@pytest.mark.parametrize("address", INSIDE)
def test_one_address_inside_among_public_ones_is_enough(address: str) -> None:
    for found in ((PUBLIC, address), (address, PUBLIC), (PUBLIC, "1.1.1.1", "2606:4700::1111", address)):
        with pytest.raises(EndpointRefused):
            check_endpoint("https://hooks.example.com/", RULES, leads_to(*found))


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST", "a.localhost", "ip6-localhost", "metadata"])
def test_a_local_name_is_refused_for_where_it_leads(host: str) -> None:
    with pytest.raises(EndpointRefused, match="public"):
        check_endpoint(f"https://{host}/", RULES, leads_to("127.0.0.1"))


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "169.253.0.1", "11.0.0.1", "2606:4700::1111", "2a00::1"),
        *("64:ff9b::101:101", "2002:101:101::1", "::ffff:1.1.1.1", "2606:4700::5efe:1.1.1.1"),
    ],
)
def test_other_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def no_such_host(host: str, port: int) -> Sequence[str]:
    raise OSError("no such host")


@pytest.mark.parametrize("resolve", [leads_to(), no_such_host, leads_to("not an address"), leads_to(*[PUBLIC] * 65)])
def test_a_host_without_usable_addresses_is_refused(resolve: Callable[[str, int], Sequence[str]]) -> None:
    with pytest.raises(EndpointRefused, match="address"):
        check_endpoint("https://hooks.example.com/", RULES, resolve)


class TestAllowedNetworks:
    RULES = EgressRules.of(["10.1.0.0/16", "fd12:3456::/32"])

    @pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd12:3456::1"])
    def test_what_the_operator_allows_is_reached(self, address: str) -> None:
        assert check_endpoint("https://minio.site/", self.RULES, leads_to(address)) == (ip_address(address),)

    @pytest.mark.parametrize(
        "address",
        [
            *("10.2.0.1", "127.0.0.1", "169.254.169.254", "fd12:3457::1", "fd12:3456::1%1", "fe80::5efe:10.1.2.3"),
            *("64:ff9b::10.1.2.3", "2002:a01:203::1", "::10.1.2.3", "2606:4700::5efe:10.1.2.3"),
        ],
    )
    def test_what_lies_beside_it_is_not(self, address: str) -> None:
        with pytest.raises(EndpointRefused):
            check_endpoint("https://minio.site/", self.RULES, leads_to("10.1.2.3", address))

    def test_http_is_a_decision_of_its_own(self) -> None:
        with pytest.raises(EndpointRefused, match="https://"):
            check_endpoint("http://10.1.2.3/", self.RULES, never)
        in_clear = EgressRules.of(["10.1.0.0/16"], http=True)
        assert check_endpoint("http://10.1.2.3:9000/", in_clear, never) == (ip_address("10.1.2.3"),)

    def test_they_are_settings(self) -> None:
        own = Container(Settings(egress_allowed_networks="10.1.0.0/16, fd12:3456::/32", egress_http=True)).egress
        assert own == EgressRules.of(["10.1.0.0/16", "fd12:3456::/32"], http=True)
        assert Container(Settings()).egress == EgressRules()

    @pytest.mark.parametrize("networks", ["10.0.0.1/8", "10.0.0.0/33", "inside"])
    def test_a_typo_in_them_stops_the_start(self, networks: str) -> None:
        with pytest.raises(ValueError, match="egress_allowed_networks"):
            Settings(egress_allowed_networks=networks)


def test_the_error_does_not_tell_what_our_resolver_knows() -> None:
    with pytest.raises(EndpointRefused) as caught:
        check_endpoint("https://database.internal/", RULES, leads_to("10.9.8.7"))
    assert "10.9.8.7" not in str(caught.value)


def test_the_error_is_ours_and_a_value_error() -> None:
    with pytest.raises(ValueError, match="https://") as caught:
        check_endpoint("http://hooks.example.com/", RULES, never)
    assert isinstance(caught.value, DeepLensError)
    assert caught.value.code == "ENDPOINT_REFUSED"


def fails(_host: str, _port: int) -> list[str]:
    raise OSError("no such name")


def test_a_tenant_cannot_tell_which_internal_names_exist() -> None:
    resolvers = [fails, leads_to(), leads_to("10.0.0.1"), leads_to(PUBLIC, "fd00::1"), leads_to(*[PUBLIC] * 65)]
    texts = set()
    for resolve in resolvers:
        with pytest.raises(EndpointRefused) as refused:
            check_endpoint("https://vault.internal.example.com/", RULES, resolve)
        texts.add((str(refused.value), refused.value.__cause__))
    assert texts == {("vault.internal.example.com must have 1 to 64 addresses, all of them public", None)}
