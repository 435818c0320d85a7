"""Keep the catalogues of the pages complete: `make translations` adds what is new and removes what is gone.

A text without a translation stays empty in the catalogue, and a test names it.
"""

from collections.abc import Iterator
from pathlib import Path

import deeplens.identity
from babel.messages.extract import extract_from_dir
from polib import POEntry, POFile, pofile

PACKAGE = Path(deeplens.identity.__file__).parent
METHODS = [("**.py", "python"), ("pages/**.html", "jinja2.ext:babel_extract")]
OPTIONS = {"pages/**.html": {"trimmed": "true"}}
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "Message": None}
WIDTH = 110


def marked() -> Iterator[tuple[str, str, str]]:
    """Each marked text: file, text, and its plural or an empty one."""
    for file, _, text, _, _ in sorted(
        extract_from_dir(PACKAGE, METHODS, OPTIONS, KEYWORDS), key=lambda found: found[:2]
    ):
        singular, plural = (text, "") if isinstance(text, str) else text[:2]
        yield file, singular, plural


def catalogues() -> list[Path]:
    return sorted((PACKAGE / "pages" / "locale").glob("*.po"))


def read(path: Path) -> POFile:
    return pofile(str(path), wrapwidth=WIDTH)


def updated(old: POFile) -> POFile:
    """The catalogue with exactly the marked texts, in the order of their files, and what it knew of them."""
    known = {entry.msgid: entry for entry in old}
    new = POFile(wrapwidth=WIDTH)
    new.metadata = old.metadata
    entries: dict[str, POEntry] = {}
    for file, text, plural in marked():
        entry = entries.setdefault(text, POEntry(msgid=text, msgid_plural=plural))
        if (file, "") not in entry.occurrences:
            entry.occurrences.append((file, ""))
        entry.msgstr = known[text].msgstr if text in known else ""
        if plural:
            entry.msgstr_plural = known[text].msgstr_plural if text in known else {0: "", 1: ""}
    new.extend(entries.values())
    return new


def main() -> None:
    for path in catalogues():
        new = updated(read(path))
        new.save(str(path))
        untranslated = [entry.msgid for entry in new if not entry.translated()]
        print(f"{path.name}: {len(new)} texts, {len(untranslated)} without a translation", *untranslated, sep="\n  ")


if __name__ == "__main__":
    main()
