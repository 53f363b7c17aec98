"""The parts of models as programs: every member of every family that has no layers, and classes of a user's own."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exchange.program import Parts, Program, adjoint, directional, of_tape, parts_of, parts_of_members, shared, traced
from hybrid import BoundTerm, HybridModel, Observation, Term
from learned import AdditiveProportional, DiagonalDiffusion, Ensemble, Residual
from physics import (
    MECHANISMS,
    Backbone,
    LinearisedBackbone,
    LogNormalPopulation,
    Mechanism,
    MichaelisMenten,
    OneCompartmentOral,
    Parameter,
    Population,
    VanCauterPopulation,
)
from physics.operations import hill, maximum, minimum, relu, sqrt
from physics.shelf import DCMotor, S2008Stomach
from tests.builders import (
    BACKBONE_BUILDERS,
    COVARIATES,
    NOISE_BUILDERS,
    OBSERVATION_BUILDERS,
    POPULATION_BUILDERS,
    PROCESS_BUILDERS,
)

PEOPLE = 3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_theta(backbone: Backbone, people: int = PEOPLE) -> Tensor:
    """θ (1, N, q) inside the boxes, in logarithms."""
    low, high = (
        torch.tensor([getattr(p, end) for p in backbone.physical], dtype=torch.float64) for end in ("low", "high")
    )
    return low * (high / low) ** (0.2 + 0.6 * drawn(1, people, len(low), seed=1)) if len(low) else drawn(1, people, 0)


def alike(got: Any, wanted: Tensor, within: float = 1e-14) -> None:
    size = max(float(wanted.detach().abs().max()), 1e-300) if wanted.numel() else 1.0
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=within, atol=within * size)


def traced_of(module: nn.Module, function: Any, shapes: Mapping[str, tuple[int, ...]], *outputs: str) -> Program:
    return traced(function, shapes, outputs, name=type(module).__name__, module=module)


@pytest.mark.parametrize("name", BACKBONE_BUILDERS)
def test_backbones(name: str) -> None:
    backbone = BACKBONE_BUILDERS[name]()
    q, theta = len(backbone.physical), some_theta(backbone)
    program = traced_of(backbone, backbone.matrices, {"theta": (1, 1, q)}, "A", "B")
    got, wanted = program.evaluate(theta=theta[0].numpy()), backbone.matrices(theta)
    for key, matrix in zip("AB", wanted, strict=True):
        alike(got[key], matrix.broadcast_to(1, PEOPLE, *matrix.shape[-2:])[0].flatten(1))
    program = traced_of(backbone, backbone.initial, {"theta": (1, 1, q), "baseline": (1, 1)}, "x")
    baseline = 1.0 + drawn(PEOPLE, 1)
    alike(
        program.evaluate(theta=theta[0], baseline=baseline)["x"],
        backbone.initial(theta, baseline).expand(1, PEOPLE, -1)[0],
    )
    missing = program.evaluate(theta=theta[0], baseline=np.full((PEOPLE, 1), np.nan))["x"]
    if "Cauter" in name:  # which must be measured: not refused, for nobody can be, and not a number
        assert np.isnan(missing).all()
    else:
        alike(missing, backbone.initial(theta, torch.full((PEOPLE, 1), torch.nan)).expand(1, PEOPLE, -1)[0])


@pytest.mark.parametrize("name", POPULATION_BUILDERS)
def test_populations(name: str) -> None:
    population = POPULATION_BUILDERS[name]()
    given = {key: COVARIATES[key] for key in population.covariates}
    program = program_of_theta(name)
    eta = 4.0 * drawn(1, PEOPLE, population.dimension) - 2.0
    known = torch.stack([*given.values()], -1) if given else drawn(PEOPLE, 0)
    alike(program.evaluate(eta=eta[0], covariates=known)["theta"], population.theta(eta, given)[0])


@cache
def program_of_theta(name: str) -> Program:
    return theta_program(POPULATION_BUILDERS[name]())


def theta_program(population: Population) -> Program:
    names = list(population.covariates)

    def function(eta: Tensor, known: Tensor) -> Tensor:
        return population.theta(eta, {key: known[i : i + 1] for i, key in enumerate(names)})

    return traced_of(population, function, {"eta": (1, 1, population.dimension), "covariates": (len(names),)}, "theta")


@pytest.mark.parametrize(
    ("name", "covariate", "outside"),
    [
        *(("log-normal", "WT", v) for v in (0.0, -70.0, np.nan)),
        *(("van Cauter", "age", 9.99), ("van Cauter", "type2", 0.5)),
        *(
            ("Marsh", "weight", 151.0),
            ("Schnider", "height", 300.0),
            ("Schnider", "male", 2.0),
            ("Schnider", "age", np.nan),
        ),
    ],
)
def test_an_exported_map_answers_nan_outside_its_range(name: str, covariate: str, outside: float) -> None:
    """Where `theta` refuses in words, a program has none: every θ is NaN, those that do not depend on the covariate too."""
    population = POPULATION_BUILDERS[name]()
    given = {
        key: torch.tensor([outside]).double() if key == covariate else COVARIATES[key][1:2]
        for key in population.covariates
    }
    eta = torch.zeros(1, 1, population.dimension, dtype=torch.float64)
    with pytest.raises(ValueError, match=covariate):
        population.theta(eta, given)
    known = torch.cat([*given.values()])
    assert np.isnan(program_of_theta(name).evaluate(eta=eta[0, 0], covariates=known)["theta"]).all()


def test_a_parameter_above_another_stays_there() -> None:
    population = LogNormalPopulation(OneCompartmentOral(), {"ka": 0.6, "ke": 0.3, "V": 0.2})
    assert population.orders
    eta = 8.0 * drawn(1, 20, 3) - 4.0
    alike(
        theta_program(population).evaluate(eta=eta[0], covariates=np.zeros((20, 0)))["theta"],
        population.theta(eta, {})[0],
    )


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda m: m.__name__)
def test_mechanisms(mechanism: type[Mechanism]) -> None:
    """The rate, its derivatives in both directions and the slopes at the point of linearisation, of all that are on the shelf."""
    backbone = LinearisedBackbone(mechanism())
    tape, theta = backbone.mechanism.tape, some_theta(backbone)[0]
    n, m = len(backbone.states), len(backbone.inputs)
    scale = torch.tensor([backbone.mechanism.scale[s] for s in backbone.states], dtype=torch.float64)
    x, u = scale * (0.1 + drawn(PEOPLE, n, seed=2)), 0.1 + drawn(PEOPLE, m, seed=3)
    bound, program = tape.at(theta), of_tape(tape)
    at = {"x": x, "u": u, "theta": theta}
    alike(program.evaluate(**at)["rate"], bound.rate(x, u))
    J, G = bound.jacobian(x, u), bound.jacobian(x, u, by_inputs=True)
    vx, vu, w = drawn(PEOPLE, n, seed=4) * scale, drawn(PEOPLE, m, seed=5), drawn(PEOPLE, n, seed=6)
    along = (J @ vx[..., None] + (G @ vu[..., None] if m else 0.0))[..., 0]
    alike(directional(program).evaluate(**at, x_dot=vx, u_dot=vu)["rate_dot"], along)
    back = adjoint(program).evaluate(**at, rate_bar=w)
    alike(back["x_bar"], (J.mT @ w[..., None])[..., 0])
    alike(back["u_bar"], (G.mT @ w[..., None])[..., 0])
    if mechanism in (
        MichaelisMenten,
        S2008Stomach,
        DCMotor,
    ):  # those of the others are slopes of their tapes, just seen
        given = {"theta": (1, 1, theta.shape[-1])}
        matrices = traced_of(backbone, backbone.matrices, given, "A", "B").evaluate(theta=theta)
        for key, matrix in zip("AB", backbone.matrices(theta), strict=True):
            alike(matrices[key], matrix.flatten(1))


@pytest.mark.parametrize("name", OBSERVATION_BUILDERS)
def test_observations(name: str) -> None:
    backbone, observation = OneCompartmentOral(), OBSERVATION_BUILDERS[name]()
    observation = observation.joined(backbone)  # type: ignore[attr-defined]
    shapes = {"x": (1, 1, 1, 2), "theta": (1, 1, 3)}
    program = traced_of(observation, observation.mean, shapes, "y")
    x, theta = 9.0 * drawn(1, PEOPLE, 1, 2), some_theta(backbone)
    alike(program.evaluate(x=x[0, :, 0], theta=theta[0])["y"], observation.mean(x, theta)[0, :, 0])


@pytest.mark.parametrize("name", NOISE_BUILDERS)
def test_noises(name: str) -> None:
    noise = NOISE_BUILDERS[name]()
    y, x, u = 9.0 * drawn(1, PEOPLE, 1, 2) - 1.0, drawn(1, PEOPLE, 1, 1), drawn(1, PEOPLE, 1, 1, seed=8)
    program = traced_of(noise, noise.variance, {"y": (1, 1, 1, 2), "x": (1, 1, 1, 1), "u": (1, 1, 1, 1)}, "variance")
    got = program.evaluate(y=y[0, :, 0], x=x[0, :, 0], u=u[0, :, 0])["variance"]
    alike(got, noise.variance(y, x, u)[0, :, 0])


@pytest.mark.parametrize("name", PROCESS_BUILDERS)
def test_process_noises(name: str) -> None:
    process = PROCESS_BUILDERS[name]()
    program = traced_of(process, process.diffusion, {"x": (1, 1, 2)}, "g")
    x = torch.cat([drawn(1, PEOPLE, 2) - 0.5, torch.zeros(1, 1, 2, dtype=torch.float64)], 1)
    alike(program.evaluate(x=x[0])["g"], process.diffusion(x).expand(1, PEOPLE + 1, 2)[0])


# ---- whole models, with classes of a user's own


class Clearance(Term):
    """−Vmax x²/(Km + x)² of the plasma, more of it by θ and by c."""

    def __init__(self, most: float = 3.0) -> None:
        super().__init__()
        self.most: Tensor
        self.register_buffer("most", torch.tensor(most, dtype=torch.float64))

    def at(self, theta: Tensor, c: Tensor) -> BoundTerm:
        def rate(x: Tensor, u: Tensor) -> Tensor:
            lost = self.most * theta[..., 0] * torch.exp(0.1 * c[..., 0]) * (x[..., -1] / (2.0 + x[..., -1])).square()
            return torch.stack([*[torch.zeros_like(lost)] * (x.shape[-1] - 1), -lost], -1)

        return BoundTerm(rate)

    def config(self) -> dict[str, Any]:
        return {"most": float(self.most)}


class Opaque(Residual):
    """w tanh(x) θ_0 + b: without layers."""

    vanishes_at_origin = False

    def __init__(self, states: int, sees_theta: bool = True) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.sees_theta = states, 0, 2, sees_theta
        self.weight = nn.Parameter(torch.full((1, states), 0.3, dtype=torch.float64))
        self.bias = nn.Parameter(torch.full((1, states), -0.1, dtype=torch.float64))

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        factor = c[..., 2:3] if self.sees_theta else c[..., :1]
        return self.weight[:, None] * torch.tanh(x) * factor + self.bias[:, None]

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))

    def config(self) -> dict[str, Any]:
        return {"states": self.states, "sees_theta": self.sees_theta}


class Saturation(Observation):
    """y = x²/(V² + x²): not linear."""

    channels, units, linear = ("effect",), ("1",), False

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        square = x[..., -1:].square()
        return square / (theta[..., None, -1:].square() + square)

    def config(self) -> dict[str, Any]:
        return {}


class Kinks(Mechanism):
    """Everything with a kink, a step or a root."""

    time_unit = "h"
    states = {"a": "mg", "b": "mg"}
    inputs = {"u": "mg/h"}
    physical = (Parameter("k", "/h", 0.5, 0.1, 2.0, "none"),)
    scale = {"a": 1.0, "b": 1.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        bent = (
            relu(x.a - 1.0) + 0.1 * abs(x.b) + minimum(x.a, x.b) + maximum(x.b, u.u) + hill(x.a, 2.5) + hill(x.b, 1.0)
        )
        return {"a": u.u - theta.k * x.a - 0.01 * bent, "b": -x.b - 0.1 * sqrt(x.b * x.b + 1.0) + 0.1 + x.a * 0.01}


def whole(backbone: Backbone | Mechanism, residual: Residual | None = None, **more: Any) -> HybridModel:
    own = backbone.physical
    population = LogNormalPopulation(backbone, {p.name: 0.2 for p in own}, {own[0].name: {"WT": (70.0, 0.75, "kg")}})
    noise, seen = AdditiveProportional([0.1], [0.2], [0.01]), {"WT": (70.0, 20.0, "kg")}
    return HybridModel(
        backbone, population, residual, observation=Saturation(), noise=noise, latents=1, covariates=seen, **more
    )


@torch.no_grad()
def agrees(model: HybridModel, parts: Parts, member: int) -> None:
    """Every part against the model."""
    n, m = len(model.backbone.states), len(model.backbone.inputs)
    personal = drawn(1, PEOPLE, model.personal) - 0.5
    weights = torch.tensor([50.0, 70.0, 90.0], dtype=torch.float64)
    every, d = personal.expand(model.members, -1, -1), model.population.dimension
    theta, c = model.theta(every, {"WT": weights})[member], model.context(every, {"WT": weights})[member]
    assert parts.covariates == ("WT",)
    alike(parts.theta.evaluate(eta=personal[0, :, :d], covariates=weights[:, None])["theta"], theta)
    alike(parts.context.evaluate(latents=personal[0, :, d:], covariates=weights[:, None])["c"], c)
    x, u = 0.1 + drawn(PEOPLE, n, seed=3), drawn(PEOPLE, m, seed=4)
    rows = {"x": x, "u": u, "theta": theta, "c": c}
    matrices = parts.matrices.evaluate(theta=theta)
    A, B = matrices["A"].reshape(PEOPLE, n, n), matrices["B"].reshape(PEOPLE, n, m)
    rate = np.zeros((PEOPLE, n)) if parts.whole else (A @ x.numpy()[..., None] + B @ u.numpy()[..., None])[..., 0]
    for program in (parts.known, parts.residual):
        if program is not None:
            rate = (
                rate + program.evaluate(**{key: value for key, value in rows.items() if key in program.inputs})["rate"]
            )
    many = model.members, PEOPLE
    sides = model.at(theta.expand(*many, -1), c.expand(*many, -1))
    alike(rate, sides.rate(x.expand(*many, n), u.expand(*many, m))[member])
    y = model.observation.mean(x[None, :, None], theta[None])[0, :, 0]
    alike(parts.observe.evaluate(x=x, theta=theta)["y"], y)
    variance = model.noise.variance(y[None, :, None], x[None, :, None], u[None, :, None])
    alike(parts.variance.evaluate(y=y.detach(), x=x, u=u)["variance"], variance[min(member, len(variance) - 1), :, 0])
    if model.process is not None:
        assert parts.diffusion is not None
        alike(parts.diffusion.evaluate(x=x)["g"], model.process.diffusion(x[None]).expand(*many, n)[member])
    if parts.initial is not None:
        start = model.initial(theta[None], torch.full((PEOPLE, 1), torch.nan, dtype=torch.float64))[0]
        alike(parts.initial.evaluate(theta=theta, baseline=np.full((PEOPLE, 1), np.nan))["x"], start)


def test_a_model_with_terms_and_an_opaque_residual() -> None:
    model = whole(
        OneCompartmentOral(),
        Opaque(2),
        known=(Clearance(), Clearance(0.5)),
        process=DiagonalDiffusion([0.1, 0.2], [0.3, 0.1]),
    )
    model = Ensemble(members=2).stack(model, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.rand(
                parameter.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64
            )
    both = parts_of_members(model)
    for member, parts in enumerate(both):
        agrees(model, parts, member)
    assert parts_of(model, 1) == both[1]
    assert not both[0].whole
    found = shared([parts.theta for parts in both])
    assert found is not None
    program, numbers = found
    eta = drawn(PEOPLE, model.population.dimension)
    for row, parts in zip(numbers, both, strict=True):
        own = parts.theta.evaluate(eta=eta, covariates=[[60.0]])["theta"]
        assert np.array_equal(program.evaluate(eta=eta, covariates=[[60.0]], numbers=row)["theta"], own)
    assert shared([both[0].theta, both[0].observe]) is None


@pytest.mark.parametrize("mechanism", [Kinks, MichaelisMenten])
def test_a_model_of_a_mechanism_is_its_whole_rate(mechanism: type[Mechanism]) -> None:
    model = whole(mechanism(), Opaque(len(mechanism.states), sees_theta=False), known=(Clearance(),))
    parts = parts_of(model, 0)
    assert parts.whole
    agrees(model, parts, 0)


def test_a_start_that_is_searched_for_is_missing_and_says_so() -> None:
    class Resting(MichaelisMenten):
        starts_empty = False

    parts = parts_of(whole(Resting()), 0)
    assert parts.initial is None
    assert "searched for" in parts.without["initial"]


def test_what_cannot_be_exported_is_named_with_its_part() -> None:
    class Sorted(Saturation):
        def mean(self, x: Tensor, theta: Tensor) -> Tensor:
            return torch.sort(x)[0][..., :1]

    model = whole(OneCompartmentOral())
    model.observation = Sorted()
    with pytest.raises(ValueError, match=r"the part 'observe' of the model, Sorted: the operation aten\.sort is none"):
        parts_of(model, 0)
    with pytest.raises(ValueError, match="parts_of: member"):
        parts_of(model, 1)
    with pytest.raises(ValueError, match=r"write model.to\('cpu', torch.float64\)"):
        parts_of(whole(OneCompartmentOral()).to(torch.float32), 0)


def test_the_checks_of_physics_are_as_before() -> None:
    """Only while a program is exported is a range answered by NaN."""
    with pytest.raises(ValueError, match="ages lie in 10–110 years"):
        VanCauterPopulation().theta(drawn(1, 1, 0), {"age": torch.tensor([9.0]), "type2": torch.tensor([0.0])})
