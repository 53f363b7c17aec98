"""How a covariate moves a parameter: by a power, exponentially, linearly, or by category."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from physics.arguments import quote, require_flag, require_number, require_text
from physics.glance import glance
from physics.units import require

FAR = 100.0  # times the reference, or a hundredth of it: a newborn of 1 kg is a seventieth of a reference adult


@dataclass(frozen=True)
class PowerOf:
    """θ · (covariate/reference)^exponent, on the logarithm of θ: + exponent · log(covariate/reference). For positive covariates.

    Arguments: `covariate`, its name; `reference`, where it does nothing; `exponent`; `unit` of the covariate and of the reference
    (UCUM; without, records may not state one either); `learn`: is the exponent learned, starting here?
    """

    covariate: str
    reference: float
    exponent: float = 0.0
    unit: str | None = None
    learn: bool = False

    __repr__, _repr_html_ = glance()
    kind: ClassVar[str] = "power"

    def __post_init__(self) -> None:
        _require_stated(self, "exponent", 'PowerOf("WT", 70.0, 0.75, unit="kg")')
        require_number(self.reference, f"PowerOf: the reference of {self.covariate}, whose logarithm is taken,", above=0.0)


@dataclass(frozen=True)
class ExponentialOf:
    """θ · exp(slope · (covariate − reference)): + slope · (covariate − reference) on the logarithm or the logit of θ.

    Arguments: as `PowerOf`, but `slope`, in 1/unit.
    """

    covariate: str
    reference: float
    slope: float = 0.0
    unit: str | None = None
    learn: bool = False

    __repr__, _repr_html_ = glance()
    kind: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        _require_stated(self, "slope", 'ExponentialOf("AGE", 40.0, -0.01, unit="a")')


@dataclass(frozen=True)
class LinearOf:
    """θ · (1 + slope · (covariate − reference)) on the logarithm; θ + slope · (covariate − reference) of a normal parameter.

    Of a normal parameter, or of a shared one that may be negative, the slope is in the parameter's unit over the covariate's.
    1 + slope · (covariate − reference) must be positive for everyone.
    Arguments: as `PowerOf`, but `slope`.
    """

    covariate: str
    reference: float
    slope: float = 0.0
    unit: str | None = None
    learn: bool = False

    __repr__, _repr_html_ = glance()
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        _require_stated(self, "slope", 'LinearOf("AGE", 40.0, -0.005, unit="a")')


@dataclass(frozen=True)
class CategoryOf:
    """One number for each category: θ · exp(number), and on the logit or the linear scale + number.

    Arguments: `covariate`; `levels`, the number of each value that the covariate may have, {0: 0.0, 1: -0.2}: the first is the
    reference, and its number is 0; `unit`, as in `PowerOf`; `learn`: are the other numbers learned, starting here?
    """

    covariate: str
    levels: Mapping[float, float]
    unit: str | None = None
    learn: bool = False

    __repr__, _repr_html_ = glance()
    kind: ClassVar[str] = "category"

    def __post_init__(self) -> None:
        write = 'CategoryOf("SEX", {0: 0.0, 1: -0.2})'
        _require_named(self, write)
        pairs = list(self.levels.items()) if isinstance(self.levels, Mapping) else self.levels
        if not isinstance(pairs, list | tuple) or not all(isinstance(p, tuple | list) and len(p) == 2 for p in pairs):
            raise ValueError(f"CategoryOf: levels of {self.covariate} are {quote(self.levels)}; write {write}")
        for level, number in pairs:
            require_number(level, f"CategoryOf: a level of {self.covariate}")
            require_number(number, f"CategoryOf: {self.covariate}={level}")
        levels = {float(level): float(number) for level, number in pairs}
        if len(levels) < 2 or len(levels) != len(pairs) or next(iter(levels.values())) != 0.0:
            raise ValueError(
                f"CategoryOf: {self.covariate} needs two levels or more, each once, the first the reference with 0, and has "
                f"{quote(self.levels)}; write {write}"
            )
        object.__setattr__(self, "levels", levels)

    @property
    def reference(self) -> float:
        """The value that does nothing."""
        return next(iter(self.levels))


CovariateModel = PowerOf | ExponentialOf | LinearOf | CategoryOf
COVARIATE_MODELS: tuple[type[CovariateModel], ...] = (PowerOf, ExponentialOf, LinearOf, CategoryOf)


def covariate_model_of(given: object, where: str) -> CovariateModel:
    """The model as it was given, or as `described` wrote it down. Errors: `ValueError`, beginning with `where`."""
    if isinstance(given, Mapping):
        kinds = {kind.kind: kind for kind in COVARIATE_MODELS}
        kind = kinds.get(str(given.get("kind")))
        rest = {k: v for k, v in given.items() if k != "kind"}
        if kind is not None and set(rest) <= {f.name for f in fields(kind)}:
            try:
                return kind(**rest)
            except TypeError:
                pass
    if not isinstance(given, COVARIATE_MODELS):
        raise ValueError(
            f'{where} is {quote(given)}; write PowerOf("WT", 70.0, 0.75, unit="kg"), ExponentialOf(…), LinearOf(…) or '
            "CategoryOf(…)"
        )
    return given


def described(model: CovariateModel) -> dict[str, Any]:
    """A covariate model as plain JSON values."""
    found = {f.name: getattr(model, f.name) for f in fields(model)}
    if isinstance(model, CategoryOf):
        found["levels"] = [[level, number] for level, number in model.levels.items()]
    return {"kind": model.kind, **found}


def names_only(model: CovariateModel) -> dict[str, Any]:
    """Those of `described` that are numbers where learning starts, without the numbers."""
    if isinstance(model, CategoryOf):
        return {"levels": list(model.levels)}
    return {"exponent" if isinstance(model, PowerOf) else "slope": None}


def numbers_of(model: CovariateModel) -> list[float]:
    """The coefficients that are given, and where learning starts."""
    if isinstance(model, CategoryOf):
        return list(model.levels.values())[1:]
    return [model.exponent if isinstance(model, PowerOf) else model.slope]


def names_of(model: CovariateModel, parameter: str) -> list[str]:
    """What the coefficients are called: "WT on V", "SEX=1 on CL"."""
    if isinstance(model, CategoryOf):
        return [f"{model.covariate}={level:g} on {parameter}" for level in list(model.levels)[1:]]
    return [f"{model.covariate} on {parameter}"]


def admissible(
    model: CovariateModel,
    values: Tensor,  # (N,)
) -> Tensor:  # (N,) bool
    """Who has a value that the model can read."""
    if isinstance(model, PowerOf):
        return (values > 0.0) & (values < math.inf)
    if isinstance(model, CategoryOf):
        return torch.stack([values == level for level in model.levels]).any(0)
    return values.abs() < math.inf


def refused(model: CovariateModel, parameter: str, value: float) -> str:
    """Why a value cannot be read, and what to do."""
    name = model.covariate
    if math.isnan(value):
        return f"parameter {parameter} depends on the covariate {name}, which somebody lacks; complete the table, or take it out"
    if isinstance(model, CategoryOf):
        known = ", ".join(f"{level:g}" for level in model.levels)
        return (
            f"parameter {parameter} depends on the category {name}, which is {known} in the model, and {value:g} for somebody: a "
            f"category that was never seen; correct the table, or give {name}={value:g} its number"
        )
    if isinstance(model, PowerOf):
        return (
            f"parameter {parameter} depends on the logarithm of the covariate {name}, which must be positive, and its least "
            f"value is {value:g}; correct the table, or use ExponentialOf or LinearOf"
        )
    return f"parameter {parameter} depends on the covariate {name}, which is {value:g} for somebody; correct the table"


def plausible(model: CovariateModel) -> tuple[float, float] | None:
    """From where to where values are no surprise; None where the model does not say: a newborn's age is a small part of any."""
    if isinstance(model, PowerOf):
        return model.reference / FAR, model.reference * FAR
    if isinstance(model, CategoryOf) or not model.reference > 0.0:
        return None
    return -math.inf, model.reference * FAR


