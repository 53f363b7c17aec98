"""Process noise of one size per state, with a part that grows with the state where that is asked for."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joint, in_order, require_joined
from learned.process_noise import ProcessNoise
from learned.sizes import named_numbers, number_of, shown, tensor_of


class DiagonalDiffusion(ProcessNoise):
    """g_i² = s_i² + (b_i x_i)², s and b learned per state.

    Arguments: `scale` s (n,), where learning starts, in the state's unit per √time; 0 for a state that is not driven, and
    stays so. `proportional` b (n,) per √time, by default none; 0 again for a state without that part. In the order of the
    states, or by their names, {"plasma": 1.5}: a state that is not named is not driven.
    Trainable: log s and, where asked for, log b, (M, n). Where a number is 0 its logarithm takes no part.
    Errors: `ValueError` for numbers that are negative or not finite, or lengths that differ.
    Source: Uhlenbeck & Ornstein, Phys. Rev. 36 (1930) 823 for b = 0 and linear f; Overgaard, Jonsson, Tornøe & Madsen,
    J. Pharmacokinet. Pharmacodyn. 32 (2005) 85 for people.
    """

    def __init__(
        self,
        scale: Mapping[str, float] | Sequence[float],
        proportional: Mapping[str, float] | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self._waiting: tuple[Mapping[str, float], Mapping[str, float] | None] | None = None  # until a model says its states
        if isinstance(scale, Mapping) or isinstance(proportional, Mapping):
            if not isinstance(scale, Mapping) or not isinstance(proportional, Mapping | None):
                raise ValueError("DiagonalDiffusion: give scale and proportional both by the states' names, or both in order")
            for name, by in (("scale", scale), ("proportional", proportional)):
                if by is not None and not by:
                    raise ValueError(f"DiagonalDiffusion: {name} names no state; write {{'plasma': 1.0}}, or leave the noise out")
                named_numbers(by or {}, f"DiagonalDiffusion: {name}")
            self._waiting, self.states = (dict(scale), proportional and dict(proportional)), len(scale)
            return
        for name, given in (("scale", scale), ("proportional", [] if proportional is None else proportional)):
            if not isinstance(given, Sized) or not isinstance(given, Iterable) or isinstance(given, str | bytes):
                raise ValueError(f"DiagonalDiffusion: {name} is one number a state, and is {shown(given)}; write [1.0]")
            for one in given:
                number_of(one, f"DiagonalDiffusion: needs a finite {name} ≥ 0 for every state, which", least=0.0)
        self.start = [float(s) for s in scale]
        self.proportional = None if proportional is None else [float(b) for b in proportional]
        both = (*self.start, *(self.proportional or ()))
        sizes = {len(self.start), len(self.start if self.proportional is None else self.proportional)}
        if not self.start or len(sizes) > 1 or not all(0.0 <= v < math.inf for v in both):
            raise ValueError(
                "DiagonalDiffusion: needs a finite scale ≥ 0 for every state, and as many proportional parts or none, got "
                f"{shown(self.start)}, {shown(self.proportional)}"
            )
        self.states = len(self.start)
        self.on: Tensor
        self.register_buffer("on", torch.tensor([float(s > 0.0) for s in self.start], dtype=torch.float64), persistent=False)
        self.log_scale = nn.Parameter(torch.tensor([[math.log(s or 1.0) for s in self.start]], dtype=torch.float64))
        if self.proportional is not None:
            grows = [float(b > 0.0) for b in self.proportional]
            self.grows: Tensor
            self.register_buffer("grows", torch.tensor(grows, dtype=torch.float64), persistent=False)
            self.log_proportional = nn.Parameter(
                torch.tensor([[math.log(b or 1.0) for b in self.proportional]], dtype=torch.float64)
            )

    def joined(self, joint: Joint) -> "DiagonalDiffusion":
        """This noise for a model: one number for each of its states."""
        if self._waiting is None:
            return self
        if not isinstance(joint, Joint):
            raise ValueError(f"DiagonalDiffusion.joined: joint is a Joint, which a HybridModel makes, and got {shown(joint)}")
        made = [
            None if given is None else in_order(given, joint.states, f"DiagonalDiffusion: {name}", 0.0)
            for name, given in zip(("scale", "proportional"), self._waiting, strict=True)
        ]
        return DiagonalDiffusion(made[0] or [], made[1])

    def _require_joined(self) -> None:
        require_joined(self._waiting, "DiagonalDiffusion", "one number for every state")

    def diffusion(self, x: Tensor) -> Tensor:
        self._require_joined()
        tensor_of(x, "DiagonalDiffusion: x", ..., self.states)
        scale = (self.on * self.log_scale.exp())[:, None]  # (M, 1, n)
        if self.proportional is None:
            return scale.expand(torch.broadcast_shapes(scale.shape, x.shape))
        square = scale.square() + ((self.grows * self.log_proportional.exp())[:, None] * x).square()
        driven = square != 0.0  # a square root has no slope at 0; NaN stays
        return torch.where(driven, torch.where(driven, square, 1.0).sqrt(), 0.0)

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        self._require_joined()
        return {name: b.detach() for name, b in self.named_buffers()}

    def config(self) -> dict[str, Any]:
        self._require_joined()
        return {"scale": self.start, "proportional": self.proportional}
