"""The known, stable, linear part of a model: A(θ) and B(θ)."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from physics.arguments import require_shape, require_text
from physics.defaults import Defaults
from physics.glance import Summary, glance, with_units
from physics.parameter import Parameter


def _summary(backbone: Any) -> Summary:
    return f"{type(backbone).__name__}: dx/dt = A(θ) x + B(θ) u, time in {backbone.time_unit}", [
        ("states", with_units(backbone.states, backbone.state_units)),
        ("inputs", with_units(backbone.inputs, backbone.input_units)),
        *((p.name, f"{p.typical:.4g} {p.unit}, from {p.low:.4g} to {p.high:.4g}") for p in backbone.physical),
    ]


class Backbone(nn.Module, ABC):
    """The linear backbone dx/dt = A(θ) x + B(θ) u of a hybrid model.

    Attributes that every member sets: `states` and `state_units`, `inputs` and `input_units`, `physical` (the θ, in
    the order in which `matrices` reads them) and `time_unit`. `starts`: for each number of the baseline that `initial` reads,
    the state that it was measured of and the parameter that the state is divided by (None: by none); a model then finds the
    channel that measures it. None where `initial` reads the channels as they come. `defaults`: what the shell takes of it where
    nobody says otherwise, its observed states, the spread between people, its compartments.
    Law: every eigenvalue of A(θ) has a negative real part, for every θ in the box of `physical`.
    """

    states: tuple[str, ...]
    state_units: tuple[str, ...]
    inputs: tuple[str, ...]
    input_units: tuple[str, ...]
    physical: tuple[Parameter, ...]
    time_unit: str
    starts: tuple[tuple[str, str | None], ...] | None = None
    defaults: Defaults = Defaults()

    __repr__, _repr_html_ = glance(_summary)

    @abstractmethod
    def matrices(
        self,
        theta: Tensor,  # (..., q)
    ) -> tuple[Tensor, Tensor]:  # A (..., n, n), B (..., n, m)
        """A(θ) in 1/time and B(θ), one pair for every leading index of θ."""

    @abstractmethod
    def hull(
        self,
        lower: Tensor,  # (q,)
        upper: Tensor,  # (q,)
    ) -> Tensor:  # (V, n, n)
        """Matrices whose convex combinations hold A(θ), in 1/time, for every θ between the ends.

        At the corners of the box where A is multi-affine; elsewhere an entry-by-entry enclosure. One metric that contracts all
        of them contracts every θ in the box, and every convex combination.
        """

    @abstractmethod
    def initial(
        self,
        theta: Tensor,  # (..., q)
        baseline: Tensor,  # (..., p) what was measured at or before the first dose, NaN where nothing was
    ) -> Tensor:  # (..., n)
        """The state x(0) that a person with parameters θ and this baseline starts from.

        Without a value (NaN) each member says in its docstring what it then starts from: empty compartments, or an
        equilibrium. Errors: `ValueError` where it cannot start without one, naming what has to be measured.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values, so that `type(self)(**config)` rebuilds the backbone."""


def spectral_abscissa(
    A: Tensor,  # (..., n, n)
) -> Tensor:  # (...)
    """The largest real part of any eigenvalue of A, in 1/time: negative exactly when A is Hurwitz.

    Errors: `ValueError` for what is no square matrix of finite real numbers.
    """
    _require_square(A, "spectral_abscissa")
    if not bool(torch.isfinite(A).all()):
        raise ValueError("spectral_abscissa: A has a non-finite entry; check the units and the parameters that it is built from")
    return torch.linalg.eigvals(A).real.amax(-1)


def require_hurwitz(
    A: Tensor,  # (..., n, n)
    name: str,
) -> None:
    """Raise `ValueError`, which begins with `name`, unless every eigenvalue of every A has a negative real part."""
    require_text(name, "require_hurwitz: name, with which the sentence begins,", '"MyBackbone"')
    _require_square(A, name)
    if not torch.isfinite(A).all():
        raise ValueError(f"{name}: A has a non-finite entry; check the units and the parameters that it is built from")
    worst = spectral_abscissa(A).max().item()
    if worst >= 0:
        raise ValueError(
            f"{name}: A is not Hurwitz, an eigenvalue has real part {worst:.3g} (needed: below 0). Likely a "
            "compartment that nothing leaves, an angle or a total kept as a state, or a sign; remove that "
            "state or add its loss"
        )


def _require_square(A: object, name: str) -> None:
    require_shape(A, f"{name}: A", ..., "n", "n", write="torch.tensor([[-1.0]])")
    if isinstance(A, Tensor) and (A.is_meta or 0 in A.shape or A.shape[-1] != A.shape[-2]):
        raise ValueError(f"{name}: A needs shape (..., n, n) with n ≥ 1 and has {tuple(A.shape)} on {A.device}")
