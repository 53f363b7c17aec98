"""Measurements whose errors are log-normal: the logarithm of what another observation shows."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hybrid.observation import JoinsBackbone, Observation
from physics import Backbone
from physics.arguments import require_kind, require_number


class Log(Observation):
    """y = log max(h(x, θ), least): the natural logarithm of each channel of another observation, in that channel's unit.

    With noise of a constant standard deviation σ on it, `Constant({"log(concentration)": 0.2}, …)`, what is measured is
    log-normal: its median is h, its quantiles are exp of those of the logarithm, and σ is about its coefficient of variation.
    The channel is called "log(concentration)", its unit is 1, and everything that is shown of it, a band, a score, a residual,
    is of the logarithm, and says so by this name; exp of a median or a quantile is that of the measurement, exp of a mean is not
    its mean. Records are given as they were measured: `Cohort.of` takes their logarithm, and that of limits, in the unit of the
    channel within; those that are logarithms already are named so. A baseline is in this channel's unit too, its logarithm.
    −2 log L is that of the logarithms, as programs state it that are given log-transformed data; that of the measurements
    themselves is greater by 2 Σ log y, and no model of them is compared with this one by it.

    Arguments: `within`, the observation of what is measured, `Concentration("plasma", "V")`; `least` > 0, in the unit of its
    channels, what stands for anything smaller: before a dose arrives a model has 0, of which there is no logarithm. Nobody can
    measure anything near it.
    Errors: `ValueError` for what is no observation, or a `least` that is not positive.
    """

    def __init__(self, within: Observation, least: float) -> None:
        super().__init__()
        require_kind(within, Observation, "Log: within", 'Log(Concentration("plasma", "V"), 0.001)')
        if isinstance(within, Log):
            raise ValueError("Log: within is a logarithm already; give the observation of what is measured")
        require_number(least, "Log: least, in the channel's unit,", above=0.0)
        self.within, self.least, self.linear = within, float(least), False
        self.channels = tuple(f"log({name})" for name in within.channels)
        self.units = tuple("1" for _ in within.channels)
        self.sees_inputs, self.covariates = within.sees_inputs, dict(within.covariates)
        if isinstance(within, JoinsBackbone):
            self.measured = within.measured

    def joined(self, backbone: Backbone) -> "Log":
        """That of the observation within, as this backbone has it."""
        return Log(self.within.joined(backbone) if isinstance(self.within, JoinsBackbone) else self.within, self.least)

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.seen(x, theta)

    def seen(
        self, x: Tensor, theta: Tensor, u: Tensor | None = None, covariates: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        y = self.within.seen(x, theta, u, covariates)
        return torch.log(torch.clamp(y, min=self.least))

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {"least": self.least}

    def config(self) -> dict[str, Any]:
        within = {"class": type(self.within).__name__, "config": self.within.config()}
        return {"within": within, "least": self.least}
