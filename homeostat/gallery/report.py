"""A report as one HTML file: pictures inside, no script, nothing fetched."""

import base64
import html
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from exchange.files.whole_file import whole_file
from homeostat.pictures import Picture
from training.trust.verdicts import Verdict

Cell = str | float | int | None
PNG = b"\x89PNG\r\n\x1a\n"
MARKS = {True: "✓", False: "✗", None: "–"}  # of a verdict's `good`
NUMBER = re.compile(r"^[<>≈≤≥]?\s*[+\-−]?(\d[\d,]*\.?\d*|\.\d+)")

STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --quiet: #5b6772; --line: #dfe4e8; --page: #ffffff; --raised: #f5f7f9;
  --good: #00694f; --bad: #b23c00; --accent: #0b4a7a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ee; --quiet: #9ba8b4; --line: #34404b; --page: #14191e; --raised: #1d242b;
    --good: #4fc9a4; --bad: #ff9a5c; --accent: #8cc4f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 17px/1.6 Charter, "Bitstream Charter", "Sitka Text",
  Cambria, Georgia, serif; }
main { max-width: 62rem; margin: 0 auto; padding: 4rem 1.5rem 5rem; }
h1, h2, th, .mark, .claim, figcaption b, dt, .number { font-family: system-ui, -apple-system, "Segoe UI", "Helvetica Neue",
  "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 2.35rem; line-height: 1.18; letter-spacing: -0.015em; margin: 0 0 1.1rem; max-width: 44rem; }
h2 { font-size: 1.2rem; margin: 3.2rem 0 0.9rem; }
p { margin: 0 0 0.9rem; max-width: 44rem; }
.lead { font-size: 1.14rem; }
.verdicts { list-style: none; margin: 2.2rem 0 0; padding: 0; border-top: 1px solid var(--line); }
.verdicts li { display: grid; grid-template-columns: 2.2rem 1fr; padding: 0.85rem 0; border-bottom: 1px solid var(--line); }
.mark { font-weight: 700; font-size: 1.1rem; line-height: 1.5; }
.good .mark { color: var(--good); } .bad .mark { color: var(--bad); } .neutral .mark { color: var(--quiet); }
.claim { font-weight: 600; }
.detail { color: var(--quiet); font-size: 0.95rem; display: block; max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.94rem; min-width: 50%; }
th { font-size: 0.8rem; font-weight: 600; color: var(--quiet); text-align: left; vertical-align: bottom; }
th, td { padding: 0.45rem 1.4rem 0.45rem 0; border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1.5px solid var(--quiet); }
th.number, td.number { text-align: right; white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums lining-nums; font-size: 0.9rem; }
td.best { font-weight: 700; color: var(--accent); }
.note { color: var(--quiet); font-size: 0.9rem; margin-top: 0.6rem; }
figure { margin: 2.6rem 0 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line); }
figcaption { color: var(--quiet); font-size: 0.95rem; margin-top: 0.7rem; max-width: 48rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 1.6rem; font-size: 0.9rem; margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { main { padding-top: 2rem; } h1 { font-size: 1.8rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.6rem; } }
@media print {
  :root { --ink: #000; --quiet: #444; --line: #ccc; --page: #fff; --raised: #fff; --good: #00694f; --bad: #b23c00;
    --accent: #0b4a7a; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; } .scroll { overflow: visible; }
  figure, table, .verdicts li { break-inside: avoid; } h2 { break-after: avoid; } @page { margin: 18mm; } }
"""


@dataclass(frozen=True)
class Table:
    """A table of a report.

    `title`; `columns` (C,) names; `rows` of C cells each: text, numbers, or None for an empty cell. A column whose cells are
    all numbers, or text that begins with one, is set flush right; plain floats of one column get the same decimals.
    `note` stands below. `best`, by column name "low" or "high", emphasises that column's best value; nothing is
    emphasised unless asked.
    Errors: `ValueError` for a row of another length, or `best` naming no column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    best: Mapping[str, Literal["low", "high"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f'Table "{self.title}" has {len(self.columns)} columns and a row of {len(row)} cells, {list(row)}; give '
                    "every row one cell per column, None where it is empty."
                )
        for name, which in self.best.items():
            if name not in self.columns or which not in ("low", "high"):
                raise ValueError(
                    f'Table "{self.title}": best says {name!r}: {which!r}; it takes a column of {list(self.columns)} and '
                    '"low" or "high".'
                )


def write_report(
    path: Path | str,
    *,
    title: str,
    lead: str,
    verdicts: Sequence[Verdict] = (),
    tables: Sequence[Table] = (),
    pictures: Sequence[Picture] = (),
    provenance: Mapping[str, str] | None = None,
) -> Path:
    """Write one self-contained HTML file and return its path.

    Arguments: `lead`, the first paragraphs, apart by an empty line; `verdicts`, shown with the colour and the mark of
    their `good`; `pictures`, embedded with their captions; `provenance`, what the report was made from, by name.
    All text is escaped: it is text, never markup. The file asks the browser to fetch nothing, and forbids it to.
    Errors: `ValueError` for a picture that is not a PNG; `FileNotFoundError` for one that is missing.
    """
    body = [f"<h1>{_text(title)}</h1>"]
    body += [f'<p class="lead">{_text(p)}</p>' for p in re.split(r"\n\s*\n", lead.strip()) if p]
    if verdicts:
        items = "\n".join(_verdict(verdict) for verdict in verdicts)
        body.append(f'<ul class="verdicts">\n{items}\n</ul>')
    body += [_table(table) for table in tables]
    body += [_figure(picture) for picture in pictures]
    if provenance:
        pairs = "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in provenance.items())
        body.append(f"<h2>What this was made from</h2>\n<dl>\n{pairs}\n</dl>")
    inside = "\n".join(body)
    page = f"""<!DOCTYPE html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{inside}
</main>
</body>
</html>
"""
    path = Path(path)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _verdict(verdict: Verdict) -> str:
    kind = {True: "good", False: "bad", None: "neutral"}[verdict.good]
    below = f' <span class="detail">{_text(verdict.detail)}</span>' if verdict.detail else ""
    return (
        f'<li class="{kind}"><span class="mark" role="img" aria-label="{kind}">{MARKS[verdict.good]}</span>'
        f'<div><span class="claim">{_text(verdict.claim)}</span>{below}</div></li>'
    )


def _table(table: Table) -> str:
    cells: list[list[str]] = [[] for _ in table.rows]
    head = ""
    for c, name in enumerate(table.columns):
        column = [row[c] for row in table.rows]
        values = [_value(cell) for cell in column]
        numeric = any(v is not None for v in values) and all(
            v is not None or cell in (None, "", "–", "—") for v, cell in zip(values, column, strict=True)
        )
        head += f'<th scope="col"{" class=number" if numeric else ""}>{_text(name)}</th>'
        present = [v for v in values if v is not None]
        best = (min if table.best[name] == "low" else max)(present) if name in table.best and present else None
        for r, written in enumerate(as_written(column)):
            classes = ("number" if numeric else "") + (" best" if best is not None and values[r] == best else "")
            cells[r].append(
                f'<td class="{classes.strip()}">{_text(written)}</td>' if classes else f"<td>{_text(written)}</td>"
            )
    rows = "\n".join("<tr>" + "".join(row) + "</tr>" for row in cells)
    note = f'\n<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<section>\n<h2>{_text(table.title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>{note}\n</section>"
    )


def _value(cell: Cell) -> float | None:
    """The number that a cell is or begins with."""
    if isinstance(cell, str):
        found = NUMBER.match(cell.strip())
        return float(re.sub(r"[^\d.\-]", "", found.group().replace("−", "-"))) if found else None
    return None if cell is None or isinstance(cell, bool) or cell != cell else float(cell)


def as_written(column: Sequence[Cell]) -> list[str]:
    """Cells as text. Floats share as many decimals as give the largest three significant digits, at most six."""
    floats = [abs(c) for c in column if isinstance(c, float) and c == c and abs(c) != float("inf")]
    largest = max(floats, default=0.0)
    decimals = 3 if largest == 0.0 else next((d for d in range(7) if largest * 10**d >= 100.0), 6)
    out = []
    for cell in column:
        if cell is None or (isinstance(cell, float) and cell != cell):
            out.append("–")
        elif isinstance(cell, float):
            out.append(f"{cell:.{decimals}f}".replace("-", "−"))
        else:
            out.append(str(cell))
    return out


def _figure(picture: Picture) -> str:
    data = picture.png.read_bytes()
    if data[:8] != PNG or data[12:16] != b"IHDR":
        raise ValueError(
            f"{picture.png} is not a PNG file; a report embeds PNG pictures: save the figure to a path ending in .png."
        )
    width, height = struct.unpack(">II", data[16:24])
    encoded = base64.b64encode(data).decode("ascii")
    return (
        f'<figure>\n<img src="data:image/png;base64,{encoded}" width="{width}" height="{height}" alt="{_text(picture.alt)}">\n'
        f"<figcaption>{_text(picture.caption)}</figcaption>\n</figure>"
    )
