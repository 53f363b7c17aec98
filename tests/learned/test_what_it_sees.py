"""Which states, inputs and θ a residual sees, and which states it acts on, each on its own; and sums of residuals."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from exchange import describe, rebuild
from hybrid import HybridModel, States
from learned import (
    MLP,
    Constant,
    ContractingMLP,
    Ensemble,
    Joint,
    Residual,
    SumOfResiduals,
    Zero,
    select,
)
from physics import LinearBackbone, OneCompartmentOral, SharedPopulation
from stability import Certificate, Lure, certify, check, common_metric
from tests.builders import A_COUPLED, BOXES, RESIDUAL_BUILDERS, oral_of, oral_people
from tests.learned.test_residuals import points
from training import Cohort, Objective, Search, Stability, fit, last

F64 = torch.float64
CHAIN = [[-1.0, 0.3, 0.0], [0.4, -1.2, 0.2], [0.0, 0.5, -0.8]]


def chain(residual: Residual | None = None) -> HybridModel:
    """Three states and two inputs, all with names."""
    backbone = LinearBackbone(
        CHAIN, [[1.0, 0.0], [0.0, 0.0], [0.0, 0.5]], states=("a", "b", "c"), inputs=("heat", "food"), time_unit="h"
    )
    noise = Constant([0.1, 0.1], [0.05, 0.05])
    return HybridModel(backbone, SharedPopulation(), residual, observation=States(("a", "c")), noise=noise)


def large(residual: Residual, seed: int = 8) -> Residual:
    """The same with weights as large as training makes them."""
    with torch.no_grad():
        for parameter in residual.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed), dtype=F64))
    return residual


def slopes(residual: Residual) -> tuple[Tensor, Tensor]:
    """∂ε/∂x (n, n) and ∂ε/∂u (n, m) at a point, by automatic differentiation."""
    x, u, c = points(residual, M=1, N=1)
    by_x, by_u = torch.autograd.functional.jacobian(lambda x, u: residual(x, u, c)[0, 0], (x, u))
    return by_x[:, 0, 0], by_u[:, 0, 0]


@pytest.mark.parametrize(
    ("sees", "inputs", "acts"),
    [
        *itertools.product(((0,), (1, 2)), ((), (1,)), ((2,), (0, 1))),
        (("b",), ("food",), ("c",)),
        (("c", "a"), (), ("b",)),
        (False, ("heat", "food"), ("a",)),
        (True, ("heat",), ("b", "c")),
    ],
)
def test_each_is_chosen_on_its_own_by_name_or_by_place(sees: object, inputs: tuple, acts: tuple) -> None:
    model = chain(MLP(hidden=(6, 5), sees_states=sees, sees_inputs=inputs, acts_on=acts))
    names, given = ("a", "b", "c"), ("heat", "food")
    seen = names if sees is True else () if sees is False else sees
    by_x, by_u = slopes(large(model.residual))
    wanted_x = torch.zeros(3, 3, dtype=torch.bool)
    wanted_u = torch.zeros(3, 2, dtype=torch.bool)
    for act in acts:
        for one in seen:
            wanted_x[names.index(act) if isinstance(act, str) else act, names.index(one) if isinstance(one, str) else one] = True
        for one in inputs:
            wanted_u[names.index(act) if isinstance(act, str) else act, given.index(one) if isinstance(one, str) else one] = True
    assert torch.equal(by_x != 0.0, wanted_x)  # what is not seen or not acted on is 0 without any rounding
    assert torch.equal(by_u != 0.0, wanted_u)
    # what the certificate is of has the same zeros
    lure = Lure.of(model.lure(torch.zeros(0)))
    whole = np.abs(np.linalg.multi_dot([np.abs(w[0, 0]) for w in reversed(lure.weights)]))
    np.testing.assert_array_equal(whole > 0, wanted_x.numpy())


def test_names_travel_and_another_order_is_refused() -> None:
    model = chain(MLP(hidden=(4,), sees_states=("c", "a"), sees_inputs=("food",), acts_on=("b",)))
    config = json.loads(json.dumps(model.residual.config()))
    assert (config["sees_states"], config["sees_inputs"], config["acts_on"]) == (["c", "a"], ["food"], ["b"])
    again = rebuild(json.loads(json.dumps(describe(model))), dict(model.named_parameters()))
    x, u, c = points(model.residual)
    assert torch.equal(again.residual(x, u, c), model.residual(x, u, c))
    assert "sees_theta" not in config  # what others wrote before reads as it did
    with pytest.raises(ValueError, match=r"sees_states .* was resolved for a model with another order"):
        model.residual.joined(Joint(("c", "b", "a"), ("heat", "food"), ("y",), 0))
    for wrong, words in (
        ({"sees_states": ("d",)}, "sees_states names 'd', and there are: 0 a, 1 b, 2 c"),
        ({"sees_states": ("a", "a")}, "names one twice"),
        ({"sees_states": "a"}, "sees_states, True, False or some, is a list"),
        ({"sees_states": ()}, "sees_states names states 0…2"),
        ({"acts_on": ("heat",)}, "acts_on names 'heat'"),
        ({"sees_inputs": ("a",)}, "sees_inputs names 'a', and there are: 0 heat, 1 food"),
        ({"sees_theta": ("ka",)}, "this model has no θ"),
    ):
        with pytest.raises(ValueError, match=words):
            chain(MLP(hidden=(4,), **wrong))


def test_a_separable_one_that_sees_some_keeps_its_faces() -> None:
    model = chain(MLP(hidden=(6,), separable=True, sees_states=("a", "b"), sees_inputs=()))
    by_x, _ = slopes(large(model.residual))
    assert torch.equal(by_x != 0.0, torch.diag(torch.tensor([True, True, False])))


# ---- θ


def standardised(value: float, low: float, high: float) -> float:
    if low > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - (low + high) / 2) / ((high - low) / 2)


def test_theta_is_seen_by_its_box() -> None:
    model = oral_of(MLP(hidden=(4,), sees_theta=("V", "ka"), acts_on=("plasma",), state_scale=256.0))
    net = large(model.residual)
    assert net.seen_theta.at == (2, 0)
    theta = torch.tensor([[[0.3, 0.1, 200.0], [1.7, 0.2, 40.0]]], dtype=F64)
    x, u = torch.tensor([[[200.0, 30.0], [10.0, 90.0]]], dtype=F64), torch.zeros(1, 2, 0, dtype=F64)
    W1, W2 = (w.detach().numpy()[0] for w in net.weights)
    C, b = net.covariate_weights.detach().numpy()[0], net.biases[0].detach().numpy()[0]
    learned = model.at(theta).parts(x, u).learned.detach().numpy()[0]
    for i in range(2):
        seen = [standardised(float(theta[0, i, 2]), *BOXES["V"]), standardised(float(theta[0, i, 0]), *BOXES["ka"])]
        v = C @ np.array(seen) + b
        want = 256.0 * (W2 @ (np.tanh(W1 @ (x[0, i].numpy() / 256.0) + v) - np.tanh(v))) * np.array([0.0, 1.0])
        np.testing.assert_allclose(learned[i], want, rtol=1e-12)
    np.testing.assert_allclose([standardised(4.0, 0.3, 4.0), standardised(0.3, 0.3, 4.0)], [1.0, -1.0], rtol=1e-15)


def test_of_both_signs_theta_has_no_logarithm() -> None:
    net = large(RESIDUAL_BUILDERS["of some θ"]())
    theta = torch.tensor([[[-2.0, 7.0, 31.0]]], dtype=F64)
    np.testing.assert_allclose(
        net.seen_theta(theta)[0, 0].numpy(), [standardised(31.0, 5.0, 200.0), standardised(-2.0, -3.0, 12.0)], rtol=1e-14
    )


def test_all_of_theta_and_its_refusals() -> None:
    model = oral_of(MLP(hidden=(4,), sees_theta=True))
    assert model.residual.seen_theta.names == ("ka", "ke", "V")
    again = rebuild(json.loads(json.dumps(describe(model))), dict(model.named_parameters()))
    assert again.residual.seen_theta == model.residual.seen_theta
    with pytest.raises(ValueError, match="sees_theta names 'CL', and there are: 0 ka, 1 ke, 2 V"):
        oral_of(MLP(hidden=(4,), sees_theta=("CL",)))
    moved = MLP(2, 0, 0, (4,), sees_theta=[{"name": "V", "at": 2, "low": 5.0, "high": 200.0}])
    joint = Joint(("gut", "plasma"), (), ("y",), 0, {"ka": (0.1, 2.0), "CL": (0.1, 2.0)})
    with pytest.raises(ValueError, match="resolved for 'V' at place 2 of θ; here are: 0 ka, 1 CL"):
        moved.joined(joint)
    for at, low, high in ((-1, 1.0, 2.0), (0, 2.0, 1.0), (0, 1.0, math.inf)):
        with pytest.raises(ValueError, match=r"its place in θ|by its box|low and high|high of V"):
            MLP(2, 0, 0, (4,), sees_theta=[{"name": "V", "at": at, "low": low, "high": high}])
    with pytest.raises(ValueError, match="its place in θ"):
        MLP(2, 0, 0, (4,), sees_theta=[{"name": "V"}])


def test_theta_reaches_the_fit_the_penalty_and_the_certificate() -> None:
    """Gradients flow through what ε sees of θ; a certificate is of everyone's own layers, and θ changes their biases alone."""
    cohort = Cohort.of(oral_people(), oral_of())
    model = oral_of(MLP(hidden=(4,), sees_theta=("V", "ke"), separable=True, state_scale=300.0, rate_scale=0.02))
    stability = Stability.of(oral_of(), cohort.conditions.covariates)
    fitted = last(fit(model, cohort, Objective(stability=stability), Search(steps=3)))
    assert not torch.equal(fitted.model.residual.covariate_weights, model.residual.covariate_weights)
    theta = torch.tensor([[[0.7, 0.1, 40.0], [1.7, 0.2, 80.0]]], dtype=F64)
    system = Lure.of(fitted.model.lure(theta))
    assert not np.array_equal(system.biases[0][0, 0], system.biases[0][0, 1])
    found = certify(system)
    assert isinstance(found, Certificate)
    assert check(found, system)
    other = Lure.of(fitted.model.lure(theta + torch.tensor([0.0, 0.0, 1.0])))  # V is in no slope of the backbone, and ε sees it
    assert not check(found, other)

    personal = torch.zeros(1, cohort.conditions.size, 3, dtype=F64, requires_grad=True)

    def total(personal: Tensor) -> Tensor:
        theta = model.theta(personal, {})
        x = torch.tensor([[[100.0, 30.0]]], dtype=F64).expand(1, personal.shape[1], 2)
        return model.at(theta).parts(x, torch.zeros(1, personal.shape[1], 0, dtype=F64)).learned.sum()

    assert torch.autograd.gradcheck(total, (personal,))


