"""Random bundles of every family: what an export must carry, small enough for a test and each the same for the same seed.

`random_bundle(seed)` draws one; the backbones (thirty mechanisms among them) and the kinds of residual come in turn, everything
else by chance. `one_of_each()` is a list in which every member of every family occurs, named by what it holds. A bundle that
names a part of `own_parts` is loaded with `structures=STRUCTURES`.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from benchmarks.exchange.own_parts import Eddy, Saturable
from benchmarks.exchange.random_residuals import KINDS, SUM, Sizes, enlarged, residual_of
from exchange import BUILTIN, Bundle, Person
from hybrid import Concentration, Dose, HybridModel, Mesh, Observation, Schedule, Signal, States
from learned import AdditiveProportional, Combined1, Constant, DiagonalDiffusion, Ensemble, NeuralNoise, NoiseHead
from physics import (
    MECHANISMS,
    Backbone,
    LinearBackbone,
    LinearisedBackbone,
    LogNormal,
    LogNormalPopulation,
    MarshPopulation,
    MixedPopulation,
    OneCompartmentOral,
    Population,
    SchniderPopulation,
    SharedPopulation,
    VanCauter,
    VanCauterPopulation,
)
from stability import Claim, Refusal, certify
from training import Personal

STRUCTURES: Mapping[str, type[nn.Module]] = {**BUILTIN, "Eddy": Eddy, "Saturable": Saturable}
# for channels in another unit than the state's
_OTHER_UNIT = {
    "mg": "g",
    "mg/L": "ug/mL",
    "nmol/L": "pmol/L",
    "mg/dL": "g/L",
    "pmol/L": "nmol/L",
    "cm": "m",
    "mg/kg": "g/kg",
}
_COVARIATES = {  # what is plausible, and within every population's range
    "WT": (45.0, 100.0),
    "weight": (45.0, 100.0),
    "age": (20.0, 80.0),
    "height": (150.0, 190.0),
}
_UNITS = {"WT": "kg", "weight": "kg", "age": "a", "height": "cm", "male": "1", "type2": "1"}
NOISES = ("AdditiveProportional", "Constant", "NeuralNoise", "Combined1")
PROCESSES = ("none", "additive", "proportional")
CLAIMS = ("certified", "refused", "none")
_POPULATIONS = ("log-normal", "shared", "its own")
# Below an amount of −EC50 the effect has a pole, and nothing but a residual that vanishes where a state does keeps people above 0
_WITH_POLES = ("WarfarinTurnover",)
_OF_ITS_OWN = {"VanCauter": VanCauterPopulation, "Marsh": MarshPopulation, "Schnider": SchniderPopulation}


@dataclass(frozen=True)
class Choice:
    """Which member of each family a bundle has; the numbers inside are drawn."""

    backbone: str
    residual: str
    noise: str
    process: str
    population: str
    observed: str
    claim: str
    members: int
    people: int
    known: bool

    def __str__(self) -> str:
        beside = f" + {self.process} process" * (self.process != "none") + " + a known term" * self.known
        return f"{self.backbone} · {self.population} · {self.residual} · {self.observed} · {self.noise}{beside}"


def random_bundle(seed: int) -> Bundle:
    """A bundle of this seed, and always the same one."""
    return _built(_choice(seed, random.Random(seed)), seed)


def choice_of(seed: int) -> Choice:
    """What `random_bundle(seed)` is made of."""
    return _choice(seed, random.Random(seed))


def one_of_each() -> list[tuple[str, Bundle]]:
    """As few bundles as there are backbones and mechanisms, in which every member of every family occurs, with its name."""
    return [(name, each(k)) for k, name in enumerate(names_of_each())]


def names_of_each() -> list[str]:
    """The names of `one_of_each`, without making the bundles: for `pytest.mark.parametrize`."""
    return [str(_each(k, name)) for k, name in enumerate(_BACKBONES)]


@cache
def each(k: int) -> Bundle:
    """The bundle k of `one_of_each`, made once."""
    return _built(_each(k, list(_BACKBONES)[k]), 1_000_000 + k)


def _each(k: int, backbone: str) -> Choice:
    again = k >= len(KINDS) and backbone not in _WITH_POLES  # each kind has occurred before
    of_many = "mixed" if again and k % 4 == 0 else _POPULATIONS[k % 2]
    return Choice(
        backbone,
        SUM if again and k % 3 == 0 else _residual(backbone, k),
        NOISES[(k // 2) % len(NOISES)],
        PROCESSES[(k // 3) % 3],
        "its own" if backbone in _OF_ITS_OWN else "shared" if backbone == "LinearBackbone" else of_many,
        ("states", "other units", "concentration")[(k // 2) % 3],
        CLAIMS[k % 2] if k < 12 else CLAIMS[k % 3],
        members=1 + k % 4,
        people=1 + k % 3,
        known=k % 8 == 3,
    )


def _choice(seed: int, rng: random.Random) -> Choice:
    backbone = list(_BACKBONES)[seed % len(_BACKBONES)]
    found = Choice(
        backbone,
        _residual(backbone, seed),
        rng.choice(NOISES[:3]),
        rng.choice(PROCESSES),
        "shared" if backbone == "LinearBackbone" else rng.choice(_POPULATIONS),
        rng.choice(("states", "other units", "concentration")),
        rng.choice(CLAIMS),
        members=rng.randint(1, 4),
        people=rng.randint(1, 3),
        known=rng.random() < 0.15,
    )
    # the last draws, so that what a seed drew before there were these stays what it was
    if found.noise == "AdditiveProportional" and rng.random() < 0.5:
        found = replace(found, noise="Combined1")
    if found.population == "log-normal" and rng.random() < 0.3:
        found = replace(found, population="mixed")
    if found.residual == "MLP of two layers" and rng.random() < 0.5:
        found = replace(found, residual=SUM)
    return found


def _residual(backbone: str, turn: int) -> str:
    return "separable MLP" if backbone in _WITH_POLES else KINDS[turn % len(KINDS)]


def _linear(rng: random.Random) -> Backbone:
    """A random A, moved to the left until its slowest rate is between .05 and .5 of its size, with inputs or none."""
    g = torch.Generator().manual_seed(rng.randrange(2**31))
    n, m = rng.randint(1, 5), rng.randint(0, 3)
    A = torch.randn(n, n, generator=g, dtype=torch.float64)
    abscissa = float(torch.linalg.eigvals(A).real.max())
    A = A - (abscissa + rng.uniform(0.05, 0.5) * float(torch.linalg.matrix_norm(A))) * torch.eye(n, dtype=torch.float64)
    B = torch.randn(n, m, generator=g, dtype=torch.float64) if m else None
    units = [rng.choice(("mg", "nmol/L", "1")) for _ in range(n)]
    return LinearBackbone(A, B, state_units=units, input_units=["mg/h"] * m, time_unit=rng.choice(("h", "min")))


def _oral(rng: random.Random, parameters: Any) -> Backbone:
    return OneCompartmentOral(parameters=parameters, faster=rng.choice(("ka", None)))


_BACKBONES: dict[str, Callable[[random.Random], Backbone]] = {
    "LinearBackbone": _linear,
    "OneCompartmentOral": partial(_oral, parameters="rates"),
    "OneCompartmentOral by clearance": partial(_oral, parameters="clearance"),
    "VanCauter": lambda rng: VanCauter({"slope": "mmol/L/min"} if rng.random() < 0.3 else {}),
    **{m.__name__: lambda rng, m=m: LinearisedBackbone(m()) for m in MECHANISMS},
}


def _built(choice: Choice, seed: int) -> Bundle:
    rng, g = random.Random(f"numbers of {seed}"), torch.Generator().manual_seed(seed)
    backbone = _BACKBONES[choice.backbone](rng)
    name = backbone.mechanism.name if isinstance(backbone, LinearisedBackbone) else type(backbone).__name__
    population = _population(choice, name, backbone, rng)
    covariates = _seen_covariates(population, rng)
    latents = rng.choice((0, 0, 1, 2))
    sizes = _sizes(backbone, len(covariates) + latents)
    observation = _observation(choice.observed, backbone)
    state = rng.randrange(len(backbone.states))
    model = HybridModel(
        backbone,
        population,
        residual_of(choice.residual, backbone, sizes, rng),
        observation=observation,
        noise=_noise(choice.noise, backbone, observation, sizes),
        latents=latents,
        covariates=covariates,
        process=_process(choice.process, sizes, rng),
        known=(Saturable(len(backbone.states), state, 0.2 * sizes.rate, sizes.states[state]),) if choice.known else (),
    )
    model = Ensemble(choice.members).stack(model, g)
    enlarged(model.residual, sizes, g)
    with torch.no_grad():
        for what, parameter in model.named_parameters():  # members that differ in everything that is trained
            if not what.startswith("residual."):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    people = tuple(_person(f"{k + 1}", model, sizes, rng) for k in range(choice.people))
    shape = (model.members, choice.people)
    mode = 0.3 * torch.randn(*shape, model.personal, generator=g, dtype=torch.float64)
    spread = 0.1 * torch.eye(model.personal, dtype=torch.float64).expand(*shape, model.personal, model.personal).clone()
    known = Personal(mode, spread, torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.bool))
    scores = {"scores": {"hybrid": {"crps": rng.random(), "coverage_80": rng.random()}}}
    mesh = Mesh(_step(sizes), _step(sizes) / 4.0)
    about = {"table": "drawn.csv", "settings.seed": str(seed)}
    bundle = Bundle(model, people, known, mesh, calibration=scores, provenance=about)
    return replace(bundle, claims=_claims(choice, bundle))


def horizon(bundle: Bundle) -> float:
    """How long these people are followed, in the model's unit of time: their doses and inputs are within."""
    return 40.0 * bundle.mesh.step


