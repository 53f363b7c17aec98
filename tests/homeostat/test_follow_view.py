"""The view that stays on the screen: what it says, what fits on it, and that it hides nothing that must be known."""

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from homeostat.follow.lines import Line
from homeostat.follow.view import PEOPLE, LiveView
from twin import Band, Change, Consistency, Estimate
from twin.log import Event, read_time

HALF_PAST_ONE = read_time("2026-03-02T01:30:00Z", "time")
HOUR = 3_600_000_000


def estimate(patient: str, mean: float = 7.94, nis: float = 2.1) -> Estimate:
    channels = {"concentration": Band(mean, mean - 1.2, mean + 1.4, "mg/L"), "ratio": Band(0.5, 0.4, 0.6, "1")}
    return Estimate(
        patient,
        HALF_PAST_ONE,
        channels,
        last=Consistency(nis, 2),
        effective=HALF_PAST_ONE,
        arrived=HALF_PAST_ONE + 2 * HOUR,
    )


def change(found: Estimate, late: int = 3 * HOUR) -> Change:
    came = (found.arrived or 0) - late
    event = Event(found.patient, "lab", "1", 1, "measurement", came, "concentration", 8.0, "mg/L")
    return Change(event, "new", None, found)


def screen(view: LiveView, width: int = 80, height: int = 24) -> str:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(view)
    return captured.get()


@pytest.fixture
def view() -> LiveView:
    return LiveView("homeostat follow model.twin --stream -", Console(file=io.StringIO(), width=80), warn=True)


def test_a_person_s_channels_bands_times_lag_and_consistency(view: LiveView) -> None:
    for mean in (9.0, 8.0, 7.0, 7.94):
        view.change(Line(1, b""), change(estimate("anna", mean)))
    assert screen(view).splitlines() == [
        "homeostat follow model.twin --stream -",
        "4 changes · 0 rejected · 1 person · 02 Mar 2026, UTC · training not known",
        "",
        "anna  newest 01:30:00, came 03:30:00, 3 h late  NIS 2.1 in 0.1–7.4",
        "  concentration   7.9   6.7 – 9.3   mg/L  █▅▁▄",
        "  ratio          0.50  0.40 – 0.60        ▅▅▅▅",
    ]


def test_what_must_be_known_is_said_in_words_too(view: LiveView) -> None:
    """Not by a colour alone."""
    view.change(Line(1, b""), change(estimate("anna", nis=9.0)))
    why = "the prediction diverged, and this is what was believed at 2026-03-01T22:00:00Z, long ago"
    held = replace(estimate("ben"), held=why)
    view.change(Line(2, b""), change(held))
    waits = Estimate("carla", HALF_PAST_ONE, effective=HALF_PAST_ONE, arrived=HALF_PAST_ONE, waits=("glucose",))
    view.change(Line(3, b""), change(waits, late=0))
    note = "of concentration, which is never below 0, the filter believes -54.4 mg/L, and shown is what a measurement would be"
    view.change(Line(4, b""), change(replace(estimate("dora"), notes=(note,))))
    nothing = Estimate("emil", None, arrived=HALF_PAST_ONE, notes=("nothing that counts was told of this person",))
    view.change(Line(5, b""), change(nothing, late=0))
    text = screen(view)
    assert "  of concentration, which is never below 0, the filter believes -54.4 mg/L, and\n    shown is what" in text
    assert "  nothing that counts was told of this person\n" in text
    assert "NIS 9.0 outside 0.1–7.4" in text
    assert "held: the prediction diverged, and this is what was believed at\n" in text
    assert "    2026-03-01T22:00:00Z, long ago" in text
    assert "waits to be told glucose" in text
    assert "carla  newest 01:30:00, came 01:30:00, under 1 s late  nothing was measured yet" in text


@pytest.mark.parametrize(("height", "count"), [(24, 6), (15, 3), (5, 1), (100, PEOPLE)])
def test_as_many_people_as_fit_and_the_rest_counted(height: int, count: int, view: LiveView) -> None:
    for k in range(10_000):
        view.change(Line(1, b""), change(estimate(f"person {k}")))
    lines = screen(view, height=height).splitlines()
    assert f"10,000 people, the first {count} shown" in lines[1]
    assert sum(line.startswith("person ") for line in lines) == count
    assert len(lines) <= max(height, 6)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_is_wider_than_the_screen(width: int, view: LiveView) -> None:
    """Names are others' text: long ones, wide ones, one that rich would take for a style."""
    for name in ("x" * 200, "[red]anna[/red]", "安娜" * 30):
        view.change(Line(1, b""), change(estimate(name)))
    text = screen(view, width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "[red]anna[/red]" in text


def test_who_is_in_the_log_is_there_from_the_beginning() -> None:
    out = io.StringIO()
    view = LiveView("title", Console(file=out, width=80, force_terminal=False), warn=False)
    asked: list[str] = []

    def known(patient: str) -> Estimate:
        asked.append(patient)
        return estimate(patient)

    view.begin([f"person {k}" for k in range(40)], known)
    assert len(asked) == PEOPLE  # who has no place is not computed
    view.reject(Line(7, b"nonsense"), "the line is not JSON")
    view.end()
    assert "0 changes · 1 rejected · 40 people, the first" in out.getvalue()
    assert "not JSON" not in out.getvalue()  # somebody else keeps it


def test_a_rejected_line_is_said_above_the_view() -> None:
    out = io.StringIO()
    view = LiveView("title", Console(file=out, width=80, force_terminal=True), warn=True)
    view.begin([], estimate)
    view.reject(Line(7, b"nonsense"), "the line is not JSON\x1b[2J")
    view.end()
    assert "line 7: the line is not JSON\\x1b[2J" in out.getvalue()
