"""A residual, noise head or process noise that breaks a law is told which, with the numbers: one broken member for each law."""

from typing import Any

import pytest
import torch
from torch import Tensor

from learned import (
    MLP,
    LayeredResidual,
    Layers,
    NoiseHead,
    ProcessNoise,
    Residual,
    check_noise,
    check_process_noise,
    check_residual,
)

F64 = torch.float64


class Bend(Residual):
    """ε = a sin(x) + u, without layers, unless something is said to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong, self.states, self.inputs, self.covariates, self.vanishes_at_origin = wrong, 2, 2, 1, True
        self.a = torch.nn.Parameter(torch.full((1, 1, 2) if wrong != "axis" else (2,), 0.4, dtype=F64))

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        value = self.a * torch.sin(x) + u
        if self.wrong == "origin":
            value = value + 1e-9
        if self.wrong == "shape":
            value = value[..., :1]
        if self.wrong == "people":
            value = value + 1e-3 * x.mean(1, keepdim=True)
        if self.wrong == "members":
            value = value + 1e-3 * self.a.mean(0, keepdim=True) * x
        if self.wrong == "finite":
            value = value / (x > 0.0)
        if self.wrong == "derivative":
            value = self.a * torch.sin(x.detach()) + u
        return value

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            source = None if self.wrong == "global draw" else generator
            if self.wrong != "no draw":
                self.a.copy_(torch.randn(self.a.shape, generator=source, dtype=F64))

    def config(self) -> dict[str, Any]:
        return {"wrong": self.wrong if self.wrong != "config" else "origin"}


class Scaled(LayeredResidual):
    """An MLP whose layers forget the scale of the rates."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP(2, hidden=(3,), rate_scale=0.2)
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 2, 0, 0, True

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return 1.5 * self.net(x, u, c)

    def layers(self) -> Layers:
        return self.net.layers()

    def reset(self, generator: torch.Generator) -> None:
        self.net.reset(generator)

    def config(self) -> dict[str, Any]:
        return {}


def test_a_residual_of_ones_own_keeps_the_laws_and_stays_as_it_is() -> None:
    residual = Bend()
    before = residual.a.detach().clone()
    check_residual(residual)
    assert torch.equal(residual.a, before)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("axis", r"a has the shape \(2,\); every trainable tensor has a member axis"),
        ("global draw", "other weights for the same generator"),
        ("no draw", "the same weights for every generator"),
        ("shape", r"it gives \(2, 4, 1\)"),
        ("finite", "not finite at x"),
        ("people", "person 0 alone has another value among other people"),
        ("members", "member 0 alone has another value when it is stacked"),
        ("origin", r"says vanishes_at_origin, and ε\(0, 0, c\) is 1e-09"),
        ("derivative", "by autograd and .* by differences"),
        ("config", "rebuilt by its configuration and its tensors ε differs"),
    ],
)
def test_a_broken_residual_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_residual: Bend: .*{sentence}"):
        check_residual(Bend(wrong))


def test_layers_that_are_another_function_are_found() -> None:
    with pytest.raises(ValueError, match=r"check_residual: Scaled: its layers differ from its forward pass by"):
        check_residual(Scaled())


class Proportional(NoiseHead):
    """σ² = floor² + (b y)², unless something is said to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong, self.channels = wrong, 1
        self.floor: Tensor
        self.register_buffer("floor", torch.tensor([0.1 if wrong != "no floor" else 0.0], dtype=F64), persistent=False)
        self.log_b = torch.nn.Parameter(torch.zeros((1, 1) if wrong != "axis" else (), dtype=F64))

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        square = (self.log_b.exp()[:, :, None, None] * y).square()
        if self.wrong == "below":
            return 0.009 + square
        if self.wrong == "only without y":
            return (self.floor.square() + square - 1e-3 * y).clamp_min(1e-9)
        if self.wrong == "finite":
            return self.floor.square() + square / square
        if self.wrong == "people":
            return self.floor.square() + square.mean(1, keepdim=True).expand_as(square)
        if self.wrong == "shape":
            return self.floor.square() + square[..., 0]
        return self.floor.square() + square

    def reset(self, generator: torch.Generator) -> None:
        if self.wrong == "draw":
            with torch.no_grad():
                self.log_b.normal_()

    def config(self) -> dict[str, Any]:
        return {"wrong": self.wrong if self.wrong != "config" else "below"}


def test_a_noise_head_of_ones_own_keeps_the_laws() -> None:
    check_noise(Proportional(), states=3, inputs=2)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("axis", "member axis of size 1"),
        ("no floor", "standard deviations above 0"),
        ("draw", "other weights for the same generator"),
        ("shape", r"σ² is \(2, 3, 4\)"),
        ("finite", "finite: False"),
        ("below", "σ² is 0.009 where y is 0, below its floor squared, 0.01"),
        ("only without y", "below its floor squared"),
        ("people", "changes with who else is in the batch"),
        ("config", "rebuilt by its configuration"),
    ],
)
def test_a_broken_noise_head_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_noise: Proportional: .*{sentence}"):
        check_noise(Proportional(wrong))


class Drive(ProcessNoise):
    """g = b |x|, unless something is said to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong, self.states = wrong, 2

    def diffusion(self, x: Tensor) -> Tensor:
        g = 0.3 * x if self.wrong == "sign" else 0.3 * x.abs()
        if self.wrong == "people":
            g = g + x.abs().mean(1, keepdim=True)
        if self.wrong == "finite":
            g = g / x.abs()
        return g[..., :1] if self.wrong == "shape" else g

    def config(self) -> dict[str, Any]:
        return {"wrong": self.wrong if self.wrong != "config" else "people"}


def test_a_process_noise_of_ones_own_keeps_the_laws() -> None:
    check_process_noise(Drive())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("sign", "below 0, at x of size 1"),
        ("people", "changes with who else is in the batch"),
        ("finite", "finite: False"),
        ("shape", r"g is \(2, 3, 1\)"),
        ("config", "rebuilt by its configuration"),
    ],
)
def test_a_broken_process_noise_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_process_noise: Drive: .*{sentence}"):
        check_process_noise(Drive(wrong))
