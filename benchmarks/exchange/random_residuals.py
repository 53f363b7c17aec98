"""A residual of each kind for any backbone, of a size that matters beside it."""

import random
from dataclasses import dataclass

import torch

from benchmarks.exchange.own_parts import Eddy
from learned import MLP, ContractingMLP, Residual, SumOfResiduals, Zero
from learned.residual import ACTIVATIONS
from physics import Backbone

CONTRACTING = ("tanh", "relu", "sigmoid", "softplus")  # those without negative slopes
KINDS = (
    *(f"MLP {name}" for name in ACTIVATIONS),
    *(f"ContractingMLP {name}" for name in CONTRACTING),
    *(
        "separable MLP",
        "MLP that acts on some",
        "MLP that sees no state",
        "MLP that sees some inputs",
        "MLP of two layers",
    ),
    *("MLP that vanishes nowhere", "Eddy", "Eddy that sees θ", "Zero"),
)
SUM = "a sum of two MLPs"  # beside `KINDS`, whose order is what a seed counts by


@dataclass(frozen=True)
class Sizes:
    """What a residual is made for: sizes of x, u, c; typical sizes of each state and input; a typical rate in 1/time."""

    states: tuple[float, ...]  # (n,)
    inputs: tuple[float, ...]  # (m,)
    covariates: int
    rate: float
    share: float = (
        1.0  # how large ε may be of what it is elsewhere: mechanisms with poles outside of what is real have less room
    )


def residual_of(kind: str, backbone: Backbone, sizes: Sizes, rng: random.Random) -> Residual:
    """A residual of one of `KINDS` or `SUM`, its first weights drawn; `enlarged` makes them large once members are stacked."""
    n, m, r = len(sizes.states), len(sizes.inputs), sizes.covariates
    if kind == "Zero":
        return Zero(n, m, r)
    if kind.startswith("Eddy"):
        typical = backbone.physical[0].typical if kind.endswith("θ") and backbone.physical else None
        scales = {"scale": list(sizes.states), "input_scale": list(sizes.inputs)}
        rate, vanishes = 0.2 * sizes.share * sizes.rate, rng.random() < 0.5
        return Eddy(n, m, r, **scales, rate=rate, typical=typical, vanishes_at_origin=vanishes)
    scales = {"state_scale": list(sizes.states), "input_scale": list(sizes.inputs) or 1.0}
    if kind == SUM:
        half = {"rate_scale": 0.15 * sizes.share * sizes.rate, **scales}
        one = MLP(n, m, r, [rng.randint(3, 9)], "tanh", **half)
        return SumOfResiduals([one, MLP(n, m, r, [rng.randint(3, 9)], "tanh", acts_on=[rng.randrange(n)], **half)])
    hidden = [rng.randint(3, 9) for _ in range(2 if "two" in kind else rng.choice((1, 1, 2)))]
    word = kind.split()[1]
    if kind.startswith("Contracting"):
        theta = torch.tensor([p.typical for p in backbone.physical], dtype=torch.float64)
        A, _ = backbone.matrices(theta)
        flags = {"vanishes_at_origin": rng.random() < 0.5, "learn_metric": rng.random() < 0.3}
        return ContractingMLP(n, m, r, hidden, word, vertices=A[None], rate_scale=sizes.rate, **flags, **scales)
    activation = word if word in ACTIVATIONS else rng.choice(list(ACTIVATIONS))
    separable = kind == "separable MLP"
    some = sorted(rng.sample(range(n), rng.randint(1, max(1, n - 1))))
    seen = sorted(rng.sample(range(m), m // 2))
    acts = [backbone.states[i] for i in some] if rng.random() < 0.5 else some  # by name or by position
    return MLP(
        *(n, m, r, [h + n if separable else h for h in hidden], activation),
        vanishes_at_origin=kind != "MLP that vanishes nowhere" and (separable or rng.random() < 0.7),
        separable=separable,
        sees_states=kind != "MLP that sees no state",
        acts_on=acts if kind == "MLP that acts on some" else None,
        sees_inputs=seen if kind == "MLP that sees some inputs" else None,
        rate_scale=0.3 * sizes.share * sizes.rate,
        **scales,
    )


def enlarged(residual: Residual, sizes: Sizes, generator: torch.Generator) -> None:
    """Members that differ, with a last layer that is ten times what training starts from: ε is of the size of the backbone's
    slower rates."""
    with torch.no_grad():
        if isinstance(residual, SumOfResiduals):
            for one in residual.residuals:
                enlarged(one, sizes, generator)
        elif isinstance(residual, MLP):
            residual.weights[-1].mul_(8.0)
            for bias in residual.biases:
                bias.add_(0.2 * torch.randn(bias.shape, generator=generator, dtype=torch.float64))
        elif isinstance(residual, ContractingMLP):
            for name, parameter in residual.named_parameters():
                size = 0.3 * sizes.share * (sizes.rate if name == "linear" else 1.0)
                parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
