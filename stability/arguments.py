"""What the public functions are given, looked at before anything runs; sentences that say what was seen and what is needed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
LARGEST = 1e100  # of entries, whose products must stay inside float64


def shown(value: object) -> str:
    """A value as a message shows it, never long: arrays by their shape, objects by their kind."""
    shape = getattr(value, "shape", None)
    if shape is not None and not isinstance(value, type):
        return f"a {type(value).__name__} of shape {tuple(shape)} and type {getattr(value, 'dtype', '?')}"
    if not isinstance(value, str | bytes | int | float | complex | list | tuple | Mapping | set | None):
        return f"a {type(value).__name__}"
    if isinstance(value, Mapping) and any(hasattr(one, "shape") for one in value.values()):
        return f"a mapping of {', '.join(map(str, list(value)[:4]))}{', …' if len(value) > 4 else ''}"
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 100 else f"{text[:80]} …"


def number(
    value: object,
    name: str,
    write: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> float:
    """One finite number in its range, not a text or a truth value. Errors: ValueError, which ends with the line to write."""
    single: Any = value.detach() if hasattr(value, "detach") else value
    kind = str(getattr(single, "dtype", "")).removeprefix("torch.")
    fits = not isinstance(single, str | bytes | bool | type) and hasattr(single, "__float__") and not getattr(single, "ndim", 0)
    try:
        found = float(single) if fits and not kind.startswith(("bool", "complex")) else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):
        found = math.nan
    if not math.isfinite(found) or not found > above or not least <= found <= most or (whole and found != int(found)):
        raise ValueError(f"{name} is {shown(value)}; give {write}.")
    return found


def time_limit(seconds: object) -> float:
    """A positive number of seconds, or infinity for no limit. Errors: ValueError."""
    if isinstance(seconds, float) and seconds == math.inf:
        return seconds
    return number(seconds, "seconds", "one positive time limit", above=0.0)


def choice(value: object, choices: Iterable[str], name: str) -> str:
    """One of these words. Errors: ValueError."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} {shown(value)} is not one of {', '.join(choices)}; use one of these.")
    return value