def test_a_contracting_one_sees_some_inputs_and_theta_and_is_certified_whatever_they_are() -> None:
    backbone = OneCompartmentOral(**BOXES)
    corners = torch.cartesian_prod(*(torch.tensor(BOXES[name], dtype=F64) for name in ("ka", "ke", "V")))
    vertices, _ = backbone.matrices(corners)
    given = {"vertices": vertices, "metric": common_metric(vertices.numpy())[0]}
    model = oral_of(ContractingMLP(hidden=(5,), sees_theta=("V", "ke"), state_scale=300.0, **given))
    large(model.residual)
    metric, multipliers, rate = model.residual.witness()
    system = Lure.of(model.lure(corners[None]))
    found = certify(system, rate, metric=metric, multipliers=multipliers.expand(len(corners), -1))
    assert isinstance(found, Certificate)
    assert check(found, system)
    some = RESIDUAL_BUILDERS["contracting, of one input and θ"]()
    _, by_u = slopes(large(some))
    assert (by_u[:, 0] == 0.0).all()
    assert (by_u[:, 1] != 0.0).all()
    named = ContractingMLP(hidden=(3,), vertices=A_COUPLED, sees_inputs=("second",))
    two = LinearBackbone(A_COUPLED, [[1.0, 0.0], [0.0, 1.0]], states=("a", "b"), inputs=("first", "second"))
    whole = HybridModel(two, SharedPopulation(), named, observation=States(("a",)), noise=Constant([0.1], [0.1]))
    assert whole.residual.config()["sees_inputs"] == ["second"]
    assert rebuild(describe(whole), dict(whole.named_parameters())).residual.sees_inputs == (1,)
    with pytest.raises(ValueError, match="was resolved for another order"):
        whole.residual.joined(Joint(("a", "b"), ("second", "first"), ("a",), 0))


