"""Everything that a step of a fit changes, and so everything that a checkpoint holds."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from hybrid import HybridModel
from physics.arguments import require_kind
from training.fitted import Fitted
from training.machinery.checkpoint import Saved, plain

KindT = TypeVar("KindT")


@dataclass
class State:
    """A fit after step `index`.

    The `model` and the people's coordinates `personal` (M, N, d), their `optimiser` and its `schedule`; the `best` fit;
    `best_score`, `latest` score and `stale` looks (M,) of held-out people, whose coordinates `warm` (M, N, d) the next
    look goes on from; `loss` (M,) and learning `rate` of the step.
    Law: `restore(saved())` and going on is going on.
    """

    model: HybridModel
    personal: Tensor
    optimiser: Optimizer
    schedule: LRScheduler
    best: Fitted
    best_score: Tensor
    latest: Tensor
    stale: Tensor
    loss: Tensor
    warm: Tensor | None = None
    rate: float = math.nan
    index: int = 0

    @staticmethod
    def begin(
        model: HybridModel,
        people: int,
        optimiser: Callable[..., Optimizer],
        rate: float,
        schedule: Callable[[Optimizer], LRScheduler],
    ) -> "State":
        """Before the first step: everyone at 0, in the model's own type and on its device.

        Errors: `ValueError` for an optimiser or schedule that cannot keep members apart.
        """
        M = model.members
        like = model_like(model)
        personal = torch.zeros(M, people, model.personal, dtype=like.dtype, device=like.device, requires_grad=True)
        moved_by = _made(lambda: optimiser([*model.parameters(), personal], lr=rate), Optimizer, "optimiser=torch.optim.Adam")
        if isinstance(moved_by, torch.optim.LBFGS):
            raise ValueError("fit: LBFGS searches along one line for all members; use one that works by element (Adam, SGD)")
        scheduled = _made(
            lambda: schedule(moved_by), LRScheduler, "schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 200)"
        )
        if isinstance(scheduled, ReduceLROnPlateau):
            raise ValueError("fit: ReduceLROnPlateau would let one member's loss set the others' rate; use one that counts steps")
        unknown = torch.full((M,), math.nan, dtype=torch.float64, device=like.device)
        return State(
            model,
            personal,
            moved_by,
            scheduled,
            best=Fitted(copy.deepcopy(model), personal.detach().clone()),
            best_score=torch.full_like(unknown, math.inf),
            latest=unknown,
            stale=torch.zeros(M, dtype=torch.long, device=like.device),
            loss=unknown,
        )

    def saved(self) -> Saved:
        """A copy that no later step changes."""
        tensors = {f"model.{name}": t.detach().clone() for name, t in _tensors(self.model)}
        tensors |= {f"best.{name}": t.detach() for name, t in _tensors(self.best.model)}
        tensors |= {"personal": self.personal.detach().clone(), "best_personal": self.best.personal}
        tensors |= {name: getattr(self, name) for name in ("best_score", "latest", "stale", "loss")}
        if self.warm is not None:
            tensors["warm"] = self.warm
        # fit draws nothing; a residual of one's own may
        tensors["generator.cpu"] = torch.get_rng_state()
        if self.personal.is_cuda:
            tensors["generator.cuda"] = torch.cuda.get_rng_state(self.personal.device)
        numbers: dict[str, dict[str, object]] = {}
        on_cpu = []  # step counts live there, whatever device their parameter is on
        for i, parameter in enumerate(self._moved()):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{i}.{key}"] = value.detach().clone()
                    on_cpu += [f"optimiser.{i}.{key}"] * (not value.is_cuda)
                else:
                    numbers.setdefault(str(i), {})[key] = value
        values = {"rate": self.rate, "groups": self.groups(), "optimiser": numbers, "on_cpu": on_cpu}
        return Saved(self.index, values, tensors)

    def restore(self, saved: Saved) -> None:
        """Become the state that was saved, of the same fit.

        Errors: `ValueError` where the schedule does not lead to the rates that were saved.
        """
        tensors, where = saved.tensors, self.personal.device
        # The schedule's state is the count of its steps, so it is stepped there: whatever a schedule of one's own keeps
        # inside need not be written. Without gradients the optimiser's own steps change nothing.
        self.optimiser.zero_grad()
        for _ in range(saved.index):
            self.optimiser.step()
            self.schedule.step()
        if json.dumps(self.groups()) != json.dumps(saved.values["groups"]):
            raise ValueError(
                f"the schedule leads to {self.groups()} at step {saved.index} and the checkpoint has {saved.values['groups']}; "
                "give the schedule that it was given, or delete the checkpoint to start anew"
            )
        self.optimiser.state.clear()
        best = copy.deepcopy(self.model)
        with torch.no_grad():
            for start, model in (("model", self.model), ("best", best)):
                for name, tensor in _tensors(model):
                    tensor.copy_(tensors[f"{start}.{name}"])
            self.personal.copy_(tensors["personal"])
        moved = self._moved()
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, i, key = name.split(".", 2)
                counts = tensor.ndim == 0 and name in saved.values["on_cpu"]
                self.optimiser.state[moved[int(i)]][key] = tensor if counts else tensor.to(where)
        for i, numbers in saved.values["optimiser"].items():
            self.optimiser.state[moved[int(i)]].update(numbers)
        self.best = Fitted(best, tensors["best_personal"].to(where))
        self.best_score, self.latest = tensors["best_score"].to(where), tensors["latest"].to(where)
        self.stale, self.loss = tensors["stale"].to(where), tensors["loss"].to(where)
        self.warm = tensors["warm"].to(where) if "warm" in tensors else None
        self.rate, self.index = saved.values["rate"], saved.index
        torch.set_rng_state(tensors["generator.cpu"])
        if self.personal.is_cuda and "generator.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["generator.cuda"], where)

    def groups(self) -> list[dict[str, object]]:
        """The optimiser's numbers, as plain JSON values."""
        return [{k: plain(v) for k, v in g.items() if k != "params"} for g in self.optimiser.param_groups]

    def _moved(self) -> list[Tensor]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]


def _tensors(model: HybridModel) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _made(make: Callable[[], KindT], kind: type[KindT], write: str) -> KindT:
    """What a function of the caller's makes. Errors: `ValueError` where it makes something else, or nothing."""
    try:
        made = make()
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"fit: no {kind.__name__} can be made: {str(error)[:150]}; write {write}") from error
    require_kind(made, kind, f"fit: what the function gives, which is to be a {kind.__name__},", write)
    return made


def model_like(model: HybridModel) -> Tensor:
    """A tensor of the model's type, where the model's numbers are."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor
    return torch.zeros((), dtype=torch.float64)
