"""A noise head and a process noise held against their laws: never below the floor, never negative."""

import copy

import torch

from learned.ensemble import Ensemble
from learned.laws.rebuilt import rebuilt, require_member_axis
from learned.noise import NoiseHead
from learned.process_noise import ProcessNoise
from learned.sizes import drawn_from, shown, sizes_of

MEMBERS, PEOPLE, TIMES = 2, 3, 4
WEIGHTS = (None, -40.0, -5.0, 5.0)  # None: as it starts, every member drawn by itself


def check_noise(
    head: NoiseHead, *, states: int = 1, inputs: int = 0, generator: torch.Generator | None = None
) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a noise head keeps the laws of noise heads.

    `floor` (p,) is above 0 · `correlation`, where there is one, is that of some errors · σ² has the shape (M, N, T, p), is
    finite, and never below floor², whatever the weights and however large y, x and u · each member's and person's value is its
    own · every trainable tensor leads with the member axis · `reset` draws from the generator alone · `config` rebuilds it.
    Tried at points, by default the same ones each time, and not proved.
    Arguments: `head`, one that is not stacked · `states`, `inputs`, how many it is given of each · `generator`, by default one
    of its own with seed 0.
    """
    if not isinstance(head, NoiseHead):
        raise ValueError(f"check_noise: head inherits from learned.NoiseHead, and got {shown(head)}")
    sizes_of({"states": states, "inputs": inputs}, "check_noise")
    if states < 1 or inputs < 0:
        raise ValueError(f"check_noise: needs states ≥ 1 and inputs ≥ 0, got {states} and {inputs}")
    generator = drawn_from(generator, "check_noise: generator")
    name = f"check_noise: {type(head).__name__}"
    require_member_axis(head, name)
    floor = head.floor.detach()
    if tuple(floor.shape) != (head.channels,) or not bool((floor > 0.0).all()):
        raise ValueError(
            f"{name}: floor needs {head.channels} standard deviations above 0, one a channel, and is {floor.tolist()}"
        )
    _reset(head, name)
    stacked = Ensemble(MEMBERS).stack(head, generator)
    lead = (MEMBERS, PEOPLE, TIMES)
    with torch.no_grad():
        for weight in WEIGHTS:
            if weight is not None:
                for parameter in stacked.parameters():
                    parameter.fill_(weight)
            for size in (0.0, 1.0, 1e3):
                y, x, u = (
                    size * torch.randn(*lead, width, generator=generator, dtype=torch.float64) + 0.0  # and no −0
                    for width in (head.channels, int(states), int(inputs))
                )
                variance = stacked.variance(y, x, u)
                if tuple(variance.shape) != tuple(y.shape) or not bool(torch.isfinite(variance).all()):
                    raise ValueError(
                        f"{name}: of y {tuple(y.shape)} σ² is {tuple(variance.shape)}, finite: "
                        f"{bool(torch.isfinite(variance).all())}; it needs finite variances in the shape of y"
                    )
                below = variance < floor.square()
                if bool(below.any()):
                    i = tuple(below.nonzero()[0].tolist())
                    raise ValueError(
                        f"{name}: σ² is {float(variance[i]):.6g} where y is {float(y[i]):.6g}, below its floor squared, "
                        f"{float(floor[i[-1]]) ** 2:.6g}: a mean that passes through a record would drive the likelihood to "
                        "infinity. Add floor² to a square"
                    )
                alone = stacked.variance(y[:, 1:2], x[:, 1:2], u[:, 1:2])
                if not torch.allclose(alone, variance[:, 1:2], rtol=1e-12, atol=0.0):
                    raise ValueError(f"{name}: a person's σ² changes with who else is in the batch; every person has its own")
        _require_correlation(stacked, name)
        again, one = rebuilt(head, name), [v[:1] for v in (y, x, u)]
        if not torch.equal(again.variance(*one), head.variance(*one)):
            raise ValueError(f"{name}: rebuilt by its configuration σ² differs; config() gives every argument of the constructor")


def _require_correlation(head: NoiseHead, name: str) -> None:
    R = head.correlation()
    if R is None:
        return
    p = head.channels
    fine = R.ndim == 3 and R.shape[1:] == (p, p) and len(R) in (1, MEMBERS) and torch.equal(R, R.mT)
    if not fine or not bool((R.diagonal(dim1=-2, dim2=-1) == 1.0).all()) or not bool((torch.linalg.eigvalsh(R) > 0.0).all()):
        raise ValueError(
            f"{name}: correlation() is {shown(R.tolist())} of shape {tuple(R.shape)}; it needs (M, {p}, {p}), symmetric, ones on "
            "the diagonal, positive definite, whatever the weights"
        )


def _reset(head: NoiseHead, name: str) -> None:
    drawn = []
    for _ in range(2):
        one = copy.deepcopy(head)
        one.reset(torch.Generator().manual_seed(3))
        drawn.append([p.detach().clone() for p in one.parameters()])
    if not all(torch.equal(a, b) for a, b in zip(*drawn, strict=True)):
        raise ValueError(
            f"{name}: reset gives other weights for the same generator; draw with torch.randn(…, generator=generator) alone"
        )


def check_process_noise(process: ProcessNoise, *, generator: torch.Generator | None = None) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a process noise keeps its laws.

    g(x) has the shape of x (one member stands for all), is finite and never negative · each person's value is its own · every
    trainable tensor leads with the member axis · `config` rebuilds it.
    That halving the step leaves the variance at t unchanged is the simulation's law, `hybrid`'s.
    Arguments: `process`, one that is not stacked · `generator`, by default one of its own with seed 0.
    """
    if not isinstance(process, ProcessNoise):
        raise ValueError(f"check_process_noise: process inherits from learned.ProcessNoise, and got {shown(process)}")
    generator = drawn_from(generator, "check_process_noise: generator")
    name = f"check_process_noise: {type(process).__name__}"
    require_member_axis(process, name)
    with torch.no_grad():
        for size in (0.0, 1.0, 1e3):
            x = size * torch.randn(MEMBERS, PEOPLE, process.states, generator=generator, dtype=torch.float64)
            g = process.diffusion(x)
            if tuple(g.shape) not in (tuple(x.shape), (1, *x.shape[1:])) or not bool(torch.isfinite(g).all()):
                raise ValueError(
                    f"{name}: of x {tuple(x.shape)} g is {tuple(g.shape)}, finite: {bool(torch.isfinite(g).all())}; it needs "
                    "finite numbers in the shape of x"
                )
            if bool((g < 0.0).any()):
                raise ValueError(
                    f"{name}: g is {float(g.min()):.6g}, below 0, at x of size {size:g}; take a root or an exponential"
                )
            alone = process.diffusion(x[:, 1:2])
            if not torch.allclose(alone, g[:, 1:2], rtol=1e-12, atol=0.0):
                raise ValueError(f"{name}: a person's g changes with who else is in the batch; every person has its own")
        if not torch.equal(rebuilt(process, name).diffusion(x), g):
            raise ValueError(f"{name}: rebuilt by its configuration g differs; config() gives every argument of the constructor")