# ---- sums


def terms() -> list[MLP]:
    return [
        MLP(hidden=(4,), sees_states=("a",), sees_inputs=("heat",), acts_on=("c",), state_scale=2.0),
        MLP(hidden=(3,), sees_states=("b", "c"), sees_inputs=(), acts_on=("a", "b")),
    ]


def test_a_sum_is_the_sum_and_each_term_keeps_its_place() -> None:
    model = Ensemble(3).stack(chain(SumOfResiduals(terms())), torch.Generator().manual_seed(4))
    total = large(model.residual)
    x, u, c = points(total, M=3)
    alone = sum(one(x, u, c) for one in total.residuals)
    torch.testing.assert_close(total(x, u, c), alone, rtol=1e-13, atol=1e-13)
    by_x, by_u = slopes(select(total, torch.tensor([1])))
    assert torch.equal(by_x != 0.0, torch.tensor([[False, True, True], [False, True, True], [True, False, False]]))
    assert torch.equal(by_u != 0.0, torch.tensor([[False, False], [False, False], [True, False]]))
    assert total.acts_on == (0, 1, 2)
    again = rebuild(json.loads(json.dumps(describe(model))), dict(model.named_parameters()))
    assert torch.equal(again.residual(x, u, c), total(x, u, c))


def test_a_sum_with_theta_gives_each_term_its_own_part() -> None:
    total = large(RESIDUAL_BUILDERS["sum"]())
    x, u, c = points(total, M=1)
    first, second, third = total.residuals
    parts = (c[..., :3], torch.cat([c[..., :2], c[..., 3:]], -1), c[..., :2])
    alone = first(x, u, parts[0]) + second(x, u[..., :0], parts[1]) + third(x, u, parts[2])
    torch.testing.assert_close(total(x, u, c), alone, rtol=1e-13, atol=1e-13)


