"""Systems that filters are proved on: each as the house's model, and as plain equations in numpy from which the truth is drawn.

The two are written apart, so that a slip in one is seen in the statistics of the other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel, Interval, States
from hybrid.filters import Belief, Filter
from learned import Constant, DiagonalDiffusion, Residual
from physics import LinearBackbone, LinearisedBackbone, Mechanism, Parameter, SharedPopulation

F64 = torch.float64
Array = np.ndarray

# ---- the models


class Lorenz63(Mechanism):
    """Convection: Lorenz, J. Atmos. Sci. 20 (1963) 130."""

    time_unit, scale = "s", {"x": 8.0, "y": 8.0, "z": 25.0}
    states = {"x": "1", "y": "1", "z": "1"}
    physical = (
        Parameter("sigma", "/s", 10.0, 5.0, 20.0),
        Parameter("rho", "1", 28.0, 14.0, 56.0),
        Parameter("beta", "/s", 8.0 / 3.0, 1.0, 6.0),
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {
            "x": theta.sigma * (x.y - x.x),
            "y": x.x * (theta.rho - x.z) - x.y,
            "z": x.x * x.y - theta.beta * x.z,
        }


class VanDerPol(Mechanism):
    """The oscillator of relaxation: van der Pol, Phil. Mag. 2 (1926) 978."""

    time_unit, scale = "s", {"x": 2.0, "v": 2.0}
    states = {"x": "1", "v": "1"}
    physical = (Parameter("mu", "/s", 2.0, 0.5, 8.0),)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"x": x.v, "v": theta.mu * (1.0 - x.x * x.x) * x.v - x.x}


class GlucoseInsulin(Mechanism):
    """Insulin under the skin, in plasma and in action; a meal in two compartments; glucose, and a sensor that lags behind it.

    The minimal model of Bergman, Ider, Bowden & Cobelli, Am. J. Physiol. 236 (1979) E667, with first-order absorption.
    """

    time_unit = "min"
    states = {
        **{"depot": "m[IU]", "insulin": "m[IU]/L", "action": "/min"},
        **{"stomach": "mg", "gut": "mg", "glucose": "mg/dL", "sensor": "mg/dL"},
    }
    scale = {
        **{"depot": 5e3, "insulin": 100.0, "action": 0.02},
        **{"stomach": 5e4, "gut": 5e4, "glucose": 100.0, "sensor": 100.0},
    }
    physical = (
        Parameter("SG", "/min", 0.025, 0.005, 0.1),
        Parameter("SI", "L/(m[IU].min)", 7.1e-4, 1e-4, 5e-3),
        Parameter("p2", "/min", 0.012, 0.003, 0.05),
        Parameter("ka", "/min", 0.014, 0.003, 0.05),
        Parameter("ke", "/min", 0.127, 0.03, 0.5),
        Parameter("VI", "L", 0.126 * 70.0, 2.0, 40.0),
        Parameter("kabs", "/min", 0.020, 0.005, 0.08),
        Parameter("f", "1", 0.9, 0.5, 1.0),
        Parameter("VG", "dL", 1.45 * 70.0, 25.0, 400.0),
        Parameter("Gb", "mg/dL", 119.0, 40.0, 400.0),
        Parameter("tau", "min", 7.0, 2.0, 20.0),
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {
            "depot": -theta.ka * x.depot,
            "insulin": theta.ka * x.depot / theta.VI - theta.ke * x.insulin,
            "action": theta.p2 * (theta.SI * x.insulin - x.action),
            "stomach": -theta.kabs * x.stomach,
            "gut": theta.kabs * (x.stomach - x.gut),
            "glucose": theta.SG * (theta.Gb - x.glucose) - x.action * x.glucose + theta.f * theta.kabs * x.gut / theta.VG,
            "sensor": (x.glucose - x.sensor) / theta.tau,
        }


class Benes(Residual):
    """ε = x + tanh x beside A = −1, so that dx/dt = tanh x, whose filter Beneš solved: Stochastics 5 (1981) 65."""

    def __init__(self, states: int = 1, inputs: int = 0, covariates: int = 0) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = states, inputs, covariates, True

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return x + torch.tanh(x)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {"states": self.states, "inputs": self.inputs, "covariates": self.covariates}


def observed(
    backbone: Any, residual: Residual | None, *, seen: tuple[str, ...], sd: float, g: Sequence[float], population: Any = None
) -> HybridModel:
    """A model of which some states are seen, all with one standard deviation, and everyone has the same θ unless told."""
    p = len(seen)
    return HybridModel(
        backbone,
        SharedPopulation() if population is None else population,
        residual,
        observation=States(seen),
        noise=Constant([sd] * p, [1e-9 * sd] * p),  # the floor is no part of the truth
        process=DiagonalDiffusion(list(g)),
    )


def benes_model(sd: float) -> HybridModel:
    """dx = tanh x dt + dW, seen with a standard deviation."""
    backbone = LinearBackbone([[-1.0]], states=["x"], state_units=["1"], time_unit="s")
    return observed(backbone, Benes(), seen=("x",), sd=sd, g=(1.0,))


# ---- the systems, each with a truth and a way to be wrong


@dataclass(frozen=True)
class System:
    """dx = f(x) dt + g dW from x ~ N(mean, covariance), seen every `steps` steps with y = x_seen + N(0, sd²).

    `uncertain`: the states in which the first covariance is not 0, or that noise reaches: those that NEES is taken over ·
    `wrong`: the parameter that a wrong filter has another value of.
    """

    mechanism: type[Mechanism]
    point: Mapping[str, float]  # where A is Hurwitz
    rate: Callable[[Array], Array]
    g: tuple[float, ...]
    mean: tuple[float, ...]
    covariance: Array
    seen: tuple[int, ...]
    sd: float
    step: float
    steps: int
    samples: int
    uncertain: tuple[int, ...]
    wrong: tuple[str, float]
    meals: bool = False

    def model(self, *, wrong: bool = False) -> HybridModel:
        """As the house has it, with the right or the wrong parameter."""
        names = tuple(self.mechanism.states)
        backbone = LinearisedBackbone(self.mechanism(), x=self.point)
        values = {p.name: p.typical for p in self.mechanism.physical} | (dict([self.wrong]) if wrong else {})
        return observed(
            *(backbone, None),
            seen=tuple(names[i] for i in self.seen),
            sd=self.sd,
            g=self.g,
            population=SharedPopulation(backbone, values=values),
        )

    def start(self, people: int, members: int = 1) -> Belief:
        """The first belief of everyone, which is the law that their truth is drawn from."""
        n = len(self.mean)
        mean = torch.tensor(self.mean, dtype=F64).expand(members, people, n)
        root = torch.from_numpy(root_of(self.covariance)).expand(members, people, n, n)
        return Belief(mean, root, torch.zeros(people, dtype=F64), n)


def root_of(covariance: Array) -> Array:
    """Its lower triangle, where some states are known exactly."""
    found, some = np.zeros_like(covariance), np.flatnonzero(covariance.diagonal() > 0.0)
    found[np.ix_(some, some)] = np.linalg.cholesky(covariance[np.ix_(some, some)])
    return found


def _lorenz(x: Array) -> Array:
    a, b, c = np.moveaxis(x, -1, 0)
    return np.stack([10.0 * (b - a), a * (28.0 - c) - b, a * b - 8.0 / 3.0 * c], -1)


def _van_der_pol(x: Array) -> Array:
    a, b = np.moveaxis(x, -1, 0)
    return np.stack([b, 2.0 * (1.0 - a**2) * b - a], -1)


def _glucose(x: Array) -> Array:
    s, i, a, q1, q2, g, c = np.moveaxis(x, -1, 0)
    return np.stack(
        [
            *(-0.014 * s, 0.014 * s / (0.126 * 70.0) - 0.127 * i, 0.012 * (7.1e-4 * i - a)),
            *(-0.020 * q1, 0.020 * (q1 - q2)),
            *(-(0.025 + a) * g + 0.025 * 119.0 + 0.9 * 0.020 * q2 / (1.45 * 70.0), (g - c) / 7.0),
        ],
        -1,
    )


def _fasting() -> Array:
    """Glucose and its sensor are known to 15 mg/dL, and mostly together; the action to what its noise keeps up; the rest is 0."""
    P = np.zeros((7, 7))
    P[2, 2] = 4e-5**2 / (2 * 0.012)
    P[5:, 5:] = [[15.0**2, 12.0**2], [12.0**2, 15.0**2]]
    return P


LORENZ = System(
    *(Lorenz63, {"x": 0.0, "y": 0.0, "z": 28.0}, _lorenz, (1.0, 1.0, 1.0), (1.509, -1.531, 25.46), 2.0 * np.eye(3)),
    *((0, 1, 2), 2.0**0.5, 0.01, 10, 60, (0, 1, 2), ("rho", 28.0 * 1.05)),
)
VAN_DER_POL = System(
    *(VanDerPol, {"x": 2.0, "v": 0.0}, _van_der_pol, (0.1, 0.3), (1.0, 0.0), 0.25 * np.eye(2)),
    *((0,), 0.04**0.5, 0.02, 10, 60, (0, 1), ("mu", 2.6)),
)
GLUCOSE = System(
    *(GlucoseInsulin, dict(zip(GlucoseInsulin.states, (0, 0, 0, 0, 0, 119.0, 119.0), strict=True)), _glucose),
    *((0.0, 0.0, 4e-5, 0.0, 0.0, 0.8, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0, 119.0, 119.0), _fasting()),
    *((6,), 4.0, 2.5, 2, 288, (2, 5, 6), ("SI", 7.1e-4 * 1.5), True),
)
SYSTEMS = {"Lorenz-63": LORENZ, "Van der Pol": VAN_DER_POL, "glucose": GLUCOSE}


# ---- their truth


@dataclass(frozen=True)
class Truth:
    """States (T, N, n) at the samples, what was measured there (T, N, p), what arrived just after the sample before (T, N, n)."""

    states: Array
    measured: Array
    arrived: Array

    def late(self) -> Array:
        """The same measurements, each one sample late and said to be of now; at the first sample there is none yet."""
        return np.concatenate([np.full_like(self.measured[:1], np.nan), self.measured[:-1]])


def drawn(system: System, people: int, seed: int, *, samples: int | None = None, within: int = 4) -> Truth:
    """People of a system from its first law on, by `within` steps of Heun's method to each of the filter's.

    With additive noise Heun's method is of weak order 2 (Kloeden & Platen 1992, § 14.2).
    """
    rng = np.random.default_rng([seed, system.samples, system.seen[0]])
    n, g, h = len(system.mean), np.asarray(system.g), system.step / within
    T = system.samples if samples is None else samples
    arrived = _meals(system, people, T, rng) if system.meals else np.zeros((T, people, n))
    x = np.asarray(system.mean) + rng.standard_normal((people, n)) @ root_of(system.covariance).T
    states = np.empty((T, people, n))
    for k in range(T):
        x = x + arrived[k]
        for _ in range(system.steps * within):
            pushed = g * np.sqrt(h) * rng.standard_normal((people, n))
            before = system.rate(x)
            x = x + 0.5 * h * (before + system.rate(x + h * before + pushed)) + pushed
        states[k] = x
    noise = system.sd * rng.standard_normal((T, people, len(system.seen)))
    return Truth(states, states[..., list(system.seen)] + noise, arrived)


MEALS_BY_STATE = {"depot": 0, "stomach": 3}  # what arrives, and its place among the states
MEALS = ((0.5, 45.0), (5.5, 70.0), (12.0, 75.0))  # hours after seven, and grams


def _meals(system: System, people: int, samples: int, rng: np.random.Generator) -> Array:
    """45, 70 and 75 g ± 25 %, with a unit of insulin for every ten grams, of a day that begins at seven."""
    arrived = np.zeros((samples, people, len(system.mean)))
    for hour, grams in MEALS:
        eaten = grams * (1.0 + 0.25 * rng.uniform(-1.0, 1.0, people))
        k = int(hour * 60.0 / (system.step * system.steps))
        if k < samples:
            arrived[k, :, 3], arrived[k, :, 0] = 1e3 * eaten, 1e3 * eaten / 10.0
    return arrived


# ---- following them


@dataclass(frozen=True)
class Run:
    """What a filter said at every sample: means (T, M, N, z), roots (T, M, N, z, z), NIS and log-likelihood (T, M, N)."""

    means: Array
    roots: Array
    nis: Array
    log_likelihood: Array

    def nees(self, states: Array, some: tuple[int, ...]) -> Array:  # (T, M, N)
        """The squared distance of the true states (T, N, n) from the means, by the covariance of some of them."""
        index = list(some)
        rows = self.roots[..., index, :]
        covariance = rows @ np.swapaxes(rows, -1, -2)
        off = (states[:, None] - self.means[..., : states.shape[-1]])[..., index]
        return (off * np.linalg.solve(covariance, off[..., None])[..., 0]).sum(-1)


def stepped(filter: Filter, belief: Belief, y: Array, every: float, steps: int, arrived: Array | None = None) -> Run:
    """A filter along measurements (T, N, p) that come every so often, in as many steps between two of them."""
    people, n = y.shape[1], filter.people.states
    dt = torch.full((people,), every / steps, dtype=F64)
    kept: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        for k in range(len(y)):
            for step in range(steps):
                jump = torch.from_numpy(arrived[k]) if arrived is not None and step == 0 else None
                belief = filter.predict(belief, Interval.of(dt, n, jump=jump, meshed=True))
            belief, said = filter.update(belief, torch.from_numpy(y[k]))
            kept.append((belief.mean, belief.root, said.nis, said.log_likelihood))
    return Run(*(torch.stack(one).numpy() for one in zip(*kept, strict=True)))
