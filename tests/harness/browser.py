"""A person's browser without script: it keeps cookies, follows redirects of the issuer and fills forms."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx


@dataclass(slots=True)
class Form:
    """A page's form as it would be sent: hidden fields filled, no button pressed."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif tag == "input" and self.forms and "name" in given:
            self.forms[-1].fields[given["name"]] = given.get("value", "")


def form_of(page: httpx.Response) -> Form:
    """The only form of a page."""
    parser = _Forms()
    parser.feed(page.text)
    assert len(parser.forms) == 1, f"{page.status_code} {page.url}: {page.text}"
    return parser.forms[0]


def query_of(address: str) -> dict[str, str]:
    """The query of an address, each name once."""
    pairs = parse_qsl(urlsplit(address).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs), address
    return dict(pairs)


class Browser:
    """One browser profile.

    Parameters
    ----------
    issuer : base URL of the identity API; a redirect elsewhere is not followed but returned.
    from_address : this machine's address that it calls from; each of 127.0.0.0/8 is a network of its own.
    """

    def __init__(self, issuer: str, from_address: str | None = None) -> None:
        self.issuer = issuer
        transport = httpx.HTTPTransport(local_address=from_address) if from_address else None
        self.http = httpx.Client(trust_env=False, timeout=30, transport=transport)

    def open(self, address: str) -> httpx.Response:
        """The page behind an address, or the redirect that leaves the issuer."""
        return self._followed(self.http.get(urljoin(self.issuer, address)))

    def submit(self, page: httpx.Response, **fields: str) -> httpx.Response:
        """Send the page's form with these fields filled in."""
        form = form_of(page)
        address = urljoin(str(page.url), form.action)
        sent = {**form.fields, **fields}
        if form.method == "get":
            return self._followed(self.http.get(address, params=sent))
        return self._followed(self.http.post(address, data=sent, headers={"Origin": self.issuer}))

    def sign_in(self, page: httpx.Response, email: str, password: str) -> httpx.Response:
        return self.submit(page, email=email, password=password)

    def answer(self, address: str, email: str, password: str) -> str:
        """Walk from a client's request to the address it leads back to: sign in and consent where asked."""
        page = self.open(address)
        if "password" in page.text:
            page = self.sign_in(page, email, password)
        if not page.is_redirect:
            page = self.submit(page, decision="allow")
        assert page.is_redirect, f"{page.status_code} {page.url}: {page.text}"
        return page.headers["location"]

    def cookie(self, name: str) -> str | None:
        return self.http.cookies.get(name)

    def _followed(self, answer: httpx.Response) -> httpx.Response:
        for _ in range(10):
            target = urljoin(str(answer.url), answer.headers.get("location", ""))
            if not answer.is_redirect or not target.startswith(f"{self.issuer}/"):
                return answer
            answer = self.http.get(target)
        raise AssertionError(f"redirected in circles: {answer.url}")
