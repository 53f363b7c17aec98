"""The report: one file, all text escaped, nothing fetched."""

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from homeostat.gallery.report import Table, as_written, write_report
from homeostat.pictures import Picture, save
from homeostat.pictures.style import new_figure
from homeostat.terminal import rich_table
from training.trust.verdicts import Verdict

HOSTILE = "<script src='https://evil.example/x.js'>alert(\"&amp;\")</script><img src=x onerror=1>"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Elements with attributes and text, and a check that tags nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.text.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def picture(folder, name="a.png"):
    figure = new_figure(2.0, 1.5)
    figure.subplots().plot([0, 1], [0, 1])
    return Picture("a", "A picture", "A caption", "A line that rises.", folder / "a.svg", save(figure, folder / name))


def report(folder, **changes):
    parts = {
        "title": "A title",
        "lead": "First.\n\nSecond.",
        "verdicts": [Verdict("Good", True, "why"), Verdict("Bad", False, "why"), Verdict("Neither", None)],
        "tables": [Table("Scores", ("model", "CRPS"), [("a", 0.5), ("b", 0.25)], "A note.", {"CRPS": "low"})],
        "pictures": [picture(folder)],
        "provenance": {"seed": "1"},
    } | changes
    return write_report(folder / "deep" / "report.html", **parts).read_text(encoding="utf-8")


def test_everything_is_there_once(tmp_path):
    page = Page(report(tmp_path))
    words = [text.strip() for _, text in page.text]
    for word in ("First.", "Second.", "Good", "Bad", "Neither", "Scores", "A note.", "A caption", "seed"):
        assert words.count(word) == 1
    assert [a["class"] for a in page.of("li")] == ["good", "bad", "neutral"]
    assert len(page.of("table")) == len(page.of("img")) == len(page.of("figure")) == 1


def test_pictures_come_back_byte_for_byte_with_their_size(tmp_path):
    page = Page(report(tmp_path))
    (image,) = page.of("img")
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data, validate=True) == (tmp_path / "a.png").read_bytes()
    assert (image["width"], image["height"], image["alt"]) == ("320", "240", "A line that rises.")


def test_nothing_is_fetched_and_nothing_runs(tmp_path):
    source = report(tmp_path)
    page = Page(source)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "poster", "data"}:
                assert value.startswith("data:image/png;base64,")
    assert not re.search(r"https?:|//|url\(|@import", re.sub(r"base64,[^\"]*", "", source))
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_hostile_text_is_text_everywhere(tmp_path):
    plain = Page(report(tmp_path))
    page = Page(
        report(
            tmp_path,
            title=HOSTILE,
            lead=HOSTILE,
            verdicts=[Verdict(HOSTILE, True, HOSTILE), Verdict(HOSTILE, False, HOSTILE), Verdict(HOSTILE, None)],
            tables=[Table(HOSTILE, (HOSTILE, "CRPS"), [(HOSTILE, 0.5), ("b", HOSTILE)], HOSTILE, {"CRPS": "low"})],
            pictures=[replace(picture(tmp_path), caption=HOSTILE, alt=HOSTILE)],
            provenance={HOSTILE: HOSTILE},
        )
    )
    # the same elements as with harmless text, but for the second paragraph of the lead
    assert len(page.elements) == len(plain.elements) - 1
    assert not page.of("script")
    assert sum(text.strip() == HOSTILE for _, text in page.text) == 16  # title counts twice, the caption once as text
    assert page.of("img")[0]["alt"] == HOSTILE


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
def test_any_text_survives_as_it_is(tmp_path_factory, text):
    source = write_report(
        tmp_path_factory.getbasetemp() / "r.html", title="t", lead="x", provenance={"key": f"[{text}]"}
    ).read_text("utf-8")
    (value,) = [t for tag, t in Page(source).text if tag == "dd"]
    assert value == f"[{text}]"


def cells(source):
    page = Page(source)
    return [attributes.get("class", "") or "" for attributes in page.of("td")], page.of("th")


def test_numbers_stand_right_and_the_best_is_marked_only_when_asked(tmp_path):
    rows = [("a", 0.5, "71 %", "−3"), ("b", 0.25, "82 %", None), ("c", 0.7, "90 %", "12 ± 2")]
    columns = ("model", "CRPS", "covered", "gain")
    plain, head = cells(report(tmp_path, tables=[Table("t", columns, rows)]))
    assert plain == ["", "number", "number", "number"] * 3
    assert [h.get("class") for h in head] == [None, "number", "number", "number"]
    best = {"CRPS": "low", "covered": "high", "gain": "low"}
    marked, _ = cells(report(tmp_path, tables=[Table("t", columns, rows, best=best)]))
    assert [k for k, c in enumerate(marked) if "best" in c] == [3, 5, 10]  # −3, 0.25 and 90 %


def test_floats_of_a_column_share_decimals():
    assert as_written([0.5, 0.25, -0.125, None, math.nan]) == ["0.500", "0.250", "−0.125", "–", "–"]
    assert as_written([123.4, 5.0, 7]) == ["123", "5", "7"]
    assert as_written([0.0]) == ["0.000"]
    assert as_written(["as it is", 3]) == ["as it is", "3"]


def test_no_band_is_cut_off_in_a_narrow_terminal():
    band = "0.103 (0.06–0.15)"
    columns = ("model", "NLL", "CRPS (mg/L)", "RMSE (mg/L)", "in 80 %", "in 95 %", "event ECE", "quantile gap")
    row = ("neural ODE alone", 1.358, 0.529, 0.95, "96 %", "100 %", band, band)
    console = Console(width=80, file=io.StringIO())
    console.print(rich_table(Table("t", columns, [row])))
    shown = console.file.getvalue()
    assert shown.count("0.103") == shown.count("(0.06–0.15)") == 2
    assert shown.count("(mg/L)") == 2
    assert "…" not in shown


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="has 2 columns and a row of 1 cells"):
        Table("t", ("a", "b"), [(1,)])
    with pytest.raises(ValueError, match="best says 'c'"):
        Table("t", ("a",), [(1,)], best={"c": "low"})


def test_only_png_is_embedded(tmp_path):
    other = tmp_path / "a.png"
    other.write_text("<svg onload=alert(1)>")
    with pytest.raises(ValueError, match="not a PNG"):
        report(tmp_path / "b", pictures=[Picture("a", "A", "x", "y", other, other)])
    with pytest.raises(FileNotFoundError):
        report(tmp_path / "c", pictures=[Picture("a", "A", "x", "y", other, tmp_path / "missing.png")])


def test_a_report_of_words_alone(tmp_path):
    source = write_report(tmp_path / "r.html", title="t", lead="x").read_text("utf-8")
    page = Page(source)
    assert not page.of("img")
    assert not page.of("table")
    assert not page.of("dl")
    assert not page.of("ul")
