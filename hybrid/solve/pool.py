"""What stays with a solver between its calls: large buffers, and the list of operations that fill them."""

from collections.abc import Callable, Hashable
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor


class Tape:
    """Runs operations as they come, and keeps them on request, to run them again without the Python between them.

    Every operation must write where it is told to, into tensors that stay: then running the list is running the code.
    """

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] | None = None

    def __call__(self, operation: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        if self.calls is not None:
            self.calls.append(partial(operation, *arguments, **named))
        operation(*arguments, **named)


class Pool:
    """The buffers that the last solve gave back, and the work of the last solve that may be repeated.

    Fresh memory has to be mapped and cleared page by page, which takes a quarter of the time of a large solve; a training
    loop asks for the same sizes in every step. Holds no more than one solve used. What one thread has taken no other gets.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._free: dict[tuple[int, torch.dtype, torch.device], list[Tensor]] = {}
        self._kept: tuple[Hashable, object] | None = None

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """A buffer of this shape, with anything in it."""
        size = 1
        for length in shape:
            size *= length
        with self._lock:
            known = self._free.get((size, like.dtype, like.device))
            found = known.pop() if known else None
        return like.new_empty(shape) if found is None else found.view(shape)

    def give(self, buffers: list[Tensor]) -> None:
        """Have these instead of all that is still here; nobody may use them any more."""
        free: dict[tuple[int, torch.dtype, torch.device], list[Tensor]] = {}
        for buffer in buffers:
            key = (buffer.numel(), buffer.dtype, buffer.device)
            free.setdefault(key, []).append(buffer.view(-1))
        with self._lock:
            self._free, self._kept = free, None

    def borrow(self, key: Hashable) -> object | None:
        """The work kept under this key, which is then no longer here."""
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                return None
            work, self._kept = self._kept[1], None
        return work

    def keep(self, key: Hashable, work: object) -> None:
        """Have this work instead of all that is still here."""
        with self._lock:
            self._free, self._kept = {}, (key, work)

    def __deepcopy__(self, memo: object) -> "Pool":
        return Pool()

    def __reduce__(self) -> tuple[type["Pool"], tuple[()]]:
        return Pool, ()
