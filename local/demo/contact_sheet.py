"""Write the demo's result as one HTML file: each query with its nearest originals, with embedded pictures."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>DeepLens demo</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }}
body {{ margin: 2rem auto; max-width: 1100px; padding: 0 1rem }}
h1 {{ font-weight: 600 }} p {{ color: color-mix(in srgb, currentcolor 65%, transparent) }}
section {{ display: grid; grid-template-columns: 150px 1fr; gap: 1.5rem; padding: 1rem 0; border-top: 1px solid #8884 }}
.hits {{ display: flex; gap: 1rem; flex-wrap: wrap }}
figure {{ margin: 0; width: 128px }}
img {{ width: 128px; height: 128px; object-fit: contain; background: #8881; border-radius: 6px }}
figcaption {{ font-size: 12px; overflow-wrap: anywhere }}
.right img {{ outline: 3px solid #2a9d5c }} .missed {{ background: #e636 }}
</style>
<h1>DeepLens demo</h1>
<p>{first} of {total} copies found their original first. Left: the query, a changed copy. Right: the nearest originals
with their cosine similarity; the one it was made from is framed.</p>
{rows}
</html>
"""


@dataclass(frozen=True, slots=True)
class Hit:
    photo: str
    score: float
    image_id: str


@dataclass(slots=True)
class Row:
    """A query with a copy: its thumbnail, the rank of its original, and the nearest originals."""

    photo: str
    variant: str
    thumbnail: bytes
    rank: int | None
    hits: list[Hit]
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)


def write_contact_sheet(path: Path, rows: Sequence[Row]) -> Path:
    """Write the page, which needs no other file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page = PAGE.format(
        first=sum(row.rank == 1 for row in rows), total=len(rows), rows="\n".join(_section(row) for row in rows)
    )
    path.write_text(page)
    return path


def _section(row: Row) -> str:
    hits = "".join(
        _figure(row.thumbnails[hit.image_id], f"{hit.score:.3f} {hit.photo}", "right" if hit.photo == row.photo else "")
        for hit in row.hits
        if hit.image_id in row.thumbnails
    )
    query = _figure(row.thumbnail, f"{row.variant} of {row.photo}", "")
    missed = "" if row.rank == 1 else ' class="missed"'
    return f'<section{missed}>{query}<div class="hits">{hits}</div></section>'


def _figure(jpeg: bytes, caption: str, kind: str) -> str:
    source = b64encode(jpeg).decode()
    return (
        f'<figure class="{kind}"><img alt="{escape(caption)}" src="data:image/jpeg;base64,{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
