"""A backbone given by numbers: constant A and B."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physics.arguments import quote, require_names, require_shape, require_together
from physics.backbone import Backbone, require_hurwitz
from physics.hull import require_parameters
from physics.units import require

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _matrix(value: object, name: str) -> Tensor:
    try:
        if isinstance(value, Tensor) and not (value.is_floating_point() or value.dtype in _WHOLE):
            raise TypeError
        if not isinstance(value, Tensor):
            value = np.asarray(value)  # which takes a list of arrays too
            if value.dtype.kind not in "fiu":
                raise TypeError
        return torch.as_tensor(value, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"LinearBackbone: {name} must be a matrix of numbers, rows of equal length, and is {quote(value)}; write [[-1.0]]"
        ) from error


class LinearBackbone(Backbone):
    """dx/dt = A x + B u with constant A and B, the same for everyone (q = 0).

    Arguments: `A` (n, n) in 1/time; `B` (n, m), none by default; names and units of states and inputs; `time_unit`.
    `initial` is the origin, with a baseline or without: what is measured beforehand says nothing that a general A could use.
    Errors: `ValueError` where A is not square, not finite or not Hurwitz, names do not match the shapes, or a unit is not UCUM.
    """

    def __init__(
        self,
        A: Sequence[Sequence[float]] | Tensor,  # (n, n)
        B: Sequence[Sequence[float]] | Tensor | None = None,  # (n, m)
        *,
        states: Sequence[str] | None = None,
        inputs: Sequence[str] | None = None,
        state_units: Sequence[str] | None = None,
        input_units: Sequence[str] | None = None,
        time_unit: str = "1",
    ) -> None:
        super().__init__()
        A = _matrix(A, "A")
        if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
            raise ValueError(f"LinearBackbone: A needs shape (n, n) with n ≥ 1 and has {tuple(A.shape)}")
        n = A.shape[0]
        B = torch.zeros(n, 0, dtype=torch.float64) if B is None else _matrix(B, "B")
        if B.ndim != 2 or B.shape[0] != n or not torch.isfinite(B).all():
            raise ValueError(f"LinearBackbone: B needs shape ({n}, m), all finite, and has {tuple(B.shape)}")
        require_hurwitz(A, "LinearBackbone")
        given: dict[str, tuple[str, ...] | None] = {}
        for what, names in (("states", states), ("inputs", inputs), ("state_units", state_units), ("input_units", input_units)):
            said = () if names is None else require_names(names, f"LinearBackbone: {what}", f'{what}=["a"]')
            if not what.endswith("units") and len(set(said)) < len(said):
                raise ValueError(f"LinearBackbone: {what} need names that differ, and are {quote(said)}")
            given[what] = None if names is None else said
        states, inputs, state_units, input_units = given.values()
        self.states = tuple(states) if states is not None else tuple(f"x{i + 1}" for i in range(n))
        self.inputs = tuple(inputs) if inputs is not None else tuple(f"u{i + 1}" for i in range(B.shape[1]))
        self.state_units = tuple(state_units) if state_units is not None else ("1",) * n
        self.input_units = tuple(input_units) if input_units is not None else ("1",) * B.shape[1]
        self.physical = ()
        self.time_unit = time_unit
        self.starts = ()
        if len(self.states) != n or len(self.state_units) != n:
            have = f"{quote(self.states)} {quote(self.state_units)}"
            raise ValueError(f"LinearBackbone: needs {n} state names and units, got {have}")
        if len(self.inputs) != B.shape[1] or len(self.input_units) != B.shape[1]:
            raise ValueError(f"LinearBackbone: {B.shape[1]} inputs need as many names and units, got {quote(self.inputs)}")
        named = (*zip(self.states, self.state_units, strict=True), *zip(self.inputs, self.input_units, strict=True))
        for name, unit in (*named, ("time", self.time_unit)):
            require(unit, f"LinearBackbone: {name}")
        self.A: Tensor
        self.B: Tensor
        self.register_buffer("A", A)
        self.register_buffer("B", B)

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        require_shape(theta, "LinearBackbone: theta", ..., 0, write="torch.zeros(1, N, 0), for there are no parameters")
        lead = theta.shape[:-1]
        return self.A.expand(*lead, *self.A.shape), self.B.expand(*lead, *self.B.shape)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        require_parameters(lower, upper, 0, "LinearBackbone")
        return self.A[None]

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        require_shape(theta, "LinearBackbone: theta", ..., 0, write="torch.zeros(1, N, 0), for there are no parameters")
        require_shape(baseline, "LinearBackbone: baseline", ..., "p", write="conditions.baseline")
        require_together(theta, baseline, "LinearBackbone: theta and baseline")
        lead = torch.broadcast_shapes(theta.shape[:-1], baseline.shape[:-1])
        return self.A.new_zeros(*lead, self.A.shape[0])

    def config(self) -> dict[str, Any]:
        return {
            "A": self.A.tolist(),
            # a (n, 0) matrix would lose its second size in JSON
            "B": self.B.tolist() if self.B.shape[1] else None,
            "states": list(self.states),
            "inputs": list(self.inputs),
            "state_units": list(self.state_units),
            "input_units": list(self.input_units),
            "time_unit": self.time_unit,
        }
