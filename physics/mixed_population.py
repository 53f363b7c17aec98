"""People whose parameters are spread each in its own way, correlated, and moved by covariates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from physics.arguments import quote, require_covariates, require_flag, require_kind, require_shape
from physics.backbone import Backbone
from physics.between import Between
from physics.capture import capturing, exporting, nan_outside
from physics.coordinates import Coordinates
from physics.covariate_models import (
    CategoryOf,
    CovariateModel,
    ExponentialOf,
    LinearOf,
    PowerOf,
    admissible,
    covariate_model_of,
    moved,
    names_of,
    names_only,
    numbers_of,
    plausible,
    refused,
)
from physics.covariate_models import described as described_covariate
from physics.effects import Effect, Fixed, Scale, described, effect_of, scale_of, spread_of
from physics.mechanism import Mechanism
from physics.occasions import OCCASION, Occasions, Within, occasions_of
from physics.parameter import Parameter
from physics.population import Population, parameters_of

_WHO = "MixedPopulation"


class MixedPopulation(Population):
    """g_j(θ_j) = g_j(typical_j) + μ_j + Σ_k f_jk(covariate_k) + (L η)_j, η ~ N(0, I), each θ_j in its compact box.

    g is the logarithm (`LogNormal`, and `Shared` in a positive box), the logit within the box (`LogitNormal`) or θ itself
    (`Normal`, and `Shared` in a box that holds 0). On the scale of the logarithm and of θ itself the sum bends smoothly just
    before the box's ends, as in `LogNormalPopulation`; the typical value is exactly where μ = 0 starts (but for parameters that
    are kept in order). Only `LogNormal`, `LogitNormal` and `Normal` parameters have a coordinate in η, in the backbone's order;
    `Shared` ones are learned without, and `Fixed` ones are the backbone's typical values.
    With `occasions`, + ω_j κ_jo is added in the o-th occasion; η is then the coordinates between people first, and κ occasion by
    occasion behind them, all a priori standard normal, and θ reads the covariate "occasion": 1, 2, … of a `Record`'s occasions.
    Ω = L Lᵀ is the covariance of these deviations on their scales (`omega_matrix`; `deviations(η)` are L η, which programs of
    the field call η). Its spreads, and the correlations within each block of `correlated`, are learned where `learn_spread`:
    log ω and a free Cholesky factor, tensors that do not ask for a gradient, since only a likelihood integrated over η
    determines them (`training.fit_population`). μ of everything but `Fixed`, and the coefficients of covariates with
    `learn=True`, are learned by every fit.

    Arguments
    - `parameters`, the θ with their boxes: a backbone's, or a sequence.
    - `effects`, how each is spread, by name: {"ka": LogNormal(0.6), "F": LogitNormal(0.5), "E0": Normal(2.0), "n": Shared(), "Q":
      Fixed()}.
    - `correlated`, blocks of names whose deviations go together: [("CL", "V")]. They start uncorrelated, or at `omega`.
    - `omega`, covariances of such pairs, on the scales of the effects: {("CL", "V"): 0.02}. Variances are the squares of the
      spreads.
    - `covariates`, for a parameter the models by which covariates move it: {"CL": [PowerOf("WT", 70.0, 0.75, unit="kg")]}.
    - `occasions`, which parameters differ between the occasions of one person: Occasions({"CL": 0.15}, count=3).
    - `learn_spread`: is Ω learned, and the spread between occasions?
    Errors: `ValueError` for names that are no parameters or are missing, an effect that the box forbids, an Ω that is not
    positive definite, a covariate in two units, of a `Fixed` parameter, or twice in one parameter, a model that has no meaning on
    a parameter's scale; and of `theta`, for a covariate that is missing, not positive under a power, or a category never seen.
    Law: `theta` stays inside `box`; at η = 0, μ = 0 and reference covariates it is the typical value.
    Source: Lavielle, Mixed Effects Models for the Population Approach (2014), ch. 3 (individual parameters); the bend is ours.
    """

    def __init__(
        self,
        parameters: Backbone | Mechanism | Sequence[Parameter],
        effects: Mapping[str, Effect | Mapping[str, Any]],
        correlated: Sequence[Sequence[str]] = (),
        omega: Mapping[tuple[str, str], float] | Sequence[Sequence[Any]] | None = None,
        covariates: Mapping[str, Sequence[CovariateModel | Mapping[str, Any]]] | None = None,
        learn_spread: bool = True,
        occasions: Occasions | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.physical = parameters_of(parameters)
        names = [p.name for p in self.physical]
        self.gives = tuple((p.name, p.unit) for p in self.physical)
        require_flag(learn_spread, f"{_WHO}: learn_spread")
        self.learn_spread = learn_spread
        self.how = _effects(effects, self.physical)
        scales = tuple(scale_of(e, p) for e, p in zip(self.how, self.physical, strict=True))
        held = tuple(p.typical if isinstance(e, Fixed) else None for e, p in zip(self.how, self.physical, strict=True))
        self.coordinates = Coordinates(self.physical, scales, held)
        self.orders = self.coordinates.orders
        own = [j for j, effect in enumerate(self.how) if spread_of(effect) is not None]
        between = tuple(names[j] for j in own)
        self.occasions = occasions_of(occasions, _WHO)
        varied = _varied(self.occasions, names, self.how)
        self.within = Within(self.occasions, tuple(names[j] for j in varied), learn_spread) if self.occasions else None
        self.effects = between + (self.within.effects if self.within else ())
        self.dimension = len(self.effects)
        spreads = [s for s in map(spread_of, self.how) if s is not None]
        self.between = Between(between, spreads, correlated, omega, learn_spread, _WHO)
        self.by_marginal = tuple(f"between.{name}" for name in self.between.trainable)
        if self.within and learn_spread:
            self.by_marginal += ("within.log_spread",)
        self.moves = _moves(covariates, self.physical, self.how, scales)
        self.covariates = _units(self.moves)
        if self.within:
            if OCCASION in self.covariates:
                raise ValueError(f'{_WHO}: "{OCCASION}" says the occasion, and a parameter reads it too; name that otherwise')
            self.covariates = {**self.covariates, OCCASION: None}
            self.ranges = {OCCASION: (1.0, float(self.within.count))}
        free = [j for j, value in enumerate(held) if value is None]
        learned = [n for _, model in self.moves if model.learn for n in numbers_of(model)]
        # places of the columns of μ, of η and of the coefficients, and behind their last one a zero for who has none
        self._shifted = [free.index(j) if j in free else len(free) for j in range(len(names))]
        self._spread = [own.index(j) if j in own else len(own) for j in range(len(names))]
        self._varied = [varied.index(j) if j in varied else len(varied) for j in range(len(names))]
        self.shift: Tensor
        nothing = torch.zeros(1, len(free), dtype=torch.float64)  # μ (M, f)
        if free:
            self.shift = nn.Parameter(nothing)
        else:
            self.register_buffer("shift", nothing)
        self.coefficients: Tensor
        if learned:
            self.coefficients = nn.Parameter(torch.tensor([learned], dtype=torch.float64))  # (M, k)
        given = [n for _, model in self.moves if not model.learn for n in numbers_of(model)]
        self.given: Tensor
        self.register_buffer("given", torch.tensor([given], dtype=torch.float64))  # (1, k)

    @property
    def scales(self) -> tuple[Scale, ...]:
        return self.coordinates.scales

    @property
    def factor(self) -> Tensor | None:
        if not self.dimension:
            return None
        if self.within is None:
            return self.between.factor
        L, own = self.between.factor, self.within.omega.repeat(1, self.within.count)
        M, k = max(len(L), len(own)), L.shape[-1]
        found = torch.diag_embed(torch.cat([own.new_zeros(M, k), own.expand(M, -1)], -1))
        return found + torch.nn.functional.pad(L, (0, self.dimension - k, 0, self.dimension - k))

    @property
    def omega(self) -> Tensor | None:
        return _placed(self.between.omega, self._spread) if self.dimension else None  # between people

    @property
    def references(self) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for _, model in self.moves:
            found.setdefault(model.covariate, model.reference)
        return found

    @property
    def moved_by(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for j, model in self.moves:
            if model.learn or any(numbers_of(model)):
                found[model.covariate] = (*found.get(model.covariate, ()), self.physical[j].name)
        return found

    def plausible(self, covariate: str) -> tuple[float, float] | None:
        super().plausible(covariate)  # which looks at the name
        said = [r for _, model in self.moves if model.covariate == covariate and (r := plausible(model)) is not None]
        return (max(low for low, _ in said), min(high for _, high in said)) if said else None

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        require_shape(eta, f"{_WHO}: eta", "M", "N", self.dimension, write="torch.zeros(M, N, d)", like=self.shift)
        require_covariates(covariates, eta.shape[1], f"{_WHO}: covariates")
        if 1 not in (len(eta), len(self.shift)) and len(eta) != len(self.shift):
            raise ValueError(f"{_WHO}: eta is of {len(eta)} members and the population of {len(self.shift)}")
        z = self.coordinates.start + _placed(self.shift, self._shifted)[:, None, :]  # (M, 1, q)
        if self.dimension:
            z = z + _placed(self.between.deviations(eta[..., : len(self.between.names)]), self._spread)
        if self.within:
            z = z + _placed(self._of_occasion(self.within, eta, covariates), self._varied)
        if self.moves:
            z = z + self._moved(covariates)
        # with neither, everyone's is the same; the sum has one row then
        z = z.expand(max(len(z), len(eta)), eta.shape[1], len(self.physical))
        theta: Tensor = self.coordinates(z)
        if self.moves and exporting():
            theta = nan_outside(theta, torch.stack([admissible(m, covariates[m.covariate]) for _, m in self.moves]).all(0))
        if self.within and exporting():
            theta = nan_outside(theta, self.within.admissible(covariates[OCCASION]))
        return theta

    def _of_occasion(self, within: Within, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:  # (M, N, w)
        if OCCASION not in covariates:
            raise ValueError(
                f"{', '.join(within.names)} differ from occasion to occasion, and here one θ is asked for each person, without "
                f'saying of which occasion; give the covariate "{OCCASION}", 1 to {within.count} (a Cohort has it where records '
                "have occasions: then rollout, personalise, fit_population and what stands on them go from one to the next)"
            )
        occasion = covariates[OCCASION]
        if not (exporting() or capturing()) and not bool(within.admissible(occasion).all()):
            raise ValueError(within.refused(occasion))
        return within.deviations(eta[..., len(self.between.names) :], occasion)

    def _moved(self, covariates: dict[str, Tensor]) -> Tensor:  # (M, N, q)
        columns: list[Tensor] = [self.shift.new_zeros(1, 1)] * len(self.physical)
        first = {True: 0, False: 0}
        for j, model in self.moves:
            name, parameter = model.covariate, self.physical[j].name
            if name not in covariates:
                raise ValueError(
                    f"parameter {parameter} depends on the covariate {name}, which the records lack (they have "
                    f"{sorted(covariates)}); add the column to the table or take {name} out of the population"
                )
            values, count = covariates[name], len(numbers_of(model))
            numbers = (self.coefficients if model.learn else self.given)[:, first[model.learn] : first[model.learn] + count]
            first[model.learn] += count
            looks = not (exporting() or capturing())
            if looks and not bool((good := admissible(model, values)).all()):
                raise ValueError(refused(model, parameter, float(values[~good].amin())))
            added = moved(model, values, numbers, multiplies=self.coordinates.scales[j] == "log")
            # a slope that is searched for may go too far; who then has no θ cannot be simulated, and the step is taken back
            if looks and isinstance(model, LinearOf) and not model.learn and bool(added.isnan().any()):
                raise ValueError(
                    f"parameter {parameter} is multiplied by 1 + {float(numbers[0, 0]):g} · ({name} − {model.reference:g}), "
                    f"which is not positive for somebody; take ExponentialOf, or a slope that serves everyone"
                )
            columns[j] = columns[j] + added
        return torch.stack(torch.broadcast_tensors(*columns), -1)

    def log_prior(self, eta: Tensor) -> Tensor:
        require_shape(eta, f"{_WHO}: eta", ..., self.dimension, write="torch.zeros(M, N, d)")
        return -0.5 * eta.square().sum(-1)

    @property
    def box(self) -> Tensor:
        return self.coordinates.box

    def estimates(self) -> dict[str, tuple[str, Tensor]]:
        """Typical values at the reference covariates, covariate coefficients, spreads and correlations: those that are learned.

        By name the scale on which an interval is taken ("log", "logit", "linear" or "fisher") and the value (M,).
        """
        typical = self.coordinates(self.coordinates.start + _placed(self.shift, self._shifted))  # (M, q)
        found: dict[str, tuple[str, Tensor]] = {}
        for j, (parameter, effect) in enumerate(zip(self.physical, self.how, strict=True)):
            if not isinstance(effect, Fixed):
                found[parameter.name] = (_interval(parameter, self.coordinates.scales[j]), typical[:, j])
        learned = [name for j, m in self.moves if m.learn for name in names_of(m, self.physical[j].name)]
        for k, name in enumerate(learned):
            found[name] = ("linear", self.coefficients[:, k])
        return {**found, **self.between.estimates(), **(self.within.estimates() if self.within else {})}

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        moves = [(self.physical[j].name, {**described_covariate(m), **(names_only(m) if m.learn else {})}) for j, m in self.moves]
        said = {**self.config(), "covariates": [{"name": f"{m['covariate']} on {name}", **m} for name, m in moves]}
        if self.learn_spread:
            said["effects"] = {p.name: effect.family for p, effect in zip(self.physical, self.how, strict=True)}
            del said["omega"]
            if self.occasions is not None:
                said["occasions"] = {"spread": list(self.occasions.spread), "count": self.occasions.count}
        return said

    def config(self) -> dict[str, Any]:
        models: dict[str, list[dict[str, Any]]] = {}
        for j, model in self.moves:
            models.setdefault(self.physical[j].name, []).append(described_covariate(model))
        given = self.occasions
        occasions = {} if given is None else {"occasions": {"spread": dict(given.spread), "count": given.count}}
        return {
            **occasions,
            "parameters": [asdict(p) for p in self.physical],
            "effects": {p.name: described(e) for p, e in zip(self.physical, self.how, strict=True)},
            "correlated": [list(block) for block in self.between.blocks],
            "omega": [[one, other, value] for (one, other), value in self.between.covariances.items()],
            "covariates": models,
            "learn_spread": self.learn_spread,
        }


def _placed(
    columns: Tensor,  # (..., k)
    places: Sequence[int],  # (q,), k for a zero
) -> Tensor:  # (..., q)
    k = columns.shape[-1]
    if list(places) == list(range(k)):
        return columns
    zero = torch.zeros_like(columns[..., :1]) if k else columns.new_zeros(*columns.shape[:-1], 1)
    return torch.cat([zero if i == k else columns[..., i : i + 1] for i in places], -1)


def _interval(parameter: Parameter, scale: str) -> str:
    """The scale on which an interval of a typical value is taken."""
    if scale == "logit" and (parameter.low, parameter.high) == (0.0, 1.0):
        return "logit"
    return "log" if parameter.positive else "linear"


def _effects(given: object, physical: Sequence[Parameter]) -> tuple[Effect, ...]:
    write = 'effects={"ka": LogNormal(0.6), "V": Shared()}'
    require_kind(given, Mapping, f"{_WHO}: effects", write)
    by: Mapping[str, object] = given  # type: ignore[assignment]  # just found to be a mapping
    names = [p.name for p in physical]
    unknown, absent = [n for n in by if n not in names], [n for n in names if n not in by]
    if unknown or absent:
        said = [f"names {quote(unknown[0])}"] if unknown else []
        said += [f"lacks {absent[0]!r}"] if absent else []
        raise ValueError(
            f"{_WHO}: effects {' and '.join(said)}; say of each of {', '.join(names) or 'no parameter'} how it is spread, "
            "Fixed() for one that is not learned"
        )
    return tuple(effect_of(by[p.name], p, f"{_WHO}: effects") for p in physical)


def _varied(given: Occasions | None, names: Sequence[str], how: Sequence[Effect]) -> list[int]:
    """The places of the parameters that differ between occasions, in their order."""
    if given is None:
        return []
    unknown = [n for n in given.spread if n not in names]
    if unknown:
        raise ValueError(f"{_WHO}: occasions name {quote(unknown[0])}, which is not among {list(names)}")
    for name in given.spread:
        if isinstance(how[names.index(name)], Fixed):
            raise ValueError(f"{_WHO}: {name} is Fixed, and differs between occasions; write Shared() or a spread")
    return [j for j, name in enumerate(names) if name in given.spread]


def _moves(
    given: object, physical: Sequence[Parameter], how: Sequence[Effect], scales: Sequence[str]
) -> tuple[tuple[int, CovariateModel], ...]:
    """Each covariate model with the place of the parameter that it moves, in the order of the parameters."""
    given = {} if given is None else given
    write = 'covariates={"CL": [PowerOf("WT", 70.0, 0.75, unit="kg")]}'
    require_kind(given, Mapping, f"{_WHO}: covariates", write)
    by: Mapping[str, Any] = given  # type: ignore[assignment]  # just found to be a mapping
    names = [p.name for p in physical]
    unknown = [n for n in by if n not in names]
    if unknown:
        raise ValueError(f"{_WHO}: covariates name {quote(unknown[0])}, which is not among {names}")
    found: list[tuple[int, CovariateModel]] = []
    for j, name in enumerate(names):
        models = by.get(name, ())
        require_kind(models, (list, tuple), f"{_WHO}: covariates of {name}", write)
        if models and isinstance(how[j], Fixed):
            raise ValueError(f"{_WHO}: {name} is Fixed, the same for everyone, and has a covariate; write Shared() or a spread")
        for one in models:
            model = covariate_model_of(one, f"{_WHO}: a covariate of {name}")
            if any(k == j and other.covariate == model.covariate for k, other in found):
                raise ValueError(f"{_WHO}: {model.covariate} moves {name} twice; one model would undo the other: take one out")
            power, exponential = isinstance(model, PowerOf), isinstance(model, ExponentialOf)
            if (power and scales[j] != "log") or (exponential and scales[j] == "linear"):
                better = "ExponentialOf, LinearOf or CategoryOf" if scales[j] == "logit" else "LinearOf or CategoryOf"
                raise ValueError(
                    f"{_WHO}: {type(model).__name__} multiplies, and {name} is kept on the {scales[j]} scale; write {better}"
                )
            found.append((j, model))
    return tuple(found)


def _units(moves: Sequence[tuple[int, CovariateModel]]) -> dict[str, str | None]:
    """Each covariate's unit, None where no model states one."""
    found: dict[str, str | None] = {}
    categories: dict[str, bool] = {}
    for _, model in moves:
        name, unit = model.covariate, model.unit
        before = found.setdefault(name, unit)
        if before is not None and unit is not None and before != unit:
            raise ValueError(
                f"{_WHO}: the covariate {name} stands in {before} and in {unit}; state every reference in one unit"
            )
        found[name] = before or unit
        if categories.setdefault(name, isinstance(model, CategoryOf)) != isinstance(model, CategoryOf):
            raise ValueError(f"{_WHO}: the covariate {name} is a category in one parameter and a number in another; choose one")
    return found
