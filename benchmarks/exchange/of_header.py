"""The C header, compiled, held against torch; and how long one call takes."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.exchange.of_fmu import Found
from benchmarks.exchange.subject import Subject, relative
from exchange.c.calling import BoundPerson, CompiledHeader
from exchange.c.compiled import FLAGS, STRICT
from exchange.c.header import CHeader
from hybrid import Exponential, Mesh, Schedule, Signal, conditions_of, rollout

_POINTS = 16


def of_header(subject: Subject, folder: Path, precision: str) -> Found:
    """Rate, Jacobian, directional and adjoint derivatives, observation, variance, diffusion, maps: gaps from torch."""
    path = folder / f"model_{precision}.h"
    CHeader(selection=subject.selection, precision=precision, replace=True).write(subject.bundle, path)
    header = CompiledHeader(path, flags=(*FLAGS, *STRICT))
    someone = header.bind(0)
    model, chosen = subject.chosen.model, subject.chosen
    x, u = subject.points(_POINTS, 3)
    J = subject.jacobians(x, u)
    rates = subject.rates(x, u)
    v = np.random.default_rng(4).standard_normal(x.shape) * subject.size
    w = np.random.default_rng(5).standard_normal(x.shape) / subject.size
    nothing = np.zeros(len(subject.inputs))
    found: Found = {"kB": path.stat().st_size / 1e3}

    def gap(values: list[np.ndarray], wanted: np.ndarray) -> float:
        return max(relative(a, b) for a, b in zip(values, wanted, strict=True))

    pairs = list(zip(x, u, strict=True))
    found["rate gap"] = gap([someone.field(p, q, subject.infused) for p, q in pairs], rates)
    found["Jacobian gap"] = gap([someone.jacobian(p, q) for p, q in pairs], J)
    along = [someone("directional", p, q, k, nothing) for (p, q), k in zip(pairs, v, strict=True)]
    found["directional gap"] = gap(along, (J @ v[..., None])[..., 0])
    back = [someone("adjoint", p, q, k)[0] for (p, q), k in zip(pairs, w, strict=True)]
    found["adjoint gap"] = gap(back, (w[:, None] @ J)[:, 0])
    states = torch.as_tensor(x)[None, None]
    with torch.no_grad():
        y = model.observation.mean(states, chosen.theta[:, None])
        seen = torch.as_tensor(u)[None, None]
        variance = model.noise.variance(y, states, seen)[0, 0].numpy()
    found["observation gap"] = gap([someone("observe", p) for p in x], y[0, 0].numpy())
    found["variance gap"] = gap(
        [someone("variance", a, p, q) for a, (p, q) in zip(y[0, 0].numpy(), pairs, strict=True)], variance
    )
    if model.process is not None:
        with torch.no_grad():
            g = model.process.diffusion(states[:, 0])[0].numpy()
        found["diffusion gap"] = gap([someone("diffusion", p) for p in x], g)
    found |= _maps(subject, header)
    found["step gap"] = _step(subject, someone)
    return found


def _maps(subject: Subject, header: CompiledHeader) -> Found:
    """θ and c of everyone in the bundle."""
    model, bundle = subject.chosen.model, subject.bundle
    mode = bundle.personal.mode
    member = subject.selection.member or 0
    d, found = model.population.dimension, {"theta": 0.0, "context": 0.0}
    for k, person in enumerate(bundle.people):
        personal = mode[member if len(mode) > 1 else 0, k][None, None]
        known = {name: torch.tensor([person.covariates[name]], dtype=torch.float64) for name in model.uses}
        values = [person.covariates[name] for name in model.uses]
        with torch.no_grad():
            theta = model.theta(personal, known)[0, 0].numpy()
            c = model.context(personal, known)[0, 0].numpy()
        eta, latents = personal[0, 0, :d].numpy(), personal[0, 0, d:].numpy()
        # each to its own size: a parameter of 1e-3 counts as much as one of 1e3
        here, there = header.theta(0, eta, values), theta
        found["theta"] = max(found["theta"], float(np.max(np.abs(here / there - 1.0), initial=0.0)))
        found["context"] = max(found["context"], relative(header.context(latents, values), c))
    return {f"{name} gap": value for name, value in found.items()}


def _step(subject: Subject, someone: BoundPerson) -> float:
    """One exponential step with inputs held, against our own with the same step."""
    model, chosen = subject.chosen.model, subject.chosen
    h = float(subject.times[1])
    inputs = {name: Signal((0.0,), (float(v),), "held") for name, v in zip(subject.inputs, subject.levels, strict=True)}
    given = conditions_of(
        model,
        [Schedule((), inputs, start=0.0)],
        [[h]],
        covariates={name: [value] for name, value in chosen.covariates.items()},
        baseline=torch.tensor([chosen.baseline], dtype=torch.float64),
        mesh=Mesh(h, h),
    )
    with torch.no_grad():
        begun = torch.as_tensor(subject.start, dtype=torch.float64)[None, None]
        ours = rollout(model, given, chosen.personal[:, None], Exponential(), start=begun).states[0, 0, 0].numpy()
    theirs = someone.exponential(subject.start, subject.levels, h)
    return float((np.abs(theirs - ours) / subject.size).max())
