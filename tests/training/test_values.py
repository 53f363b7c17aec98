"""The three values of a fit, and its last step: what each refuses, what a call refuses of them, and that nothing is ignored."""

import dataclasses
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid import HybridModel
from learned import Ensemble
from training import (
    Checkpoint,
    Cohort,
    Looks,
    Objective,
    Search,
    Shard,
    Step,
    beta_nll,
    fit,
    fit_population,
    last,
    log_steps,
    shoot,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Objective(likelihood=None), "Objective: likelihood is a function"),
        (lambda: Objective(likelihood=lambda y: y), "Objective: likelihood must be a function of 3 arguments"),
        (lambda: Objective(anchors=1.0), "Objective: anchors must be a Anchor"),
        (lambda: Objective(stability=1.0), "Objective: stability must be a Stability"),
        (lambda: Objective(least_residual=-1.0), "Objective: least_residual must be at least 0"),
        (lambda: Objective(forecast_from="2 h"), "Objective: forecast_from must be one number"),
        (lambda: Objective(weights=[1.0]), r"Objective: weights \(M, N\) must be a tensor"),
        (lambda: Objective(weights=torch.ones(4)), r"Objective: weights needs shape \(M, N\).*, got \(4,\)"),
        (lambda: Objective(weights=-torch.ones(1, 4)), "finite and not negative"),
        (lambda: Objective(weights=torch.full((1, 4), torch.nan)), "finite and not negative"),
        (lambda: Objective(held_out=torch.zeros(1, 4)), "dtype bool.*write held_out > 0"),
        (lambda: Search(optimiser="adam"), "Search: optimiser must be a function"),
        (lambda: Search(rate=0.0), "Search: rate must be above 0"),
        (lambda: Search(schedule="cosine"), "Search: schedule must be a function"),
        (lambda: Search(clip=0.0), "Search: clip.* must be above 0"),
        (lambda: Search(steps=2.5), "Search: steps must be a whole number"),
        (lambda: Search(steps=0), "Search: steps must be at least 1"),
        (lambda: Search(solver="rk4"), "Search: solver must be a Solver"),
        (lambda: Search(bfloat16=1), "Search: bfloat16"),
        (lambda: Search(capture="no"), "Search: capture"),
        (lambda: Search(shard=2), "Search: shard must be a Shard"),
        (lambda: Looks(every=0), "Looks: every, a number of steps, must be at least 1"),
        (lambda: Looks(patience=0), "Looks: patience must be at least 1"),
        (lambda: Looks(checkpoint="file"), "Looks: checkpoint must be a Checkpoint"),
    ],
)
def test_every_field_is_looked_at_where_it_is_given(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("kind", [Objective, Search, Looks])
def test_values_are_frozen_and_equal_where_they_say_the_same(kind: type) -> None:
    one = kind()
    assert one == kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, dataclasses.fields(kind)[0].name, None)
    with pytest.raises(TypeError):
        kind(1)  # by name alone: nobody knows an order of nine


def test_the_three_fits_take_the_same_values_by_the_same_names() -> None:
    names = {call.__name__: list(inspect.signature(call).parameters) for call in (fit, shoot, fit_population)}
    assert names["fit"] == ["model", "cohort", "objective", "search", "looks"]
    assert names["fit_population"][:5] == names["fit"]
    assert names["shoot"][:5] == names["fit"]
    own = {f.name for kind in (Objective, Search, Looks) for f in dataclasses.fields(kind)}
    assert not own & {name for each in names.values() for name in each}


def test_a_value_in_the_wrong_place_is_named(model: HybridModel, cohort: Cohort) -> None:
    for call in (fit, fit_population, lambda *given: shoot(*given, count=2)):
        with pytest.raises(ValueError, match=r"objective must be a Objective, and is a Search; write .*Objective\(weights"):
            next(iter(call(model, cohort, Search(steps=2))))
        with pytest.raises(ValueError, match=r"search must be a Search, and is None; write .*Search\(steps"):
            next(iter(call(model, cohort, Objective(), None)))


OTHER: dict[str, Any] = {
    "likelihood": beta_nll(0.5),
    "forecast_from": 1.0,
    "held_out": torch.zeros(1, 4, dtype=torch.bool),
    "optimiser": torch.optim.SGD,
    "rate": 0.01,
    "schedule": lambda o: torch.optim.lr_scheduler.ConstantLR(o),
    "clip": None,
    "bfloat16": True,
    "shard": Shard(),
    "every": 7,
    "checkpoint": Checkpoint(Path("never.written")),
}
FOR_POPULATIONS = {"held_out", "optimiser", "checkpoint"}  # which `fit_population` has too


