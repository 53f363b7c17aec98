"""The report: all text escaped, nothing fetched, every part once; its numbers as files beside it."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from homeostat.gallery.made import Made
from homeostat.gallery.markup import verdict_item
from homeostat.gallery.report import POLICY, Section, write_report
from homeostat.gallery.table import Table, as_written
from homeostat.pictures.picture import Picture
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


MADE = Made("homeostat fit table.csv", "2026-01-02T03:04:05Z")


LINE = '<path id="{name}-p" d="M0 0L1 1" style="stroke: var(--ink, #000)"/><use href="#{name}-p"/>'


def picture(folder, name="a", caption="A caption", inside=LINE):
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    svg.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 1">{inside.format(name=name)}</svg>')
    png.write_bytes(b"\x89PNG")
    return Picture(name, f"Picture {name}", caption, f"A line of {name}, from 0 to 1", svg, png)


def report(folder, **changes):
    parts = {
        "title": "A title",
        "opening": ["First.", "Second."],
        "made": MADE,
        "picture": changes["picture"] if "picture" in changes else picture(folder / "deep"),
        "verdicts": [Verdict("Good", True, "why"), Verdict("Bad", False, "why"), Verdict("Neither", None)],
        "sections": [
            Section(
                "Judged",
                "What is folded.",
                ["A paragraph."],
                [picture(folder / "deep", "b", "Another caption")],
                [Table("Scores", ("model", "CRPS"), [("a", 0.5), ("b", 0.25)], "A note.", {"CRPS": "low"})],
            )
        ],
        "provenance": {"seed": "1"},
    } | changes
    return write_report(folder / "deep" / "report.html", **parts).read_text(encoding="utf-8")


def tabled(*tables):
    return {"sections": [Section("Judged", tables=tables)]}


def test_everything_is_there_once(tmp_path):
    page = Page(report(tmp_path))
    words = [text.strip() for _, text in page.text]
    once = ("First.", "Second.", "Good", "Bad", "Neither", "Scores", "A note.", "A caption", "seed", "A paragraph.", MADE.command)
    for word in (*once, "Another caption", "What is folded.", "Picture a"):
        assert words.count(word) == 1, word
    assert [a["class"] for a in page.of("li") if a.get("class")] == ["good", "bad", "neutral"]
    assert len(page.of("table")) == 1
    assert len(page.of("svg")) == len(page.of("figure")) == len(page.of("details")) == 2


def test_the_picture_and_the_opening_come_first_and_the_rest_is_folded(tmp_path):
    source = report(tmp_path)
    order = ["<h1>", MADE.command, 'id="picture-a"', "First.", "<nav", 'id="verdicts"', "<details>", 'id="made-from"']
    assert [source.index(one) for one in order] == sorted(source.index(one) for one in order)
    assert source.index("Scores") > source.index("<details>")


def test_a_long_detail_is_folded_behind_its_first_sentence():
    long = Verdict("Proved", True, f"It holds. {'And so on. ' * 60}".strip())
    item = verdict_item(long)
    first, _, rest = item.partition("<details")
    assert '<span class="detail">It holds.</span>' in first
    assert "And so on" not in first
    assert rest.count("And so on.") == 60
    assert "<details" not in verdict_item(replace(long, detail="It holds. And so on."))
    assert "<details" not in verdict_item(replace(long, detail="one sentence " * 60))


def test_every_link_of_the_page_leads_somewhere(tmp_path):
    page = Page(report(tmp_path))
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in page.of("a")]
    assert len(links) > 8
    for link in links:
        assert link[1:] in ids if link.startswith("#") else (tmp_path / "deep" / link).is_file()
    for _, attributes in page.elements:
        assert set((attributes.get("aria-labelledby") or "").split()) <= set(ids)


def test_files_beside_it_are_linked_and_said(tmp_path):
    page = Page(report(tmp_path, files={"a b.fmu": "The model <as> an FMU"}))
    (link,) = (a for a in page.of("a") if "fmu" in a["href"])
    assert link["href"] == "a%20b.fmu"
    assert ("p", "The model <as> an FMU: ") in page.text
    assert json.loads((tmp_path / "deep" / "report.json").read_text("utf-8"))["files"] == {"a b.fmu": "The model <as> an FMU"}


def test_headings_go_down_by_one(tmp_path):
    levels = [int(tag[1]) for tag, _ in Page(report(tmp_path)).elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_pictures_are_inside_with_what_is_seen_in_words(tmp_path):
    page = Page(report(tmp_path))
    first, second = page.of("svg")
    assert (first["role"], first["viewbox"]) == ("img", "0 0 2 1")
    said = [words for tag, words in page.text if tag == "desc"]
    seen = dict(zip([a.get("id") for a in page.of("desc")], said, strict=True))
    assert seen[first["aria-labelledby"]] == "A line of a, from 0 to 1"
    assert seen[second["aria-labelledby"]] == "A line of b, from 0 to 1"
    assert [a["style"] for a in page.of("path")] == ["stroke: var(--ink, #000)"] * 2


def test_nothing_is_fetched_and_nothing_runs(tmp_path):
    source = report(tmp_path)
    page = Page(source)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base", "img", "image"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "action", "poster", "data"}
            if name == "href":
                assert re.fullmatch(r"#[\w-]+|[\w./-]+", value)
    assert not re.search(r"https?:|//|url\((?!#)|@import", source)
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == POLICY == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("<script>alert(1)</script>", "holds <script>"),
        ('<g onload="alert(1)"/>', "would run or fetch"),
        ('<use href="https://evil.example/x.svg#a"/>', "would run or fetch"),
        ('<use xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="javascript:alert(1)"/>', "would run or fetch"),
        ('<rect style="fill: url(https://evil.example/x)"/>', "would run or fetch"),
        ("<style>@import 'x.css';</style>", "would fetch"),
        ("<foreignObject/>", "holds <foreignObject>"),
        ('<image href="#a"/>', "holds <image>"),
        ('<g id="x"/><g id="x"/><use href="#x"/>', "twice"),
        ("<g>", "not an SVG file"),
    ],
)
def test_a_picture_that_would_do_more_than_be_seen_is_refused(tmp_path, inside, said):
    with pytest.raises(ValueError, match=said):
        report(tmp_path, picture=picture(tmp_path / "deep", inside=inside))


def test_ids_that_nothing_refers_to_are_left_out(tmp_path):
    inside = '<g id="a-panel"/><g id="a-panel"/><path id="a-p" d="M 0 0 \nL 1 1 "/><use href="#a-p"/>'
    source = report(tmp_path, picture=picture(tmp_path / "deep", inside=inside))
    assert "a-panel" not in source
    assert '<path id="a-p" d="M 0 0 L 1 1">' in source


def test_what_is_no_picture_is_refused(tmp_path):
    one = picture(tmp_path / "deep")
    one.svg.write_text('<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">&a;</svg>')
    with pytest.raises(ValueError, match="not an SVG"):
        report(tmp_path, picture=one)
    one.svg.write_text("<html/>")
    with pytest.raises(ValueError, match="not an SVG"):
        report(tmp_path, picture=one)
    one.svg.unlink()
    with pytest.raises(FileNotFoundError):
        report(tmp_path, picture=one)


def test_two_parts_of_one_name_are_refused(tmp_path):
    one, table = picture(tmp_path / "deep"), Table("Scores", ("a",), [(1,)])
    again = picture(tmp_path / "deep", "d", "D", LINE.replace("{name}", "a"))
    same = Picture("c", "Picture c", one.caption, "x", *[picture(tmp_path / "deep", "c").svg] * 2)
    for changes, said in [
        ({"sections": [Section("A", pictures=[same])]}, "caption"),
        ({"sections": [Section("A", pictures=[one])]}, "name"),
        ({"sections": [Section("A"), Section("A!")]}, "two sections"),
        ({"sections": [Section("A", tables=[table]), Section("B", tables=[table])]}, "two tables"),
        ({"sections": [Section("A", pictures=[again])]}, "the id 'a-p'"),
    ]:
        with pytest.raises(ValueError, match=said):
            report(tmp_path, picture=one, **changes)


def test_hostile_text_is_text_everywhere(tmp_path):
    plain = Page(report(tmp_path))
    page = Page(
        report(
            tmp_path,
            title=HOSTILE,
            opening=[HOSTILE, HOSTILE],
            made=Made(HOSTILE, HOSTILE, HOSTILE),
            picture=picture(tmp_path / "deep", caption=HOSTILE),
            verdicts=[Verdict(HOSTILE, True, HOSTILE), Verdict(HOSTILE, False, HOSTILE), Verdict(HOSTILE, None)],
            sections=[
                Section(
                    HOSTILE,
                    HOSTILE,
                    [HOSTILE],
                    [picture(tmp_path / "deep", "b", "Another caption")],
                    [Table(HOSTILE, (HOSTILE, "CRPS"), [(HOSTILE, 0.5), ("b", HOSTILE)], HOSTILE, {"CRPS": "low"})],
                )
            ],
            provenance={HOSTILE: HOSTILE},
        )
    )
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert not page.of("script")
    assert sum(text.strip() == HOSTILE for _, text in page.text) == 23  # the title counts twice, a section's too


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
def test_any_text_survives_as_it_is(tmp_path_factory, text):
    source = write_report(
        tmp_path_factory.getbasetemp() / "r.html", title="t", opening=["x"], made=MADE, provenance={"key": f"[{text}]"}
    ).read_text("utf-8")
    (value,) = [t for tag, t in Page(source).text if tag == "dd"]
    assert value == f"[{text}]"


def cells(source):
    page = Page(source)
    found = [(a.get("class", "") or "", a.get("scope")) for tag, a in page.elements if tag == "td" or a.get("scope") == "row"]
    return [c for c, _ in found], [h for h in page.of("th") if h["scope"] == "col"]


def test_numbers_stand_right_and_the_best_is_marked_only_when_asked(tmp_path):
    rows = [("a", 0.5, "71 %", "−3"), ("b", 0.25, "82 %", None), ("c", 0.7, "90 %", "12 ± 2")]
    columns = ("model", "CRPS", "covered", "gain")
    plain, head = cells(report(tmp_path, **tabled(Table("t", columns, rows))))
    assert plain == ["", "number", "number", "number"] * 3
    assert [h.get("class") for h in head] == [None, "number", "number", "number"]
    best = {"CRPS": "low", "covered": "high", "gain": "low"}
    marked, _ = cells(report(tmp_path, **tabled(Table("t", columns, rows, best=best))))
    assert [k for k, c in enumerate(marked) if "best" in c] == [3, 5, 10]  # −3, 0.25 and 90 %


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_every_table_is_a_file_of_all_its_rows_and_digits(tmp_path):
    third = 1.0 / 3.0
    rows = [["x", third, None], ["=1+1", math.nan, "−3"], ["-5", -0.25, "-note"]]
    table = Table("θ, of everyone!", ("person", "ka (/h)", "c"), rows, most=1)
    whole = Table("Shares", ("model", "share in 80 %"), [["a", third]])
    short = Table("Shares", ("model", "in 80 %"), [["a", "33 %"]], full=whole)
    source = report(tmp_path, **tabled(table, short))
    folder = tmp_path / "deep" / "tables"
    want = [["person", "ka (/h)", "c"], ["x", repr(third), ""], ["'=1+1", "", "−3"], ["-5", "-0.25", "'-note"]]
    assert read_csv(folder / "theta-of-everyone.csv") == want
    assert read_csv(folder / "shares.csv") == [["model", "share in 80 %"], ["a", repr(third)]]
    assert 'href="tables/theta-of-everyone.csv"' in source
    assert "The first 1 of 3 rows" in source
    assert "=1+1" not in source
    written = json.loads((tmp_path / "deep" / "report.json").read_text("utf-8"))
    assert written["tables"][0]["rows"] == [["x", third, None], ["=1+1", None, "−3"], ["-5", -0.25, "-note"]]
    assert written["tables"][1]["columns"] == ["model", "share in 80 %"]
    assert written["tables"][1]["csv"] == "tables/shares.csv"


def test_what_a_page_says_is_in_its_json(tmp_path):
    report(tmp_path, values={"scores": {"nll": math.inf}}, notes=["Read this."])
    written = json.loads((tmp_path / "deep" / "report.json").read_text("utf-8"))
    assert written["scores"] == {"nll": None}
    assert written["opening"] == ["First.", "Second."]
    assert written["made"] == {"command": MADE.command, "date": MADE.date, "version": MADE.version}
    assert [v["good"] for v in written["verdicts"]] == [True, False, None]
    assert written["page_notes"] == ["Read this."]
    assert [p["svg"] for p in written["pictures"]] == ["a.svg", "b.svg"]
    assert written["made_from"] == {"seed": "1"}


def test_how_it_was_made_is_as_it_was_typed(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    made = Made.now(["fit", "my table.csv", "--units", "DV=mg/L", "$(rm x)"])
    assert made.command == "homeostat fit 'my table.csv' --units DV=mg/L '$(rm x)'"
    assert made.date == "1970-01-02T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "9" * 30)
    with pytest.raises(ValueError, match="no time in seconds since 1970"):
        Made.now("x")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "²")  # a digit, and no number
    assert Made.now("x").date > "2020"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", Made.now("fit_table(...)").date)
    assert Made.now("fit_table(...)").command == "fit_table(...)"


def test_floats_of_a_column_share_decimals():
    assert as_written([0.5, 0.25, -0.125, None, math.nan]) == ["0.500", "0.250", "−0.125", "–", "–"]
    assert as_written([123.4, 5.0, 7]) == ["123", "5", "7"]
    assert as_written([0.0]) == ["0.000"]
    assert as_written([10.5, 0.74, 2.84]) == ["10.50", "0.74", "2.84"]  # a small one is not lost beside a large one
    assert as_written([90.0, 90.0, 120.0]) == ["90", "90", "120"]
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


def test_a_report_of_words_alone(tmp_path):
    source = write_report(tmp_path / "r.html", title="t", opening=["x"], made=MADE).read_text("utf-8")
    page = Page(source)
    for tag in ("svg", "table", "dl", "nav", "details"):
        assert not page.of(tag)
    assert json.loads((tmp_path / "r.json").read_text())["tables"] == []
    assert not (tmp_path / "tables").exists()


def test_sentences_have_minus_signs_and_keep_their_per_cent_and_short_words_are_whole(tmp_path):
    rows = [("recalibrated by others", "c-peptide", 1.0), ("a" * 40, "x", 2.0)]
    page = report(
        tmp_path,
        **tabled(Table("t", ("model", "in 80 %", "v"), rows, "From -3 to -.5 of 1e-8, --steps 2-3.")),
        verdicts=[Verdict("Covers 19 % of it", True, "-0.051 %")],
    )
    assert "From −3 to −.5 of 1e-8, --steps 2-3." in page
    assert "Covers 19\u00a0% of it" in page
    assert "−0.051\u00a0%" in page
    assert "in 80\u00a0%" in page
    assert '<td class="whole">c-peptide</td>' in page
    assert '<th scope="row">recalibrated by others</th>' in page
    assert f'<th scope="row" class="long">{"a" * 40}</th>' in page
