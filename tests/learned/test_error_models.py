"""Error models by the field's names, and the learned numbers that a head says of itself."""

import math

import pytest
import torch

from hybrid import HybridModel, States
from learned import AdditiveProportional, Combined1, Combined2, Constant, Ensemble, NeuralNoise, Zero
from physics import OneCompartmentOral, SharedPopulation

D = torch.float64


def seen(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return y, y.new_zeros(*y.shape[:-1], 2), y.new_zeros(*y.shape[:-1], 0)


def joined(noise: object) -> HybridModel:
    backbone = OneCompartmentOral()
    shared = SharedPopulation([p.typical for p in backbone.physical])
    return HybridModel(backbone, shared, Zero(2, 0, 0), observation=States(("plasma", "gut")), noise=noise)


def test_standard_deviations_add_in_one_and_variances_in_the_other() -> None:
    y = torch.tensor([0.0, 2.0, -2.0, 58.0], dtype=D)[None, None, :, None]
    one, two = (kind([0.2], [0.1], [1e-9]).variance(*seen(y)).sqrt().flatten() for kind in (Combined1, Combined2))
    # sd = .2 + .1 f, as published of amikacin (Burdet et al. 2015); at a = b y the two differ by √2 exactly
    torch.testing.assert_close(one, torch.tensor([0.2, 0.4, 0.4, 6.0], dtype=D), rtol=1e-14, atol=0.0)
    torch.testing.assert_close(one[1] / two[1], torch.tensor(math.sqrt(2.0), dtype=D), rtol=1e-14, atol=0.0)
    assert Combined2 is AdditiveProportional


def test_gradients_of_combined1_are_those_of_differences() -> None:
    head = Combined1([0.2, 3.0], [0.1, 0.4], [0.05, 0.5])
    y = torch.tensor([[0.7, 2.0], [-3.0, 40.0]], dtype=D)[None, None].requires_grad_()

    def of(y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(head, {"log_additive": a, "log_proportional": b}, seen(y))

    head.forward = head.variance  # functional_call asks for it
    assert torch.autograd.gradcheck(of, (y, head.log_additive, head.log_proportional))


def test_a_head_says_its_learned_numbers_by_name() -> None:
    model = joined(Combined1({"gut": 5.0, "plasma": 0.2}, {"gut": 0.3, "plasma": 0.1}, {"gut": 12.0, "plasma": 0.1}))
    found = model.noise.estimates()
    assert {k: (s, round(float(v.detach()), 12)) for k, (s, v) in found.items()} == {
        "additive(plasma)": ("log", round(math.hypot(0.2, 0.1), 12)),
        "additive(gut)": ("log", 13.0),
        "proportional(plasma)": ("log", 0.1),
        "proportional(gut)": ("log", 0.3),
    }
    stacked = Ensemble(3).stack(model, torch.Generator().manual_seed(0))
    assert all(v.shape == (3,) for _, v in stacked.noise.estimates().values())
    # differentiable: d hypot(a, floor) / d log a = a² / hypot
    (slope,) = torch.autograd.grad(found["additive(gut)"][1].sum(), model.noise.log_additive)
    torch.testing.assert_close(slope, torch.tensor([[0.0, 25.0 / 13.0]], dtype=D), rtol=1e-13, atol=0.0)
    model.noise.log_proportional.requires_grad_(False)
    assert list(model.noise.estimates()) == ["additive(plasma)", "additive(gut)"]


def test_numbers_in_order_learn_their_names_from_the_model() -> None:
    head = Constant([0.3, 0.4], [0.01, 0.01])
    assert list(head.estimates()) == ["additive(1)", "additive(2)"]
    first = joined(head)
    assert first.noise is head
    assert list(first.noise.estimates()) == ["additive(plasma)", "additive(gut)"]
    backbone = OneCompartmentOral()
    other = HybridModel(
        backbone,
        SharedPopulation([p.typical for p in backbone.physical]),
        Zero(2, 0, 0),
        observation=States((0, 1), ("a", "b"), ("mg", "mg")),
        noise=head,
    )
    # a second model calls the channels otherwise, and the first keeps its own names; both learn the same tensor
    assert list(other.noise.estimates()) == ["additive(a)", "additive(b)"]
    assert list(first.noise.estimates()) == ["additive(plasma)", "additive(gut)"]
    assert other.noise.log_sd is first.noise.log_sd
    assert not hasattr(NeuralNoise([0.3], [0.01], 2), "estimates")  # a network has no number of a population


@pytest.mark.parametrize("wrong", [[0.0], [-0.1], [float("inf")], [0.1, 0.2]])
def test_combined1_needs_a_positive_number_for_each_channel(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="Combined1: needs positive finite"):
        Combined1([0.2], wrong, [0.01])
