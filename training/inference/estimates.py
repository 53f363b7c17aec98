"""The numbers of a model that a fit has estimated, by the field's names, each with the scale on which its error is Gaussian."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hybrid import HybridModel
from physics.arguments import require_kind

_FACTOR = 10.0  # of a logarithm
_ENDS = {"fisher": math.atanh(0.999), "logit": math.log(999.0)}
_TWO_SIDED = 1.96  # of 95 %

Named = dict[str, tuple[str, Tensor]]  # name → (scale, value (M,))


@runtime_checkable
class HasEstimates(Protocol):
    """A part of a model that names its estimates."""

    def estimates(self) -> Named:
        """name → (scale, value (M,), differentiable); the scale is "log", "logit", "linear" or "fisher"."""


def estimates(model: HybridModel) -> Named:
    """Every number of the model that has a name, in the order population, noise, process noise, terms.

    "ka" is a typical value, at η = 0 and reference covariates; "omega(ka)" the standard deviation of its η on the transformed
    scale; "corr(CL,V)" a correlation of two; "WT on V" a learned covariate coefficient; "additive(concentration)" a noise head's.
    Arguments: `model`. Returns name → (scale, value (M,)), differentiable in the model's tensors.
    Errors: `ValueError` where two parts call a number by one name, as correlations of parameters and of channels so called.
    """
    require_kind(model, HybridModel, "estimates: model", "estimates(fitted.model)")
    found: Named = {}
    for part in _parts(model):
        for name, (scale, value) in part.estimates().items() if isinstance(part, HasEstimates) else ():
            if name in found:
                raise ValueError(
                    f"estimates: two parts of this model have a number called {name}, the later one {type(part).__name__}, so "
                    "one would stand for both; call the channels otherwise than the parameters"
                )
            found[name] = (scale, value.expand(model.members))
    return found


def _parts(model: HybridModel) -> Iterator[object]:
    yield from (model.population, model.noise, model.observation)
    if model.process is not None:
        yield model.process
    yield from model.known


def forward(scale: str, value: Tensor) -> Tensor:
    """The value on its scale: "log", "logit" of a share of 1, "fisher" artanh of a correlation, "linear" itself."""
    if scale == "log":
        return value.log()
    if scale == "logit":
        return torch.logit(value)
    return torch.atanh(value) if scale == "fisher" else value


def backward(scale: str, value: Tensor) -> Tensor:
    """The inverse of `forward`."""
    if scale == "log":
        return value.exp()
    if scale == "logit":
        return torch.sigmoid(value)
    return torch.tanh(value) if scale == "fisher" else value


def stretch(scale: str, value: Tensor) -> Tensor:
    """d value/d(value on its scale): by what an error on the scale is multiplied."""
    if scale == "log":
        return value
    if scale == "logit":
        return value * (1.0 - value)
    return 1.0 - value.square() if scale == "fisher" else torch.ones_like(value)


def trained(model: HybridModel, name: str) -> tuple[HybridModel, list[str], int]:
    """A copy in which all that is estimated asks for gradients, the names of its tensors, and how many weights are held.

    Estimated are the tensors that a named number depends on, those that a population names in `by_marginal` among them. The
    weights of a residual, or of noise that is a network, are held: nobody reads them one by one, and their likelihood has
    directions that no number of people determines.
    Errors: `ValueError`, beginning with `name`, where nothing is estimated.
    """
    trial = copy.deepcopy(model)
    for own in trial.population.by_marginal:
        trial.population.get_parameter(own).requires_grad_()
    names, held = [], 0
    wanted = {k: p for k, p in trial.named_parameters() if p.requires_grad and p.numel()}
    values = [value.sum() for _, value in estimates(trial).values() if value.requires_grad]
    slopes = torch.autograd.grad(torch.stack(values).sum(), list(wanted.values()), allow_unused=True) if values else ()
    for (own, parameter), slope in zip(wanted.items(), slopes or [None] * len(wanted), strict=True):
        if slope is not None:
            names.append(own)
        else:
            held += parameter[0].numel()
            parameter.requires_grad_(False)
    if not names:
        raise ValueError(
            f"{name}: no number of this model that has a name is trained; write LogNormalPopulation(…, learn_spread=True), or "
            "let what "
            "is to be estimated ask for gradients"
        )
    return trial, names, held


def jacobian(
    model: HybridModel, names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], Tensor, Tensor]:  # (E,), (E,), (M, E), (M, E, P)
    """Names, scales and values of what the named tensors determine, and its derivatives on the scales.

    A number that none of them moves is known, and left out.
    """
    tensors = [model.get_parameter(name) for name in names]
    M = model.members
    told, scales, values, rows = [], [], [], []
    for name, (scale, value) in estimates(model).items():
        if not value.requires_grad:
            continue
        slopes = torch.autograd.grad(forward(scale, value).sum(), tensors, allow_unused=True, retain_graph=True)
        row = torch.cat(
            [(torch.zeros_like(p) if g is None else g).reshape(M, -1) for p, g in zip(tensors, slopes, strict=True)], 1
        )
        if bool((row != 0.0).any()):
            told.append(name)
            scales.append(scale)
            values.append(value.detach())
            rows.append(row)
    return tuple(told), tuple(scales), torch.stack(values, 1), torch.stack(rows, 1)


def loosest(model: HybridModel, names: Sequence[str]) -> Tensor:  # (M, P)
    """The standard error of each number of the named tensors beyond which an estimate that it moves is as good as not known.

    Each scale has its rule. A correlation is not known where the 95 % interval on the scale artanh, in which errors are taken to
    be Gaussian, holds everything from −.999 to .999, and a share where it holds everything from .001 to .999. A logarithm has no
    ends; a factor of e¹⁰ = 20,000 is more than any box spans. A number with a unit has neither: as soon as the likelihood bends
    along it, its error says how well it is known.
    """
    _, scales, value, J = jacobian(model, names)
    limit = torch.full_like(value, torch.inf)  # (M, E)
    for j, scale in enumerate(scales):
        if scale == "log":
            limit[:, j] = _FACTOR
        elif scale in _ENDS:
            limit[:, j] = (_ENDS[scale] + forward(scale, value[:, j]).abs()) / _TWO_SIDED
    return (limit[..., None] / J.abs()).amin(1)  # what does not move an estimate at all is divided by 0, and infinite


def united(model: HybridModel, names: Sequence[str]) -> Tensor:  # (P,) bool
    """Which numbers of the named tensors have a unit: they move estimates on the scale "linear" alone. The others are logarithms,
    or are like them, of order 1.
    """
    _, scales, _, J = jacobian(model, names)
    moves = (J != 0.0).any(0)  # (E, P)
    linear = torch.tensor([scale == "linear" for scale in scales], device=moves.device)[:, None]
    return (moves & linear).any(0) & ~(moves & ~linear).any(0)


def effects_of(model: HybridModel) -> tuple[str, ...]:
    """The parameters that have a coordinate in η, in its order; "η1", "η2", … where the population does not name them."""
    population = model.population
    if len(population.effects) == population.dimension:
        return population.effects
    return tuple(f"η{k + 1}" for k in range(population.dimension))
