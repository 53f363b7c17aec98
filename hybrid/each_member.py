"""One member of a model at a time, differentiable in the model's own tensors."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hybrid.model import HybridModel
from hybrid.problem import Start

T = TypeVar("T")


class _Asked(nn.Module):
    """What calls a function of the model, so that torch puts a member's tensors in the place of all members' meanwhile."""

    def __init__(self, model: HybridModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[HybridModel], Any]) -> Any:
        return function(self.model)


def of_member(model: HybridModel, member: int, function: Callable[[HybridModel], T]) -> T:
    """function(model) of a model that has this member alone; gradients end at the tensors of the whole model."""
    if model.members == 1:
        return function(model)
    own = {f"model.{name}": p[member : member + 1] for name, p in model.named_parameters() if p.shape[0] > 1}
    found: T = torch.func.functional_call(_Asked(model), own, (function,))
    return found


def members_of(start: Start | None) -> int:
    """How many members a start names, 1 where it is for all."""
    if start is None:
        return 1
    state = start[0] if isinstance(start, tuple | list) else start
    return state.shape[0] if isinstance(state, Tensor) and state.ndim == 3 else 1


def start_of_member(start: Start | None, member: int) -> Start | None:
    """What of a start is this member's."""
    if start is None or members_of(start) == 1:
        return start
    if isinstance(start, tuple | list):
        x, S = start[0], start[1]
        return x[member : member + 1], S[member : member + 1] if isinstance(S, Tensor) and S.ndim == 4 else S
    return start[member : member + 1]
