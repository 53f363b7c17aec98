"""What may be asked of a tensor while something is differentiated, mapped or only inferred, and what may be kept.

Solvers look at values: is a segment of length zero, do all people share their steps, does a state stay finite. Whoever asks
may be differentiated (by a backward pass, in forward mode, by `torch.func`) or mapped over a batch that the code does not see
(`torch.func.vmap`). A value that is looked at is then a constant, so what varies must not be looked at. And what is
computed inside `torch.inference_mode` or inside a transform of `torch.func` is of no use to anyone outside it, so what is
kept between calls must be computed outside.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch.autograd import forward_ad

# torch has no public way to ask; these are what torch.autograd.Function and torch.func themselves ask
_functorch = torch._C._functorch


def transforming() -> bool:
    """Is a transform of `torch.func`, or forward mode, at work? Then a derivative that is written by hand is not seen."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def varies(value: Tensor) -> bool:
    """May anyone ask for a derivative along this tensor, or is it one of a batch, so that its value is no constant?"""
    if value.requires_grad:
        return True
    if not transforming():
        return False
    while _functorch.is_functorch_wrapped_tensor(value):
        if _functorch.is_batchedtensor(value) or value.requires_grad or _moves(value):
            return True
        value = _functorch.get_unwrapped(value)
    return value.requires_grad or _moves(value)


def _moves(value: Tensor) -> bool:
    """Has it a tangent of forward mode? Only the level that it belongs to can tell."""
    if forward_ad._current_level < 0:
        return False
    level = _functorch.maybe_get_level(value) if _functorch.is_functorch_wrapped_tensor(value) else 0
    with ExitStack() as inside:
        while torch._C._are_functorch_transforms_active() and _functorch.peek_interpreter_stack().level() > level:
            inside.enter_context(temporarily_pop_interpreter_stack())
        return forward_ad.unpack_dual(value).tangent is not None


def mapped(value: Tensor) -> bool:
    """Is it, at any level, one of a batch of `torch.func.vmap`? Then it has no one value to look at."""
    while _functorch.is_functorch_wrapped_tensor(value):
        if _functorch.is_batchedtensor(value):
            return True
        value = _functorch.get_unwrapped(value)
    return False


def values_of(value: Tensor) -> Tensor:
    """The numbers behind it, those of the whole batch where it is mapped, without any derivative: only to be looked at."""
    while _functorch.is_functorch_wrapped_tensor(value):
        value = _functorch.get_unwrapped(value)
    with torch._C._DisableFuncTorch():  # or the transform would take it in again
        return value.detach()


def array_of(value: Tensor) -> np.ndarray:
    """`values_of` on the CPU for numpy."""
    found = values_of(value)
    with torch._C._DisableFuncTorch():
        return found.cpu().numpy()


@contextmanager
def kept() -> Iterator[None]:
    """For what is made now and used by later calls: they may run outside an inference mode that is on now."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def lasting() -> Iterator[None]:
    """For what a caller makes now and uses later, as people cut for a model: of use in training wherever it was made."""
    with kept() if torch.is_inference_mode_enabled() else nullcontext():
        yield


@contextmanager
def constant(*made_of: Tensor) -> Iterator[None]:
    """The same outside every transform of `torch.func` too, unless it is made of tensors that belong to one."""
    inside = any(_functorch.is_functorch_wrapped_tensor(v) for v in made_of)
    with kept(), nullcontext() if inside else torch._C._DisableFuncTorch():
        yield


class _Once(torch.autograd.Function):
    """The identity, through which a gradient may pass, but no gradient of a gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, why: str) -> Tensor:
        ctx.why = why
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(ctx.why)
        return gradient, None


def once(value: Tensor, why: str) -> Tensor:
    """The same value; whoever asks for second derivatives through it (`create_graph=True`) is told `why` there are none.

    Errors: `RuntimeError` in the backward pass.
    """
    result: Tensor = _Once.apply(value, why) if value.requires_grad else value
    return result


def slope_of(
    function: Callable[[Tensor], Tensor],
    x: Tensor,  # (..., n)
) -> Tensor:  # (..., p, n)
    """∂f/∂x of a function (..., n) -> (..., p) that works point by point, by forward mode; differentiable in turn.

    Source: Griewank & Walther, Evaluating Derivatives (2008) § 3.1.
    """
    _first()
    units = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.stack([torch.func.jvp(function, (x,), (e.expand_as(x),))[1] for e in units], -1)


def pushed(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    direction: Tensor,  # as x
) -> tuple[Tensor, Tensor]:
    """The value of a function and its derivative along a direction, ∂f/∂x · v, by forward mode; differentiable in turn.

    As many points as there are directions may stand in rows of x: then all directions are one call.
    Source: Griewank & Walther, Evaluating Derivatives (2008) § 3.1.
    """
    _first()
    found = torch.func.jvp(function, (x.contiguous(),), (direction.contiguous(),))  # forward mode takes no expanded memory
    return found[0], found[1]


@lru_cache(maxsize=1)
def _first() -> None:
    """torch fills a table at the first derivative by forward mode, and warns of its own use of torch.jit: once, in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
