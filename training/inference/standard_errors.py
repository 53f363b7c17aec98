"""Standard errors of everything that a population estimates, and what its data cannot see."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from physics.arguments import require_choice, require_number, require_shape, require_tensor
from physics.glance import Summary, glance
from training.inference.approximations import Approximation, people_counted_in, require_approximation
from training.inference.curvature import Likelihood, decrement, seen
from training.inference.estimates import backward, forward, jacobian, stretch, trained, united
from training.marginal.laplace import laplace_marginal, require_float64
from training.people.arguments import require_fit
from training.people.cohort import Cohort

_SMALL = 0.1  # of a direction's largest part: what is less than this is not named
_TOUCHED = 0.01  # of a direction's largest part, each in its size: less is what rounding turns a direction by
_ILL = 1000.0  # the condition number beyond which the field speaks of a model with too many numbers for its data
_ARRIVED = 0.1  # of −2 log L: what a fit may still be away from its optimum, without a word
_NO_SPREAD = 0.01  # ω: people who differ by 1 % cannot be told apart from people who do not
_TOGETHER = 0.9  # |ρ|: beyond it the free number of a correlation is large, and moves it little
_PREFIX = {"log": "log ", "logit": "logit ", "fisher": "artanh ", "linear": ""}


def _summary(found: Any) -> Summary:
    rows = [(n, f"{float(found.value[0, j]):.4g} ± {float(found.se[0, j]):.3g}") for j, n in enumerate(found.names[:5])]
    more = f"{len(found.names)} estimates, members {len(found.value)}"
    return f"StandardErrors of {more}", [*rows, ("condition number", found.condition), ("said", found.sentences()[:1])]


@dataclass(frozen=True)
class StandardErrors:
    """How well every estimate of each of M members is known.

    `names` (E,) of the estimates, `scales` (E,) on which each error is taken to be Gaussian ("log", "logit", "linear", "fisher":
    artanh)
    · `value` (M, E) · `covariance` (M, E, E) on these scales; infinite on the diagonal for what the data cannot see, and NaN
    where the model is not at a minimum · `condition` (M,), the largest eigenvalue of the estimates' correlation matrix by the
    smallest, infinite where something is not seen · `weakest` (M, E), the direction of the largest spread, on the scales, of
    length 1 · `unseen`, for each member the directions (K, E) along which the likelihood does not change · `away` (M,), by how
    much −2 log L would still fall · `approximation`, of the likelihood · `held`, how many weights of networks were taken as
    known · `kinked`, a sentence on lags and on what ends infusions, of whose likelihood a curvature at one point does not see
    the kinks.
    """

    names: tuple[str, ...]
    scales: tuple[str, ...]
    value: Tensor
    covariance: Tensor
    condition: Tensor
    weakest: Tensor
    unseen: tuple[Tensor, ...]
    away: Tensor
    approximation: Approximation
    held: int
    kinked: str = ""

    __repr__, _repr_html_ = glance(_summary)

    @property
    def se_on_scale(self) -> Tensor:  # (M, E)
        """Standard errors on the scales: of log ω, of artanh ρ."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).sqrt()

    @property
    def se(self) -> Tensor:  # (M, E)
        """Standard errors in the unit of each estimate, by the delta method."""
        slope = (
            torch.stack([stretch(s, self.value[:, j]) for j, s in enumerate(self.scales)], -1)
            if self.names
            else self.value
        )
        return slope.abs() * self.se_on_scale

    @property
    def rse(self) -> Tensor:  # (M, E)
        """Relative standard errors |se/value|, as a fraction."""
        return self.se / self.value.abs()

    @property
    def correlation(self) -> Tensor:  # (M, E, E)
        """Of the estimates, on their scales; NaN for what has no standard error."""
        sd = torch.where(torch.isfinite(self.se_on_scale), self.se_on_scale, torch.nan)
        return self.covariance / (sd[..., None] * sd[..., None, :])

    def interval(self, level: float = 0.95) -> Tensor:  # (M, E, 2)
        """Ends of the interval of each estimate: value ± z·se on its scale, brought back.

        So that of ω is positive, and that of a correlation lies within ±1. The whole range for what the data cannot see.
        """
        require_number(level, "StandardErrors.interval: level", above=0.0)
        if not level < 1.0:
            raise ValueError(
                f"StandardErrors.interval: level is a share between 0 and 1, and is {level}; write interval(0.95)"
            )
        z = torch.special.ndtri(torch.tensor(0.5 + 0.5 * float(level), dtype=torch.float64))
        sd, ends = self.se_on_scale, []
        for j, scale in enumerate(self.scales):
            middle = forward(scale, self.value[:, j])
            ends.append(
                torch.stack([backward(scale, middle - z * sd[:, j]), backward(scale, middle + z * sd[:, j])], -1)
            )
        return torch.stack(ends, 1) if ends else self.value.new_zeros(*self.value.shape, 2)

    def in_words(self, direction: Tensor) -> str:  # (E,)
        """A direction on the scales, by the names of what it moves: "log V +0.71, log F −0.71"."""
        require_tensor(direction, "StandardErrors.in_words: direction", "errors.weakest[0]")
        require_shape(
            direction, "StandardErrors.in_words: direction", len(self.names), write="errors.weakest[0]", like=self.value
        )
        if not bool(torch.isfinite(direction).all()):
            raise ValueError("StandardErrors.in_words: direction has parts that are no numbers; write errors.weakest[0]")
        scaled = direction / direction.abs().amax().clamp(min=1e-300)
        order = [j for j in torch.argsort(-scaled.abs()).tolist() if abs(float(scaled[j])) >= _SMALL]
        sign = 1.0 if not order or float(direction[order[0]]) > 0.0 else -1.0
        return ", ".join(
            f"{_PREFIX[self.scales[j]]}{self.names[j]} {sign * float(direction[j]):+.2f}".replace("-", "−")
            for j in order
        )

    def sentences(self) -> list[str]:
        """What a reader must know beside the numbers; nothing where all is well."""
        found, M = [], len(self.away)
        for m in range(M):
            of = f" (member {m})" if M > 1 else ""
            for way in self.unseen[m]:
                found.append(f"{self._not_seen(m, way)}{of}")
            if bool(
                torch.isnan(self.covariance[m].diagonal()).any()
            ):  # beside what is not seen, infinite, stand NaN too
                found.append(
                    "The model is not at a minimum of −2 log L: it falls to both sides, and standard errors have no meaning "
                    "here; fit "
                    f"on, or write last(polish(model, cohort, approximation={self.approximation!r})){of}."
                )
            elif float(self.away[m]) > _ARRIVED:
                found.append(
                    f"The model is not at the optimum of its own likelihood ({self.approximation}): −2 log L would still fall by "
                    f"{float(self.away[m]):.2g}. Write last(polish(model, cohort, approximation={self.approximation!r})){of}."
                )
            if not len(self.unseen[m]) and float(self.condition[m]) > _ILL and bool(self.weakest[m].any()):
                found.append(
                    f"The condition number is {float(self.condition[m]):.3g}: these data hardly tell apart what moves along "
                    f"({self.in_words(self.weakest[m])}){of}."
                )
        if self.kinked:
            found.append(self.kinked)
        if self.held:
            found.append(
                f"{self.held} weights of networks are taken as known: these standard errors do not hold what is uncertain of "
                "them; "
                "an ensemble of members does."
            )
        return found

    def _not_seen(self, m: int, way: Tensor) -> str:
        alone = [j for j in range(len(self.names)) if abs(float(way[j])) > _SMALL * float(way.abs().amax())]
        if len(alone) == 1:
            name = self.names[alone[0]]
            if name.startswith("omega(") and float(self.value[m, alone[0]]) < _NO_SPREAD:
                return (
                    f"{name} lies at 0, the end of its range, where the likelihood is flat in its logarithm: a standard error "
                    "is not "
                    "defined there; take the spread away, and compare the two by `likelihood_ratio`"
                )
            if name.startswith("corr(") and abs(float(self.value[m, alone[0]])) > _TOGETHER:
                return (
                    f"{name} lies near the end of its range, where the likelihood hardly bends along it: it has no standard "
                    "error; whether it is 0 is asked by `likelihood_ratio`, with the model without it"
                )
            return (
                f"The data say nothing about {name}: it has no standard error; hold it at what is known, or take it away (AIC "
                "and BIC count it)"
            )
        return (
            f"The data cannot see the direction ({self.in_words(way)}): along it the likelihood does not change, and what it "
            "moves "
            "has no standard error; hold one of them at what is known"
        )


