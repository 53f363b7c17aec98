"""One ensemble trained in two processes: members do not influence each other, so each process takes half of them."""

from contextlib import closing
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import torch
from rich.console import Console
from torch import Tensor

from homeostat.c_peptide.beta import standardise
from homeostat.c_peptide.model import steps_of, train
from homeostat.progress import Interruption
from homeostat.second_process import SecondProcess
from hybrid import HybridModel
from learned import concatenate, select
from training import Cohort, Fitted


def train_halves(
    model: HybridModel,
    cohort: Cohort,
    weights: Tensor,  # (M, N)
    steps: int,
    console: Console,
    *,
    second: SecondProcess,
) -> tuple[Fitted, Interruption | None, list[Tensor]]:
    """What `train` does, the first half of the members here and the rest in the second process.

    Ctrl-C ends both halves: the other one after the step at which this one was, so that all members have made as many steps (or,
    where it is ahead, some more); a second Ctrl-C ends it where it is. `losses` are of the first half.
    Law: what `train` finds, to the rounding of products of other sizes.
    """
    half = model.members // 2
    first, rest = torch.arange(half), torch.arange(half, model.members)
    told, tell = Pipe(duplex=False)
    there = second.ask(_train_until_told, select(model, rest), cohort, weights[rest], steps, told)
    here, interrupted, losses = train(select(model, first), cohort, weights[first], steps, console)
    reached = steps if interrupted is None else interrupted.step
    if interrupted is not None:
        tell.send(reached)
    with console.status("the other half, in the second process"):
        try:
            other, last = there.get()
        except KeyboardInterrupt:
            tell.send(0)
            other, last = there.get()
    reached = min(reached, last)
    whole = Fitted(concatenate([here.model, other.model]), torch.cat([here.personal, other.personal]))
    return whole, None if reached == steps else Interruption(reached, steps), losses


def _train_until_told(
    model: HybridModel, cohort: Cohort, weights: Tensor, steps: int, told: Connection
) -> tuple[Fitted, int]:
    """Train without a word, until the first step that is not below the latest number that comes; and which step that was."""
    enough = steps
    with closing(steps_of(model, cohort, weights, steps)) as fit:
        for step in fit:
            while told.poll():
                enough = told.recv()
            if step.index >= enough:
                break
    return standardise(step.best, weights), step.index