def moved(
    model: CovariateModel,
    values: Tensor,  # (N,)
    numbers: Tensor,  # (M, k)
    multiplies: bool,
) -> Tensor:  # (M, N)
    """What is added on the parameter's scale; of `LinearOf`, where it `multiplies`, NaN for a factor that is not positive."""
    if isinstance(model, PowerOf):
        return numbers * torch.log(values / model.reference)
    if isinstance(model, ExponentialOf):
        return numbers * (values - model.reference)
    if isinstance(model, LinearOf):
        step = numbers * (values - model.reference)
        return torch.where(step > -1.0, torch.log1p(torch.where(step > -1.0, step, 0.0)), torch.nan) if multiplies else step
    found = torch.zeros_like(numbers[:, :1] * values)
    for k, level in enumerate(list(model.levels)[1:]):
        found = found + numbers[:, k : k + 1] * (values == level)
    return found


def _require_named(model: Any, write: str) -> None:
    who = type(model).__name__
    require_text(model.covariate, f"{who}: covariate", write)
    require_flag(model.learn, f"{who}: learn")
    if model.unit is not None:
        object.__setattr__(model, "unit", require(model.unit, f"{who}: covariate {model.covariate}"))


def _require_stated(model: Any, coefficient: str, write: str) -> None:
    _require_named(model, write)
    for name in ("reference", coefficient):
        require_number(getattr(model, name), f"{type(model).__name__}: {name} of {model.covariate}")
        object.__setattr__(model, name, float(getattr(model, name)))
