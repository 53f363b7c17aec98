"""Many independent minima by one of torch's optimisers, one evaluation of all members a step."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from training.loop.descent import PATH, Descended, Path, Point, bring, kept, reasons
from training.machinery.state import require_schedule


class Stepwise:
    """Every member's minimum by an optimiser that works by element (Adam, SGD), as `descent.Descent` says.

    Each member's gradient is clipped to norm `clip`. A member is converged when no derivative is above `tolerance`; it is
    finished then, or when those who judge it have had `patience` points that were no better. Who is not judged keeps the point
    with the least objective: these steps do not fall one after the other. A step after which someone cannot be simulated is
    taken back, and the next ones are shorter for that member, until they are whole again.
    Errors: `ValueError` for an optimiser or schedule that cannot keep members apart.
    Law: members do not influence each other.
    """

    def __init__(
        self,
        point: Tensor,  # (M, P)
        first: Point,
        judged: Tensor,  # (M,) bool
        *,
        optimiser: Callable[..., Optimizer],
        rate: float,
        schedule: Callable[[Optimizer], LRScheduler],
        clip: float | None,
        patience: int,
        tolerance: float,
        name: str,
        steps: int = 0,
    ) -> None:
        self.index, self.clip, self.tolerance = 1, clip, tolerance
        self.point, self.loss, self.gradient, self.carried = point, first.loss, first.gradient, first.carried
        self.least, self.length = first.loss, torch.ones_like(first.loss)
        self.path = Path(point, first, judged, patience)
        self.moving = point.clone().requires_grad_()
        self.optimiser = optimiser([self.moving], lr=rate)
        if not isinstance(self.optimiser, Optimizer) or isinstance(self.optimiser, torch.optim.LBFGS):
            raise ValueError(
                f"{name}: optimiser is one of torch.optim that works by element, torch.optim.Adam; L-BFGS, every member with a "
                "memory and a step of its own, is what runs where none is named"
            )
        self.schedule = schedule(self.optimiser)
        if not isinstance(self.schedule, LRScheduler) or isinstance(self.schedule, ReduceLROnPlateau):
            raise ValueError(
                f"{name}: schedule is one of torch's that counts steps; write "
                "schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 200)"
            )

        require_schedule(schedule, optimiser, [torch.zeros(1, requires_grad=True)], rate, steps, name)

    def said(self, steps: int) -> Descended:
        slope = self.gradient.abs().amax(1)
        converged, tired, short = slope <= self.tolerance, self.path.tired, self.length < 1e-8
        self.finished = converged | tired | short
        cases = (("converged", converged), ("judged", tired), ("short", short))
        ended, path = reasons(cases, "out of steps" if self.index == steps else ""), self.path
        kept_by = (path.judgement.clone(), ended, path.best, path.carried, path.best_judgement)
        return Descended(self.index, self.loss.clone(), slope, converged, *kept_by)

    def trial(self) -> tuple[Tensor, Tensor]:
        size = self.gradient.norm(dim=1, keepdim=True)
        shorter = 1.0 if self.clip is None else (self.clip / size.clamp(min=1e-300)).clamp(max=1.0)
        with torch.no_grad():
            self.moving.copy_(self.point)
        self.moving.grad = shorter * self.gradient
        self.optimiser.step()
        self.schedule.step()
        move = (self.moving.detach() - self.point) * self.length[:, None]
        self.next = torch.where(self.finished[:, None], self.point, self.point + move)
        return self.next, self.carried

    def take(self, new: Point) -> None:
        good = torch.isfinite(new.loss)
        moved = good & ~self.finished
        self.length = torch.where(good, (2.0 * self.length).clamp(max=1.0), 0.25 * self.length)
        self.point = torch.where(moved[:, None], self.next, self.point)
        self.gradient = torch.where(moved[:, None], new.gradient, self.gradient)
        self.loss = torch.where(moved, new.loss, self.loss)
        wide = moved.reshape(-1, *[1] * (self.carried.ndim - 1))
        self.carried = torch.where(wide, new.carried, self.carried)
        self.path.keep(moved, self.loss < self.least, self.point, self.carried, new.held_out)
        self.least = torch.minimum(self.least, self.loss)

    def saved(self) -> dict[str, Tensor]:
        state = self.optimiser.state.get(self.moving, {})
        inside = {f"optimiser.{k}": torch.as_tensor(v).detach().clone() for k, v in state.items() if v is not None}
        return kept(self, _OWN) | kept(self.path, PATH, "path.") | inside

    def restore(self, index: int, saved: Mapping[str, Tensor]) -> None:
        # the schedule's state is the count of its steps; without a gradient the optimiser's own change nothing
        self.moving.grad = None
        for _ in range(index - self.index):
            self.optimiser.step()
            self.schedule.step()
        self.index = index
        bring(self, _OWN, "", saved, self.point.device)
        bring(self.path, PATH, "path.", saved, self.point.device)
        inside = {k.removeprefix("optimiser."): v for k, v in saved.items() if k.startswith("optimiser.")}
        if inside:
            self.optimiser.state[self.moving] = {k: v if v.ndim == 0 else v.to(self.point.device) for k, v in inside.items()}


_OWN = ("point", "loss", "gradient", "carried", "least", "length")
