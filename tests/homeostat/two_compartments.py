"""A backbone as a stranger writes one: two compartments with first-order absorption, in a file of their own."""

import torch
from torch import Tensor

from physics import Backbone, Defaults, Observed, Parameter
from physics.hull import corners


class TwoCompartmentOral(Backbone):
    """d gut/dt = −ka gut, d central/dt = ka gut − (ke + k12) central + k21 outer, d outer/dt = k12 central − k21 outer.

    Amounts in mg, time in h; θ = (ka, ke, k12, k21, V), rates in /h, V in L. Doses go into the gut, or into a vein.
    """

    def __init__(self, ke: float = 0.2) -> None:
        super().__init__()
        self.states, self.state_units = ("gut", "central", "outer"), ("mg", "mg", "mg")
        self.inputs, self.input_units, self.time_unit = (), (), "h"
        self.ke = ke
        typical = {"ka": 1.2, "ke": ke, "k12": 0.3, "k21": 0.25}
        self.physical = (
            *(Parameter(name, "/h", value, value / 20.0, value * 20.0) for name, value in typical.items()),
            Parameter("V", "L", 20.0, 1.0, 400.0),
        )
        self.starts = (("central", "V"),)
        self.defaults = Defaults(
            observed=(Observed("central", "V", "concentration", "mg/L"),),
            spread={"ka": 0.4, "ke": 0.2, "k12": 0.1, "k21": 0.1, "V": 0.2},
            powers={"V": {"WT": (70.0, 1.0, "kg")}},
            amounts=True,
        )

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        ka, ke, k12, k21, _ = theta.unbind(-1)
        zero = torch.zeros_like(ka)
        rows = [[-ka, zero, zero], [ka, -(ke + k12), k21], [zero, k12, -k21]]
        A = torch.stack([torch.stack(row, -1) for row in rows], -2)
        return A, A.new_zeros(*A.shape[:-1], 0)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        low, high = lower.clone(), upper.clone()
        low[4] = high[4]  # the volume does not enter A, which is affine in the rest
        return self.matrices(corners(low, high))[0]

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        central = theta[..., 4] * torch.nan_to_num(baseline[..., 0], nan=0.0)
        zero = torch.zeros_like(central)
        return torch.stack([zero, central, zero], -1)

    def config(self) -> dict[str, float]:
        return {"ke": self.ke}
