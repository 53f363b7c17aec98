"""One compartment with first-order absorption from the gut."""

from typing import Any

import torch
from torch import Tensor

from physics.backbone import Backbone
from physics.hull import corners, require_parameters
from physics.parameter import Parameter

_SOURCE = "Boeckmann, Sheiner & Beal, NONMEM Users Guide Part V (1994), theophylline"


class OneCompartmentOral(Backbone):
    """Amounts in gut and plasma after an oral dose.

    d gut/dt = −ka·gut and d plasma/dt = ka·gut − ke·plasma; the concentration is plasma/V. States in mg, time in h.
    Parameters θ: ka (absorption rate, /h), ke (elimination rate, /h), V (volume of distribution, L).
    The boxes of ka and ke do not meet, ka > ke always: that removes the flip-flop ambiguity (the same curve with ka and
    ke exchanged). A is lower triangular with diagonal (−ka, −ke), so it is Hurwitz for every admissible θ.
    `initial`: nothing in the gut, and V times the concentration measured at or before the first dose in the plasma; where none
    was measured both are empty.
    Law: without a residual, a single dose gives the closed form of Bateman (1910).
    Source of the typical values: see `physical`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states = ("gut", "plasma")
        self.state_units = ("mg", "mg")
        self.inputs = ()
        self.input_units = ()
        self.time_unit = "h"
        self.starts = (("plasma", "V"),)
        self.physical = (
            Parameter("ka", "/h", 1.5, 0.3, 4.0, _SOURCE),
            Parameter("ke", "/h", 0.086, 0.02, 0.25, _SOURCE),
            Parameter("V", "L", 31.5, 5.0, 200.0, _SOURCE + ", .45 L/kg at 70 kg"),
        )

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        ka, ke = theta[..., 0], theta[..., 1]
        zero = torch.zeros_like(ka)
        A = torch.stack([torch.stack([-ka, zero], -1), torch.stack([ka, -ke], -1)], -2)
        return A, theta.new_zeros(*theta.shape[:-1], 2, 0)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Affine in (ka, ke), and free of V: the two rates' corners, entry for entry the ends themselves."""
        require_parameters(lower, upper, 3, "OneCompartmentOral")
        volume = lower[2:]  # held: it does not enter A
        A, _ = self.matrices(corners(lower, torch.cat([upper[:2], volume])))
        return A

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        measured = baseline[..., 0]
        plasma = theta[..., 2] * torch.where(torch.isnan(measured), 0.0, measured)
        return torch.stack([torch.zeros_like(plasma), plasma], -1)

    def config(self) -> dict[str, Any]:
        return {}
