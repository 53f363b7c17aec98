"""Value and gradient of an objective as one unit: on a GPU a captured graph, which one launch runs whole."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.people.cohort import Cohort

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """Calls `run`: the objective's value, with every parameter's gradient left in its `.grad`.

    `captured`: whether a CUDA graph runs; `reason` says why not · `owns`: what a graph needs alive, since it knows
    addresses alone: the objective, and the memory that was there before it and that it reads or writes.
    """

    run: Callable[[], Tensor]
    captured: bool
    reason: str = ""
    owns: tuple[object, ...] = field(default=(), repr=False)

    def __call__(self) -> Tensor:
        return self.run()


def unit(
    objective: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    *,
    capture: bool = True,
) -> Unit:
    """The objective and its backward pass as one unit.

    On a CUDA device the whole of it, simulation, loss and gradient, is captured once and then replayed: a small batch is
    bound by some thousands of launches, and a replay is one. Elsewhere, or where something asks for a value on the way
    (which a graph cannot), it runs operation by operation, and one logged line says why. On a CPU the steps of a layered
    residual are compiled by hand anyway (`hybrid.solve.march`); for others see the solvers' `compiled`.

    Arguments: `objective`, without arguments: what changes between calls must be written into the tensors that it reads,
    whose shapes stay; its result is summed for the backward pass. `parameters` that receive gradients. `capture=False`
    leaves it eager.
    The unit keeps alive what it replays: the objective, and every tensor that was there before the capture and is read
    or written in it, also where others would have let go of it since (a solver's buffers, a constant in a cache).
    Law: the value and the gradients are those of the objective run operation by operation, whoever else lets go of what.
    Source: Ng et al., "Accelerating PyTorch with CUDA Graphs" (2021).
    """

    def eager() -> Tensor:
        for p in parameters:
            p.grad = None
        value = objective()
        value.sum().backward()
        return value.detach()

    reason = ""
    if not capture:
        reason = "capture was not asked for"
    elif not parameters or not parameters[0].is_cuda:
        where = parameters[0].device if parameters else "nowhere"
        reason = f"the parameters are on {where}; graphs are captured on CUDA devices"
    else:
        try:
            with torch.cuda.device(parameters[0].device):  # a stream is the current device's
                replay, kept = _capture(eager, objective, parameters)
            return Unit(replay, True, owns=(objective, *kept))
        except RuntimeError as error:
            reason = f"the objective cannot be captured: {str(error).splitlines()[0]}"
    _LOG.info("runs operation by operation: %s", reason)
    return Unit(eager, False, reason)


def _capture(
    eager: Callable[[], Tensor], objective: Callable[[], Tensor], parameters: Sequence[Tensor]
) -> tuple[Callable[[], Tensor], list[object]]:
    """What replays the objective, and the memory which that needs beside what the graph allocates itself."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    memory = _Memory()
    with torch.cuda.stream(side):
        for _ in range(2):  # what is asked once, and what libraries allocate on first use, is behind us then
            eager()
        # once more, to know what the capture will find: not in the capture itself, since what torch.compile made does
        # not run while operations are watched
        with memory:
            eager()
    torch.cuda.current_stream().wait_stream(side)
    for p in parameters:
        p.grad = None
    kept = memory.kept()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = objective()
        value.sum().backward()
    gradients = [p.grad for p in parameters]
    held = value.detach()

    def replay() -> Tensor:
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
        graph.replay()
        return held.clone()

    return replay, kept


class _Memory(TorchDispatchMode):
    """The memory that a run reads or writes without making it, and what it makes and leaves behind (in a cache, a pool)."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, torch.UntypedStorage] = {}
        self._made: dict[int, StorageWeakRef] = {}  # a weak reference keeps the identity from being given again

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for memory in _memory_of((args, kwargs)):
            if memory._cdata not in self._made:
                self._before[memory._cdata] = memory
        found = func(*args, **kwargs)
        for memory in _memory_of(found):
            if memory._cdata not in self._before:
                self._made[memory._cdata] = StorageWeakRef(memory)
        return found

    def kept(self) -> list[object]:
        """All of it that is there now."""
        left = (torch.UntypedStorage._new_with_weak_ptr(reference.cdata) for reference in self._made.values())
        return [*self._before.values(), *(memory for memory in left if memory is not None)]


def _memory_of(value: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def bucket(size: int) -> int:
    """The least 2^a or 3·2^a that is not less than `size`: few different shapes, and at most a third of them empty."""
    if size < 1:
        raise ValueError(f"bucket: a batch has 1 or more, got {size}")
    whole = 1 << (size - 1).bit_length()
    return 3 * whole // 4 if whole >= 4 and size <= 3 * whole // 4 else whole


def padded(
    cohort: Cohort,
    weights: Tensor,  # (M, N)
) -> tuple[Cohort, Tensor]:
    """The cohort and weights with people, segments and times filled up to their buckets, so that batches share shapes.

    The added people are copies of the first with weight 0 and nothing to score; added segments last no time.
    Law: nobody's objective changes.
    """
    N = cohort.conditions.size
    more = bucket(N) - N
    none = cohort.y.new_tensor([-torch.inf, torch.inf])  # limits of nothing
    index = torch.cat([torch.arange(N), torch.zeros(more, dtype=torch.long)])
    wide = replace(
        cohort,
        records=tuple(cohort.records[i] for i in index.tolist()),
        conditions=cohort.conditions.people(index.to(cohort.y.device)),
        times=cohort.times[index],
        y=torch.cat([cohort.y, torch.full_like(cohort.y[:1].expand(more, -1, -1), torch.nan)]),
        limits=None if cohort.limits is None else torch.cat([cohort.limits, none.expand(more, *cohort.y.shape[1:], 2)]),
    )
    s, T = wide.conditions.segments, wide.times.shape[1]
    times = torch.nn.functional.pad(wide.times, (0, bucket(T) - T))
    times[:, T:] = wide.times[:, -1:]
    changes = wide.conditions.changes
    changes = None if changes is None else changes.read_padded(bucket(T))
    wide = replace(
        wide,
        conditions=replace(wide.conditions, segments=s.padded(bucket(s.dt.shape[1]), bucket(T)), changes=changes),
        times=times,
        y=torch.nn.functional.pad(wide.y, (0, 0, 0, bucket(T) - T), value=torch.nan),
        limits=None
        if wide.limits is None
        else torch.cat([wide.limits, none.expand(len(wide.y), bucket(T) - T, wide.y.shape[2], 2)], 1),
    )
    return wide, torch.nn.functional.pad(weights, (0, more))