def _step(sizes: Sizes) -> float:
    return 0.1 / sizes.rate


def _population(choice: Choice, name: str, backbone: Backbone, rng: random.Random) -> Population:
    if not backbone.physical:
        return SharedPopulation()
    if choice.population == "its own" and name in _OF_ITS_OWN:
        return _OF_ITS_OWN[name]()
    if choice.population == "shared":
        between = {
            p.name: p.typical * (min(p.high / p.typical, 1.2) ** (0.5 * rng.random())) for p in backbone.physical
        }
        return SharedPopulation(backbone, values=between)
    if choice.population == "mixed":
        first, *others = (p.name for p in backbone.physical)
        effects = {p.name: LogNormal(rng.uniform(0.05, 0.25)) for p in backbone.physical}
        return MixedPopulation(backbone, effects, correlated=[(first, others[0])] if others else [])
    powers = {p: dict(by) for p, by in backbone.defaults.powers.items()} if rng.random() < 0.6 else {}
    if not powers and rng.random() < 0.5:
        powers = {rng.choice(backbone.physical).name: {"WT": (70.0, rng.choice((0.75, -0.25)), "kg")}}
    spread = {p.name: rng.uniform(0.05, 0.25) for p in backbone.physical}
    bend = rng.choice(("late", "late", "tanh"))
    return LogNormalPopulation(backbone, spread, powers, rng.random() < 0.3, bend)


