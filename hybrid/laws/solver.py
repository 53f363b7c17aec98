"""A solver held against its laws, on a nonlinear problem whose solution is known: order, doses, batches, failures, gradients."""

import itertools
import math
from typing import Any, final

import torch
from torch import Tensor

from hybrid.cutting.mesh import Mesh
from hybrid.model import HybridModel
from hybrid.observation import States
from hybrid.schedules.dose import Dose
from hybrid.schedules.schedule import Schedule
from hybrid.simulate import Rollout, conditions_of, rollout
from hybrid.solve.solver import SimulationError, Solver
from learned import Constant, Residual
from physics import LinearBackbone, SharedPopulation
from physics.arguments import require_kind, require_number

RATES, BENDS = (2.0, 1.2), (1.9, 1.2)  # a and b of dz/dt = −a z + b z²
MIXING = ((1.0, 0.5), (-0.3, 1.0))  # x = T z
END, DOSE_AT = 2.0, 1.0
STEPS = (4, 8, 16, 32, 64, 128)


@final
class Bernoulli(Residual):
    """ε = T (b ∘ (T⁻¹ x)²): with A = −T diag(a) T⁻¹ each z = T⁻¹ x follows dz/dt = −a z + b z² (Jakob Bernoulli 1695)."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 2, 0, 0, True
        self.mixing: Tensor
        self.bends: Tensor
        self.register_buffer("mixing", torch.tensor(MIXING, dtype=torch.float64), persistent=False)
        self.register_buffer("bends", torch.tensor(BENDS, dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return (self.bends * (x @ torch.linalg.inv(self.mixing).mT).square()) @ self.mixing.mT

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {}


def exact(z: Tensor, time: float) -> Tensor:  # (..., 2)
    """z(t) = a z e^{−a t} / (a − b z (1 − e^{−a t})), which is infinite in a finite time from any z > a/b."""
    a, b = (z.new_tensor(v) for v in (RATES, BENDS))
    left = torch.exp(-a * time)
    return a * z * left / (a - b * z * (1.0 - left))


def problem() -> HybridModel:
    """dx/dt = A x + T (b ∘ (T⁻¹ x)²): two states that mix, no θ, no input."""
    T = torch.tensor(MIXING, dtype=torch.float64)
    A = -T @ torch.diag(torch.tensor(RATES, dtype=torch.float64)) @ torch.linalg.inv(T)
    return HybridModel(
        LinearBackbone(A.tolist()),
        SharedPopulation(),
        Bernoulli(),
        observation=States([0, 1], ["x1", "x2"], ["1", "1"]),
        noise=Constant([0.1, 0.1], [0.01, 0.01]),
    )


def check_solver(solver: Solver, *, order: int | None = None, accuracy: float | None = None) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a solver keeps the laws of solvers.

    On dx/dt = A x + T (b ∘ (T⁻¹ x)²), whose solution is known: of fixed steps the measured order is the declared one, to 0.4;
    of an adaptive solver the error is at most `accuracy` · a dose is a jump, and what is observed at its time is the state
    before it · a record's solution does not depend on who else is in the batch · a record whose field is infinite is NaN and a
    `Failure`, and the others are as without it (one that solves all as one problem may raise `SimulationError`) · the gradient
    by a dose is the solution's.
    Not looked at: speed, memory, stiff problems, inputs, members, covariates.
    Arguments: `solver` · `order` of one that takes the mesh's steps, by default its own attribute `order` · `accuracy` of an
    adaptive one, the largest error that its tolerance may leave, where states are of size 1.
    """
    require_kind(solver, Solver, "check_solver: solver", 'RungeKutta("rk4"), a class that inherits from hybrid.Solver')
    name = f"check_solver: {type(solver).__name__}"
    declared = getattr(solver, "order", None) if order is None else order
    if solver.adaptive:
        if accuracy is None:
            raise ValueError(f"{name}: finds its own steps; say how far its tolerance lets it err, accuracy=1e-5")
        require_number(accuracy, "check_solver: accuracy", above=0.0)
        _accurate(solver, float(accuracy), name)
    else:
        if declared is None:
            raise ValueError(f"{name}: takes the mesh's steps and has no attribute order; say which it is, order=4")
        require_number(declared, "check_solver: order", least=1.0, whole=True)
        _ordered(solver, int(declared), name)
    mesh = Mesh() if solver.adaptive else Mesh(END / 40)
    allowed = float(accuracy or 0.0) if solver.adaptive else 20.0 * _error(solver, mesh) + 1e-12
    _dose_is_a_jump(solver, mesh, allowed, name)
    _own_solution(solver, mesh, allowed, name)
    _failure_is_a_value(solver, mesh, allowed, name)
    _gradient(solver, mesh, name)


def _run(solver: Solver, mesh: Mesh, *starts: Tensor | list[float], dose: float = 0.0) -> Rollout:
    """Everyone starts from z by doses into both states, and takes `dose` into the first at DOSE_AT."""
    model, T = problem(), torch.tensor(MIXING, dtype=torch.float64)
    schedules = []
    for z in starts:
        x = T @ torch.as_tensor(z, dtype=torch.float64)
        doses = [Dose("x1", 0.0, x[0]), Dose("x2", 0.0, x[1])] + ([Dose("x1", DOSE_AT, dose)] if dose else [])
        schedules.append(Schedule(doses=tuple(doses)))
    conditions = conditions_of(model, schedules, [[DOSE_AT, END]] * len(starts), mesh=mesh)
    nobody = torch.zeros(1, len(starts), 0, dtype=torch.float64)
    return rollout(model, conditions, nobody, solver, on_failure="return")