@pytest.mark.parametrize("name", OTHER)
def test_what_has_no_meaning_is_refused_by_name(model: HybridModel, cohort: Cohort, name: str) -> None:
    kind = next(k for k in (Objective, Search, Looks) if name in {f.name for f in dataclasses.fields(k)})
    given = {{Objective: "objective", Search: "search", Looks: "looks"}[kind]: kind(**{name: OTHER[name]})}
    if name not in FOR_POPULATIONS:
        with pytest.raises(ValueError, match=rf"^fit_population: {name} has no meaning here: .*; leave it out"):
            next(iter(fit_population(model, cohort, **given)))


def test_windows_take_the_same_values(model: HybridModel, cohort: Cohort) -> None:
    with pytest.raises(ValueError, match=r"^shoot: looks must be a Looks, and is 7"):
        next(iter(shoot(model, cohort, looks=7, count=2)))
    assert next(iter(shoot(model, cohort, looks=Looks(), search=Search(steps=10), count=2))).index == 1
    with pytest.raises(ValueError, match=r"^shoot: forecast_from is 2.5 and nobody is held out"):
        next(iter(shoot(model, cohort, Objective(forecast_from=2.5), count=2)))
    with pytest.raises(ValueError, match=r"^bfloat16 is for float32 models"):
        next(iter(shoot(model, cohort, search=Search(bfloat16=True), count=2)))


def test_a_forecast_of_nobody_is_refused(model: HybridModel, cohort: Cohort) -> None:
    with pytest.raises(ValueError, match=r"^fit: forecast_from is 2.5 and nobody is held out.*cohort.until\(time\)"):
        next(iter(fit(model, cohort, Objective(forecast_from=2.5))))
    # a resample that happens to hold everyone is no slip
    nobody = torch.zeros(1, 4, dtype=torch.bool)
    assert next(iter(fit(model, cohort, Objective(forecast_from=2.5, held_out=nobody), Search(steps=1)))).index == 1


# --- the last step -----------------------------------------------------------------------------------------------------


def test_the_last_step_leaves_its_best(model: HybridModel, cohort: Cohort) -> None:
    model = Ensemble(2).stack(model, torch.Generator().manual_seed(3))
    *_, step = fit(model, cohort, search=Search(steps=4))
    fitted = last(fit(model, cohort, search=Search(steps=4)))
    assert torch.equal(fitted.personal, step.best.personal)
    for a, b in zip(fitted.model.parameters(), step.best.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert fitted.step is not None
    assert (fitted.step.index, fitted.step.total) == (4, 4)
    assert torch.equal(fitted.step.loss, step.loss)
    # of the others too, and of what only passes steps on: a list, a progress bar
    shot = last(shoot(model, cohort, search=Search(steps=2), count=2, rounds=1, polish=1))
    assert shot.step is not None
    assert shot.step.index == 3
    assert last([step]).personal is step.best.personal


def test_without_a_step_nothing_is_left(model: HybridModel, cohort: Cohort) -> None:
    steps = fit(model, cohort, search=Search(steps=2))
    last(steps)
    for used in (steps, iter(()), []):
        with pytest.raises(ValueError, match=r"used up by the loop over them; write last\(fit\(model, cohort\)\)"):
            last(used)
    for none in (model, "steps", None, [1.0]):
        with pytest.raises(ValueError, match="last: steps are those of a fit"):
            last(none)  # type: ignore[arg-type]


def test_an_interrupt_is_passed_on_when_the_fit_has_saved(model: HybridModel, cohort: Cohort, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=100)
    looks, search = Looks(checkpoint=checkpoint), Search(steps=6)

    def interrupted() -> Iterator[Step]:
        for step in fit(model, cohort, search=search, looks=looks):
            yield step
            if step.index == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        last(interrupted())
    assert checkpoint.path.exists()  # though the traceback still holds the loop
    assert caught.value is not None
    resumed = last(fit(model, cohort, search=search, looks=looks))
    whole = last(fit(model, cohort, search=search))
    assert torch.equal(resumed.personal, whole.personal)


def test_a_log_passes_what_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="those of a fit as they come"):
        log_steps([], tmp_path)  # type: ignore[arg-type]


# --- checkpoints of before ---------------------------------------------------------------------------------------------


def test_a_fingerprint_has_the_names_that_it_always_had(model: HybridModel, cohort: Cohort, tmp_path: Path) -> None:
    """So that a fit goes on from a file that was written when these were arguments of `fit`."""
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=1)
    last(fit(model, cohort, search=Search(steps=1), looks=Looks(checkpoint=checkpoint)))
    data = checkpoint.path.read_bytes()
    about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    found = json.loads(about["fingerprint"])
    of = {"model", "first weights", "people", "measurements", "schedules", "covariates"}
    settings = {"weights", "held-out people", "least_residual", "stability", "likelihood", "anchors", "forecast_from"}
    settings |= {"steps", "rate", "optimiser", "schedule", "clip", "look_every", "patience", "solver", "bfloat16", "processes"}
    assert found.keys() == of | settings
    assert found["likelihood"] == "training.losses.gaussian_nll"
    assert (found["steps"], found["patience"], found["look_every"], found["clip"]) == (1, 5, 20, 10.0)
