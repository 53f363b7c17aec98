"""How a study is run."""

from dataclasses import dataclass

import torch

from exchange import solver_named
from exchange.bundle.solvers import DEFAULT
from physics.arguments import InputError, quote, require_device
from physics.glance import glance


@dataclass(frozen=True)
class Settings:
    """How a study is run. Times in the model's unit, since everyone's first dose (or start).

    `members` of the ensemble, `folds` of the cross-validation, at most `steps` of training at learning `rate`,
    `forecast_from`: unseen people are forecast from what was measured up to this time; `draws` of a person's own
    parameters; `seed` of everything random; `solver`, by its name (`solver_named`), of training and of the
    search for a person; predictions are made by it where it adapts its steps, and by error control otherwise.
    """

    members: int = 8
    folds: int = 6
    steps: int = 120
    rate: float = 0.03
    forecast_from: float | None = None
    draws: int = 16
    seed: int = 2026
    device: str = "cpu"
    solver: str = DEFAULT

    __repr__, _repr_html_ = glance()


def require_settings(settings: Settings) -> None:
    """See that there are such a solver and such a device, before anything is read or written for them.

    Errors: `ValueError`, with what there is.
    """
    solver_named(settings.solver)
    try:
        require_device(settings.device, "settings.device")
    except ValueError as error:
        problem, more = f"there is no device {quote(settings.device)}", ""
        if str(settings.device).startswith("cuda"):
            problem = f"device {settings.device}: this torch sees no such GPU"
            more = "" if torch.backends.cuda.is_built() else ", or install a torch with CUDA"
        there = " or ".join(["cpu", *(f"cuda:{k}" for k in range(min(torch.cuda.device_count(), 4)))])
        raise InputError(problem, f"the devices here are {there}{more}", f"write --device {there}{more}") from error
