"""The pages speak their reader's language, and each text has its translation."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
from deeplens.identity.forms import LOCALES, Browser, own_address
from deeplens.identity.languages import PAGES, Message, accepted_languages, catalogue, negotiate, templates
from deeplens.identity.model import Issuer
from fastapi import Request
from jinja2 import nodes

from local.checks.translations import catalogues, marked, read, updated

NONE = cast("Any", None)
BROWSER = Browser(NONE, NONE, NONE, Issuer("https://id.deeplens.test"), NONE, NONE)


def request(query: str = "", accept: str | None = None, cookie: str = "") -> Request:
    headers = [(b"cookie", f"__Host-language={cookie}".encode())] if cookie else []
    headers += [(b"accept-language", accept.encode())] if accept is not None else []
    return Request(
        {"type": "http", "method": "GET", "path": "/account/page", "headers": headers, "query_string": query.encode()}
    )


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("", [""]),
        ("de-DE,de;q=0.9,en;q=0.8", ["de-DE", "de", "en"]),
        ("en;q=0.3, de;q=0.7", ["de", "en"]),
        ("fr, de;q=0", ["fr"]),
        ("de;q=high, en", ["en"]),
        (";;;,,q=,de", ["", "q=", "de"]),
        ("x," * 10_000 + "de", ["x"] * 20),
    ],
)
def test_a_browsers_languages_come_in_its_order(header: str, languages: list[str]) -> None:
    assert accepted_languages(header) == languages


@pytest.mark.parametrize(
    ("wanted", "language"),
    [(["de"], "de"), (["de-AT"], "de"), (["DE-at"], "de"), (["fr", "de"], "de"), (["fr"], None), (["*", "deu"], None)],
)
def test_the_first_language_that_there_is(wanted: list[str], language: str | None) -> None:
    assert negotiate(wanted) == language


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "language"),
    [
        ("", "", None, "en"),
        ("", "", "fr,de;q=0.5", "de"),
        ("", "en", "de", "en"),
        ("ui_locales=de-CH+en", "en", "en", "de"),
        ("ui_locales=fr", "de", "en", "de"),
        ("ui_locales=../../etc/passwd", "../x", "en", "en"),
    ],
)
def test_parameter_comes_before_cookie_before_browser(
    query: str, cookie: str, accept: str | None, language: str
) -> None:
    assert BROWSER.language(request(query, accept, cookie)) == language


def test_a_page_is_marked_with_its_language_and_keeps_the_one_that_was_asked_for() -> None:
    answer = BROWSER.page(request("ui_locales=de"), "signed_out")
    assert '<html lang="de">' in bytes(answer.body).decode()
    assert "Sie sind abgemeldet" in bytes(answer.body).decode()
    assert answer.headers["content-language"] == "de"
    assert "__Host-language=de" in str(answer.raw_headers)
    assert "__Host-language" not in str(BROWSER.page(request(accept="de"), "signed_out").raw_headers)


def test_each_page_links_to_itself_in_the_other_languages() -> None:
    page = bytes(BROWSER.page(request("ui_locales=de&state=a%26b&empty="), "signed_out").body).decode()
    assert 'href="/account/page?state=a%26b&amp;empty=&amp;ui_locales=en" lang="en"' in page
    assert 'ui_locales=de" lang="de" hreflang="de" aria-current="true"' in page


def test_an_own_address_has_no_languages() -> None:
    assert own_address(request(f"{LOCALES}=de&a=1&a=2")) == "/account/page?a=1&a=2"
    assert own_address(request(f"{LOCALES}=de")) == "/account/page"


def test_a_message_of_the_code_is_shown_in_the_pages_language_and_a_technical_one_is_marked() -> None:
    old = Message("This page was open for too long. Try again.")
    german = bytes(BROWSER.refusal(request("ui_locales=de"), old).body).decode()
    assert "Diese Seite war zu lange geöffnet." in german
    assert (
        '<p lang="en">unknown &lt;client&gt;</p>'
        in bytes(BROWSER.refusal(request("ui_locales=de"), "unknown <client>").body).decode()
    )


def test_values_stand_in_a_message() -> None:
    assert str(Message("You are signed in as %(email)s.", {"email": "a"})) == "You are signed in as a."
    assert Message("You are signed in as %(email)s.", {"email": "a"}).in_language("de") == "Sie sind angemeldet als a."
    assert Message("100 %").in_language("de") == "100 %"


@pytest.mark.parametrize("path", catalogues(), ids=lambda path: path.stem)
def test_every_text_is_translated_and_no_translation_is_left_over(path: Path) -> None:
    """`make translations` adds what is missing and removes what is left over."""
    kept = read(path)
    assert [entry.msgid for entry in kept if not entry.translated()] == []
    assert {entry.msgid for entry in kept} == {text for _, text, _ in marked()}
    assert str(updated(kept)) == str(kept)


@pytest.mark.parametrize("path", catalogues(), ids=lambda path: path.stem)
def test_a_translation_has_the_values_of_its_text(path: Path) -> None:
    def names(text: str) -> list[str]:
        return sorted(re.findall(r"%\((\w+)\)", text))

    for entry in read(path):
        for translation in entry.msgstr_plural.values() if entry.msgid_plural else [entry.msgstr]:
            assert names(translation) == names(entry.msgid_plural or entry.msgid), entry.msgid


@pytest.mark.parametrize("name", sorted(path.name for path in PAGES.glob("*.html") if path.name != "swagger.html"))
def test_every_text_of_a_template_is_marked(name: str) -> None:
    tree = templates().parse((PAGES / name).read_text())
    html = "".join(part.data for part in tree.find_all(nodes.TemplateData))
    unmarked = re.findall(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<!--.*?-->", " ", html)))
    assert set(unmarked) <= {"DeepLens", "UTC"}
    assert re.findall(r'(?:aria-label|title|alt|placeholder)="[A-Za-z][^"]*', html) == []


def test_an_unknown_text_stays_english() -> None:
    assert catalogue("de").gettext("No such text") == "No such text"
