"""Value and gradient of an objective as one unit: on a GPU a captured graph, which one launch runs whole."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.records import Cohort

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """Calls `run`: the objective's value, with every parameter's gradient left in its `.grad`.

    `captured`: whether a CUDA graph runs; `reason` says why not.
    """

    run: Callable[[], Tensor]
    captured: bool
    reason: str = ""

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
    residual are compiled by hand anyway (`hybrid.march`); for others see the solvers' `compiled`.

    Arguments: `objective`, without arguments: what changes between calls must be written into the tensors that it reads,
    whose shapes stay; its result is summed for the backward pass. `parameters` that receive gradients. `capture=False`
    leaves it eager.
    Law: the value and the gradients are those of the objective run operation by operation.
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
            return Unit(_capture(eager, objective, parameters), True)
        except RuntimeError as error:
            reason = f"the objective cannot be captured: {str(error).splitlines()[0]}"
    _LOG.info("runs operation by operation: %s", reason)
    return Unit(eager, False, reason)


def _capture(
    eager: Callable[[], Tensor], objective: Callable[[], Tensor], parameters: Sequence[Tensor]
) -> Callable[[], Tensor]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # what is asked once, and what libraries allocate on first use, is behind us then
            eager()
    torch.cuda.current_stream().wait_stream(side)
    for p in parameters:
        p.grad = None
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

    return replay


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
    index = torch.cat([torch.arange(N), torch.zeros(more, dtype=torch.long)])
    wide = replace(
        cohort,
        records=tuple(cohort.records[i] for i in index.tolist()),
        conditions=cohort.conditions.people(index.to(cohort.y.device)),
        times=cohort.times[index],
        y=torch.cat([cohort.y, torch.full_like(cohort.y[:1].expand(more, -1, -1), torch.nan)]),
    )
    s, T = wide.conditions.segments, wide.times.shape[1]
    times = torch.nn.functional.pad(wide.times, (0, bucket(T) - T))
    times[:, T:] = wide.times[:, -1:]
    wide = replace(
        wide,
        conditions=replace(wide.conditions, segments=s.padded(bucket(s.dt.shape[1]), bucket(T))),
        times=times,
        y=torch.nn.functional.pad(wide.y, (0, 0, 0, bucket(T) - T), value=torch.nan),
    )
    return wide, torch.nn.functional.pad(weights, (0, more))
