"""Every Markdown file wraps at 100 characters, and its links resolve."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[3]
MAX_LINE_LENGTH = 100
LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)?$")
MARKER = re.compile(r"^\s*(?:[-*+>]|\d+\.)\s+")
FOLDERS = ("docs", "functions", "layers", "local", "tests")
ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*:")
"""A scheme: such a link leads out of the repository and is not followed."""


def documents() -> Iterator[Path]:
    """Yield the Markdown files of the repository, without hidden folders, which contain tools and builds."""
    for folder, folders, names in ROOT.walk():
        folders[:] = [name for name in folders if not name.startswith(".") and name != "node_modules"]
        yield from (folder / name for name in names if name.endswith(".md"))


DOCUMENTS = sorted(documents())


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines outside code blocks, with their numbers."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r" *(`{3,}|~{3,})", line)
        if mark and fence is None:
            fence = mark[1]
        elif mark and fence and mark[1].startswith(fence):
            fence = None
        elif fence is None:
            yield number, line


def without_code(text: str) -> str:
    """Remove inline code, which may contain brackets that are not links; it ends with its paragraph."""
    return re.sub(r"(`+)(?:(?!\n\n).)+?\1", "``", text, flags=re.S)


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the ids that GitHub gives to the headings of a document."""
    counts: dict[str, int] = {}
    found: set[str] = set()
    for _, line in prose(path.read_text()):
        if heading := HEADING.match(line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            count = counts.get(slug, 0)
            counts[slug] = count + 1
            found.add(f"{slug}-{count}" if count else slug)
    return frozenset(found)


def is_too_long(line: str) -> bool:
    """Return whether a line must be wrapped; tables and single words such as links cannot be."""
    if line.lstrip().startswith("|"):
        return False
    return len(line) > MAX_LINE_LENGTH and len(MARKER.sub("", line).split()) > 1


def broken_links(path: Path) -> Iterator[str]:
    """Links to files or headings that do not exist. A link's text may go over two lines."""
    for target in LINK.findall(without_code("\n".join(line for _, line in prose(path.read_text())))):
        if ADDRESS.match(target):
            continue
        name, _, anchor = unquote(target).partition("#")
        document = (path.parent / name).resolve() if name else path
        if not document.exists():
            yield f"{target}: no such file"
        elif anchor and document.suffix == ".md" and anchor not in anchors(document):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_wraps_at_100_characters(path: Path) -> None:
    assert [f"{number}: {line}" for number, line in prose(path.read_text()) if is_too_long(line)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_document_resolve(path: Path) -> None:
    assert [*broken_links(path)] == []


def test_the_documents_are_found() -> None:
    assert {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"} <= {*DOCUMENTS}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("word " * 20, False),
        ("word " * 21 + "word", True),
        ("| " + "cell " * 40 + "|", False),
        (f"[a name](https://example.com/{'a' * 90})", True),
        (f"[name](https://example.com/{'a' * 90})", False),
    ],
)
def test_lines_that_cannot_be_wrapped_may_be_longer(line: str, expected: bool) -> None:
    assert is_too_long(line.rstrip()) is expected


NAMED_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml|yml|md|txt))`")


@pytest.mark.parametrize("name", ["asvs.md", "security.md"])
def test_every_file_that_an_assessment_of_security_names_exists(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    there = [f"/{path.relative_to(ROOT)}" for path in [*ROOT.glob("*.*"), *ROOT.glob(".github/**/*.yml")]]
    there += [f"/{path.relative_to(ROOT)}" for top in FOLDERS for path in (ROOT / top).rglob("*.*")]

    named = set(NAMED_FILE.findall(text))

    assert len(named) > 10
    assert [file for file in sorted(named) if not any(path.endswith(f"/{file}") for path in there)] == []


PACKAGES = [path for path in DOCUMENTS if path.parent.parent == ROOT / "layers" / "core" / "deeplens"]
FILES = re.compile(r"^\| (`[^|]+`) \|", re.M)


def modules(package: Path) -> set[str]:
    """Return the Python files of a package, without its migrations, which no README lists."""
    return {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and "versions" not in path.parts
    }


@pytest.mark.parametrize("readme", PACKAGES, ids=lambda path: path.parent.name)
def test_the_readme_of_a_package_lists_its_files(readme: Path) -> None:
    rows = " ".join(FILES.findall(readme.read_text()))
    assert set(re.findall(r"`([^`]+\.py)`", rows)) == modules(readme.parent)
