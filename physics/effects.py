"""How one parameter of a person is spread over a population: log-normal, logit-normal, normal, shared and learned, or fixed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from physics.arguments import quote, require_number
from physics.glance import glance
from physics.parameter import Parameter

Scale = Literal["log", "logit", "linear"]


@dataclass(frozen=True)
class LogNormal:
    """θ = typical · exp(ω η̃), η̃ ~ N(0, 1): a positive parameter; `spread` ω, the standard deviation of log θ."""

    spread: float

    __repr__, _repr_html_ = glance()
    family: ClassVar[str] = "log-normal"

    def __post_init__(self) -> None:
        require_number(self.spread, f"{type(self).__name__}: spread", above=0.0)
        object.__setattr__(self, "spread", float(self.spread))


@dataclass(frozen=True)
class LogitNormal:
    """logit((θ − low)/(high − low)) = that of the typical value + ω η̃: a parameter that lives in its box, as a fraction does.

    `spread` ω, the standard deviation of the logit.
    """

    spread: float

    __repr__, _repr_html_ = glance()
    family: ClassVar[str] = "logit-normal"

    def __post_init__(self) -> None:
        require_number(self.spread, f"{type(self).__name__}: spread", above=0.0)
        object.__setattr__(self, "spread", float(self.spread))


@dataclass(frozen=True)
class Normal:
    """θ = typical + ω η̃: a parameter of either sign; `spread` ω, its standard deviation, in the parameter's unit."""

    spread: float

    __repr__, _repr_html_ = glance()
    family: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        require_number(self.spread, f"{type(self).__name__}: spread", above=0.0)
        object.__setattr__(self, "spread", float(self.spread))


@dataclass(frozen=True)
class Shared:
    """One value for everyone with the same covariates, which is learned; there is no η."""

    __repr__, _repr_html_ = glance()
    family: ClassVar[str] = "shared"


@dataclass(frozen=True)
class Fixed:
    """The parameter's typical value, for everyone, which no fit moves."""

    __repr__, _repr_html_ = glance()
    family: ClassVar[str] = "fixed"


Effect = LogNormal | LogitNormal | Normal | Shared | Fixed
EFFECTS: tuple[type[Effect], ...] = (LogNormal, LogitNormal, Normal, Shared, Fixed)


def effect_of(given: object, parameter: Parameter, where: str) -> Effect:
    """The effect as it was given, or as `described` wrote it down. Errors: `ValueError`, beginning with `where`."""
    said = given
    if isinstance(given, Mapping):
        kinds = {kind.family: kind for kind in EFFECTS}
        rest = {k: v for k, v in given.items() if k != "family"}
        kind = kinds.get(str(given.get("family")))
        if kind is not None and set(rest) <= ({"spread"} if kind in (LogNormal, LogitNormal, Normal) else set()):
            try:
                said = kind(**rest)
            except TypeError:
                said = given
    if not isinstance(said, EFFECTS):
        raise ValueError(
            f"{where}: {parameter.name} is {quote(given)}; write LogNormal(0.3), LogitNormal(0.5), Normal(2.0), Shared() or "
            "Fixed()"
        )
    if isinstance(said, LogNormal) and not parameter.positive:
        raise ValueError(
            f"{where}: {parameter.name} is log-normal, and its box is {parameter.low:g} to {parameter.high:g} {parameter.unit}; "
            "give it a positive box, or write Normal(…) or LogitNormal(…)"
        )
    return said


def described(effect: Effect) -> dict[str, Any]:
    """An effect as plain JSON values."""
    spread = spread_of(effect)
    return {"family": effect.family} if spread is None else {"family": effect.family, "spread": spread}


def spread_of(effect: Effect) -> float | None:
    """ω as it was given, None for a parameter that does not differ between people."""
    return None if isinstance(effect, Shared | Fixed) else effect.spread


def scale_of(effect: Effect, parameter: Parameter) -> Scale:
    """The scale on which η and covariate effects are added: of a shared one the logarithm, where its box is positive."""
    if isinstance(effect, LogitNormal):
        return "logit"
    if isinstance(effect, Normal):
        return "linear"
    return "log" if parameter.positive else "linear"