def _unmixed(x: Tensor) -> Tensor:
    return x @ torch.linalg.inv(torch.tensor(MIXING, dtype=torch.float64)).mT


START = [0.9, 0.8]


def _error(solver: Solver, mesh: Mesh) -> float:
    with torch.no_grad():
        z = _unmixed(_run(solver, mesh, START).states[0, 0])
    return max(float((z[k] - exact(z.new_tensor(START), t)).abs().max()) for k, t in enumerate((DOSE_AT, END)))


def _ordered(solver: Solver, order: int, name: str) -> None:
    errors = [_error(solver, Mesh(END / n)) for n in STEPS]
    clear = [(a, b) for a, b in itertools.pairwise(errors) if b > 1e-12]  # the rest is rounding
    if not clear or not all(math.isfinite(error) for error in errors):
        raise ValueError(
            f"{name}: with {list(STEPS)} steps its errors are {errors}; they need to be finite, and fall with the step"
        )
    measured = math.log2(clear[-1][0] / clear[-1][1])
    if abs(measured - order) > 0.4:
        raise ValueError(
            f"{name}: declares order {order}, and halving the step divides the error by 2^{measured:.2f} (errors "
            f"{', '.join(f'{error:.2e}' for error in errors)} with {', '.join(map(str, STEPS))} steps); look at the stages' "
            "times and weights, or declare what it has"
        )


def _accurate(solver: Solver, accuracy: float, name: str) -> None:
    error = _error(solver, Mesh())
    if not error <= accuracy:
        raise ValueError(f"{name}: errs by {error:.3g} at time {END:g}, and its tolerance was to leave {accuracy:g} at most")


def _dose_is_a_jump(solver: Solver, mesh: Mesh, allowed: float, name: str) -> None:
    amount = 0.2
    with torch.no_grad():
        x = _run(solver, mesh, START, dose=amount).states[0, 0]
    z0 = x.new_tensor(START)
    before = exact(z0, DOSE_AT)
    after = exact(before + _unmixed(x.new_tensor([amount, 0.0])), END - DOSE_AT)
    for what, found, wanted in (("at the time of a dose, before it", x[0], before), ("after a dose", x[1], after)):
        gap = float((_unmixed(found) - wanted).abs().max())
        if not gap <= allowed:
            raise ValueError(
                f"{name}: {what}, the state is off by {gap:.3g} (allowed: {allowed:.3g}); a dose is a jump between two segments, "
                "and what is measured at its time is measured before it"
            )


def _own_solution(solver: Solver, mesh: Mesh, allowed: float, name: str) -> None:
    others = [[0.1, 0.2], [1.0, 0.95]]
    with torch.no_grad():
        alone = _run(solver, mesh, START).states[:, 0]
        among = _run(solver, mesh, others[0], START, others[1]).states[:, 1]
    gap = float((alone - among).abs().max())
    if not gap <= (allowed if solver.adaptive else 1e-12):
        raise ValueError(
            f"{name}: a record's states differ by {gap:.3g} where others are solved beside it; no record has a say in another's"
        )


def _failure_is_a_value(solver: Solver, mesh: Mesh, allowed: float, name: str) -> None:
    beyond = [1e200, 1e200]  # its square is infinite
    with torch.no_grad():
        try:
            run = _run(solver, mesh, START, beyond)
        except SimulationError:
            return  # of one that solves all records as one problem, and cannot say whose it is
        except Exception as error:
            raise ValueError(
                f"{name}: raises {type(error).__name__} ({str(error)[:120]}) where one of two records cannot be solved; a "
                "failure is a value: Solution(states with NaN for that record, failures=(Failure(record, time, cause),))"
            ) from error
        alone = _run(solver, mesh, START).states[:, 0]
    failed = {failure.record for failure in run.failures}
    if failed != {1}:
        raise ValueError(
            f"{name}: record 1 of two starts where the field is infinite, and the failures are of {sorted(failed) or 'nobody'}; "
            "a record that cannot be solved has its Failure, and no other has one"
        )
    kept, lost = run.states[:, 0], run.states[:, 1]
    if not bool(torch.isnan(lost).all()) or not float((kept - alone).abs().max()) <= allowed:
        raise ValueError(
            f"{name}: where record 1 fails its states need to be NaN, and record 0 is to be as without it; found "
            f"{lost[0, -1].tolist()}, and record 0 off by {float((kept - alone).abs().max()):.3g}"
        )


def _gradient(solver: Solver, mesh: Mesh, name: str) -> None:
    start = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    value = _run(solver, mesh, start).states[0, 0, -1].sum()
    if not value.requires_grad:
        raise ValueError(f"{name}: its states have no gradient by a dose; keep to torch operations on x and the segments")
    (found,) = torch.autograd.grad(value, start)
    wanted = torch.autograd.functional.jacobian(
        lambda z: (exact(z, END) @ torch.tensor(MIXING, dtype=torch.float64).mT).sum(), start.detach()
    )
    gap = float((found - wanted).abs().max())
    # the gradient of the steps: as far from the solution's as these are from it, a constant apart
    if not gap <= 100.0 * _error(solver, mesh) + 1e-9:
        raise ValueError(
            f"{name}: the gradient by a dose is {found.tolist()}, and the solution's is {wanted.tolist()}; differentiate the "
            "very steps that are taken"
        )
