"""L-BFGS with a line search as one of torch's optimisers, every member with a memory and a step of its own."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hybrid import SimulationError
from training.loop.descent import LineSearch, Point


class MembersLBFGS(Optimizer):
    """`LineSearch` of every member, one trial a step; its objective is to be the same at every call, without noise.

    After a step the tensors (M, …) are where each member's search is: a trial that was no better has been taken back. No step
    moves any number by more than `lr`. A member is converged where no derivative is above `tolerance`; whoever has ended moves no
    more, and once all have, nothing is evaluated.
    What it knows is in `state` of the first tensor, where a checkpoint looks for it.
    Law: members do not influence each other.
    Source: Liu & Nocedal, Math. Program. 45 (1989) 503.
    """

    def __init__(self, tensors: Iterable[Tensor], lr: float = 0.05, tolerance: float = 1e-3) -> None:
        super().__init__(tensors, {"lr": lr})
        self.tolerance = tolerance
        self._tensors: list[Tensor] = [t for group in self.param_groups for t in group["params"]]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Try one point of every member; the objective (M,) where each is then.

        `closure()` gives the objectives (M,), infinite where there is none, and leaves the gradients of their sum in the tensors.
        Where a trial cannot be simulated, which does not say whose it was, each member is tried alone, and who fails then takes a
        shorter step.
        Errors: `SimulationError` where the search begins.
        """
        if closure is None:
            return None
        kept = self.state[self._tensors[0]]
        if kept:
            search = self._search(self._at(kept["loss"]), kept["loss"])
            search.restore(kept["index"], {name.replace("-", "."): t for name, t in kept.items() if name != "index"})
        else:
            loss = closure().detach().double()
            search = self._search(self._at(loss), loss)
        if not all(search.said(-1).ended):
            search.take(self._tried(closure, search.trial()[0], search.point))
            search.index += 1
            self._place(search.point)
        self.state[self._tensors[0]] = {name.replace(".", "-"): t for name, t in search.saved().items()} | {"index": search.index}
        return search.loss.to(self._tensors[0].dtype)

    def _tried(self, closure: Callable[[], Any], trial: Tensor, point: Tensor) -> Point:
        """What the objective is at the trial of each member, infinite for who cannot be simulated there."""
        found = self._at_point(closure, trial)
        if found is not None:
            return found
        gradient, loss = torch.zeros_like(trial), torch.full_like(trial[:, 0], torch.inf)
        for m in range(len(trial) if len(trial) > 1 else 0):
            only = point.clone()
            only[m] = trial[m]
            alone = self._at_point(closure, only)
            if alone is not None:
                loss[m], gradient[m] = alone.loss[m], alone.gradient[m]
        return Point(loss, torch.full_like(loss, torch.nan), gradient, gradient[:, :0])

    def _at_point(self, closure: Callable[[], Any], point: Tensor) -> Point | None:
        self._place(point)
        try:
            return self._point(closure().detach().double())
        except SimulationError:
            self.zero_grad()
            return None

    def _search(self, point: Tensor, loss: Tensor) -> LineSearch:
        nobody = torch.zeros_like(loss, dtype=torch.bool)
        longest = float(self.param_groups[0]["lr"])
        return LineSearch(point, self._point(loss), nobody, patience=1, tolerance=self.tolerance, longest=longest)

    def _point(self, loss: Tensor) -> Point:
        rows = [torch.zeros_like(t) if t.grad is None else t.grad for t in self._tensors]
        gradient = torch.cat([_rows(r, len(loss)) for r in rows], 1)
        return Point(loss, torch.full_like(loss, torch.nan), gradient, loss.new_zeros(len(loss), 0))

    def _at(self, loss: Tensor) -> Tensor:  # (M, P)
        return torch.cat([_rows(t, len(loss)) for t in self._tensors], 1)

    def _place(self, point: Tensor) -> None:
        with torch.no_grad():
            widths = [t.numel() // len(point) for t in self._tensors]
            for tensor, value in zip(self._tensors, point.split(widths, 1), strict=True):
                tensor.copy_(value.reshape(tensor.shape))


def _rows(tensor: Tensor, members: int) -> Tensor:  # (M, P)
    return tensor.detach().reshape(members, tensor.numel() // members).double()
