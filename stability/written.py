"""A system as lists and numbers for JSON; one without what came later writes what it always wrote."""

from typing import Any

from stability.tapes import plain_tape


def written(system: Any) -> dict[str, Any]:
    """The entries of a `Lure` that is under no policy."""
    named = isinstance(system.activation, str)
    return {
        "A": system.A.tolist(),
        "weights": [w.tolist() for w in system.weights],
        "biases": [b.tolist() for b in system.biases],
        "activation": system.activation if named else [list(layer) for layer in system.activation],
        "B": None if system.B is None else system.B.tolist(),
        "input_weights": None if system.input_weights is None else system.input_weights.tolist(),
        "skip": None if system.skip is None else system.skip.tolist(),
        **({"branches": [one.to_dict() for one in system.branches]} if system.branches else {}),
        **_known(system),
    }


def _known(system: Any) -> dict[str, Any]:
    """The entries of a tape, where there is one."""
    names = ("theta", "theta_upper", "scale")
    found = {name: None if getattr(system, name) is None else getattr(system, name).tolist() for name in names}
    if system.tape is None:
        return {name: value for name, value in found.items() if value is not None}
    return {"tape": plain_tape(system.tape), **found}
