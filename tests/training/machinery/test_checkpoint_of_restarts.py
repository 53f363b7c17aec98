"""A fit of people who begin anew, are in steady state, change their weight or are known by limits: stopped and resumed."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule, Steady
from learned import Constant
from physics import Administered, LogNormal, MixedPopulation, Occasions, OneCompartmentOral, PowerOf
from training import Checkpoint, Cohort, Looks, Record, Search, fit, fit_population, last, shoot
from training.machinery.checkpoint import fingerprint_of, plain

DOSE = Dose("gut", 0.0, 100.0)
TIMES = (1.0, 4.0, 8.0, 30.0, 34.0)
GIVEN: dict[str, tuple[Schedule, dict[str, Any]]] = {
    "steady": (Schedule((DOSE,), steady=(Steady("gut", 0.0, 100.0, every=12.0),)), {}),
    "anew": (Schedule((DOSE, Dose("gut", 24.0, 100.0)), resets=(24.0,)), {}),
    "occasions": (Schedule((DOSE, Dose("gut", 24.0, 100.0))), {"occasions": (0.0, 24.0)}),
    "weight": (Schedule((DOSE,)), {"changing": {"WT": ([0.0, 24.0], [70.0, 75.0])}}),
    "infusion": (Schedule((Dose("plasma", 0.0, 100.0, duration=2.0),)), {}),
    "limits": (Schedule((DOSE,)), {"limits": True}),
}


def model_of(name: str) -> HybridModel:
    backbone = Administered(OneCompartmentOral(parameters="clearance"), start="empty")
    more: dict[str, Any] = {"occasions": Occasions({"CL": 0.2}, 2)} if name == "occasions" else {}
    if name == "weight":
        more = {"covariates": {"V": [PowerOf("WT", 70.0, 1.0, unit="kg")]}}
    population = MixedPopulation(backbone, {"ka": LogNormal(0.3), "CL": LogNormal(0.3), "V": LogNormal(0.2)}, **more)
    return HybridModel(backbone, population, None, observation=Concentration("plasma", "V"), noise=Constant([0.2], [0.01]))


def cohort_of(name: str, model: HybridModel, people: int = 2) -> Cohort:
    schedule, more = GIVEN[name]
    rng = np.random.default_rng(3)
    found = []
    for i in range(people):
        y = 2.5 * np.exp(-0.08 * np.mod(TIMES, 24.0)) * np.exp(0.2 * rng.standard_normal(5))
        given = {**more, "units": {"time": "h", "concentration": "mg/L", "WT": "kg"}}
        if given.pop("limits", False):
            upper = np.full((5, 1), np.nan)
            upper[2], y[2] = y[2], np.nan
            given["upper"], given["lower"] = upper, np.where(np.isnan(upper), np.nan, 0.0)
        if name != "weight":
            given["units"].pop("WT")
        found.append(Record(str(i), schedule, list(TIMES), y, "concentration", **given))
    return Cohort.of(found, model, Mesh(2.0))


FITS: dict[str, Callable[..., Any]] = {
    "fit": fit,
    "fit_population": fit_population,
    "shoot": lambda *a, **k: shoot(*a, count=2, polish=2, rounds=2, **k),
}
# windows have no place for people who begin anew, and say so (`require_unbroken`)
CASES = [
    pytest.param(n, f, marks=[pytest.mark.slow] if f == "fit_population" and n not in ("steady", "limits") else [])
    for n in GIVEN
    for f in FITS
    if f != "shoot" or n in ("infusion", "limits")
]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_stopped_and_resumed_is_never_stopped(name: str, how: str, tmp_path: Path) -> None:
    model = model_of(name)
    cohort = cohort_of(name, model)

    def of(looks: Looks) -> Any:
        return FITS[how](model, cohort, search=Search(steps=3), looks=looks)

    whole = last(of(Looks()))
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=1)
    list(islice(of(Looks(checkpoint=checkpoint)), 2))
    assert checkpoint.path.exists()
    resumed = last(of(Looks(checkpoint=checkpoint)))
    assert torch.equal(whole.personal, resumed.personal)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", list(GIVEN))
def test_one_person_has_a_fingerprint_too(name: str) -> None:
    model = model_of(name)
    cohort = cohort_of(name, model, people=1)
    assert fingerprint_of(model, cohort, {}) == fingerprint_of(model, cohort_of(name, model, people=1), {})


def test_another_weight_on_the_way_is_another_fit() -> None:
    model = model_of("weight")
    one, other = cohort_of("weight", model), cohort_of("weight", model)
    changes = other.conditions.changes
    assert changes is not None
    changes.values["WT"][0, 1] += 1.0
    assert fingerprint_of(model, one, {}) != fingerprint_of(model, other, {})


@pytest.mark.parametrize("tensor", [torch.zeros(()).expand(1), torch.zeros(1, 1).expand(1, 1), torch.zeros(4, 2)[:1, 0]])
def test_a_digest_is_of_values_whatever_the_stride(tensor: torch.Tensor) -> None:
    assert plain(tensor) == plain(torch.zeros(tensor.shape))
    assert plain(tensor) != plain(torch.ones(tensor.shape))
