"""Large buffers that are used again."""

import torch
from torch import Tensor


class Pool:
    """The buffers that the last solve gave back.

    Fresh memory has to be mapped and cleared page by page, which takes a quarter of the time of a large solve; a training
    loop asks for the same sizes in every step. Holds no more than one solve used. Not for use by two threads at once.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[int, torch.dtype, torch.device], list[Tensor]] = {}

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """A buffer of this shape, with anything in it."""
        size = 1
        for length in shape:
            size *= length
        known = self._free.get((size, like.dtype, like.device))
        return known.pop().view(shape) if known else like.new_empty(shape)

    def give(self, buffers: list[Tensor]) -> None:
        """Have these instead of all that is still here; nobody may use them any more."""
        self._free = {}
        for buffer in buffers:
            key = (buffer.numel(), buffer.dtype, buffer.device)
            self._free.setdefault(key, []).append(buffer.view(-1))

    def __deepcopy__(self, memo: object) -> "Pool":
        return Pool()

    def __reduce__(self) -> tuple[type["Pool"], tuple[()]]:
        return Pool, ()
