"""How a fit looks for the minimum: what moves it, how far and how often, and on what machine."""

from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hybrid import Solver
from hybrid.solve.solver import require_solver
from physics.arguments import require_callable, require_flag, require_kind, require_number
from physics.glance import glance
from training.machinery.distributed import Shard


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the minimum is looked for.

    - `optimiser`: called as `optimiser(tensors, lr=rate)`; one of torch.optim that works by element (Adam, AdamW, SGD), and for a
      single member in `fit` and `shoot` torch.optim.LBFGS too. None for the fit's own: Adam in `fit` and `shoot`, and in
      `fit_population` an L-BFGS in which every member has a memory and a step of its own.
    - `rate`: the learning rate; with Adam about how far every number moves in a step, and they are of order 1.
    - `schedule`: a function from the optimiser to one of torch's schedules, by default the cosine from `rate` to 2 % of it.
    - `clip`: the largest norm of each member's whole gradient; None for any.
    - `steps`: how many updates at most; None for the number that each fit says.
    - `solver`: of the differential equation; by default, of a model that is linear, `Exponential()`, which is exact, and of any
      other `RungeKutta("rk4")` on the mesh that the cohort carries.
    - `bfloat16`: take the residual's matrix products so (float32 models, wide networks on a GPU).
    - `capture`: on a GPU, value and gradient as one captured graph (`training.machinery.unit`) where that is possible.
    - `shard`: the people given are this process's part of all; gradients, norms and looks are summed over processes.

    Errors: `ValueError` for what cannot be such a thing.
    """

    optimiser: Callable[..., Optimizer] | None = None
    rate: float = 0.05
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    clip: float | None = 10.0
    steps: int | None = None
    solver: Solver | None = None
    bfloat16: bool = False
    capture: bool = True
    shard: Shard | None = None

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_callable(self.optimiser, "Search: optimiser", "optimiser=torch.optim.Adam", [], lr=0.05)
        write = "schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 200)"
        require_callable(self.schedule, "Search: schedule", write, None)
        require_number(self.rate, "Search: rate", above=0.0)
        object.__setattr__(self, "rate", float(self.rate))
        if self.clip is not None:
            require_number(self.clip, "Search: clip, the largest norm of a gradient (None for any),", above=0.0)
            object.__setattr__(self, "clip", float(self.clip))
        if self.steps is not None:
            require_number(self.steps, "Search: steps", least=1.0, most=1e12, whole=True)
            object.__setattr__(self, "steps", int(self.steps))
        require_solver(self.solver, "Search")
        for name, flag in (("bfloat16", self.bfloat16), ("capture", self.capture)):
            require_flag(flag, f"Search: {name}")
        if self.shard is not None:
            require_kind(self.shard, Shard, "Search: shard", "Shard.from_env()")
