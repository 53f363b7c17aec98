"""What a fit leaves, and how to wait for it."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from hybrid import HybridModel
from physics.arguments import quote
from physics.glance import Summary, glance


def _summary(fitted: Any) -> Summary:
    return "Fitted", [("model", fitted.model), ("personal", fitted.personal), ("step", fitted.step)]


@dataclass(frozen=True)
class Fitted:
    """A model at its best step so far: every member at its own best, with the people's coordinates (M, N, d).

    `step`: where `last` gave it, the step that the fit ended with (its `index`, `loss`, and whatever else that fit says).
    """

    model: HybridModel
    personal: Tensor
    step: "FitStep | None" = field(default=None, repr=False, compare=False)

    __repr__, _repr_html_ = glance(_summary)


@dataclass(frozen=True)
class Compared:
    """By what the members of one fit may be compared.

    `held_out` (M,): what judges says of each member's `best`, NaN where nothing judges it or it has not been looked at ·
    `people` (M,): the sum of the weights of those who teach it · `alike`: whether all members are taught and judged by the same.
    """

    held_out: Tensor
    people: Tensor
    alike: bool

    __repr__, _repr_html_ = glance()


@runtime_checkable
class FitStep(Protocol):
    """What the steps of every fit say: `index` of at most `total`, each member's `loss` (M,), and `best`, the fit to keep."""

    @property
    def index(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def loss(self) -> Tensor: ...

    @property
    def best(self) -> Fitted: ...


def last(steps: Iterable[FitStep]) -> Fitted:
    """Run a fit to its end: `best` of its last step, with that step beside it.

    Arguments: `steps`, what `fit`, `shoot` or `fit_population` yield, as they come or passed on by `log_steps`, `recorded` or
    a progress bar.
    Returns: `Fitted`: `model`, `personal` (M, N, d), and `step`, the last one.
    Ctrl-C ends the fit and is passed on; a fit with a checkpoint has saved by then, and goes on when it is called again. Who
    wants to stop early and keep what there is writes the loop: every step has its `best`.
    Errors: `ValueError` for what yields no steps, and where none is left: steps are used up by the loop over them.
    """
    write = "last(fit(model, cohort))"
    if not isinstance(steps, Iterable) or isinstance(steps, str | bytes):
        raise ValueError(f"last: steps are those of a fit, as they come, and are {quote(steps)}; write {write}")
    step: FitStep | None = None
    try:
        for one in steps:
            if not isinstance(one, FitStep):
                raise ValueError(f"last: steps are those of a fit, and one is {quote(one)}; write {write}")
            step = one
    finally:
        if isinstance(steps, Generator):
            steps.close()  # now, whatever still holds it: that is when a fit with a checkpoint saves
    if step is None:
        raise ValueError(f"last: no step is left: the steps of a fit are used up by the loop over them; write {write}")
    return Fitted(step.best.model, step.best.personal, step)
