"""What the benchmarks take for right: an answer that goes wrong after its first call has no times."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.reference import Answer, errors
from benchmarks.race import Contestant, Report, race, settings

RIGHT = Answer(np.ones((2, 3, 1)), 1.0, {"a": np.ones(2), "b": np.ones(3)})


@pytest.mark.parametrize("wrong", ["value", "gradient", None])
def test_who_goes_wrong_on_the_way_has_no_times(wrong: str | None, tmp_path: Path) -> None:
    bad = {
        "value": replace(RIGHT, states=np.full((2, 3, 1), 1e18)),
        "gradient": replace(RIGHT, gradients={"a": np.ones(2), "b": np.full(3, np.nan)}),
        None: RIGHT,
    }[wrong]
    calls: list[Answer] = []

    def work() -> object:  # right at the first call, as a replay of freed memory is
        calls.append(bad if calls else RIGHT)
        return calls[-1]

    sound = Contestant("peer", lambda: RIGHT, lambda raw: raw)  # type: ignore[arg-type, return-value]
    ours = Contestant("ours", work, lambda raw: raw, ours=True)  # type: ignore[arg-type, return-value]
    report = Report("none", "None")
    setup = settings("none", "", ["--quick", "--threads", "1", "--out", str(tmp_path)])
    rows = {r.name: r for r in race([ours, sound], RIGHT, "case", report, setup, value=1e-3, gradient=1e-3)}
    assert report.wrong == (wrong is not None)
    assert (rows["ours"].median is None) == (wrong is not None)
    assert rows["peer"].median is not None
    assert len(calls) > 2


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_gradient_that_is_no_number_is_infinitely_wrong(name: str) -> None:
    found = errors(replace(RIGHT, gradients={**RIGHT.gradients, name: np.full_like(RIGHT.gradients[name], np.nan)}), RIGHT)
    assert found.gradient == np.inf
    assert errors(RIGHT, RIGHT).gradient == 0.0
