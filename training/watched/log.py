"""A fit's curves for TensorBoard, as an observer of its steps."""

import itertools
import os
from collections.abc import Generator
from contextlib import closing

from physics.arguments import require_path
from training.fitting import Step, require_steps


def log_steps(steps: Generator[Step, None, None], folder: str | os.PathLike[str]) -> Generator[Step, None, None]:
    """Pass the steps on, and write what they say for TensorBoard into `folder`; look with `tensorboard --logdir FOLDER`.

    Scalars: `loss/mean`, `loss/lowest` and `loss/highest` over members, `held out/mean` where members are judged, and
    `rate`. What an earlier run logged from the first step here on is replaced: a fit that goes on has one curve.
    Errors: `ImportError`, at the call, where tensorboard is not installed.
    """
    require_steps(steps, "log_steps: steps")
    require_path(folder, "log_steps: folder", "log_steps(fit(model, cohort), 'runs/log')")
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    def passed_on() -> Generator[Step, None, None]:
        first = next(steps, None)
        if first is None:
            return
        # closed with the loop, so that a fit with a checkpoint saves when the caller stops
        with closing(steps), closing(SummaryWriter(os.fspath(folder), purge_step=first.index)) as writer:
            for step in itertools.chain([first], steps):
                writer.add_scalar("loss/mean", float(step.loss.mean()), step.index)
                writer.add_scalar("loss/lowest", float(step.loss.min()), step.index)
                writer.add_scalar("loss/highest", float(step.loss.max()), step.index)
                writer.add_scalar("rate", step.rate, step.index)
                seen = step.held_out[step.held_out.isfinite()]
                if len(seen):
                    writer.add_scalar("held out/mean", float(seen.mean()), step.index)
                yield step

    return passed_on()


def require_tensorboard() -> None:
    """See that curves can be written, before anything is trained for them. Errors: `ImportError` with the line to write."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ImportError("the log needs tensorboard: pip install 'homeostat[log]'") from error
