"""Values as HTML: verdicts, tables, pictures, and the text of others, which is text and never markup."""

import html
import os
import re
from collections.abc import Sequence
from pathlib import Path

from homeostat.gallery.inlined import inline_svg
from homeostat.gallery.table import Table, as_written, value_of
from homeostat.pictures import Picture
from training.trust.verdicts import Verdict

FOLDED = 420  # characters: a detail longer than this, as a certificate's is, is folded behind its first sentence
MARKS = {True: "✓", False: "✗", None: "–"}  # of a verdict's `good`
_SAID = {True: "good", False: "bad", None: "neutral"}
_MINUS = re.compile(r"(?<![\w.)\-])-(?=\.?\d)")  # no hyphen: "2-3", "1e-8" and "--steps" keep theirs
LONG = 16  # letters of a word that a cell of a table may break


def text(value: object) -> str:
    """Any value as text of a page."""
    return html.escape(str(value), quote=True)


def prose(sentence: object) -> str:
    """A sentence as text of a page: numbers with a minus sign, and not parted from their per cent at the end of a line."""
    return _MINUS.sub("−", text(sentence)).replace(" %", "\u00a0%")


def verdict_item(verdict: Verdict) -> str:
    """One verdict as an item of a list: its mark, which is read aloud too, the claim, and what stands behind it."""
    kind = _SAID[verdict.good]
    below = f' <span class="detail">{prose(verdict.detail)}</span>' if verdict.detail else ""
    first, _, rest = verdict.detail.partition(". ")
    if rest and len(verdict.detail) > FOLDED:
        below = (
            f' <span class="detail">{prose(first)}.</span>'
            f'<details class="more"><summary>More of this</summary><span class="detail">{prose(rest)}</span></details>'
        )
    return (
        f'<li class="{kind}"><span class="mark" role="img" aria-label="{kind}">{MARKS[verdict.good]}</span>'
        f'<div><span class="claim">{prose(verdict.claim)}</span>{below}</div></li>'
    )


def _classes(names: Sequence[str]) -> str:
    return f' class="{" ".join(names)}"' if names else ""


def table_section(table: Table, level: int, csv: str | None) -> str:
    """A table with its heading and note, and a link to its file; a row's first cell is its name."""
    shown = table.rows if table.most is None else table.rows[: table.most]
    cells: list[list[str]] = [[] for _ in shown]
    head = ""
    for c, name in enumerate(table.columns):
        column = [row[c] for row in shown]
        values = [value_of(cell) for cell in column]
        numeric = c > 0 and any(v is not None for v in values) and all(
            v is not None or cell in (None, "", "–", "—") for v, cell in zip(values, column, strict=True)
        )
        head += f'<th scope="col"{" class=number" if numeric else ""}>{prose(name)}</th>'
        present = [v for v in values if v is not None]
        best = (min if table.best[name] == "low" else max)(present) if name in table.best and present else None
        for r, written in enumerate(as_written(column)):
            classes = ["number"] * numeric + ["best"] * (best is not None and values[r] == best)
            long = max(map(len, written.split()), default=0) > LONG
            # a browser breaks words at a hyphen: "c-peptide" would be two lines in every row
            whole = not numeric and not long and c > 0 and "-" in written[1:] and " " not in written
            mark = _classes(classes + ["long"] * (long and c == 0) + ["whole"] * whole)
            cells[r].append(
                f'<th scope="row"{mark}>{text(written)}</th>' if c == 0 else f"<td{mark}>{text(written)}</td>"
            )
    rows = "\n".join("<tr>" + "".join(row) + "</tr>" for row in cells)
    cut = len(shown) < len(table.rows)
    more = f"The first {len(shown)} of {len(table.rows)} rows; the files have all of them." if cut else ""
    below = " ".join(filter(None, [more, table.note]))
    note = f'\n<p class="note">{prose(below)}</p>' if below else ""
    link = "" if csv is None else f'\n<p class="files"><a href="{text(csv)}">{text(Path(csv).name)}</a></p>'
    label = f"{table.name}-heading"
    return (
        f'<section id="{table.name}" aria-labelledby="{label}">\n<h{level} id="{label}">{text(table.title)}</h{level}>\n'
        f'<div class="scroll" tabindex="0" role="group" aria-labelledby="{label}"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>{note}{link}\n</section>"
    )


def figure(picture: Picture, folder: Path, *, first: bool = False) -> tuple[str, set[str]]:
    """A picture inside the page with its caption, its files linked; and the ids that it brings.

    Errors: `ValueError` for what is no SVG of plain drawing; `FileNotFoundError` for a file that is missing.
    """
    drawn, ids = inline_svg(picture.svg, name=f"picture-{picture.name}", alt=picture.alt)
    for file in (picture.svg, picture.png):
        if not file.exists():
            raise FileNotFoundError(f"{file} is not there; a page shows pictures written by write_picture")
    links = ", ".join(
        f'<a href="{text(Path(os.path.relpath(file, folder)).as_posix())}">{word}</a>'
        for file, word in ((picture.svg, "SVG, larger"), (picture.png, "PNG"))
    )
    label = f"picture-{picture.name}-caption"
    return (
        f'<figure id="picture-{text(picture.name)}"{" class=first" if first else ""}>\n'
        f'<div class="scroll" tabindex="0" role="group" aria-labelledby="{label}">{drawn}</div>\n'
        f'<figcaption><b id="{label}">{text(picture.title)}</b> <span>{prose(picture.caption)}</span> '
        f'<span class="zoom">({links})</span></figcaption>\n</figure>'
    ), ids | {f"picture-{picture.name}", label}