def standard_errors(
    model: HybridModel,
    cohort: Cohort,
    *,
    approximation: Approximation = "focei",
    covariance: Literal["observed", "sandwich"] = "observed",
    nodes: int = 13,
    weights: Tensor | None = None,  # (M, N)
    start: Tensor | None = None,  # (M, N, d)
    solver: Solver | None = None,
) -> StandardErrors:
    """Standard errors of every estimate with a name, from the curvature of the marginal likelihood where the model is.

    With ξ everything that is trained of population and noise (logarithms mostly) and I = ∂²(−Σ_i w_i log p(y_i))/∂ξ², by central
    differences of the exact gradient, the covariance of ξ is I⁻¹ along the directions in which I is more than rounding, and that
    of the estimates g(ξ), on their scales, J I⁻¹ Jᵀ with J = ∂g/∂ξ. What moves along a direction in which the likelihood does
    not bend has no standard error: infinity, and a sentence that names the direction. So has a spread at 0.
    The model is to be at the optimum of the same approximation (`polish`); how far it is stands in `away`.

    Arguments: `approximation`, `nodes`, `weights`, `start` and `solver` as in `polish`; `covariance`, "observed" for I⁻¹,
    "sandwich" for I⁻¹ (Σ_i w_i s_i s_iᵀ) I⁻¹ with s_i the slope of person i, which holds where the model is not quite that "
    "of the data.
    The weights of a residual, and of noise that is a network, are taken as known, and `held` counts them.
    Errors: `ValueError` for shapes and numbers that cannot be, and a model that estimates nothing; `SimulationError` that names
    the person whom the model cannot simulate.
    Law: where the mean is linear in η and the noise constant, I is that of the multivariate normal density. Another unit of a
    parameter changes its standard error by the factor alone.
    Source: Efron & Hinkley, Biometrika 65 (1978) 457; Huber, Proc. Fifth Berkeley Symp. 1 (1967) 221 (sandwich).
    """
    require_fit(model, cohort, "standard_errors", solver)
    require_float64(model, cohort)
    require_approximation(approximation, nodes, "standard_errors")
    require_choice(covariance, ("observed", "sandwich"), "standard_errors: covariance")
    require_tensor(start, "standard_errors: start (M, N, d)", "Marginal.mode of an earlier call")
    counted = people_counted_in(weights, model, cohort, "standard_errors")
    trial, names, held = trained(model, "standard_errors")
    likelihood = Likelihood(cohort, counted, names, united(trial, names), approximation, int(nodes), solver)
    curved = likelihood.curved(trial, start)
    told, scales, value, J = jacobian(trial, names)
    M, E = value.shape
    spread, unseen, away, condition, weakest = [], [], [], [], []
    for m in range(M):
        split = seen(curved.information[m], curved.size[m], curved.loosest[m], curved.noise[m])
        inverse = split.covariance
        if covariance == "sandwich":
            s = torch.where(counted[m, :, None] > 0.0, curved.scores[m], 0.0)
            inverse = inverse @ (s.mT @ (counted[m, :, None] * s)) @ inverse
        own = J[m] @ inverse @ J[m].mT
        ways = [way for way in split.unseen @ J[m].mT if float(way.abs().amax()) > 0.0] if E else []
        if ways or len(split.saddle) or not E:
            condition.append(own.new_tensor(torch.inf))
            weakest.append(own.new_zeros(E))
        else:
            eigenvalues, axes = _correlation(own)
            least, most = eigenvalues[0], eigenvalues[-1]
            condition.append(most / least if float(least) > 0.0 else own.new_tensor(torch.inf))
            weakest.append(axes[:, 0])
        size = J[m].abs() @ torch.nan_to_num(curved.size[m], nan=1.0)
        size = torch.where(torch.tensor([scale == "linear" for scale in scales], device=size.device), size, 1.0)
        for way in ways:
            touched = _touched(way / size)
            own[touched] = torch.nan
            own[:, touched] = torch.nan
            own.diagonal()[touched] = torch.inf
        if len(split.saddle):
            own = torch.full_like(own, torch.nan)
        spread.append(own)
        unseen.append(torch.stack([way / way.norm() for way in ways]) if ways else own.new_zeros(0, E))
        away.append(decrement(curved.at.gradient[m], split.covariance))
    return StandardErrors(
        told,
        scales,
        value,
        torch.stack(spread),
        torch.stack(condition),
        torch.stack(weakest),
        tuple(unseen),
        torch.tensor(away, dtype=torch.float64),
        approximation,
        held,
        _kinked(trial, cohort, curved.at.mode, told, solver),
    )


