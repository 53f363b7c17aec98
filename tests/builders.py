"""What tests build: every family's members, by name, and small models and people whose truth is known.

A new member of a family is one line in its dictionary here: `tests/test_families.py` and the family's own tests run over it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Log,
    Mesh,
    Observation,
    Offset,
    RungeKutta,
    Schedule,
    Solver,
    States,
    Term,
    Torchdiffeq,
)
from hybrid.filters import EKF, UKF, EnKF, Filter, Followed
from hybrid.solve.schemes.tableau import TABLEAUS
from learned import (
    MLP,
    AdditiveProportional,
    Combined1,
    Constant,
    ContractingMLP,
    Correlated,
    DiagonalDiffusion,
    NeuralNoise,
    NoiseHead,
    ProcessNoise,
    Residual,
    SumOfResiduals,
    Zero,
)
from physics import (
    Backbone,
    CategoryOf,
    ExponentialOf,
    Fixed,
    LinearBackbone,
    LinearOf,
    LogitNormal,
    LogNormal,
    LogNormalPopulation,
    MarshPopulation,
    MixedPopulation,
    Normal,
    Occasions,
    OneCompartmentOral,
    Parameter,
    Population,
    PowerOf,
    SchniderPopulation,
    Shared,
    SharedPopulation,
    VanCauter,
    VanCauterPopulation,
)
from stability import Claim, Lure, check
from training import Looks, Objective, Record, Search

# ---- the families: every member, and every way in which it can be built

A_COUPLED, B_COUPLED = [[-1.0, 0.2], [0.7, -0.5]], [[-1.5, 0.0], [0.9, -0.4]]

BACKBONE_BUILDERS: Mapping[str, Callable[[], Backbone]] = {
    "linear": lambda: LinearBackbone(
        [[-1.0, 0.5, 0.0], [0.2, -0.7, 0.3], [0.0, 4.0, -9.0]],
        [[1.0, 0.0], [0.0, 0.0], [0.0, -2.0]],
        states=("a", "b", "c"),
        inputs=("u", "v"),
        state_units=("mg", "mg", "mL"),
        input_units=("mmol/L", "1"),
        time_unit="h",
    ),
    "oral": OneCompartmentOral,
    "oral, clearance": lambda: OneCompartmentOral(parameters="clearance"),
    "oral, depot": lambda: OneCompartmentOral(ka=(0.0005, 5.0), ke=(0.05, 20.0), faster="ke"),
    "van Cauter": VanCauter,
    "van Cauter, more inputs": lambda: VanCauter({"slope": "mmol/L/min", "gut": "1"}),
}

POPULATION_BUILDERS: Mapping[str, Callable[[], Population]] = {
    "log-normal": lambda: LogNormalPopulation(
        OneCompartmentOral().physical, [0.6, 0.3, 0.2], {"V": {"WT": (70.0, 1.0)}, "ke": {"WT": (70.0, -0.25)}}
    ),
    "shared": lambda: SharedPopulation([0.3, 2.0]),
    "log-normal, one shared": lambda: LogNormalPopulation(
        OneCompartmentOral(), {"ka": None, "ke": 0.3, "V": 0.2}, {"V": {"WT": (70.0, 1.0)}}, learn_spread=True
    ),
    "shared, some learned": lambda: SharedPopulation(OneCompartmentOral(), {"ka": 1.2, "ke": 0.1, "V": 20.0}, ("ka", "V")),
    "mixed": lambda: MixedPopulation(
        [
            Parameter("ka", "/h", 1.5, 0.05, 20.0, above="CL/V"),
            Parameter("CL", "L/h", 2.5, 0.05, 100.0),
            Parameter("V", "L", 31.0, 2.0, 400.0),
            Parameter("F", "1", 0.7, 0.0, 1.0),
            Parameter("E0", "mV", -3.0, -40.0, 60.0),
            Parameter("n", "1", 1.2, 0.3, 5.0),
            Parameter("Q", "L/h", 4.0, 0.1, 50.0),
        ],
        {
            **{"ka": LogNormal(0.6), "CL": LogNormal(0.3), "V": LogNormal(0.2), "F": LogitNormal(0.5)},
            **{"E0": Normal(2.0), "n": Shared(), "Q": Fixed()},
        },
        correlated=[("CL", "V", "E0")],
        omega={("CL", "V"): 0.02, ("E0", "CL"): -0.1},
        covariates={
            "V": [PowerOf("WT", 70.0, 1.0, unit="kg"), ExponentialOf("age", 40.0, -0.002, learn=True)],
            "CL": [LinearOf("age", 40.0, -0.003), CategoryOf("male", {0: 0.0, 1: 0.2}, learn=True)],
            "F": [ExponentialOf("age", 40.0, 0.01)],
            "E0": [LinearOf("WT", 70.0, 0.1, unit="kg", learn=True), CategoryOf("male", {0: 0.0, 1: -1.0})],
        },
    ),
    "mixed, by occasion": lambda: MixedPopulation(
        OneCompartmentOral(),
        {"ka": LogNormal(0.5), "ke": Shared(), "V": LogNormal(0.2)},
        occasions=Occasions({"ka": 0.4, "ke": 0.1}, count=3),
        covariates={"V": [PowerOf("WT", 70.0, 1.0)]},
    ),
    "mixed, nobody differs": lambda: MixedPopulation(
        OneCompartmentOral(), {"ka": Shared(), "ke": Fixed(), "V": Fixed()}, learn_spread=False
    ),
    "van Cauter": VanCauterPopulation,
    "Marsh": MarshPopulation,
    "Schnider": SchniderPopulation,
}
# what the populations above read of three people
COVARIATES = {
    name: torch.tensor(values, dtype=torch.float64)
    for name, values in {
        **{"WT": (55.0, 70.0, 101.0), "age": (18.0, 50.0, 91.0), "type2": (0.0, 1.0, 1.0)},
        **{"weight": (44.0, 70.0, 123.0), "height": (155.0, 170.0, 196.0), "male": (0.0, 1.0, 1.0)},
        "occasion": (1.0, 3.0, 2.0),
    }.items()
}

SEEN_V = {"name": "V", "at": 2, "low": 5.0, "high": 200.0}
SEEN_E0 = {"name": "E0", "at": 0, "low": -3.0, "high": 12.0}  # of both signs: no logarithm
RESIDUAL_BUILDERS: Mapping[str, Callable[[], Residual]] = {
    "zero": lambda: Zero(3, 2, 1),
    "tanh": lambda: MLP(3, 2, 2, (5, 4), state_scale=[2.0, 30.0, 0.1], input_scale=[4.0, 0.5], rate_scale=0.2),
    "relu with offset": lambda: MLP(3, 2, 1, (6,), "relu", vanishes_at_origin=False, rate_scale=3.0),
    "sigmoid, three layers": lambda: MLP(2, 0, 3, (4, 5, 6), "sigmoid"),
    "silu": lambda: MLP(2, 1, 1, (5, 3), "silu", state_scale=2.0),
    "gelu": lambda: MLP(2, 0, 0, (6,), "gelu"),
    "softplus on one state": lambda: MLP(3, 1, 0, (4,), "softplus", vanishes_at_origin=False, acts_on=[1]),
    "separable": lambda: MLP(3, 0, 1, (7, 5), separable=True, state_scale=[1.0, 8.0, 100.0]),
    "of inputs alone": lambda: MLP(2, 2, 1, (4,), sees_states=False, acts_on=[0]),
    "of one input": lambda: MLP(2, 3, 1, (4,), sees_inputs=[2]),
    "of some states": lambda: MLP(3, 2, 1, (4, 3), sees_states=[0, 2], sees_inputs=[1], acts_on=[1], state_scale=[2.0, 8.0, 0.5]),
    "of some θ": lambda: MLP(2, 1, 1, (4,), sees_theta=[SEEN_V, SEEN_E0], acts_on=[1]),
    "contracting": lambda: ContractingMLP(2, 1, 2, (5, 4), vertices=A_COUPLED, state_scale=[2.0, 0.1], input_scale=4.0),
    "contracting, sigmoid with offset": lambda: ContractingMLP(
        *(2, 2, 0, (6,), "sigmoid"),
        vertices=[A_COUPLED, B_COUPLED],
        rate=0.3,
        learn_metric=True,
        vanishes_at_origin=False,
        rate_scale=0.25,
    ),
    "contracting, of one input and θ": lambda: ContractingMLP(
        2, 2, 1, (5,), vertices=A_COUPLED, sees_inputs=[1], sees_theta=[SEEN_V], input_scale=[4.0, 0.5]
    ),
    "sum": lambda: SumOfResiduals(
        [
            MLP(3, 2, 2, (5, 4), state_scale=[2.0, 30.0, 0.1], sees_states=[0], acts_on=[2], sees_theta=[SEEN_E0]),
            MLP(3, 0, 2, (3, 2), acts_on=[1], sees_theta=[SEEN_V, SEEN_E0]),
            MLP(3, 2, 2, (1, 3), sees_states=False, sees_inputs=[1]),
        ]
    ),
    "sum with offset": lambda: SumOfResiduals(
        [MLP(2, 1, 0, (4,), "relu", vanishes_at_origin=False), ContractingMLP(2, 1, 0, (5,), "relu", vertices=A_COUPLED)]
    ),
}

NOISE_BUILDERS: Mapping[str, Callable[[], NoiseHead]] = {  # of one state and one input
    "additive and proportional": lambda: AdditiveProportional([0.3, 2.0], [0.1, 0.2], [0.05, 0.5]),
    "standard deviations that add": lambda: Combined1([0.3, 2.0], [0.1, 0.2], [0.05, 0.5]),
    "constant": lambda: Constant([0.3, 2.0], [0.05, 0.5]),
    "correlated": lambda: Correlated(Combined1([0.3, 2.0], [0.1, 0.2], [0.05, 0.5]), [[1.0, 0.4], [0.4, 1.0]]),
    "neural": lambda: NeuralNoise([0.3, 2.0], [0.05, 0.5], 1, 1, (3,), channel_scale=[4.0, 30.0], input_scale=2.0),
}

PROCESS_BUILDERS: Mapping[str, Callable[[], ProcessNoise]] = {  # of two states
    "additive": lambda: DiagonalDiffusion([0.5, 0.2]),
    "additive, one state at rest": lambda: DiagonalDiffusion([0.5, 0.0]),
    "one state proportional": lambda: DiagonalDiffusion([0.3, 0.1], [0.4, 0.0]),
    "both, one at rest at 0": lambda: DiagonalDiffusion([0.0, 0.1], [0.4, 0.3]),
}

OBSERVATION_BUILDERS: Mapping[str, Callable[[], Observation]] = {  # of `OneCompartmentOral`
    "concentration": lambda: Concentration("plasma", "V"),
    "log concentration": lambda: Log(Concentration("plasma", "V"), 1e-3),
    "concentration by position": lambda: Concentration(1, 2),
    "concentration in another unit": lambda: Concentration("plasma", "V", unit="ug/mL"),
    "states": lambda: States(("plasma", "gut")),
    "concentration and an offset": lambda: Offset(Concentration("plasma", "V"), 0.4),
    "states in other units": lambda: States((1, 0), ("p", "g"), ("g", "mg")),
}

TERM_BUILDERS: Mapping[str, Callable[[], Term]] = {}  # of `OneCompartmentOral`; `TERMS` has none yet


@dataclass(frozen=True)
class SolverKind:
    """A solver as it is tested: on a mesh of any step, to a tolerance, and whether it reads inside its steps."""

    name: str
    fixed: Callable[[], Solver] | None
    adaptive: Callable[[float], Solver] | None
    order: int
    reads: bool


SOLVER_KINDS = [
    *(SolverKind(f"RungeKutta-{m}", lambda m=m: RungeKutta(m), None, TABLEAUS[m].order, True) for m in TABLEAUS),
    *(
        SolverKind(
            f"RungeKutta-{m}-adaptive", None, lambda tol, m=m: RungeKutta(m, rtol=tol, atol=tol), TABLEAUS[m].order, True
        )
        for m in TABLEAUS
        if TABLEAUS[m].error
    ),
    SolverKind("Exponential", Exponential, None, 4, True),
    SolverKind("Exponential-adaptive", None, lambda tol: Exponential(rtol=tol, atol=tol), 4, True),
    *(SolverKind(f"Torchdiffeq-{m}", lambda m=m: Torchdiffeq(m), None, o, False) for m, o in (("euler", 1), ("rk4", 4))),
    *(
        SolverKind(f"Torchdiffeq-{m}-adaptive", None, lambda tol, m=m: Torchdiffeq(m, tol, tol), o, False)
        for m, o in (("dopri5", 5), ("dopri8", 8))
    ),
]


@dataclass(frozen=True)
class FilterKind:
    """A filter as it is tested: how it is made, and how far chance may lead it astray on linear models, in deviations."""

    name: str
    make: Callable[[Followed], Filter]
    accuracy: float


FILTER_KINDS = [
    FilterKind("UKF", UKF, 1e-9),
    FilterKind("EKF", EKF, 1e-9),
    FilterKind("EnKF", lambda people: EnKF(people, particles=200), 0.2),  # over 20 seeds the worst of its numbers is off by .14
]


# ---- small models and people whose truth is known

BOXES = {"ka": (0.3, 4.0), "ke": (0.02, 0.25), "V": (5.0, 200.0)}
SPREAD = (0.4, 0.2, 0.2)  # ω of log ka, log ke and log V
MESH = Mesh(0.65, 0.2, 0.5)  # the largest ka is 4/h, and 0.65 × 4 is inside the stability region of the classic method


def oral_people(
    count: int = 4,
    *,
    seed: int = 1,
    shift: Sequence[float] = (0.0, 0.0, 0.0),
    noise: tuple[float, float] = (0.2, 0.05),
    times: Sequence[float] = (0.25, 0.75, 1.5, 3.0, 5.0, 8.0),
) -> tuple[Record, ...]:
    """Synthetic people who each took one oral dose, from the closed form of Bateman (1910).

    The learned `shift` of the log parameters, the noise (additive, proportional) and the times may be chosen.
    """
    rng = np.random.default_rng(seed)
    population = LogNormalPopulation(OneCompartmentOral(**BOXES).physical, SPREAD)
    with torch.no_grad():
        population.shift += torch.tensor([shift], dtype=torch.float64)
        theta = population.theta(torch.from_numpy(rng.standard_normal((1, count, 3))), {})[0].numpy()
    t = np.asarray(times)
    found = []
    for i, (ka, ke, V) in enumerate(theta):
        dose = 300.0 + 20.0 * i
        mean = dose * ka / (V * (ka - ke)) * (np.exp(-ke * t) - np.exp(-ka * t))
        sd = np.hypot(noise[0], noise[1] * mean)
        # a concentration cannot be negative; what the noise makes so was not measured
        values = mean + sd * rng.standard_normal(len(t))
        values = np.where(values > 0, values, np.nan)[:, None]
        schedule = Schedule(doses=(Dose("gut", 0.0, dose),))
        found.append(
            Record(f"P{i + 1}", schedule, t, values, ("concentration",), {}, {"time": "h", "concentration": "mg/L"})
        )
    return tuple(found)


def oral_model() -> HybridModel:
    """One member, not trained: one compartment, log-normal people, a residual of four hidden units."""
    return oral_of(MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.1))


def pair_of(time_unit: str = "h", **parts: Any) -> HybridModel:
    """Two compartments with an input, and a small residual; everyone has the same parameters; further parts by name."""
    backbone = LinearBackbone(
        [[-1.0, 0.0], [0.8, -0.5]],
        [[0.0], [1.0]],
        states=("gut", "plasma"),
        inputs=("glucose",),
        state_units=("mg", "mg"),
        input_units=("mmol/L",),
        time_unit=time_unit,
    )
    residual = MLP(2, inputs=1, hidden=(2,), state_scale=10.0, rate_scale=0.02)
    noise = AdditiveProportional([0.5], [0.1], [0.02])
    return HybridModel(backbone, SharedPopulation(), residual, observation=States(("plasma",)), noise=noise, **parts)


def oral_of(residual: Residual | None = None, **parts: Any) -> HybridModel:
    """The same people with another residual or none, and further parts of a model by name."""
    backbone = OneCompartmentOral(**BOXES)
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, SPREAD),
        residual,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
        **parts,
    )


def as_values(**given: Any) -> dict[str, Any]:
    """The arguments of a fit: the fields of its three values, given flat, each in its value, and everything else as it is."""
    found: dict[str, Any] = {}
    for name, kind in (("objective", Objective), ("search", Search), ("looks", Looks)):
        own = {f.name: given.pop(f.name) for f in fields(kind) if f.name in given}
        if own:
            found[name] = kind(**own)
    return found | given


def read_back(found: Claim, system: Lure) -> None:
    """A claim is accepted, and as JSON brings it back it says the same and is accepted for the system that JSON brings back."""
    assert check(found, system)
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert check(again, Lure.from_dict(json.loads(json.dumps(system.to_dict()))))
