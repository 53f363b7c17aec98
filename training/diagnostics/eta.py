"""People's own coordinates against their covariates: what a covariate model would take out of the spread."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hybrid import HybridModel, Solver
from hybrid.frames import frame_of
from physics.arguments import require_generator, require_number
from physics.glance import Summary, glance
from training.diagnostics.members import About, chosen, personal_of, without
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.posterior import Personal

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

Array = NDArray[np.float64]


def _summary(found: "EtaCovariates") -> Summary:
    pairs = [
        (found.chance[j, k], e, c, found.correlation[j, k])
        for j, e in enumerate(found.effects)
        for k, c in enumerate(found.covariates)
    ]
    pairs = sorted((one for one in pairs if np.isfinite(one[0])), key=lambda one: one[0])[:5]
    return (
        f"EtaCovariates: {len(found.effects)} coordinates of {len(found.about.ids)} people beside "
        f"{len(found.covariates)} covariates",
        [(f"{e} and {c}", f"rank correlation {r:.2f}, chance {p:.3g}") for p, e, c, r in pairs],
    )


@dataclass(frozen=True, eq=False)
class EtaCovariates:
    """η̂ of N people beside their covariates, of e `effects` and k `covariates` by name, whose `units` (k,) are "" where nobody
    said them.

    `eta` (N, e), the most likely coordinates in standard deviations of the population,
    mean over the members; NaN for who failed
    · `values` (N, k), in the cohort's units · `correlation` (e, k), of their ranks (Spearman) · `chance` (e, k), the share of
    random pairings of the same people whose correlation is as far from 0: NaN where a covariate is the same for everyone, or
    there are fewer than three people · `about`.
    With few data of each η̂ are drawn together (shrinkage), and what is not seen here may still be there.
    """

    eta: Array
    values: Array
    effects: tuple[str, ...]
    covariates: tuple[str, ...]
    units: tuple[str, ...]
    correlation: Array
    chance: Array
    about: About

    __repr__, _repr_html_ = glance(_summary)

    def to_frame(self) -> "DataFrame":
        """One row a person, as a pandas DataFrame: person, a column of each coordinate, "eta(ka)", and of each covariate."""
        columns: dict[str, list[Any]] = {"person": list(self.about.ids)}
        columns |= {f"eta({name})": self.eta[:, j].tolist() for j, name in enumerate(self.effects)}
        columns |= {name: self.values[:, k].tolist() for k, name in enumerate(self.covariates)}
        return frame_of(columns, "EtaCovariates.to_frame")


def eta_against_covariates(
    model: HybridModel,
    cohort: Cohort,
    personal: Personal | None = None,
    *,
    generator: torch.Generator,
    member: int | None = None,
    permutations: int = 999,
    solver: Solver | None = None,
) -> EtaCovariates:
    """Everyone's η̂ beside every covariate that all of them have, with rank correlations and how often chance gives as much.

    The chance is (1 + #{permutations at least as far from 0})/(1 + permutations), exact for the hypothesis that they have nothing
    to do with each other; of e·k pairs one in twenty is below .05 by chance.
    Arguments: `personal`, of all members, found now where it is left out; `generator`, of the permutations; `member`, its place
    from 0, by default the mean of all members; `permutations`, how many.
    Errors: `ValueError` for arguments that do not fit, a model without coordinates of people, or people without covariates.
    Source: Spearman, Am. J. Psychol. 15 (1904) 72; Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39 (the ones added).
    """
    require_fit(model, cohort, "eta_against_covariates", solver)
    require_generator(generator, "eta_against_covariates: generator")
    require_number(permutations, "eta_against_covariates: permutations", least=1.0, most=1e6, whole=True)
    model, cohort, about = chosen(model, cohort, member, "eta_against_covariates")
    given = cohort.conditions.covariates
    if not model.personal:
        raise ValueError("eta_against_covariates: everyone has the same parameters in this model, so there is no η to look at")
    if not given:
        raise ValueError("eta_against_covariates: there is no covariate that everyone has; give the records some")
    personal = personal_of(model, cohort, personal, member, solver, "eta_against_covariates")
    with torch.no_grad():
        eta = _deviations(model, personal.mode.to(cohort.y)).mean(0).cpu().double().numpy().copy()
    eta[sorted(personal.failed)] = np.nan
    values = torch.stack([v.detach().cpu().double() for v in given.values()], 1).numpy()
    here = np.isfinite(eta).all(1) & np.isfinite(values).all(1)
    correlation, chance = np.full((2, eta.shape[1], values.shape[1]), np.nan)
    n = int(here.sum())
    if n > 2:
        a, b = _standard(eta[here]), _standard(values[here])  # (n, e), (n, k)
        correlation = a.T @ b
        beyond = np.ones_like(correlation)
        slack = 1e-12  # equal pairings differ by rounding
        for _ in range(int(permutations)):
            order = torch.randperm(n, generator=generator, device=generator.device).cpu().numpy()
            beyond += np.abs(a[order].T @ b) >= np.abs(correlation) - slack
        chance = np.where(np.isfinite(correlation), beyond / (1.0 + int(permutations)), np.nan)
    said = cohort.records[0].units if cohort.records else {}
    units = tuple(said.get(name, "") for name in given)
    return EtaCovariates(
        eta, values, effect_names(model), tuple(given), units, correlation, chance, without(about, dict(personal.failed))
    )


def _deviations(model: HybridModel, eta: torch.Tensor) -> torch.Tensor:  # (M, N, d) -> the same
    """L η over each one's ω, with Ω = L Lᵀ: of correlated effects the parameters' own, not what their correlation is made of."""
    population, d = model.population, model.population.dimension
    omega = population.omega_matrix
    if omega is None or d == 0:
        return eta
    own = population.deviations(eta[..., :d]) / omega.diagonal(dim1=-2, dim2=-1).sqrt()[:, None]
    return torch.cat([own, eta[..., d:]], -1)


def effect_names(model: HybridModel) -> tuple[str, ...]:
    """What the people's own coordinates are called: the parameters that they move, then the latents."""
    own, physical = model.population.effects, model.backbone.physical
    d = model.population.dimension
    if len(own) != d:
        own = tuple(p.name for p in physical) if len(physical) == d else tuple(f"{k + 1}" for k in range(d))
    latents = ["latent"] if model.latents == 1 else [f"latent {k + 1}" for k in range(model.latents)]
    return (*map(str, own), *latents)


def _standard(columns: Array) -> Array:  # (n, c)
    """Ranks, ties at their mean, of mean 0 and length 1; NaN where all are equal."""
    found = np.empty_like(columns)
    for j, column in enumerate(columns.T):
        _, place, count = np.unique(column, return_inverse=True, return_counts=True)
        rank = (np.cumsum(count) - 0.5 * (count - 1))[place]
        found[:, j] = rank - rank.mean()
    length = np.sqrt(np.square(found).sum(0))
    return found / np.where(length > 0.0, length, np.nan)
