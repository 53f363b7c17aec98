"""Everything that a step of a fit changes, and so everything that a checkpoint holds."""

import contextlib
import copy
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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

    The `model` and the people's coordinates `personal` (M, N, d), and `more` that a step changes, by name (starts of windows,
    multipliers); the `best` fit; `best_score`, `latest` score and `stale` looks (M,) of what judges, whose people's coordinates
    `warm` (M, N, d) the next look goes on from; `loss` (M,) and learning `rate` of the step. The `optimiser` and its `schedule`
    are those of the `stage` that began after step `since`.
    Law: `restore(saved())` and going on is going on.
    """

    model: HybridModel
    personal: Tensor
    best: Fitted
    best_score: Tensor
    latest: Tensor
    stale: Tensor
    loss: Tensor
    more: dict[str, Tensor] = field(default_factory=dict)
    warm: Tensor | None = None
    rate: float = math.nan
    index: int = 0
    stage: str = ""
    since: int = 0
    moved_by: Optimizer | None = None
    scheduled: LRScheduler | None = None

    @staticmethod
    def begin(
        model: HybridModel,
        people: int,
        personal: Tensor | None = None,  # (M, N, d)
        more: Mapping[str, Tensor] | None = None,
    ) -> "State":
        """Before the first step: everyone at 0 or as `personal` says, in the model's own type and on its device."""
        M = model.members
        like = model_like(model)
        if personal is None:
            personal = torch.zeros(M, people, model.personal, dtype=like.dtype, device=like.device)
        personal = personal.detach().clone().requires_grad_()
        unknown = torch.full((M,), math.nan, dtype=torch.float64, device=like.device)
        return State(
            model,
            personal,
            best=Fitted(copy.deepcopy(model), personal.detach().clone()),
            best_score=torch.full_like(unknown, math.inf),
            latest=unknown,
            stale=torch.zeros(M, dtype=torch.long, device=like.device),
            loss=unknown,
            more=dict(more or {}),
        )

    def enter(
        self,
        stage: str,
        since: int,
        groups: Sequence[Mapping[str, Any]],
        optimiser: Callable[..., Optimizer],
        rate: float,
        schedule: Callable[[Optimizer], LRScheduler],
        name: str = "fit",
        steps: int = 0,
    ) -> None:
        """Begin a stage: an optimiser of these groups of tensors, and its schedule, which is to have a rate for so many `steps`.

        A group may carry numbers of its own beside its "params", as torch takes them; where there is one, or an optimiser takes
        no groups, the tensors alone are given.
        Errors: `ValueError`, beginning with `name`, for an optimiser or schedule that cannot keep members apart.
        """
        write = "optimiser=torch.optim.Adam"

        everything = [tensor for group in groups for tensor in group["params"]]

        def moves() -> Optimizer:
            if len(groups) > 1:
                with contextlib.suppress(TypeError, ValueError, AttributeError):  # some, like L-BFGS, take no groups
                    return optimiser([dict(g) for g in groups], lr=rate)
            return optimiser(everything, lr=rate)

        self.moved_by = _made(moves, Optimizer, write, name)
        if isinstance(self.moved_by, torch.optim.LBFGS) and self.model.members > 1:
            raise ValueError(
                f"{name}: LBFGS searches along one line for all {self.model.members} members; use one that works by element "
                "(Adam, SGD), or fit members one by one, select(model, torch.tensor([0]))"
            )
        by = self.moved_by
        write = "schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 200)"
        self.scheduled = _made(lambda: schedule(by), LRScheduler, write, name)
        if isinstance(self.scheduled, ReduceLROnPlateau):
            raise ValueError(
                f"{name}: ReduceLROnPlateau would let one member's loss set the others' rate; use one that counts steps"
            )
        own = [{**{k: v for k, v in g.items() if k != "params"}, "params": [torch.zeros(1, requires_grad=True)]} for g in groups]
        require_schedule(schedule, optimiser, own if len(by.param_groups) > 1 else own[0]["params"], rate, steps, name)
        self.stage, self.since = stage, since

    @property
    def optimiser(self) -> Optimizer:
        """What moves the tensors of this stage."""
        if self.moved_by is None:
            raise RuntimeError("State.optimiser: no stage has begun")
        return self.moved_by

    @property
    def schedule(self) -> LRScheduler:
        """What sets its rates."""
        if self.scheduled is None:
            raise RuntimeError("State.schedule: no stage has begun")
        return self.scheduled

    def saved(self) -> Saved:
        """A copy that no later step changes."""
        tensors = {f"model.{name}": t.detach().clone() for name, t in _tensors(self.model)}
        tensors |= {f"best.{name}": t.detach() for name, t in _tensors(self.best.model)}
        tensors |= {"personal": self.personal.detach().clone(), "best_personal": self.best.personal}
        tensors |= {name: getattr(self, name) for name in ("best_score", "latest", "stale", "loss")}
        tensors |= {f"more.{name}": t.detach().clone() for name, t in self.more.items()}
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
                listed = isinstance(value, list) and any(isinstance(v, Tensor) for v in value)  # L-BFGS's memory
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{i}.{key}"] = value.detach().clone()
                    on_cpu += [f"optimiser.{i}.{key}"] * (not value.is_cuda)
                elif listed:
                    # where some are None it is room to work in, which every step fills anew
                    kept = value if all(isinstance(v, Tensor) for v in value) else []
                    tensors |= {f"optimiser.{i}.{key}.{k}": v.detach().clone() for k, v in enumerate(kept)}
                else:
                    numbers.setdefault(str(i), {})[key] = value
        values: dict[str, object] = {"rate": self.rate, "groups": self.groups(), "optimiser": numbers, "on_cpu": on_cpu}
        values |= {"stage": self.stage, "since": self.since}
        return Saved(self.index, values, tensors)

    def restore(self, saved: Saved) -> None:
        """Become the state that was saved, of the same fit and in the stage that it was saved in.

        Errors: `ValueError` where the schedule does not lead to the rates that were saved.
        """
        tensors, where = saved.tensors, self.personal.device
        # The schedule's state is the count of its steps, so it is stepped there: whatever a schedule of one's own keeps
        # inside need not be written. Without gradients the optimiser's own steps change nothing.
        self.optimiser.zero_grad()
        nothing = self.personal.detach().new_zeros(())
        for _ in range(saved.index - self.since):
            if isinstance(self.optimiser, torch.optim.LBFGS):
                self.optimiser.step(lambda: nothing)  # no gradient: it stays where it is
            else:
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
            for name, tensor in self.more.items():
                tensor.copy_(tensors[f"more.{name}"])
        moved = self._moved()
        several: dict[tuple[int, str], dict[int, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, i, key, *place = name.split(".")
                if place:
                    several.setdefault((int(i), key), {})[int(place[0])] = tensor.to(where)
                    continue
                counts = tensor.ndim == 0 and name in saved.values["on_cpu"]
                self.optimiser.state[moved[int(i)]][key] = tensor if counts else tensor.to(where)
        for (at, key), parts in several.items():
            self.optimiser.state[moved[at]][key] = [parts[k] for k in sorted(parts)]
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


def require_schedule(
    schedule: Callable[[Optimizer], LRScheduler],
    optimiser: Callable[..., Optimizer],
    groups: Any,  # of tensors of one element, as the fit's own are grouped
    rate: float,
    steps: int,
    name: str,
) -> None:
    """Raise `ValueError`, beginning with `name`, for a schedule that ends before `steps` steps, as one cycle of fewer does.

    It is gone through here, before the work, by one of its own: those of torch say only at the step that is one too many.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is moved between its steps
        by = schedule(optimiser(groups, lr=rate))
        for k in range(steps):
            try:
                by.step()
            except (ValueError, RuntimeError, IndexError) as error:
                raise ValueError(
                    f"{name}: the schedule ends at step {k} and the fit takes {steps} ({str(error)[:150]}); give it as many, as "
                    f"OneCycleLR(o, max_lr=…, total_steps={steps}), or the fit fewer"
                ) from error


def _made(make: Callable[[], KindT], kind: type[KindT], write: str, name: str) -> KindT:
    """What a function of the caller's makes. Errors: `ValueError` where it makes something else, or nothing."""
    try:
        made = make()
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{name}: no {kind.__name__} can be made: {str(error)[:150]}; write {write}") from error
    require_kind(made, kind, f"{name}: what the function gives, which is to be a {kind.__name__},", write)
    return made


def model_like(model: HybridModel) -> Tensor:
    """A tensor of the model's type, where the model's numbers are."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor
    return torch.zeros((), dtype=torch.float64)
