"""Steps of a tape in buffers are those of automatic differentiation: values, gradients, second derivatives."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid import Dose, HybridModel, Mesh, RungeKutta, Schedule, Signal, States, conditions_of, rollout
from hybrid.field import SemilinearField
from hybrid.solve.march import March, march
from hybrid.solve.plain_march import plain_march
from hybrid.solve.pool import Pool
from hybrid.solve.schemes.explicit import Polynomials
from hybrid.solve.schemes.exponentials import KROGSTAD
from hybrid.solve.schemes.scheme import Scheme
from hybrid.solve.tape_rows import TapeRows
from learned import MLP, AdditiveProportional, Ensemble
from physics import Mechanism, Parameter, SharedPopulation
from physics.linearised import split
from physics.operations import (
    atan,
    cos,
    exp,
    hill,
    log,
    maximum,
    minimum,
    relu,
    saturating,
    sigmoid,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
)

F64 = torch.float64
SCHEMES = [Polynomials.of("rk4"), Polynomials.of("tsit5"), KROGSTAD]


class Everything(Mechanism):
    """Every operation; both states stay near 1."""

    time_unit = "h"
    states = {"a": "mg", "b": "mg"}
    inputs = {"r": "mg/h", "s": "mg/h"}
    physical = (Parameter("k", "/h", 0.5, 0.1, 2.0), Parameter("V", "L", 3.0, 1.0, 9.0))
    scale = {"a": 1.0, "b": 1.0}
    typical_inputs = {"r": 0.4}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        v, w = x.a / theta.V / 2.0, 1.0 + theta.k * square(x.b)
        first = exp(-v) + log(w) - sqrt(w) * sin(v) + cos(w) / (2 + atan(v)) + 0.3 * tanh(w - v) + abs(w - 1.3)
        second = sigmoid(v) * softplus(w) + relu(v - 0.2) + minimum(v, w) * maximum(v, 0.7) - minimum(theta.k, w)
        third = saturating(w) + hill(w, 1.5) * hill(square(v), 3) + w**0.75 + 2.0 / w + (1.5 - x.b) ** 2
        flow = theta.k * x.a
        return {
            "a": u.r - 3.0 * flow + 0.2 * first * second,
            "b": flow - x.b * 2.0 + 0.1 * (third - 3.0) * -u.r + 1.0 / theta.V,
        }


def model_of(hidden: tuple[int, ...] | None = (3,), members: int = 1) -> HybridModel:
    residual = None if hidden is None else MLP(hidden=hidden, sees_inputs=("r",), state_scale=1.0)
    seen = {"observation": States(["a"]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
    mechanism = Everything()
    model = HybridModel(mechanism, SharedPopulation(mechanism, values={"k": 0.5, "V": 3.0}), residual, **seen)
    return Ensemble(members).stack(model, torch.Generator().manual_seed(2)) if members > 1 else model


def bound(model: HybridModel, M: int, N: int, mode: str = "linear") -> tuple[SemilinearField, list[Tensor]]:
    """The field of people with θ of their own, ramps, infusions and doses, and what it is made from."""
    g = torch.Generator().manual_seed(1)
    theta = (
        torch.tensor([0.5, 3.0], dtype=F64) * (0.8 + 0.4 * torch.rand(M, N, 2, generator=g, dtype=F64))
    ).requires_grad_()
    amounts = (0.5 + torch.rand(N, generator=g, dtype=F64)).requires_grad_()
    levels = torch.tensor([0.3, 0.6, 0.4], dtype=F64).requires_grad_()
    schedules = [
        Schedule(
            (Dose("a", 0.3, amounts[i]), Dose("b", 0.0, 0.2, duration=0.5 + 0.1 * i)),
            inputs={"r": Signal([0.0, 0.5, 1.0], levels, mode), "s": Signal([0.0], [0.1])},
        )
        for i in range(N)
    ]
    given = conditions_of(model, schedules, [[0.45, 1.2]] * N, mesh=Mesh(0.3))
    field = model.bind(given.segments, theta, theta.new_zeros(M, N, 0))
    return field, [theta, amounts, levels, *model.residual.parameters()]


def outputs(run: March) -> list[Tensor]:
    return [v for v in (run.x, run.after, run.slopes) if v is not None]


def value(run: March) -> Tensor:
    return sum((torch.sin(3.0 * v).mean() for v in outputs(run)), torch.zeros((), dtype=F64))


def agree(found: Tensor | None, wanted: Tensor | None, tolerance: float = 1e-13) -> None:
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None and wanted.numel():
        gap, size = ((v.detach()).abs().max() for v in (found - wanted, wanted))
        assert bool(gap <= tolerance * size)


@pytest.mark.parametrize(
    ("scheme", "hidden", "members", "M", "mode", "dense"),
    [  # every scheme alone and beside a network, dense and not; a whole stack of members once
        (SCHEMES[0], None, 1, 1, "linear", True),
        (SCHEMES[0], (3,), 1, 2, "linear", False),
        (SCHEMES[1], None, 1, 2, "held", False),
        (SCHEMES[1], (3,), 2, 2, "linear", True),
        (SCHEMES[2], None, 1, 1, "linear", True),
        (SCHEMES[2], None, 1, 2, "held", False),
        (SCHEMES[2], (3,), 1, 2, "linear", False),
    ],
    ids=["rk4", "rk4-learned", "tsit5-held", "tsit5-members", "Krogstad", "Krogstad-held", "Krogstad-learned"],
)
def test_steps_in_buffers_are_those_of_autograd(
    scheme: Scheme, hidden: tuple[int, ...] | None, members: int, M: int, mode: str, dense: bool
) -> None:
    model = model_of(hidden, members)
    field, made = bound(model, M, 3, mode)
    assert field.tape is not None
    start = torch.ones(M, 3, 2, dtype=F64, requires_grad=True)
    wanted = plain_march(field, start, scheme, dense=dense)
    want = torch.autograd.grad(value(wanted), [start, *made], allow_unused=True, retain_graph=True)
    pool = Pool()
    for chunk in (None, 2, None):  # the last in the buffers of the first
        found = march(field, start, scheme, dense=dense, chunk=chunk, pool=pool)
        for one, other in zip(outputs(found), outputs(wanted), strict=True):
            agree(one, other)
        got = torch.autograd.grad(value(found), [start, *made], allow_unused=True, retain_graph=True)
        for one, other in zip(got, want, strict=True):
            agree(one, other, 1e-12)


@pytest.mark.parametrize("hidden", [None, (3,)], ids=["alone", "learned"])
def test_a_training_loop_repeats_its_operations(hidden: tuple[int, ...] | None) -> None:
    """The second call runs what the first kept, on new numbers; another tape of the same sizes does not."""
    mechanism, solver = Everything(), RungeKutta("rk4")

    class Other(Everything):
        def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
            return {"a": -theta.k * x.a, "b": theta.k * x.a - hill(x.b, 2.0) + u.r / theta.V + 0.0 * u.s}

    schedule = Schedule((Dose("a", 0.0, 1.0),), inputs={"r": Signal([0.0], [0.4]), "s": Signal([0.0], [0.1])})
    given = None
    seen = {"observation": States(["a"]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
    for one in (mechanism, Other(), mechanism):
        values = SharedPopulation(one, values={"k": 0.5, "V": 3.0})
        model = HybridModel(one, values, None if hidden is None else MLP(hidden=hidden, state_scale=1.0), **seen)
        given = given or conditions_of(model, [schedule] * 3, [[1.0]] * 3, mesh=Mesh(0.25))
        for k in (0.4, 0.6):
            theta = torch.tensor([k, 3.0], dtype=F64).repeat(1, 3, 1).requires_grad_()
            got = []
            for steps in (march, plain_march):
                field = model.bind(given.segments, theta, theta.new_zeros(1, 3, 0))
                more = {"pool": solver.pool} if steps is march else {}
                run = steps(field, torch.ones(1, 3, 2, dtype=F64), SCHEMES[0], dense=False, **more)
                got.append((run.x, *torch.autograd.grad(value(run), theta)))
            for a, b in zip(*got, strict=True):
                agree(a, b, 1e-12)


def test_another_activation_repeats_nothing() -> None:
    """Two networks of the same sizes on the same records, one solver: what it kept for one is not run for the other."""
    solver, found = RungeKutta("rk4"), []
    schedule = Schedule(inputs={"r": Signal([0.0], [0.4]), "s": Signal([0.0], [0.1])})
    given = conditions_of(model_of(None), [schedule], [[1.0]], mesh=Mesh(0.25))
    for activation in ("softplus", "relu"):
        seen = {"observation": States(["a"]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
        residual = MLP(hidden=(3,), state_scale=1.0, activation=activation)
        values = SharedPopulation(Everything(), values={"k": 0.5, "V": 3.0})
        model = HybridModel(Everything(), values, residual, **seen)
        start, none = torch.ones(1, 1, 2, dtype=F64), torch.zeros(1, 1, 0, dtype=F64)
        for own in (solver, RungeKutta("rk4")):
            run = rollout(model, given, none, own, start=start)
            run.states.sum().backward()
            found.append(run.states.detach())
    assert torch.equal(*found[:2])
    assert torch.equal(*found[2:])


def test_second_derivatives() -> None:
    model = model_of(None)
    field, (theta, *_) = bound(model, 1, 2)
    start = torch.ones(1, 2, 2, dtype=F64)
    for scheme in (SCHEMES[0], SCHEMES[2]):
        seconds = []
        for steps in (march, plain_march):
            (first,) = torch.autograd.grad(value(steps(field, start, scheme, dense=True)), theta, create_graph=True)
            seconds.append(torch.autograd.grad(first.square().sum(), theta, retain_graph=True)[0])
        agree(*seconds, tolerance=1e-11)


def test_factors_are_gathered_and_products_go_into_sums() -> None:
    """x/V/Km is one product, and a sum with one takes it in: what runs at every stage is short."""
    mechanism = Everything()
    theta = torch.tensor([[[0.5, 3.0]]], dtype=F64)
    whole = TapeRows.of(mechanism.tape.at(theta), (1, 1))
    assert len(whole.code) < sum(mechanism.tape.moves) - 4
    x, u = torch.rand(1, 5, 2, dtype=F64) + 0.5, torch.rand(5, 2, dtype=F64)
    held = whole.held.expand(-1, 5)
    torch.testing.assert_close(
        whole.ordinary(held, x, u), mechanism.tape.at(theta).rate(x, u[None]), rtol=1e-14, atol=1e-14
    )
    found = split(mechanism, x[:, :1], u[None, :1], theta)
    left = TapeRows.of(mechanism.tape.at(theta), (1, 1), found.A)
    want = mechanism.tape.at(theta).rate(x, u[None]) - (found.A @ x[..., None])[..., 0]
    torch.testing.assert_close(left.ordinary(left.held.expand(-1, 5), x, u), want, rtol=1e-13, atol=1e-13)


def test_a_run_that_failed_leaves_the_others() -> None:
    """Someone who leaves the numbers does not spoil the gradients of the rest."""
    model = model_of(None)
    schedule = Schedule(inputs={"r": Signal([0.0], [0.4]), "s": Signal([0.0], [0.1])})
    given = conditions_of(model, [schedule] * 2, [[1.0]] * 2, mesh=Mesh(0.1))
    start = torch.tensor([[1.0, 1.0], [1.0, 1e200]], dtype=F64).expand(1, 2, 2).clone().requires_grad_()
    run = rollout(model, given, torch.zeros(1, 2, 0, dtype=F64), RungeKutta("rk4"), start=start, on_failure="return")
    assert [f.record for f in run.failures] == [1]
    (gradient,) = torch.autograd.grad(run.states[:, :1].sum(), start)
    assert bool(gradient.isfinite().all())
