"""A small study of each kind that people bring, for whoever asks whether its numbers depend on where they are computed.

Each is a model and records that the model itself drew: parameters on every scale, covariates and occasions that change, lags,
offsets, errors of every kind, limits, steady states, residuals that see a part. What is asked of it, everything that stands
after a fit included, are the four functions of `ASKS`: tensors by name, of a model and a cohort on any device.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid import (
    Concentration,
    Dose,
    HybridModel,
    Log,
    Offset,
    Schedule,
    Signal,
    States,
    Steady,
    rollout,
    sample_paths,
)
from learned import MLP, AdditiveProportional, Combined1, Constant, Correlated, Ensemble, SumOfResiduals, select
from physics import (
    Administered,
    CategoryOf,
    ExponentialOf,
    LinearOf,
    LogitNormal,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    Normal,
    Occasions,
    OneCompartmentOral,
    Parameter,
    PowerOf,
    Shared,
    SharedPopulation,
)
from tests.builders import pair_of
from training import (
    Cohort,
    Looks,
    Objective,
    Record,
    Search,
    diagnostics,
    fit,
    fit_population,
    forecast,
    judged_blocks,
    judged_people,
    judged_tail,
    laplace_marginal,
    personalise,
    shoot,
)
from training.identify import person_information, sensitivities
from training.inference import (
    objective_value,
    quadrature_marginal,
    shrinkage,
    standard_errors,
)
from training.losses import residual_weights
from training.people import observed_information
from training.shift import Reference, compared

F64 = torch.float64
TIMES = (0.5, 1.25, 3.0, 6.5, 11.0)
ORAL = Schedule((Dose("gut", 0.0, 320.0),))
CLEARANCE = {"ka": 1.5, "CL": 2.8, "V": 32.0}


def by_clearance() -> OneCompartmentOral:
    return OneCompartmentOral(parameters="clearance", typical=CLEARANCE)


def every_scale() -> tuple[HybridModel, list[Record]]:
    """Log-normal, logit-normal, normal; Ω correlated; all four covariate models; an offset of the person; combined1."""
    backbone = Administered(
        by_clearance(),
        fraction={"gut": Parameter("F", "1", 0.7, 0.0, 1.0)},
        observed=(Parameter("E0", "mg/L", 0.4, -3.0, 5.0),),
        start="empty",
    )
    population = MixedPopulation(
        backbone,
        {"ka": LogNormal(0.4), "CL": LogNormal(0.3), "V": Shared(), "F": LogitNormal(0.3), "E0": Normal(0.2)},
        correlated=[("CL", "E0")],
        omega={("CL", "E0"): 0.01},
        covariates={
            "V": [PowerOf("WT", 70.0, 1.0, unit="kg", learn=True)],
            "CL": [CategoryOf("male", {0: 0.0, 1: 0.2}, learn=True), ExponentialOf("age", 40.0, -0.01)],
            "E0": [LinearOf("age", 40.0, 0.01, learn=True)],
        },
    )
    model = HybridModel(
        backbone,
        population,
        observation=Offset(Concentration("plasma", "V"), "E0"),
        noise=Combined1([0.2], [0.08], [0.02]),
    )
    given = [{"WT": 60.0 + 10.0 * i, "male": float(i % 2), "age": 30.0 + 12.0 * i} for i in range(3)]
    return model, [blank(f"{i}", ORAL, covariates=row) for i, row in enumerate(given)]


def delivered() -> tuple[HybridModel, list[Record]]:
    """A lag and the duration of an infusion as θ, and a first amount."""
    backbone = Administered(
        by_clearance(),
        lag={"gut": Parameter("Tlag", "h", 0.3, 0.01, 4.0)},
        duration={"plasma": Parameter("D2", "h", 2.0, 0.1, 24.0)},
        initial={"plasma": Parameter("A0", "mg", 20.0, 1.0, 300.0)},
    )
    spread = {"ka": None, "CL": 0.2, "V": 0.2, "Tlag": 0.1, "D2": 0.2, "A0": None}
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread, learn_spread=True),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.1], [0.05], [0.01]),
    )
    schedule = Schedule((Dose("gut", 0.0, 320.0), Dose("plasma", 4.0, 100.0, modelled="duration")))
    return model, [blank(f"{i}", schedule) for i in range(3)]


def on_the_way() -> tuple[HybridModel, list[Record]]:
    """Occasions, a weight that changes, and a residual that sees θ and the weight."""
    population = MixedPopulation(
        by_clearance(),
        {"ka": LogNormal(0.4), "CL": LogNormal(0.3), "V": LogNormal(0.2)},
        occasions=Occasions({"CL": 0.2}, count=2),
        covariates={"V": [PowerOf("WT", 70.0, 1.0, unit="kg")]},
    )
    model = HybridModel(
        by_clearance(),
        population,
        MLP(2, covariates=1, hidden=(3,), state_scale=300.0, rate_scale=0.1, sees_theta=("V",), sees_states=("plasma",)),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.1], [0.1], [0.02]),
        covariates={"WT": (70.0, 10.0)},
    )
    schedule = Schedule((Dose("gut", 0.0, 320.0), Dose("gut", 5.0, 200.0)))
    said = {"occasions": (0.0, 5.0), "changing": {"WT": ([0.0, 2.0], [70.0, 62.0])}}
    return model, [blank(f"{i}", schedule, **said) for i in range(3)]


def together() -> tuple[HybridModel, list[Record]]:
    """Two channels whose errors go together, offsets of an input and a covariate, and a sum of residuals that see a part each."""
    seen = Offset(
        Offset(States(("plasma", "gut")), channel="plasma", inputs={"glucose": 0.3}),
        channel="gut",
        covariates={"base": (1.0, "mg")},
    )
    model = HybridModel(
        pair_of().backbone,
        SharedPopulation(),
        SumOfResiduals(
            [
                MLP(2, 1, hidden=(3,), sees_states=("gut",), acts_on=("plasma",), state_scale=10.0, rate_scale=0.1),
                MLP(2, 1, hidden=(2,), sees_states=False, sees_inputs=("glucose",), acts_on=("gut",), rate_scale=0.1),
            ]
        ),
        observation=seen,
        noise=Correlated(Combined1([0.3, 0.3], [0.05, 0.05], [0.05, 0.05]), {("plasma", "gut"): 0.4}),
    )
    schedule = Schedule((Dose("gut", 0.0, 30.0),), inputs={"glucose": Signal((0.0, 6.0, 12.0), (1.0, 3.0, 0.5))})
    units = {"time": "h", "plasma": "mg", "gut": "mg", "base": "mg"}
    channels = ("plasma", "gut")
    return model, [blank(f"{i}", schedule, channels, covariates={"base": 0.2 * i}, units=units) for i in range(3)]


def logarithms() -> tuple[HybridModel, list[Record]]:
    """Log-normal errors, of people who share ka."""
    backbone = by_clearance()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, {"ka": None, "CL": 0.3, "V": 0.2}, learn_spread=True),
        observation=Log(Concentration("plasma", "V"), 1e-3),
        noise=Constant([0.1], [0.01]),
    )
    return model, [blank(f"{i}", ORAL, values=1.0) for i in range(3)]


def limited() -> tuple[HybridModel, list[Record]]:
    """Values that are only known to lie below 3 mg/L."""
    backbone = by_clearance()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, {"ka": 0.3, "CL": 0.3, "V": 0.2}, learn_spread=True),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.3], [0.01]),
    )
    return model, [blank(f"{i}", ORAL) for i in range(3)]


def begun_anew() -> tuple[HybridModel, list[Record]]:
    """A steady state before the record, and a reset within it, with a residual."""
    backbone = by_clearance()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, {"ka": 0.3, "CL": 0.3, "V": 0.2}),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.3], [0.01]),
    )
    doses = (Dose("gut", 0.0, 320.0), Dose("gut", 6.0, 320.0))
    schedule = Schedule(doses, steady=(Steady("gut", 0.0, 320.0, 12.0),), resets=(6.0,))
    return model, [blank(f"{i}", schedule) for i in range(3)]


UNITS = {"time": "h", "concentration": "mg/L"}


def blank(
    id: str,
    schedule: Schedule,
    channels: Sequence[str] = ("concentration",),
    *,
    values: float = 0.0,
    units: Mapping[str, str] = UNITS,
    **more: Any,
) -> Record:
    """A person of whom nothing is measured yet."""
    weighed = "WT" in {**more.get("covariates", {}), **more.get("changing", {})}
    own = {**units, "WT": "kg"} if weighed else units
    return Record(id, schedule, TIMES, np.full((len(TIMES), len(channels)), values), channels, units=own, **more)


@dataclass(frozen=True)
class Study:
    """A model with its people, how they are counted where they are known by a limit, and what more can be asked of them.

    `windows`: records may be cut into windows · `nodes` of quadrature, 0 where there are too many coordinates.
    """

    build: Callable[[], tuple[HybridModel, list[Record]]]
    censoring: str = "m3"
    limit: float = -np.inf
    windows: bool = False
    nodes: int = 0

    def made(self) -> tuple[HybridModel, list[Record]]:
        model, records = self.build()
        generator = torch.Generator().manual_seed(7)
        eta = torch.randn(1, len(records), model.personal, generator=generator, dtype=F64)
        cohort = Cohort.of(records, model)
        with torch.no_grad():
            run = rollout(model, cohort.conditions, eta)
        y = (run.mean + run.variance.sqrt() * torch.randn(run.mean.shape, generator=generator, dtype=F64))[0].numpy()
        if isinstance(model.observation, Log):
            y = np.exp(y)
        low = y < self.limit
        upper = np.where(low, self.limit, np.nan) if np.isfinite(self.limit) else None
        rows = [None] * len(records) if upper is None else upper
        return model, [
            replace(r, values=np.where(hidden, np.nan, value), upper=limit)
            for r, value, hidden, limit in zip(records, y, low, rows, strict=True)
        ]


STUDIES: Mapping[str, Study] = {
    "every scale": Study(every_scale),
    "delivered": Study(delivered),
    "on the way": Study(on_the_way),
    "together": Study(together, windows=True),
    "logarithms": Study(logarithms, windows=True, nodes=5),
    "limited, m3": Study(limited, limit=3.0, nodes=5),
    "limited, m4": Study(limited, "m4", limit=3.0),
    "begun anew": Study(begun_anew),
}


def moved(study: Study, model: HybridModel, records: Sequence[Record], to: Any) -> tuple[HybridModel, Cohort]:
    """A copy of the model as two members, and its cohort, on a device or in a type; the cohort is cut where it always is."""
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(1))
    cohort = Cohort.of(list(records), stack, censoring=study.censoring)
    return stack.to(to), cohort.to(to)


def simulated(study: Study, model: HybridModel, cohort: Cohort) -> dict[str, Tensor]:
    """Means, variances, likelihood and its slopes at η = .3."""
    like = next(iter(model.parameters()))
    eta = torch.full((model.members, len(cohort.ids), model.personal), 0.3, dtype=like.dtype, device=like.device)
    run = rollout(model, cohort.conditions, eta)
    nll = cohort.nll(run.mean, run.variance, run.correlation)
    learned = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(nll.sum(), learned, allow_unused=True)
    found = {"mean": run.mean, "variance": run.variance, "nll": nll}
    return {**found, **{f"slope {k}": slope for k, slope in enumerate(slopes) if slope is not None}}


def searched(study: Study, model: HybridModel, cohort: Cohort) -> dict[str, Tensor]:
    """Some steps of every fit, whatever judges; where the type is float64, people are integrated out too."""

    def draws() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    share = 0.0 if cohort.conditions.changes else 1.0  # which is taken with one θ of each person
    by_tail = Objective(judged=judged_tail(cohort), least_residual=share)
    small = 0.1 if residual_weights(model) else 0.0  # which is refused where there are none
    by_blocks = Objective(
        judged=judged_blocks(cohort, draws(), length=2), least_residual=share, decay=small, sparsity=small
    )
    by_people = Objective(judged=judged_people(cohort, draws(), 0.4), least_residual=share)
    one, two, every = Search(steps=1), Search(steps=2), Looks(every=1)
    ways: dict[str, Any] = {
        "tail": lambda: fit(model, cohort, by_tail, two, every),
        "blocks": lambda: fit(model, cohort, by_blocks, two, every),
    }
    if study.windows:
        ways["windows"] = lambda: shoot(model, cohort, search=two, count=2, rounds=1, polish=1)
    if model.personal and model.dtype == F64:
        ways["population"] = lambda: fit_population(model, cohort, Objective(least_residual=share), one)
        ways["people"] = lambda: fit_population(model, cohort, by_people, one)
    found = {}
    for name, way in ways.items():
        *_, step = way()
        found |= {f"{name}: loss": step.loss, f"{name}: coordinates": step.best.personal}
        found |= {f"{name}: tensor {k}": p for k, p in enumerate(step.best.model.parameters())}
    return found


def estimated(study: Study, model: HybridModel, cohort: Cohort) -> dict[str, Tensor]:
    """Everyone's coordinates, marginal likelihoods, and what they are worth."""
    personal = personalise(model, cohort)
    found = {"mode": personal.mode, "covariance": personal.covariance}
    if model.personal:
        for curvature in ("fisher", "observed"):
            found[f"laplace {curvature}"] = laplace_marginal(model, cohort, curvature=curvature).value
        found["information"] = observed_information(model, cohort, personal.mode)
        errors = standard_errors(model, cohort)
        found |= {"estimates": errors.value, "se": errors.se, "away": errors.away}
        found["ofv"] = objective_value(model, cohort).ofv
        found["shrinkage"] = shrinkage(model, cohort, personal).eta
    if study.nodes:
        found["quadrature"] = quadrature_marginal(model, cohort, nodes=study.nodes).value
    return found


