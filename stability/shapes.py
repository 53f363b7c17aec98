"""That what a system is made of are real numbers, and that their shapes fit together; else a sentence that says what does not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stability.arguments import listed

Array = NDArray[np.float64]

# The arrays of a system beside its weights and biases, and how many axes each has behind the leading ones.
RANKS = {"A": 2, "B": 2, "input_weights": 2, "skip": 2, "theta": 1, "theta_upper": 1}


def real_array(name: str, value: Any, rank: int) -> Array:
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
        raw = np.asarray(value)
        if raw.dtype.kind not in "fiu":
            raise TypeError(f"entries of kind {raw.dtype}")
        array = np.array(raw, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        why = str(error)[:100]
        raise ValueError(f"{name} is not an array of real numbers ({why}); give nested lists or an array.") from error
    if array.ndim < rank:
        raise ValueError(f"{name} has shape {array.shape}; it needs at least {rank} axes.")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}; every entry must be finite (diverged training?).")
    array.setflags(write=False)
    return array


def layers_of(network: Any, weights: str, biases: str) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The weights and biases of a network as arrays; `weights`, `biases` say what to write where they are no lists."""
    chain, offsets = listed(network.weights, "weights", weights), listed(network.biases, "biases", biases)
    return (
        tuple(real_array(f"weights[{k}]", w, 2) for k, w in enumerate(chain)),
        tuple(real_array(f"biases[{k}]", b, 1) for k, b in enumerate(offsets)),
    )


def check_shapes(system: Any) -> None:
    n = system.A.shape[-1]
    if system.A.shape[-2] != n or n == 0:
        raise ValueError(f"A has shape {system.A.shape}; its last two axes must be equal: (..., n, n).")
    check_layers(system, n)
    if system.branches and len(system.weights) == 1:
        raise ValueError("weights has one layer, which is linear; beside branches give it as skip, or add it to A.")
    m = None if system.B is None else system.B.shape[-1]
    if system.B is not None and system.B.shape[-2] != n:
        raise ValueError(f"B has shape {system.B.shape}; it needs {n} rows: (..., {n}, m).")
    for one in (system, *system.branches):
        felt = one.input_weights
        if felt is None:
            continue
        if system.B is not None and system.B.shape[-1] != felt.shape[-1]:
            raise ValueError(f"B takes {system.B.shape[-1]} inputs and input_weights {felt.shape[-1]}; both multiply the same u.")
        m = felt.shape[-1] if m is None else m
        if m != felt.shape[-1]:
            raise ValueError(f"one network takes {m} inputs and another {felt.shape[-1]}; all of them see the same u.")
    if system.skip is not None and system.skip.shape[-2:] != (n, n):
        raise ValueError(f"skip has shape {system.skip.shape}; it adds to A, so it needs (..., {n}, {n}).")
    try:
        lead = leading_of(system)
    except ValueError as error:
        raise ValueError(f"the leading axes of the arrays do not broadcast together: {error}.") from error
    if 0 in lead:
        raise ValueError(f"the leading axes have shape {lead}: no system at all; give at least one.")


def check_layers(network: Any, n: int) -> None:
    """That n states go in and out, and that each layer takes what the one before it gives."""
    if len(network.biases) != len(network.weights):
        raise ValueError(
            f"{len(network.weights)} weights and {len(network.biases)} biases; give one bias per layer, "
            "the output's too (zeros where the layer has none)."
        )
    size = n
    for k, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        if w.shape[-1] != size:
            raise ValueError(f"weights[{k}] has shape {w.shape}; it must take {size} inputs: (..., out, {size}).")
        size = w.shape[-2]
        if b.shape[-1] != size:
            raise ValueError(f"biases[{k}] has shape {b.shape}; weights[{k}] gives {size} outputs: (..., {size}).")
        if size == 0:
            raise ValueError(f"weights[{k}] has shape {w.shape}: a layer without units; leave the layer out.")
    if size != n:
        raise ValueError(
            f"the last weight has shape {network.weights[-1].shape}; it must give {n} outputs, one per state."
        )
    felt = network.input_weights
    if felt is not None and (not network.weights or felt.shape[-2] != network.weights[0].shape[-2]):
        raise ValueError(f"input_weights has shape {felt.shape}; it needs one row per unit of the first layer.")


def theta_of(system: Any) -> dict[str, Array | None]:
    """θ, its upper end and the scale of a system whose other parts are read, verified against its tape."""
    tape, n = system.tape, system.A.shape[-1]
    if tape is None:
        if system.theta is not None or system.theta_upper is not None:
            raise ValueError("theta belongs to a tape, and there is none; give tape=tape.to_dict() as well, or no theta.")
        return {"scale": _scale_of(system.scale, n)}
    if len(tape["states"]) != n:
        raise ValueError(f"the tape has {len(tape['states'])} states and A {n}; they are the same states, in the same order.")
    q, m = len(tape["parameters"]), len(tape["inputs"])
    ends: dict[str, Array | None] = {"theta": np.zeros(0)} if q == 0 and system.theta is None else {}
    for name in ("theta", "theta_upper"):
        value = getattr(system, name)
        if value is None and name == "theta" and q:
            raise ValueError(f"the tape has the parameters {', '.join(tape['parameters'])}; give theta, (..., {q}).")
        if value is not None:
            ends[name] = real_array(name, value, 1)
    low, high = ends["theta"], ends.get("theta_upper")
    for name, end in (("theta", low), ("theta_upper", high)):
        if end is not None and end.shape[-1] != q:
            raise ValueError(f"{name} has shape {end.shape}; the tape has {q} parameters: (..., {q}).")
    if low is not None and high is not None:
        try:
            ordered = bool((low <= high).all())
        except ValueError as error:
            raise ValueError(f"theta has shape {low.shape} and theta_upper {high.shape}, which do not broadcast.") from error
        if not ordered:
            raise ValueError("an entry of theta is above that of theta_upper; give theta <= theta_upper.")
    felt = [("input_weights", one.input_weights) for one in (system, *system.branches)]
    for name, array in [("B", system.B), *felt]:
        if array is not None and array.shape[-1] != m:
            raise ValueError(f"{name} takes {array.shape[-1]} inputs and the tape {m}; all of them see the same u.")
    return {**ends, "scale": _scale_of(system.scale, n)}


def _scale_of(value: Any, n: int) -> Array | None:
    if value is None:
        return None
    scale = real_array("scale", value, 1)
    if scale.shape != (n,) or not (scale > 0).all():
        raise ValueError(f"scale has shape {scale.shape}; give a typical size above 0 for each of the {n} states.")
    return scale


def leading_of(system: Any) -> tuple[int, ...]:
    shapes = [w.shape[:-2] for w in system.weights] + [b.shape[:-1] for b in system.biases]
    for one in system.branches:
        felt = [] if one.input_weights is None else [one.input_weights]
        shapes += [a.shape[:-2] for a in (*one.weights, *felt)] + [b.shape[:-1] for b in one.biases]
    for name, rank in RANKS.items():
        array = getattr(system, name)
        shapes += [] if array is None else [array.shape[: array.ndim - rank]]
    return np.broadcast_shapes(*shapes)
