"""How a population alone is asked for: its likelihood, its error model, and how its parameters differ between people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from physics import Backbone, MixedPopulation, PowerOf, Shared
from physics.arguments import quote
from physics.effects import Effect
from physics.glance import glance
from training.inference import Approximation

ErrorModel = Literal["additive", "combined1", "combined2"]

ERRORS: tuple[ErrorModel, ...] = ("additive", "combined1", "combined2")


@dataclass(frozen=True)
class Alone:
    """How a population alone is fitted.

    `approximation` of the marginal likelihood · `error`, the model of measurement noise: "additive", or "combined1" (standard
    deviations add) or "combined2" (variances add) of an additive and a proportional part · `correlated`, the blocks of parameters
    whose effects are correlated · `shared`, the parameters that are one value for everyone.
    """

    approximation: Approximation = "focei"
    error: ErrorModel = "combined2"
    correlated: tuple[tuple[str, ...], ...] = ()
    shared: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()

    def population(
        self,
        backbone: Backbone,
        effects: Mapping[str, Effect],
        covariates: Mapping[str, Sequence[PowerOf]],
    ) -> MixedPopulation:
        """Its parts: these effects of parameters, but for those that are shared, and these powers of covariates.

        Errors: `ValueError` for a backbone without parameters, names that are none of them, and people who do not differ.
        """
        names = [p.name for p in backbone.physical]
        if not names:
            raise ValueError(
                f"--method {self.approximation}: {type(backbone).__name__} has no parameters, and a population alone has nothing "
                "else to estimate; leave --method out"
            )
        for name in (*self.shared, *(one for block in self.correlated for one in block)):
            if name not in names:
                option = "--shared" if name in self.shared else "--correlated"
                raise ValueError(f"{option} names {quote(name)}, and the parameters are {', '.join(names)}")
        if set(names) <= set(self.shared):
            raise ValueError(
                f"--shared names every parameter ({', '.join(names)}), so that people do not differ, and there is no population "
                "to be fitted; leave one out"
            )
        effects = {**effects, **{name: Shared() for name in self.shared}}
        return MixedPopulation(backbone, effects, correlated=self.correlated, covariates=covariates, learn_spread=True)

    def notes(self) -> list[str]:
        """What a reader of the page must know of such a fit."""
        by = {
            "focei": "FOCE with interaction",
            "laplace": "Laplace's method",
            "quadrature": "adaptive Gauss–Hermite quadrature",
        }[self.approximation]
        error = {
            "additive": "additive",
            "combined1": "combined1: the standard deviations of an additive and a proportional part add",
            "combined2": "combined2: the variances of an additive and a proportional part add",
        }[self.error]
        return [
            f"A population alone, by its marginal likelihood ({by}); the error is {error}.",
            "A parameter bends before the ends of its box, and one may be kept above another, as ka above CL/V: −2 log L is that "
            "of this model, and a program without boxes has a slightly different one.",
            "It is one model, whose estimates forecasts take as known: their intervals hold the noise and what is not known of a "
            "person, and nothing of how uncertain the estimates are.",
        ]

    def provenance(self) -> dict[str, Any]:
        """The same for a bundle, beside its settings."""
        found: dict[str, Any] = {"settings.method": self.approximation, "settings.error": self.error}
        if self.correlated:
            found["settings.correlated"] = "; ".join(",".join(block) for block in self.correlated)
        return found | ({"settings.shared": ",".join(self.shared)} if self.shared else {})