def foretold(study: Study, model: HybridModel, cohort: Cohort) -> dict[str, Tensor]:
    """Forecasts with their flag, paths, and the diagnostics of a population."""
    generator = torch.Generator().manual_seed(4)
    personal = personalise(model, cohort)
    reference = Reference.of(model, cohort, personal)
    prediction, known = forecast(model, cohort.until(3.5), cohort.after(3.5), draws=2, generator=generator)
    flagged = compared(prediction, reference, model, cohort.until(3.5), cohort.after(3.5), personal=known)
    assert flagged.shift is not None
    alone = model if not model.delivery else select(model, torch.tensor([1], device=model.device))
    paths = sample_paths(alone, cohort.conditions, personal.mode[-alone.members :].to(model.dtype), 2, generator)
    drawn = diagnostics.simulated_cohorts(model, cohort, 30, generator)
    left = diagnostics.residuals(model, cohort, member=1)
    return {
        "forecast": prediction.mean,
        "flags": torch.tensor([float(bool(f.flagged)) for f in flagged.shift]),
        "paths": paths.measurement,
        "drawn": drawn.y,
        "npde": diagnostics.npde(drawn, generator).npde,
        "cwres": left.cwres,
        "iwres": left.iwres,
        "curves": diagnostics.fitted_curves(model, cohort, points=4).individual,
        "check": torch.from_numpy(diagnostics.predictive_check(drawn).low),
    }


def identified(study: Study, model: HybridModel, cohort: Cohort) -> dict[str, Tensor]:
    """What the design tells of parameters, where errors are independent and nobody changes on the way."""
    alone = select(model, torch.tensor([0], device=model.device))
    if isinstance(model.noise, Correlated) or cohort.conditions.changes or not model.personal:
        return {}
    person = cohort.people(torch.tensor([0]))
    return {"slopes": sensitivities(alone, person).mean_slope, "information": person_information(alone, person).matrix}


Ask = Callable[[Study, HybridModel, Cohort], dict[str, Tensor]]
ASKS: tuple[Ask, ...] = (simulated, searched, estimated, foretold, identified)


def numbers() -> dict[str, Tensor]:
    """Everything of every study, on the processor."""
    found = {}
    for name, study in STUDIES.items():
        made = study.made()
        for ask in ASKS:
            for key, value in ask(study, *moved(study, *made, "cpu")).items():
                found[f"{name}, {ask.__name__}: {key}"] = value.detach()
    return found


def write(file: str, threads: int) -> None:
    """The numbers as a file, for another process to compare."""
    torch.set_num_threads(threads)
    torch.save(numbers(), file)
