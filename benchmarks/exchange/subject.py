"""One person of one bundle under one member, followed by ourselves as exactly as we can: what every export is held against."""

import copy
import random
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.exchange.random_bundles import horizon
from exchange import Bundle
from exchange.selection import Selected, Selection, selected
from hybrid import Dose, Exponential, Schedule, Signal, SimulationError, conditions_of, rollout
from hybrid.terms import RightHandSide
from learned import Zero
from physics import LinearisedBackbone

Array = NDArray[np.float64]
POINTS = 41  # of the path, its start among them
RTOL = 1e-10


@dataclass(frozen=True)
class Subject:
    """`bundle` and what is `chosen` of it · `start` (n,), `levels` u(0) (m,) and `ramp` (m,), how much of each comes on until
    the end, `infused` (n,) all the time · `times` (T,) and the `path` (T, n) there · `size` (n,), what is large for each state ·
    `by`, what followed it.
    """

    bundle: Bundle
    chosen: Selected
    selection: Selection
    start: Array
    levels: Array
    infused: Array
    times: Array
    path: Array
    size: Array
    by: str

    @property
    def states(self) -> tuple[str, ...]:
        """Names."""
        return tuple(self.chosen.model.backbone.states)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names."""
        return tuple(self.chosen.model.backbone.inputs)

    @property
    def right(self) -> RightHandSide:
        """The right-hand side of this person."""
        return self.chosen.model.at(self.chosen.theta[:, None], self.chosen.c[:, None])

    def points(self, count: int, seed: int) -> tuple[Array, Array]:  # (S, n), (S, m)
        """States around the path and inputs around the levels."""
        g = np.random.default_rng(seed)
        rows = self.path[g.integers(0, len(self.path), count)]
        x = rows * g.uniform(0.8, 1.2, rows.shape)
        u = self.levels * g.uniform(0.8, 1.2, (count, len(self.levels)))
        return x, u

    def rates(self, x: Array, u: Array) -> Array:  # (S, n)
        """dx/dt by torch."""
        with torch.no_grad():
            each = [self.right.rate(_row(p), _row(q), _row(self.infused))[0, 0] for p, q in zip(x, u, strict=True)]
        return np.asarray(torch.stack(each))

    def jacobians(self, x: Array, u: Array) -> Array:  # (S, n, n)
        """Slopes by torch."""
        with torch.no_grad():
            each = [self.right.jacobian(_row(p), _row(q))[0, 0] for p, q in zip(x, u, strict=True)]
        return np.asarray(torch.stack(each))

    def gap(self, path: Array) -> float:
        """How far a path (T, n) is from ours, over what is large for each state."""
        if path.shape != self.path.shape or not np.isfinite(path).all():
            return float("inf")
        return float((np.abs(path - self.path) / self.size).max())


def _row(values: Array) -> torch.Tensor:
    return torch.as_tensor(np.array(values), dtype=torch.float64)[None, None]


def relative(found: Array, wanted: Array) -> float:
    """The largest difference over the largest component; ∞ where one has a number and the other has none."""
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    if found.shape != wanted.shape or not np.array_equal(np.isfinite(found), np.isfinite(wanted)):
        return float("inf")
    there = np.isfinite(wanted)
    largest = float(np.abs(wanted[there]).max(initial=0.0))
    return float(np.abs(found[there] - wanted[there]).max(initial=0.0)) / (largest or 1.0)


def without_network(bundle: Bundle) -> Bundle:
    """The same with nothing learned in its right-hand side, and without claims."""
    model = copy.deepcopy(bundle.model)
    model.residual = Zero(len(model.backbone.states), len(model.backbone.inputs), model.sees)
    return replace(bundle, model=model, claims=())


def subject_of(bundle: Bundle, seed: int) -> Subject:
    """The first person under a member drawn by the seed: from a state near their own, with inputs held (between two of its steps
    FMPy holds them too) and, where a person starts empty, with something that runs in.

    Errors: `SimulationError` where nothing of ours follows this person.
    """
    rng = random.Random(f"subject {seed}")
    return subject_for(bundle, Selection(member=rng.randrange(bundle.model.members), person=bundle.people[0].id), rng)


def subject_for(bundle: Bundle, selection: Selection, rng: random.Random) -> Subject:
    """The same of one member, and of a person or the typical one, by a selection."""
    chosen = selected(bundle, selection)
    model, end = chosen.model, horizon(bundle)
    backbone = model.backbone
    large = _large(bundle, chosen)
    own = chosen.x0[0].numpy()
    start = np.where(np.isfinite(own) & (np.abs(own) > 1e-3 * large), own, 0.5 * large) * np.array(
        [rng.uniform(0.8, 1.2) for _ in large]
    )
    given = bundle.people[0].schedule.inputs
    levels = np.array([given[name].values[0] for name in backbone.inputs])
    empty = not (isinstance(backbone, LinearisedBackbone) and not backbone.mechanism.starts_empty)
    infused = np.zeros(len(start))
    infused[0] = 0.2 * large[0] / end if empty else 0.0
    times = np.linspace(0.0, end, POINTS)
    path, by = _followed(bundle, chosen, start, levels, infused, times)
    size = np.maximum(np.abs(path).max(0), 1e-6 * large)
    return Subject(bundle, chosen, selection, start, levels, infused, times, path, size, by)


def _large(bundle: Bundle, chosen: Selected) -> Array:
    backbone = chosen.model.backbone
    if isinstance(backbone, LinearisedBackbone):
        return np.array([float(backbone.mechanism.scale[name]) for name in backbone.states])
    first = [dose.amount for dose in bundle.people[0].schedule.doses]
    return np.full(len(backbone.states), float(first[0]) if first else 1.0)


def _followed(
    bundle: Bundle, chosen: Selected, start: Array, levels: Array, infused: Array, times: Array
) -> tuple[Array, str]:
    """The path by our own solver; where that takes too many steps, by an implicit one of scipy on our own right-hand side."""
    model, end = chosen.model, float(times[-1])
    signals = {n: Signal((0.0,), (float(v),), "held") for n, v in zip(model.backbone.inputs, levels, strict=True)}
    doses = tuple(Dose(s, 0.0, float(v) * end, end) for s, v in zip(model.backbone.states, infused, strict=True) if v)
    known = {name: [value] for name, value in chosen.covariates.items()}
    given = conditions_of(
        model,
        [Schedule(doses, signals, start=0.0)],
        [times[1:].tolist()],
        covariates=known,
        baseline=torch.tensor([chosen.baseline], dtype=torch.float64),
        mesh=bundle.mesh,
    )
    try:
        with torch.no_grad():
            begun = torch.as_tensor(start, dtype=torch.float64)[None, None]
            found = rollout(model, given, chosen.personal[:, None], Exponential(rtol=RTOL), start=begun)
        return np.vstack([start, found.states[0, 0].numpy()]), "ours"
    except SimulationError:
        from scipy.integrate import solve_ivp

        right = model.at(chosen.theta[:, None], chosen.c[:, None])

        def rate(t: float, x: Array) -> Array:
            with torch.no_grad():
                return np.asarray(right.rate(_row(x), _row(levels), _row(infused))[0, 0])

        done = solve_ivp(rate, (0.0, end), start, "Radau", times, rtol=RTOL, atol=1e-12 * np.abs(start).max())
        if not done.success:
            raise
        return np.asarray(done.y.T), "scipy"
