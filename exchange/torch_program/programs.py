"""The functions of a bundle as programs: `torch.export` of each, over a batch of any length, nothing of ours left in it."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from exchange.selection import Selected
from exchange.torch_program.functions import Field, Jacobian, Observe, Person, Step, without_slope
from hybrid import HybridModel
from hybrid.observation import require_held
from physics.arguments import require_choice
from physics.glance import glance

Precision = Literal["float64", "float32"]
PRECISIONS: Mapping[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32}
_BATCH = 3  # rows of the example: neither 0 nor 1, which are traced as themselves
_LEFT_BEHIND = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom")


@dataclass(frozen=True)
class Program:
    """One function of a model, traced. `inputs` and `outputs`: the axes of each, "batch" for the one of any length.

    `does`: what it is, in one sentence.
    """

    exported: ExportedProgram
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    does: str

    __repr__, _repr_html_ = glance()


def programs_of(chosen: Selected, precision: Precision = "float64") -> dict[str, Program]:
    """`field`, `jacobian`, `step`, `observe` and `person` of the chosen members, in this precision.

    `person` is left out of a model whose people have no coordinates and no covariates, `jacobian` where `without_slope`.
    Errors: `ValueError` for a part that cannot be traced, which names the part.
    """
    require_choice(precision, ("float64", "float32"), "programs_of: precision")
    model = chosen.model
    require_held(model.observation, "programs_of", inputs=True)
    size, slopeless = _sizes(model), without_slope(model)
    found = {}
    for name, (make, taken, given, does) in _FUNCTIONS.items():
        inputs = {one: _axes(one, size, model.members) for one in taken if size[one]}
        outputs = given(model, size)
        if not inputs or not outputs or (name == "jacobian" and slopeless):
            continue
        exported = _exported(make(model).to(PRECISIONS[precision]), name, inputs, PRECISIONS[precision])
        found[name] = Program(exported, inputs, outputs, does)
    return found


_SHARED = ("u", "infused", "covariates")  # by all members: what is done, and what is known of a person


def _sizes(model: HybridModel) -> dict[str, int]:
    n, m = len(model.backbone.states), len(model.backbone.inputs)
    return {
        **{"x": n, "infused": n, "u": m, "theta": len(model.backbone.physical), "c": model.sees, "h": 1},
        **{"eta": model.population.dimension, "latents": model.latents, "covariates": len(model.uses)},
        **{"y": len(model.observation.channels)},
    }


def _axes(name: str, size: Mapping[str, int], members: int) -> tuple[int | str, ...]:
    if name == "h":
        return ("batch",)
    own = ("batch", size[name])
    return own if members == 1 or name in _SHARED else (members, *own)


def _rates(name: str, *more: str) -> Any:
    """The axes of an output that is like x, with as many states more as asked for."""
    return lambda model, size: {name: (*_axes("x", size, model.members), *(size[one] for one in more))}


def _observed(model: HybridModel, size: Mapping[str, int]) -> dict[str, tuple[int | str, ...]]:
    y = _axes("y", size, model.members)
    if model.members == 1:
        return {"y": y, "variance": y}
    return {"y": y, "mean": y[1:], "aleatoric": y[1:], "epistemic": y[1:]}


def _who(model: HybridModel, size: Mapping[str, int]) -> dict[str, tuple[int | str, ...]]:
    return {one: _axes(one, size, model.members) for one in ("theta", "c") if size[one]}


# function: its module, what it takes in the order of `forward`, what it gives, what it is
_FUNCTIONS: Mapping[str, tuple[Any, tuple[str, ...], Any, str]] = {
    "field": (Field, ("x", "infused", "theta", "u", "c"), _rates("rate"), "dx/dt, in state units per unit of time"),
    "jacobian": (Jacobian, ("x", "theta", "u", "c"), _rates("jacobian", "x"), "the slopes of dx/dt in x, row by row"),
    "step": (
        *(Step, ("x", "h", "infused", "theta", "u", "c"), _rates("after")),
        "x after one classic Runge-Kutta step of length h, with u and infused held",
    ),
    "observe": (Observe, ("x", "theta", "u"), _observed, "what is measured, and the variance of a measurement"),
    "person": (
        *(Person, ("eta", "covariates", "latents"), _who),
        "theta and c of a person, by the population's map of coordinates and covariates; NaN outside its range",
    ),
}


FUNCTIONS = tuple(_FUNCTIONS)


def _exported(
    module: nn.Module, name: str, inputs: Mapping[str, tuple[int | str, ...]], dtype: torch.dtype
) -> ExportedProgram:
    batch = Dim("batch")
    example = {
        one: torch.ones([_BATCH if size == "batch" else int(size) for size in axes], dtype=dtype)
        for one, axes in inputs.items()
    }
    shapes = {one: {axes.index("batch"): batch} for one, axes in inputs.items()}
    try:
        with warnings.catch_warnings(), _quiet(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own, of its own insides
            found = torch.export.export(module.eval(), (), example, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        part = _part_of(error.__traceback__)
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"{name}: {part or 'a part of the model'} cannot be traced by torch.export ({type(error).__name__}: {why:.200}); "
            "write it of operations on whole tensors, without asking for the value of one"
        ) from error
    found.graph.eliminate_dead_code()  # what nobody reads; torch.export.load does not read back all of it
    found.graph_module.recompile()
    for node in found.graph.nodes:  # where our code lies is nobody's business, and differs from machine to machine
        for word in _LEFT_BEHIND:
            node.meta.pop(word, None)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the pages that torch logs and prints of what it cannot trace: that is said in a sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _part_of(where: TracebackType | None) -> str | None:
    """The innermost part of a model at work in a traceback."""
    found = None
    while where is not None:
        at = where.tb_frame.f_locals.get("self")
        if isinstance(at, nn.Module) and type(at).__module__.split(".")[0] != "torch" and not isinstance(at, _WRAPPING):
            found = type(at).__name__
        where = where.tb_next
    return found


_WRAPPING = tuple(make for make, *_ in _FUNCTIONS.values())