def flag(value: object, name: str) -> None:
    """Raise ValueError unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {shown(value)}; it is True or False.")


def kind(value: object, wanted: type | tuple[type, ...], name: str, write: str) -> None:
    """Raise ValueError unless the value is of this kind."""
    if not isinstance(value, wanted):
        raise ValueError(f"{name} is {shown(value)}; write {write}.")


def array(value: object, name: str, axes: int | None = None) -> Array:
    """Real numbers as a float64 array with so many axes. Errors: ValueError for anything else."""
    try:
        if isinstance(value, Mapping | set | str | bytes):
            raise TypeError("no list of numbers")
        raw = np.asarray(value.detach().cpu() if hasattr(value, "detach") and hasattr(value, "cpu") else value)
        if raw.dtype.kind not in "fiu":
            raise TypeError(f"entries of type {raw.dtype}")
        found = raw.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} is {shown(value)}, not an array of real numbers; give nested lists or an array.") from error
    if axes is not None and found.ndim != axes:
        raise ValueError(f"{name} has shape {found.shape}; it needs {axes} ax{'i' if axes == 1 else 'e'}s.")
    return found


def listed(value: object, name: str, write: str) -> list[Any]:
    """What is in a list. Errors: ValueError for a text, a mapping, or one thing alone."""
    if isinstance(value, str | bytes | Mapping | set) or not isinstance(value, Sequence | np.ndarray):
        raise ValueError(f"{name} is {shown(value)}, and a list is needed; write {write}.")
    return list(value)


def loop_of_tensors(A: "Tensor", weights: Sequence["Tensor"], metric: "Tensor") -> None:
    """Raise ValueError unless these are tensors of real numbers: A (..., n, n), a chain of weights, and a metric (n, n)."""
    from torch import Tensor

    chain = listed(weights, "weights", "a list of tensors (..., out, in)")
    for name, tensor in (("A", A), ("the metric", metric), *((f"weights[{k}]", w) for k, w in enumerate(chain))):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.ndim < 2 or tensor.is_meta:
            raise ValueError(f"{name} is {shown(tensor)}; give a tensor of real numbers, (..., rows, columns).")
    n, size = A.shape[-1], A.shape[-1]
    if A.shape[-2] != n or n == 0:
        raise ValueError(f"A has shape {tuple(A.shape)}; its last two axes must be equal: (..., n, n).")
    if metric.shape != (n, n):
        raise ValueError(f"the metric has shape {tuple(metric.shape)}; A has {n} states, so ({n}, {n}) is needed.")
    for k, w in enumerate(chain):
        if w.shape[-1] != size:
            what = "inputs" if k else "states"
            raise ValueError(f"weights[{k}] has shape {tuple(w.shape)}; it must take {size} {what}: (..., out, {size}).")
        size = w.shape[-2]
    if size != n:
        raise ValueError(f"the last weight has shape {tuple(chain[-1].shape)}; it must give {n} outputs, one per state.")
    lead: list[tuple[int, ...]] = [tuple(t.shape[:-2]) for t in (A, *chain)]
    try:
        np.broadcast_shapes(*lead)
    except ValueError as error:
        raise ValueError(f"the leading axes {lead} of A and the weights do not broadcast together.") from error
    if len({(t.device, t.dtype) for t in (A, *chain)}) > 1:
        raise ValueError("A and the weights differ in type or device; write weight.to(A) for each.")


def finite(*tensors: "Tensor") -> None:
    """Raise ValueError unless every entry of A, the weights and the metric is finite, and its square is."""
    if not all(bool((t.detach().abs() <= LARGEST).all()) for t in tensors):  # of NaN it is not
        raise ValueError("A, a weight or the metric has an entry that is not finite, or beyond 1e100 (diverged training?).")


def multipliers_of(multipliers: Sequence["Tensor"], weights: Sequence["Tensor"]) -> None:
    """Raise ValueError unless there is a tensor of positive multipliers (..., h) for every hidden layer."""
    from torch import Tensor

    given = listed(multipliers, "multipliers", "best_multipliers(A, weights, metric)")
    if len(weights) < 2 or len(given) != len(weights) - 1:
        raise ValueError(f"{len(weights)} weights with {len(given)} multiplier vectors; give one per hidden layer, at least one.")
    for k, (m, w) in enumerate(zip(given, weights, strict=False)):
        if not isinstance(m, Tensor) or not m.is_floating_point() or m.ndim < 1 or m.is_meta or m.shape[-1] != w.shape[-2]:
            raise ValueError(f"multipliers[{k}] is {shown(m)}; give a tensor (..., {w.shape[-2]}), one number a unit.")
        try:
            np.broadcast_shapes(tuple(m.shape[:-1]), tuple(w.shape[:-2]))
        except ValueError as error:
            raise ValueError(f"multipliers[{k}] has shape {tuple(m.shape)} and weights[{k}] {tuple(w.shape)}.") from error
        inside = m.detach().isfinite() & (m.detach() > 0)
        if (m.device, m.dtype) != (w.device, w.dtype) or not bool(inside.all()):
            raise ValueError(f"multipliers[{k}] must be positive and finite, of the weights' type and device.")


def metric_of(value: object, states: int) -> Array:
    """A symmetric positive definite matrix (n, n). Errors: ValueError for anything else."""
    P = array(value, "the metric")
    if P.shape != (states, states) or not np.isfinite(P).all() or not np.allclose(P, P.T, rtol=1e-12, atol=0.0):
        raise ValueError(f"the metric has shape {P.shape}; give a finite symmetric ({states}, {states}) matrix.")
    P = (P + P.T) / 2
    if np.linalg.eigvalsh(P)[0] <= 0:
        raise ValueError(f"the metric has the eigenvalue {np.linalg.eigvalsh(P)[0]:.3g}; it must be positive definite.")
    return P
