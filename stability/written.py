"""A system as lists and numbers for JSON; one without what came later writes what it always wrote."""

from typing import Any

from stability.tapes import plain_tape


def layers_written(network: Any) -> dict[str, Any]:
    """The weights, biases and activation of a network."""
    named = isinstance(network.activation, str)
    return {
        "weights": [w.tolist() for w in network.weights],
        "biases": [b.tolist() for b in network.biases],
        "activation": network.activation if named else [list(layer) for layer in network.activation],
    }


def written(system: Any) -> dict[str, Any]:
    """The entries of a `Lure` that is under no policy."""
    return {
        "A": system.A.tolist(),
        **layers_written(system),
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
