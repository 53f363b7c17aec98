"""The bar of a notebook is one line that is kept up to date; in a terminal and in a notebook an interruption loses nothing."""

import sys
from collections.abc import Generator
from io import StringIO
from types import ModuleType
from typing import Any

import pytest
import torch
from rich.console import Console

import homeostat.notebook_bar as notebook_bar
from homeostat.progress import Interruption, watched
from hybrid import HybridModel
from training import Fitted, PopulationStep, Step, fit


class Shown:
    """What stands in the cell, as IPython would keep it: the last of one display."""

    def __init__(self) -> None:
        self.lines = list[Any]()

    def display(self, line: Any, *, display_id: bool) -> "Shown":
        assert display_id and not self.lines, "one display for a fit"  # noqa: PT018
        self.lines.append(line)
        return self

    def update(self, line: Any) -> None:
        self.lines.append(line)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown, there = Shown(), ModuleType("IPython.display")
    there.display = shown.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", there)
    return shown


def in_a_notebook() -> Console:
    return Console(file=StringIO(), force_jupyter=True)


@pytest.fixture
def best(model: HybridModel) -> Fitted:
    return Fitted(model, torch.zeros(1, 4, 3))


def steps(best: Fitted, last: int, total: int = 400, stopped: bool = False) -> Generator[Step, None, None]:
    for k in range(1, last + 1):
        yield Step(k, total, torch.full((1,), 2.5), torch.full((1,), 1.5), 0.1, best)
    if stopped:
        raise KeyboardInterrupt


def test_a_cell_holds_one_line_however_many_steps_there_are(cell: Shown, best: Fitted) -> None:
    assert watched(steps(best, 400), "hybrid", in_a_notebook()) == (best, None)
    assert len(cell.lines) < 20  # a few changes a second
    line = cell.lines[-1]
    assert repr(line).startswith("hybrid: step 400 of 400, loss 2.50, unseen 1.50, rate 0.100, in 0:0")
    assert line._repr_html_().startswith('<progress value="1.000" max="1"></progress> hybrid: step 400')
    assert "color" not in line._repr_html_()


def test_the_time_left_is_said_while_it_runs(cell: Shown, best: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 4000, 10))
    monkeypatch.setattr(notebook_bar.time, "monotonic", lambda: next(clock))
    assert watched(steps(best, 3, total=5), "<b>", in_a_notebook()) == (best, None)
    assert repr(cell.lines[2]).endswith("0:30 left")  # one step took ten seconds, three are to come
    assert "<b>" not in cell.lines[2]._repr_html_()


def test_a_stop_keeps_the_best_and_says_so(cell: Shown, best: Fitted) -> None:
    assert watched(steps(best, 10, stopped=True), console=in_a_notebook()) == (best, Interruption(10, 400))
    assert "interrupted at step 10 of 400; going on with the best state so far" in repr(cell.lines[-1])
    assert 'value="0.025"' in cell.lines[-1]._repr_html_()


def test_every_fit_can_be_watched(best: Fitted) -> None:
    one = torch.ones(1)
    step = PopulationStep(1, 1, one, one, one > 0, one, best)
    text = StringIO()
    assert watched(iter([step]), "population", Console(file=text)) == (best, None)
    assert "population" in text.getvalue()
    assert "loss 1.00" in text.getvalue()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: 3, r"watched: steps are those of a fit, as they come, and are 3; write watched\(fit\(model, cohort\)\)"),
        (lambda: "fit", "watched: steps are those of a fit"),
        (lambda: [1, 2], "watched: steps are those of a fit, and one is 1"),
        (lambda: iter(()), "watched: no step is left: the steps of a fit are used up"),
        (fit, "watched: steps are those of a fit"),
    ],
)
def test_what_is_no_fit_is_said(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        watched(given() if given is not fit else given, console=Console(quiet=True))
    with pytest.raises(ValueError, match="watched: title"):
        watched(iter(()), title=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="watched: console"):
        watched(iter(()), console="here")  # type: ignore[arg-type]
