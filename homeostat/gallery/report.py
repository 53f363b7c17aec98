"""A report: one HTML page with its pictures inside, no script, nothing fetched; its numbers as files beside it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from exchange.files.whole_file import whole_file
from homeostat.gallery.beside import FOLDER, table_values, write_csv, write_json
from homeostat.gallery.made import Made
from homeostat.gallery.markup import figure, prose, table_section, text, verdict_item
from homeostat.gallery.stylesheet import stylesheet
from homeostat.gallery.table import Table, stem
from homeostat.pictures import Picture
from training.trust.verdicts import Verdict

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Section:
    """A part of a page that is folded until a reader asks for it.

    `title`, unique on its page · `summary`, one sentence that is read while it is closed · `notes`, paragraphs · `pictures`,
    then `tables` · `open`: not folded at first.
    """

    title: str
    summary: str = ""
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    open: bool = False

    @property
    def anchor(self) -> str:
        """Its place in the page's address."""
        return f"section-{stem(self.title)}"


def write_report(
    path: Path | str,
    *,
    title: str,
    opening: Sequence[str],
    made: Made,
    picture: Picture | None = None,
    verdicts: Sequence[Verdict] = (),
    notes: Sequence[str] = (),
    sections: Sequence[Section] = (),
    provenance: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write a page, `tables/NAME.csv` for each of its tables and all of it as JSON beside it, and return the page's path.

    In this order: the title, how it was made, the first `picture`, the `opening` (what it is and of whom, what is proved, how
    far to trust it), the contents, the `verdicts` with the colour and the mark of their `good`, `notes`, and the `sections`,
    folded; last `provenance`, what it was made from, by name, and links to its numbers and to other `files` beside it, with what
    each is. `values`: what else the JSON holds, by name.
    All text is escaped: it is text, never markup. The page asks the browser to fetch nothing, and forbids it to; what it links
    to are the files beside it.
    Errors: `ValueError` for two parts of one name, two pictures of one title or caption, and a picture that is not plain
    drawing; `FileNotFoundError` for one that is missing.
    """
    path = Path(path)
    tables = [table for section in sections for table in section.tables]
    pictures = [*filter(None, [picture]), *(one for section in sections for one in section.pictures)]
    _require_distinct(sections, tables, pictures)
    data = path.with_suffix(".json").name
    ids: list[str] = []
    beside = [*(files or {}).items()]

    def drawn(one: Picture, first: bool = False) -> str:
        markup, own = figure(one, path.parent, first=first)
        ids.extend(own)
        return markup

    body = [f"<h1>{text(title)}</h1>", _made(made)]
    if picture is not None:
        body.append(drawn(picture, first=True))
    body.append('<ul class="opening">\n' + "\n".join(f"<li>{prose(one)}</li>" for one in opening) + "\n</ul>")
    contents = [("verdicts", "What was found")] if verdicts else []
    contents += [("notes", "What a reader must know")] if notes else []
    contents += [(section.anchor, section.title) for section in sections]
    contents += [("made-from", "What this was made from")] if provenance else []
    if len(contents) > 1:
        items = "\n".join(f'<li><a href="#{anchor}">{text(words)}</a></li>' for anchor, words in contents)
        body.append(f'<nav aria-labelledby="contents"><h2 id="contents">On this page</h2>\n<ul>\n{items}\n</ul></nav>')
    if verdicts:
        items = "\n".join(verdict_item(verdict) for verdict in verdicts)
        body.append(f'<h2 id="verdicts">What was found</h2>\n<ul class="verdicts">\n{items}\n</ul>')
    if notes:
        body.append('<h2 id="notes">What a reader must know</h2>\n' + "\n".join(f"<p>{prose(one)}</p>" for one in notes))
    folded = []
    for section in sections:
        inside = [f"<p>{prose(one)}</p>" for one in section.notes] + [drawn(one) for one in section.pictures]
        inside += [table_section(table, 3, f"{FOLDER}/{table.name}.csv") for table in section.tables]
        folded.append(_folded(section.anchor, section.title, section.summary, inside, open=section.open))
    if provenance:
        pairs = "\n".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in provenance.items())
        words = "Data, versions and settings."
        folded.append(_folded("made-from", "What this was made from", words, [f"<dl>\n{pairs}\n</dl>"]))
    if folded:
        body.append('<div class="folded">\n' + "\n".join(folded) + "\n</div>")
    numbers = f'<a href="{text(data)}">{text(data)}</a>' + (f", and every table as CSV in {FOLDER}/" if tables else "")
    body.append(f'<p class="files">The numbers of this page: {numbers}.</p>')
    body += [f'<p class="files">{text(words)}: <a href="{text(quote(name))}">{text(name)}</a>.</p>' for name, words in beside]
    _require_once(ids)
    written = {
        **(values or {}),
        "title": title,
        "opening": list(opening),
        "made": made.to_dict(),
        "verdicts": [v.to_dict() for v in verdicts],
        "page_notes": list(notes),
        "tables": [table_values(table) for table in tables],
        "pictures": [_described(one) for one in pictures],
        "made_from": dict(provenance or {}),
        "files": dict(beside),
    }
    page = _page(title, "\n".join(body))
    for table in tables:
        write_csv(path.parent, table)
    write_json(path.with_suffix(".json"), written)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _page(title: str, inside: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>
{stylesheet()}</style>
</head>
<body>
<main>
{inside}
</main>
</body>
</html>
"""


def _made(made: Made) -> str:
    return (
        f'<p class="made">Made by <code>{text(made.command)}</code> on <time datetime="{text(made.date)}">{text(made.date)}'
        f"</time> with homeostat {text(made.version)}.</p>"
    )


def _folded(anchor: str, title: str, summary: str, inside: Sequence[str], *, open: bool = False) -> str:
    # the anchor is inside, not on the element itself: a browser unfolds what hides the place that an address names
    words = f"<p>{text(summary)}</p>" if summary else ""
    return (
        f"<details{' open' if open else ''}>\n<summary><h2>{text(title)}</h2>{words}</summary>\n"
        f'<div class="inside" id="{anchor}">\n' + "\n".join(inside) + "\n</div>\n</details>"
    )


def _described(picture: Picture) -> dict[str, str]:
    files = {"svg": picture.svg.name, "png": picture.png.name}
    return {"name": picture.name, "title": picture.title, "caption": picture.caption, "alt": picture.alt, **files}


def _require_distinct(sections: Sequence[Section], tables: Sequence[Table], pictures: Sequence[Picture]) -> None:
    _require_once([section.anchor for section in sections], "two sections have the title of", "title")
    _require_once([table.name for table in tables], "two tables have the title of", "title")
    for what in ("name", "title", "caption"):
        _require_once([getattr(one, what) for one in pictures], f"two pictures have the {what}", what)


def _require_once(names: Iterable[str], problem: str = "two pictures bring the id", cure: str = "name") -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"write_report: {problem} {twice[0]!r}, and a reader could not tell them apart; give each a {cure} of its own"
        )