def _seen_covariates(population: Population, rng: random.Random) -> dict[str, tuple[Any, ...]]:
    """What the residual sees: some of what the population reads already, and sometimes one more."""
    names = [n for n in sorted({*population.covariates, "age"}) if n in _COVARIATES and rng.random() < 0.4]
    return {n: (sum(_COVARIATES[n]) / 2.0, 20.0, _UNITS[n]) for n in names}


def _sizes(backbone: Backbone, seen: int) -> Sizes:
    """Typical states, inputs and a rate between the fastest and the slowest."""
    m = backbone.mechanism if isinstance(backbone, LinearisedBackbone) else None
    typical = torch.tensor([p.typical for p in backbone.physical], dtype=torch.float64)
    A, B = backbone.matrices(typical)
    rates = torch.linalg.eigvals(A).real.abs().clamp(min=1e-9)
    rate = float(rates.log().mean().exp())
    if m is None or not isinstance(backbone, LinearisedBackbone):
        amount = 200.0 if isinstance(backbone, OneCompartmentOral) else 1.0
        return Sizes(
            (amount,) * len(backbone.states), tuple(5.0 if n == "glucose" else 1.0 for n in backbone.inputs), seen, rate
        )
    states = torch.tensor([float(m.scale[s]) for s in m.states], dtype=torch.float64)
    drives = (B.abs() / states[:, None]).amax(0)  # how much of their sizes the states gain of one unit of an input
    inputs = tuple(
        abs(float(m.typical_inputs.get(n, 0.0))) or (rate / float(drive) if drive else 1.0)
        for n, drive in zip(m.inputs, drives, strict=True)
    )
    return Sizes(tuple(states.tolist()), inputs, seen, rate, 1.0 if backbone.linear else 0.25)


def _observation(how: str, backbone: Backbone) -> Observation:
    """A concentration where the backbone speaks of one; else some states, in their own or another unit."""
    observed = backbone.defaults.observed
    over = next((one for one in observed if one.volume), None)
    if how == "concentration" and over is not None and over.volume is not None:
        return Concentration(over.state, over.volume, over.channel, over.unit)
    units = dict(zip(backbone.states, backbone.state_units, strict=True))
    first = [one.state for one in observed] or list(backbone.states)
    states = [*first, *(s for s in backbone.states if s not in first)][:3]
    if how == "states":
        return States(states)
    return States(states, [f"{s} ({k})" if k else f"{s}-measured" for k, s in enumerate(states)],
                  [_OTHER_UNIT.get(units[s], units[s]) for s in states])  # fmt: skip


