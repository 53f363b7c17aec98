"""Whether the device may be asked for a value."""

import torch


def capturing() -> bool:
    """Is a CUDA graph being captured? Then no operation may wait for a value, and whoever checks values has done so before."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