def test_a_sum_of_one_that_vanishes_and_one_that_does_not() -> None:
    total = large(RESIDUAL_BUILDERS["sum with offset"]())
    x, u, c = points(total, M=1)
    torch.testing.assert_close(total(x, u, c), sum(one(x, u, c) for one in total.residuals), rtol=1e-12, atol=1e-12)


def test_a_sum_of_sums_and_a_certificate_of_it() -> None:
    inner = SumOfResiduals([MLP(hidden=(2,), acts_on=("a",), rate_scale=0.1), MLP(hidden=(3,), acts_on=("b",), rate_scale=0.1)])
    model = chain(SumOfResiduals([inner, MLP(hidden=(2,), sees_states=("c",), rate_scale=0.1)]))
    large(model.residual)
    system = Lure.of(model.lure(torch.zeros(0)))
    assert system.weights[0].shape[-2:] == (7, 3)
    found = certify(system, 0.05)
    assert isinstance(found, Certificate)
    assert check(found, system)
    again = rebuild(describe(model), dict(model.named_parameters()))
    assert torch.equal(again.residual.layers().weights[1], model.residual.layers().weights[1])


def test_training_moves_every_term_and_float32_is_the_same_function() -> None:
    residual = SumOfResiduals(
        [
            MLP(hidden=(4,), sees_states=("gut",), acts_on=("plasma",), state_scale=300.0, rate_scale=0.05),
            MLP(hidden=(3,), sees_states=("plasma",), acts_on=("plasma",), state_scale=100.0, rate_scale=0.05),
        ]
    )
    model = oral_of(residual)
    cohort = Cohort.of(oral_people(), model)
    fitted = last(fit(model, cohort, Objective(), Search(steps=3))).model
    for (name, before), (_, after) in zip(model.residual.named_parameters(), fitted.residual.named_parameters(), strict=True):
        if not name.endswith(("input_weights", "covariate_weights")):  # which have no columns here
            assert not torch.equal(before, after), name
    small = fitted.to(torch.float32)
    x, u, c = points(fitted.residual, M=1)
    assert small.residual(x.float(), u.float(), c.float()).dtype == torch.float32


def test_what_a_sum_cannot_be_made_of() -> None:
    one = MLP(2, 1, 0, (4,))
    for given, words in (
        ([one], "two residuals or more"),
        (one, "two residuals or more"),
        ([one, one], "stands in it twice"),
        ([one, Zero(2, 1)], "leave out what is 0"),
        ([one, MLP(3, 1, 0, (4,))], "leave the sizes to the model"),
        ([one, MLP(2, 1, 1, (4,))], "leave the sizes to the model"),
        ([one, MLP(2, 1, 0, (4,), "relu")], r"1 of relu and 1 of tanh; .* same activation"),
        ([one, MLP(2, 1, 0, (4, 4))], "1 of tanh and 2 of tanh"),
        ([MLP(2, 1, 1, (4,)), MLP(2, 1, 1, (4,), vanishes_at_origin=False)], "the same vanishes_at_origin"),
    ):
        with pytest.raises(ValueError, match=words):
            SumOfResiduals(given)
    waiting = SumOfResiduals([MLP(hidden=(4,)), MLP(hidden=(3,))])
    with pytest.raises(ValueError, match="resolved when a HybridModel is built"):
        waiting.layers()
