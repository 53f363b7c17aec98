"""Filters are as sure as they may be: NIS and NEES of people whose truth is drawn are χ², and those of wrong filters are not.

Each of the two alone proves little: a filter that misses a slow error has a good NIS (its innovations are as large as it says)
and a bad NEES. "Late" on the van der Pol oscillator is such a one.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from hybrid.filters import FILTERS, UKF, Filter, Followed
from learned import Ensemble
from tests.hybrid.filters.followed import SYSTEMS, Array, System, drawn, stepped

# the bands of all steps, both statistics and all systems together leave a correct filter outside once in a thousand studies
STATISTICS = 2 * sum(system.samples for system in SYSTEMS.values())
OWN = 0.05  # what a filter's own nonlinearity may add
MEANS = (0.97, 1.05)


@dataclass(frozen=True)
class Judged:
    """How many steps of a statistic lie outside of their band, its mean over steps, and the standard error of that mean."""

    out: int
    mean: float
    error: float

    def good(self, slack: float = 0.0) -> bool:
        """Is every step inside, and the mean over steps, to so many of its standard errors?"""
        low, high = MEANS[0] - slack * self.error, MEANS[1] + slack * self.error
        return self.out == 0 and low <= self.mean <= high


def judged(statistic: Array, degrees: int) -> Judged:
    """A statistic (T, N) that is χ² of so many degrees for everyone, at every sample, where all is as the filter says."""
    people, tail = statistic.shape[1], 0.5 * 1e-3 / STATISTICS
    each = statistic.mean(1) / degrees
    low, high = chi2.ppf(tail, degrees * people), chi2.isf(tail, degrees * people)
    inside = (each >= low / (degrees * people) - OWN) & (each <= high / (degrees * people) + OWN)  # NaN is outside
    over_time = statistic.mean(0) / degrees  # people are independent, samples are not
    return Judged(int((~inside).sum()), float(each.mean()), float(over_time.std(ddof=1) / math.sqrt(people)))


WRONG = ("Q × .1", "R × .1", "the parameter", "late")


def study(kind: type[Filter], system: System, people: int, samples: int, seed: int) -> dict[str, dict[str, Judged]]:
    """NIS and NEES of the right filter ("") and of each wrong one.

    The first three filters are members of one model, and who is measured late is another person.
    """
    truth = drawn(system, people, seed, samples=samples)
    model = system.model()
    model = Ensemble(3, "init").stack(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.process.log_scale[1] += 0.5 * math.log(0.1)
        model.noise.log_sd[2] += 0.5 * math.log(0.1)
    every, p, n = system.step * system.steps, len(system.seen), len(system.uncertain)
    y = np.concatenate([truth.measured, truth.late()], 1)
    twice = np.concatenate([truth.arrived] * 2, 1)
    run = stepped(kind(Followed.of(model, 2 * people)), system.start(2 * people, 3), y, every, system.steps, twice)
    nees = run.nees(np.concatenate([truth.states] * 2, 1), system.uncertain)
    found = {}
    for name, member, late in (("", 0, 0), (WRONG[0], 1, 0), (WRONG[1], 2, 0), (WRONG[3], 0, 1)):
        of = slice(late * people, (late + 1) * people)
        # of the first sample nothing late has come yet
        found[name] = {"NIS": judged(run.nis[late:, member, of], p), "NEES": judged(nees[late:, member, of], n)}
    wrong = kind(Followed.of(system.model(wrong=True), people))
    run = stepped(wrong, system.start(people), truth.measured, every, system.steps, truth.arrived)
    nees = run.nees(truth.states, system.uncertain)
    found[WRONG[2]] = {"NIS": judged(run.nis[:, 0], p), "NEES": judged(nees[:, 0], n)}
    return found


def right(kind: type[Filter], system: System, people: int, seed: int) -> dict[str, Judged]:
    """NIS and NEES of the right filter alone, at all samples."""
    truth = drawn(system, people, seed)
    filter = kind(Followed.of(system.model(), people))
    run = stepped(filter, system.start(people), truth.measured, system.step * system.steps, system.steps, truth.arrived)
    nees = run.nees(truth.states, system.uncertain)
    return {"NIS": judged(run.nis[:, 0], len(system.seen)), "NEES": judged(nees[:, 0], len(system.uncertain))}


def said(found: dict[str, dict[str, Judged]]) -> str:
    """A line for each filter."""
    lines = []
    for name, by in found.items():
        each = ", ".join(f"{what} {j.mean:.3f} ± {j.error:.3f}, {j.out} steps out" for what, j in by.items())
        lines.append(f"{name or 'right'}: {each}")
    return "\n".join(lines)


def require_wrong(found: dict[str, dict[str, Judged]], slack: float) -> None:
    """Every wrong filter is out in NIS or in NEES."""
    for name in WRONG:
        assert not all(one.good(slack) for one in found[name].values()), f"{name} is not seen\n{said(found)}"


# 60 people and a few samples: the mean over steps may be three of its standard errors further out
SHORT = {"Lorenz-63": 10, "Van der Pol": 15, "glucose": 24}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_ukf_is_as_sure_as_it_may_be_and_a_wrong_one_is_found_out(name: str) -> None:
    found = study(UKF, SYSTEMS[name], 60, SHORT[name], seed=1)
    assert all(one.good(3.0) for one in found[""].values()), said(found)
    require_wrong(found, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("kind", [k for k in FILTERS if k.__name__ in ("UKF", "EKF")], ids=lambda k: k.__name__)
def test_filters_are_consistent_over_500_runs(kind: type[Filter], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The UKF is held to it, and the EKF is shown.

    The mean over steps of Lorenz-63's NEES is 1.034 for a textbook UKF too, ± .008 over 500 people: 1.05 is near. What is drawn
    here is at 1.032 on any processor: everyone's start moved by 1e-12, many times what rounding does, moves no step's mean by
    more than 1e-8, chaos and all, since six seconds are short.
    """
    system = SYSTEMS[name]
    # a wrong one is found out by fewer
    found = study(kind, system, 60, system.samples, seed=2) if kind is UKF else {}
    found[""] = right(kind, system, 500, seed=1)
    with capsys.disabled():
        print(f"\n{kind.__name__}, {name}\n{said(found)}")
    assert all(math.isfinite(one.mean) for one in found[""].values())
    if kind is UKF:  # who follows the slope at one point is known to be too sure where it bends
        require_wrong(found, 0.0)
        assert all(one.good() for one in found[""].values()), said(found)
