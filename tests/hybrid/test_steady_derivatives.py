"""Derivatives of steady states, first and second, and that backwards they round a share of what comes back, whatever its size."""

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from hybrid import Dose, Exponential, HybridModel, Mesh, RungeKutta, Schedule, Solver, States, simulate
from hybrid.schedules.steady import Steady
from hybrid.steady_state import Settled, settled
from learned import AdditiveProportional
from physics import LogNormalPopulation, Mechanism, MichaelisMenten
from physics.shelf import OneCompartment, TwoCompartments, TwoCompartmentsByMouth
from tests.builders import oral_of

F64 = torch.float64
ORAL = (1.5, 0.08, 30.0)
EVERY = (0.01, 1.0, 24.0, 2000.0)
OVER = (0.0, 0.3, 1.0)  # shares of an interval: at once, an infusion with a pause, and one without an end
LINEAR = {
    "oral": (oral_of, ORAL),
    "one": (lambda: model_of(OneCompartment()), (4.0, 40.0)),
    "two": (lambda: model_of(TwoCompartments()), (5.0, 20.0, 9.0, 60.0)),
    "two by mouth": (lambda: model_of(TwoCompartmentsByMouth()), None),
}


def model_of(mechanism: Mechanism) -> HybridModel:
    return HybridModel(
        mechanism,
        LogNormalPopulation(mechanism.physical, [0.01] * len(mechanism.physical)),
        observation=States(["plasma"], ["c"], ["mg"]),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )


def linear(name: str) -> tuple[HybridModel, Tensor]:
    make, theta = LINEAR[name]
    model = make()
    return model, torch.tensor(theta, dtype=F64) if theta else model.typical[0, 0].detach().clone()


def at(model: HybridModel, theta: Tensor, every: Tensor | float, share: Tensor | float, amount: Tensor | float = 80.0) -> Tensor:
    """x* of one person, of doses into the first state; `share` of each interval in which they run in."""
    every, share, amount = (torch.as_tensor(v, dtype=F64) for v in (every, share, amount))
    over = every * share
    runs = bool(share > 0)
    length = torch.stack([over, every - over]) if runs else torch.stack([every, torch.zeros_like(every)])
    rate = torch.stack([1.0 / over, torch.zeros_like(over)]) if runs else torch.zeros(2, dtype=F64)
    none = torch.zeros(1, dtype=torch.bool)
    first, inputs = torch.zeros(1, dtype=torch.long), torch.zeros(1, 0, dtype=F64)
    said = {"added": none, "rated": none, "always": none, "length": length[None], "rate": rate[None], "inputs": inputs}
    one = Settled(state=first, amount=amount[None], **said)
    return settled(model, theta[None, None], torch.zeros(1, 1, 0, dtype=F64), one).state[0, 0]


@pytest.mark.parametrize("share", OVER)
@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("name", LINEAR)
def test_of_linear_models_the_first_and_the_second_are_those_of_differences(name: str, every: float, share: float) -> None:
    model, theta = linear(name)
    size = at(model, theta, every, share).amax()

    def state(logs: Tensor, interval: Tensor, amount: Tensor) -> Tensor:
        return at(model, theta * logs.exp(), every * interval, share, 80.0 * amount) / size

    inputs = torch.zeros_like(theta), torch.ones((), dtype=F64), torch.ones((), dtype=F64)
    inputs = tuple(v.requires_grad_() for v in inputs)
    assert gradcheck(state, inputs, atol=1e-6, rtol=1e-5)
    assert gradgradcheck(state, inputs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("share", OVER)
@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("name", LINEAR)
def test_backwards_a_share_of_what_comes_back_is_rounded(name: str, every: float, share: float) -> None:
    """Second differences of a step h come back over h²: Laplace's method weighs states by some 1e7."""
    model, theta = linear(name)
    state = at(model, theta.requires_grad_(), every, share)
    way = torch.linspace(0.3, 1.0, len(state), dtype=F64)
    plain = torch.autograd.grad(state, theta, way, retain_graph=True)[0]
    for weight in (1e-12, 1e7, 1e12):
        weighted = torch.autograd.grad(state, theta, weight * way, retain_graph=True)[0] / weight
        # sums and products of the same numbers; what cancels in a sum cancels in both
        torch.testing.assert_close(weighted, plain, rtol=1e-12, atol=1e-13 * float(plain.abs().max()))


@pytest.mark.parametrize("every", [1e-4, 0.01, 1.0, 24.0, 2000.0])
def test_nothing_cancels_however_short_the_interval(every: float) -> None:
    found = at(oral_of(), torch.tensor(ORAL, dtype=F64), every, 0.0)
    with mpmath.workdps(50):
        ka, ke, much = mpmath.mpf(1.5), mpmath.mpf(0.08), 80
        fast, slow = (1 / (mpmath.exp(k * mpmath.mpf(every)) - 1) for k in (ka, ke))  # e^{−kτ}/(1 − e^{−kτ})
        right = [much * fast, much * ka / (ka - ke) * (slow - fast)]
    # what solves to 1e-11; by subtraction from 1 rounding would be multiplied by 1/(kτ), 1e5 at the shortest
    wanted = torch.tensor([float(v) for v in right], dtype=F64)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-13 * float(wanted[1]))


@pytest.mark.parametrize("added", [False, True])
def test_through_a_record_too(added: bool) -> None:
    model = oral_of()

    def read(theta: Tensor) -> Tensor:
        steady = (Steady("gut", 0.0, 80.0, 8.0), *((Steady("plasma", 3.0, 60.0, 5.0, 2.0, added=True),) if added else ()))
        doses = (Dose("gut", 0.0, 80.0), *((Dose("plasma", 3.0, 60.0, 2.0),) if added else ()))
        return simulate(model, Schedule(doses, steady=steady), [2.0, 7.0], theta)

    theta = torch.tensor(ORAL, dtype=F64).requires_grad_()
    assert gradcheck(read, theta)
    assert gradgradcheck(read, theta)


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "duration"), [(Exponential(), 0.5), (RungeKutta("rk4"), 0.0)])
def test_of_a_model_that_is_not_linear_too(solver: Solver, duration: float) -> None:
    model = model_of(MichaelisMenten())
    typical = model.typical[0, 0].detach()

    def read(logs: Tensor) -> Tensor:
        steady = (Steady("plasma", 0.0, 200.0, 1.0, duration),)
        schedule = Schedule((Dose("plasma", 0.0, 200.0, duration),), steady=steady)
        return simulate(model, schedule, [0.5], typical * logs.exp(), solver=solver, mesh=Mesh(0.1))[0] / 100.0

    logs = torch.zeros_like(typical).requires_grad_()
    # x* is searched for with steps to 1e-7, of which a difference over 2e-4 is left by; second order in that
    assert gradcheck(read, logs, eps=1e-4, atol=1e-3, rtol=1e-3, fast_mode=True)
    assert gradgradcheck(read, logs, eps=1e-4, atol=1e-3, rtol=1e-3, fast_mode=True)