def _kinked(model: HybridModel, cohort: Cohort, mode: Tensor, names: tuple[str, ...], solver: Solver | None) -> str:
    """What is to be said of the standard error of what says when doses arrive or end."""
    d = model.delivery
    moving = [model.backbone.physical[j].name for _, j in (*d.lag, *d.duration, *d.rate, *d.fraction)]
    moving = [n for n in dict.fromkeys(moving) if n in names]
    if not moving:
        return ""
    near = laplace_marginal(model, cohort, start=mode, solver=solver).beside
    count = 0 if near is None else int(near.any(0).sum())
    if not count:
        return ""
    return (
        f"The dose of {count} of {len(cohort.ids)} people would begin to arrive, or end, at one of their measurements within two "
        "of their own standard deviations: there the likelihood has kinks, or cliffs where a dose goes into what is measured, "
        f"which a curvature at one point does not see, and the standard error of {', '.join(moving)} is likely too small (lags "
        "of 50 simulated cohorts with kinks scattered 1.18 times as widely as theirs said); `bootstrap` needs no curvature."
    )


def _touched(way: Tensor) -> Tensor:  # (E,) bool
    return way.abs() > _TOUCHED * way.abs().amax()


def _correlation(covariance: Tensor) -> tuple[Tensor, Tensor]:  # (E,), (E, E)
    """Eigenvalues of the correlation matrix, ascending, and directions on the scales, of length 1, that of the largest first."""
    sd = covariance.diagonal().sqrt().clamp(min=1e-300)
    size, axes = torch.linalg.eigh(covariance / (sd[:, None] * sd))
    ways = sd[:, None] * axes.flip(1)
    return size, ways / ways.norm(dim=0).clamp(min=1e-300)
