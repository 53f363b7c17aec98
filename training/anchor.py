"""Members that are draws of a posterior: each is pulled to its own draw of the prior, and sees its own draw of the noise."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel
from learned import NoiseHead, Residual
from physics.arguments import (
    quote,
    require_callable,
    require_generator,
    require_kind,
    require_number,
    require_people,
    require_shape,
)
from physics.glance import glance
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.likelihoods import Likelihood, require_scored

_NUMBERS = 4096  # of a tensor that are drawn, at least, to learn the variance with which it starts: to 2 %


@dataclass(frozen=True)
class Anchor:
    """Randomise, then optimise: member m minimises −log p(y + σ z_m | φ, η) + ½|φ − a_m|²_Λ + ½|η − b_m|².

    `centre` a (M, …) and `precision` Λ, one number for each trainable tensor by its name in the model, a_m ~ N(mean, Λ⁻¹) ·
    `personal` b (M, N, d), standard normal, the prior of the people's own coordinates · `noise` z (M, N, T, p), standard
    normal, in units of the measurement noise σ. Tensors that are not named have a flat prior.

    What is exact when: with a mean that is linear in (φ, η), Gaussian noise of known σ and no other term in the objective
    (`least_residual=0`), the minimisers are independent draws of the posterior (below); otherwise they are the usual
    approximation, exact to first order where the posterior is narrow. Anchors without perturbed targets miss the data's
    share of the spread, and perturbed targets without anchors its prior's.
    The perturbation is for the mean alone: a variance that is learned is fitted to the measurements themselves, or it would
    take its own perturbation for noise and grow. With process noise σ² is the variance at each time, and the correlation
    along time is left out.
    The members' coordinates in `Step.best` are draws too: `personalise` gives the modes.

    Why exact: for y = Xφ + σz' and prior N(0, Λ⁻¹), φ_m = Σ (Xᵀ(y + σz_m)/σ² + Λ a_m) with Σ = (XᵀX/σ² + Λ)⁻¹ has the
    posterior's mean, and the variance Σ (XᵀX/σ² + Λ) Σ = Σ.
    Source: Pearce, Leibfried, Brintrup, Zaki & Neely (2020) for anchors; Bardsley, Solonen, Haario & Laine, SIAM J. Sci.
    Comput. 36 (2014) A1895 for randomise-then-optimise.
    """

    centre: Mapping[str, Tensor]
    precision: Mapping[str, float]
    personal: Tensor
    noise: Tensor

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        for what, by in (("centre", self.centre), ("precision", self.precision)):
            require_kind(by, Mapping, f"Anchor: {what}", "Anchor.of(model, cohort, generator)")
        require_shape(self.personal, "Anchor: personal", "M", "N", "d", write="Anchor.of(model, cohort, generator)")
        require_shape(
            self.noise, "Anchor: noise", *self.personal.shape[:2], "T", "p", write="Anchor.of(model, cohort, generator)"
        )
        if self.centre.keys() != self.precision.keys():
            raise ValueError("Anchor: centre and precision name other tensors; write Anchor.of(model, cohort, generator)")
        for name, one in self.centre.items():
            require_shape(one, f"Anchor: centre of {quote(name)}", ..., "k", write="Anchor.of(model, cohort, generator)")
            require_number(self.precision[name], f"Anchor: precision of {quote(name)}", above=0.0)

    @staticmethod
    def of(
        model: HybridModel,
        cohort: Cohort,
        generator: torch.Generator,
        *,
        variance: float | Mapping[str, float] | None = None,
    ) -> "Anchor":
        """Draw anchors and perturbations for every member of a stacked model and everyone in the cohort.

        `variance` of the prior: by default the variance with which a tensor of residual or noise head starts, found from
        draws; one that always starts at the same value (an output bias) then has a flat prior, and so has everything else.
        Or one number for all tensors of the residual, or one for each tensor that is named, as in
        {"residual.weights.0": 0.3, "population.shift": 1.0}. The prior's mean is 0 for what starts at random, and otherwise
        the value at the start.
        Errors: `ValueError` for a name that the model does not train, or a variance that is not positive.
        """
        require_fit(model, cohort, "Anchor.of")
        require_generator(generator, "Anchor.of: generator")
        if model.noise.correlation() is not None:
            raise ValueError(
                "Anchor.of: anchors move every measurement by a draw of its own noise, and the errors of this model's channels "
                "are correlated (Correlated); take the head without Correlated, or another ensemble, Ensemble(8)"
            )
        for one in variance.values() if isinstance(variance, Mapping) else () if variance is None else (variance,):
            require_number(one, "Anchor.of: variance of the prior, positive and finite,", above=0.0)
        starts = _starts(model, generator)
        if variance is None:
            found = {name: (start.mean, start.variance) for name, start in starts.items() if start.variance > 0.0}
        elif isinstance(variance, Mapping):
            trained = {n for n, p in model.named_parameters() if p.requires_grad}
            for name in variance.keys() - trained:
                raise ValueError(f"Anchor: the model trains no {quote(name)}; it trains {quote(', '.join(sorted(trained)), 300)}")
            means = {name: start.mean for name, start in starts.items()}
            found = {
                name: (means.get(name, model.get_parameter(name).detach()), float(one)) for name, one in variance.items()
            }
        else:
            found = {n: (s.mean, float(variance)) for n, s in starts.items() if n.startswith("residual.")}
        wrong = {name: v for name, (_, v) in found.items() if not 0.0 < v < math.inf}
        if wrong:
            raise ValueError(f"Anchor: a prior variance is positive and finite, got {wrong}; leave a tensor out for a flat prior")
        M, (N, T, p) = model.members, cohort.y.shape

        def draw(shape: torch.Size | tuple[int, ...]) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        centre = {}
        for name, (mean, one) in found.items():
            centre[name] = mean + math.sqrt(one) * draw((M, *mean.shape[1:])).to(mean)
        personal, noise = draw((M, N, model.personal)), draw((M, N, T, p))
        return Anchor(
            centre, {name: 1.0 / one for name, (_, one) in found.items()}, personal.to(cohort.y), noise.to(cohort.y)
        )

    def to(self, like: Tensor) -> "Anchor":
        """The same anchors in the type and on the device of `like`."""
        require_shape(like, "Anchor.to: like", ..., write="cohort.y, or another tensor of the type and device wanted")
        centre = {name: a.to(like) for name, a in self.centre.items()}
        return Anchor(centre, self.precision, self.personal.to(like), self.noise.to(like))

    def require(self, members: int, measurements: torch.Size) -> None:
        """Errors: `ValueError` where these are not the anchors of so many members and measurements (N, T, p)."""
        require_number(members, "Anchor.require: members", whole=True)
        if not isinstance(measurements, tuple) or len(measurements) != 3:
            raise ValueError(f"Anchor.require: measurements is a shape (N, T, p), cohort.y.shape, and is {quote(measurements)}")
        wanted = (members, *measurements)
        if self.noise.shape != wanted or any(c.shape[0] != members for c in self.centre.values()):
            raise ValueError(
                f"fit: the anchors are for (members, people, times, channels) = {tuple(self.noise.shape)} and the fit is of "
                f"{wanted}; draw them for it, Anchor.of(model, cohort, generator), or select them as model and people"
            )

    def penalty(self, model: HybridModel) -> Tensor:  # (M,)
        """½ Σ (φ − a)² Λ over everything anchored."""
        require_kind(model, HybridModel, "Anchor.penalty: model", "anchor.penalty(model)")
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        for name, a in self.centre.items():
            if shapes.get(name) != tuple(a.shape):
                raise ValueError(
                    f"Anchor.penalty: {name} is anchored with shape {tuple(a.shape)}, and the model has "
                    f"{shapes.get(name, 'none')}; draw the anchors for this model, Anchor.of(model, cohort, generator)"
                )
        total = self.personal.new_zeros(self.personal.shape[0])
        for name, a in self.centre.items():
            away = model.get_parameter(name) - a
            total = total + 0.5 * self.precision[name] * away.square().flatten(1).sum(1)
        return total

    def likelihood(
        self,
        loss: Likelihood,
        y: Tensor,  # (N, T, p)
        mean: Tensor,  # (M, N, T, p)
        variance: Tensor,  # (M, N, T, p)
    ) -> Tensor:  # (M, N)
        """`loss` whose value and gradient to the mean are at the perturbed targets, and to the variance at the measurements.

        Law: without a perturbation the value and both gradients are the loss's own.
        """
        if loss is None:
            raise ValueError("Anchor.likelihood: loss is None, and must be a function; write gaussian_nll")
        require_callable(loss, "Anchor.likelihood: loss", "gaussian_nll", y, mean, variance)
        require_scored(y, mean, variance, "Anchor.likelihood")
        if mean.shape != self.noise.shape or variance.shape != mean.shape:
            raise ValueError(f"Anchor.likelihood: mean has shape {tuple(mean.shape)} and the anchors {tuple(self.noise.shape)}")
        held = variance.detach()
        try:
            to_variance = loss(y, mean.detach(), variance)
        except (TypeError, NotImplementedError) as error:
            why = str(error)[:100]
            raise ValueError(f"Anchor.likelihood: loss cannot score (y, mean, variance): {why}; write gaussian_nll") from error
        if not isinstance(to_variance, Tensor) or to_variance.shape != mean.shape[:2]:
            raise ValueError(f"Anchor.likelihood: loss gives one number a member and person, and gave {quote(to_variance)}")
        return perturbed(loss, y, held.sqrt() * self.noise, mean, held) + to_variance - to_variance.detach()

    def members(self, index: Tensor) -> "Anchor":
        """The anchors of these members, as `learned.select` takes them."""
        require_people(index, self.personal.shape[0], "Anchor.members: index")
        return Anchor({k: a[index] for k, a in self.centre.items()}, self.precision, self.personal[index], self.noise[index])

    def people(self, index: Tensor) -> "Anchor":
        """The anchors of these people, as `Cohort.people` takes them."""
        require_people(index, self.personal.shape[1], "Anchor.people: index")
        return Anchor(self.centre, self.precision, self.personal[:, index], self.noise[:, index])


def perturbed(
    loss: Likelihood,
    y: Tensor,  # (N, T, p)
    by: Tensor,  # (M, N, T, p)
    mean: Tensor,  # (M, N, T, p)
    variance: Tensor,  # (M, N, T, p)
) -> Tensor:  # (M, N)
    """The loss of every member at targets of its own, y + by."""
    M, N = mean.shape[:2]
    # a loss scores one set of measurements under all members; with people and members in a row each has its own
    own = (y + by).flatten(0, 1)
    return loss(own, mean.reshape(1, M * N, *mean.shape[2:]), variance.reshape(1, M * N, *variance.shape[2:])).view(M, N)


@dataclass(frozen=True)
class _Start:
    """How a trainable tensor starts: mean (M, …), and the variance of all its numbers, which are drawn alike."""

    mean: Tensor
    variance: float


def _starts(model: HybridModel, generator: torch.Generator) -> dict[str, _Start]:
    found: dict[str, _Start] = {}
    for prefix, module in model.named_modules():
        if not isinstance(module, Residual | NoiseHead):
            continue
        part = copy.deepcopy(module)
        tensors = {name: p.detach() for name, p in part.named_parameters() if p.requires_grad and p.numel()}
        smallest = min((p.numel() for p in tensors.values()), default=_NUMBERS)
        first, square, count = {n: p.clone() for n, p in tensors.items()}, dict.fromkeys(tensors, 0.0), 0
        varies = dict.fromkeys(tensors, False)
        while count * smallest < max(_NUMBERS, 2 * smallest):
            part.reset(generator)
            count += 1
            for name, p in tensors.items():  # views of the parameters, which `reset` writes into
                square[name] += float(p.square().mean())
                varies[name] |= not torch.equal(p, first[name])
        for name, p in tensors.items():
            mean = torch.zeros_like(p) if varies[name] else p.clone()
            found[f"{prefix}.{name}"] = _Start(mean, square[name] / count if varies[name] else 0.0)
    return found