def _channel_sizes(backbone: Backbone, observation: Observation, sizes: Sizes) -> list[float]:
    typical = torch.tensor([p.typical for p in backbone.physical], dtype=torch.float64)[None, None]
    joined = observation.joined(backbone)
    x = torch.tensor(sizes.states, dtype=torch.float64)[None, None, None]
    return [abs(float(y)) or 1.0 for y in joined.mean(x, typical)[0, 0, 0]]


def _noise(kind: str, backbone: Backbone, observation: Observation, sizes: Sizes) -> NoiseHead:
    large = _channel_sizes(backbone, observation, sizes)
    sd, floor = [0.05 * y for y in large], [0.005 * y for y in large]
    if kind == "Constant":
        return Constant(sd, floor)
    if kind == "NeuralNoise":
        return NeuralNoise(sd, floor, hidden=(4,), channel_scale=large, state_scale=list(sizes.states),
                           input_scale=list(sizes.inputs) or 1.0)  # fmt: skip
    return (Combined1 if kind == "Combined1" else AdditiveProportional)(sd, [0.1] * len(sd), floor)


def _process(kind: str, sizes: Sizes, rng: random.Random) -> DiagonalDiffusion | None:
    if kind == "none":
        return None
    root = sizes.rate**0.5
    scale = [0.02 * s * root * (k == 0 or rng.random() < 0.7) for k, s in enumerate(sizes.states)]
    return DiagonalDiffusion(
        scale, [0.05 * root * (rng.random() < 0.7) for _ in scale] if kind == "proportional" else None
    )


def _person(name: str, model: HybridModel, sizes: Sizes, rng: random.Random) -> Person:
    backbone, until = model.backbone, 40.0 * _step(sizes)
    m = backbone.mechanism if isinstance(backbone, LinearisedBackbone) else None
    dosed = isinstance(backbone, LinearBackbone | OneCompartmentOral) or (m is not None and m.starts_empty)
    numbered = list(backbone.defaults.compartments.values()) or list(backbone.states)
    doses = [
        Dose(state, rng.uniform(0.0, 0.5 * until), rng.uniform(0.3, 1.0) * sizes.states[backbone.states.index(state)],
             rng.choice((0.0, 0.05 * until)))
        for state in (rng.choice(numbered) for _ in range(rng.randint(1, 3)))
    ] if dosed else []  # fmt: skip
    doses = doses and [replace(doses[0], time=0.0), *doses[1:]]
    inputs = {n: _signal(s, until, rng) for n, s in zip(backbone.inputs, sizes.inputs, strict=True)}
    covariates = {
        n: rng.uniform(*_COVARIATES[n]) if n in _COVARIATES else float(rng.random() < 0.5) for n in sorted(model.uses)
    }
    baseline = tuple(_measured(model, sizes, j, rng) for j in range(len(model.observation.channels)))
    return Person(name, Schedule(tuple(doses), inputs, start=0.0), covariates, baseline)


def _measured(model: HybridModel, sizes: Sizes, channel: int, rng: random.Random) -> float:
    """A value before the start, or none; of what a person starts from where the backbone cannot do without."""
    must = isinstance(model.backbone, VanCauter)
    if not must and rng.random() < 0.6:
        return float("nan")
    size = _channel_sizes(model.backbone, model.observation, sizes)[channel]
    return size * rng.uniform(0.2, 0.6)


def _signal(size: float, until: float, rng: random.Random) -> Signal:
    """About its typical size, in a few steps or slopes."""
    count = rng.randint(1, 4)
    times = [0.0, *sorted(rng.uniform(0.05, 0.6) * until for _ in range(count - 1))]
    return Signal(tuple(times), tuple(size * rng.uniform(0.8, 1.2) for _ in times), rng.choice(("held", "linear")))


def _claims(choice: Choice, bundle: Bundle) -> tuple[Claim | Refusal, ...]:
    """What a cheap search finds where there are layers and no tape, or why there is none."""
    if choice.claim == "none":
        return ()
    if choice.claim == "refused" or bundle.model.curved is not None or bundle.model.opaque or bundle.model.members > 2:
        return (Refusal(reason="not proved", message="nobody looked for one"),)
    return (certify(bundle.system(), seconds=10.0),)


def pairs(count: int, first: int = 0) -> Iterator[tuple[str, Bundle]]:
    """`count` random bundles one by one, with what they are made of."""
    for seed in range(first, first + count):
        yield f"{seed}: {choice_of(seed)}", random_bundle(seed)
