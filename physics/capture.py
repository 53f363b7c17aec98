"""Whether a value may be asked for, and what stands in the place of a check where it may not."""

import torch
from torch import Tensor


def capturing() -> bool:
    """Is a CUDA graph being captured? Then no operation may wait for a value, and whoever checks values has done so before."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def exporting() -> bool:
    """Is `torch.export` writing down what is computed? No value is there then: who would refuse one answers `nan_outside`."""
    return torch.compiler.is_exporting()


def nan_outside(
    value: Tensor,  # (..., k)
    inside: Tensor,  # (...) bool
) -> Tensor:  # (..., k)
    """The value where it holds, NaN elsewhere: a program that was exported asks nobody, and may not answer wrongly."""
    return torch.where(inside[..., None], value, torch.nan)
