"""Languages of the pages: English texts in the code, German ones in ``pages/locale/de.po``.

Templates mark texts with ``{% trans %}``, Python with ``Message``. CONTRIBUTING.md, "Add a page", says how.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

PAGES = Path(__file__).parent / "pages"
LANGUAGES = {"en": "English", "de": "Deutsch"}
DEFAULT_LANGUAGE = "en"
MAX_PREFERENCES = 20


@dataclass(frozen=True, slots=True)
class Message:
    """A text that pages show in their reader's language: a literal, with ``%(name)s`` where a value stands."""

    text: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.in_language(DEFAULT_LANGUAGE)

    def in_language(self, language: str) -> str:
        text = catalogue(language).gettext(self.text)
        return text % self.values if self.values else text


@cache
def catalogue(language: str) -> NullTranslations:
    """The texts of a language. The file is read at first use: it needs no compiled form beside it."""
    if language == DEFAULT_LANGUAGE:
        return NullTranslations()
    from polib import pofile

    return GNUTranslations(BytesIO(pofile(str(PAGES / "locale" / f"{language}.po")).to_binary()))


@cache
def templates(language: str = DEFAULT_LANGUAGE) -> Environment:
    """The templates of the pages; each language has its own, compiled at first use."""
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        finalize=_shown_in(language),
    )
    environment.install_gettext_translations(catalogue(language), newstyle=True)  # type: ignore[attr-defined]
    environment.globals |= {"language": language, "languages": LANGUAGES}
    environment.policies["ext.i18n.trimmed"] = True
    environment.filters["strong"] = lambda text: Markup("<strong>{}</strong>").format(text)
    return environment


def _shown_in(language: str) -> Callable[[Any], Any]:
    return lambda value: value.in_language(language) if isinstance(value, Message) else value


def negotiate(preferences: Iterable[str]) -> str | None:
    """The first language that we have: ``de`` for ``de-AT`` too (lookup of RFC 4647)."""
    primary = (tag.strip().lower().partition("-")[0] for tag in preferences)
    return next((tag for tag in primary if tag in LANGUAGES), None)


def accepted_languages(header: str) -> list[str]:
    """The languages of an ``Accept-Language`` header, the most wanted first."""
    weighted = [wish for wish in _weighted(header) if wish[0] > 0]
    return [tag for _, tag in sorted(weighted, key=lambda wish: -wish[0])]


def _weighted(header: str) -> Iterator[tuple[float, str]]:
    for wish in header.split(",", MAX_PREFERENCES)[:MAX_PREFERENCES]:
        tag, _, weight = wish.partition(";")
        try:
            yield float(weight.strip().removeprefix("q=") or 1), tag.strip()
        except ValueError:
            continue
